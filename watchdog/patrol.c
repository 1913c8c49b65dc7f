/* Makes one run: decide_and_act acts on the first look, and a second look shows whether that helped. Main
 * thread; owns the lock, both looks and the report. */
#include "watchdog/patrol.h"

#include "common/clock.h"
#include "watchdog/check.h"
#include "watchdog/policy.h"
#include "watchdog/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* A run that recovers nothing takes a few seconds. A second run, started by hand, waits this long for it. */
#define LOCK_WAIT_MS 10000

struct patrol {
    const struct watch *watch;
    const struct patrol_options *options;
    char state_path[4096];
    int lock;
    struct state state;
    struct survey first;
    struct survey second; /* after a recovery */
    struct unit_status unit;
    bool unit_known;
    int64_t began_ns;
    int64_t tried_ms; /* from the first try to the look at the unit */
    struct rogue_list rogues;
    struct recovery recovery;
    struct report report;
};

static void raise_level(struct patrol *p, enum judge_level level)
{
    p->report.level = judge_worse(p->report.level, level);
}

/* False: another run holds the lock, and out says so. A run that cannot create its lock looks and reports,
 * but does not act. */
static bool take_lock(struct patrol *p, struct buf *out)
{
    struct error err = {0};
    if (p->watch->unit == NULL || p->options->dry_run)
        return true;
    switch (state_lock(p->state_path, LOCK_WAIT_MS, &p->lock, &err)) {
    case STATE_LOCKED: break;
    case STATE_TAKEN:
        buf_appendf(out, "health-watch: %s, so this run does nothing (--dry-run needs no lock)\n", err.text);
        return false;
    case STATE_NO_LOCK:
        report_add(&p->report, "state", "cannot take the lock, so health-watch recovers nothing: %s",
                   err.text);
        raise_level(p, JUDGE_NO_IDEA);
        break;
    }
    return true;
}

static void load_state(struct patrol *p)
{
    struct error err = {0};
    if (p->watch->unit == NULL || state_load(p->state_path, &p->state, &err))
        return;
    report_add(&p->report, "state", "health-watch forgets earlier recoveries: %s", err.text);
}

static void ask_systemd(struct patrol *p)
{
    struct error err = {0};
    if (p->watch->unit == NULL)
        return;
    enum unit_answer answer = unit_show(p->watch->unit, &p->unit, &err);
    p->tried_ms = (clock_now_ns() - p->began_ns) / NS_PER_MS;
    p->unit_known = answer == UNIT_OK && (p->unit.load == UNIT_LOADED || p->unit.load == UNIT_MASKED);
    if (!p->unit_known)
        raise_level(p, JUDGE_NO_IDEA);
    if (answer != UNIT_OK) {
        report_add(&p->report, "unit", "cannot ask systemd about %s: %s", p->watch->unit, err.text);
    } else if (!p->unit_known) {
        report_add(&p->report, "unit", "%s %s", p->watch->unit,
                   p->unit.load == UNIT_NOT_FOUND ? "does not exist" : "cannot be loaded by systemd");
    }
}

static void find_rogues(struct patrol *p)
{
    char who[600];
    if (!p->unit_known || p->watch->socket.len == 0)
        return;
    rogue_find(&p->watch->socket, &p->unit, &p->rogues);
    if (p->rogues.count > 0)
        raise_level(p, JUDGE_CRITICAL);
    for (size_t i = 0; i < p->rogues.count && i < ROGUES_NAMED; i++) {
        rogue_describe(&p->rogues.items[i], who, sizeof who);
        report_add(&p->report, "rogue", "a process that does not belong to %s holds %s: %s", p->watch->unit,
                   p->watch->listener, who);
    }
    if (p->rogues.count > ROGUES_NAMED)
        report_add(&p->report, "rogue", "%zu more processes hold it%s", p->rogues.count - ROGUES_NAMED,
                   p->rogues.more ? ", and others that were not counted" : "");
    if (p->rogues.count == 0 && p->rogues.unseen)
        report_add(&p->report, "rogue",
                   "cannot tell which processes hold %s: this user cannot see all of them",
                   p->watch->listener);
    if (p->rogues.hidden)
        report_add(&p->report, "listener", "%s exists, but the sandbox hides it (PrivateTmp=, ProtectHome=)",
                   p->watch->listener);
}

/* A dry run guards nothing, so the timer must. */
static void look_for_timer(struct patrol *p)
{
    char why[200];
    if (!p->unit_known || !p->options->dry_run || check_timer(why, sizeof why) != CHECK_TIMER_IDLE)
        return;
    report_add(&p->report, "timer", "%s", why);
    raise_level(p, JUDGE_WARNING);
}

/* Whether base_url is the unit's own socket: either the watch file says so, or only the unit's processes hold
 * the address of base_url. That address must be local: a wildcard socket here would also match another
 * machine's address. */
static bool is_direct(const struct patrol *p)
{
    struct rogue_list *held = mem_calloc(1, sizeof *held);
    bool direct = watchfile_is_direct(p->watch);
    if (!direct && address_is_loopback(&p->watch->base)) {
        rogue_find(&p->watch->base, &p->unit, held);
        direct = held->own && held->count == 0;
    }
    free(held);
    return direct;
}

/* Writes the recovery to the state file before it begins. Otherwise a run that is killed half-way, or a full
 * disk, could exceed the budget. */
static bool remember(struct patrol *p, const struct state_time *now)
{
    struct error err = {0};
    state_add(&p->state, now);
    if (state_save(p->state_path, &p->state, &err))
        return true;
    report_add(&p->report, "recovery", "not attempted, because the state file cannot be written: %s",
               err.text);
    raise_level(p, JUDGE_CRITICAL);
    return false;
}

