/* cgi/probe: a round as a whole (what is sent, the ping, deadlines, the end of the connection), over a
 * scripted libpq. */
#include "tests/unit/cgi/probe/probe_fixture.h"

static const struct check edges = {.name = "edges", .sql = "SELECT count(*) FROM edges", .max = INT64_MAX};
static const struct check slow = {
    .name = "slow", .sql = "SELECT slow()", .max = INT64_MAX, .timeout_ms = 2500};
static const struct check *const both[] = {&edges, &slow};
static const struct check *const only_edges[] = {&edges};

/* By when the segment that began at T0 must be over. */
#define OWN_DEADLINE AFTER_MS(QUERY_TIMEOUT_MS + PROBE_GRACE_MS)

static void expect_in_round(short events, int64_t deadline_ns)
{
    assert_int_equal(probe_state(probe), PROBE_ROUND);
    expect_wait(script_socket(), events, deadline_ns);
    script_expect_done();
}

/* A round without checks whose first bytes arrived. */
static void start_ping(void)
{
    connect_probe();
    start_round(NULL, 0);
}

static void a_round_without_checks_is_a_ping(void **state)
{
    (void)state;
    start_ping();
    expect_in_round(POLLIN, OWN_DEADLINE);
    assert_int_equal(probe_facts(probe)->round_trip_us, -1);
    EXPECT_CALLS(CONSUMED, PING_ANSWER);
    expect_answered(PROBE_IDLE, AFTER_MS(7));
    expect_wait(script_socket(), POLLIN, CLOCK_NEVER);
    assert_int_equal(probe_facts(probe)->round_trip_us, 7000);
    assert_false(probe_facts(probe)->in_recovery);
}

static void the_ping_tells_whether_the_server_is_in_recovery_now(void **state)
{
    (void)state;
    start_ping();
    EXPECT_CALLS(CONSUMED, ROW(BOOL, "t"), NO_MORE, SYNCED);
    expect_answered(PROBE_IDLE, T0);
    assert_true(probe_facts(probe)->in_recovery);
    start_round(NULL, 0);
    EXPECT_CALLS(CONSUMED, PING_ANSWER);
    expect_answered(PROBE_IDLE, T0);
    assert_false(probe_facts(probe)->in_recovery);
}

static void each_check_is_sent_behind_its_settings_with_its_own_timeout(void **state)
{
    (void)state;
    connect_probe();
    EXPECT_CALLS(SENT(PING, NULL), SYNC_SENT,                                                  /* */
                 SENT(SETTINGS, "800ms"), SENT("SELECT count(*) FROM edges", NULL), SYNC_SENT, /* */
                 SENT(SETTINGS, "2500ms"), SENT("SELECT slow()", NULL), SYNC_SENT);
    probe_start_round(probe, both, 2, CLOCK_NEVER, T0);
    assert_int_equal(probe_state(probe), PROBE_ROUND);
}

static void the_server_is_told_to_look_for_us_from_version_14_on(void **state)
{
    (void)state;
    script_set_server_version(139999);
    connect_probe();
    EXPECT_CALLS(SENT(PING, NULL), SYNC_SENT, SENT(SETTINGS_13, "800ms"), SENT(edges.sql, NULL), SYNC_SENT);
    probe_start_round(probe, only_edges, 1, CLOCK_NEVER, T0);

    script_set_server_version(140000);
    EXPECT_CALLS(STARTED, CONNECTED);
    open_probe();
    expect_step(PROBE_IDLE, T0);
    EXPECT_CALLS(SENT(PING, NULL), SYNC_SENT, SENT(SETTINGS, "800ms"), SENT(edges.sql, NULL), SYNC_SENT);
    probe_start_round(probe, only_edges, 1, CLOCK_NEVER, T0);
}

