/* cgi/ledger: what is known after each probe, when the status flips, and what is logged of it. */
#include "tests/unit/unit.h"

#include "cgi/probe/ledger.h"
#include "common/clock.h"
#include "common/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Any time at all. */
#define T0          (INT64_C(77) * NS_PER_S)
#define AFTER_S(s)  (T0 + (s)*NS_PER_S)
#define INTERVAL_NS (2 * NS_PER_S)

enum { NODES, EDGES, RARE, CHECK_COUNT };

static struct check items[CHECK_COUNT] = {
    [NODES] = {.name = "nodes", .sql = "SELECT 1"},
    [EDGES] = {.name = "edges", .sql = "SELECT 2", .severity = CHECK_WARN},
    [RARE] = {.name = "rare", .sql = "SELECT 3", .every_ms = 60000},
};
static const struct checks checks = {.items = items, .count = CHECK_COUNT};

static const struct probe_facts facts = {
    .server_version = 150004, .connect_us = 3000, .round_trip_us = 500, .in_recovery = true};

static struct ledger *ledger;
static int saved_stderr;
static int log_fd;

static int begin_test(void **state)
{
    (void)state;
    int fds[2];
    if (pipe2(fds, O_NONBLOCK) != 0)
        return -1;
    log_fd = fds[0];
    saved_stderr = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    unsetenv("JOURNAL_STREAM");
    log_init(LOG_LEVEL_INFO);
    ledger = ledger_new(1, 1, &checks);
    return 0;
}

static int end_test(void **state)
{
    (void)state;
    ledger_free(ledger);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(log_fd);
    return 0;
}

#define with_ledger(f) cmocka_unit_test_setup_teardown(f, begin_test, end_test)

/* The lines since the last call are these, behind their times. */
static void expect_log(const char *const *lines, size_t count)
{
    char text[16384];
    ssize_t len = read(log_fd, text, sizeof text - 1);
    char *line = text;

    text[len > 0 ? len : 0] = '\0';
    for (size_t i = 0; i < count; i++) {
        char *end = strchr(line, '\n');
        char *behind_time = strchr(line, ' ');
        if (end == NULL || behind_time == NULL) {
            fail_msg("there is no line: %s", lines[i]);
            return;
        }
        *end = '\0';
        assert_string_equal(behind_time + 1, lines[i]);
        line = end + 1;
    }
    assert_string_equal(line, "");
}

#define EXPECT_LOG(...)                                                                                      \
    expect_log((const char *const[]){__VA_ARGS__},                                                           \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))
#define EXPECT_NO_LOG() expect_log(NULL, 0)

static void renew_ledger(int64_t fall, int64_t rise)
{
    ledger_free(ledger);
    ledger = ledger_new(fall, rise, &checks);
}

static void fail_database(enum reason reason, const char *sqlstate, int64_t now_ns)
{
    ledger_fail_database(ledger, reason, sqlstate, "what the server said", now_ns);
}

/* A round in which each check passes, but for the one that has this outcome. */
static void run_round(size_t check, const struct probe_outcome *outcome, int64_t now_ns)
{
    const struct probe_outcome good = {.done = true, .has_value = true, .value = 7};
    for (size_t i = 0; i < CHECK_COUNT; i++)
        (void)ledger_take_outcome(ledger, i, i == check ? outcome : &good, now_ns);
    ledger_finish_round(ledger, &facts);
}

static void pass_round(int64_t now_ns)
{
    run_round(CHECK_COUNT, NULL, now_ns);
}

static void fail_round(size_t check, int64_t now_ns)
{
    const struct probe_outcome bad = {
        .done = true, .reason = REASON_SCHEMA, .sqlstate = "42P01", .detail = "no such table"};
    run_round(check, &bad, now_ns);
}

static void expect_status(bool degraded, const char *cause_check, enum reason cause)
{
    const struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_false(s->starting);
    assert_int_equal(s->degraded, degraded);
    if (degraded) {
        assert_string_equal(s->cause_check, cause_check);
        assert_string_equal(reason_name(s->cause), reason_name(cause));
    }
    snapshot_release(s);
}

