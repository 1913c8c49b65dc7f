/* When to act, and what a recovery does next: tables. */
#include "tests/unit/unit.h"

#include "watchdog/evict.h"
#include "watchdog/policy.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MINUTE_MS INT64_C(60000)

struct scene {
    struct watch watch;
    struct unit_status unit;
    struct rogue_list rogues;
    struct state state;
    struct state_time now;
    size_t dead;
};

/* A unit that runs for an hour, hangs, and was never recovered. */
static struct scene hanging(void)
{
    struct scene s = {
        .watch = {.budget = 3, .start_grace_ms = 20000, .cooldown_ms = MINUTE_MS, .evict_rogue = true},
        .unit = {.id = "site.service",
                 .load = UNIT_LOADED,
                 .state = UNIT_RUNNING,
                 .main_pid = 4242,
                 .started_ms = 60 * MINUTE_MS},
        .now = {.boot_id = "a", .boot_ms = 600 * MINUTE_MS},
        .dead = 1,
    };
    return s;
}

static struct rogue a_rogue(void)
{
    struct rogue rogue = {
        .holder = {.pid = 77777, .start_ticks = 1}, .is_holder = true, .cgroup = "/user.slice"};
    return rogue;
}

static void add_rogue(struct scene *s)
{
    s->rogues.items[s->rogues.count++] = a_rogue();
}

static void recovered_before(struct scene *s, int64_t age_ms)
{
    struct state_time then = s->now;
    then.boot_ms -= age_ms;
    state_add(&s->state, &then);
}

static void expect(const char *what, const struct scene *s, enum policy_action action, const char *words)
{
    struct policy_facts facts = {&s->watch, s->dead, &s->unit, &s->rogues, &s->state, &s->now};
    struct policy_decision decision;
    policy_decide(&facts, &decision);
    if (decision.action != action || (words[0] == '\0') != (decision.why[0] == '\0') ||
        strstr(decision.why, words) == NULL)
        fail_msg("%s: action %d, '%s', expected %d with '%s'", what, (int)decision.action, decision.why,
                 (int)action, words);
}

static void a_hung_unit_is_killed_once_however_many_routes_are_dead(void **state)
{
    (void)state;
    struct scene s = hanging();
    expect("hangs", &s, POLICY_KILL, "main process 4242");
    s.dead = 5;
    expect("five routes", &s, POLICY_KILL, "main process 4242");
    s.dead = 0;
    expect("answers", &s, POLICY_NOTHING, "");
    s = hanging();
    s.unit.main_pid = 0;
    expect("no main pid", &s, POLICY_KILL, "the processes of site.service");
    s = hanging();
    s.unit.state = UNIT_STARTING;
    expect("starts for too long", &s, POLICY_KILL, "4242");
}

static void a_failed_unit_is_started(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.unit.state = UNIT_FAILED;
    s.unit.started_ms = 1000;
    expect("failed just after its start", &s, POLICY_START, "start site.service");
}

