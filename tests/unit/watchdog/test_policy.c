/* When health-watch acts, and which step of a recovery comes next. */
#include "tests/unit/unit.h"

#include "watchdog/evict.h"
#include "watchdog/policy.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct scene {
    struct watch watch;
    struct unit_status unit;
    struct rogue_list rogues;
    struct state state;
    struct state_time now;
    struct judge_evidence evidence;
    int64_t tried_ms;
    bool direct;
    enum listener_answer listener;
    int cpu_pressure;
};

static char base_url[] = "http://127.0.0.1";
static char listener[] = "unix:/run/site.sock";

/* A unit without a proxy that has run for an hour, hangs, and was never recovered. */
static struct scene hanging(void)
{
    struct scene s = {
        .watch = {.base_url = base_url,
                  .budget = 3,
                  .start_grace_ms = 20000,
                  .cooldown_ms = MINUTE_MS,
                  .evict_rogue = true},
        .unit = {.id = "site.service",
                 .load = UNIT_LOADED,
                 .state = UNIT_RUNNING,
                 .main_pid = 4242,
                 .started_ms = 60 * MINUTE_MS},
        .now = {.boot_id = "a", .boot_ms = 600 * MINUTE_MS},
        .evidence = {.dead = 1, .unanswered = 1, .reached = 1},
        .tried_ms = 6500,
        .direct = true,
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
    struct policy_facts facts = {.watch = &s->watch,
                                 .evidence = s->evidence,
                                 .tried_ms = s->tried_ms,
                                 .direct = s->direct,
                                 .listener = s->listener,
                                 .cpu_pressure = s->cpu_pressure,
                                 .unit = &s->unit,
                                 .rogues = &s->rogues,
                                 .state = &s->state,
                                 .now = &s->now};
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
    s.evidence = (struct judge_evidence){.dead = 5, .unanswered = 5, .reached = 5};
    expect("five routes", &s, POLICY_KILL, "main process 4242");
    s.evidence = (struct judge_evidence){.dead = 0};
    expect("answers", &s, POLICY_NOTHING, "");
    s = hanging();
    s.unit.main_pid = 0;
    expect("no main pid", &s, POLICY_KILL, "the processes of site.service");
}

/* For example with a long ExecStartPre=, or a Type=notify service that migrates its data for minutes. */
static void a_unit_that_is_being_started_is_left_to_systemd(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.unit.state = UNIT_STARTING;
    snprintf(s.unit.sub, sizeof s.unit.sub, "start");
    expect("with a main process", &s, POLICY_NOTHING, "being started (start): left to its TimeoutStartSec=");
    s.unit.main_pid = 0;
    snprintf(s.unit.sub, sizeof s.unit.sub, "start-pre");
    expect("start-pre", &s, POLICY_NOTHING, "being started (start-pre)");
    add_rogue(&s);
    expect("start-pre beside a rogue", &s, POLICY_EVICT, "evict");
}

/* NOT, GONE, SIL, ACC, ANS: the answer of the listener. */
static void with_a_proxy_only_the_backend_s_own_silence_counts(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct judge_evidence evidence;
        enum policy_action expected[5];
    } rows[] = {
#define NO   POLICY_NOTHING
#define KILL POLICY_KILL
        /*                                                                    NOT  GONE  SIL  ACC ANS */
        {"refused each time", {.dead = 1, .unanswered = 1}, {NO, NO, NO, NO, NO}},
        {"silent each time", {.dead = 1, .unanswered = 1, .reached = 1}, {NO, KILL, KILL, NO, NO}},
        {"nginx says unreachable", {.dead = 1, .reached = 1}, {NO, KILL, KILL, NO, NO}},
        {"nginx says hung", {.dead = 1, .reached = 1, .hung = 1}, {KILL, KILL, KILL, KILL, NO}},
        {"hung, then nginx dies", {.dead = 1, .unanswered = 1}, {NO, NO, NO, NO, NO}},
        {"one hung, one refused",
         {.dead = 2, .unanswered = 1, .reached = 1, .hung = 1},
         {KILL, KILL, KILL, KILL, NO}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int answer = LISTENER_NOT_ASKED; answer <= LISTENER_ANSWERS; answer++) {
            struct scene s = hanging();
            s.direct = false;
            s.evidence = rows[i].evidence;
            s.listener = (enum listener_answer)answer;
            if (answer != LISTENER_NOT_ASKED) {
                s.watch.listener = listener;
                s.watch.socket.len = 1;
            }
            expect(rows[i].what, &s, rows[i].expected[answer],
                   rows[i].expected[answer] == KILL ? "kill" : "left alone");
        }
    }
#undef NO
#undef KILL
}

