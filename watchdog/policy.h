/* Whether to act, and how: a pure function of all that is known, and the steps of a recovery as another one.
 */
#ifndef WATCHDOG_POLICY_H
#define WATCHDOG_POLICY_H

#include "watchdog/rogue.h"
#include "watchdog/state.h"
#include "watchdog/unit.h"
#include "watchdog/watchfile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum policy_action {
    POLICY_NOTHING,
    POLICY_KILL,  /* the unit runs and hangs */
    POLICY_START, /* it has failed */
    POLICY_EVICT, /* a rogue holds its listener */
};

struct policy_facts {
    const struct watch *watch;
    size_t dead;  /* liveness routes, judge_count_dead */
    bool refused; /* judge_all_refused */
    const struct unit_status *unit;
    const struct rogue_list *rogues;
    const struct state *state;
    const struct state_time *now;
};

struct policy_decision {
    enum policy_action action;
    char why[320]; /* for the report; "" when nothing is wrong */
};

/* One decision for everything that is wrong, so that several dead routes mean one recovery. A unit that
 * somebody has stopped (inactive), is stopping, or has masked is left as it is; so is one that systemd is
 * restarting or starting itself. While the unit's own listener is there, refusals come from a proxy that is
 * not: the unit is left alone then, too. */
void policy_decide(const struct policy_facts *facts, struct policy_decision *out);

/* What a recovery does next, once the first order was given. */
enum policy_step {
    POLICY_WAIT,
    POLICY_ASK,       /* the unit runs: does it answer? */
    POLICY_KILL_MAIN, /* it did run before its rogue went, and does not answer still */
    POLICY_KILL_ALL,  /* it does not stop: the rest of its processes */
    POLICY_START_IT,
    POLICY_RESTART_IT,
    POLICY_GIVE_UP, /* it ends each time */
    POLICY_LEAVE,   /* somebody has stopped it meanwhile: it is to stay so */
};

/* Times are ms since the recovery began. Zeroed at its beginning, with the first three set. */
struct policy_progress {
    pid_t old_pid;          /* the process that was killed; 0: none */
    bool evicted;           /* what made it fail is gone: its restart need not wait */
    int64_t start_grace_ms; /* of the watch file */
    int64_t stopping_since_ms;
    int64_t restarting_since_ms;
    int asked; /* without an answer */
    int64_t asked_at_ms;
    int starts;
    int64_t started_at_ms; /* the last of them */
    bool killed_all;
    bool restarted;
    bool restart_pending; /* ours, not yet seen to begin */
    bool foreign_stop;    /* somebody else stops or restarts it */
    bool killed_late;
    bool has_seen_new; /* a main process that came after the kill */
    enum unit_state last_state;
};

/* unit: as systemd describes it now. Takes note of the step that it returns. */
enum policy_step policy_next(struct policy_progress *progress, const struct unit_status *unit,
                             int64_t now_ms);

#endif
