/* cgi/answer/verdict: the verdict, and the list of transitions. */
#include "tests/unit/unit.h"

#include "cgi/answer/verdict.h"

#include <stdio.h>
#include <string.h>

#define STALE_AFTER 6000

static struct snapshot *new_healthy(void)
{
    struct snapshot *s = snapshot_new(0);
    s->taken_ns = 1000;
    return s;
}

static void expect(const struct snapshot *s, struct process_facts process, int64_t now_ns,
                   enum health_status status, enum reason reason, const char *check, bool counts_known)
{
    struct verdict v = verdict_judge(s, &process, now_ns, STALE_AFTER);
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
    s->degraded = true;
    s->database.down = true;
    s->database.reason = REASON_HUNG;
    s->cause = REASON_HUNG;
    snprintf(s->cause_check, sizeof s->cause_check, "database");
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
    s->degraded = true;
    s->cause = REASON_CORRUPT;
    snprintf(s->cause_check, sizeof s->cause_check, "edges");
    expect(s, (struct process_facts){0}, 1000, HEALTH_DEGRADED, REASON_CORRUPT, "edges", true);
    snapshot_release(s);
}

static void a_failing_database_makes_the_counts_unknown(void **state)
{
    (void)state;
    struct snapshot *s = new_healthy();
    s->degraded = true;
    s->cause = s->database.reason = REASON_UNREACHABLE;
    snprintf(s->cause_check, sizeof s->cause_check, "database");
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
    expect(s, (struct process_facts){.reason = REASON_FD_LIMIT}, 1000, HEALTH_DEGRADED, REASON_FD_LIMIT, "process",
           true);
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
        cmocka_unit_test(transitions_keep_the_last_fifty_with_the_newest_first),
    };
    return cmocka_run_group_tests_name("verdict", tests, NULL, NULL);
}
