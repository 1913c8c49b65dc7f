/* Carries out what the policy has decided, waits for the answer, and says what was done. Main thread; may
 * take as long as restart_wait and some seconds. */
#ifndef WATCHDOG_RECOVER_H
#define WATCHDOG_RECOVER_H

#include "watchdog/policy.h"
#include "watchdog/survey.h"

#include <stdbool.h>
#include <stdint.h>

struct recovery {
    enum policy_action action; /* POLICY_NOTHING: nothing was done, text says why */
    bool ok;                   /* the unit runs and its liveness routes answer */
    int64_t took_ms;
    char text[512]; /* what was done, and how it ended */
};

/* action: not POLICY_NOTHING. Looks at the unit once more first: what has changed since it was judged is left
 * alone. The caller has written the recovery into the state file before. */
void recover_run(const struct policy_facts *facts, enum policy_action action, const struct survey *before,
                 struct recovery *out);

/* "kill", "start", "evict", "none" */
const char *recover_action_name(enum policy_action action);

#endif
