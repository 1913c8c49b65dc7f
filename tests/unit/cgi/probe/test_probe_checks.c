/* cgi/probe: what a round tells of each check, over a scripted libpq. */
#include "tests/unit/cgi/probe/probe_fixture.h"

static const struct check nodes = {.name = "nodes", .sql = "SELECT count(*) FROM nodes", .max = INT64_MAX};
static const struct check edges = {
    .name = "edges", .sql = "SELECT count(*) FROM edges", .min = 10, .max = 20};
static const struct check *const both[] = {&nodes, &edges};

/* By when the segment that began at T0 must be over. */
#define OWN_DEADLINE AFTER_MS(QUERY_TIMEOUT_MS + PROBE_GRACE_MS)

static void expect_outcome(size_t i, enum reason reason, const char *sqlstate)
{
    const struct probe_outcome *outcome = probe_outcome(probe, i);
    assert_true(outcome->done);
    assert_string_equal(reason_name(outcome->reason), reason_name(reason));
    assert_string_equal(outcome->sqlstate, sqlstate);
}

static void expect_count(size_t i, int64_t value)
{
    expect_outcome(i, REASON_NONE, "");
    assert_true(probe_outcome(probe, i)->has_value);
    assert_true(probe_outcome(probe, i)->value == value);
    assert_false(probe_outcome(probe, i)->broke_connection);
}

static void expect_not_done(size_t i)
{
    assert_false(probe_outcome(probe, i)->done);
    assert_false(probe_outcome(probe, i)->has_value);
}

/* The checks alone have all the blame. */
static void expect_checks_fault(enum reason reason)
{
    const struct probe_failure *failure = expect_failure(reason, "");
    assert_true(failure->checks_only);
    assert_false(failure->lost);
}

/* A new connection, and a round with both checks on it of which the ping is answered. */
static void start_both_until(int64_t round_deadline_ns)
{
    EXPECT_CALLS(STARTED, CONNECTED);
    open_probe();
    expect_step(PROBE_IDLE, T0);
    start_round_until(both, 2, round_deadline_ns);
    EXPECT_CALLS(CONSUMED, PING_ANSWER);
    expect_answered(PROBE_ROUND, T0);
}

static void start_both(void)
{
    start_both_until(CLOCK_NEVER);
}

static void the_checks_answers_are_their_values(void **state)
{
    (void)state;
    start_both();
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("42"), COUNT_ANSWER("17"));
    expect_answered(PROBE_IDLE, T0);
    expect_count(0, 42);
    expect_count(1, 17);
}

static void a_check_is_done_with_its_sync_and_takes_the_time_since_the_one_before(void **state)
{
    (void)state;
    start_both();
    EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER, ROW(INT8, "42"), NO_MORE);
    expect_answered(PROBE_ROUND, AFTER_MS(1));
    assert_false(probe_outcome(probe, 0)->done);
    EXPECT_CALLS(CONSUMED, SYNCED);
    expect_answered(PROBE_ROUND, AFTER_MS(3));
    assert_int_equal(wait_for.deadline_ns, OWN_DEADLINE + 3 * NS_PER_MS);
    expect_count(0, 42);
    expect_not_done(1);
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("17"));
    expect_answered(PROBE_IDLE, AFTER_MS(8));
    assert_int_equal(probe_outcome(probe, 0)->duration_us, 3000);
    assert_int_equal(probe_outcome(probe, 1)->duration_us, 5000);
}

static void a_new_round_forgets_the_last_ones_outcomes(void **state)
{
    (void)state;
    start_both();
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("42"), COUNT_ANSWER("17"));
    expect_answered(PROBE_IDLE, T0);
    start_round(both, 2);
    expect_not_done(0);
    expect_not_done(1);
    EXPECT_CALLS(CONSUMED, PING_ANSWER, COUNT_ANSWER("1"), COUNT_ANSWER("11"));
    expect_answered(PROBE_IDLE, T0);
    expect_count(0, 1);
    expect_count(1, 11);
}

