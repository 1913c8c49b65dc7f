/* Checks the reasons against a recovery one after another, and walks through the phases of a recovery. Any
 * thread; owns nothing. */
#include "watchdog/policy.h"

#include "watchdog/evict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* After the kill of the main process systemd sends SIGTERM to the others, but SIGKILL only after
 * TimeoutStopSec=, 90 s by default. A recovery waits no longer than this. */
#define STOPPING_MS 2000

/* RestartSec= is 100 ms by default. A recovery does not wait for one that is longer than this. */
#define RESTARTING_MS 1000

/* The effect of an order shows within this time, even if the unit exits at once. */
#define STARTING_MS 1000

/* If a unit exits at once, a recovery starts it no more often than this. */
#define STARTS_MAX 2

/* A process that hangs does not wait for a processor, so its control group shows about 0 %. One that is
 * starved of CPU shows up to 100 %; the average of 10 s has reached about 50 % after the 6.5 s of three
 * tries. */
#define PRESSURE_MAX 40

/* The pause between two requests of a recovery, since a proxy may limit their rate. */
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

/* True: a recovery would act against an operator's will or get in the way of systemd; out says why. */
static bool leave_alone(const struct policy_facts *f, struct policy_decision *out)
{
    const struct unit_status *unit = f->unit;
    bool is_dead_only = f->rogues->count == 0;
    if (unit->load == UNIT_MASKED)
        decide(out, POLICY_NOTHING, "%s is masked: left alone", unit->id);
    else if (unit->load != UNIT_LOADED)
        decide(out, POLICY_NOTHING, "%s is not loaded: nothing to recover", unit->id);
    else if (unit->state == UNIT_INACTIVE)
        decide(out, POLICY_NOTHING, "%s was stopped or never started: left alone", unit->id);
    else if (unit->state == UNIT_STOPPING)
        decide(out, POLICY_NOTHING, "%s is being stopped: left alone", unit->id);
    else if (unit->state == UNIT_ODD)
        decide(out, POLICY_NOTHING, "%s is in the state %s (%s): left alone", unit->id, unit->active,
               unit->sub);
    else if (unit->state == UNIT_STARTING && is_dead_only)
        decide(out, POLICY_NOTHING, "%s is being started (%s): left to its TimeoutStartSec=", unit->id,
               unit->sub);
    else if (unit->state == UNIT_RESTARTING && is_dead_only)
        decide(out, POLICY_NOTHING,
               "%s is in a restart loop: systemd has restarted it %" PRId64
               " times and will do so again; last result: %s",
               unit->id, unit->restarts, unit->result);
    else if (unit->job != 0 && is_dead_only)
        decide(out, POLICY_NOTHING, "systemd has a job for %s: left alone", unit->id);
    else
        return false;
    return true;
}

/* Says why the silence of a route that a proxy serves does not prove that the backend is silent. */
static void explain_doubt(const struct policy_facts *f, bool own_silence, struct policy_decision *out)
{
    const char *unit = f->unit->id;
    if (f->evidence.reached == 0)
        decide(out, POLICY_NOTHING, "nothing answers at %s, so the proxy is down or full: %s is left alone%s",
               f->watch->base_url, unit,
               f->watch->socket.len == 0 ? "; if there is no proxy, set 'listener' to the unit's port"
               : own_silence             ? ", although its listener is silent too"
                                         : "");
    else if (f->watch->socket.len == 0)
        decide(out, POLICY_NOTHING,
               "cannot tell whether %s or a proxy in front of it is silent: left alone; set 'listener' and "
               "'listener_protocol'",
               unit);
    else if (f->listener == LISTENER_ACCEPTS && f->watch->protocol == WATCH_NOT_ASKED)
        decide(out, POLICY_NOTHING,
               "%s accepts connections, but without 'listener_protocol' health-watch cannot tell whether it "
               "answers: left alone",
               unit);
    else
        decide(out, POLICY_NOTHING, "cannot tell whether %s is silent, its listener %s: left alone", unit,
               f->listener == LISTENER_ACCEPTS ? "accepts and closes connections" : "could not be asked");
}

