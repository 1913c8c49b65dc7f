/* cgi/probe/session: the questions about the server itself (ping, recovery, orphan), and what may happen to
 * any question, over a scripted libpq. */
#include "tests/unit/cgi/probe/session_fixture.h"

#define COUNT_OF(rows) (sizeof(rows) / sizeof((rows)[0]))

static void expect_asked(short events)
{
    assert_int_equal(session_state(session), SESSION_ASKED);
    expect_wait(script_socket(), events, CLOCK_NEVER); /* these questions have no limit */
    script_expect_done();
}

/* Opens a session and sends a question. */
static void ask_ping(void)
{
    let_in();
    EXPECT_CALLS(SYNC_SENT, FLUSHED);
    session_ask_ping(session, T0);
    expect_asked(POLLIN);
}

static void ask_recovery(void)
{
    let_in();
    EXPECT_CALLS(SENT(RECOVERY, NULL), SYNC_SENT, FLUSHED);
    session_ask_recovery(session, T0);
    expect_asked(POLLIN);
}

static void ask_orphan(void)
{
    let_in();
    EXPECT_CALLS(SENT(ORPHAN, "4711"), SYNC_SENT, FLUSHED);
    session_ask_orphan(session, 4711, T0);
    expect_asked(POLLIN);
}

/* Expects that the server ended the session, or that it was lost. */
static void expect_lost(enum question question, enum reason reason, const char *sqlstate)
{
    expect_end(question, reason, sqlstate, T0);
    assert_false(answer.by_server);
}

static void expect_malformed(enum question question)
{
    expect_end(question, REASON_MALFORMED, "", T0);
    assert_true(answer.by_server);
}

static void a_ping_is_a_bare_sync(void **state)
{
    (void)state;
    ask_ping();
    assert_int_equal(session_question(session), QUESTION_PING);
    EXPECT_CALLS(CONSUMED, SYNCED);
    peer_sends_bytes(1);
    expect_answer(QUESTION_PING, REASON_NONE, AFTER_MS(7));
    assert_true(answer.by_server);
    assert_false(answer.has_count);
    assert_true(answer.took_ns == 7 * NS_PER_MS);
}

static void the_session_reports_when_it_asked_and_when_it_heard(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(SYNC_SENT, FLUSHED);
    session_ask_ping(session, AFTER_MS(100));
    assert_true(session_asked_ns(session) == AFTER_MS(100));
    assert_true(session_heard_ns(session) == T0);
    EXPECT_CALLS(CONSUMED);
    expect_nothing_yet(SESSION_ASKED, AFTER_MS(150));
    assert_true(session_heard_ns(session) == AFTER_MS(150));
    expect_nothing(SESSION_ASKED, AFTER_MS(200));
    assert_true(session_heard_ns(session) == AFTER_MS(150));
    assert_true(session_asked_ns(session) == AFTER_MS(100));
    EXPECT_CALLS(CONSUMED, SYNCED);
    peer_sends_bytes(1);
    expect_answer(QUESTION_PING, REASON_NONE, AFTER_MS(250));
    assert_true(answer.sent_ns == AFTER_MS(100));
}

static void recovery_is_0_or_1(void **state)
{
    (void)state;
    static const char *const values[] = {"f", "t"};
    for (int i = 0; i < 2; i++) {
        ask_recovery();
        EXPECT_CALLS(CONSUMED, ROW(BOOL, values[i]), NO_MORE, SYNCED);
        peer_sends_bytes(1);
        expect_answer(QUESTION_RECOVERY, REASON_NONE, T0);
        assert_true(answer.by_server && answer.has_count);
        assert_int_equal(answer.count, i);
    }
}

static void an_orphan_is_looked_for_by_its_pid_and_is_0_or_1(void **state)
{
    (void)state;
    static const char *const values[] = {"0", "1"};
    for (int i = 0; i < 2; i++) {
        ask_orphan();
        EXPECT_CALLS(CONSUMED, ROW(INT8, values[i]), NO_MORE, SYNCED);
        peer_sends_bytes(1);
        expect_answer(QUESTION_ORPHAN, REASON_NONE, T0);
        assert_true(answer.by_server && answer.has_count);
        assert_int_equal(answer.count, i);
    }
}

static void pings_have_no_limit_not_even_after_our_own_stall(void **state)
{
    (void)state;
    static void (*const asks[])(void) = {ask_ping, ask_recovery, ask_orphan};
    for (size_t i = 0; i < COUNT_OF(asks); i++) {
        asks[i]();
        session_extend(session, 0, AFTER_MS(20000));
        expect_nothing(SESSION_ASKED, T0 + 3600 * NS_PER_S);
        expect_asked(POLLIN);
    }
}