static void a_round_whose_sending_fails_anywhere_is_lost(void **state)
{
    (void)state;
    static const struct pq_step sends[] = {
        SENT(PING, NULL),
        SYNC_SENT, /* */
        SENT(SETTINGS, "800ms"),
        SENT("SELECT count(*) FROM edges", NULL),
        SYNC_SENT, /* */
        SENT(SETTINGS, "2500ms"),
        SENT("SELECT slow()", NULL),
        SYNC_SENT,
    };
    for (size_t i = 0; i < sizeof sends / sizeof sends[0]; i++) {
        struct pq_step failing = sends[i];
        failing.returns = 0;
        failing.status = CONNECTION_BAD;
        failing.error = LOST;
        EXPECT_CALLS(STARTED, CONNECTED);
        script_expect(sends, i);
        script_expect(&failing, 1);
        open_probe();
        expect_step(PROBE_IDLE, T0);
        probe_start_round(probe, both, 2, CLOCK_NEVER, T0);
        expect_lost(REASON_UNREACHABLE, "");
        assert_false(probe_outcome(probe, 0)->done);
        assert_false(probe_outcome(probe, 1)->done);
    }
}

static void what_does_not_fit_into_the_socket_is_flushed_later(void **state)
{
    (void)state;
    connect_probe();
    EXPECT_CALLS(SENT(PING, NULL), SYNC_SENT, FLUSH_WANTS_WRITE);
    probe_start_round(probe, NULL, 0, CLOCK_NEVER, T0);
    expect_step(PROBE_ROUND, T0);
    expect_in_round(POLLIN | POLLOUT, OWN_DEADLINE);
    EXPECT_CALLS(FLUSH_WANTS_WRITE, CONSUMED); /* the server's own buffer must not fill up meanwhile */
    expect_answered(PROBE_ROUND, T0);
    expect_in_round(POLLIN | POLLOUT, OWN_DEADLINE);
    EXPECT_CALLS(FLUSHED);
    expect_step(PROBE_ROUND, T0);
    expect_in_round(POLLIN, OWN_DEADLINE);
    EXPECT_CALLS(CONSUMED, PING_ANSWER); /* flushed once, not again */
    expect_answered(PROBE_IDLE, T0);
}

static void a_flush_that_fails_is_lost(void **state)
{
    (void)state;
    connect_probe();
    EXPECT_CALLS(SENT(PING, NULL), SYNC_SENT, FLUSH_FAILS(LOST));
    probe_start_round(probe, NULL, 0, CLOCK_NEVER, T0);
    expect_step(PROBE_FAILED, T0);
    expect_lost(REASON_UNREACHABLE, "");
}

static void an_end_of_the_connection_is_lost(void **state)
{
    (void)state;
    start_ping();
    EXPECT_CALLS(CONSUME_FAILS(LOST));
    peer_closes();
    expect_step(PROBE_FAILED, T0);
    expect_lost(REASON_UNREACHABLE, "");
}

static void an_end_that_was_announced_while_idle_keeps_its_reason(void **state)
{
    (void)state;
    connect_probe();
    EXPECT_CALLS(CONSUMED, NOTICE("FATAL", "57P01"));
    expect_answered(PROBE_IDLE, T0);
    EXPECT_CALLS(SENT(PING, NULL), SYNC_SENT, FLUSH_FAILS(LOST));
    probe_start_round(probe, NULL, 0, CLOCK_NEVER, T0);
    expect_step(PROBE_FAILED, T0);
    expect_lost(REASON_RESTARTING, "57P01");
}