static void a_round_may_have_as_many_checks_as_a_file(void **state)
{
    (void)state;
    static const struct check *many[CHECKS_MAX];
    for (size_t i = 0; i < CHECKS_MAX; i++)
        many[i] = &nodes;
    connect_probe();
    start_round(many, CHECKS_MAX);
    EXPECT_CALLS(CONSUMED, PING_ANSWER);
    for (size_t i = 0; i < CHECKS_MAX; i++)
        EXPECT_CALLS(COUNT_ANSWER("5"));
    expect_answered(PROBE_IDLE, T0);
    expect_count(CHECKS_MAX - 1, 5);
    flood(PROBE_BYTE_BUDGET, PROBE_IDLE);
    expect_step(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

/* What the check between 10 and 20 answers, and its outcome. The connection goes on. */
static const struct {
    struct pq_step answer;
    enum reason reason;
    bool has_value;
    int64_t value;
} answers[] = {
    {ROW(INT8, "10"), REASON_NONE, true, 10},
    {ROW(INT8, "20"), REASON_NONE, true, 20},
    {ROW(INT8, "9"), REASON_OUT_OF_RANGE, true, 9},
    {ROW(INT8, "21"), REASON_OUT_OF_RANGE, true, 21},
    {ROW(INT8, "9223372036854775807"), REASON_OUT_OF_RANGE, true, INT64_MAX},
    {ROW(INT8, "9223372036854775808"), REASON_MALFORMED, false, 0},
    {ROW(INT8, "-15"), REASON_MALFORMED, false, 0},
    {ROW(INT8, ""), REASON_MALFORMED, false, 0},
    {ROW(INT8, NULL), REASON_MALFORMED, false, 0},
    {ROW(TEXT, "15"), REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 1, .type = INT8, .value = "15\0x", .len = 4),
     REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 0, .columns = 1, .type = INT8), REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 2, .columns = 1, .type = INT8, .value = "15"),
     REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 2, .type = INT8, .value = "15"),
     REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 0), REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_COMMAND_OK), REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_EMPTY_QUERY), REASON_MALFORMED, false, 0},
};

static void anything_but_one_count_in_range_fails_its_own_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        start_both();
        EXPECT_CALLS(CONSUMED, COUNT_ANSWER("42"), SETTINGS_ANSWER);
        script_expect(&answers[i].answer, 1);
        EXPECT_CALLS(NO_MORE, SYNCED);
        expect_answered(PROBE_IDLE, T0);
        expect_count(0, 42);
        expect_outcome(1, answers[i].reason, "");
        assert_int_equal(probe_outcome(probe, 1)->has_value, answers[i].has_value);
        assert_true(!answers[i].has_value || probe_outcome(probe, 1)->value == answers[i].value);
        assert_false(probe_outcome(probe, 1)->broke_connection);
    }
}

static void an_error_costs_its_own_check_only(void **state)
{
    (void)state;
    start_both();
    EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER, ERROR("ERROR", "42P01", "relation does not exist"), NO_MORE,
                 SYNCED, COUNT_ANSWER("17"));
    expect_answered(PROBE_IDLE, T0);
    expect_outcome(0, REASON_SCHEMA, "42P01");
    assert_false(probe_outcome(probe, 0)->has_value);
    assert_false(probe_outcome(probe, 0)->broke_connection);
    assert_string_equal(probe_outcome(probe, 0)->detail, "relation does not exist");
    expect_count(1, 17);
}

static void an_error_behind_the_answer_costs_the_check_its_value(void **state)
{
    (void)state;
    start_both();
    EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER, ROW(INT8, "42"), NO_MORE,
                 ERROR("ERROR", "40001", "could not serialize"), NO_MORE, SYNCED, COUNT_ANSWER("17"));
    expect_answered(PROBE_IDLE, T0);
    expect_outcome(0, REASON_QUERY_ERROR, "40001");
    assert_false(probe_outcome(probe, 0)->has_value);
    expect_count(1, 17);
}

