/* cgi/answer/metrics: the metrics that docs/metrics.md promises. */
#include "tests/unit/unit.h"

#include "tests/unit/cgi/answer/site.h"

#include "cgi/answer/metrics.h"
#include "common/version.h"

#include <stdlib.h>

static char *render(const struct test_site *t)
{
    struct buf text = {0};
    const struct facts facts = test_site_facts(t);
    metrics_render(&facts, &text);
    return text.data;
}

/* Whether a line of the text begins with this. */
static bool text_has(const char *text, const char *start)
{
    for (const char *line = text; line != NULL; line = strchr(line, '\n'), line += line != NULL)
        if (strncmp(line, start, strlen(start)) == 0)
            return true;
    return false;
}

static void expect(const struct test_site *t, const char *sample)
{
    char line[256];
    char *text = render(t);
    snprintf(line, sizeof line, "%s\n", sample);
    if (!text_has(text, line))
        fail_msg("no line '%s' in:\n%s", sample, text);
    free(text);
}

/* The family has no sample that begins with this. */
static void expect_none(const struct test_site *t, const char *start)
{
    char *text = render(t);
    if (text_has(text, start))
        fail_msg("a line begins with '%s':\n%s", start, text);
    free(text);
}

static void init_known(struct test_site *t, size_t check_count)
{
    test_site_init(t, check_count);
    t->snapshot->database.connect_us = 2503;
    t->snapshot->database.round_trip_us = 125;
    t->snapshot->database.has_in_recovery = true;
    t->snapshot->database.in_recovery = true;
    t->snapshot->database.reconnects = 4;
    for (size_t i = 0; i < check_count; i++)
        t->snapshot->checks[i].checked_ns = t->now_ns - 1234567000;
    t->process.started_wall_ms = 1769860800123;
    t->process.usage = (struct process_usage){
        .open_fds = 12, .max_fds = 1024, .rss_bytes = 9000000, .cpu_ns = 1234567890123};
}

static void the_whole_text_of_a_healthy_program(void **state)
{
    (void)state;
    static const char expected[] =
        "# HELP health_api_build_info The version of health-api. The value is always 1.\n"
        "# TYPE health_api_build_info gauge\n"
        "health_api_build_info{version=\"" HEALTH_VERSION "\"} 1\n"
        "# HELP health_api_healthy 1 if the status is healthy, else 0.\n"
        "# TYPE health_api_healthy gauge\n"
        "health_api_healthy 1\n"
        "# HELP health_api_status 1 for the present status, 0 for the others.\n"
        "# TYPE health_api_status gauge\n"
        "health_api_status{status=\"starting\"} 0\n"
        "health_api_status{status=\"healthy\"} 1\n"
        "health_api_status{status=\"degraded\"} 0\n"
        "health_api_status{status=\"draining\"} 0\n"
        "# HELP health_api_snapshot_age_seconds Time since the last answer of the database.\n"
        "# TYPE health_api_snapshot_age_seconds gauge\n"
        "health_api_snapshot_age_seconds 1.500000\n"
        "# HELP health_api_database_up 1 if the database answers, 0 if it fails.\n"
        "# TYPE health_api_database_up gauge\n"
        "health_api_database_up 1\n"
        "# HELP health_api_database_in_recovery 1 if the server is a standby, else 0.\n"
        "# TYPE health_api_database_in_recovery gauge\n"
        "health_api_database_in_recovery 1\n"
        "# HELP health_api_database_connect_seconds Duration of the last login.\n"
        "# TYPE health_api_database_connect_seconds gauge\n"
        "health_api_database_connect_seconds 0.002503\n"
        "# HELP health_api_database_round_trip_seconds Duration of the last ping.\n"
        "# TYPE health_api_database_round_trip_seconds gauge\n"
        "health_api_database_round_trip_seconds 0.000125\n"
        "# HELP health_api_database_reconnects_total Sessions lost while the database did not fail.\n"
        "# TYPE health_api_database_reconnects_total counter\n"
        "health_api_database_reconnects_total 4\n"
        "# HELP health_api_check_ok 1 if the check passes, 0 if it fails.\n"
        "# TYPE health_api_check_ok gauge\n"
        "health_api_check_ok{check=\"c0\",severity=\"fail\"} 1\n"
        "# HELP health_api_check_value The count that the check has returned.\n"
        "# TYPE health_api_check_value gauge\n"
        "health_api_check_value{check=\"c0\"} 100\n"
        "# HELP health_api_check_failures_total Failed runs of the check, by reason.\n"
        "# TYPE health_api_check_failures_total counter\n"
        "health_api_check_failures_total{check=\"c0\",reason=\"schema\"} 3\n"
        "# HELP health_api_check_duration_seconds Duration of the last run of the check.\n"
        "# TYPE health_api_check_duration_seconds gauge\n"
        "health_api_check_duration_seconds{check=\"c0\"} 0.001234\n"
        "# HELP health_api_check_age_seconds Time since the last run of the check.\n"
        "# TYPE health_api_check_age_seconds gauge\n"
        "health_api_check_age_seconds{check=\"c0\"} 1.234567\n"
        "# HELP health_api_transitions_total Changes of the status or its reason, by the new status.\n"
        "# TYPE health_api_transitions_total counter\n"
        "health_api_transitions_total{to=\"starting\"} 0\n"
        "health_api_transitions_total{to=\"healthy\"} 1\n"
        "health_api_transitions_total{to=\"degraded\"} 0\n"
        "health_api_transitions_total{to=\"draining\"} 0\n"
        "# HELP health_api_http_requests_total Answered requests, by route and status code.\n"
        "# TYPE health_api_http_requests_total counter\n"
        "# HELP health_api_connections Open FastCGI connections.\n"
        "# TYPE health_api_connections gauge\n"
        "health_api_connections 3\n"
        "# HELP process_cpu_seconds_total CPU time of the process, user and system.\n"
        "# TYPE process_cpu_seconds_total counter\n"
        "process_cpu_seconds_total 1234.567890\n"
        "# HELP process_resident_memory_bytes Resident memory of the process.\n"
        "# TYPE process_resident_memory_bytes gauge\n"
        "process_resident_memory_bytes 9000000\n"
        "# HELP process_open_fds Open file descriptors.\n"
        "# TYPE process_open_fds gauge\n"
        "process_open_fds 12\n"
        "# HELP process_max_fds Limit of open file descriptors.\n"
        "# TYPE process_max_fds gauge\n"
        "process_max_fds 1024\n"
        "# HELP process_start_time_seconds When the process started, in seconds since 1970.\n"
        "# TYPE process_start_time_seconds gauge\n"
        "process_start_time_seconds 1769860800.123000\n";
    struct test_site t;
    struct verdict starting = {.status = HEALTH_STARTING};
    init_known(&t, 1);
    t.snapshot->checks[0].failures[REASON_SCHEMA] = 3;
    transitions_add(&t.transitions, &starting, &t.verdict, 1);
    char *text = render(&t);
    assert_string_equal(text, expected);
    free(text);
    test_site_free(&t);
}

