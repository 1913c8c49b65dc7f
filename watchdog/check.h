/* --check-config: what can be said of a watch file before it is needed, and what systemd does with this
 * program. Main thread; asks systemd. */
#ifndef WATCHDOG_CHECK_H
#define WATCHDOG_CHECK_H

#include "watchdog/judge.h"
#include "watchdog/watchfile.h"

#include <stdbool.h>
#include <stddef.h>

/* Prints what it finds, a line each, to stdout; file is the name of what was read. JUDGE_FINE or
 * JUDGE_WARNING. */
enum judge_level check_config(const char *file, const struct watch *watch);

enum check_timer {
    CHECK_TIMER_RUNS, /* also where systemd cannot be asked */
    CHECK_TIMER_IDLE, /* health-watch.timer is there, and does not run for good */
    CHECK_TIMER_NONE, /* it is not installed: something else may run the program */
};

/* Unless it runs, out says why not. */
enum check_timer check_timer(char *out, size_t out_size);

#endif
