/* cgi/probe: a connection that waits for its next round, over a scripted libpq. */
#include "tests/unit/cgi/probe/probe_fixture.h"

static void nothing_to_read_is_no_call_and_no_deadline(void **state)
{
    (void)state;
    connect_probe();
    expect_step(PROBE_IDLE, AFTER_MS(INT64_C(3600) * MS_PER_S));
    expect_wait(script_socket(), POLLIN, CLOCK_NEVER);
}

static void what_the_server_says_by_the_way_changes_nothing(void **state)
{
    (void)state;
    connect_probe();
    EXPECT_CALLS(CONSUMED); /* a parameter's new value */
    expect_answered(PROBE_IDLE, T0);
    EXPECT_CALLS(CONSUMED, NOTICE("WARNING", "01000"), NOTICE(NULL, NULL));
    expect_answered(PROBE_IDLE, T0);
    expect_wait(script_socket(), POLLIN, CLOCK_NEVER);
}

static void notifications_are_drained_and_freed(void **state)
{
    (void)state;
    connect_probe();
    EXPECT_CALLS(CONSUMED, NOTIFICATION, NOTIFICATION, NOTIFICATION);
    expect_answered(PROBE_IDLE, T0);
}

static void an_end_without_a_word_is_lost_and_unreachable(void **state)
{
    (void)state;
    connect_probe();
    EXPECT_CALLS(CONSUME_FAILS(LOST));
    peer_closes();
    expect_step(PROBE_FAILED, T0);
    assert_string_equal(probe_failure(probe)->detail, "server closed the connection unexpectedly");
    expect_lost(REASON_UNREACHABLE, "");
}

static void a_fatal_notice_tells_why_the_connection_ends(void **state)
{
    (void)state;
    static const char *const severities[] = {"FATAL", "PANIC"};
    for (size_t i = 0; i < 2; i++) {
        EXPECT_CALLS(STARTED, CONNECTED, CONSUMED, NOTICE(severities[i], "57P01"));
        open_probe();
        expect_step(PROBE_IDLE, T0);
        expect_answered(PROBE_IDLE, T0); /* it has not ended yet */
        EXPECT_CALLS(CONSUME_FAILS(LOST));
        peer_closes();
        expect_step(PROBE_FAILED, T0);
        expect_lost(REASON_RESTARTING, "57P01");
    }
}

static void a_notice_that_is_not_fatal_does_not_explain_the_end(void **state)
{
    (void)state;
    connect_probe();
    EXPECT_CALLS(CONSUMED, NOTICE("ERROR", "57014"), NOTICE("FATAL", NULL), NOTICE(NULL, "57P01"));
    expect_answered(PROBE_IDLE, T0);
    EXPECT_CALLS(CONSUME_FAILS(LOST));
    peer_closes();
    expect_step(PROBE_FAILED, T0);
    expect_lost(REASON_UNREACHABLE, "");
}

static void bytes_that_libpq_cannot_parse_are_malformed(void **state)
{
    (void)state;
    connect_probe();
    EXPECT_CALLS(CONSUMED, PARSE_FAILS("lost synchronization with server: got message type \"x\"\n"));
    expect_answered(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void a_flood_between_rounds_is_malformed_and_no_checks_fault(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_probe();
    expect_step(PROBE_CONNECTING, T0);
    peer_sends_bytes(PORTION); /* off the budget for connecting, which is another */
    EXPECT_CALLS(CONNECTED);
    expect_step(PROBE_IDLE, T0);
    flood(PROBE_BYTE_BUDGET, PROBE_IDLE);
    peer_sends_bytes(1);
    expect_step(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void a_flood_after_a_round_is_malformed_and_no_checks_fault(void **state)
{
    (void)state;
    static const struct check check = {.sql = "SELECT 1", .max = INT64_MAX};
    static const struct check *const checks[] = {&check};
    connect_probe();
    start_round(checks, 1);
    EXPECT_CALLS(CONSUMED, PING_ANSWER, COUNT_ANSWER("1"));
    expect_answered(PROBE_IDLE, T0);
    flood(PROBE_BYTE_BUDGET - PORTION, PROBE_IDLE);
    peer_sends_bytes(PORTION); /* of which one byte is over */
    EXPECT_CALLS(CONSUMED);
    expect_step(PROBE_IDLE, T0);
    assert_int_equal(script_bytes_read(), PROBE_BYTE_BUDGET);
    expect_step(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
    assert_int_equal(probe_outcome(probe, 0)->reason, REASON_NONE);
    assert_false(probe_outcome(probe, 1)->done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scripted(nothing_to_read_is_no_call_and_no_deadline),
        scripted(what_the_server_says_by_the_way_changes_nothing),
        scripted(notifications_are_drained_and_freed),
        scripted(an_end_without_a_word_is_lost_and_unreachable),
        scripted(a_fatal_notice_tells_why_the_connection_ends),
        scripted(a_notice_that_is_not_fatal_does_not_explain_the_end),
        scripted(bytes_that_libpq_cannot_parse_are_malformed),
        scripted(a_flood_between_rounds_is_malformed_and_no_checks_fault),
        scripted(a_flood_after_a_round_is_malformed_and_no_checks_fault),
    };
    return cmocka_run_group_tests_name("probe: idle", tests, NULL, NULL);
}
