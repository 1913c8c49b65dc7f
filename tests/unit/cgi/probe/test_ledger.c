/* cgi/probe/ledger: what is known after each answer, when the status changes, and what is published. */
#include "tests/unit/cgi/probe/ledger_fixture.h"

static void before_the_first_answer_the_ledger_is_starting_and_knows_nothing(void **state)
{
    (void)state;
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_true(s->starting);
    assert_false(snapshot_is_degraded(s));
    assert_true(s->taken_ns <= clock_now_ns() && s->taken_ns > clock_now_ns() - 60 * NS_PER_S);
    assert_int_equal(s->check_count, CHECK_COUNT);
    assert_string_equal(s->checks[EDGES].name, "edges");
    assert_int_equal(s->checks[EDGES].severity, CHECK_WARN);
    assert_false(s->checks[NODES].has_value);
    assert_int_equal(s->database.connect_us, -1);
    assert_int_equal(s->database.round_trip_us, -1);
    snapshot_release(s);
    assert_false(ledger_has_ping(ledger));
    assert_false(ledger_is_complete(ledger));
    EXPECT_NO_LOG();
}

static void the_start_ends_when_each_check_was_asked_and_a_ping_was_answered(void **state)
{
    (void)state;
    login(T0);
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        assert_int_equal(ledger_unasked(ledger), i);
        pass_check(i, T0);
    }
    assert_int_equal(ledger_unasked(ledger), LEDGER_NONE);
    assert_false(ledger_is_complete(ledger));
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_true(s->starting);
    snapshot_release(s);
    ping(T0);
    assert_true(ledger_has_ping(ledger));
    assert_true(ledger_is_complete(ledger));
    expect_healthy();
}

static void the_start_ends_at_once_when_the_database_is_down(void **state)
{
    (void)state;
    assert_false(ledger_fails(ledger));
    fail_login(REASON_ACCESS, "28P01", T0);
    assert_true(ledger_fails(ledger));
    assert_true(ledger_is_complete(ledger));
    expect_degraded("database", REASON_ACCESS);
}

static void good_answers_set_values_and_log_nothing(void **state)
{
    (void)state;
    struct answer recovery = good_answer(QUESTION_RECOVERY, T0);
    recovery.has_count = true;
    recovery.count = 1;
    recovery.took_ns = 500 * NS_PER_US;
    login(T0);
    ledger_book_ping(ledger, &recovery, T0);
    pass_all(AFTER_MS(1));
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_true(s->checks[NODES].has_value && s->checks[NODES].has_last_ok);
    assert_int_equal(s->checks[NODES].value, 7);
    assert_int_equal(s->checks[NODES].last_ok_value, 7);
    assert_int_equal(s->checks[NODES].duration_us, TOOK_NS / NS_PER_US);
    assert_true(s->checks[NODES].checked_ns == AFTER_MS(1));
    assert_int_equal(s->checks[NODES].period_ms, 0);
    assert_int_equal(s->database.server.version, 150004);
    assert_int_equal(s->database.connect_us, 3000);
    assert_int_equal(s->database.round_trip_us, 500);
    assert_true(s->database.has_in_recovery && s->database.in_recovery);
    assert_true(s->database.connected_wall_ms > 0);
    snapshot_release(s);
    EXPECT_LOG(LINE("notice", "server connected",
                    "host=db address=10.0.0.1 port=5432 database=knowledge user=health_api"));
}

static void expect_taken(int64_t taken_ns)
{
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_true(s->taken_ns == taken_ns);
    snapshot_release(s);
}