static void one_session_answers_one_question_after_the_other(void **state)
{
    (void)state;
    ask_recovery();
    EXPECT_CALLS(CONSUMED, ROW(BOOL, "t"), NO_MORE, SYNCED);
    peer_sends_bytes(1);
    expect_answer(QUESTION_RECOVERY, REASON_NONE, T0);
    EXPECT_CALLS(SYNC_SENT, FLUSHED);
    session_ask_ping(session, AFTER_MS(5));
    EXPECT_CALLS(CONSUMED, SYNCED);
    peer_sends_bytes(1);
    expect_answer(QUESTION_PING, REASON_NONE, AFTER_MS(6));
    assert_false(answer.has_count); /* nothing is left of the last answer */
}

static void fail_to_send(const struct pq_step *sends, size_t count, size_t failing, enum question question)
{
    struct pq_step step = sends[failing];
    step.returns = 0;
    step.status = CONNECTION_BAD;
    step.error = LOST;
    assert_true(failing < count);
    let_in();
    script_expect(sends, failing);
    script_expect(&step, 1);
    if (question == QUESTION_PING)
        session_ask_ping(session, T0);
    else if (question == QUESTION_RECOVERY)
        session_ask_recovery(session, T0);
    else
        session_ask_orphan(session, 4711, T0);
    expect_lost(question, REASON_UNREACHABLE, "");
    assert_string_equal(answer.detail, "server closed the connection unexpectedly");
}

static void a_question_that_cannot_be_sent_completely_is_lost(void **state)
{
    (void)state;
    static const struct pq_step recovery[] = {SENT(RECOVERY, NULL), SYNC_SENT};
    static const struct pq_step orphan[] = {SENT(ORPHAN, "4711"), SYNC_SENT};
    fail_to_send(&recovery[1], 1, 0, QUESTION_PING);
    for (size_t i = 0; i < 2; i++) {
        fail_to_send(recovery, 2, i, QUESTION_RECOVERY);
        fail_to_send(orphan, 2, i, QUESTION_ORPHAN);
    }
}

static void bytes_that_do_not_fit_into_the_socket_are_flushed_later(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(SENT(RECOVERY, NULL), SYNC_SENT, FLUSH_WANTS_WRITE);
    session_ask_recovery(session, T0);
    expect_asked(POLLIN | POLLOUT);
    EXPECT_CALLS(FLUSH_WANTS_WRITE, CONSUMED); /* or the server's buffer would fill up */
    expect_nothing_yet(SESSION_ASKED, T0);
    expect_asked(POLLIN | POLLOUT);
    EXPECT_CALLS(FLUSHED);
    expect_nothing(SESSION_ASKED, T0);
    expect_asked(POLLIN);
    EXPECT_CALLS(CONSUMED, RECOVERY_ANSWER); /* no second flush */
    peer_sends_bytes(1);
    expect_answer(QUESTION_RECOVERY, REASON_NONE, T0);
}

static void a_flush_that_fails_is_lost_at_once_or_later(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(SYNC_SENT, FLUSH_FAILS(LOST));
    session_ask_ping(session, T0);
    assert_int_equal(session_state(session), SESSION_OVER);
    expect_lost(QUESTION_PING, REASON_UNREACHABLE, "");
    let_in();
    EXPECT_CALLS(SYNC_SENT, FLUSH_WANTS_WRITE);
    session_ask_ping(session, T0);
    EXPECT_CALLS(FLUSH_FAILS(LOST));
    expect_lost(QUESTION_PING, REASON_UNREACHABLE, "");
}

static void an_end_of_the_connection_is_lost(void **state)
{
    (void)state;
    ask_ping();
    EXPECT_CALLS(CONSUME_FAILS(LOST));
    peer_closes();
    expect_lost(QUESTION_PING, REASON_UNREACHABLE, "");
}

static void an_end_that_was_announced_while_idle_keeps_its_reason(void **state)
{
    (void)state;
    let_in();
    EXPECT_CALLS(CONSUMED, NOTICE("FATAL", "57P01"));
    expect_nothing_yet(SESSION_IDLE, T0);
    EXPECT_CALLS(SYNC_SENT, FLUSH_FAILS(LOST));
    session_ask_ping(session, T0);
    expect_lost(QUESTION_PING, REASON_RESTARTING, "57P01");
}

static void bytes_that_libpq_cannot_parse_are_malformed(void **state)
{
    (void)state;
    ask_ping();
    EXPECT_CALLS(CONSUME_FAILS("lost synchronization with server: got message type \"x\"\n"));
    peer_sends_bytes(1);
    expect_malformed(QUESTION_PING);
}

