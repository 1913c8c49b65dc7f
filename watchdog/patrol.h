/* One run of health-watch: takes the lock, looks at the routes and the unit, decides, acts, and looks again.
 * Main thread. */
#ifndef WATCHDOG_PATROL_H
#define WATCHDOG_PATROL_H

#include "watchdog/judge.h"
#include "watchdog/report.h"
#include "watchdog/watchfile.h"

#include <stdbool.h>

enum patrol_format { PATROL_TEXT, PATROL_VERBOSE, PATROL_JSON };

struct patrol_options {
    bool dry_run; /* takes no lock, writes no state, and leaves every unit and process alone */
    enum patrol_format format;
};

/* Appends the report to out. Returns the exit code. */
enum judge_level patrol_run(const struct watch *watch, const struct patrol_options *options, struct buf *out);

#endif
