/* Decides, as watchdog/policy.h promises. Any thread; no state. */
#include "watchdog/policy.h"

#include "watchdog/evict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* How long what is left of a killed service may take to go: its other processes get SIGTERM from systemd, and
 * SIGKILL from it only after TimeoutStopSec=, 90 s by default. */
#define STOPPING_MS 2000

/* RestartSec= is 100 ms by default; a longer one is not waited for. */
#define RESTARTING_MS 1000

/* Until an order to start shows, or the end of what was started. */
#define STARTING_MS 1000

/* Of a unit that ends at once each time. */
#define STARTS_MAX 2

/* Questions without an answer before a process that runs since before the eviction is taken for dead. */
#define ASKS_MAX 2

/* Between two questions: gentle on a rate limit in front of it. */
#define ASK_EVERY_MS 500

__attribute__((format(printf, 3, 4))) static void decide(struct policy_decision *out,
                                                         enum policy_action action, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    out->action = action;
    vsnprintf(out->why, sizeof out->why, format, args);
    va_end(args);
}

/* Against the will of whom it belongs to, or in the way of systemd: true when out says so. */
static bool leave_alone(const struct policy_facts *f, struct policy_decision *out)
{
    const struct unit_status *unit = f->unit;
    bool is_dead_only = f->rogues->count == 0;
    if (unit->load == UNIT_MASKED)
        decide(out, POLICY_NOTHING, "%s is masked: not touched", unit->id);
    else if (unit->load != UNIT_LOADED)
        decide(out, POLICY_NOTHING, "%s is not loaded: nothing to recover", unit->id);
    else if (unit->state == UNIT_INACTIVE)
        decide(out, POLICY_NOTHING, "%s was stopped, or never started: not started against somebody's will",
               unit->id);
    else if (unit->state == UNIT_STOPPING)
        decide(out, POLICY_NOTHING, "%s is being stopped: not touched", unit->id);
    else if (unit->state == UNIT_ODD)
        decide(out, POLICY_NOTHING, "%s is in the state %s (%s): not touched", unit->id, unit->active,
               unit->sub);
    else if (unit->state == UNIT_STARTING && unit->main_pid == 0 && is_dead_only)
        decide(out, POLICY_NOTHING, "%s is being started, and has no main process yet (%s): not touched",
               unit->id, unit->sub);
    else if (unit->state == UNIT_RESTARTING && is_dead_only)
        decide(out, POLICY_NOTHING,
               "%s is in a restart loop: systemd has restarted it %" PRId64
               " times and does so again, last result %s",
               unit->id, unit->restarts, unit->result);
    else
        return false;
    return true;
}

/* Refusals at base_url while the unit's own listener is there: true when out says so. */
static bool is_the_proxy(const struct policy_facts *f, struct policy_decision *out)
{
    if (f->rogues->count > 0 || !f->refused || !f->rogues->listening)
        return false;
    decide(out, POLICY_NOTHING,
           "nobody listens at %s, but the listener of %s is there: the proxy between them is down; %s is not "
           "touched",
           f->watch->base_url, f->unit->id, f->unit->id);
    return true;
}

/* Too early or too often: true when out says so. */
static bool hold_back(const struct policy_facts *f, struct policy_decision *out)
{
    const struct watch *watch = f->watch;
    const struct unit_status *unit = f->unit;
    int64_t last_ms = state_last_age_ms(f->state, f->now);
    int64_t wait_ms = state_wait_ms(f->state, f->now, watch->budget);
    bool has_process = unit->state == UNIT_RUNNING || unit->state == UNIT_STARTING;
    if (watch->budget == 0)
        decide(out, POLICY_NOTHING, "budget 0: recoveries are switched off");
    else if (wait_ms > 0)
        decide(out, POLICY_NOTHING,
               "RECOVERY BUDGET SPENT: %zu recoveries in the last hour did not help, stopped; the next in "
               "%" PRId64 " min: somebody must look at %s",
               state_count_recent(f->state, f->now), wait_ms / 60000 + 1, unit->id);
    else if (f->rogues->count == 0 && has_process && unit->started_ms < watch->start_grace_ms)
        decide(out, POLICY_NOTHING,
               "%s was started %" PRId64 " s ago (restart %" PRId64 "): start grace of %" PRId64
               " s, not touched",
               unit->id, unit->started_ms / 1000, unit->restarts, watch->start_grace_ms / 1000);
    else if (last_ms < watch->cooldown_ms)
        decide(out, POLICY_NOTHING, "last recovery %" PRId64 " s ago: cooldown of %" PRId64 " s, not touched",
               last_ms / 1000, watch->cooldown_ms / 1000);
    else
        return false;
    return true;
}

/* True when out says that the rogues are in the way and stay. */
static bool rogues_stay(const struct policy_facts *f, struct policy_decision *out)
{
    size_t may = 0;
    if (f->rogues->count == 0)
        return false;
    for (size_t i = 0; i < f->rogues->count; i++)
        may += evict_may(&f->rogues->items[i]);
    if (!f->watch->evict_rogue)
        decide(out, POLICY_NOTHING, "evict_rogue is no: not touched");
    else if (may == 0 && f->rogues->items[0].service[0] != '\0')
        decide(out, POLICY_NOTHING,
               "the listener belongs to %s: stop that, or correct 'listener'; not touched",
               f->rogues->items[0].service);
    else if (may == 0)
        decide(out, POLICY_NOTHING,
               "it cannot be told for sure that the rogue holds the listener: not touched");
    else
        return false;
    return true;
}

