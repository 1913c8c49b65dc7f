/* cgi/probe/ledger: the counters of failures that each check has. */
#include "tests/unit/cgi/probe/ledger_fixture.h"

static uint64_t failures(size_t check, enum reason reason)
{
    struct snapshot *s = ledger_snapshot(ledger, T0);
    uint64_t total = s->checks[check].failures[reason];
    snapshot_release(s);
    return total;
}

static uint64_t all_failures(void)
{
    struct snapshot *s = ledger_snapshot(ledger, T0);
    uint64_t total = 0;
    for (size_t i = 0; i < s->check_count; i++)
        for (int reason = 0; reason < REASON_COUNT; reason++)
            total += s->checks[i].failures[reason];
    snapshot_release(s);
    return total;
}

static void each_failed_answer_counts_under_its_reason(void **state)
{
    (void)state;
    start_healthy(T0);
    assert_int_equal(all_failures(), 0);
    for (int i = 1; i <= 3; i++)
        fail_check(NODES, AFTER_MS(i)); /* fall and the interval do not matter */
    fail_check_as(NODES, REASON_ACCESS, "42501", AFTER_S(1));
    fail_check_as(EDGES, REASON_OUT_OF_RANGE, "", AFTER_S(1)); /* its severity is warn */
    pass_check(NODES, AFTER_S(2));
    assert_int_equal(failures(NODES, REASON_SCHEMA), 3);
    assert_int_equal(failures(NODES, REASON_ACCESS), 1);
    assert_int_equal(failures(EDGES, REASON_OUT_OF_RANGE), 1);
    assert_int_equal(all_failures(), 5);
}

static void a_snapshot_counts_nothing(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_check(NODES, AFTER_S(1));
    for (int i = 0; i < 5; i++)
        assert_int_equal(failures(NODES, REASON_SCHEMA), 1);
}

static void a_failing_database_is_no_failure_of_a_check(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_check(NODES, AFTER_S(1));
    fail_ping(REASON_HUNG, AFTER_S(2));
    fail_login(REASON_UNREACHABLE, "", AFTER_S(3));
    assert_int_equal(failures(NODES, REASON_SCHEMA), 1);
    assert_int_equal(all_failures(), 1);
    start_healthy(AFTER_S(4));
    assert_int_equal(all_failures(), 1);
}

static void what_is_forgiven_is_no_failure(void **state)
{
    (void)state;
    struct answer lost = bad_answer(QUESTION_CHECK, REASON_UNREACHABLE, "", T0);
    start_healthy(T0);
    assert_false(ledger_note_lost(ledger, NODES, &lost, 42));
    fail_check_as(EDGES, REASON_QUERY_ERROR, "40001", AFTER_S(1)); /* a conflict: it is asked once more */
    assert_int_equal(all_failures(), 0);
    fail_check_as(EDGES, REASON_QUERY_ERROR, "40001", AFTER_S(2));
    assert_int_equal(failures(EDGES, REASON_QUERY_ERROR), 1);
}

static void a_reload_keeps_the_counters_of_a_check_unless_its_query_or_limits_change(void **state)
{
    (void)state;
    struct check changed[CHECK_COUNT] = {items[RARE], items[NODES], items[EDGES]};
    start_healthy(T0);
    for (size_t i = 0; i < CHECK_COUNT; i++)
        fail_check(i, AFTER_S(1));
    changed[0].every_ms = 1; /* not a limit of the count */
    changed[0].severity = CHECK_WARN;
    changed[1].max = 5;
    changed[2].sql = (char[]){"SELECT 22"};
    ledger_set_checks(ledger, &checks, &(const struct checks){.items = changed, .count = CHECK_COUNT});
    assert_int_equal(failures(0, REASON_SCHEMA), 1);
    assert_int_equal(all_failures(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_ledger(each_failed_answer_counts_under_its_reason),
        with_ledger(a_snapshot_counts_nothing),
        with_ledger(a_failing_database_is_no_failure_of_a_check),
        with_ledger(what_is_forgiven_is_no_failure),
        with_ledger(a_reload_keeps_the_counters_of_a_check_unless_its_query_or_limits_change),
    };
    return cmocka_run_group_tests_name("ledger failures", tests, NULL, NULL);
}
