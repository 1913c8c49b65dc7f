/* When to act, and what a recovery does next: tables. */
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

/* A unit that runs for an hour, hangs when it is asked directly, and was never recovered. */
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

/* A long ExecStartPre=, or a Type=notify service that migrates for minutes. */
static void a_unit_that_is_being_started_is_left_to_systemd(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.unit.state = UNIT_STARTING;
    snprintf(s.unit.sub, sizeof s.unit.sub, "start");
    expect("with a main process", &s, POLICY_NOTHING, "being started (start): its TimeoutStartSec=");
    s.unit.main_pid = 0;
    snprintf(s.unit.sub, sizeof s.unit.sub, "start-pre");
    expect("start-pre", &s, POLICY_NOTHING, "being started (start-pre)");
    add_rogue(&s);
    expect("start-pre beside a rogue", &s, POLICY_EVICT, "evict");
}

/* All that is known of silence behind a proxy. NOT, GONE, SIL, ACC, ANS: what the listener says. */
static void behind_a_proxy_only_the_backend_s_own_silence_counts(void **state)
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
                   rows[i].expected[answer] == KILL ? "kill" : "not touched");
        }
    }
#undef NO
#undef KILL
}

/* No proxy is in between. */
static void asked_directly_silence_and_refusals_are_the_unit_s_own(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.evidence.reached = 0;
    expect("refused", &s, POLICY_KILL, "kill");
    s.listener = LISTENER_ACCEPTS;
    expect("it has opened its port since", &s, POLICY_NOTHING, "and takes them now: not touched");
    s.evidence.reached = 1;
    expect("its workers hang", &s, POLICY_KILL, "kill");
    s.watch.listener = listener;
    s.listener = LISTENER_ANSWERS;
    expect("it answers now", &s, POLICY_NOTHING,
           "answers at unix:/run/site.sock: the fault is in front of it; not touched");
    s = hanging();
    s.evidence.unanswered = 0;
    expect("504 of its own", &s, POLICY_NOTHING, "answers by itself at http://127.0.0.1: not touched");
}

static void what_was_kept_from_running_is_not_killed(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.cpu_pressure = 39;
    expect("a busy machine", &s, POLICY_KILL, "kill");
    s.cpu_pressure = 40;
    expect("a starved one", &s, POLICY_NOTHING, "waited for a processor in 40 %");
}

static void what_was_started_after_the_first_try_is_not_what_was_judged(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.watch.start_grace_ms = 0;
    s.unit.started_ms = 6499;
    expect("restarted by hand meanwhile", &s, POLICY_NOTHING, "was started 6499 ms ago, after the first try");
    s.unit.started_ms = 6500;
    expect("just before", &s, POLICY_KILL, "kill");
}

static void what_somebody_orders_at_the_moment_is_not_disturbed(void **state)
{
    (void)state;
    struct scene s = hanging();
    s.unit.job = 77;
    expect("a queued restart", &s, POLICY_NOTHING, "an order for site.service: not touched");
}

/* Right before the order: what was looked at, and what there is now. */
static void a_decision_holds_only_for_the_process_it_was_made_about(void **state)
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
    now.start_us = 2000; /* the number came again */
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
    s.direct = false; /* whoever answers: what has failed serves nobody */
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
    state_set_helped(&s.state, true);
    recovered_before(&s, 50000);
    recovered_before(&s, 40000);
    expect("spent", &s, POLICY_NOTHING,
           "BUDGET SPENT: 3 recoveries in the last hour, of which 2 did not help");
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
    s.evidence = (struct judge_evidence){.dead = 0};
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
    snprintf(s.rogues.items[0].owner, sizeof s.rogues.items[0].owner, "nginx.service");
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
 * r running with the old pid, n with a new one, s stopping, p in its ExecStopPost=, j stopping with a job, a
 * auto-restart, t starting, f failed; x failed by a signal although it restarts itself, y the same at its
 * start limit, e by its own exit code, l at its start limit, o inactive; i inactive, q inactive with a queued
 * job; the looks are step_ms apart. w wait, A ask, K kill all, S start, R restart, G give up, L leave. */
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
        case 'v': /* the start has failed, its order is not at its end */
            snprintf(unit.sub, sizeof unit.sub, "stop-post");
            unit.state = UNIT_STOPPING;
            unit.job = 5;
            break;
        case 'y': /* systemd has tried its restart, and was at its limit */
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
    expect_steps(killed, 500, "snnn", "wAAA");         /* until it answers */
    expect_steps(killed, 100, "nnnnnnn", "AwwwwAw");   /* not at every look */
    expect_steps(killed, 600, "ssssss", "wwwwKw");     /* processes that do not go, once */
    expect_steps(killed, 600, "pppppppn", "wwwwwwwA"); /* its ExecStopPost= is at work */
    expect_steps(killed, 600, "aaaaa", "wwRww");       /* a long RestartSec= */
    expect_steps(killed, 600, "sasa", "wwww");         /* each wait counts from its own start */
    expect_steps(killed, 100, "ftn", "SwA");           /* Restart=no */
    expect_steps(killed, 100, "fqqqn", "SwwwA");       /* the order waits for others */
    expect_steps(killed, 600, "fiiii", "SwSwG");       /* it ends each time */
    expect_steps(killed, 600, "ffff", "SwSw");
}