static void expect_due(int64_t now_ns, const size_t *expected, size_t count)
{
    size_t due[CHECK_COUNT];
    assert_int_equal(ledger_select_due(ledger, now_ns, INTERVAL_NS, due), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(due[i], expected[i]);
}

#define EXPECT_DUE(now_ns, ...)                                                                              \
    expect_due((now_ns), (const size_t[]){__VA_ARGS__},                                                      \
               sizeof((const size_t[]){__VA_ARGS__}) / sizeof(size_t))

static void before_the_first_probe_it_is_starting_and_knows_nothing(void **state)
{
    (void)state;
    const struct snapshot *s = ledger_snapshot(ledger, AFTER_S(1));
    assert_true(s->starting);
    assert_false(s->degraded);
    assert_int_equal(s->taken_ns, AFTER_S(1));
    assert_int_equal(ledger_published_ns(ledger), AFTER_S(1));
    assert_int_equal(s->check_count, CHECK_COUNT);
    assert_string_equal(s->checks[EDGES].name, "edges");
    assert_int_equal(s->checks[EDGES].severity, CHECK_WARN);
    assert_false(s->checks[NODES].has_value);
    assert_int_equal(s->database.connect_us, -1);
    assert_int_equal(s->database.round_trip_us, -1);
    snapshot_release(s);
    EXPECT_NO_LOG();
}

static void a_round_leaves_its_values_and_facts_and_no_line(void **state)
{
    (void)state;
    ledger_note_connected(ledger, &facts);
    pass_round(T0);
    const struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_false(s->starting);
    assert_true(s->checks[NODES].has_value && s->checks[NODES].has_last_ok);
    assert_int_equal(s->checks[NODES].value, 7);
    assert_int_equal(s->database.server_version, 150004);
    assert_int_equal(s->database.connect_us, 3000);
    assert_int_equal(s->database.round_trip_us, 500);
    assert_true(s->database.has_in_recovery && s->database.in_recovery);
    snapshot_release(s);
    EXPECT_NO_LOG();
}

static void a_failing_database_makes_every_value_unknown_but_the_last_good_one(void **state)
{
    (void)state;
    ledger_note_connected(ledger, &facts);
    pass_round(T0);
    fail_database(REASON_ACCESS, "28P01", AFTER_S(2));
    const struct snapshot *s = ledger_snapshot(ledger, AFTER_S(2));
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        assert_false(s->checks[i].has_value);
        assert_int_equal(s->checks[i].reason, REASON_NONE);
        assert_int_equal(s->checks[i].last_ok_value, 7);
    }
    assert_int_equal(s->database.reason, REASON_ACCESS);
    assert_int_equal(s->database.consecutive_failures, 1);
    assert_int_equal(s->database.connected_wall_ms, 0);
    assert_false(s->database.has_in_recovery);
    snapshot_release(s);
    expect_status(true, "database", REASON_ACCESS);
}

#define LINE(level, event, rest) "level=" level " event=\"" event "\" " rest
#define FAILS(reason, state, n)  LINE("warn", "database fails", "reason=" reason " sqlstate=" state SAID n)
#define STILL_FAILS(reason, st, n)                                                                           \
    LINE("warn", "database still fails", "reason=" reason " sqlstate=" st SAID n)
#define SAID             " detail=\"what the server said\" attempts="
#define ANSWERS_AGAIN(n) LINE("info", "database answers again", "failures=" n)

static void the_same_failure_is_one_line_and_then_one_a_minute_with_its_attempts(void **state)
{
    (void)state;
    fail_database(REASON_ACCESS, "28P01", T0);
    EXPECT_LOG(FAILS("access", "28P01", "1"));
    for (int s = 2; s < 60; s += 2) /* 29 times */
        fail_database(REASON_ACCESS, "28P01", AFTER_S(s));
    fail_database(REASON_ACCESS, "28P01", AFTER_S(60) - 1);
    EXPECT_NO_LOG();
    fail_database(REASON_ACCESS, "28P01", AFTER_S(60));
    EXPECT_LOG(STILL_FAILS("access", "28P01", "31"));
    fail_database(REASON_ACCESS, "28P01", AFTER_S(120) - 1);
    EXPECT_NO_LOG();
    fail_database(REASON_ACCESS, "28P01", AFTER_S(130));
    EXPECT_LOG(STILL_FAILS("access", "28P01", "2"));
}

