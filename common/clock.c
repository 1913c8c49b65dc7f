/* Reads the clocks and formats times. Any thread; no state. */
#include "common/clock.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>

/* The last millisecond with a four-digit year; RFC 3339 has no longer years. */
#define WALL_MS_MAX INT64_C(253402300799999)

int64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t clock_monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / NS_PER_US;
}

int64_t clock_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * MS_PER_S + now.tv_nsec / NS_PER_MS;
}

int clock_poll_timeout_ms(int64_t deadline_ns, int64_t now_ns)
{
    if (deadline_ns == CLOCK_NEVER)
        return -1;
    if (deadline_ns <= now_ns)
        return 0;
    int64_t left_ns;
    if (__builtin_sub_overflow(deadline_ns, now_ns, &left_ns))
        return INT_MAX;
    int64_t left_ms = left_ns / NS_PER_MS + (left_ns % NS_PER_MS != 0);
    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

void clock_format_iso(int64_t wall_ms, char out[static CLOCK_ISO_SIZE])
{
    if (wall_ms < 0)
        wall_ms = 0;
    if (wall_ms > WALL_MS_MAX)
        wall_ms = WALL_MS_MAX;
    time_t seconds = (time_t)(wall_ms / MS_PER_S);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char text[64]; /* the compiler assumes that an int may print all its digits */
    size_t len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + len, sizeof text - len, ".%03dZ", (int)(wall_ms % MS_PER_S));
    snprintf(out, CLOCK_ISO_SIZE, "%.*s", CLOCK_ISO_SIZE - 1, text);
}