static void without_a_proxy_silence_and_refusals_are_the_unit_s_own(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.evidence.reached = 0;
    expect("refused", &s, POLICY_KILL, "kill");
    s.listener = LISTENER_ACCEPTS;
    expect("it has opened its port in the meantime", &s, POLICY_NOTHING, "but now accepts them: left alone");
    s.evidence.reached = 1;
    expect("its workers hang", &s, POLICY_KILL, "kill");
    s.watch.listener = listener;
    s.listener = LISTENER_ANSWERS;
    expect("it answers now", &s, POLICY_NOTHING,
           "answers at unix:/run/site.sock, so the fault is in front of it: left alone");
    s = hanging();
    s.evidence.unanswered = 0;
    expect("504 of its own", &s, POLICY_NOTHING,
           "site.service itself answers at http://127.0.0.1: left alone");
}

static void a_unit_that_is_starved_of_cpu_is_not_killed(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.cpu_pressure = 39;
    expect("a busy machine", &s, POLICY_KILL, "kill");
    s.cpu_pressure = 40;
    expect("a starved one", &s, POLICY_NOTHING, "waited for a processor in 40 %");
}

static void a_process_that_started_after_the_first_try_is_not_killed(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.watch.start_grace_ms = 0;
    s.unit.started_ms = 6499;
    expect("restarted by hand after the first try", &s, POLICY_NOTHING,
           "was started 6499 ms ago, after the first try");
    s.unit.started_ms = 6500;
    expect("restarted right before the first try", &s, POLICY_KILL, "kill");
}

static void a_unit_with_a_queued_job_is_left_alone(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.unit.job = 77;
    expect("a queued restart", &s, POLICY_NOTHING, "systemd has a job for site.service: left alone");
}

/* Compares the unit that was judged with the unit right before the order. */
static void a_decision_applies_only_to_the_process_that_was_judged(void **state)
{
    (void)state;
    const struct unit_status judged = {.state = UNIT_RUNNING, .main_pid = 10, .start_us = 1000};
    const struct unit_status failed = {.state = UNIT_FAILED};
    struct unit_status now = judged;
    now.load = UNIT_LOADED;
    assert_true(policy_still_holds(POLICY_KILL, &judged, &now));
    now.main_pid = 11;
    assert_false(policy_still_holds(POLICY_KILL, &judged, &now));
    now = judged;
    now.start_us = 2000; /* another process has got the pid */
    assert_false(policy_still_holds(POLICY_KILL, &judged, &now));
    now = judged;
    now.job = 77;
    assert_false(policy_still_holds(POLICY_KILL, &judged, &now));
    now = judged;
    now.state = UNIT_STOPPING;
    assert_false(policy_still_holds(POLICY_KILL, &judged, &now));
    assert_false(policy_still_holds(POLICY_EVICT, &judged, &now));
    now.state = UNIT_RESTARTING;
    assert_true(policy_still_holds(POLICY_EVICT, &judged, &now));
    assert_true(policy_still_holds(POLICY_START, &failed, &failed));
    assert_false(policy_still_holds(POLICY_START, &failed, &judged));
}

static void a_failed_unit_is_started(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.unit.state = UNIT_FAILED;
    s.unit.started_ms = 1000;
    s.direct = false; /* a failed unit is started even if a proxy answers */
    expect("failed just after its start", &s, POLICY_START, "start site.service");
}

