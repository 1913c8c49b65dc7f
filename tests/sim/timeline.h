/* Virtual time: the clock, what happens when, and the record of what happened. Everything in the simulator
 * runs in one thread of the system, one after the other; time passes between two events only. */
#ifndef SIM_TIMELINE_H
#define SIM_TIMELINE_H

#include "common/clock.h"

#include <stdbool.h>
#include <stdint.h>

/* Virtual CLOCK_BOOTTIME. A run begins at TIMELINE_BEGIN_NS: zero would hide what forgets to set a time. */
#define TIMELINE_BEGIN_NS (1000 * NS_PER_S)
extern int64_t timeline_now_ns;

typedef void timeline_fn(void *context, int64_t number);

/* Calls fn at when_ns, or now if that has passed; what is due at the same time, in the order of the calls. */
void timeline_at(int64_t when_ns, timeline_fn *fn, void *context, int64_t number);

/* When the next event is due; CLOCK_NEVER: there is none. */
int64_t timeline_next_ns(void);

/* Moves the clock to when_ns and runs what is due until then. */
void timeline_run_to(int64_t when_ns);

/* What becomes of the lines of timeline_note. */
enum record {
    RECORD_NOTHING, /* fast */
    RECORD_LAST,    /* the last ones are printed with a violation */
    RECORD_ALL,     /* printed at once */
};
extern enum record timeline_record;

/* Remembers a line with the time. */
#define timeline_note(...) (timeline_record != RECORD_NOTHING ? timeline_write(__VA_ARGS__) : (void)0)
__attribute__((format(printf, 1, 2))) void timeline_write(const char *format, ...);

/* Ends the run; rule is one word for the invariant. */
__attribute__((format(printf, 2, 3))) _Noreturn void timeline_violation(const char *rule, const char *format,
                                                                        ...);

/* Called before a violation ends the run: NULL, or what prints more. */
extern void (*timeline_on_violation)(void);

/* The exit code of a run with a violation. */
#define RUN_VIOLATED 1

#endif