/* Corrects the entry of remember, which says that the recovery did not help. */
static void remember_result(struct patrol *p)
{
    struct error err = {0};
    if (p->recovery.action == POLICY_NOTHING)
        state_drop_last(&p->state);
    else
        state_set_helped(&p->state, p->recovery.ok);
    if (!state_save(p->state_path, &p->state, &err))
        report_add(&p->report, "state", "cannot write how the recovery ended: %s", err.text);
}

static void report_recovery(struct patrol *p)
{
    const struct recovery *r = &p->recovery;
    if (r->action == POLICY_NOTHING) {
        report_add(&p->report, "recovery", "%s", r->text);
        return;
    }
    report_add(&p->report, "recovery", "%s after %" PRId64 ".%" PRId64 " s: %s", r->ok ? "done" : "FAILED",
               r->took_ms / 1000, r->took_ms % 1000 / 100, r->text);
    /* Even a recovery that succeeded needs an explanation. */
    raise_level(p, r->ok ? JUDGE_WARNING : JUDGE_CRITICAL);
}

static void decide_and_act(struct patrol *p)
{
    struct state_time now;
    struct policy_decision decision;
    struct policy_facts facts = {
        .watch = p->watch,
        .evidence = judge_evidence(p->watch, p->first.routes),
        .tried_ms = p->tried_ms,
        .unit = &p->unit,
        .rogues = &p->rogues,
        .state = &p->state,
        .now = &now,
    };
    if (facts.evidence.dead > 0 && p->unit.state == UNIT_RUNNING && p->rogues.count == 0) {
        facts.direct = is_direct(p);
        facts.listener =
            p->rogues.hidden ? LISTENER_NOT_ASKED : listener_ask(p->watch, &p->first, facts.direct);
        facts.cpu_pressure = unit_cpu_pressure(&p->unit);
    }
    state_now(&now);
    policy_decide(&facts, &decision);
    if (decision.why[0] == '\0')
        return;
    if (decision.action == POLICY_NOTHING) {
        report_add(&p->report, "recovery", "%s", decision.why);
    } else if (p->lock < 0) {
        report_add(&p->report, "recovery", "%s, would now %s",
                   p->options->dry_run ? "dry run" : "not attempted without the lock", decision.why);
    } else if (remember(p, &now)) {
        recover_run(&facts, decision.action, &p->first, &p->recovery);
        remember_result(p);
        report_recovery(p);
    }
}

/* Reports a site that answers although its unit is down: in one incident a deploy had no effect because
 * another process served the site. */
static void compare_unit_with_routes(struct patrol *p)
{
    bool is_down =
        p->unit.state == UNIT_FAILED || p->unit.state == UNIT_RESTARTING || p->unit.state == UNIT_INACTIVE;
    size_t answering = 0;
    for (size_t i = 0; i < p->watch->route_count; i++)
        answering += p->watch->routes[i].liveness && judge_answers(&p->first.routes[i]);
    if (!p->unit_known || !is_down || answering == 0 || p->rogues.count > 0)
        return;
    report_add(&p->report, "unit",
               "%s is %s (%s, %" PRId64 " restarts), yet its routes answer: find out what serves them",
               p->unit.id, p->unit.active, p->unit.sub, p->unit.restarts);
    raise_level(p, JUDGE_WARNING);
}

/* False: err says why health-watch cannot look. */
static bool look_and_act(struct patrol *p, struct error *err)
{
    p->began_ns = clock_now_ns();
    if (!survey_run(&p->first, p->watch, p->watch->unit != NULL, err))
        return false;
    ask_systemd(p);
    find_rogues(p);
    look_for_timer(p);
    if (p->unit_known)
        decide_and_act(p);
    compare_unit_with_routes(p);
    if (p->recovery.action != POLICY_NOTHING) {
        survey_init(&p->second, p->watch);
        return survey_run(&p->second, p->watch, false, err);
    }
    return survey_run(&p->first, p->watch, false, err);
}

static void finish_report(struct patrol *p, struct buf *out)
{
    struct report *report = &p->report;
    bool has_second = p->second.routes != NULL;
    report->watch = p->watch;
    report->before = has_second ? &p->first : NULL;
    report->survey = has_second ? &p->second : &p->first;
    report->rogues = &p->rogues;
    report->recovery = &p->recovery;
    raise_level(p, judge_all(p->watch, report->survey->routes, &report->counts));
    if (p->recovery.action == POLICY_EVICT && p->recovery.ok)
        report->level =
            judge_worse(JUDGE_WARNING, judge_all(p->watch, report->survey->routes, &report->counts));
    if (p->options->format == PATROL_JSON)
        report_json(report, out);
    else
        report_text(report, p->options->format == PATROL_VERBOSE, out);
}

enum judge_level patrol_run(const struct watch *watch, const struct patrol_options *options, struct buf *out)
{
    struct patrol *p = mem_calloc(1, sizeof *p);
    struct error err = {0};
    enum judge_level level = JUDGE_NO_IDEA;
    p->watch = watch;
    p->options = options;
    p->lock = -1;
    survey_init(&p->first, watch);
    if (watch->unit != NULL)
        state_path(watch->state_file, watch->unit, p->state_path, sizeof p->state_path);
    if (!take_lock(p, out))
        goto out;
    load_state(p);
    if (look_and_act(p, &err)) {
        finish_report(p, out);
        level = p->report.level;
    } else {
        buf_appendf(out, "health-watch: %s\n", err.text);
    }
out:
    if (p->lock >= 0)
        close(p->lock);
    survey_free(&p->first);
    survey_free(&p->second);
    free(p);
    return level;
}