static void settings_that_fail_cost_their_own_check_only(void **state)
{
    (void)state;
    start_both();
    EXPECT_CALLS(CONSUMED, ERROR("ERROR", "42501", "permission denied"), NO_MORE,
                 RESULT(.status = PGRES_PIPELINE_ABORTED), NO_MORE, SYNCED, COUNT_ANSWER("17"));
    expect_answered(PROBE_IDLE, T0);
    expect_outcome(0, REASON_ACCESS, "42501");
    expect_count(1, 17);
}

static void an_error_without_a_message_is_taken_too(void **state)
{
    (void)state;
    start_both();
    EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER, ERROR("ERROR", "XX001", NULL), NO_MORE, SYNCED);
    expect_answered(PROBE_ROUND, T0);
    expect_outcome(0, REASON_CORRUPT, "XX001");
    assert_string_equal(probe_outcome(probe, 0)->detail, "");
}

/* What a server never sends, or only for another kind of statement: what comes behind it cannot be told. */
static const struct pq_step disorders[] = {
    RESULT(.status = PGRES_COPY_IN),
    RESULT(.status = PGRES_COPY_OUT),
    RESULT(.status = PGRES_COPY_BOTH),
    RESULT(.status = PGRES_SINGLE_TUPLE),
    RESULT(.status = PGRES_PIPELINE_ABORTED),
    RESULT(.status = PGRES_BAD_RESPONSE),
    SYNCED,
    NO_MORE, /* behind the settings' own */
    ERROR(NULL, NULL, "unexpected field count in \"D\" message\n"),
};

static void expect_disorder(const struct pq_step *step)
{
    script_expect(step, 1);
    expect_answered(PROBE_FAILED, AFTER_MS(4));
    expect_checks_fault(REASON_MALFORMED);
    expect_outcome(0, REASON_MALFORMED, "");
    assert_true(probe_outcome(probe, 0)->broke_connection);
    assert_false(probe_outcome(probe, 0)->has_value);
    assert_int_equal(probe_outcome(probe, 0)->duration_us, 4000);
    expect_not_done(1);
}

static void an_answer_out_of_order_costs_its_check_and_the_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof disorders / sizeof disorders[0]; i++) {
        start_both();
        EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER);
        expect_disorder(&disorders[i]);
    }
}

static void settings_that_return_no_row_set_cost_the_check_and_the_connection(void **state)
{
    (void)state;
    static const struct pq_step more[] = {RESULT(.status = PGRES_COMMAND_OK),
                                          RESULT(.status = PGRES_EMPTY_QUERY)};
    for (size_t i = 0; i < 2; i++) {
        start_both();
        EXPECT_CALLS(CONSUMED);
        expect_disorder(&more[i]);
    }
}

static void a_second_answer_costs_the_check_and_the_connection(void **state)
{
    (void)state;
    static const struct pq_step more[] = {ROW(INT8, "42"), RESULT(.status = PGRES_COMMAND_OK),
                                          ERROR(NULL, NULL, "unexpected field count")};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        start_both();
        EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER, ROW(INT8, "42"));
        expect_disorder(&more[i]);
    }
}

static void the_last_checks_disorder_leaves_the_others_values(void **state)
{
    (void)state;
    start_both();
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("42"), SETTINGS_ANSWER, RESULT(.status = PGRES_COPY_OUT));
    expect_answered(PROBE_FAILED, T0);
    expect_checks_fault(REASON_MALFORMED);
    expect_count(0, 42);
    expect_outcome(1, REASON_MALFORMED, "");
    assert_true(probe_outcome(probe, 1)->broke_connection);
}

