/* Ends rogues, and only them. Main thread. */
#ifndef WATCHDOG_EVICT_H
#define WATCHDOG_EVICT_H

#include "common/error.h"
#include "watchdog/rogue.h"

#include <stdbool.h>

#define EVICT_TERM_MS 3000 /* from SIGTERM to SIGKILL */
#define EVICT_KILL_MS 2000 /* from SIGKILL until evict_run gives up */

/* Whether evict_run may end a rogue that rogue_find has returned: it has the socket open, has no owner, and
 * is neither pid 1 nor this process. Pure. */
bool evict_may(const struct rogue *rogue);

/* Sends SIGTERM to each rogue of the list that it may evict, then SIGKILL to those that still hold the
 * listener. It opens a pidfd first, looks for rogues again, and signals through the pidfd only a process that
 * is still a rogue with the same pid and start time: so it never hits a process that has got a reused pid.
 * True: no rogue holds the listener any more. False: err names one that does. */
__attribute__((warn_unused_result)) bool evict_run(const struct address *listener,
                                                   const struct unit_status *unit,
                                                   const struct rogue_list *rogues, struct error *err);

#endif
