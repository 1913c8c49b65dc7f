/* cgi/probe/ledger: it logs each change once. */
#include "tests/unit/cgi/probe/ledger_fixture.h"

#define SAID            " detail=\"what the server said\""
#define FAILS(r, st, n) LINE("warn", "database failed", "reason=" r " sqlstate=" st SAID " attempts=" n)
#define STILL_FAILS(r, st, n)                                                                                \
    LINE("warn", "database still failing", "reason=" r " sqlstate=" st SAID " attempts=" n)
#define ANSWERS_AGAIN(n)      LINE("info", "database recovered", "failures=" n)
#define CHECK_FAILS(c, r, st) LINE("warn", "check failed", "check=" c " reason=" r " sqlstate=" st SAID)
#define PASSES_AGAIN(c)       LINE("info", "check recovered", "check=" c)
#define ANSWERS(host)                                                                                        \
    LINE("notice", "server connected",                                                                       \
         "host=" host " address=10.0.0.1 port=5432 database=knowledge user=health_api")

static void a_lasting_failure_logs_one_line_then_one_per_minute_with_the_attempts(void **state)
{
    (void)state;
    fail_login(REASON_ACCESS, "28P01", T0);
    EXPECT_LOG(FAILS("access", "28P01", "1"));
    for (int s = 2; s < 60; s += 2) /* 29 times */
        fail_login(REASON_ACCESS, "28P01", AFTER_S(s));
    fail_login(REASON_ACCESS, "28P01", AFTER_S(60) - 1);
    EXPECT_NO_LOG();
    fail_login(REASON_ACCESS, "28P01", AFTER_S(60));
    EXPECT_LOG(STILL_FAILS("access", "28P01", "31"));
    fail_login(REASON_ACCESS, "28P01", AFTER_S(120) - 1);
    EXPECT_NO_LOG();
    fail_login(REASON_ACCESS, "28P01", AFTER_S(130));
    EXPECT_LOG(STILL_FAILS("access", "28P01", "2"));
}

static void another_reason_or_code_logs_a_line_and_begins_a_new_minute(void **state)
{
    (void)state;
    fail_login(REASON_ACCESS, "28P01", T0);
    fail_login(REASON_ACCESS, "3D000", AFTER_S(1));
    fail_ping(REASON_HUNG, AFTER_S(2));
    EXPECT_LOG(FAILS("access", "28P01", "1"), FAILS("access", "3D000", "1"), FAILS("hung", "\"\"", "1"));
    fail_ping(REASON_HUNG, AFTER_S(62) - 1);
    EXPECT_NO_LOG();
    fail_ping(REASON_HUNG, AFTER_S(62));
    EXPECT_LOG(STILL_FAILS("hung", "\"\"", "2"));
}

static void a_hung_server_logs_one_line_whatever_the_logins_do(void **state)
{
    (void)state;
    fail_ping(REASON_HUNG, T0);
    fail_login(REASON_CONNECT_TIMEOUT, "", AFTER_S(2));
    fail_login(REASON_CONNECT_TIMEOUT, "", AFTER_S(4));
    EXPECT_LOG(FAILS("hung", "\"\"", "1"));
}

static void an_answer_ends_the_outage_and_the_next_one_counts_from_one(void **state)
{
    (void)state;
    fail_login(REASON_ACCESS, "28P01", T0);
    fail_login(REASON_ACCESS, "28P01", AFTER_S(1));
    fail_login(REASON_ACCESS, "28P01", AFTER_S(2));
    start_healthy(AFTER_S(3));
    login(AFTER_S(5));
    ping(AFTER_S(5));
    EXPECT_LOG(FAILS("access", "28P01", "1"), ANSWERS("db"), ANSWERS_AGAIN("3"));
    fail_login(REASON_ACCESS, "28P01", AFTER_S(7));
    EXPECT_LOG(FAILS("access", "28P01", "1"));
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_int_equal(s->database.consecutive_failures, 1);
    snapshot_release(s);
}

static void the_database_recovers_when_both_login_and_ping_succeed(void **state)
{
    (void)state;
    fail_login(REASON_ACCESS, "28P01", T0);
    fail_ping(REASON_HUNG, AFTER_S(1));
    ping(AFTER_S(2));
    EXPECT_LOG(FAILS("access", "28P01", "1"), FAILS("hung", "\"\"", "1"));
    login(AFTER_S(3));
    EXPECT_LOG(ANSWERS("db"), ANSWERS_AGAIN("2"));
}

static void the_server_that_answers_is_one_line_until_another_one_does(void **state)
{
    (void)state;
    login_at("a", T0);
    login_at("a", AFTER_S(4));
    login_at("b", AFTER_S(8));
    login_at("b", AFTER_S(12));
    EXPECT_LOG(ANSWERS("a"), ANSWERS("b"));
    for (int s = 16; s < 68; s += 8) { /* a name with two addresses */
        login_at("a", AFTER_S(s));
        login_at("b", AFTER_S(s + 4));
    }
    EXPECT_NO_LOG();
    login_at("a", AFTER_S(68));
    EXPECT_LOG(ANSWERS("a"));
}