static void taken_ns_is_when_the_last_answered_question_was_sent(void **state)
{
    (void)state;
    struct answer late = good_answer(QUESTION_CHECK, T0);
    ping(T0);
    expect_taken(T0);
    ping(AFTER_S(1));
    expect_taken(AFTER_S(1));
    ledger_book_check(ledger, NODES, &late, AFTER_S(5)); /* sent before that ping */
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_true(s->checks[NODES].checked_ns == T0);
    assert_true(s->taken_ns == AFTER_S(1));
    snapshot_release(s);
    fail_ping(REASON_HUNG, AFTER_S(6)); /* the server did not answer these two */
    fail_login(REASON_CONNECT_TIMEOUT, "", AFTER_S(7));
    expect_taken(AFTER_S(1));
    assert_true(ledger_fails(ledger));
    fail_login(REASON_ACCESS, "28P01", AFTER_S(8));
    expect_taken(AFTER_S(8));
    s = ledger_snapshot(ledger, AFTER_S(9));
    assert_true(s->vouched_ns == AFTER_S(9));
    snapshot_release(s);
}

static void taken_wall_ms_is_also_the_time_of_the_question(void **state)
{
    (void)state;
    struct answer slow = good_answer(QUESTION_PING, T0);
    ledger_book_ping(ledger, &slow, AFTER_S(100));
    struct snapshot *s = ledger_snapshot(ledger, T0);
    int64_t age_ms = clock_wall_ms() - s->taken_wall_ms;
    snapshot_release(s);
    assert_true(age_ms >= 99990 && age_ms < 130000);
}

static void a_failing_database_makes_every_value_unknown_and_keeps_last_ok(void **state)
{
    (void)state;
    struct answer recovery = good_answer(QUESTION_RECOVERY, T0);
    recovery.has_count = true;
    start_healthy(T0);
    ledger_book_ping(ledger, &recovery, T0);
    fail_check(NODES, AFTER_S(1));
    fail_login(REASON_ACCESS, "28P01", AFTER_S(2));
    struct snapshot *s = ledger_snapshot(ledger, T0);
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        assert_false(s->checks[i].has_value);
        assert_int_equal(s->checks[i].reason, REASON_NONE);
        assert_int_equal(s->checks[i].last_ok_value, 7);
    }
    assert_int_equal(s->database.reason, REASON_ACCESS);
    assert_int_equal(s->database.down_reason, REASON_ACCESS);
    assert_int_equal(s->database.consecutive_failures, 1);
    assert_int_equal(s->database.connected_wall_ms, 0);
    assert_false(s->database.has_in_recovery);
    snapshot_release(s);
    expect_degraded("database", REASON_ACCESS);
}

static void connected_at_is_the_login_of_the_session_that_answers_again(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_ping(REASON_HUNG, AFTER_S(1));
    ping(AFTER_S(3));
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_true(s->database.connected_wall_ms > 0);
    snapshot_release(s);
}

static void a_check_that_only_warns_does_not_change_the_status(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_check(EDGES, AFTER_S(2));
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_true(s->checks[EDGES].down);
    assert_int_equal(s->checks[EDGES].down_reason, REASON_SCHEMA);
    snapshot_release(s);
    expect_healthy();
}

static void the_first_failing_check_of_the_file_is_the_cause(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_check(RARE, AFTER_S(2));
    expect_degraded("rare", REASON_SCHEMA);
    fail_check(EDGES, AFTER_S(2));
    fail_check_as(NODES, REASON_ACCESS, "42501", AFTER_S(3));
    expect_degraded("nodes", REASON_ACCESS);
}

static void failures_count_once_per_interval_however_frequent(void **state)
{
    (void)state;
    config.fall = 3;
    start_healthy(T0);
    for (int ms = 2000; ms < 5600; ms += 250) /* the first one counts at once, the second at 3800 */
        fail_check(NODES, AFTER_MS(ms));
    expect_healthy();
    fail_check(NODES, AFTER_MS(5800));
    expect_degraded("nodes", REASON_SCHEMA);
}

static void each_failure_a_whole_interval_apart_counts(void **state)
{
    (void)state;
    config.fall = 3;
    start_healthy(T0);
    fail_check(NODES, AFTER_MS(2000));
    fail_check(NODES, AFTER_MS(3900)); /* early, because of jitter */
    expect_healthy();
    fail_check(NODES, AFTER_MS(5900));
    expect_degraded("nodes", REASON_SCHEMA);
}

