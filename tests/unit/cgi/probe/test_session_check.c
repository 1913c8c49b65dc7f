/* cgi/probe/session: a check, from what is sent to its answer, over a scripted libpq. */
#include "tests/unit/cgi/probe/session_fixture.h"

#define COUNT_OF(rows) (sizeof(rows) / sizeof((rows)[0]))

static const struct check edges = {
    .name = "edges", .sql = "SELECT count(*) FROM edges", .min = 10, .max = 20};

/* When the session gives up waiting for the server. */
#define DEADLINE AFTER_MS(QUERY_TIMEOUT_MS + SESSION_GRACE_MS)

static void ask(void)
{
    EXPECT_CALLS(CHECK_SENT(edges.sql, "800ms"));
    session_ask_check(session, &edges, QUERY_TIMEOUT_MS, T0);
    script_expect_done();
}

/* Opens a session and asks the check. */
static void ask_check(void)
{
    let_in();
    ask();
}

static void expect_reason(enum reason reason, const char *sqlstate)
{
    peer_sends_bytes(1);
    expect_answer(QUESTION_CHECK, reason, AFTER_MS(4));
    assert_true(answer.by_server);
    assert_string_equal(answer.sqlstate, sqlstate);
}

static void expect_passed(int64_t count)
{
    expect_reason(REASON_NONE, "");
    assert_true(answer.has_count);
    assert_true(answer.count == count);
}

static void expect_end_of_check(enum reason reason, const char *sqlstate, bool by_server, int64_t now_ns)
{
    expect_end(QUESTION_CHECK, reason, sqlstate, now_ns);
    assert_int_equal(answer.by_server, by_server);
}

static void a_check_and_its_settings_are_sent_in_one_flight(void **state)
{
    (void)state;
    ask_check();
    assert_int_equal(session_question(session), QUESTION_CHECK);
    expect_nothing(SESSION_ASKED, T0);
    expect_wait(script_socket(), POLLIN, DEADLINE);
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("17"));
    expect_passed(17);
    assert_true(answer.sent_ns == T0);
    assert_true(answer.took_ns == 4 * NS_PER_MS);
    assert_string_equal(answer.detail, "");
}

static void each_check_has_its_own_limit_and_range(void **state)
{
    (void)state;
    static const struct check any = {.sql = "SELECT slow()", .max = INT64_MAX};
    ask_check();
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("17"));
    expect_passed(17);
    EXPECT_CALLS(CHECK_SENT("SELECT slow()", "2500ms"));
    session_ask_check(session, &any, 2500, AFTER_MS(100));
    expect_wait(script_socket(), POLLIN, AFTER_MS(100 + 2500 + SESSION_GRACE_MS));
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("714201"));
    peer_sends_bytes(1);
    expect_answer(QUESTION_CHECK, REASON_NONE, AFTER_MS(1300));
    assert_true(answer.count == 714201);
}

static void from_version_14_on_the_server_checks_our_connection(void **state)
{
    (void)state;
    script_set_server_version(139999);
    let_in();
    EXPECT_CALLS(SENT(SETTINGS_13, "800ms"), FLUSH_REQUESTED, SENT(edges.sql, NULL), SYNC_SENT, FLUSHED);
    session_ask_check(session, &edges, QUERY_TIMEOUT_MS, T0);
    script_set_server_version(140000);
    ask_check();
}

/* 42 is the server process of the login. */
static void the_server_process_is_known_before_its_query_ends(void **state)
{
    (void)state;
    ask_check();
    assert_true(session_backend_pid(session) == 42);
    EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER);
    expect_nothing_yet(SESSION_ASKED, T0);
    assert_true(session_backend_pid(session) == 4711);
    expect_end_of_check(REASON_QUERY_TIMEOUT, "", false, DEADLINE);
    assert_true(session_backend_pid(session) == 4711);
}

static void each_check_may_have_another_server_process(void **state)
{
    (void)state;
    ask_check();
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("17"));
    expect_passed(17);
    assert_true(session_backend_pid(session) == 4711);
    ask(); /* as PgBouncer does */
    assert_true(session_backend_pid(session) == 42);
}

