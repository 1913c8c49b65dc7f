/* Virtual time: the clock, the future events, and the record of what happened. The whole simulator runs on
 * one system thread. Time passes only between two events. */
#ifndef SIM_TIMELINE_H
#define SIM_TIMELINE_H

#include "common/clock.h"

#include <stdbool.h>
#include <stdint.h>

/* Virtual CLOCK_BOOTTIME. A run does not begin at zero, because that would hide times that were never set. */
#define TIMELINE_BEGIN_NS (1000 * NS_PER_S)
extern int64_t timeline_now_ns;

typedef void timeline_fn(void *context, int64_t number);

/* Calls fn at when_ns, or now if that has passed. Events of the same time keep the order of these calls. */
void timeline_at(int64_t when_ns, timeline_fn *fn, void *context, int64_t number);

/* When the next event is due; CLOCK_NEVER: there is none. */
int64_t timeline_next_ns(void);

/* Moves the clock to when_ns, and runs the events that are due until then. */
void timeline_run_to(int64_t when_ns);

/* What to do with the lines of timeline_note. */
enum record {
    RECORD_NOTHING, /* drop them, which is fast */
    RECORD_LAST,    /* print the last ones at a violation */
    RECORD_ALL,     /* print them at once */
};
extern enum record timeline_record;

/* Records a line with the time. */
#define timeline_note(...) (timeline_record != RECORD_NOTHING ? timeline_write(__VA_ARGS__) : (void)0)
__attribute__((format(printf, 1, 2))) void timeline_write(const char *format, ...);

/* Ends the run; rule is the word for the invariant. */
__attribute__((format(printf, 2, 3))) _Noreturn void timeline_violation(const char *rule, const char *format,
                                                                        ...);

/* Called before a violation ends the run, to print more; may be NULL. */
extern void (*timeline_on_violation)(void);

/* The exit code of a run with a violation. */
#define RUN_VIOLATED 1

#endif
