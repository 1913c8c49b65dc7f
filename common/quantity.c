/* Parses and formats numbers and durations. Any thread; no state. */
#include "common/quantity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int64_t ms;
} units[] = {{"h", HOUR_MS}, {"m", MINUTE_MS}, {"s", MS_PER_S}, {"ms", 1}}; /* largest first, for printing */

bool quantity_parse_digits(const char *text, int base, int64_t *out, const char **rest)
{
    int64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at < '0' + base; at++)
        if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, *at - '0', &value))
            return false;
    *out = value;
    *rest = at;
    return at > text;
}

bool quantity_parse_count(const char *text, int64_t *out)
{
    const char *rest;
    return quantity_parse_digits(text, 10, out, &rest) && *rest == '\0';
}

bool quantity_parse_duration(const char *text, int64_t *out_ms)
{
    int64_t count;
    const char *unit;
    if (!quantity_parse_digits(text, 10, &count, &unit))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(unit, units[i].name) == 0)
            return !__builtin_mul_overflow(count, units[i].ms, out_ms);
    return false;
}

void quantity_format_duration(int64_t ms, char *out, size_t out_size)
{
    size_t i = 0;
    while (ms % units[i].ms != 0)
        i++;
    if (ms == 0)
        snprintf(out, out_size, "0s");
    else
        snprintf(out, out_size, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
}