static void a_check_that_cannot_be_sent_completely_is_lost(void **state)
{
    (void)state;
    static const struct pq_step sends[] = {CHECK_SENT("SELECT count(*) FROM edges", "800ms")};
    for (size_t i = 0; i < COUNT_OF(sends); i++) {
        struct pq_step failing = sends[i];
        failing.returns = failing.call == PQ_FLUSH ? -1 : 0;
        failing.status = CONNECTION_BAD;
        failing.error = LOST;
        let_in();
        script_expect(sends, i);
        script_expect(&failing, 1);
        session_ask_check(session, &edges, QUERY_TIMEOUT_MS, T0);
        expect_end_of_check(REASON_UNREACHABLE, "", false, T0);
    }
}

static void the_answer_comes_with_the_sync(void **state)
{
    (void)state;
    ask_check();
    EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER, ROW(INT8, "17"), NO_MORE);
    expect_nothing_yet(SESSION_ASKED, AFTER_MS(1));
    expect_wait(script_socket(), POLLIN, DEADLINE);
    EXPECT_CALLS(CONSUMED, SYNCED);
    expect_passed(17);
}

/* Answers to a check with the limits 10 and 20, and their reasons. The session continues. */
static const struct {
    struct pq_step answer;
    enum reason reason;
    bool has_count;
    int64_t count;
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
    {ROW(BOOL, "t"), REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 1, .type = INT8, .value = "15\0x", .len = 4),
     REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 0, .columns = 1, .type = INT8), REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 2, .columns = 1, .type = INT8, .value = "15"),
     REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 2, .type = INT8, .value = "15"),
     REASON_MALFORMED, false, 0},
    {RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 0), REASON_MALFORMED, false, 0},
};

static void anything_but_one_count_in_range_fails(void **state)
{
    (void)state;
    let_in();
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        ask();
        EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER);
        script_expect(&answers[i].answer, 1);
        EXPECT_CALLS(NO_MORE, SYNCED);
        expect_reason(answers[i].reason, "");
        assert_int_equal(answer.has_count, answers[i].has_count);
        assert_true(!answers[i].has_count || answer.count == answers[i].count);
    }
}

static void an_error_is_the_answer_of_the_check_and_the_session_continues(void **state)
{
    (void)state;
    static const struct {
        struct pq_step error;
        enum reason reason;
        const char *detail;
    } errors[] = {
        {ERROR("ERROR", "42P01", "relation does not exist"), REASON_SCHEMA, "relation does not exist"},
        {ERROR("ERROR", "57014", "canceling statement\ndue to"), REASON_QUERY_TIMEOUT, "canceling statement"},
        {ERROR("ERROR", "58P01", "could not access file \"$libdir/x\""), REASON_SCHEMA,
         "could not access file \"$libdir/x\""},
        {ERROR("ERROR", "08P01", "bind message supplies 0 parameters"), REASON_QUERY_ERROR,
         "bind message supplies 0 parameters"},
        {ERROR("ERROR", "XX001", NULL), REASON_CORRUPT, ""},
    };
    let_in();
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        ask();
        EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER);
        script_expect(&errors[i].error, 1);
        EXPECT_CALLS(NO_MORE, SYNCED);
        expect_reason(errors[i].reason, errors[i].error.result.sqlstate);
        assert_string_equal(answer.detail, errors[i].detail);
        assert_false(answer.has_count);
    }
    ask();
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("17"));
    expect_passed(17); /* nothing is left of the errors */
}

static void an_error_after_the_count_discards_the_count(void **state)
{
    (void)state;
    ask_check();
    EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER, ROW(INT8, "17"), NO_MORE,
                 ERROR("ERROR", "40001", "could not serialize"), NO_MORE, SYNCED);
    expect_reason(REASON_QUERY_ERROR, "40001");
    assert_false(answer.has_count);
}

static void settings_that_fail_are_the_answer(void **state)
{
    (void)state;
    ask_check();
    EXPECT_CALLS(CONSUMED, ERROR("ERROR", "42501", "permission denied"), NO_MORE,
                 RESULT(.status = PGRES_PIPELINE_ABORTED), NO_MORE, SYNCED);
    expect_reason(REASON_ACCESS, "42501");
    assert_true(session_backend_pid(session) == 42);
}

