/* cgi/answer/verdict: the verdict, and the list of transitions. */
#include "tests/unit/unit.h"

#include "cgi/answer/verdict.h"

#include <stdio.h>
#include <string.h>

#define STALE_AFTER 6000

static struct snapshot *new_healthy(void)
{
    static const char *const names[] = {"nodes", "edges", "lag"};
    struct snapshot *s = snapshot_new(3);
    s->taken_ns = 1000;
    for (size_t i = 0; i < 3; i++) {
        snprintf(s->checks[i].name, sizeof s->checks[i].name, "%s", names[i]);
        s->checks[i].has_value = true;
        s->checks[i].checked_ns = 1000;
    }
    s->checks[2].severity = CHECK_WARN;
    return s;
}

static void fail_check(struct check_result *check, enum reason reason)
{
    check->down = true;
    check->reason = check->down_reason = reason;
}

static void expect(const struct snapshot *s, struct process_facts process, int64_t now_ns,
                   enum health_status status, enum reason reason, const char *check, bool counts_known)
{
    struct verdict v = verdict_judge(s, &process, NULL, now_ns, STALE_AFTER);
    assert_string_equal(health_status_name(v.status), health_status_name(status));
    assert_string_equal(reason_name(v.reason), reason_name(reason));
    assert_string_equal(v.check, check);
    assert_int_equal(v.counts_known, counts_known);
}

static void a_fresh_and_passing_snapshot_is_healthy(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    expect(s, (struct process_facts){0}, 1000 + STALE_AFTER, HEALTH_HEALTHY, REASON_NONE, "", true);
    snapshot_release(s);
}

static void an_old_snapshot_is_stale_and_its_counts_are_unknown(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    expect(s, (struct process_facts){0}, 1001 + STALE_AFTER, HEALTH_DEGRADED, REASON_STALE, "database",
           false);
    snapshot_release(s);
}

static void a_database_that_is_down_is_not_stale_while_the_prober_vouches_for_that(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    s->vouched_ns = 5000 + STALE_AFTER;
    expect(s, (struct process_facts){0}, 5001 + STALE_AFTER, HEALTH_DEGRADED, REASON_STALE, "database",
           false); /* vouched_ns does not count while the database is up */
    s->database.down = true;
    s->database.reason = s->database.down_reason = REASON_HUNG;
    expect(s, (struct process_facts){0}, 5000 + 2 * STALE_AFTER, HEALTH_DEGRADED, REASON_HUNG, "database",
           false);
    expect(s, (struct process_facts){0}, 5001 + 2 * STALE_AFTER, HEALTH_DEGRADED, REASON_STALE, "database",
           false);
    snapshot_release(s);
}

static void the_status_is_starting_before_the_first_probe_but_not_for_ever(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    s->starting = true;
    expect(s, (struct process_facts){0}, 1000, HEALTH_STARTING, REASON_STARTING, "database", false);
    expect(s, (struct process_facts){0}, 1001 + STALE_AFTER, HEALTH_DEGRADED, REASON_STALE, "database",
           false);
    snapshot_release(s);
}

static void a_failing_check_degrades_but_the_counts_stay_known(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    fail_check(&s->checks[1], REASON_CORRUPT);
    expect(s, (struct process_facts){0}, 1000, HEALTH_DEGRADED, REASON_CORRUPT, "edges", true);
    snapshot_release(s);
}

static void a_failing_database_makes_the_counts_unknown(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    s->database.down = true;
    s->database.reason = s->database.down_reason = REASON_UNREACHABLE;
    expect(s, (struct process_facts){0}, 1000, HEALTH_DEGRADED, REASON_UNREACHABLE, "database", false);
    snapshot_release(s);
}

static void draining_wins_over_everything(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    struct process_facts draining = {.reason = REASON_DRAINING};
    expect(s, draining, 1000, HEALTH_DRAINING, REASON_DRAINING, "process", true);
    expect(s, draining, 1001 + STALE_AFTER, HEALTH_DRAINING, REASON_DRAINING, "process", false);
    snapshot_release(s);
}

static void too_many_descriptors_degrade_whatever_the_database_says(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    expect(s, (struct process_facts){.reason = REASON_FD_LIMIT}, 1000, HEALTH_DEGRADED, REASON_FD_LIMIT,
           "process", true);
    snapshot_release(s);
}

/* Every combination of facts with every selection, against a second formulation of the rules. */
static void a_selection_is_judged_by_what_it_names_alone(void **state)
{
    (void)state;
    static const enum reason of_process[] = {REASON_NONE, REASON_DRAINING, REASON_FD_LIMIT, REASON_INTERNAL};
    for (unsigned facts = 0; facts < 4 << 6; facts++) {
        struct snapshot *s = new_healthy();
        struct process_facts process = {.reason = of_process[facts >> 6]};
        bool is_stale = (facts & 1) != 0, is_starting = (facts & 2) != 0, is_down = (facts & 4) != 0;
        s->starting = is_starting;
        s->database.down = is_down;
        s->database.reason = s->database.down_reason = is_down ? REASON_HUNG : REASON_NONE;
        s->vouched_ns = s->taken_ns;
        for (unsigned i = 0; i < 3; i++)
            if ((facts & 8U << i) != 0)
                fail_check(&s->checks[i], REASON_SCHEMA);
        for (unsigned named = 1; named < 1 << 5; named++) {
            struct selection selection = {.process = (named & 1) != 0};
            for (unsigned i = 0; i < 3; i++)
                selection.checks[i] = (named & 4U << i) != 0;
            selection.database = named > 1; /* a check implies it */
            struct verdict v =
                verdict_judge(s, &process, &selection, is_stale ? 1001 + STALE_AFTER : 1000, STALE_AFTER);
            bool of_checks = (facts >> 3 & 7 & named >> 2) != 0;
            bool process_fails =
                process.reason == REASON_INTERNAL || (selection.process && process.reason != REASON_NONE);
            bool rest_fails = selection.database && (is_stale || is_starting || is_down || of_checks);
            enum health_status expected = HEALTH_HEALTHY;
            if (process_fails)
                expected = process.reason == REASON_DRAINING ? HEALTH_DRAINING : HEALTH_DEGRADED;
            else if (rest_fails)
                expected = is_starting && !is_stale ? HEALTH_STARTING : HEALTH_DEGRADED;
            assert_string_equal(health_status_name(v.status), health_status_name(expected));
            assert_int_equal(v.status == HEALTH_HEALTHY, v.reason == REASON_NONE);
            assert_int_equal(v.status == HEALTH_HEALTHY, v.check[0] == '\0');
            if (process_fails)
                assert_string_equal(v.check, "process");
        }
        snapshot_release(s);
    }
}

