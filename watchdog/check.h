/* --check-config: finds mistakes in a watch file before a run needs it, and checks the timer that starts this
 * program. Main thread; asks systemd. */
#ifndef WATCHDOG_CHECK_H
#define WATCHDOG_CHECK_H

#include "watchdog/judge.h"
#include "watchdog/watchfile.h"

#include <stdbool.h>
#include <stddef.h>

/* Prints one line for each thing that it finds to stdout; file is the name of the watch file. Returns
 * JUDGE_FINE or JUDGE_WARNING. */
enum judge_level check_config(const char *file, const struct watch *watch);

enum check_timer {
    CHECK_TIMER_RUNS, /* it is active and enabled, or systemd does not answer */
    CHECK_TIMER_IDLE, /* it is installed, but it is not active or will not survive a reboot */
    CHECK_TIMER_NONE, /* it is not installed: something else may run the program */
};

/* The state of health-watch.timer. Unless the result is CHECK_TIMER_RUNS, out says what is wrong. */
enum check_timer check_timer(char *out, size_t out_size);

#endif