static void bytes_that_libpq_cannot_parse_are_malformed(void **state)
{
    (void)state;
    start_ping();
    EXPECT_CALLS(CONSUME_FAILS("lost synchronization with server: got message type \"x\"\n"));
    expect_answered(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void part_of_an_answer_is_waited_for(void **state)
{
    (void)state;
    static const struct pq_step answer[] = {PING_ANSWER};
    start_ping();
    for (size_t i = 0; i < sizeof answer / sizeof answer[0]; i++) {
        expect_in_round(POLLIN, OWN_DEADLINE);
        EXPECT_CALLS(CONSUMED);
        expect_answered(PROBE_ROUND, T0);
        EXPECT_CALLS(CONSUMED);
        script_expect(&answer[i], 1);
        expect_answered(i + 1 < sizeof answer / sizeof answer[0] ? PROBE_ROUND : PROBE_IDLE, T0);
    }
}

static void notices_and_notifications_in_a_round_are_no_answers(void **state)
{
    (void)state;
    start_ping();
    EXPECT_CALLS(CONSUMED, NOTICE("WARNING", "01000"), NOTIFICATION, NOTIFICATION, PING_ANSWER);
    expect_answered(PROBE_IDLE, T0);
}

/* The ping's answer, and what it says of the database. Nothing behind it is read. */
static const struct {
    struct pq_step answer;
    enum reason reason;
    const char *sqlstate;
} ping_faults[] = {
    {ERROR("ERROR", "53200", "out of memory"), REASON_RESOURCES, "53200"},
    {ERROR("ERROR", "42501", "permission denied"), REASON_ACCESS, "42501"},
    {ERROR("ERROR", NULL, "row number out of range"), REASON_MALFORMED, ""},
    {ERROR(NULL, NULL, NULL), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 0, .columns = 1), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 2, .columns = 1, .value = "f"), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 0), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 2, .value = "f"), REASON_MALFORMED, ""},
    {ROW(BOOL, NULL), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_COMMAND_OK), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_EMPTY_QUERY), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_COPY_IN), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_COPY_OUT), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_COPY_BOTH), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_SINGLE_TUPLE), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_PIPELINE_ABORTED), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_BAD_RESPONSE), REASON_MALFORMED, ""},
    {RESULT(.status = PGRES_NONFATAL_ERROR), REASON_MALFORMED, ""},
    {SYNCED, REASON_MALFORMED, ""}, /* before the answer */
};

static void a_ping_that_is_not_answered_with_one_value_is_the_databases_fault(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ping_faults / sizeof ping_faults[0]; i++) {
        EXPECT_CALLS(STARTED, CONNECTED);
        open_probe();
        expect_step(PROBE_IDLE, T0);
        start_round(both, 0);
        EXPECT_CALLS(CONSUMED);
        script_expect(&ping_faults[i].answer, 1);
        expect_answered(PROBE_FAILED, T0);
        expect_fault(ping_faults[i].reason, ping_faults[i].sqlstate);
    }
}