/* Whether the backend itself is proven silent. False: out says why it is not killed. */
static bool is_proven(const struct policy_facts *f, struct policy_decision *out)
{
    const char *unit = f->unit->id;
    bool answers_itself = f->direct && f->evidence.unanswered == 0;
    bool accepts_now = f->direct && f->evidence.reached == 0 && f->listener == LISTENER_ACCEPTS;
    bool own_silence = f->direct || f->listener == LISTENER_SILENT || f->listener == LISTENER_GONE;
    if (answers_itself)
        decide(out, POLICY_NOTHING, "%s itself answers at %s: left alone", unit, f->watch->base_url);
    else if (f->listener == LISTENER_ANSWERS)
        decide(out, POLICY_NOTHING, "%s answers at %s, so the fault is in front of it: left alone", unit,
               f->watch->listener);
    else if (accepts_now)
        decide(out, POLICY_NOTHING, "%s refused or closed each connection, but now accepts them: left alone",
               unit);
    else if (f->rogues->hidden)
        decide(out, POLICY_NOTHING, "the sandbox hides the listener of %s: left alone", unit);
    else if (f->cpu_pressure >= PRESSURE_MAX)
        decide(out, POLICY_NOTHING,
               "%s and this machine are starved of CPU: all processes of the unit waited for a processor in "
               "%d %% of the last 10 s; left alone",
               unit, f->cpu_pressure);
    else if (!f->direct && (f->evidence.reached == 0 || (f->evidence.hung == 0 && !own_silence)))
        explain_doubt(f, own_silence, out);
    else
        return true;
    return false;
}

/* The proof for a kill, as the report words it. */
static const char *proof(const struct policy_facts *f)
{
    return f->listener == LISTENER_GONE     ? "its listener is gone"
           : f->listener == LISTENER_SILENT ? "its listener is silent too"
           : f->direct                      ? "it does not answer"
                                            : "the proxy reports that it hangs";
}

/* True: it is too early for a recovery, or there were too many; out says which. */
static bool hold_back(const struct policy_facts *f, struct policy_decision *out)
{
    const struct watch *watch = f->watch;
    const struct unit_status *unit = f->unit;
    int64_t last_ms = state_last_age_ms(f->state, f->now);
    int64_t wait_ms = state_wait_ms(f->state, f->now, watch->budget);
    bool has_process = unit->state == UNIT_RUNNING || unit->state == UNIT_STARTING;
    if (watch->budget == 0)
        decide(out, POLICY_NOTHING, "budget is 0: recoveries are disabled");
    else if (wait_ms > 0)
        decide(
            out, POLICY_NOTHING,
            "RECOVERY BUDGET SPENT: %zu recoveries in the last hour, %zu of them did not help; the next is "
            "possible in %" PRId64 " min: somebody must look at %s",
            state_count_recent(f->state, f->now, false), state_count_recent(f->state, f->now, true),
            wait_ms / 60000 + 1, unit->id);
    else if (f->rogues->count == 0 && has_process && unit->started_ms < watch->start_grace_ms)
        decide(out, POLICY_NOTHING,
               "%s was started %" PRId64 " s ago (restart %" PRId64 "), within its start grace of %" PRId64
               " s: left alone",
               unit->id, unit->started_ms / 1000, unit->restarts, watch->start_grace_ms / 1000);
    else if (f->rogues->count == 0 && has_process && unit->started_ms < f->tried_ms)
        decide(out, POLICY_NOTHING, "%s was started %" PRId64 " ms ago, after the first try: left alone",
               unit->id, unit->started_ms);
    else if (last_ms < watch->cooldown_ms)
        decide(out, POLICY_NOTHING,
               "the last recovery was %" PRId64 " s ago, within the cooldown of %" PRId64 " s: left alone",
               last_ms / 1000, watch->cooldown_ms / 1000);
    else
        return false;
    return true;
}

/* True: at least one rogue must stay, and out says why. Then all stay, since one is enough to block the unit.
 */
static bool rogues_stay(const struct policy_facts *f, struct policy_decision *out)
{
    const struct rogue *stays = NULL;
    for (size_t i = 0; i < f->rogues->count && stays == NULL; i++)
        if (!evict_may(&f->rogues->items[i]))
            stays = &f->rogues->items[i];
    if (f->rogues->count == 0)
        return false;
    if (!f->watch->evict_rogue)
        decide(out, POLICY_NOTHING, "evict_rogue is no: the rogue is left alone");
    else if (stays != NULL && stays->owner[0] != '\0')
        decide(out, POLICY_NOTHING, "the rogue belongs to %s: left alone; stop that, or correct 'listener'",
               stays->owner);
    else if (stays != NULL)
        decide(out, POLICY_NOTHING, "cannot tell for sure that the rogue holds the listener: left alone");
    return out->why[0] != '\0';
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
        decide(out, POLICY_EVICT, "evict the rogue and make sure that %s runs", unit->id);
    else if (has_failed)
        decide(out, POLICY_START, "start %s, which has failed (%s)", unit->id, unit->result);
    else if (unit->main_pid > 0)
        decide(out, POLICY_KILL, "kill main process %d of %s: %s", (int)unit->main_pid, unit->id,
               proof(facts));
    else
        decide(out, POLICY_KILL, "kill the processes of %s: %s", unit->id, proof(facts));
}

