/* cgi/probe/ledger: when each check is due, after its period, its load and its effects on the server. */
#include "tests/unit/cgi/probe/ledger_fixture.h"

#define MINUTE_S   60
#define HOUR_S     3600
#define BACKEND    4711
#define MANY       200
#define SLOW_NS    (500 * NS_PER_MS)
#define PER_CENT_5 20 /* 5 % is one part in 20 */

/* Expects that the only check is due this long after since_ns, within 5 %. */
static void expect_due_in(int64_t ns, int64_t since_ns)
{
    int64_t distance_ns = ledger_due_ns(ledger, false) - since_ns;
    if (distance_ns < ns - ns / PER_CENT_5 || distance_ns > ns + ns / PER_CENT_5)
        fail_msg("due in %lld ms, expected %lld", (long long)(distance_ns / NS_PER_MS),
                 (long long)(ns / NS_PER_MS));
}

/* Makes a ledger with one check of this period that was never asked. */
static void renew_with_one(int64_t every_ms)
{
    static struct check one;
    one = items[NODES];
    one.every_ms = every_ms;
    ledger_free(ledger);
    ledger = ledger_new(&config, &(const struct checks){.items = &one, .count = 1});
}

static void all_are_due_at_the_start_in_the_order_of_the_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        assert_int_equal(ledger_pick(ledger, false, T0), i);
        pass_check(i, T0);
    }
    assert_int_equal(ledger_pick(ledger, false, AFTER_MS(1899)), LEDGER_NONE);
}

static void the_check_that_is_due_for_the_longest_time_is_picked(void **state)
{
    (void)state;
    pass_check(NODES, AFTER_S(1));
    pass_check(EDGES, T0);
    pass_check(RARE, T0);
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(10)), EDGES);
    pass_check(EDGES, AFTER_S(10));
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(20)), NODES);
    pass_check(NODES, AFTER_S(10));
    pass_check(EDGES, AFTER_S(70));
    pass_check(NODES, AFTER_S(70));
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(80)), RARE);
}

static void a_check_is_due_exactly_at_its_time(void **state)
{
    (void)state;
    renew_with_one(0);
    pass_check(NODES, T0);
    int64_t due_ns = ledger_due_ns(ledger, false);
    assert_int_equal(ledger_pick(ledger, false, due_ns - 1), LEDGER_NONE);
    assert_int_equal(ledger_pick(ledger, false, due_ns), NODES);
}

static void a_period_runs_from_one_question_to_the_next(void **state)
{
    (void)state;
    pass_check(NODES, T0);
    pass_check(NODES, AFTER_MS(2013));
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_int_equal(s->checks[NODES].period_ms, 2013);
    assert_true(s->checks[NODES].checked_ns == AFTER_MS(2013));
    snapshot_release(s);
}

static void without_checks_nothing_is_ever_due(void **state)
{
    (void)state;
    renew_ledger(0);
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(1)), LEDGER_NONE);
    assert_true(ledger_due_ns(ledger, false) == CLOCK_NEVER);
    assert_int_equal(ledger_unasked(ledger), LEDGER_NONE);
    ping(T0);
    expect_healthy();
}

static void only_a_check_that_usually_answers_within_a_heartbeat_is_quick(void **state)
{
    (void)state;
    assert_int_equal(ledger_pick(ledger, true, AFTER_S(10)), LEDGER_NONE); /* it is not known yet */
    assert_true(ledger_due_ns(ledger, true) == CLOCK_NEVER);
    book_took(NODES, REASON_NONE, 200 * NS_PER_MS, T0);
    book_took(EDGES, REASON_NONE, 10 * NS_PER_MS, AFTER_S(1));
    assert_int_equal(ledger_pick(ledger, true, AFTER_S(100)), EDGES);
    ledger_suspect(ledger, EDGES, BACKEND, AFTER_S(100));
    assert_int_equal(ledger_pick(ledger, true, AFTER_S(200)), LEDGER_NONE);
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(200)), RARE);
}

static void without_heartbeats_the_interval_decides_what_is_quick(void **state)
{
    (void)state;
    config.heartbeat_ms = 0;
    book_took(NODES, REASON_NONE, 200 * NS_PER_MS, T0);
    assert_int_equal(ledger_pick(ledger, true, AFTER_S(100)), NODES);
    book_took(NODES, REASON_NONE, 2000 * NS_PER_MS, AFTER_S(100));
    assert_int_equal(ledger_pick(ledger, true, AFTER_S(1000)), LEDGER_NONE);
}