static void a_ping_with_a_second_answer_is_the_databases_fault(void **state)
{
    (void)state;
    start_ping();
    EXPECT_CALLS(CONSUMED, ROW(BOOL, "f"), ROW(BOOL, "f"));
    expect_answered(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void a_pipeline_that_ends_before_the_ping_is_the_databases_fault(void **state)
{
    (void)state;
    start_ping();
    EXPECT_CALLS(CONSUMED, NO_MORE, NO_MORE);
    expect_answered(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void a_fatal_error_to_the_ping_is_lost(void **state)
{
    (void)state;
    start_ping();
    EXPECT_CALLS(CONSUMED, ERROR("FATAL", "57P01", "terminating connection"));
    expect_answered(PROBE_FAILED, T0);
    expect_lost(REASON_RESTARTING, "57P01");
}

static void a_broken_connection_in_place_of_the_ping_is_lost(void **state)
{
    (void)state;
    start_ping();
    EXPECT_CALLS(CONSUMED, ERROR_AND_BROKEN(LOST));
    expect_answered(PROBE_FAILED, T0);
    expect_lost(REASON_UNREACHABLE, "");
}

static void a_connection_that_breaks_behind_the_pings_answer_is_lost(void **state)
{
    (void)state;
    struct pq_step answer = ROW(BOOL, "t");
    answer.status = CONNECTION_BAD;
    answer.error = LOST;
    start_ping();
    EXPECT_CALLS(CONSUMED);
    script_expect(&answer, 1);
    expect_answered(PROBE_FAILED, T0);
    expect_lost(REASON_UNREACHABLE, "");
    assert_false(probe_facts(probe)->in_recovery);
}

static void a_ping_without_answer_times_out_exactly_at_its_deadline(void **state)
{
    (void)state;
    start_ping();
    expect_step(PROBE_ROUND, OWN_DEADLINE - 1);
    expect_step(PROBE_FAILED, OWN_DEADLINE);
    expect_fault(REASON_QUERY_TIMEOUT, "");
}

static void the_rounds_deadline_on_the_ping_is_the_databases_fault(void **state)
{
    (void)state;
    connect_probe();
    start_round_until(only_edges, 1, AFTER_MS(100));
    expect_in_round(POLLIN, AFTER_MS(100));
    expect_step(PROBE_ROUND, AFTER_MS(100) - 1);
    expect_step(PROBE_FAILED, AFTER_MS(100));
    expect_fault(REASON_QUERY_TIMEOUT, "");
    assert_false(probe_outcome(probe, 0)->done);
}

static void a_round_without_a_socket_times_out(void **state)
{
    (void)state;
    struct pq_step flushed = FLUSHED;
    flushed.no_socket = true;
    connect_probe();
    EXPECT_CALLS(SENT(PING, NULL), SYNC_SENT);
    script_expect(&flushed, 1);
    probe_start_round(probe, NULL, 0, CLOCK_NEVER, T0);
    expect_step(PROBE_ROUND, T0);
    expect_wait(-1, POLLIN, OWN_DEADLINE);
    expect_step(PROBE_FAILED, OWN_DEADLINE);
    expect_fault(REASON_QUERY_TIMEOUT, "");
}

static void what_is_there_at_the_deadline_still_counts(void **state)
{
    (void)state;
    start_ping();
    EXPECT_CALLS(CONSUMED, PING_ANSWER);
    expect_answered(PROBE_IDLE, OWN_DEADLINE);
}

static void a_flood_in_place_of_the_ping_is_the_databases_fault(void **state)
{
    (void)state;
    connect_probe();
    flood(PORTION, PROBE_IDLE);
    start_round(NULL, 0); /* with a budget of its own */
    flood(PROBE_BYTE_BUDGET, PROBE_ROUND);
    peer_sends_bytes(1);
    expect_step(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void a_probe_can_be_closed_in_a_round(void **state)
{
    (void)state;
    start_ping();
    EXPECT_CALLS(CONSUMED, ROW(BOOL, "f"));
    expect_answered(PROBE_ROUND, T0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scripted(a_round_without_checks_is_a_ping),
        scripted(the_ping_tells_whether_the_server_is_in_recovery_now),
        scripted(each_check_is_sent_behind_its_settings_with_its_own_timeout),
        scripted(the_server_is_told_to_look_for_us_from_version_14_on),
        scripted(a_round_whose_sending_fails_anywhere_is_lost),
        scripted(what_does_not_fit_into_the_socket_is_flushed_later),
        scripted(a_flush_that_fails_is_lost),
        scripted(an_end_of_the_connection_is_lost),
        scripted(an_end_that_was_announced_while_idle_keeps_its_reason),
        scripted(bytes_that_libpq_cannot_parse_are_malformed),
        scripted(part_of_an_answer_is_waited_for),
        scripted(notices_and_notifications_in_a_round_are_no_answers),
        scripted(a_ping_that_is_not_answered_with_one_value_is_the_databases_fault),
        scripted(a_ping_with_a_second_answer_is_the_databases_fault),
        scripted(a_pipeline_that_ends_before_the_ping_is_the_databases_fault),
        scripted(a_fatal_error_to_the_ping_is_lost),
        scripted(a_broken_connection_in_place_of_the_ping_is_lost),
        scripted(a_connection_that_breaks_behind_the_pings_answer_is_lost),
        scripted(a_ping_without_answer_times_out_exactly_at_its_deadline),
        scripted(the_rounds_deadline_on_the_ping_is_the_databases_fault),
        scripted(a_round_without_a_socket_times_out),
        scripted(what_is_there_at_the_deadline_still_counts),
        scripted(a_flood_in_place_of_the_ping_is_the_databases_fault),
        scripted(a_probe_can_be_closed_in_a_round),
    };
    return cmocka_run_group_tests_name("probe: a round", tests, NULL, NULL);
}