static void an_answer_over_the_budget_costs_its_check_and_the_connection(void **state)
{
    (void)state;
    start_both(); /* has taken a byte of the round's budget */
    flood(PROBE_BYTE_BUDGET - 2 * PORTION, PROBE_ROUND);
    peer_sends_bytes(PORTION);
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("42"));
    expect_step(PROBE_ROUND, T0);
    peer_sends_bytes(PORTION); /* of which one byte is over */
    EXPECT_CALLS(CONSUMED);
    expect_step(PROBE_ROUND, T0);
    assert_int_equal(script_bytes_read(), PROBE_BYTE_BUDGET);
    expect_step(PROBE_FAILED, T0);
    expect_checks_fault(REASON_MALFORMED);
    expect_count(0, 42);
    expect_outcome(1, REASON_MALFORMED, "");
    assert_true(probe_outcome(probe, 1)->broke_connection);
}

static void a_fatal_error_is_lost_wherever_it_comes(void **state)
{
    (void)state;
    static const struct pq_step before[] = {SETTINGS_ANSWER, ROW(INT8, "42"), NO_MORE};
    for (size_t i = 0; i <= sizeof before / sizeof before[0]; i++) {
        start_both();
        EXPECT_CALLS(CONSUMED);
        script_expect(before, i);
        EXPECT_CALLS(ERROR("FATAL", "57P01", "terminating connection"));
        expect_answered(PROBE_FAILED, T0);
        expect_lost(REASON_RESTARTING, "57P01");
        assert_false(probe_outcome(probe, 0)->done);
        assert_false(probe_outcome(probe, 1)->done);
    }
}

static void a_broken_connection_is_lost_wherever_it_comes(void **state)
{
    (void)state;
    static const struct pq_step before[] = {SETTINGS_ANSWER, ROW(INT8, "42"), NO_MORE};
    for (size_t i = 0; i <= sizeof before / sizeof before[0]; i++) {
        start_both();
        EXPECT_CALLS(CONSUMED);
        script_expect(before, i);
        EXPECT_CALLS(ERROR_AND_BROKEN(LOST));
        expect_answered(PROBE_FAILED, T0);
        expect_lost(REASON_UNREACHABLE, "");
        assert_false(probe_outcome(probe, 0)->done);
    }
}

static void libpqs_loss_of_synchronization_is_malformed(void **state)
{
    (void)state;
    start_both();
    EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER,
                 ERROR_AND_BROKEN("lost synchronization with server: got message\n"));
    expect_answered(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void a_check_that_the_server_does_not_end_is_the_databases_fault(void **state)
{
    (void)state;
    start_both();
    expect_step(PROBE_ROUND, OWN_DEADLINE - 1);
    expect_step(PROBE_FAILED, OWN_DEADLINE);
    expect_fault(REASON_QUERY_TIMEOUT, "");
    expect_not_done(0);
    expect_not_done(1);
}

static void a_checks_own_timeout_counts_from_the_end_of_the_one_before(void **state)
{
    (void)state;
    static const struct check quick = {.sql = "SELECT quick()", .max = INT64_MAX, .timeout_ms = 50};
    static const struct check *const checks[] = {&nodes, &quick};
    int64_t deadline_ns = AFTER_MS(300 + 50 + PROBE_GRACE_MS);

    connect_probe();
    EXPECT_CALLS(SENT(PING, NULL), SYNC_SENT, SENT(SETTINGS, "800ms"), SENT(nodes.sql, NULL), SYNC_SENT,
                 SENT(SETTINGS, "50ms"), SENT(quick.sql, NULL), SYNC_SENT, FLUSHED);
    probe_start_round(probe, checks, 2, CLOCK_NEVER, T0);
    expect_step(PROBE_ROUND, T0);
    EXPECT_CALLS(CONSUMED, PING_ANSWER, COUNT_ANSWER("42"));
    expect_answered(PROBE_ROUND, AFTER_MS(300));
    expect_wait(script_socket(), POLLIN, deadline_ns);
    expect_step(PROBE_ROUND, deadline_ns - 1);
    expect_step(PROBE_FAILED, deadline_ns);
    expect_fault(REASON_QUERY_TIMEOUT, "");
    expect_count(0, 42);
    expect_not_done(1);
}

static void at_the_rounds_deadline_the_checks_that_are_not_done_have_timed_out(void **state)
{
    (void)state;
    start_both_until(AFTER_MS(100));
    assert_int_equal(wait_for.deadline_ns, AFTER_MS(100));
    expect_step(PROBE_ROUND, AFTER_MS(100) - 1);
    expect_step(PROBE_FAILED, AFTER_MS(100));
    expect_checks_fault(REASON_QUERY_TIMEOUT);
    for (size_t i = 0; i < 2; i++) {
        expect_outcome(i, REASON_QUERY_TIMEOUT, "");
        assert_false(probe_outcome(probe, i)->has_value);
        assert_int_equal(probe_outcome(probe, i)->duration_us, 100000);
    }
}

static void at_the_rounds_deadline_an_answer_without_its_sync_is_no_value(void **state)
{
    (void)state;
    start_both_until(AFTER_MS(100));
    EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER, ROW(INT8, "42"), NO_MORE);
    expect_answered(PROBE_ROUND, T0);
    expect_step(PROBE_FAILED, AFTER_MS(100));
    expect_checks_fault(REASON_QUERY_TIMEOUT);
    expect_outcome(0, REASON_QUERY_TIMEOUT, "");
    assert_false(probe_outcome(probe, 0)->has_value);
}