static void exactly_one_status_is_1(void **state)
{
    (void)state;
    static const char *const names[] = {"starting", "healthy", "degraded", "draining"};
    for (int status = 0; status < HEALTH_STATUS_COUNT; status++) {
        struct test_site t;
        char sample[80];
        init_known(&t, 1);
        t.verdict.status = (enum health_status)status;
        for (int other = 0; other < HEALTH_STATUS_COUNT; other++) {
            snprintf(sample, sizeof sample, "health_api_status{status=\"%s\"} %d", names[other],
                     other == status);
            expect(&t, sample);
        }
        expect(&t, status == HEALTH_HEALTHY ? "health_api_healthy 1" : "health_api_healthy 0");
        test_site_free(&t);
    }
}

/* Each row is one state of what is known; 1 and 0 are values, '-' is no sample. */
static void what_is_unknown_is_left_out(void **state)
{
    (void)state;
    static const struct {
        bool starting, stale, draining, has_reason, has_value, down, warns;
        enum reason database;
        char up, age, ok, value;
    } rows[] = {
        {.has_value = true, .up = '1', .age = '1', .ok = '1', .value = '1'},
        {.up = '1', .age = '1', .ok = '-', .value = '-'}, /* not asked yet */
        {.has_reason = true, .up = '1', .age = '1', .ok = '0', .value = '-'},
        {.has_reason = true, .has_value = true, .up = '1', .age = '1', .ok = '0', .value = '1'},
        {.has_reason = true,
         .has_value = true,
         .warns = true,
         .up = '1',
         .age = '1',
         .ok = '0',
         .value = '1'},
        {.has_value = true, .down = true, .up = '1', .age = '1', .ok = '0', .value = '1'}, /* before its rise
                                                                                            */
        {.has_value = true, .down = true, .warns = true, .up = '1', .age = '1', .ok = '1', .value = '1'},
        {.draining = true, .has_value = true, .up = '1', .age = '1', .ok = '1', .value = '1'},
        {.database = REASON_HUNG, .has_reason = true, .up = '0', .age = '1', .ok = '-', .value = '-'},
        {.database = REASON_HUNG, .draining = true, .up = '0', .age = '1', .ok = '-', .value = '-'},
        {.stale = true, .has_value = true, .up = '-', .age = '1', .ok = '-', .value = '-'},
        {.stale = true, .has_value = true, .draining = true, .up = '-', .age = '1', .ok = '-', .value = '-'},
        {.stale = true, .database = REASON_HUNG, .up = '-', .age = '1', .ok = '-', .value = '-'},
        {.starting = true, .has_value = true, .up = '-', .age = '-', .ok = '-', .value = '-'},
        {.starting = true,
         .has_value = true,
         .draining = true,
         .up = '-',
         .age = '-',
         .ok = '-',
         .value = '-'},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_site t;
        char line[80];
        init_known(&t, 1);
        struct snapshot *s = t.snapshot;
        struct check_result *r = &s->checks[0];
        s->starting = rows[i].starting;
        s->database.reason = rows[i].database;
        if (rows[i].stale)
            s->taken_ns = t.now_ns - t.config.stale_after_ms * 1000000 - 1;
        *r = (struct check_result){.name = "c0",
                                   .severity = rows[i].warns ? CHECK_WARN : CHECK_FAIL,
                                   .reason = rows[i].has_reason ? REASON_OUT_OF_RANGE : REASON_NONE,
                                   .down = rows[i].down,
                                   .has_value = rows[i].has_value,
                                   .value = 1,
                                   .duration_us = 1,
                                   .checked_ns = t.now_ns - 1};
        t.process.reason = rows[i].draining ? REASON_DRAINING : REASON_NONE;
        t.verdict = verdict_judge(s, &t.process, NULL, t.now_ns, t.config.stale_after_ms * 1000000);

        const struct {
            const char *start;
            char expected;
            bool is_any; /* the value may be any */
        } families[] = {
            {"health_api_database_up ", rows[i].up, false},
            {"health_api_snapshot_age_seconds ", rows[i].age, true},
            {"health_api_database_in_recovery ", rows[i].up == '1' ? '1' : '-', false},
            {"health_api_database_connect_seconds ", rows[i].up == '1' ? '1' : '-', true},
            {"health_api_database_round_trip_seconds ", rows[i].up == '1' ? '1' : '-', true},
            {rows[i].warns ? "health_api_check_ok{check=\"c0\",severity=\"warn\"} "
                           : "health_api_check_ok{check=\"c0\",severity=\"fail\"} ",
             rows[i].ok, false},
            {"health_api_check_value{check=\"c0\"} ", rows[i].value, false},
            {"health_api_check_duration_seconds{check=\"c0\"} ", rows[i].ok == '-' ? '-' : '1', true},
            {"health_api_check_age_seconds{check=\"c0\"} ", '1', true},
        };
        for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
            char *text = render(&t);
            bool is_there = text_has(text, families[f].start);
            snprintf(line, sizeof line, "%s%c\n", families[f].start, families[f].expected);
            if (is_there != (families[f].expected != '-') ||
                (is_there && !families[f].is_any && !text_has(text, line)))
                fail_msg("row %zu: expected %c of %s", i, families[f].expected, families[f].start);
            free(text);
        }
        test_site_free(&t);
    }
}