static void a_unit_that_an_operator_or_systemd_works_on_is_left_alone(void **state)
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

static void a_unit_that_has_just_started_is_left_alone(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.unit.started_ms = 19999;
    expect("grace", &s, POLICY_NOTHING, "start grace");
    s.unit.started_ms = 20000;
    expect("after the grace", &s, POLICY_KILL, "kill");
}

static void the_cooldown_and_the_budget_limit_recoveries(void **state)
{
    (void)state;
    struct scene s = hanging();
    recovered_before(&s, 59000);
    expect("cooldown", &s, POLICY_NOTHING, "cooldown");
    s = hanging();
    recovered_before(&s, 60000);
    expect("after the cooldown", &s, POLICY_KILL, "kill");
    state_set_helped(&s.state, true);
    recovered_before(&s, 50000);
    recovered_before(&s, 40000);
    expect("spent", &s, POLICY_NOTHING,
           "BUDGET SPENT: 3 recoveries in the last hour, 2 of them did not help");
    s.unit.started_ms = 0;
    expect("spent, in grace too", &s, POLICY_NOTHING, "BUDGET SPENT");
    s.unit.state = UNIT_FAILED;
    expect("spent, failed", &s, POLICY_NOTHING, "BUDGET SPENT");
    s = hanging();
    s.watch.budget = 0;
    expect("disabled", &s, POLICY_NOTHING, "recoveries are disabled");
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
    s.evidence = (struct judge_evidence){.dead = 0};
    add_rogue(&s);
    expect("restart loop", &s, POLICY_EVICT, "evict");
    s.watch.evict_rogue = false;
    expect("not allowed", &s, POLICY_NOTHING, "evict_rogue is no");
    s.watch.evict_rogue = true;
    recovered_before(&s, 1000);
    expect("cooldown", &s, POLICY_NOTHING, "cooldown");
}