static void another_reason_or_code_is_a_line_of_its_own_and_begins_a_new_minute(void **state)
{
    (void)state;
    fail_database(REASON_ACCESS, "28P01", T0);
    fail_database(REASON_ACCESS, "3D000", AFTER_S(1));
    fail_database(REASON_UNREACHABLE, "", AFTER_S(2));
    EXPECT_LOG(FAILS("access", "28P01", "1"), FAILS("access", "3D000", "1"),
               FAILS("unreachable", "\"\"", "1"));
    fail_database(REASON_UNREACHABLE, "", AFTER_S(62) - 1);
    EXPECT_NO_LOG();
    fail_database(REASON_UNREACHABLE, "", AFTER_S(62));
    EXPECT_LOG(STILL_FAILS("unreachable", "\"\"", "2"));
}

static void an_answer_ends_the_outage_and_the_next_one_counts_from_one(void **state)
{
    (void)state;
    fail_database(REASON_ACCESS, "28P01", T0);
    fail_database(REASON_ACCESS, "28P01", AFTER_S(1));
    fail_database(REASON_ACCESS, "28P01", AFTER_S(2));
    pass_round(AFTER_S(3));
    pass_round(AFTER_S(5));
    EXPECT_LOG(FAILS("access", "28P01", "1"), ANSWERS_AGAIN("3"));
    fail_database(REASON_ACCESS, "28P01", AFTER_S(7));
    EXPECT_LOG(FAILS("access", "28P01", "1"));
    const struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_int_equal(s->database.consecutive_failures, 1);
    snapshot_release(s);
}

static void a_check_that_fails_and_one_that_passes_again_are_a_line_each(void **state)
{
    (void)state;
    for (int s = 0; s < 180; s += 2)
        fail_round(NODES, AFTER_S(s));
    EXPECT_LOG(
        LINE("warn", "check fails", "check=nodes reason=schema sqlstate=42P01 detail=\"no such table\""));
    expect_status(true, "nodes", REASON_SCHEMA);
    pass_round(AFTER_S(180));
    pass_round(AFTER_S(182));
    EXPECT_LOG(LINE("info", "check passes again", "check=nodes"));
    expect_status(false, "", REASON_NONE);
}

static void a_check_that_only_warns_flips_nothing(void **state)
{
    (void)state;
    pass_round(T0);
    fail_round(EDGES, AFTER_S(2));
    expect_status(false, "", REASON_NONE);
}

static void the_status_falls_with_the_third_failure_in_a_row_of_three(void **state)
{
    (void)state;
    renew_ledger(3, 1);
    pass_round(T0);
    fail_database(REASON_ACCESS, "28P01", AFTER_S(2));
    fail_round(NODES, AFTER_S(4));
    expect_status(false, "", REASON_NONE);
    pass_round(AFTER_S(6));
    fail_database(REASON_ACCESS, "28P01", AFTER_S(8));
    fail_database(REASON_ACCESS, "28P01", AFTER_S(10));
    expect_status(false, "", REASON_NONE);
    fail_database(REASON_ACCESS, "28P01", AFTER_S(12));
    expect_status(true, "database", REASON_ACCESS);
}

static void
the_status_rises_with_the_second_success_in_a_row_of_two_and_keeps_its_cause_until_then(void **state)
{
    (void)state;
    renew_ledger(1, 2);
    pass_round(T0);
    fail_database(REASON_ACCESS, "28P01", AFTER_S(2));
    pass_round(AFTER_S(4));
    expect_status(true, "database", REASON_ACCESS);
    fail_round(NODES, AFTER_S(6));
    pass_round(AFTER_S(8));
    expect_status(true, "nodes", REASON_SCHEMA);
    pass_round(AFTER_S(10));
    expect_status(false, "", REASON_NONE);
}

static void the_first_probe_decides_alone(void **state)
{
    (void)state;
    renew_ledger(3, 3);
    fail_database(REASON_ACCESS, "28P01", T0);
    expect_status(true, "database", REASON_ACCESS);
    renew_ledger(3, 3);
    pass_round(T0);
    expect_status(false, "", REASON_NONE);
}