static void a_success_ends_a_row_of_failures(void **state)
{
    (void)state;
    config.fall = 3;
    start_healthy(T0);
    fail_check(NODES, AFTER_S(2));
    fail_check(NODES, AFTER_S(4));
    pass_check(NODES, AFTER_S(6));
    fail_check(NODES, AFTER_S(8));
    fail_check(NODES, AFTER_S(10));
    expect_healthy();
    fail_check(NODES, AFTER_S(12));
    expect_degraded("nodes", REASON_SCHEMA);
}

static void a_check_rises_with_its_second_success_and_keeps_its_cause_until_then(void **state)
{
    (void)state;
    config.rise = 2;
    start_healthy(T0);
    fail_check(NODES, AFTER_S(2));
    pass_check(NODES, AFTER_S(4));
    pass_check(NODES, AFTER_MS(4250)); /* too soon to count */
    expect_degraded("nodes", REASON_SCHEMA);
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_int_equal(s->checks[NODES].reason, REASON_NONE);
    assert_int_equal(s->checks[NODES].down_reason, REASON_SCHEMA);
    assert_true(s->checks[NODES].has_value);
    snapshot_release(s);
    pass_check(NODES, AFTER_S(6));
    expect_healthy();
}

static void each_check_has_its_own_row_of_failures(void **state)
{
    (void)state;
    config.fall = 2;
    start_healthy(T0);
    fail_check(NODES, AFTER_S(2));
    fail_check(RARE, AFTER_S(4));
    expect_healthy();
    fail_check(RARE, AFTER_S(6));
    expect_degraded("rare", REASON_SCHEMA);
}

static void renew_with_own(int64_t fall, int64_t rise)
{
    static struct check own[CHECK_COUNT];
    memcpy(own, items, sizeof own);
    own[RARE].fall = fall;
    own[RARE].rise = rise;
    ledger_free(ledger);
    ledger = ledger_new(&config, &(const struct checks){.items = own, .count = CHECK_COUNT});
    start_healthy(T0);
}

static void a_checks_own_fall_applies_only_to_it(void **state)
{
    (void)state;
    renew_with_own(3, 0);
    fail_check(RARE, AFTER_S(2));
    fail_check(RARE, AFTER_S(4));
    expect_healthy();
    fail_check(NODES, AFTER_S(4));
    expect_degraded("nodes", REASON_SCHEMA);
    pass_check(NODES, AFTER_S(6));
    expect_healthy();
    fail_check(RARE, AFTER_S(6));
    expect_degraded("rare", REASON_SCHEMA);
    pass_check(RARE, AFTER_S(8)); /* HEALTH_RISE */
    expect_healthy();
}

static void a_checks_own_fall_may_be_below_health_fall(void **state)
{
    (void)state;
    config.fall = 3;
    renew_with_own(1, 0);
    fail_check(NODES, AFTER_S(2));
    expect_healthy();
    fail_check(RARE, AFTER_S(2));
    expect_degraded("rare", REASON_SCHEMA);
}

static void a_checks_own_rise_applies_only_to_it(void **state)
{
    (void)state;
    renew_with_own(0, 2);
    fail_check(NODES, AFTER_S(2));
    fail_check(RARE, AFTER_S(2));
    pass_check(NODES, AFTER_S(4));
    pass_check(RARE, AFTER_S(4));
    expect_degraded("rare", REASON_SCHEMA);
    pass_check(RARE, AFTER_S(6));
    expect_healthy();
}

static void the_fall_of_a_check_does_not_apply_to_the_database(void **state)
{
    (void)state;
    renew_with_own(3, 3);
    fail_ping(REASON_HUNG, AFTER_S(2));
    expect_degraded("database", REASON_HUNG);
    ping(AFTER_S(4));
    pass_all(AFTER_S(4));
    expect_healthy();
}