static void what_was_never_measured_is_left_out(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.process.usage = (struct process_usage){.open_fds = -1, .max_fds = -1, .rss_bytes = -1};
    t.snapshot->checks[0].duration_us = 0; /* the server never ended the query */
    t.snapshot->checks[0].checked_ns = 0;
    expect_none(&t, "health_api_database_in_recovery");
    expect_none(&t, "health_api_database_connect_seconds");
    expect_none(&t, "health_api_database_round_trip_seconds");
    expect_none(&t, "health_api_check_duration_seconds");
    expect_none(&t, "health_api_check_age_seconds");
    expect_none(&t, "health_api_check_failures_total");
    expect_none(&t, "process_open_fds");
    expect_none(&t, "process_max_fds");
    expect_none(&t, "process_resident_memory_bytes");
    test_site_free(&t);
}

static void the_largest_numbers_are_printed_exactly(void **state)
{
    (void)state;
    struct test_site t;
    init_known(&t, 3);
    t.snapshot->checks[0].value = INT64_MAX;
    t.snapshot->checks[1].value = INT64_MIN;
    t.snapshot->checks[2].value = 0;
    t.snapshot->checks[0].failures[REASON_INTERNAL] = UINT64_MAX;
    t.process.usage.cpu_ns = INT64_MAX;
    expect(&t, "health_api_check_value{check=\"c0\"} 9223372036854775807");
    expect(&t, "health_api_check_value{check=\"c1\"} -9223372036854775808");
    expect(&t, "health_api_check_value{check=\"c2\"} 0");
    expect(&t, "health_api_check_failures_total{check=\"c0\",reason=\"internal\"} 18446744073709551615");
    expect(&t, "process_cpu_seconds_total 9223372036.854775");
    test_site_free(&t);
}

