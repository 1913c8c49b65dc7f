/* Numbers and durations as people write them, in settings and files of both programs. Pure. */
#ifndef COMMON_QUANTITY_H
#define COMMON_QUANTITY_H

#include "common/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MINUTE_MS (60 * MS_PER_S)
#define HOUR_MS   (60 * MINUTE_MS)

/* "800ms", "2s", "1m", "1h", "0s" -> milliseconds; digits and a unit, nothing else. */
__attribute__((warn_unused_result)) bool quantity_parse_duration(const char *text, int64_t *out_ms);

/* The reverse, in the largest unit that is exact; out is always ended with a NUL. ms is not negative. */
void quantity_format_duration(int64_t ms, char *out, size_t out_size);

/* A whole word of decimal digits -> *out. False: anything else, or more than an int64_t holds. */
__attribute__((warn_unused_result)) bool quantity_parse_count(const char *text, int64_t *out);

/* Digits of base (8 or 10) to *out; *rest is what follows. False: no digit, or more than an int64_t holds. */
__attribute__((warn_unused_result)) bool quantity_parse_digits(const char *text, int base, int64_t *out,
                                                               const char **rest);

#endif
