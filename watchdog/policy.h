/* Whether to act, and how: a pure function of all that is known, and the phases of a recovery as another one.
 */
#ifndef WATCHDOG_POLICY_H
#define WATCHDOG_POLICY_H

#include "watchdog/judge.h"
#include "watchdog/listener.h"
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
    struct judge_evidence evidence;
    int64_t tried_ms;              /* how long before the look at unit the first try was */
    bool direct;                   /* base_url is the unit's own socket: no proxy is in between */
    enum listener_answer listener; /* asked after the last try */
    int cpu_pressure;              /* unit_cpu_pressure */
    const struct unit_status *unit;
    const struct rogue_list *rogues;
    const struct state *state;
    const struct state_time *now;
};

struct policy_decision {
    enum policy_action action;
    char why[400]; /* for the report; "" when nothing is wrong */
};

/* One decision for everything that is wrong, so that several dead routes mean one recovery.
 *
 * A kill needs the backend's own silence: where base_url is its own socket, that nobody answered there;
 * behind a proxy, the proxy's word that the backend gave it no answer, or the listener's own silence. Whoever
 * answers at the listener is never killed. What only speaks of the proxy (refused, not connected, closed
 * without a byte), or was seen while this machine or the unit itself was kept from running, is no reason.
 *
 * A unit that somebody has stopped (inactive), is stopping, or has masked is left as it is; so is one that
 * systemd is restarting or starting itself. */
void policy_decide(const struct policy_facts *facts, struct policy_decision *out);

/* Whether unit, looked at right before the order, is still what the decision was made about. */
bool policy_still_holds(enum policy_action action, const struct unit_status *judged,
                        const struct unit_status *unit);

/* What a recovery does next, once the first order was given. */
enum policy_step {
    POLICY_WAIT,
    POLICY_ASK,      /* the unit runs: does it answer? */
    POLICY_KILL_ALL, /* it does not stop: the rest of its processes */
    POLICY_START_IT,
    POLICY_RESTART_IT,
    POLICY_GIVE_UP, /* it ends each time */
    POLICY_LEAVE,   /* somebody has stopped it meanwhile, or it has ended well: it is to stay so */
};

/* What has happened last. ARCHITECTURE.md draws it. */
enum policy_phase {
    PHASE_KILLED,    /* its main process got SIGKILL; what systemd makes of it is to be seen */
    PHASE_EVICTED,   /* its rogue is gone: its restart need not wait */
    PHASE_STARTED,   /* a start was ordered, and is to be seen */
    PHASE_RESTARTED, /* a restart was ordered, and is to be seen: a stop is part of it */
    PHASE_CAME,      /* it has begun to start, or runs */
    PHASE_FOREIGN,   /* somebody else has ordered a stop or restart */
};

/* Times are ms since the recovery began. Zeroed at its beginning, but for the phase, the killed process, and
 * a start that was the first order. */
struct policy_progress {
    enum policy_phase phase;
    pid_t old_pid;        /* the process that was killed; 0: none */
    int64_t old_restarts; /* unit_status.restarts of then: systemd counts when it restarts a unit itself */
    int64_t start_job;    /* the order by which it was last seen to start: ours, or systemd's own */
    enum unit_state last_state;
    int64_t since_ms;      /* of last_state */
    int64_t ordered_at_ms; /* the last start or restart */
    int starts;
    bool restarted;    /* by our order */
    int64_t ask_at_ms; /* not before */
};

/* unit: as systemd describes it now. Takes note of the step that it returns. */
enum policy_step policy_next(struct policy_progress *progress, const struct unit_status *unit,
                             int64_t now_ms);

#endif
