/* Decides whether to act and how, and which step of a recovery comes next. Both decisions are pure functions
 * of what is known. */
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
    POLICY_START, /* the unit has failed */
    POLICY_EVICT, /* a rogue holds the unit's listener */
};

struct policy_facts {
    const struct watch *watch;
    struct judge_evidence evidence;
    int64_t tried_ms;              /* from the first try to the look at unit */
    bool direct;                   /* base_url is the unit's own socket: no proxy is in between */
    enum listener_answer listener; /* its answer after the last try */
    int cpu_pressure;              /* from unit_cpu_pressure */
    const struct unit_status *unit;
    const struct rogue_list *rogues;
    const struct state *state;
    const struct state_time *now;
};

struct policy_decision {
    enum policy_action action;
    char why[400]; /* for the report; "" when nothing is wrong */
};

/* Makes one decision about everything that is wrong, so that several dead routes lead to one recovery.
 *
 * A kill needs proof that the backend itself is silent. If base_url is the backend's own socket, the proof is
 * that no try got an answer there. If a proxy is in between, the proof is that the proxy reports a backend
 * that does not answer, or that the listener is silent. A backend that answers at its listener is never
 * killed. A failure that may be the proxy's (refused, not connected, closed without a byte) is no proof, and
 * neither is silence while this machine or the unit is starved of CPU.
 *
 * The decision leaves a unit alone that is stopped (inactive), stopping or masked, and one that systemd
 * itself is starting or restarting. */
void policy_decide(const struct policy_facts *facts, struct policy_decision *out);

/* Whether the decision about the unit as it was judged still applies to the unit as it is now, right before
 * the order. */
bool policy_still_holds(enum policy_action action, const struct unit_status *judged,
                        const struct unit_status *unit);

/* What a recovery does next, after its first order. */
enum policy_step {
    POLICY_WAIT,
    POLICY_ASK,      /* the unit runs: find out whether it answers */
    POLICY_KILL_ALL, /* the unit does not stop: kill all its processes */
    POLICY_START_IT,
    POLICY_RESTART_IT,
    POLICY_GIVE_UP, /* the unit exits after every start */
    POLICY_LEAVE,   /* an operator has stopped the unit, or it exited cleanly: leave it stopped */
};

/* The last event of a recovery. ARCHITECTURE.md draws the transitions. */
enum policy_phase {
    PHASE_KILLED,    /* the main process got SIGKILL; systemd has not reacted yet */
    PHASE_EVICTED,   /* the rogue has exited, so a restart need not wait */
    PHASE_STARTED,   /* a start was ordered and does not show yet */
    PHASE_RESTARTED, /* a restart was ordered and does not show yet; it includes a stop */
    PHASE_CAME,      /* the unit starts or runs */
    PHASE_FOREIGN,   /* somebody else has ordered a stop or a restart */
};

/* The state of a recovery; times are ms since it began. It begins with zeros, except for phase, for old_pid
 * and old_restarts after a kill, and for starts after a start. */
struct policy_progress {
    enum policy_phase phase;
    pid_t old_pid; /* the process that was killed; 0: none */
    int64_t
        old_restarts;  /* unit_status.restarts before the kill: it shows whether systemd restarts the unit */
    int64_t start_job; /* the job of the last start that was seen, ours or systemd's own */
    enum unit_state last_state;
    int64_t since_ms;      /* when last_state began */
    int64_t ordered_at_ms; /* when the last start or restart was ordered */
    int starts;            /* how many this recovery has ordered */
    bool restarted;        /* this recovery has ordered a restart */
    int64_t ask_at_ms;     /* do not ask the routes before this */
};

/* Returns the next step for the unit as it is now, and updates progress for it. */
enum policy_step policy_next(struct policy_progress *progress, const struct unit_status *unit,
                             int64_t now_ms);

#endif
