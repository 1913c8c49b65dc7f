/* Failures and successes in a row: when they change the status (fall and rise). Pure. */
#ifndef PROBE_STREAK_H
#define PROBE_STREAK_H

#include "cgi/reason.h"

#include <stdbool.h>
#include <stdint.h>

/* The first in a row counts at once. Each further one counts only if an interval has passed since the last
 * that counted, so that a check that is asked more often does not change its status sooner. A new streak is
 * {0}. */
struct streak {
    int64_t fails;
    int64_t passes;
    int64_t counted_ns;
    bool known; /* false: the next result decides alone, without fall and rise */
    bool down;
    enum reason reason; /* of the last failure */
};

/* How many failures in a row change the status to down, and how many successes change it back. */
struct streak_limits {
    int64_t fall;
    int64_t rise;
    int64_t interval_ns;
};

/* Counts a result (REASON_NONE: a success). True: the status has changed, or is known for the first time. */
bool streak_count(struct streak *streak, enum reason reason, struct streak_limits limits, int64_t now_ns);

#endif