static void a_transaction_that_is_left_open_is_malformed_and_ends_the_session(void **state)
{
    (void)state;
    static const PGTransactionStatusType open[] = {PQTRANS_INTRANS, PQTRANS_INERROR, PQTRANS_ACTIVE,
                                                   PQTRANS_UNKNOWN};
    for (size_t i = 0; i < COUNT_OF(open); i++) {
        ask_check();
        EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER, ROW(INT8, "17"), NO_MORE, SYNCED_IN(open[i]));
        peer_sends_bytes(1);
        expect_end_of_check(REASON_MALFORMED, "", true, T0);
        assert_string_equal(answer.detail, "the query left a transaction open");
    }
}

/* Results that leave something in the session, or after which the protocol state is unknown. */
static const struct pq_step disorders[] = {
    RESULT(.status = PGRES_COMMAND_OK), /* BEGIN, SET, LISTEN */
    RESULT(.status = PGRES_EMPTY_QUERY),
    RESULT(.status = PGRES_COPY_IN),
    RESULT(.status = PGRES_COPY_OUT),
    RESULT(.status = PGRES_COPY_BOTH),
    RESULT(.status = PGRES_SINGLE_TUPLE),
    RESULT(.status = PGRES_PIPELINE_ABORTED),
    RESULT(.status = PGRES_BAD_RESPONSE),
    SYNCED,
    NO_MORE, /* a second one after that of the settings */
    ERROR(NULL, NULL, "unexpected field count in \"D\" message\n"),
};

static void expect_disorder(const struct pq_step *step)
{
    script_expect(step, 1);
    peer_sends_bytes(1);
    expect_end_of_check(REASON_MALFORMED, "", true, AFTER_MS(4));
}

static void an_answer_out_of_order_is_malformed_and_ends_the_session(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(disorders); i++) {
        ask_check();
        EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER);
        expect_disorder(&disorders[i]);
    }
}

static void settings_that_return_no_row_set_end_the_session(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        ask_check();
        EXPECT_CALLS(CONSUMED);
        expect_disorder(&disorders[i]);
    }
}

static void a_second_answer_ends_the_session(void **state)
{
    (void)state;
    static const struct pq_step more[] = {ROW(INT8, "17"), RESULT(.status = PGRES_COMMAND_OK),
                                          ERROR(NULL, NULL, "unexpected field count")};
    for (size_t i = 0; i < COUNT_OF(more); i++) {
        ask_check();
        EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER, ROW(INT8, "17"));
        expect_disorder(&more[i]);
    }
}

static void an_answer_over_the_budget_is_malformed_and_ends_the_session(void **state)
{
    (void)state;
    ask_check();
    flood(SESSION_BYTE_BUDGET, SESSION_ASKED);
    peer_sends_bytes(1);
    expect_end_of_check(REASON_MALFORMED, "", true, T0);
    assert_int_equal(script_bytes_read(), SESSION_BYTE_BUDGET);
}

static const struct pq_step before_the_sync[] = {SETTINGS_ANSWER, ROW(INT8, "17"), NO_MORE};

/* Expects that this step ends the session at any point of the answer. */
static void expect_end_anywhere(const struct pq_step *step, enum reason reason, const char *sqlstate,
                                bool by_server)
{
    for (size_t i = 0; i <= COUNT_OF(before_the_sync); i++) {
        ask_check();
        EXPECT_CALLS(CONSUMED);
        script_expect(before_the_sync, i);
        script_expect(step, 1);
        peer_sends_bytes(1);
        expect_end_of_check(reason, sqlstate, by_server, T0);
    }
}

static void a_lost_session_is_not_an_answer_of_the_server(void **state)
{
    (void)state;
    static const struct pq_step fatal = ERROR("FATAL", "57P01", "terminating connection"),
                                panic = ERROR("PANIC", "XX001", "no"), broken = ERROR_AND_BROKEN(LOST),
                                unsynchronized =
                                    ERROR_AND_BROKEN("lost synchronization with server: got message\n");
    expect_end_anywhere(&fatal, REASON_RESTARTING, "57P01", false);
    expect_end_anywhere(&panic, REASON_CORRUPT, "XX001", false);
    expect_end_anywhere(&broken, REASON_UNREACHABLE, "", false);
    expect_end_anywhere(&unsynchronized, REASON_MALFORMED, "", true);
}