static void a_partial_answer_waits_for_its_rest(void **state)
{
    (void)state;
    static const struct pq_step parts[] = {ROW(BOOL, "f"), NO_MORE};
    ask_recovery();
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        EXPECT_CALLS(CONSUMED);
        expect_nothing_yet(SESSION_ASKED, T0);
        EXPECT_CALLS(CONSUMED);
        script_expect(&parts[i], 1);
        expect_nothing_yet(SESSION_ASKED, T0);
        expect_asked(POLLIN);
    }
    EXPECT_CALLS(CONSUMED, SYNCED);
    peer_sends_bytes(1);
    expect_answer(QUESTION_RECOVERY, REASON_NONE, T0);
}

static void notices_and_notifications_are_not_answers(void **state)
{
    (void)state;
    ask_recovery();
    EXPECT_CALLS(CONSUMED, NOTICE("WARNING", "01000"), NOTIFICATION, NOTIFICATION, RECOVERY_ANSWER);
    peer_sends_bytes(1);
    expect_answer(QUESTION_RECOVERY, REASON_NONE, T0);
}

static void an_error_is_an_answer_and_the_session_continues(void **state)
{
    (void)state;
    ask_recovery();
    EXPECT_CALLS(CONSUMED, ERROR("ERROR", "53200", "out of memory"), NO_MORE, SYNCED);
    peer_sends_bytes(1);
    expect_answer(QUESTION_RECOVERY, REASON_RESOURCES, T0);
    assert_true(answer.by_server);
    assert_false(answer.has_count);
    assert_string_equal(answer.sqlstate, "53200");
    assert_string_equal(answer.detail, "out of memory");
    EXPECT_CALLS(SENT(ORPHAN, "1"), SYNC_SENT, FLUSHED);
    session_ask_orphan(session, 1, T0);
    EXPECT_CALLS(CONSUMED, ERROR("ERROR", "42501", "permission denied"), NO_MORE, SYNCED);
    peer_sends_bytes(1);
    expect_answer(QUESTION_ORPHAN, REASON_ACCESS, T0);
}

static void anything_but_one_value_is_malformed_and_the_session_continues(void **state)
{
    (void)state;
    static const struct pq_step answers[] = {
        RESULT(.status = PGRES_TUPLES_OK, .rows = 0, .columns = 1),
        RESULT(.status = PGRES_TUPLES_OK, .rows = 2, .columns = 1, .value = "f"),
        RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 0),
        RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 2, .value = "f"),
        ROW(BOOL, NULL),
        ROW(BOOL, "yes"),
        ROW(BOOL, ""),
    };
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        ask_recovery();
        EXPECT_CALLS(CONSUMED);
        script_expect(&answers[i], 1);
        EXPECT_CALLS(NO_MORE, SYNCED);
        peer_sends_bytes(1);
        expect_answer(QUESTION_RECOVERY, REASON_MALFORMED, T0);
        assert_true(answer.by_server);
        assert_false(answer.has_count);
    }
}

/* Results that a server never sends for these questions. After one the protocol state is unknown. */
static const struct pq_step disorders[] = {
    ERROR("ERROR", NULL, "row number out of range"), /* an error of libpq itself */
    ERROR(NULL, NULL, NULL),
    RESULT(.status = PGRES_COMMAND_OK),
    RESULT(.status = PGRES_EMPTY_QUERY),
    RESULT(.status = PGRES_COPY_IN),
    RESULT(.status = PGRES_COPY_OUT),
    RESULT(.status = PGRES_COPY_BOTH),
    RESULT(.status = PGRES_SINGLE_TUPLE),
    RESULT(.status = PGRES_BAD_RESPONSE),
    RESULT(.status = PGRES_NONFATAL_ERROR),
};

static void expect_disorder(void (*ask)(void), enum question question, const struct pq_step *step)
{
    ask();
    EXPECT_CALLS(CONSUMED);
    script_expect(step, 1);
    peer_sends_bytes(1);
    expect_malformed(question);
}

static void an_answer_out_of_order_ends_the_session(void **state)
{
    (void)state;
    static const struct pq_step row = ROW(BOOL, "f"), synced = SYNCED,
                                aborted = RESULT(.status = PGRES_PIPELINE_ABORTED);
    for (size_t i = 0; i < COUNT_OF(disorders); i++) {
        expect_disorder(ask_ping, QUESTION_PING, &disorders[i]);
        expect_disorder(ask_recovery, QUESTION_RECOVERY, &disorders[i]);
        expect_disorder(ask_orphan, QUESTION_ORPHAN, &disorders[i]);
    }
    expect_disorder(ask_ping, QUESTION_PING, &row);
    expect_disorder(ask_recovery, QUESTION_RECOVERY, &synced); /* before the answer */
    expect_disorder(ask_recovery, QUESTION_RECOVERY, &aborted);
}