static void a_check_logs_one_line_when_it_fails_and_one_when_it_recovers(void **state)
{
    (void)state;
    start_healthy(T0);
    for (int s = 2; s < 180; s += 2)
        fail_check(NODES, AFTER_S(s));
    EXPECT_LOG(ANSWERS("db"), CHECK_FAILS("nodes", "schema", "42P01"));
    fail_check_as(NODES, REASON_ACCESS, "42501", AFTER_S(180));
    EXPECT_LOG(CHECK_FAILS("nodes", "access", "42501"));
    pass_check(NODES, AFTER_S(182));
    pass_check(NODES, AFTER_S(184));
    EXPECT_LOG(PASSES_AGAIN("nodes"));
}

static void an_outage_in_between_logs_no_line_for_the_check(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_check(NODES, AFTER_S(2));
    fail_check(EDGES, AFTER_S(2));
    EXPECT_LOG(ANSWERS("db"), CHECK_FAILS("nodes", "schema", "42P01"),
               CHECK_FAILS("edges", "schema", "42P01"));
    fail_ping(REASON_HUNG, AFTER_S(4));
    ping(AFTER_S(6));
    EXPECT_LOG(FAILS("hung", "\"\"", "1"), ANSWERS_AGAIN("1"));
    fail_check(NODES, AFTER_S(6));
    pass_check(EDGES, AFTER_S(6));
    EXPECT_LOG(PASSES_AGAIN("edges"));
}

static void a_query_that_a_conflict_cancelled_is_asked_once_more_before_it_counts(void **state)
{
    (void)state;
    static const char *const conflicts[] = {"40001", "40P01"};
    for (size_t i = 0; i < 2; i++) {
        renew_ledger(1);
        login(T0);
        EXPECT_LOG(ANSWERS("db"));
        ping(T0);
        pass_check(NODES, T0);
        fail_check_as(NODES, REASON_QUERY_ERROR, conflicts[i], AFTER_S(2));
        assert_int_equal(ledger_pick(ledger, false, AFTER_S(2)), NODES);
        expect_healthy();
        pass_check(NODES, AFTER_MS(2100));
        fail_check_as(NODES, REASON_QUERY_ERROR, conflicts[i], AFTER_S(4));
        EXPECT_NO_LOG();
        expect_healthy();
        fail_check_as(NODES, REASON_QUERY_ERROR, conflicts[i], AFTER_MS(4100));
        assert_int_equal(ledger_pick(ledger, false, AFTER_S(5)), LEDGER_NONE);
        expect_degraded("nodes", REASON_QUERY_ERROR);
        EXPECT_LOG(i == 0 ? CHECK_FAILS("nodes", "query_error", "40001")
                          : CHECK_FAILS("nodes", "query_error", "40P01"));
    }
}

static void slowing_a_check_down_logs_one_line(void **state)
{
    (void)state;
    for (int s = 0; s < 100; s += 25)
        book_took(NODES, REASON_NONE, 500 * NS_PER_MS, AFTER_S(s));
    EXPECT_LOG(LINE("notice", "check slowed down", "check=nodes took_ms=500 period_ms=25000"));
    book_took(NODES, REASON_SCHEMA, 10 * NS_PER_MS, AFTER_S(99)); /* a failure does not change the pace */
    EXPECT_LOG(LINE("warn", "check failed", "check=nodes reason=schema sqlstate=\"\"" SAID));
    book_took(NODES, REASON_NONE, 10 * NS_PER_MS, AFTER_S(100));
    EXPECT_LOG(PASSES_AGAIN("nodes"),
               LINE("notice", "check pace restored", "check=nodes took_ms=10 period_ms=2000"));
    book_took(NODES, REASON_NONE, 600 * NS_PER_MS, AFTER_S(102));
    EXPECT_LOG(LINE("notice", "check slowed down", "check=nodes took_ms=600 period_ms=18210"));
    book_took(RARE, REASON_NONE, 500 * NS_PER_MS, T0); /* once per minute is rare enough */
    EXPECT_NO_LOG();
}

static void backing_off_logs_one_line_until_the_server_ends_the_check(void **state)
{
    (void)state;
    start_healthy(T0);
    ledger_suspect(ledger, NODES, 4711, AFTER_S(2));
    ledger_suspect(ledger, NODES, 4712, AFTER_S(10));
    EXPECT_LOG(ANSWERS("db"), LINE("notice", "check backed off", "check=nodes server_pid=4711"));
    pass_check(NODES, AFTER_S(20));
    pass_check(NODES, AFTER_S(22));
    EXPECT_LOG(LINE("info", "check resumed", "check=nodes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_ledger(a_lasting_failure_logs_one_line_then_one_per_minute_with_the_attempts),
        with_ledger(another_reason_or_code_logs_a_line_and_begins_a_new_minute),
        with_ledger(a_hung_server_logs_one_line_whatever_the_logins_do),
        with_ledger(an_answer_ends_the_outage_and_the_next_one_counts_from_one),
        with_ledger(the_database_recovers_when_both_login_and_ping_succeed),
        with_ledger(the_server_that_answers_is_one_line_until_another_one_does),
        with_ledger(a_check_logs_one_line_when_it_fails_and_one_when_it_recovers),
        with_ledger(an_outage_in_between_logs_no_line_for_the_check),
        with_ledger(a_query_that_a_conflict_cancelled_is_asked_once_more_before_it_counts),
        with_ledger(slowing_a_check_down_logs_one_line),
        with_ledger(backing_off_logs_one_line_until_the_server_ends_the_check),
    };
    return cmocka_run_group_tests_name("ledger: the log", tests, NULL, NULL);
}
