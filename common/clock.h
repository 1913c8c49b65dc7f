/* Time: a clock for deadlines, and the wall clock for display only. Any thread. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)
#define MS_PER_S  INT64_C(1000)
#define US_PER_S  INT64_C(1000000)

/* A deadline that never comes. */
#define CLOCK_NEVER INT64_MAX

/* The earlier and the later of two times, or the shorter and the longer of two durations. */
static inline int64_t clock_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t clock_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Nanoseconds on CLOCK_BOOTTIME. Unlike CLOCK_MONOTONIC it also counts the time that a machine was
 * suspended, so a snapshot from before the sleep is old after it. Steps of the wall clock do not affect
 * it. */
int64_t clock_now_ns(void);

/* Microseconds on CLOCK_MONOTONIC, which systemd uses in its messages. */
int64_t clock_monotonic_us(void);

/* Milliseconds since 1970 on the wall clock. For display only. */
int64_t clock_wall_ms(void);

/* A timeout for poll(2) or epoll_wait(2) in ms: -1 for CLOCK_NEVER, 0 when the deadline has passed.
 * Rounded up, so that the caller does not wake just before the deadline. */
int clock_poll_timeout_ms(int64_t deadline_ns, int64_t now_ns);

/* Writes "2026-01-31T12:00:00.123Z" and its NUL: RFC 3339 in UTC. */
#define CLOCK_ISO_SIZE 25
void clock_format_iso(int64_t wall_ms, char out[static CLOCK_ISO_SIZE]);

#endif