static void at_the_rounds_deadline_the_checks_that_are_done_keep_their_values(void **state)
{
    (void)state;
    start_both_until(AFTER_MS(100));
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("42"));
    expect_answered(PROBE_ROUND, AFTER_MS(60));
    assert_int_equal(wait_for.deadline_ns, AFTER_MS(100));
    expect_step(PROBE_FAILED, AFTER_MS(100));
    expect_checks_fault(REASON_QUERY_TIMEOUT);
    expect_count(0, 42);
    assert_int_equal(probe_outcome(probe, 0)->duration_us, 60000);
    expect_outcome(1, REASON_QUERY_TIMEOUT, "");
    assert_int_equal(probe_outcome(probe, 1)->duration_us, 40000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scripted(the_checks_answers_are_their_values),
        scripted(a_check_is_done_with_its_sync_and_takes_the_time_since_the_one_before),
        scripted(a_new_round_forgets_the_last_ones_outcomes),
        scripted(a_round_may_have_as_many_checks_as_a_file),
        scripted(anything_but_one_count_in_range_fails_its_own_check),
        scripted(an_error_costs_its_own_check_only),
        scripted(an_error_behind_the_answer_costs_the_check_its_value),
        scripted(settings_that_fail_cost_their_own_check_only),
        scripted(an_error_without_a_message_is_taken_too),
        scripted(an_answer_out_of_order_costs_its_check_and_the_connection),
        scripted(settings_that_return_no_row_set_cost_the_check_and_the_connection),
        scripted(a_second_answer_costs_the_check_and_the_connection),
        scripted(the_last_checks_disorder_leaves_the_others_values),
        scripted(an_answer_over_the_budget_costs_its_check_and_the_connection),
        scripted(a_fatal_error_is_lost_wherever_it_comes),
        scripted(a_broken_connection_is_lost_wherever_it_comes),
        scripted(libpqs_loss_of_synchronization_is_malformed),
        scripted(a_check_that_the_server_does_not_end_is_the_databases_fault),
        scripted(a_checks_own_timeout_counts_from_the_end_of_the_one_before),
        scripted(at_the_rounds_deadline_the_checks_that_are_not_done_have_timed_out),
        scripted(at_the_rounds_deadline_an_answer_without_its_sync_is_no_value),
        scripted(at_the_rounds_deadline_the_checks_that_are_done_keep_their_values),
    };
    return cmocka_run_group_tests_name("probe: checks", tests, NULL, NULL);
}