static void somebody_else_s_order_meanwhile_is_respected(void **state)
{
    (void)state;
    const struct policy_progress started = {.phase = PHASE_STARTED, .starts = 1};
    const struct policy_progress killed = {.old_pid = 10};
    expect_steps(killed, 600, "nji", "AwL");        /* stopped */
    expect_steps(killed, 1000, "njjjji", "AwwwwL"); /* takes its time: not killed */
    expect_steps(killed, 600, "njf", "AwL");        /* our kill has made it a failed one */
    expect_steps(killed, 100, "rx", "wL");          /* between two looks */
    expect_steps(killed, 100, "rltn", "wSwA");      /* systemd has given up, nobody has stopped it */
    expect_steps(killed, 600, "aytn", "wSwA");      /* the same: it keeps the result of the kill */
    expect_steps(started, 600, "uve", "wwS");       /* our own order, whose start fails */
    expect_steps(killed, 600, "auve", "wwwS");      /* systemd's own */
    expect_steps(started, 600, "qujjji", "wwwwwL"); /* and one that is not */
    expect_steps(killed, 100, "ro", "wL");          /* the same, and it has ended well */
    expect_steps(killed, 100, "no", "AL");
    expect_steps(killed, 600, "njqtn", "AwwwA"); /* restarted */
    expect_steps(killed, 600, "njtni", "AwwAL"); /* and stopped */
    expect_steps(killed, 600, "njtne", "AwwAS"); /* a bad end after that is its own */
    expect_steps(killed, 600, "aaano", "wwRAL"); /* after our restart */
    expect_steps(killed, 600, "aaaoo", "wwRwL");
    expect_steps(killed, 600, "ftjjjji", "SwwwwwL"); /* after our start */
    expect_steps(killed, 600, "ftni", "SwAL");
    expect_steps(started, 600, "fjjjji", "wwwwwL");
    expect_steps(started, 600, "ni", "AL");
    expect_steps(started, 600, "faaa", "wwwR");          /* a long RestartSec= after our start */
    expect_steps(killed, 600, "aaajjjjjn", "wwRwwwwKA"); /* the job of our own restart */
    expect_steps(killed, 600, "aaajqtjjjjji", "wwRwwwwwwwwL");
}

/* Restart=on-abnormal, on-abort: after the kill systemd starts it, after an exit code of its own it does not.
 */
static void what_ends_by_itself_after_the_kill_was_not_stopped_by_somebody(void **state)
{
    (void)state;
    const struct policy_progress killed = {.old_pid = 10};
    expect_steps(killed, 600, "rne", "wAS");
    expect_steps(killed, 600, "re", "wS"); /* it came and went between two looks */
    expect_steps(killed, 600, "rnx", "wAS");
    expect_steps(killed, 600, "aaaxx", "wwRwS");
    expect_steps(killed, 600, "reeee", "wSwSw");
}

static void after_an_eviction_the_unit_gets_its_chance(void **state)
{
    (void)state;
    const struct policy_progress evicted = {.phase = PHASE_EVICTED};
    expect_steps(evicted, 100, "aan", "RwA");     /* at once */
    expect_steps(evicted, 100, "tn", "wA");       /* systemd was faster: it is not restarted again */
    expect_steps(evicted, 500, "rrrrr", "AAAAA"); /* it ran beside the rogue: the next run judges it */
    expect_steps(evicted, 500, "nnnn", "AAAA");
    expect_steps(evicted, 500, "ri", "AL"); /* stopped while its rogue was ended */
    expect_steps(evicted, 500, "i", "L");
    expect_steps(evicted, 500, "ff", "Sw");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hung_unit_is_killed_once_however_many_routes_are_dead),
        cmocka_unit_test(a_unit_that_is_being_started_is_left_to_systemd),
        cmocka_unit_test(behind_a_proxy_only_the_backend_s_own_silence_counts),
        cmocka_unit_test(asked_directly_silence_and_refusals_are_the_unit_s_own),
        cmocka_unit_test(what_was_kept_from_running_is_not_killed),
        cmocka_unit_test(what_was_started_after_the_first_try_is_not_what_was_judged),
        cmocka_unit_test(what_somebody_orders_at_the_moment_is_not_disturbed),
        cmocka_unit_test(a_decision_holds_only_for_the_process_it_was_made_about),
        cmocka_unit_test(a_failed_unit_is_started),
        cmocka_unit_test(somebody_s_will_and_systemd_s_own_work_are_respected),
        cmocka_unit_test(a_start_has_its_grace),
        cmocka_unit_test(cooldown_and_budget_hold_back),
        cmocka_unit_test(a_rogue_is_evicted_even_while_the_unit_is_in_its_restart_loop),
        cmocka_unit_test(only_a_certain_rogue_that_is_nobody_s_service_is_evicted),
        cmocka_unit_test(a_recovery_goes_step_by_step),
        cmocka_unit_test(somebody_else_s_order_meanwhile_is_respected),
        cmocka_unit_test(what_ends_by_itself_after_the_kill_was_not_stopped_by_somebody),
        cmocka_unit_test(after_an_eviction_the_unit_gets_its_chance),
    };
    return cmocka_run_group_tests_name("watch_policy", tests, NULL, NULL);
}