static void our_own_limit_ends_a_check_that_the_server_does_not_end(void **state)
{
    (void)state;
    ask_check();
    expect_nothing(SESSION_ASKED, DEADLINE - 1);
    expect_end_of_check(REASON_QUERY_TIMEOUT, "", false, DEADLINE);
}

static void a_count_without_its_sync_does_not_count_at_the_limit(void **state)
{
    (void)state;
    static const struct pq_step counts[] = {ROW(INT8, "17"), ROW(INT8, "21")};
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        ask_check();
        EXPECT_CALLS(CONSUMED, SETTINGS_ANSWER);
        script_expect(&counts[i], 1);
        EXPECT_CALLS(NO_MORE);
        expect_nothing_yet(SESSION_ASKED, T0);
        expect_end_of_check(REASON_QUERY_TIMEOUT, "", false, DEADLINE);
    }
}

static void an_answer_that_arrives_by_the_deadline_still_counts(void **state)
{
    (void)state;
    ask_check();
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("17"));
    peer_sends_bytes(1);
    expect_answer(QUESTION_CHECK, REASON_NONE, DEADLINE);
}

static void our_own_stall_gives_the_whole_limit_again_once_per_check(void **state)
{
    (void)state;
    ask_check();
    session_extend(session, 0, AFTER_MS(5000));
    expect_nothing(SESSION_ASKED, AFTER_MS(5000));
    expect_wait(script_socket(), POLLIN, DEADLINE + 5000 * NS_PER_MS);
    session_extend(session, 0, AFTER_MS(6000));
    expect_wait(script_socket(), POLLIN, DEADLINE + 5000 * NS_PER_MS);
    EXPECT_CALLS(CONSUMED, COUNT_ANSWER("17"));
    expect_passed(17);
    ask();
    session_extend(session, 0, AFTER_MS(1));
    expect_nothing(SESSION_ASKED, DEADLINE);
    expect_end_of_check(REASON_QUERY_TIMEOUT, "", false, DEADLINE + NS_PER_MS);
}

static void a_check_without_a_socket_times_out(void **state)
{
    (void)state;
    struct pq_step flushed = FLUSHED;
    flushed.no_socket = true;
    let_in();
    EXPECT_CALLS(SENT(SETTINGS, "800ms"), FLUSH_REQUESTED, SENT(edges.sql, NULL), SYNC_SENT);
    script_expect(&flushed, 1);
    session_ask_check(session, &edges, QUERY_TIMEOUT_MS, T0);
    expect_nothing(SESSION_ASKED, T0);
    expect_wait(-1, POLLIN, DEADLINE);
    expect_end_of_check(REASON_QUERY_TIMEOUT, "", false, DEADLINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scripted(a_check_and_its_settings_are_sent_in_one_flight),
        scripted(each_check_has_its_own_limit_and_range),
        scripted(from_version_14_on_the_server_checks_our_connection),
        scripted(the_server_process_is_known_before_its_query_ends),
        scripted(each_check_may_have_another_server_process),
        scripted(a_check_that_cannot_be_sent_completely_is_lost),
        scripted(the_answer_comes_with_the_sync),
        scripted(anything_but_one_count_in_range_fails),
        scripted(an_error_is_the_answer_of_the_check_and_the_session_continues),
        scripted(an_error_after_the_count_discards_the_count),
        scripted(settings_that_fail_are_the_answer),
        scripted(a_transaction_that_is_left_open_is_malformed_and_ends_the_session),
        scripted(an_answer_out_of_order_is_malformed_and_ends_the_session),
        scripted(settings_that_return_no_row_set_end_the_session),
        scripted(a_second_answer_ends_the_session),
        scripted(an_answer_over_the_budget_is_malformed_and_ends_the_session),
        scripted(a_lost_session_is_not_an_answer_of_the_server),
        scripted(our_own_limit_ends_a_check_that_the_server_does_not_end),
        scripted(a_count_without_its_sync_does_not_count_at_the_limit),
        scripted(an_answer_that_arrives_by_the_deadline_still_counts),
        scripted(our_own_stall_gives_the_whole_limit_again_once_per_check),
        scripted(a_check_without_a_socket_times_out),
    };
    return cmocka_run_group_tests_name("session: checks", tests, NULL, NULL);
}
