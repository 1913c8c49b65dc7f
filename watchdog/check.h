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

/* Whether health-watch.timer runs and is enabled. False: why fills out. True also when systemd cannot be
 * asked. */
bool check_timer(char *out, size_t out_size);

#endif