static void a_rogue_is_evicted_only_if_it_is_certain_and_has_no_owner(void **state)
{
    (void)state;
    struct scene s = hanging();
    add_rogue(&s);
    snprintf(s.rogues.items[0].owner, sizeof s.rogues.items[0].owner, "nginx.service");
    expect("another service", &s, POLICY_NOTHING, "belongs to nginx.service");
    s.rogues.items[0] = a_rogue();
    s.rogues.items[0].is_holder = false;
    expect("not certain", &s, POLICY_NOTHING, "cannot tell for sure");
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

/* Plays a recovery: looks has one letter for the state of the unit at each look, and expected one for each
 * step. The looks are step_ms apart.
 *
 * Looks: r running with the old pid, n running with a new one, s stopping, p in its ExecStopPost=, j stopping
 * with a job, a auto-restart, t starting, u starting with a job, v the start with that job fails, f failed, i
 * inactive, q inactive with a queued job. The unit has Restart= in these: x failed by a signal, y the same
 * after systemd has tried a restart, e failed with an exit code, l failed at its start limit, o inactive.
 *
 * Steps: w wait, A ask, K kill all, S start, R restart, G give up, L leave. */
static void expect_steps(struct policy_progress progress, int64_t step_ms, const char *looks,
                         const char *expected)
{
    static const char letters[] = {
        [POLICY_WAIT] = 'w',       [POLICY_ASK] = 'A',     [POLICY_KILL_ALL] = 'K', [POLICY_START_IT] = 'S',
        [POLICY_RESTART_IT] = 'R', [POLICY_GIVE_UP] = 'G', [POLICY_LEAVE] = 'L'};
    char steps[64] = "";
    for (size_t i = 0; looks[i] != '\0'; i++) {
        struct unit_status unit = {.started_ms = INT64_MAX};
        switch (looks[i]) {
        case 'r':
            unit.state = UNIT_RUNNING;
            unit.main_pid = 10;
            unit.started_ms = 15000;
            break;
        case 'n':
            unit.state = UNIT_RUNNING;
            unit.main_pid = 11;
            unit.started_ms = 0;
            break;
        case 'j': unit.job = 77; /* fall through */
        case 's':
            snprintf(unit.sub, sizeof unit.sub, "stop-sigterm");
            unit.state = UNIT_STOPPING;
            break;
        case 'p':
            snprintf(unit.sub, sizeof unit.sub, "stop-post");
            unit.state = UNIT_STOPPING;
            break;
        case 'a': unit.state = UNIT_RESTARTING; break;
        case 't': unit.state = UNIT_STARTING; break;
        case 'u':
            unit.state = UNIT_STARTING;
            unit.job = 5;
            break;
        case 'v':
            snprintf(unit.sub, sizeof unit.sub, "stop-post");
            unit.state = UNIT_STOPPING;
            unit.job = 5;
            break;
        case 'y':
            snprintf(unit.result, sizeof unit.result, "signal");
            unit.restarts_itself = true;
            unit.restarts = 1;
            unit.state = UNIT_FAILED;
            break;
        case 'l':
            snprintf(unit.result, sizeof unit.result, "start-limit-hit");
            unit.restarts_itself = true;
            unit.state = UNIT_FAILED;
            break;
        case 'o':
            unit.restarts_itself = true;
            unit.state = UNIT_INACTIVE;
            break;
        case 'e':
            snprintf(unit.result, sizeof unit.result, "exit-code");
            unit.restarts_itself = true;
            unit.state = UNIT_FAILED;
            break;
        case 'x':
            snprintf(unit.result, sizeof unit.result, "signal");
            unit.restarts_itself = true;
            unit.state = UNIT_FAILED;
            break;
        case 'f': unit.state = UNIT_FAILED; break;
        case 'q': unit.job = 5; /* fall through */
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
    const struct policy_progress killed = {.old_pid = 10};
    expect_steps(killed, 500, "rran", "wwwA");         /* systemd restarts it */
    expect_steps(killed, 500, "snnn", "wAAA");         /* asked until it answers */
    expect_steps(killed, 100, "nnnnnnn", "AwwwwAw");   /* not asked at every look */
    expect_steps(killed, 600, "ssssss", "wwwwKw");     /* processes ignore SIGTERM: killed once */
    expect_steps(killed, 600, "pppppppn", "wwwwwwwA"); /* its ExecStopPost= runs */
    expect_steps(killed, 600, "aaaaa", "wwRww");       /* a long RestartSec= */
    expect_steps(killed, 600, "sasa", "wwww");         /* each state has its own limit */
    expect_steps(killed, 100, "ftn", "SwA");           /* Restart=no */
    expect_steps(killed, 100, "fqqqn", "SwwwA");       /* the start waits for other jobs */
    expect_steps(killed, 600, "fiiii", "SwSwG");       /* it exits after every start */
    expect_steps(killed, 600, "ffff", "SwSw");
}

static void an_order_of_somebody_else_is_respected(void **state)
{
    (void)state;
    const struct policy_progress started = {.phase = PHASE_STARTED, .starts = 1};
    const struct policy_progress killed = {.old_pid = 10};
    expect_steps(killed, 600, "nji", "AwL");        /* stopped */
    expect_steps(killed, 1000, "njjjji", "AwwwwL"); /* stopped slowly: not killed */
    expect_steps(killed, 600, "njf", "AwL");        /* stopped, but failed because of our kill */
    expect_steps(killed, 100, "rx", "wL");          /* stopped between two looks */
    expect_steps(killed, 100, "rltn", "wSwA");      /* not stopped: systemd has given up */
    expect_steps(killed, 600, "aytn", "wSwA");      /* the same; the result is still that of the kill */
    expect_steps(started, 600, "uve", "wwS");       /* not stopped: our own start fails */
    expect_steps(killed, 600, "auve", "wwwS");      /* not stopped: systemd's own start fails */
    expect_steps(started, 600, "qujjji", "wwwwwL"); /* stopped after our start */
    expect_steps(killed, 100, "ro", "wL");          /* stopped between two looks, and exited cleanly */
    expect_steps(killed, 100, "no", "AL");
    expect_steps(killed, 600, "njqtn", "AwwwA"); /* restarted */
    expect_steps(killed, 600, "njtni", "AwwAL"); /* restarted, then stopped */
    expect_steps(killed, 600, "njtne", "AwwAS"); /* restarted, then it fails by itself */
    expect_steps(killed, 600, "aaano", "wwRAL"); /* stopped after our restart */
    expect_steps(killed, 600, "aaaoo", "wwRwL");
    expect_steps(killed, 600, "ftjjjji", "SwwwwwL"); /* stopped after our start */
    expect_steps(killed, 600, "ftni", "SwAL");
    expect_steps(started, 600, "fjjjji", "wwwwwL");
    expect_steps(started, 600, "ni", "AL");
    expect_steps(started, 600, "faaa", "wwwR");          /* a long RestartSec= after our start */
    expect_steps(killed, 600, "aaajjjjjn", "wwRwwwwKA"); /* the job of our own restart */
    expect_steps(killed, 600, "aaajqtjjjjji", "wwRwwwwwwwwL");
}

/* With Restart=on-abnormal or on-abort systemd restarts the unit after the kill, but not after an exit code.
 */
static void a_unit_that_exits_by_itself_after_the_kill_is_started(void **state)
{
    (void)state;
    const struct policy_progress killed = {.old_pid = 10};
    expect_steps(killed, 600, "rne", "wAS");
    expect_steps(killed, 600, "re", "wS"); /* it started and exited between two looks */
    expect_steps(killed, 600, "rnx", "wAS");
    expect_steps(killed, 600, "aaaxx", "wwRwS");
    expect_steps(killed, 600, "reeee", "wSwSw");
}

static void after_an_eviction_the_unit_is_restarted_at_once(void **state)
{
    (void)state;
    const struct policy_progress evicted = {.phase = PHASE_EVICTED};
    expect_steps(evicted, 100, "aan", "RwA");     /* at once */
    expect_steps(evicted, 100, "tn", "wA");       /* systemd was faster: no second restart */
    expect_steps(evicted, 500, "rrrrr", "AAAAA"); /* it ran beside the rogue: the next run judges it */
    expect_steps(evicted, 500, "nnnn", "AAAA");
    expect_steps(evicted, 500, "ri", "AL"); /* stopped during the eviction */
    expect_steps(evicted, 500, "i", "L");
    expect_steps(evicted, 500, "ff", "Sw");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hung_unit_is_killed_once_however_many_routes_are_dead),
        cmocka_unit_test(a_unit_that_is_being_started_is_left_to_systemd),
        cmocka_unit_test(with_a_proxy_only_the_backend_s_own_silence_counts),
        cmocka_unit_test(without_a_proxy_silence_and_refusals_are_the_unit_s_own),
        cmocka_unit_test(a_unit_that_is_starved_of_cpu_is_not_killed),
        cmocka_unit_test(a_process_that_started_after_the_first_try_is_not_killed),
        cmocka_unit_test(a_unit_with_a_queued_job_is_left_alone),
        cmocka_unit_test(a_decision_applies_only_to_the_process_that_was_judged),
        cmocka_unit_test(a_failed_unit_is_started),
        cmocka_unit_test(a_unit_that_an_operator_or_systemd_works_on_is_left_alone),
        cmocka_unit_test(a_unit_that_has_just_started_is_left_alone),
        cmocka_unit_test(the_cooldown_and_the_budget_limit_recoveries),
        cmocka_unit_test(a_rogue_is_evicted_even_while_the_unit_is_in_its_restart_loop),
        cmocka_unit_test(a_rogue_is_evicted_only_if_it_is_certain_and_has_no_owner),
        cmocka_unit_test(a_recovery_goes_step_by_step),
        cmocka_unit_test(an_order_of_somebody_else_is_respected),
        cmocka_unit_test(a_unit_that_exits_by_itself_after_the_kill_is_started),
        cmocka_unit_test(after_an_eviction_the_unit_is_restarted_at_once),
    };
    return cmocka_run_group_tests_name("watch_policy", tests, NULL, NULL);
}