/* Each of a round's failures is told at once, and the round is one probe all the same. */
static void a_round_with_two_failures_is_one_probe(void **state)
{
    (void)state;
    const struct probe_outcome bad = {.done = true, .reason = REASON_SCHEMA, .sqlstate = "42P01"};
    renew_ledger(2, 1);
    pass_round(T0);
    assert_true(ledger_take_outcome(ledger, NODES, &bad, AFTER_S(2)));
    assert_true(ledger_take_outcome(ledger, RARE, &bad, AFTER_S(2)));
    ledger_finish_round(ledger, &facts);
    expect_status(false, "", REASON_NONE);
    fail_round(NODES, AFTER_S(4));
    expect_status(true, "nodes", REASON_SCHEMA);
}

static void a_round_that_the_database_ends_is_one_probe(void **state)
{
    (void)state;
    const struct probe_outcome bad = {.done = true, .reason = REASON_SCHEMA, .sqlstate = "42P01"};
    renew_ledger(2, 1);
    pass_round(T0);
    assert_true(ledger_take_outcome(ledger, NODES, &bad, AFTER_S(2)));
    fail_database(REASON_QUERY_TIMEOUT, "", AFTER_S(3));
    expect_status(false, "", REASON_NONE);
    fail_database(REASON_CONNECT_TIMEOUT, "", AFTER_S(4)); /* the next probe gets no connection */
    expect_status(true, "database", REASON_CONNECT_TIMEOUT);
}

static void a_round_that_is_begun_anew_and_its_successor_are_two_probes(void **state)
{
    (void)state;
    const struct probe_outcome bad = {.done = true, .reason = REASON_SCHEMA, .sqlstate = "42P01"};
    renew_ledger(2, 1);
    pass_round(T0);
    assert_true(ledger_take_outcome(ledger, NODES, &bad, AFTER_S(2)));
    ledger_abandon_round(ledger);
    fail_database(REASON_UNREACHABLE, "", AFTER_S(3));
    expect_status(true, "database", REASON_UNREACHABLE);
}

static void a_check_is_due_at_its_time_when_it_failed_and_after_a_failing_database(void **state)
{
    (void)state;
    EXPECT_DUE(T0, NODES, EDGES, RARE);
    pass_round(T0);
    EXPECT_DUE(AFTER_S(2), NODES, EDGES);
    EXPECT_DUE(AFTER_S(59) - 1, NODES, EDGES);
    EXPECT_DUE(AFTER_S(59), NODES, EDGES, RARE); /* half an interval early counts as due */
    fail_round(RARE, AFTER_S(60));
    EXPECT_DUE(AFTER_S(62), NODES, EDGES, RARE);
    pass_round(AFTER_S(62));
    EXPECT_DUE(AFTER_S(64), NODES, EDGES);
    fail_database(REASON_ACCESS, "28P01", AFTER_S(64));
    EXPECT_DUE(AFTER_S(65), NODES, EDGES, RARE);
    pass_round(AFTER_S(65));
    ledger_make_all_due(ledger);
    EXPECT_DUE(AFTER_S(66), NODES, EDGES, RARE);
}

static void a_check_that_broke_the_connection_comes_last(void **state)
{
    (void)state;
    const struct probe_outcome breaks = {.done = true, .reason = REASON_MALFORMED, .broke_connection = true};
    run_round(NODES, &breaks, T0);
    EXPECT_DUE(AFTER_S(60), EDGES, RARE, NODES);
    pass_round(AFTER_S(60));
    EXPECT_DUE(AFTER_S(120), NODES, EDGES, RARE);
}

static void checks_that_break_the_connection_take_turns(void **state)
{
    (void)state;
    const struct probe_outcome breaks = {.done = true, .reason = REASON_MALFORMED, .broke_connection = true};
    (void)ledger_take_outcome(ledger, EDGES, &breaks, T0);
    (void)ledger_take_outcome(ledger, NODES, &breaks, T0);
    EXPECT_DUE(T0, RARE, EDGES, NODES);
    assert_true(ledger_is_breaker(ledger, EDGES));
    assert_false(ledger_is_breaker(ledger, RARE));
    (void)ledger_take_outcome(ledger, EDGES, &breaks, AFTER_S(2));
    EXPECT_DUE(AFTER_S(4), RARE, NODES, EDGES);
    /* What they do is no longer known: a round that leaves one of them out would not have asked it. */
    fail_database(REASON_UNREACHABLE, "", AFTER_S(5));
    assert_false(ledger_is_breaker(ledger, EDGES));
    assert_false(ledger_is_breaker(ledger, NODES));
}

