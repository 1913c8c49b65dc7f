/* cgi/probe/session: a session that waits for its next question, over a scripted libpq. */
#include "tests/unit/cgi/probe/session_fixture.h"

/* There was no question, so no check fails. A flood or nonsense is the server's own fault. */
static void expect_idle_end(enum reason reason, const char *sqlstate, int64_t now_ns)
{
    expect_end(QUESTION_NONE, reason, sqlstate, now_ns);
    assert_int_equal(answer.by_server, reason == REASON_MALFORMED);
    assert_true(answer.sent_ns == now_ns);
}

static void an_idle_session_calls_libpq_only_when_there_is_something_to_read(void **state)
{
    (void)state;
    let_in();
    expect_nothing(SESSION_IDLE, AFTER_MS(INT64_C(3600) * MS_PER_S));
    expect_wait(script_socket(), POLLIN, CLOCK_NEVER);
}

static void notices_and_parameter_changes_change_nothing(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(CONSUMED); /* a parameter has a new value */
    expect_nothing_yet(SESSION_IDLE, AFTER_MS(5));
    assert_true(session_heard_ns(session) == AFTER_MS(5));
    EXPECT_CALLS(CONSUMED, NOTICE("WARNING", "01000"), NOTICE(NULL, NULL));
    expect_nothing_yet(SESSION_IDLE, T0);
    expect_wait(script_socket(), POLLIN, CLOCK_NEVER);
}

static void notifications_are_drained_and_freed(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(CONSUMED, NOTIFICATION, NOTIFICATION, NOTIFICATION);
    expect_nothing_yet(SESSION_IDLE, T0);
}

static void an_end_without_a_message_is_unreachable(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(CONSUME_FAILS(LOST));
    peer_closes();
    expect_idle_end(REASON_UNREACHABLE, "", AFTER_MS(9));
    assert_string_equal(answer.detail, "server closed the connection unexpectedly");
}

static void a_fatal_notice_gives_the_reason_for_the_end(void **state)
{
    (void)state;
    static const char *const severities[] = {"FATAL", "PANIC"};
    for (size_t i = 0; i < 2; i++) {
        let_in();
        EXPECT_CALLS(CONSUMED, NOTICE(severities[i], "57P01"));
        expect_nothing_yet(SESSION_IDLE, T0); /* the session has not ended yet */
        EXPECT_CALLS(CONSUME_FAILS(LOST));
        peer_closes();
        expect_idle_end(REASON_RESTARTING, "57P01", T0);
    }
}

/* Another server process crashed: quickdie in postgres.c sends a WARNING. */
static void the_warning_of_a_crash_gives_the_reason_for_the_end(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(CONSUMED, NOTICE("WARNING", "57P02"));
    expect_nothing_yet(SESSION_IDLE, T0);
    EXPECT_CALLS(CONSUME_FAILS(LOST));
    peer_closes();
    expect_idle_end(REASON_RESTARTING, "57P02", T0);
}

static void an_announced_end_wins_over_the_way_it_ends(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(CONSUMED, NOTICE("FATAL", "57P01"));
    expect_nothing_yet(SESSION_IDLE, T0);
    EXPECT_CALLS(CONSUME_FAILS("lost synchronization with server: got message type \"x\"\n"));
    peer_closes();
    expect_idle_end(REASON_RESTARTING, "57P01", T0);
}

static void a_notice_that_is_not_fatal_does_not_explain_the_end(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(CONSUMED, NOTICE("ERROR", "57014"), NOTICE("FATAL", NULL), NOTICE(NULL, "57P01"),
                 NOTICE("WARNING", "57P01"), NOTICE(NULL, "57P02"));
    expect_nothing_yet(SESSION_IDLE, T0);
    EXPECT_CALLS(CONSUME_FAILS(LOST));
    peer_closes();
    expect_idle_end(REASON_UNREACHABLE, "", T0);
}

static void a_connection_that_libpq_gives_up_while_parsing_is_over(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(CONSUMED, PARSE_FAILS(LOST));
    peer_sends_bytes(1);
    expect_idle_end(REASON_UNREACHABLE, "", T0);
}

static void bytes_that_libpq_cannot_parse_are_malformed(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(CONSUMED, PARSE_FAILS("lost synchronization with server: got message type \"x\"\n"));
    peer_sends_bytes(1);
    expect_idle_end(REASON_MALFORMED, "", T0);
}

static void a_flood_is_malformed_and_uses_the_budget_of_the_last_question(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_session();
    expect_nothing(SESSION_ASKED, T0);
    peer_sends_bytes(PORTION); /* from the budget of the login */
    EXPECT_CALLS(CONNECTED);
    expect_answer(QUESTION_LOGIN, REASON_NONE, T0);
    flood(SESSION_BYTE_BUDGET - PORTION, SESSION_IDLE);
    peer_sends_bytes(1);
    expect_idle_end(REASON_MALFORMED, "", T0);
    assert_int_equal(script_bytes_read(), SESSION_BYTE_BUDGET);
}

static void our_own_stall_gives_an_idle_session_no_deadline(void **state)
{
    (void)state;
    let_in();
    session_extend(session, 0, AFTER_MS(5000));
    expect_nothing(SESSION_IDLE, AFTER_MS(90000));
    expect_wait(script_socket(), POLLIN, CLOCK_NEVER);
}

static void closing_reads_nothing_of_what_the_peer_still_sends(void **state)
{
    (void)state;
    let_in();
    peer_sends_bytes(PORTION);
    close_session(); /* the script would notice a read */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scripted(an_idle_session_calls_libpq_only_when_there_is_something_to_read),
        scripted(notices_and_parameter_changes_change_nothing),
        scripted(notifications_are_drained_and_freed),
        scripted(an_end_without_a_message_is_unreachable),
        scripted(a_fatal_notice_gives_the_reason_for_the_end),
        scripted(the_warning_of_a_crash_gives_the_reason_for_the_end),
        scripted(an_announced_end_wins_over_the_way_it_ends),
        scripted(a_notice_that_is_not_fatal_does_not_explain_the_end),
        scripted(a_connection_that_libpq_gives_up_while_parsing_is_over),
        scripted(bytes_that_libpq_cannot_parse_are_malformed),
        scripted(a_flood_is_malformed_and_uses_the_budget_of_the_last_question),
        scripted(our_own_stall_gives_an_idle_session_no_deadline),
        scripted(closing_reads_nothing_of_what_the_peer_still_sends),
    };
    return cmocka_run_group_tests_name("session: idle", tests, NULL, NULL);
}