/* Expects that the due times of many checks differ from the period in both directions, and by at most 5 %. */
static void expect_jitter(int64_t every_ms, int64_t period_ns)
{
    int sooner = 0;
    int later = 0;
    renew_with_one(every_ms);
    for (int i = 0; i < MANY; i++) {
        int64_t sent_ns = T0 + i * NS_PER_MS;
        pass_check(NODES, sent_ns);
        expect_due_in(period_ns, sent_ns);
        sooner += ledger_due_ns(ledger, false) < sent_ns + period_ns - period_ns / 50;
        later += ledger_due_ns(ledger, false) > sent_ns + period_ns + period_ns / 50;
    }
    assert_true(sooner > MANY / 10);
    assert_true(later > MANY / 10);
}

static void a_period_has_a_jitter_of_5_per_cent_in_both_directions(void **state)
{
    (void)state;
    expect_jitter(0, 2 * NS_PER_S); /* the interval */
    expect_jitter(MINUTE_S * MS_PER_S, MINUTE_S * NS_PER_S);
    expect_jitter(HOUR_S * MS_PER_S, HOUR_S * NS_PER_S);
}

static void a_failing_check_is_asked_each_interval_whatever_its_period(void **state)
{
    (void)state;
    renew_with_one(HOUR_S * MS_PER_S);
    fail_check(NODES, T0);
    expect_due_in(2 * NS_PER_S, T0);
    pass_check(NODES, AFTER_S(2));
    expect_due_in(HOUR_S * NS_PER_S, AFTER_S(2));
}

static void a_check_that_is_down_is_asked_each_interval_until_it_has_risen(void **state)
{
    (void)state;
    config.rise = 2;
    renew_with_one(HOUR_S * MS_PER_S);
    fail_check(NODES, T0);
    pass_check(NODES, AFTER_S(2));
    expect_due_in(2 * NS_PER_S, AFTER_S(2));
    pass_check(NODES, AFTER_S(4));
    expect_due_in(HOUR_S * NS_PER_S, AFTER_S(4));
}

static void a_slow_failing_check_rests_four_times_its_duration(void **state)
{
    (void)state;
    renew_with_one(0);
    book_took(NODES, REASON_QUERY_TIMEOUT, SLOW_NS, T0);
    expect_due_in(2 * NS_PER_S, T0 + SLOW_NS); /* after the end of its query */
    book_took(NODES, REASON_QUERY_TIMEOUT, 2 * NS_PER_S, T0);
    expect_due_in(8 * NS_PER_S, AFTER_S(2));
}

static void a_slow_run_weighs_a_quarter_and_a_quick_one_counts_fully(void **state)
{
    (void)state;
    renew_with_one(0);
    book_took(NODES, REASON_NONE, 40 * NS_PER_MS, T0);
    book_took(NODES, REASON_NONE, 400 * NS_PER_MS, AFTER_S(2)); /* the average is 130 ms */
    expect_due_in(6500 * NS_PER_MS, AFTER_MS(2400));
    book_took(NODES, REASON_NONE, 40 * NS_PER_MS, AFTER_S(10));
    expect_due_in(2 * NS_PER_S, AFTER_S(10));
}

static void a_check_takes_no_more_than_its_share_of_the_server(void **state)
{
    (void)state;
    renew_with_one(0);
    book_took(NODES, REASON_NONE, 20 * NS_PER_MS, T0);
    expect_due_in(2 * NS_PER_S, T0);
    renew_with_one(0);
    book_took(NODES, REASON_NONE, SLOW_NS, T0);
    expect_due_in(25 * NS_PER_S, T0 + SLOW_NS);
    config.max_load = 10;
    book_took(NODES, REASON_NONE, SLOW_NS, T0);
    expect_due_in(5 * NS_PER_S, T0 + SLOW_NS);
    config.max_load = 100;
    book_took(NODES, REASON_NONE, SLOW_NS, T0);
    expect_due_in(2 * NS_PER_S, T0);
}

