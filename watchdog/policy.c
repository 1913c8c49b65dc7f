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
#define ORDERS_MAX 2

/* A process that hangs does not want to run: its control group shows about 0 %, one that is starved up to
 * 100. The average of 10 s is at about 50 after the 6.5 s of three tries. */
#define PRESSURE_MAX 40

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
    else if (unit->state == UNIT_STARTING && is_dead_only)
        decide(out, POLICY_NOTHING, "%s is being started (%s): its TimeoutStartSec= guards that, not touched",
               unit->id, unit->sub);
    else if (unit->state == UNIT_RESTARTING && is_dead_only)
        decide(out, POLICY_NOTHING,
               "%s is in a restart loop: systemd has restarted it %" PRId64
               " times and does so again, last result %s",
               unit->id, unit->restarts, unit->result);
    else if (unit->has_job && is_dead_only)
        decide(out, POLICY_NOTHING, "systemd carries out an order for %s: not touched", unit->id);
    else
        return false;
    return true;
}

/* Why silence behind a proxy that did not come from the backend for sure is no reason. */
static void blame_nobody(const struct policy_facts *f, struct policy_decision *out)
{
    const char *unit = f->unit->id;
    if (f->evidence.reached == 0)
        decide(
            out, POLICY_NOTHING,
            "nobody answers at %s itself, which says nothing of %s: the proxy between them is down or full, "
            "or base_url is its own socket and should be its listener too; %s is not touched",
            f->watch->base_url, unit, unit);
    else if (f->watch->socket.len == 0)
        decide(out, POLICY_NOTHING,
               "whether %s or a proxy in front of it is silent cannot be told: name its listener and "
               "listener_protocol; not touched",
               unit);
    else if (f->listener == LISTENER_ACCEPTS && f->watch->protocol == WATCH_NOT_ASKED)
        decide(out, POLICY_NOTHING,
               "%s takes connections at its listener: whether it answers them cannot be told without "
               "listener_protocol; not touched",
               unit);
    else
        decide(out, POLICY_NOTHING, "whether %s is silent cannot be told, for its listener %s; not touched",
               unit,
               f->rogues->hidden                 ? "is hidden from here"
               : f->listener == LISTENER_ACCEPTS ? "takes connections and closes them"
                                                 : "could not be asked");
}

/* Whether the process itself is silent; else out says why it is not killed. */
static bool is_proven(const struct policy_facts *f, struct policy_decision *out)
{
    const char *unit = f->unit->id;
    bool answers_itself = f->direct && f->evidence.silent == 0;
    bool own_silence = f->direct || f->listener == LISTENER_SILENT || f->listener == LISTENER_GONE;
    if (f->listener == LISTENER_ANSWERS || answers_itself)
        decide(out, POLICY_NOTHING, "%s answers at %s: not touched", unit,
               answers_itself ? f->watch->base_url : f->watch->listener);
    else if (f->cpu_pressure >= PRESSURE_MAX)
        decide(out, POLICY_NOTHING,
               "%s was kept from running, its processes waited for a processor %d %% of the last 10 s: the "
               "machine is starved, not touched",
               unit, f->cpu_pressure);
    else if (!f->direct && (f->evidence.reached == 0 || (f->evidence.hung == 0 && !own_silence)))
        blame_nobody(f, out);
    else
        return true;
    return false;
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
               "RECOVERY BUDGET SPENT: %zu recoveries in the last hour, of which %zu did not help, stopped; "
               "the next in %" PRId64 " min: somebody must look at %s",
               state_count_recent(f->state, f->now, false), state_count_recent(f->state, f->now, true),
               wait_ms / 60000 + 1, unit->id);
    else if (f->rogues->count == 0 && has_process && unit->started_ms < watch->start_grace_ms)
        decide(out, POLICY_NOTHING,
               "%s was started %" PRId64 " s ago (restart %" PRId64 "): start grace of %" PRId64
               " s, not touched",
               unit->id, unit->started_ms / 1000, unit->restarts, watch->start_grace_ms / 1000);
    else if (f->rogues->count == 0 && has_process && unit->started_ms < f->took_ms)
        decide(out, POLICY_NOTHING, "%s was started %" PRId64 " ms ago, after the first try: not touched",
               unit->id, unit->started_ms);
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
    else if (may == 0 && f->rogues->items[0].owner[0] != '\0')
        decide(out, POLICY_NOTHING,
               "the listener belongs to %s: stop that, or correct 'listener'; not touched",
               f->rogues->items[0].owner);
    else if (may == 0)
        decide(out, POLICY_NOTHING,
               "it cannot be told for sure that the rogue holds the listener: not touched");
    else
        return false;
    return true;
}