static void a_round_that_did_not_get_to_a_failing_check_has_not_passed(void **state)
{
    (void)state;
    const struct probe_outcome breaks = {.done = true, .reason = REASON_MALFORMED, .broke_connection = true};
    pass_round(T0);
    fail_round(NODES, AFTER_S(2));
    (void)ledger_take_outcome(ledger, EDGES, &breaks, AFTER_S(4)); /* it only warns */
    ledger_finish_round(ledger, &facts);
    expect_status(true, "nodes", REASON_SCHEMA);
}

static void the_cause_is_a_check_that_fails_when_the_round_ends(void **state)
{
    (void)state;
    const struct probe_outcome bad = {.done = true, .reason = REASON_SCHEMA, .sqlstate = "42P01"};
    const struct probe_outcome good = {.done = true, .has_value = true, .value = 7};
    fail_round(NODES, T0);
    (void)ledger_take_outcome(ledger, RARE, &bad, AFTER_S(2)); /* first, and nodes is not known to pass yet */
    (void)ledger_take_outcome(ledger, NODES, &good, AFTER_S(2));
    ledger_finish_round(ledger, &facts);
    expect_status(true, "rare", REASON_SCHEMA);
}

static void new_checks_keep_what_is_known_of_a_name_and_query(void **state)
{
    (void)state;
    static struct check others[] = {{.name = "new", .sql = "SELECT 4"},
                                    {.name = "nodes", .sql = "SELECT 1", .severity = CHECK_WARN},
                                    {.name = "rare", .sql = "SELECT 33"}};
    pass_round(T0);
    ledger_set_checks(ledger, &checks, &(const struct checks){.items = others, .count = 3});
    const struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_int_equal(s->check_count, 3);
    assert_false(s->checks[2].has_value);
    assert_false(s->checks[2].has_last_ok);
    assert_string_equal(s->checks[0].name, "new");
    assert_false(s->checks[0].has_value);
    assert_string_equal(s->checks[1].name, "nodes");
    assert_int_equal(s->checks[1].value, 7);
    assert_int_equal(s->checks[1].severity, CHECK_WARN);
    snapshot_release(s);
    EXPECT_DUE(T0, 0, 1, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_ledger(before_the_first_probe_it_is_starting_and_knows_nothing),
        with_ledger(a_round_leaves_its_values_and_facts_and_no_line),
        with_ledger(a_failing_database_makes_every_value_unknown_but_the_last_good_one),
        with_ledger(the_same_failure_is_one_line_and_then_one_a_minute_with_its_attempts),
        with_ledger(another_reason_or_code_is_a_line_of_its_own_and_begins_a_new_minute),
        with_ledger(an_answer_ends_the_outage_and_the_next_one_counts_from_one),
        with_ledger(a_check_that_fails_and_one_that_passes_again_are_a_line_each),
        with_ledger(a_check_that_only_warns_flips_nothing),
        with_ledger(the_status_falls_with_the_third_failure_in_a_row_of_three),
        with_ledger(the_status_rises_with_the_second_success_in_a_row_of_two_and_keeps_its_cause_until_then),
        with_ledger(the_first_probe_decides_alone),
        with_ledger(a_round_with_two_failures_is_one_probe),
        with_ledger(a_round_that_the_database_ends_is_one_probe),
        with_ledger(a_round_that_is_begun_anew_and_its_successor_are_two_probes),
        with_ledger(a_check_is_due_at_its_time_when_it_failed_and_after_a_failing_database),
        with_ledger(a_check_that_broke_the_connection_comes_last),
        with_ledger(checks_that_break_the_connection_take_turns),
        with_ledger(a_round_that_did_not_get_to_a_failing_check_has_not_passed),
        with_ledger(the_cause_is_a_check_that_fails_when_the_round_ends),
        with_ledger(new_checks_keep_what_is_known_of_a_name_and_query),
    };
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