/* The loop may have read its clock just before the prober sent the question. */
static void nothing_is_younger_than_now(void **state)
{
    (void)state;
    struct test_site t;
    init_known(&t, 1);
    t.snapshot->taken_ns = t.snapshot->checks[0].checked_ns = t.now_ns + 12345;
    expect(&t, "health_api_snapshot_age_seconds 0.000000");
    expect(&t, "health_api_check_age_seconds{check=\"c0\"} 0.000000");
    test_site_free(&t);
}

static void labels_are_escaped(void **state)
{
    (void)state;
    struct test_site t;
    init_known(&t, 1);
    snprintf(t.snapshot->checks[0].name, sizeof t.snapshot->checks[0].name, "a\"b\\c\nd");
    expect(&t, "health_api_check_value{check=\"a\\\"b\\\\c\\nd\"} 100");
    test_site_free(&t);
}

static void failures_have_a_series_for_each_reason_that_occurred(void **state)
{
    (void)state;
    struct test_site t;
    init_known(&t, 2);
    t.snapshot->checks[0].failures[REASON_QUERY_TIMEOUT] = 1;
    t.snapshot->checks[1].failures[REASON_SCHEMA] = 2;
    t.snapshot->database.reason = REASON_HUNG; /* the counters stay while nothing else is known */
    t.verdict = (struct verdict){.status = HEALTH_DEGRADED, .reason = REASON_HUNG};
    expect(&t, "health_api_check_failures_total{check=\"c0\",reason=\"query_timeout\"} 1");
    expect(&t, "health_api_check_failures_total{check=\"c1\",reason=\"schema\"} 2");
    expect_none(&t, "health_api_check_failures_total{check=\"c0\",reason=\"schema\"");
    expect_none(&t, "health_api_check_failures_total{check=\"c1\",reason=\"query_timeout\"");
    test_site_free(&t);
}

static void transitions_are_counted_by_status_for_longer_than_the_list_keeps_them(void **state)
{
    (void)state;
    struct test_site t;
    struct verdict degraded = {.status = HEALTH_DEGRADED, .reason = REASON_SCHEMA, .check = "c0"};
    init_known(&t, 1);
    for (int i = 0; i < TRANSITIONS_MAX + 7; i++) {
        transitions_add(&t.transitions, &t.verdict, &degraded, 1);
        transitions_add(&t.transitions, &degraded, &t.verdict, 1);
    }
    transitions_add(&t.transitions, &t.verdict, &degraded, 1);
    expect(&t, "health_api_transitions_total{to=\"healthy\"} 57");
    expect(&t, "health_api_transitions_total{to=\"degraded\"} 58");
    expect(&t, "health_api_transitions_total{to=\"starting\"} 0");
    expect(&t, "health_api_transitions_total{to=\"draining\"} 0");
    test_site_free(&t);
}

static void requests_have_the_route_and_the_code(void **state)
{
    (void)state;
    static const struct request_count counts[] = {{"/api/health", 503, 7}, {"other", 404, 1}};
    struct test_site t;
    struct buf text = {0};
    init_known(&t, 0);
    struct facts facts = test_site_facts(&t);
    facts.requests = counts;
    facts.request_count = 2;
    metrics_render(&facts, &text);
    assert_true(
        text_has(text.data, "health_api_http_requests_total{route=\"/api/health\",code=\"503\"} 7\n"));
    assert_true(text_has(text.data, "health_api_http_requests_total{route=\"other\",code=\"404\"} 1\n"));
    buf_free(&text);
    test_site_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_text_of_a_healthy_program),
        cmocka_unit_test(exactly_one_status_is_1),
        cmocka_unit_test(what_is_unknown_is_left_out),
        cmocka_unit_test(what_was_never_measured_is_left_out),
        cmocka_unit_test(the_largest_numbers_are_printed_exactly),
        cmocka_unit_test(nothing_is_younger_than_now),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(failures_have_a_series_for_each_reason_that_occurred),
        cmocka_unit_test(transitions_are_counted_by_status_for_longer_than_the_list_keeps_them),
        cmocka_unit_test(requests_have_the_route_and_the_code),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