static void the_round_trip_does_not_count_as_work(void **state)
{
    (void)state;
    struct answer far = good_answer(QUESTION_PING, T0);
    renew_with_one(0);
    far.took_ns = 400 * NS_PER_MS;
    ledger_book_ping(ledger, &far, T0);
    book_took(NODES, REASON_NONE, SLOW_NS, T0);
    expect_due_in(5 * NS_PER_S, T0 + SLOW_NS);
    book_took(NODES, REASON_NONE, 300 * NS_PER_MS, T0); /* a round trip varies */
    expect_due_in(2 * NS_PER_S, T0);
}

static void an_answered_check_does_not_change_the_round_trip(void **state)
{
    (void)state;
    struct answer alive = good_answer(QUESTION_CHECK, T0);
    alive.took_ns = SLOW_NS;
    ping(T0);
    ledger_book_ping(ledger, &alive, T0);
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_int_equal(s->database.round_trip_us, TOOK_NS / NS_PER_US);
    snapshot_release(s);
}

static void a_suspect_backs_off_for_a_time_that_doubles_up_to_ten_minutes(void **state)
{
    (void)state;
    renew_with_one(0);
    for (int64_t s = 2; s <= 2048; s *= 2) {
        ledger_suspect(ledger, NODES, 0, T0);
        expect_due_in((s < 600 ? s : 600) * NS_PER_S, T0);
    }
}

static void an_answer_of_the_server_ends_the_backing_off(void **state)
{
    (void)state;
    struct answer ours = bad_answer(QUESTION_CHECK, REASON_QUERY_TIMEOUT, "", T0);
    ours.by_server = false;
    renew_with_one(0);
    ledger_suspect(ledger, NODES, BACKEND, T0);
    ledger_suspect(ledger, NODES, BACKEND, T0);
    ledger_book_check(ledger, NODES, &ours, T0); /* the check is to blame, and backs off */
    expect_due_in(4 * NS_PER_S, T0);
    assert_true(ledger_orphan(ledger, NODES) == BACKEND);
    fail_check(NODES, AFTER_S(4));
    expect_due_in(2 * NS_PER_S, AFTER_S(4));
    assert_true(ledger_orphan(ledger, NODES) == 0);
    ledger_suspect(ledger, NODES, BACKEND, AFTER_S(6));
    expect_due_in(2 * NS_PER_S, AFTER_S(6)); /* the wait begins again */
}

static void a_conflict_also_ends_the_backing_off(void **state)
{
    (void)state;
    renew_with_one(0);
    ledger_suspect(ledger, NODES, BACKEND, T0);
    fail_check_as(NODES, REASON_QUERY_ERROR, "40001", AFTER_S(2));
    assert_true(ledger_orphan(ledger, NODES) == 0);
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(2)), NODES);
}

static void a_check_is_not_asked_while_its_orphan_works(void **state)
{
    (void)state;
    renew_with_one(0);
    assert_true(ledger_orphan(ledger, NODES) == 0);
    ledger_note_asked(ledger, NODES);
    ledger_suspect(ledger, NODES, BACKEND, T0);
    ledger_suspect(ledger, NODES, BACKEND, T0);
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(5)), NODES);
    for (int s = 5; s <= 13; s += 2) {
        assert_int_equal(ledger_book_orphan(ledger, NODES, true, AFTER_S(s)), s >= 11); /* stuck */
        expect_due_in(s >= 11 ? 4 * NS_PER_S : 2 * NS_PER_S, AFTER_S(s));
        assert_true(ledger_orphan(ledger, NODES) == BACKEND);
    }
    assert_false(ledger_book_orphan(ledger, NODES, false, AFTER_S(20)));
    assert_true(ledger_orphan(ledger, NODES) == 0);
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(20)), NODES);
    assert_false(ledger_book_orphan(ledger, NODES, true, AFTER_S(21))); /* another orphan */
}

static bool lose(enum reason reason, const char *sqlstate)
{
    struct answer lost = bad_answer(QUESTION_CHECK, reason, sqlstate, T0);
    lost.by_server = false;
    return ledger_note_lost(ledger, NODES, &lost, BACKEND);
}

static void the_check_is_to_blame_for_two_lost_sessions_in_a_row(void **state)
{
    (void)state;
    renew_with_one(0);
    ledger_note_asked(ledger, NODES);
    assert_false(lose(REASON_UNREACHABLE, ""));
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(1)), NODES);
    assert_true(ledger_orphan(ledger, NODES) == BACKEND);
    pass_check(NODES, AFTER_S(1));
    assert_false(lose(REASON_UNREACHABLE, ""));
    assert_true(lose(REASON_UNREACHABLE, ""));
    assert_true(lose(REASON_UNREACHABLE, ""));
}