static void the_very_first_answer_decides_without_fall(void **state)
{
    (void)state;
    config.fall = 3;
    config.rise = 3;
    fail_login(REASON_ACCESS, "28P01", T0);
    expect_degraded("database", REASON_ACCESS);
    renew_ledger(CHECK_COUNT);
    start_healthy(T0);
    expect_healthy();
    renew_ledger(1);
    ping(T0);
    fail_check(NODES, T0);
    expect_degraded("nodes", REASON_SCHEMA);
}

static void logins_and_pings_have_separate_rows_of_failures(void **state)
{
    (void)state;
    config.fall = 2;
    start_healthy(T0);
    fail_login(REASON_ACCESS, "28P01", AFTER_S(2));
    fail_ping(REASON_RESOURCES, AFTER_S(4));
    expect_healthy();
    ping(AFTER_S(6));
    fail_login(REASON_ACCESS, "28P01", AFTER_S(8)); /* the second failed login, whatever the pings do */
    expect_degraded("database", REASON_ACCESS);
}

static void login_and_ping_must_both_succeed(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_login(REASON_SATURATED, "53300", AFTER_S(2));
    ping(AFTER_S(3));
    assert_true(ledger_fails(ledger));
    fail_ping(REASON_HUNG, AFTER_S(4));
    login(AFTER_S(5));
    assert_true(ledger_fails(ledger));
    ping(AFTER_S(6));
    assert_false(ledger_fails(ledger));
}

static void the_reason_is_the_failure_that_lasts(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_login(REASON_SATURATED, "53300", AFTER_S(2));
    fail_ping(REASON_HUNG, AFTER_S(3));
    expect_degraded("database", REASON_HUNG);
    ping(AFTER_S(4));
    expect_degraded("database", REASON_SATURATED);
}

static void a_hung_server_stays_hung_while_logins_time_out(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_ping(REASON_HUNG, AFTER_S(2));
    fail_login(REASON_CONNECT_TIMEOUT, "", AFTER_S(4));
    expect_degraded("database", REASON_HUNG);
    fail_login(REASON_UNREACHABLE, "", AFTER_S(6)); /* another reason */
    expect_degraded("database", REASON_UNREACHABLE);
    login(AFTER_S(7));
    ping(AFTER_S(7));
    fail_login(REASON_CONNECT_TIMEOUT, "", AFTER_S(8));
    expect_degraded("database", REASON_CONNECT_TIMEOUT);
}

static void the_database_stays_down_until_each_check_was_asked_again(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_ping(REASON_HUNG, AFTER_S(2));
    ping(AFTER_S(4));
    assert_false(ledger_fails(ledger));
    pass_check(NODES, AFTER_S(4));
    pass_check(RARE, AFTER_S(4));
    assert_int_equal(ledger_unasked(ledger), EDGES);
    expect_degraded("database", REASON_HUNG);
    pass_check(EDGES, AFTER_S(4));
    assert_true(ledger_has_change(ledger));
    expect_healthy();
}

static void a_check_that_fails_after_the_outage_is_the_next_cause(void **state)
{
    (void)state;
    start_healthy(T0);
    fail_ping(REASON_HUNG, AFTER_S(2));
    ping(AFTER_S(4));
    fail_check(NODES, AFTER_S(4));
    pass_check(EDGES, AFTER_S(4));
    expect_degraded("database", REASON_HUNG);
    pass_check(RARE, AFTER_S(4));
    expect_degraded("nodes", REASON_SCHEMA);
}

static void a_database_below_its_fall_is_not_down(void **state)
{
    (void)state;
    config.fall = 2;
    config.rise = 2;
    start_healthy(T0);
    fail_ping(REASON_HUNG, AFTER_S(2));
    expect_healthy();
    fail_ping(REASON_HUNG, AFTER_S(4));
    expect_degraded("database", REASON_HUNG);
    ping(AFTER_S(6));
    pass_all(AFTER_S(6));
    expect_degraded("database", REASON_HUNG); /* until its rise */
    ping(AFTER_S(8));
    expect_healthy();
}