static void somebody_s_will_and_systemd_s_own_work_are_respected(void **state)
{
    (void)state;
    static const struct {
        enum unit_load load;
        enum unit_state state;
        const char *words;
    } rows[] = {
        {UNIT_MASKED, UNIT_RUNNING, "masked"},
        {UNIT_MASKED, UNIT_INACTIVE, "masked"},
        {UNIT_LOADED, UNIT_INACTIVE, "was stopped"},
        {UNIT_LOADED, UNIT_STOPPING, "being stopped"},
        {UNIT_LOADED, UNIT_ODD, "state"},
        {UNIT_LOADED, UNIT_RESTARTING, "restart loop"},
        {UNIT_NOT_FOUND, UNIT_INACTIVE, "not loaded"},
        {UNIT_BAD, UNIT_INACTIVE, "not loaded"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s = hanging();
        s.unit.load = rows[i].load;
        s.unit.state = rows[i].state;
        expect(rows[i].words, &s, POLICY_NOTHING, rows[i].words);
        add_rogue(&s);
        if (rows[i].state != UNIT_RESTARTING)
            expect("with a rogue", &s, POLICY_NOTHING, rows[i].words);
    }
}

static void a_start_has_its_grace(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.unit.started_ms = 19999;
    expect("grace", &s, POLICY_NOTHING, "start grace");
    s.unit.started_ms = 20000;
    expect("after it", &s, POLICY_KILL, "kill");
}

static void cooldown_and_budget_hold_back(void **state)
{
    (void)state;
    struct scene s = hanging();
    recovered_before(&s, 59000);
    expect("cooldown", &s, POLICY_NOTHING, "cooldown");
    s = hanging();
    recovered_before(&s, 60000);
    expect("after it", &s, POLICY_KILL, "kill");
    recovered_before(&s, 50000);
    recovered_before(&s, 40000);
    expect("spent", &s, POLICY_NOTHING, "BUDGET SPENT: 3 recoveries");
    s.unit.started_ms = 0;
    expect("spent, in grace too", &s, POLICY_NOTHING, "BUDGET SPENT");
    s.unit.state = UNIT_FAILED;
    expect("spent, failed", &s, POLICY_NOTHING, "BUDGET SPENT");
    s = hanging();
    s.watch.budget = 0;
    expect("switched off", &s, POLICY_NOTHING, "switched off");
    s = hanging();
    for (int i = 0; i < 3; i++)
        recovered_before(&s, 60 * MINUTE_MS);
    expect("an hour later", &s, POLICY_KILL, "kill");
}

static void a_rogue_is_evicted_even_while_the_unit_is_in_its_restart_loop(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.unit.state = UNIT_RESTARTING;
    s.unit.started_ms = 0;
    s.dead = 0;
    add_rogue(&s);
    expect("restart loop", &s, POLICY_EVICT, "evict");
    s.watch.evict_rogue = false;
    expect("not allowed", &s, POLICY_NOTHING, "evict_rogue is no");
    s.watch.evict_rogue = true;
    recovered_before(&s, 1000);
    expect("cooldown", &s, POLICY_NOTHING, "cooldown");
}

static void only_a_certain_rogue_that_is_nobody_s_service_is_evicted(void **state)
{
    (void)state;
    struct scene s = hanging();
    add_rogue(&s);
    snprintf(s.rogues.items[0].service, sizeof s.rogues.items[0].service, "nginx.service");
    expect("another service", &s, POLICY_NOTHING, "belongs to nginx.service");
    s.rogues.items[0] = a_rogue();
    s.rogues.items[0].is_holder = false;
    expect("not certain", &s, POLICY_NOTHING, "cannot be told for sure");
    struct rogue rogue = a_rogue();
    assert_true(evict_may(&rogue));
    rogue.holder.pid = 1;
    assert_false(evict_may(&rogue));
    rogue.holder.pid = getpid();
    assert_false(evict_may(&rogue));
    rogue = a_rogue();
    rogue.holder.start_ticks = 0;
    assert_false(evict_may(&rogue));
}

/* A recovery as a row of states: a letter for each look, and the steps that must follow.
 * r running with the old pid, n with a new one, s stopping, a auto-restart, t starting, f failed, i inactive,
 * q inactive with a queued job; the looks are step_ms apart.
 * w wait, A ask, K kill all, S start, R restart, M kill main, G give up. */
static void expect_steps(pid_t old_pid, int64_t step_ms, const char *looks, const char *expected)
{
    static const char letters[] = {
        [POLICY_WAIT] = 'w',     [POLICY_ASK] = 'A',        [POLICY_KILL_MAIN] = 'M', [POLICY_KILL_ALL] = 'K',
        [POLICY_START_IT] = 'S', [POLICY_RESTART_IT] = 'R', [POLICY_GIVE_UP] = 'G'};
    struct policy_progress progress = {.old_pid = old_pid};
    char steps[64] = "";
    for (size_t i = 0; looks[i] != '\0'; i++) {
        struct unit_status unit = {.started_ms = INT64_MAX};
        switch (looks[i]) {
        case 'r':
            unit.state = UNIT_RUNNING;
            unit.main_pid = 10;
            break;
        case 'n':
            unit.state = UNIT_RUNNING;
            unit.main_pid = 11;
            unit.started_ms = 0;
            break;
        case 's': unit.state = UNIT_STOPPING; break;
        case 'a': unit.state = UNIT_RESTARTING; break;
        case 't': unit.state = UNIT_STARTING; break;
        case 'f': unit.state = UNIT_FAILED; break;
        case 'q': unit.has_job = true; /* fall through */
        default: unit.state = UNIT_INACTIVE; break;
        }
        steps[i] = letters[policy_next(&progress, &unit, (int64_t)i * step_ms)];
    }
    if (strcmp(steps, expected) != 0)
        fail_msg("%s gave %s, expected %s", looks, steps, expected);
}

static void a_recovery_goes_step_by_step(void **state)
{
    (void)state;
    expect_steps(10, 100, "rran", "wwwA");     /* systemd restarts it */
    expect_steps(10, 100, "snnn", "wAAA");     /* until it answers */
    expect_steps(10, 600, "ssssss", "wwwwKw"); /* processes that do not go, once */
    expect_steps(10, 600, "aaaaa", "wwRww");   /* a long RestartSec= */
    expect_steps(10, 600, "sasa", "wwww");     /* each wait counts from its own start */
    expect_steps(10, 100, "ftn", "SwA");       /* Restart=no */
    expect_steps(10, 100, "fqqqn", "SwwwA");   /* the order waits for others */
    expect_steps(10, 600, "fiiii", "SwSwG");   /* it ends each time */
    expect_steps(10, 600, "ffff", "SwSw");
    expect_steps(0, 100, "rrrrr", "AAMww"); /* it ran beside the rogue and still hangs: once */
    expect_steps(0, 100, "nnnn", "AAAA");   /* it is new, so it has its time */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hung_unit_is_killed_once_however_many_routes_are_dead),
        cmocka_unit_test(a_failed_unit_is_started),
        cmocka_unit_test(somebody_s_will_and_systemd_s_own_work_are_respected),
        cmocka_unit_test(a_start_has_its_grace),
        cmocka_unit_test(cooldown_and_budget_hold_back),
        cmocka_unit_test(a_rogue_is_evicted_even_while_the_unit_is_in_its_restart_loop),
        cmocka_unit_test(only_a_certain_rogue_that_is_nobody_s_service_is_evicted),
        cmocka_unit_test(a_recovery_goes_step_by_step),
    };
    return cmocka_run_group_tests_name("watch_policy", tests, NULL, NULL);
}