static void a_second_answer_ends_the_session(void **state)
{
    (void)state;
    ask_recovery();
    EXPECT_CALLS(CONSUMED, ROW(BOOL, "f"), ROW(BOOL, "f"));
    peer_sends_bytes(1);
    expect_malformed(QUESTION_RECOVERY);
}

static void a_pipeline_that_ends_before_the_answer_ends_the_session(void **state)
{
    (void)state;
    ask_recovery();
    EXPECT_CALLS(CONSUMED, NO_MORE, NO_MORE);
    peer_sends_bytes(1);
    expect_malformed(QUESTION_RECOVERY);
}

static void a_fatal_error_ends_the_session_with_its_reason(void **state)
{
    (void)state;
    ask_recovery();
    EXPECT_CALLS(CONSUMED, ERROR("FATAL", "57P01", "terminating connection"));
    peer_sends_bytes(1);
    expect_lost(QUESTION_RECOVERY, REASON_RESTARTING, "57P01");
}

static void a_connection_that_breaks_at_the_answer_is_lost(void **state)
{
    (void)state;
    struct pq_step row = ROW(BOOL, "t");
    row.status = CONNECTION_BAD;
    row.error = LOST;
    ask_recovery();
    EXPECT_CALLS(CONSUMED, ERROR_AND_BROKEN(LOST));
    peer_sends_bytes(1);
    expect_lost(QUESTION_RECOVERY, REASON_UNREACHABLE, "");
    ask_recovery();
    EXPECT_CALLS(CONSUMED);
    script_expect(&row, 1);
    peer_sends_bytes(1);
    expect_lost(QUESTION_RECOVERY, REASON_UNREACHABLE, "");
}

static void a_transaction_that_is_open_at_the_sync_ends_the_session(void **state)
{
    (void)state;
    ask_ping();
    EXPECT_CALLS(CONSUMED, SYNCED_IN(PQTRANS_INTRANS));
    peer_sends_bytes(1);
    expect_malformed(QUESTION_PING);
}

static void a_flood_is_malformed_and_each_question_has_its_own_budget(void **state)
{
    (void)state;
    let_in();
    flood(PORTION, SESSION_IDLE);
    EXPECT_CALLS(SYNC_SENT, FLUSHED);
    session_ask_ping(session, T0);
    flood(SESSION_BYTE_BUDGET, SESSION_ASKED);
    peer_sends_bytes(1);
    expect_malformed(QUESTION_PING);
    assert_int_equal(script_bytes_read(), PORTION + SESSION_BYTE_BUDGET);
}

static void a_session_can_be_closed_before_the_answer_is_complete(void **state)
{
    (void)state;
    ask_recovery();
    EXPECT_CALLS(CONSUMED, ROW(BOOL, "f"));
    expect_nothing_yet(SESSION_ASKED, T0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scripted(a_ping_is_a_bare_sync),
        scripted(the_session_reports_when_it_asked_and_when_it_heard),
        scripted(recovery_is_0_or_1),
        scripted(an_orphan_is_looked_for_by_its_pid_and_is_0_or_1),
        scripted(pings_have_no_limit_not_even_after_our_own_stall),
        scripted(one_session_answers_one_question_after_the_other),
        scripted(a_question_that_cannot_be_sent_completely_is_lost),
        scripted(bytes_that_do_not_fit_into_the_socket_are_flushed_later),
        scripted(a_flush_that_fails_is_lost_at_once_or_later),
        scripted(an_end_of_the_connection_is_lost),
        scripted(an_end_that_was_announced_while_idle_keeps_its_reason),
        scripted(bytes_that_libpq_cannot_parse_are_malformed),
        scripted(a_partial_answer_waits_for_its_rest),
        scripted(notices_and_notifications_are_not_answers),
        scripted(an_error_is_an_answer_and_the_session_continues),
        scripted(anything_but_one_value_is_malformed_and_the_session_continues),
        scripted(an_answer_out_of_order_ends_the_session),
        scripted(a_second_answer_ends_the_session),
        scripted(a_pipeline_that_ends_before_the_answer_ends_the_session),
        scripted(a_fatal_error_ends_the_session_with_its_reason),
        scripted(a_connection_that_breaks_at_the_answer_is_lost),
        scripted(a_transaction_that_is_open_at_the_sync_ends_the_session),
        scripted(a_flood_is_malformed_and_each_question_has_its_own_budget),
        scripted(a_session_can_be_closed_before_the_answer_is_complete),
    };
    return cmocka_run_group_tests_name("session: pings", tests, NULL, NULL);
}
