/* Gives the first order of a recovery, then repeats: look at the unit, and carry out the step that
 * policy_next returns. Main thread; owns nothing. */
#include "watchdog/recover.h"

#include "common/clock.h"
#include "common/log.h"
#include "watchdog/evict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

/* The pause between two looks at the unit. */
#define LOOK_NS (100 * NS_PER_MS)

struct procedure {
    const struct policy_facts *facts;
    const struct survey *before;
    struct policy_progress progress;
    struct recovery *out;
    int64_t began_ns;
};

/* Logs a step and adds it to the text of the recovery. */
__attribute__((format(printf, 2, 3))) static void note(struct procedure *p, const char *format, ...)
{
    char *text = p->out->text;
    size_t used = strlen(text);
    va_list args;
    if (used > 0 && used + 2 < sizeof p->out->text) {
        memcpy(text + used, "; ", 3);
        used += 2;
    }
    va_start(args, format);
    vsnprintf(text + used, sizeof p->out->text - used, format, args);
    va_end(args);
    log_event(LOG_LEVEL_WARN, "recovery", LOG_STR("unit", p->facts->watch->unit),
              LOG_STR("step", text + used));
}

static int64_t elapsed_ms(const struct procedure *p)
{
    return (clock_now_ns() - p->began_ns) / NS_PER_MS;
}

/* Gives systemd an order. A refusal is noted but is not fatal: the next look at the unit decides. False:
 * systemd does not answer. */
static bool order(struct procedure *p, enum unit_order what)
{
    struct error err = {0};
    enum unit_answer answer = unit_order(what, p->facts->watch->unit, &err);
    if (answer != UNIT_OK)
        note(p, "%s", err.text);
    return answer != UNIT_SILENT;
}

static bool kill_main(struct procedure *p, pid_t pid)
{
    const char *unit = p->facts->watch->unit;
    if (pid > 0)
        note(p, "kill main process %d of %s with SIGKILL", (int)pid, unit);
    else
        note(p, "systemd knows no main process of %s: kill all its processes with SIGKILL", unit);
    return order(p, pid > 0 ? UNIT_KILL_MAIN : UNIT_KILL_ALL);
}

static bool start_unit(struct procedure *p)
{
    struct error err = {0};
    note(p, "start it");
    /* The unit may not be in the state failed, so an error of the reset does not matter. */
    (void)!unit_order(UNIT_RESET, p->facts->watch->unit, &err);
    return order(p, UNIT_START);
}

static void note_rogues(struct procedure *p)
{
    size_t named = 0;
    size_t more = 0;
    for (size_t i = 0; i < p->facts->rogues->count; i++) {
        const struct rogue *rogue = &p->facts->rogues->items[i];
        if (!evict_may(rogue))
            continue;
        if (named == ROGUES_NAMED) {
            more++;
            continue;
        }
        note(p, "evict pid %d", (int)rogue->holder.pid);
        named++;
    }
    if (more > 0)
        note(p, "and %zu more", more);
}

/* False: the recovery has failed already. */
static bool give_first_order(struct procedure *p, enum policy_action action)
{
    struct error err = {0};
    const struct unit_status *unit = p->facts->unit;
    switch (action) {
    case POLICY_KILL:
        p->progress = (struct policy_progress){
            .phase = PHASE_KILLED, .old_pid = unit->main_pid, .old_restarts = unit->restarts};
        return kill_main(p, unit->main_pid);
    case POLICY_START:
        p->progress = (struct policy_progress){.phase = PHASE_STARTED, .starts = 1};
        return start_unit(p);
    case POLICY_EVICT:
        note_rogues(p);
        if (!evict_run(&p->facts->watch->socket, unit, p->facts->rogues, &err)) {
            note(p, "%s", err.text);
            return false;
        }
        p->progress = (struct policy_progress){.phase = PHASE_EVICTED};
        return true;
    case POLICY_NOTHING: break;
    }
    return false;
}

static bool routes_answer(struct procedure *p)
{
    struct error err = {0};
    bool yes;
    if (survey_ask_dead(p->before, p->facts->watch, &yes, &err))
        return yes;
    note(p, "%s", err.text);
    return false;
}

enum end { GO_ON, RECOVERED, FAILED };