static void a_check_that_was_never_asked_is_starting_for_whoever_names_it(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    struct process_facts process = {0};
    const struct selection edges = {.database = true, .checks = {[1] = true}};
    const struct selection both = {.database = true, .checks = {[0] = true, [1] = true}};
    s->checks[1].checked_ns = 0;
    s->checks[1].has_value = false;
    expect(s, process, 1000, HEALTH_HEALTHY, REASON_NONE, "", true);
    struct verdict v = verdict_judge(s, &process, &edges, 1000, STALE_AFTER);
    assert_int_equal(v.status, HEALTH_STARTING);
    assert_string_equal(v.check, "edges");
    fail_check(&s->checks[0], REASON_SCHEMA);
    v = verdict_judge(s, &process, &both, 1000, STALE_AFTER);
    assert_int_equal(v.status, HEALTH_DEGRADED);
    assert_string_equal(v.check, "nodes");
    snapshot_release(s);
}

static void a_check_that_waits_for_its_rise_keeps_its_last_reason(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    fail_check(&s->checks[1], REASON_CORRUPT);
    s->checks[1].reason = REASON_NONE;
    expect(s, (struct process_facts){0}, 1000, HEALTH_DEGRADED, REASON_CORRUPT, "edges", true);
    s->database.down = true;
    s->database.down_reason = REASON_HUNG;
    expect(s, (struct process_facts){0}, 1000, HEALTH_DEGRADED, REASON_HUNG, "database", true);
    snapshot_release(s);
}

static void a_check_that_a_selection_names_counts_whatever_its_severity(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    struct process_facts process = {0};
    const struct selection lag = {.database = true, .checks = {[2] = true}};
    fail_check(&s->checks[2], REASON_OUT_OF_RANGE);
    expect(s, process, 1000, HEALTH_HEALTHY, REASON_NONE, "", true);
    struct verdict v = verdict_judge(s, &process, &lag, 1000, STALE_AFTER);
    assert_int_equal(v.status, HEALTH_DEGRADED);
    assert_string_equal(v.check, "lag");
    assert_int_equal(v.reason, REASON_OUT_OF_RANGE);
    snapshot_release(s);
}

static void transitions_keep_the_last_fifty_with_the_newest_first(void **state)
{
    (void)state;
    struct transitions list = {0};
    struct verdict healthy = {.status = HEALTH_HEALTHY};
    struct verdict degraded = {.status = HEALTH_DEGRADED, .reason = REASON_SCHEMA, .check = "edges"};

    assert_null(transitions_get(&list, 0));
    for (int i = 1; i <= TRANSITIONS_MAX + 7; i++)
        transitions_add(&list, &healthy, &degraded, i);
    assert_int_equal(transitions_get(&list, 0)->wall_ms, TRANSITIONS_MAX + 7);
    assert_int_equal(transitions_get(&list, TRANSITIONS_MAX - 1)->wall_ms, 8);
    assert_null(transitions_get(&list, TRANSITIONS_MAX));
    assert_int_equal(transitions_get(&list, 0)->to, HEALTH_DEGRADED);
    assert_string_equal(transitions_get(&list, 0)->check, "edges");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_and_passing_snapshot_is_healthy),
        cmocka_unit_test(an_old_snapshot_is_stale_and_its_counts_are_unknown),
        cmocka_unit_test(a_database_that_is_down_is_not_stale_while_the_prober_vouches_for_that),
        cmocka_unit_test(the_status_is_starting_before_the_first_probe_but_not_for_ever),
        cmocka_unit_test(a_failing_check_degrades_but_the_counts_stay_known),
        cmocka_unit_test(a_failing_database_makes_the_counts_unknown),
        cmocka_unit_test(draining_wins_over_everything),
        cmocka_unit_test(too_many_descriptors_degrade_whatever_the_database_says),
        cmocka_unit_test(a_selection_is_judged_by_what_it_names_alone),
        cmocka_unit_test(a_check_that_was_never_asked_is_starting_for_whoever_names_it),
        cmocka_unit_test(a_check_that_waits_for_its_rise_keeps_its_last_reason),
        cmocka_unit_test(a_check_that_a_selection_names_counts_whatever_its_severity),
        cmocka_unit_test(transitions_keep_the_last_fifty_with_the_newest_first),
    };
    return cmocka_run_group_tests_name("verdict", tests, NULL, NULL);
}