bool policy_still_holds(enum policy_action action, const struct unit_status *judged,
                        const struct unit_status *unit)
{
    switch (action) {
    case POLICY_KILL:
    case POLICY_START:
        return unit->state == judged->state && unit->job == 0 && unit->main_pid == judged->main_pid &&
               unit->start_us == judged->start_us;
    case POLICY_EVICT: /* evict_run itself looks at the rogues again */
        return unit->load == UNIT_LOADED && unit->state != UNIT_INACTIVE && unit->state != UNIT_STOPPING;
    case POLICY_NOTHING: break;
    }
    return true;
}

static enum policy_step next_running(struct policy_progress *p, const struct unit_status *unit,
                                     int64_t now_ms)
{
    if (p->old_pid != 0 && unit->main_pid == p->old_pid)
        return POLICY_WAIT; /* systemd has not noticed yet */
    p->phase = PHASE_CAME;
    if (now_ms < p->ask_at_ms)
        return POLICY_WAIT;
    p->ask_at_ms = now_ms + ASK_EVERY_MS;
    return POLICY_ASK;
}

/* systemd stops the rest of a killed unit without a job, and the rest of a failed start by the job of that
 * start. Our own restart includes a stop. Any other job was ordered by somebody else. Processes that ignore
 * SIGTERM are killed; an ExecStopPost= that still works is not. */
static enum policy_step next_stopping(struct policy_progress *p, const struct unit_status *unit,
                                      int64_t now_ms)
{
    bool ignores_sigterm = strstr(unit->sub, "sigterm") != NULL; /* stop-sigterm, final-sigterm */
    if (unit->job != 0 && unit->job != p->start_job && p->phase != PHASE_RESTARTED)
        p->phase = PHASE_FOREIGN;
    if (!ignores_sigterm)
        p->since_ms = now_ms;
    if (p->phase == PHASE_FOREIGN || now_ms - p->since_ms < STOPPING_MS)
        return POLICY_WAIT;
    p->since_ms = INT64_MAX; /* so that this happens only once */
    return POLICY_KILL_ALL;
}

static enum policy_step next_restarting(struct policy_progress *p, int64_t now_ms)
{
    int64_t pause_ms = p->phase == PHASE_EVICTED ? 0 : RESTARTING_MS;
    if (p->restarted || now_ms - p->since_ms < pause_ms)
        return POLICY_WAIT;
    p->phase = PHASE_RESTARTED;
    p->restarted = true;
    p->ordered_at_ms = now_ms;
    return POLICY_RESTART_IT;
}

/* Whether somebody has stopped the unit, or it has exited cleanly. No recovery begins with an inactive unit,
 * so one that is inactive now was stopped or exited cleanly since then. If our kill made the unit fail, and
 * systemd should have restarted it and did not, somebody stopped it between two looks. */
static bool was_stopped(const struct policy_progress *p, const struct unit_status *unit)
{
    bool would_restart = unit->restarts_itself && unit->restarts == p->old_restarts;
    switch (p->phase) {
    case PHASE_FOREIGN: return true;
    case PHASE_STARTED: return false;
    case PHASE_KILLED:
        return would_restart && (unit->state == UNIT_INACTIVE || strcmp(unit->result, "signal") == 0);
    case PHASE_EVICTED:
    case PHASE_RESTARTED:
    case PHASE_CAME: break;
    }
    return unit->state == UNIT_INACTIVE;
}

static enum policy_step next_ended(struct policy_progress *p, const struct unit_status *unit, int64_t now_ms)
{
    bool is_ordered = p->phase == PHASE_STARTED || p->phase == PHASE_RESTARTED;
    if (unit->job != 0)
        p->start_job = unit->job; /* a job for a unit that is down can only be a start */
    if (unit->job != 0 || (is_ordered && now_ms - p->ordered_at_ms < STARTING_MS))
        return POLICY_WAIT;
    if (was_stopped(p, unit))
        return POLICY_LEAVE;
    if (p->starts >= STARTS_MAX)
        return POLICY_GIVE_UP;
    p->phase = PHASE_STARTED;
    p->starts++;
    p->ordered_at_ms = now_ms;
    return POLICY_START_IT;
}

enum policy_step policy_next(struct policy_progress *progress, const struct unit_status *unit, int64_t now_ms)
{
    if (unit->state != progress->last_state)
        progress->since_ms = now_ms;
    progress->last_state = unit->state;
    switch (unit->state) {
    case UNIT_RUNNING: return next_running(progress, unit, now_ms);
    case UNIT_STARTING:
        progress->phase = PHASE_CAME;
        progress->start_job = unit->job;
        return POLICY_WAIT;
    case UNIT_STOPPING: return next_stopping(progress, unit, now_ms);
    case UNIT_RESTARTING: return next_restarting(progress, now_ms);
    case UNIT_INACTIVE:
    case UNIT_FAILED: return next_ended(progress, unit, now_ms);
    case UNIT_ODD: break;
    }
    return POLICY_WAIT;
}