void policy_decide(const struct policy_facts *facts, struct policy_decision *out)
{
    *out = (struct policy_decision){.action = POLICY_NOTHING};
    if (facts->dead == 0 && facts->rogues->count == 0)
        return;
    if (leave_alone(facts, out) || rogues_stay(facts, out) || is_the_proxy(facts, out) ||
        hold_back(facts, out))
        return;
    if (facts->rogues->count > 0)
        decide(out, POLICY_EVICT, "evict the rogue and see that %s runs", facts->unit->id);
    else if (facts->unit->state == UNIT_FAILED)
        decide(out, POLICY_START, "start %s, which has failed (%s)", facts->unit->id, facts->unit->result);
    else if (facts->unit->main_pid > 0)
        decide(out, POLICY_KILL, "kill main process %d of %s, which does not answer",
               (int)facts->unit->main_pid, facts->unit->id);
    else
        decide(out, POLICY_KILL, "kill the processes of %s, which does not answer", facts->unit->id);
}

static enum policy_step next_running(struct policy_progress *p, const struct unit_status *unit,
                                     int64_t now_ms)
{
    if (p->old_pid != 0 && unit->main_pid == p->old_pid)
        return POLICY_WAIT; /* systemd has not noticed yet */
    if (p->asked > 0 && now_ms - p->asked_at_ms < ASK_EVERY_MS)
        return POLICY_WAIT;
    if (p->old_pid == 0 && p->asked >= ASKS_MAX && unit->started_ms > now_ms &&
        unit->started_ms >= p->start_grace_ms && !p->killed_late) {
        p->old_pid = unit->main_pid;
        p->killed_late = true;
        return POLICY_KILL_MAIN;
    }
    p->asked++;
    p->asked_at_ms = now_ms;
    return POLICY_ASK;
}

/* After a kill systemd stops what is left without a job; a job is an order, and it is not ours. */
static enum policy_step next_stopping(struct policy_progress *p, const struct unit_status *unit,
                                      int64_t now_ms)
{
    if (unit->has_job && !p->restart_pending)
        p->foreign_stop = true;
    if (p->foreign_stop)
        return POLICY_WAIT;
    if (p->killed_all || now_ms - p->stopping_since_ms < STOPPING_MS)
        return POLICY_WAIT;
    p->killed_all = true;
    return POLICY_KILL_ALL;
}

static enum policy_step next_restarting(struct policy_progress *p, int64_t now_ms)
{
    if (p->restarted || (!p->evicted && now_ms - p->restarting_since_ms < RESTARTING_MS))
        return POLICY_WAIT;
    p->restarted = p->restart_pending = true;
    return POLICY_RESTART_IT;
}

/* Ended although systemd would have restarted it: somebody's stop came between two looks. One that has failed
 * did so by the kill, else its end is its own. */
static bool was_stopped(const struct policy_progress *p, const struct unit_status *unit)
{
    bool by_the_kill = !p->has_seen_new && !p->restarted && strcmp(unit->result, "signal") == 0;
    return p->old_pid != 0 && p->starts == 0 && unit->restarts_itself &&
           (unit->state == UNIT_INACTIVE || by_the_kill);
}

static enum policy_step next_ended(struct policy_progress *p, const struct unit_status *unit, int64_t now_ms)
{
    if (unit->has_job || (p->starts > 0 && now_ms - p->started_at_ms < STARTING_MS))
        return POLICY_WAIT;
    if (p->foreign_stop || was_stopped(p, unit))
        return POLICY_LEAVE;
    if (p->starts >= STARTS_MAX)
        return POLICY_GIVE_UP;
    p->starts++;
    p->started_at_ms = now_ms;
    return POLICY_START_IT;
}

enum policy_step policy_next(struct policy_progress *progress, const struct unit_status *unit, int64_t now_ms)
{
    if (unit->state == UNIT_STOPPING && progress->last_state != UNIT_STOPPING)
        progress->stopping_since_ms = now_ms;
    if (unit->state == UNIT_RESTARTING && progress->last_state != UNIT_RESTARTING)
        progress->restarting_since_ms = now_ms;
    progress->last_state = unit->state;
    if (unit->state == UNIT_RUNNING || unit->state == UNIT_STARTING) {
        progress->restart_pending = progress->foreign_stop = false;
        progress->has_seen_new |= unit->main_pid != 0 && unit->main_pid != progress->old_pid;
    }
    switch (unit->state) {
    case UNIT_RUNNING: return next_running(progress, unit, now_ms);
    case UNIT_STOPPING: return next_stopping(progress, unit, now_ms);
    case UNIT_RESTARTING: return next_restarting(progress, now_ms);
    case UNIT_INACTIVE:
    case UNIT_FAILED: return next_ended(progress, unit, now_ms);
    case UNIT_STARTING:
    case UNIT_ODD: break;
    }
    return POLICY_WAIT;
}