static enum end take_step(struct procedure *p, enum policy_step step, const struct unit_status *unit)
{
    const char *name = p->facts->watch->unit;
    bool ok = true;
    switch (step) {
    case POLICY_WAIT: break;
    case POLICY_ASK:
        if (!routes_answer(p))
            break;
        note(p, "%s runs as pid %d and answers", name, (int)unit->main_pid);
        return RECOVERED;
    case POLICY_KILL_ALL:
        note(p, "it does not stop: kill all its processes");
        ok = order(p, UNIT_KILL_ALL);
        break;
    case POLICY_START_IT: ok = start_unit(p); break;
    case POLICY_RESTART_IT:
        note(p, "systemd delays the restart: restart it now");
        ok = order(p, UNIT_RESTART);
        break;
    case POLICY_GIVE_UP: note(p, "%s exits after every start (%s)", name, unit->result); return FAILED;
    case POLICY_LEAVE:
        note(p, "somebody else stopped %s, or it exited cleanly: left alone", name);
        /* After our kill the unit is failed, so without the reset the next run would start it. */
        (void)(unit->state == UNIT_FAILED && strcmp(unit->result, "signal") == 0 && order(p, UNIT_RESET));
        return FAILED;
    }
    return ok ? GO_ON : FAILED;
}

static enum end follow_up(struct procedure *p)
{
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    int64_t began_ns = clock_now_ns(); /* without the time that an eviction took */
    struct unit_status unit = {.active = "unknown"};
    struct error err = {0};
    enum end end = GO_ON;
    for (int64_t now_ms = 0; end == GO_ON && now_ms < p->facts->watch->restart_wait_ms;
         now_ms = (clock_now_ns() - began_ns) / NS_PER_MS) {
        enum policy_step step = POLICY_WAIT;
        enum unit_answer answer = unit_show(p->facts->watch->unit, &unit, &err);
        if (answer == UNIT_OK)
            step = policy_next(&p->progress, &unit, now_ms);
        else
            snprintf(unit.active, sizeof unit.active, "in an unknown state");
        end = take_step(p, step, &unit);
        if (end == GO_ON)
            nanosleep(&pause, NULL);
    }
    if (end == GO_ON)
        note(p, "no answer within %" PRId64 " s; %s is %s (%s)", p->facts->watch->restart_wait_ms / 1000,
             p->facts->watch->unit, unit.active, unit.sub);
    return end;
}

/* Whether the decision still applies: an operator may have restarted the unit, or it may have exited. */
static bool still_holds(struct procedure *p, enum policy_action action)
{
    const struct unit_status *judged = p->facts->unit;
    struct unit_status now;
    struct error err = {0};
    enum unit_answer answer = unit_show(p->facts->watch->unit, &now, &err);
    if (answer == UNIT_OK && policy_still_holds(action, judged, &now))
        return true;
    if (answer != UNIT_OK)
        note(p, "not attempted, because systemd does not report the state of %s: %s", judged->id, err.text);
    else
        note(p,
             "not attempted: %s has changed since it was judged, it was %s as pid %d and is now %s (%s) "
             "as pid %d",
             judged->id, judged->active, (int)judged->main_pid, now.active, now.sub, (int)now.main_pid);
    p->out->action = POLICY_NOTHING;
    return false;
}

void recover_run(const struct policy_facts *facts, enum policy_action action, const struct survey *before,
                 struct recovery *out)
{
    struct procedure p = {.facts = facts, .before = before, .out = out, .began_ns = clock_now_ns()};
    *out = (struct recovery){.action = action};
    if (!still_holds(&p, action))
        return;
    out->ok = give_first_order(&p, action) && follow_up(&p) == RECOVERED;
    out->took_ms = elapsed_ms(&p);
    log_event(out->ok ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, out->ok ? "recovered" : "recovery failed",
              LOG_STR("unit", facts->watch->unit), LOG_INT("took_ms", out->took_ms));
}

const char *recover_action_name(enum policy_action action)
{
    static const char *const names[] = {[POLICY_NOTHING] = "none",
                                        [POLICY_KILL] = "kill",
                                        [POLICY_START] = "start",
                                        [POLICY_EVICT] = "evict"};
    return names[action];
}