void policy_decide(const struct policy_facts *facts, struct policy_decision *out)
{
    const struct unit_status *unit = facts->unit;
    bool has_failed = unit->state == UNIT_FAILED;
    *out = (struct policy_decision){.action = POLICY_NOTHING};
    if (facts->evidence.dead == 0 && facts->rogues->count == 0)
        return;
    if (leave_alone(facts, out) || rogues_stay(facts, out) ||
        (facts->rogues->count == 0 && !has_failed && !is_proven(facts, out)) || hold_back(facts, out))
        return;
    if (facts->rogues->count > 0)
        decide(out, POLICY_EVICT, "evict the rogue and see that %s runs", unit->id);
    else if (has_failed)
        decide(out, POLICY_START, "start %s, which has failed (%s)", unit->id, unit->result);
    else if (unit->main_pid > 0)
        decide(out, POLICY_KILL, "kill main process %d of %s, which does not answer", (int)unit->main_pid,
               unit->id);
    else
        decide(out, POLICY_KILL, "kill the processes of %s, which does not answer", unit->id);
}

bool policy_still_holds(enum policy_action action, const struct unit_status *judged,
                        const struct unit_status *unit)
{
    switch (action) {
    case POLICY_KILL:
    case POLICY_START:
        return unit->state == judged->state && !unit->has_job && unit->main_pid == judged->main_pid &&
               unit->start_us == judged->start_us;
    case POLICY_EVICT: /* looks anew by itself */
    case POLICY_NOTHING: break;
    }
    return true;
}

static enum policy_step ask(struct policy_progress *p, int64_t now_ms)
{
    if (p->asked > 0 && now_ms - p->asked_at_ms < ASK_EVERY_MS)
        return POLICY_WAIT;
    p->asked++;
    p->asked_at_ms = now_ms;
    return POLICY_ASK;
}

static enum policy_step give_order(struct policy_progress *p, enum policy_step step, int64_t now_ms)
{
    p->phase = PHASE_ORDERED;
    p->orders++;
    p->ordered_at_ms = now_ms;
    return step;
}

static enum policy_step next_running(struct policy_progress *p, const struct unit_status *unit,
                                     int64_t now_ms)
{
    if (p->old_pid != 0 && unit->main_pid == p->old_pid)
        return POLICY_WAIT; /* systemd has not noticed yet */
    p->phase = PHASE_CAME;
    return ask(p, now_ms);
}

/* After a kill systemd stops what is left without a job; a job is an order, and only that of PHASE_ORDERED is
 * ours. What ignores its SIGTERM is killed, an ExecStopPost= at work is not. */
static enum policy_step next_stopping(struct policy_progress *p, const struct unit_status *unit,
                                      int64_t now_ms)
{
    if (unit->has_job && p->phase != PHASE_ORDERED)
        p->phase = PHASE_FOREIGN;
    bool ignores_sigterm = strstr(unit->sub, "sigterm") != NULL; /* stop-sigterm, final-sigterm */
    if (p->phase == PHASE_FOREIGN || !ignores_sigterm || now_ms - p->since_ms < STOPPING_MS)
        return POLICY_WAIT;
    p->since_ms = INT64_MAX; /* once */
    return POLICY_KILL_ALL;
}

/* Whether it has ended although systemd would have restarted it: somebody's stop came between two looks. One
 * that has failed did so by the kill, else its end is its own. */
static bool was_stopped(const struct policy_progress *p, const struct unit_status *unit)
{
    bool by_the_kill = p->phase == PHASE_KILLED && strcmp(unit->result, "signal") == 0;
    return p->phase == PHASE_FOREIGN || (p->old_pid != 0 && p->orders == 0 && unit->restarts_itself &&
                                         (unit->state == UNIT_INACTIVE || by_the_kill));
}

static enum policy_step next_ended(struct policy_progress *p, const struct unit_status *unit, int64_t now_ms)
{
    if (unit->has_job || (p->phase == PHASE_ORDERED && now_ms - p->ordered_at_ms < STARTING_MS))
        return POLICY_WAIT;
    if (was_stopped(p, unit))
        return POLICY_LEAVE;
    return p->orders < ORDERS_MAX ? give_order(p, POLICY_START_IT, now_ms) : POLICY_GIVE_UP;
}

enum policy_step policy_next(struct policy_progress *progress, const struct unit_status *unit, int64_t now_ms)
{
    int64_t pause_ms = progress->phase == PHASE_EVICTED ? 0 : RESTARTING_MS;
    if (unit->state != progress->last_state)
        progress->since_ms = now_ms;
    progress->last_state = unit->state;
    switch (unit->state) {
    case UNIT_RUNNING: return next_running(progress, unit, now_ms);
    case UNIT_STARTING: progress->phase = PHASE_CAME; return POLICY_WAIT;
    case UNIT_STOPPING: return next_stopping(progress, unit, now_ms);
    case UNIT_RESTARTING:
        if (progress->orders > 0 || now_ms - progress->since_ms < pause_ms)
            return POLICY_WAIT;
        return give_order(progress, POLICY_RESTART_IT, now_ms);
    case UNIT_INACTIVE:
    case UNIT_FAILED: return next_ended(progress, unit, now_ms);
    case UNIT_ODD: break;
    }
    return POLICY_WAIT;
}