static void only_news_that_may_change_the_response_is_a_change(void **state)
{
    (void)state;
    start_healthy(T0);
    expect_healthy(); /* makes a snapshot */
    assert_false(ledger_has_news(ledger) || ledger_has_change(ledger));
    ping(AFTER_S(2));
    pass_check(NODES, AFTER_S(2));
    login(AFTER_S(2));
    ledger_note_reconnect(ledger);
    assert_true(ledger_has_news(ledger));
    assert_false(ledger_has_change(ledger));
    fail_check(EDGES, AFTER_S(2));
    assert_true(ledger_has_change(ledger));
    expect_healthy();
    struct answer more = good_answer(QUESTION_CHECK, AFTER_S(3));
    more.has_count = true;
    more.count = 8;
    ledger_book_check(ledger, NODES, &more, AFTER_S(3));
    assert_true(ledger_has_change(ledger));
    expect_healthy();
    fail_ping(REASON_HUNG, AFTER_S(4));
    assert_true(ledger_has_change(ledger));
}

static void a_fall_or_a_rise_is_a_change_even_with_the_same_value(void **state)
{
    (void)state;
    config.fall = 2;
    config.rise = 2;
    start_healthy(T0);
    for (int s = 2; s <= 8; s += 4) {
        void (*book)(size_t, int64_t) = s == 2 ? fail_check : pass_check;
        book(NODES, AFTER_S(s));
        snapshot_release(ledger_snapshot(ledger, T0));
        assert_false(ledger_has_change(ledger));
        book(NODES, AFTER_S(s + 2));
        assert_true(ledger_has_change(ledger));
    }
}

static void reconnects_are_counted(void **state)
{
    (void)state;
    ledger_note_reconnect(ledger);
    ledger_note_reconnect(ledger);
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_int_equal(s->database.reconnects, 2);
    snapshot_release(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_ledger(before_the_first_answer_the_ledger_is_starting_and_knows_nothing),
        with_ledger(the_start_ends_when_each_check_was_asked_and_a_ping_was_answered),
        with_ledger(the_start_ends_at_once_when_the_database_is_down),
        with_ledger(good_answers_set_values_and_log_nothing),
        with_ledger(taken_ns_is_when_the_last_answered_question_was_sent),
        with_ledger(taken_wall_ms_is_also_the_time_of_the_question),
        with_ledger(a_failing_database_makes_every_value_unknown_and_keeps_last_ok),
        with_ledger(connected_at_is_the_login_of_the_session_that_answers_again),
        with_ledger(a_check_that_only_warns_does_not_change_the_status),
        with_ledger(the_first_failing_check_of_the_file_is_the_cause),
        with_ledger(failures_count_once_per_interval_however_frequent),
        with_ledger(each_failure_a_whole_interval_apart_counts),
        with_ledger(a_success_ends_a_row_of_failures),
        with_ledger(a_check_rises_with_its_second_success_and_keeps_its_cause_until_then),
        with_ledger(each_check_has_its_own_row_of_failures),
        with_ledger(a_checks_own_fall_applies_only_to_it),
        with_ledger(a_checks_own_fall_may_be_below_health_fall),
        with_ledger(a_checks_own_rise_applies_only_to_it),
        with_ledger(the_fall_of_a_check_does_not_apply_to_the_database),
        with_ledger(the_very_first_answer_decides_without_fall),
        with_ledger(logins_and_pings_have_separate_rows_of_failures),
        with_ledger(login_and_ping_must_both_succeed),
        with_ledger(the_reason_is_the_failure_that_lasts),
        with_ledger(a_hung_server_stays_hung_while_logins_time_out),
        with_ledger(the_database_stays_down_until_each_check_was_asked_again),
        with_ledger(a_check_that_fails_after_the_outage_is_the_next_cause),
        with_ledger(a_database_below_its_fall_is_not_down),
        with_ledger(only_news_that_may_change_the_response_is_a_change),
        with_ledger(a_fall_or_a_rise_is_a_change_even_with_the_same_value),
        with_ledger(reconnects_are_counted),
    };
    return cmocka_run_group_tests_name("ledger: what is known", tests, NULL, NULL);
}