static void sessions_ended_by_an_operator_or_a_crash_are_forgiven_three_times(void **state)
{
    (void)state;
    renew_with_one(0);
    for (int i = 0; i < 3; i++)
        assert_false(lose(REASON_RESTARTING, i == 0 ? "57P01" : "57P02"));
    assert_true(lose(REASON_RESTARTING, "57P02"));
}

static void the_check_is_to_blame_for_two_overruns_in_a_row(void **state)
{
    (void)state;
    renew_with_one(0);
    pass_check(NODES, T0);
    assert_false(lose(REASON_QUERY_TIMEOUT, ""));
    assert_false(lose(REASON_UNREACHABLE, "")); /* a loss is not an overrun */
    assert_true(lose(REASON_QUERY_TIMEOUT, ""));
    pass_check(NODES, AFTER_S(1));
    assert_false(lose(REASON_QUERY_TIMEOUT, ""));
}

static void an_overrun_without_an_earlier_result_is_not_forgiven(void **state)
{
    (void)state;
    renew_with_one(0);
    assert_true(lose(REASON_QUERY_TIMEOUT, ""));
    pass_check(NODES, T0);
    fail_check(NODES, AFTER_S(2));
    assert_false(lose(REASON_QUERY_TIMEOUT, "")); /* an earlier failure is a result to keep */
}

/* The check may crash the server each time. */
static void a_check_that_loses_its_sessions_keeps_at_least_its_period(void **state)
{
    (void)state;
    renew_with_one(HOUR_S * MS_PER_S);
    (void)lose(REASON_UNREACHABLE, "");
    (void)lose(REASON_UNREACHABLE, "");
    ledger_suspect(ledger, NODES, BACKEND, T0);
    expect_due_in(HOUR_S * NS_PER_S, T0);
}

/* Otherwise the server would do the work again after each outage, and the status would wait for it. */
static void a_slow_check_rests_after_an_outage_and_does_not_delay_the_status(void **state)
{
    (void)state;
    renew_with_one(HOUR_S * MS_PER_S);
    login(T0);
    ping(T0);
    book_took(NODES, REASON_NONE, 10 * NS_PER_S, T0);
    fail_ping(REASON_HUNG, AFTER_S(20));
    expect_due_in(500 * NS_PER_S, AFTER_S(10)); /* its load decides, and not its period */
    assert_int_equal(ledger_unasked(ledger), LEDGER_NONE);
    ping(AFTER_S(21));
    expect_healthy();
}

static void a_new_period_applies_at_once(void **state)
{
    (void)state;
    renew_with_one(HOUR_S * MS_PER_S);
    pass_check(NODES, T0);
    struct check quicker = items[NODES];
    quicker.every_ms = 10000;
    struct check before = items[NODES];
    before.every_ms = HOUR_S * MS_PER_S;
    ledger_set_checks(ledger, &(const struct checks){.items = &before, .count = 1},
                      &(const struct checks){.items = &quicker, .count = 1});
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(1)), NODES);
}

static void a_check_that_is_being_asked_is_not_due(void **state)
{
    (void)state;
    renew_with_one(0);
    for (int i = 0; i < 5; i++) {
        ledger_note_asked(ledger, NODES);
        assert_int_equal(ledger_pick(ledger, false, AFTER_S(HOUR_S)), LEDGER_NONE);
        assert_true(ledger_due_ns(ledger, false) == CLOCK_NEVER);
        switch (i) {
        case 0: (void)lose(REASON_UNREACHABLE, ""); break;
        case 1: pass_check(NODES, T0); break;
        case 2: fail_check_as(NODES, REASON_QUERY_ERROR, "40001", T0); break;
        case 3: ledger_suspect(ledger, NODES, BACKEND, T0); break;
        default: ledger_set_checks(ledger, &checks, &(const struct checks){.items = items, .count = 1});
        }
        assert_int_equal(ledger_pick(ledger, false, AFTER_S(HOUR_S)), NODES);
    }
}

