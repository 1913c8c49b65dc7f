/* Ends rogues, and only them. Main thread. */
#ifndef WATCHDOG_EVICT_H
#define WATCHDOG_EVICT_H

#include "common/error.h"
#include "watchdog/rogue.h"

#include <stdbool.h>

/* From SIGTERM to SIGKILL, and from there until it is given up. */
#define EVICT_TERM_MS 3000
#define EVICT_KILL_MS 2000

/* Whether rogue_find's answer is one that may be ended: it has the socket open, belongs to nobody,
 * and is neither pid 1 nor this process. Pure. */
bool evict_may(const struct rogue *rogue);

/* Sends SIGTERM to each of the list that may be evicted, then SIGKILL to those that still hold the listener.
 * A signal goes through a pidfd only, and only after a look that came after the pidfd was opened has found
 * the same process (pid and start time) to be a rogue still: so a pid that was given to another process is
 * never hit. True: nobody of them holds the listener any more. False: err says who does. */
__attribute__((warn_unused_result)) bool evict_run(const struct address *listener,
                                                   const struct unit_status *unit,
                                                   const struct rogue_list *rogues, struct error *err);

#endif
