/* Carries out a decision of the policy, waits until the unit answers, and reports what it did. Main thread;
 * blocks for restart_wait and a few seconds at most. */
#ifndef WATCHDOG_RECOVER_H
#define WATCHDOG_RECOVER_H

#include "watchdog/policy.h"
#include "watchdog/survey.h"

#include <stdbool.h>
#include <stdint.h>

struct recovery {
    enum policy_action action; /* POLICY_NOTHING: no recovery was attempted, and text says why */
    bool ok;                   /* the unit runs and its liveness routes answer */
    int64_t took_ms;
    char text[512]; /* the steps, and how they ended */
};

/* Carries out action, which is not POLICY_NOTHING. Asks systemd about the unit again first, and does nothing
 * if the unit has changed since it was judged. The caller has already written the recovery to the state file.
 */
void recover_run(const struct policy_facts *facts, enum policy_action action, const struct survey *before,
                 struct recovery *out);

/* "kill", "start", "evict", "none" */
const char *recover_action_name(enum policy_action action);

#endif