static void a_failing_database_makes_all_due_but_suspects(void **state)
{
    (void)state;
    start_healthy(T0);
    ledger_suspect(ledger, EDGES, BACKEND, T0);
    fail_ping(REASON_HUNG, AFTER_MS(1));
    assert_int_equal(ledger_pick(ledger, false, AFTER_MS(2)), NODES);
    pass_check(NODES, AFTER_MS(2));
    assert_int_equal(ledger_pick(ledger, false, AFTER_MS(2)), RARE);
    pass_check(RARE, AFTER_MS(2));
    assert_int_equal(ledger_pick(ledger, false, AFTER_MS(2)), LEDGER_NONE);
    assert_int_equal(ledger_unasked(ledger), LEDGER_NONE); /* the status does not wait for the suspect */
}

static void a_failing_check_counts_as_asked(void **state)
{
    (void)state;
    renew_ledger(1);
    ping(T0);
    fail_check(NODES, T0);
    assert_true(ledger_is_complete(ledger));
    expect_degraded("nodes", REASON_SCHEMA);
}

static void a_suspect_has_no_result_until_a_ping_decides_who_is_to_blame(void **state)
{
    (void)state;
    struct answer lost = bad_answer(QUESTION_CHECK, REASON_UNREACHABLE, "", T0);
    lost.by_server = false;
    renew_ledger(1);
    login(T0);
    ping(T0);
    ledger_suspect(ledger, NODES, BACKEND, T0);
    assert_false(ledger_is_complete(ledger));
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_true(s->starting); /* not healthy */
    snapshot_release(s);
    login(AFTER_S(1));
    assert_false(ledger_is_complete(ledger));
    ping(AFTER_S(1));
    assert_true(ledger_is_complete(ledger)); /* the status waits no longer, booked or not */
    ledger_book_check(ledger, NODES, &lost, AFTER_S(1));
    expect_degraded("nodes", REASON_UNREACHABLE);
}

static const struct snapshot *set_checks(struct check *others, size_t count)
{
    ledger_set_checks(ledger, &checks, &(const struct checks){.items = others, .count = count});
    return ledger_snapshot(ledger, T0);
}

static void after_a_reload_known_checks_keep_their_results_and_others_are_due(void **state)
{
    (void)state;
    static struct check others[] = {
        {.name = "new", .sql = "SELECT 4", .max = INT64_MAX},
        {.name = "nodes", .sql = "SELECT 1", .max = INT64_MAX, .severity = CHECK_WARN},
        {.name = "rare", .sql = "SELECT 33", .max = INT64_MAX},
        {.name = "edges", .sql = "SELECT 2", .max = 5}};
    start_healthy(T0);
    const struct snapshot *s = set_checks(others, 4);
    assert_int_equal(s->check_count, 4);
    assert_false(s->starting);
    assert_string_equal(s->checks[0].name, "new");
    assert_false(s->checks[0].has_value);
    assert_string_equal(s->checks[1].name, "nodes");
    assert_int_equal(s->checks[1].value, 7);
    assert_int_equal(s->checks[1].severity, CHECK_WARN);
    assert_false(s->checks[2].has_value || s->checks[2].has_last_ok); /* another query */
    assert_false(s->checks[3].has_value);                             /* another range */
    snapshot_release(s);
    static const size_t due[] = {0, 2, 3}; /* the known check keeps its due time */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(ledger_pick(ledger, false, AFTER_MS(1)), due[i]);
        pass_check(due[i], AFTER_MS(1));
    }
    assert_int_equal(ledger_pick(ledger, false, AFTER_MS(1)), LEDGER_NONE);
}

static void after_a_reload_checks_keep_streak_and_suspicion_and_get_the_new_period(void **state)
{
    (void)state;
    static struct check others[] = {
        {.name = "edges", .sql = "SELECT 2", .max = INT64_MAX, .every_ms = HOUR_S * MS_PER_S},
        {.name = "nodes", .sql = "SELECT 1", .max = INT64_MAX}};
    start_healthy(T0);
    fail_check(NODES, T0);
    ledger_suspect(ledger, NODES, BACKEND, T0);
    snapshot_release(set_checks(others, 2));
    expect_degraded("nodes", REASON_SCHEMA);
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(1)), 0); /* another period */
    pass_check(0, AFTER_S(1));
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(1)), LEDGER_NONE); /* it still backs off */
    assert_int_equal(ledger_pick(ledger, false, AFTER_S(1800)), 1);
    assert_true(ledger_orphan(ledger, 1) == BACKEND);
    ledger_suspect(ledger, 1, BACKEND, AFTER_S(1800));
    expect_due_in(4 * NS_PER_S, AFTER_S(1800));
}

