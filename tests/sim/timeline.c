/* Keeps virtual time, a binary heap of events, and a ring of the last lines. */
#include "tests/sim/timeline.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define EVENTS_MAX 8192
#define LINES_KEPT 60
#define LINE_SIZE  240

struct event {
    int64_t when_ns;
    uint64_t order; /* of the calls of timeline_at */
    timeline_fn *fn;
    void *context;
    int64_t number;
};

int64_t timeline_now_ns = TIMELINE_BEGIN_NS;
enum record timeline_record;
void (*timeline_on_violation)(void);

static struct event heap[EVENTS_MAX];
static size_t count;
static uint64_t orders;
static char lines[LINES_KEPT][LINE_SIZE];
static size_t line_count;

static bool is_before(const struct event *a, const struct event *b)
{
    return a->when_ns != b->when_ns ? a->when_ns < b->when_ns : a->order < b->order;
}

void timeline_at(int64_t when_ns, timeline_fn *fn, void *context, int64_t number)
{
    struct event event = {when_ns < timeline_now_ns ? timeline_now_ns : when_ns, orders++, fn, context,
                          number};
    size_t at = count++;

    if (count > EVENTS_MAX)
        timeline_violation("world", "more than %d events are waiting", EVENTS_MAX);
    for (; at > 0 && is_before(&event, &heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = event;
}

static struct event take_first(void)
{
    struct event first = heap[0];
    struct event last = heap[--count];
    size_t at = 0;

    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &last))
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

int64_t timeline_next_ns(void)
{
    return count > 0 ? heap[0].when_ns : CLOCK_NEVER;
}

void timeline_run_to(int64_t when_ns)
{
    while (count > 0 && heap[0].when_ns <= when_ns) {
        struct event event = take_first();
        timeline_now_ns = event.when_ns > timeline_now_ns ? event.when_ns : timeline_now_ns;
        event.fn(event.context, event.number);
    }
    timeline_now_ns = when_ns > timeline_now_ns ? when_ns : timeline_now_ns;
}

static int print_time(char *out, size_t size)
{
    int64_t us = (timeline_now_ns - TIMELINE_BEGIN_NS) / NS_PER_US;
    return snprintf(out, size, "%10.6f  ", (double)us / 1e6);
}

void timeline_write(const char *format, ...)
{
    char *line = lines[line_count++ % LINES_KEPT];
    int len = print_time(line, LINE_SIZE);
    va_list args;

    va_start(args, format);
    vsnprintf(line + len, LINE_SIZE - (size_t)len, format, args);
    va_end(args);
    if (timeline_record == RECORD_ALL)
        puts(line);
}

static void print_last_lines(void)
{
    size_t first = line_count > LINES_KEPT ? line_count - LINES_KEPT : 0;

    puts("last events:");
    for (size_t i = first; i < line_count; i++)
        puts(lines[i % LINES_KEPT]);
}

void timeline_violation(const char *rule, const char *format, ...)
{
    char time[32];
    va_list args;

    if (timeline_record == RECORD_LAST)
        print_last_lines();
    print_time(time, sizeof time);
    printf("%sVIOLATION of '%s': ", time, rule);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    puts("");
    if (timeline_on_violation != NULL)
        timeline_on_violation();
    fflush(stdout);
    _Exit(RUN_VIOLATED);
}
