/* Numbers and durations as people write them, in the settings and files of both programs. Pure; any
 * thread. */
#ifndef COMMON_QUANTITY_H
#define COMMON_QUANTITY_H

#include "common/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MINUTE_MS (60 * MS_PER_S)
#define HOUR_MS   (60 * MINUTE_MS)

/* Parses "800ms", "2s", "1m", "1h" or "0s" into milliseconds: digits and a unit, nothing else. */
__attribute__((warn_unused_result)) bool quantity_parse_duration(const char *text, int64_t *out_ms);

/* Writes ms in the largest unit that is exact. out always ends with a NUL. ms is not negative. */
void quantity_format_duration(int64_t ms, char *out, size_t out_size);

/* Parses a text that has nothing but decimal digits. False: anything else, or more than an int64_t holds. */
__attribute__((warn_unused_result)) bool quantity_parse_count(const char *text, int64_t *out);

/* Parses the leading digits of base (8 or 10); *rest is what follows them. False: no digit, or more than
 * an int64_t holds. */
__attribute__((warn_unused_result)) bool quantity_parse_digits(const char *text, int base, int64_t *out,
                                                               const char **rest);

#endif