static void after_a_reload_checks_keep_the_streak_and_get_the_new_fall_and_rise(void **state)
{
    (void)state;
    static struct check others[] = {
        {.name = "nodes", .sql = "SELECT 1", .max = INT64_MAX, .fall = 3, .rise = 2}};
    start_healthy(T0);
    config.fall = 5;
    fail_check(NODES, AFTER_S(2));
    fail_check(NODES, AFTER_S(4));
    snapshot_release(set_checks(others, 1));
    expect_healthy();
    fail_check(NODES, AFTER_S(6)); /* the third failure */
    expect_degraded("nodes", REASON_SCHEMA);
    pass_check(NODES, AFTER_S(8));
    expect_degraded("nodes", REASON_SCHEMA);
    ledger_set_checks(ledger, &(const struct checks){.items = others, .count = 1}, &checks);
    pass_check(NODES, AFTER_S(9)); /* too soon to count, but HEALTH_RISE is 1 */
    expect_healthy();
}

static void a_reload_is_a_change(void **state)
{
    (void)state;
    start_healthy(T0);
    assert_false(ledger_has_change(ledger));
    ledger_set_checks(ledger, &checks, &checks);
    assert_true(ledger_has_change(ledger));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_ledger(all_are_due_at_the_start_in_the_order_of_the_file),
        with_ledger(the_check_that_is_due_for_the_longest_time_is_picked),
        with_ledger(a_check_is_due_exactly_at_its_time),
        with_ledger(a_period_runs_from_one_question_to_the_next),
        with_ledger(without_checks_nothing_is_ever_due),
        with_ledger(only_a_check_that_usually_answers_within_a_heartbeat_is_quick),
        with_ledger(without_heartbeats_the_interval_decides_what_is_quick),
        with_ledger(a_period_has_a_jitter_of_5_per_cent_in_both_directions),
        with_ledger(a_failing_check_is_asked_each_interval_whatever_its_period),
        with_ledger(a_check_that_is_down_is_asked_each_interval_until_it_has_risen),
        with_ledger(a_slow_failing_check_rests_four_times_its_duration),
        with_ledger(a_slow_run_weighs_a_quarter_and_a_quick_one_counts_fully),
        with_ledger(a_check_takes_no_more_than_its_share_of_the_server),
        with_ledger(the_round_trip_does_not_count_as_work),
        with_ledger(an_answered_check_does_not_change_the_round_trip),
        with_ledger(a_suspect_backs_off_for_a_time_that_doubles_up_to_ten_minutes),
        with_ledger(an_answer_of_the_server_ends_the_backing_off),
        with_ledger(a_conflict_also_ends_the_backing_off),
        with_ledger(a_check_is_not_asked_while_its_orphan_works),
        with_ledger(the_check_is_to_blame_for_two_lost_sessions_in_a_row),
        with_ledger(sessions_ended_by_an_operator_or_a_crash_are_forgiven_three_times),
        with_ledger(the_check_is_to_blame_for_two_overruns_in_a_row),
        with_ledger(a_check_that_loses_its_sessions_keeps_at_least_its_period),
        with_ledger(a_slow_check_rests_after_an_outage_and_does_not_delay_the_status),
        with_ledger(a_new_period_applies_at_once),
        with_ledger(an_overrun_without_an_earlier_result_is_not_forgiven),
        with_ledger(a_check_that_is_being_asked_is_not_due),
        with_ledger(a_failing_database_makes_all_due_but_suspects),
        with_ledger(a_failing_check_counts_as_asked),
        with_ledger(a_suspect_has_no_result_until_a_ping_decides_who_is_to_blame),
        with_ledger(after_a_reload_known_checks_keep_their_results_and_others_are_due),
        with_ledger(after_a_reload_checks_keep_streak_and_suspicion_and_get_the_new_period),
        with_ledger(after_a_reload_checks_keep_the_streak_and_get_the_new_fall_and_rise),
        with_ledger(a_reload_is_a_change),
    };
    return cmocka_run_group_tests_name("ledger: the schedule", tests, NULL, NULL);
}
