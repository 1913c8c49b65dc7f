/* cgi/answer/document: the JSON documents that the manual promises. */
#include "tests/unit/unit.h"

#include "tests/unit/cgi/answer/site.h"

#include "common/version.h"

#include <json-c/json.h>

static struct json_object *parse(void (*render)(const struct facts *, struct buf *), struct test_site *t)
{
    struct buf text = {0};
    const struct facts facts = test_site_facts(t);
    render(&facts, &text);
    assert_int_equal(text.data[text.len - 1], '\n');
    struct json_object *document = json_tokener_parse(text.data);
    assert_non_null(document);
    buf_free(&text);
    return document;
}

/* Returns the member at a path such as "database/server_version", as JSON text. */
static const char *at(struct json_object *document, const char *path)
{
    char copy[256];
    char *rest = copy;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *key; document != NULL && (key = strsep(&rest, "/")) != NULL;)
        if (!json_object_object_get_ex(document, key, &document))
            return "(missing)";
    return json_object_to_json_string_ext(document, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

static void expect(struct test_site *t, void (*render)(const struct facts *, struct buf *), const char *path,
                   const char *expected)
{
    struct json_object *document = parse(render, t);
    assert_string_equal(at(document, path), expected);
    json_object_put(document);
}

static void health_has_exactly_the_documented_members_in_order(void **state)
{
    (void)state;
    struct test_site t;
    struct buf text = {0};
    test_site_init(&t, 2);
    const struct facts facts = test_site_facts(&t);
    document_health(&facts, &text);
    assert_string_equal(
        text.data,
        "{\"status\":\"healthy\",\"time\":\"2026-01-31T12:00:00.123Z\",\"version\":\"" HEALTH_VERSION "\","
        "\"uptime_seconds\":20794,\"counts\":{\"c0\":100,\"c1\":101},\"failing\":[],"
        "\"warnings\":[]}\n");
    buf_free(&text);
    test_site_free(&t);
}

static void a_failing_check_is_null_and_named_and_the_others_keep_their_counts(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 3);
    t.snapshot->checks[1].reason = REASON_CORRUPT;
    t.snapshot->checks[1].has_value = false;
    t.snapshot->checks[1].down = true;
    test_site_degrade(&t, "c1", REASON_CORRUPT);
    expect(&t, document_health, "counts", "{\"c0\":100,\"c1\":null,\"c2\":102}");
    expect(&t, document_health, "failing", "[{\"check\":\"c1\",\"reason\":\"corrupt\"}]");
    expect(&t, document_health, "status", "\"degraded\"");
    test_site_free(&t);
}

static void a_failing_database_is_one_entry_and_makes_every_count_null(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 2);
    t.snapshot->database.reason = REASON_UNREACHABLE;
    t.snapshot->database.down = true;
    t.snapshot->checks[0].reason = REASON_CORRUPT;
    t.snapshot->checks[0].down = true;
    test_site_degrade(&t, "database", REASON_UNREACHABLE);
    t.verdict.counts_known = false;
    expect(&t, document_health, "counts", "{\"c0\":null,\"c1\":null}");
    expect(&t, document_health, "failing", "[{\"check\":\"database\",\"reason\":\"unreachable\"}]");
    expect(&t, document_health, "warnings", "[]");
    expect(&t, document_status, "checks/c0/value", "null");
    test_site_free(&t);
}

static void a_failing_check_of_severity_warn_is_a_warning(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->checks[0].severity = CHECK_WARN;
    t.snapshot->checks[0].reason = REASON_OUT_OF_RANGE;
    t.snapshot->checks[0].down = true;
    expect(&t, document_health, "failing", "[]");
    expect(&t, document_health, "warnings", "[{\"check\":\"c0\",\"reason\":\"out_of_range\"}]");
    expect(&t, document_health, "counts", "{\"c0\":100}");
    test_site_free(&t);
}

static void a_failure_before_fall_is_reached_is_a_warning(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->checks[0].reason = REASON_SCHEMA;
    expect(&t, document_health, "warnings", "[{\"check\":\"c0\",\"reason\":\"schema\"}]");
    expect(&t, document_health, "status", "\"healthy\"");
    test_site_free(&t);
}

static void failing_keeps_the_last_reason_until_rise_is_reached(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->checks[0].down = true;
    t.snapshot->checks[0].down_reason = REASON_SCHEMA;
    test_site_degrade(&t, "c0", REASON_SCHEMA);
    expect(&t, document_health, "failing", "[{\"check\":\"c0\",\"reason\":\"schema\"}]");
    test_site_free(&t);
}

static void failing_shows_the_present_reason_rather_than_the_last_one(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->checks[0].down = true;
    t.snapshot->checks[0].down_reason = REASON_SCHEMA;
    t.snapshot->checks[0].reason = REASON_ACCESS;
    test_site_degrade(&t, "c0", REASON_SCHEMA);
    expect(&t, document_health, "failing", "[{\"check\":\"c0\",\"reason\":\"access\"}]");
    expect(&t, document_health, "warnings", "[]");
    test_site_free(&t);
}

static void each_check_has_its_own_fall_and_rise(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 4);
    t.snapshot->checks[0].reason = REASON_SCHEMA; /* it has not reached its fall */
    t.snapshot->checks[1].reason = REASON_CORRUPT;
    t.snapshot->checks[1].down = true;
    t.snapshot->checks[2].down = true; /* it has not reached its rise */
    t.snapshot->checks[2].down_reason = REASON_ACCESS;
    t.snapshot->checks[3].severity = CHECK_WARN;
    t.snapshot->checks[3].reason = REASON_HUNG;
    t.snapshot->checks[3].down = true;
    test_site_degrade(&t, "c1", REASON_CORRUPT);
    expect(&t, document_health, "failing",
           "[{\"check\":\"c1\",\"reason\":\"corrupt\"},{\"check\":\"c2\",\"reason\":\"access\"}]");
    expect(&t, document_health, "warnings",
           "[{\"check\":\"c0\",\"reason\":\"schema\"},{\"check\":\"c3\",\"reason\":\"hung\"}]");
    test_site_free(&t);
}

static void a_database_is_the_only_entry_until_its_rise_is_reached(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->database.down = true;
    t.snapshot->database.down_reason = REASON_HUNG;
    t.snapshot->checks[0].reason = REASON_SCHEMA;
    t.snapshot->checks[0].down = true;
    test_site_degrade(&t, "database", REASON_HUNG);
    expect(&t, document_health, "failing", "[{\"check\":\"database\",\"reason\":\"hung\"}]");
    expect(&t, document_status, "database/reason", "null");
    test_site_free(&t);
}

static void a_database_before_its_fall_is_the_only_warning(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->database.reason = REASON_ACCESS;
    t.snapshot->checks[0].severity = CHECK_WARN;
    t.snapshot->checks[0].reason = REASON_SCHEMA;
    expect(&t, document_health, "failing", "[]");
    expect(&t, document_health, "warnings", "[{\"check\":\"database\",\"reason\":\"access\"}]");
    test_site_free(&t);
}

static void there_is_no_warning_before_the_first_probe(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->starting = true;
    t.snapshot->checks[0].reason = REASON_SCHEMA;
    t.verdict = (struct verdict){.status = HEALTH_STARTING, .reason = REASON_STARTING, .check = "database"};
    expect(&t, document_health, "failing", "[{\"check\":\"database\",\"reason\":\"starting\"}]");
    expect(&t, document_health, "warnings", "[]");
    test_site_free(&t);
}

static void an_unknown_period_is_null(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    expect(&t, document_status, "checks/c0/period_ms", "null");
    t.snapshot->checks[0].checked_wall_ms = 0;
    expect(&t, document_status, "checks/c0/duration_ms", "null");
    expect(&t, document_status, "checks/c0/checked_at", "null");
    test_site_free(&t);
}

static void a_stale_document_names_only_stale_and_shows_no_count(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->checks[0].reason = REASON_SCHEMA;
    test_site_degrade(&t, "database", REASON_STALE);
    t.verdict.counts_known = false;
    t.verdict.is_stale = true;
    expect(&t, document_health, "failing", "[{\"check\":\"database\",\"reason\":\"stale\"}]");
    expect(&t, document_health, "counts", "{\"c0\":null}");
    expect(&t, document_health, "warnings", "[]");
    test_site_free(&t);
}

static void draining_comes_first_and_other_failures_stay_visible(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->checks[0].reason = REASON_SCHEMA;
    t.snapshot->checks[0].down = true;
    t.verdict = (struct verdict){
        .status = HEALTH_DRAINING, .reason = REASON_DRAINING, .check = "process", .counts_known = true};
    expect(&t, document_health, "failing",
           "[{\"check\":\"process\",\"reason\":\"draining\"},{\"check\":\"c0\",\"reason\":\"schema\"}]");
    t.process.draining_since_wall_ms = 1769860800123;
    t.process.drain_file = "/run/health-api/drain";
    expect(&t, document_status, "process/state", "\"draining\"");
    expect(&t, document_status, "process/draining_since", "\"2026-01-31T12:00:00.123Z\"");
    expect(&t, document_status, "process/drain_file", "\"/run/health-api/drain\"");
    test_site_free(&t);
}

static void status_shows_the_database(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 0);
    t.snapshot->database.has_in_recovery = true;
    t.snapshot->database.connect_us = 1002;
    t.snapshot->database.connected_wall_ms = 1769860800000;
    t.snapshot->database.reconnects = 4;
    expect(
        &t, document_status, "database",
        "{\"reason\":null,\"server_version\":\"15.18\",\"in_recovery\":false,"
        "\"connected_since\":\"2026-01-31T12:00:00.000Z\",\"connect_ms\":1.002,\"round_trip_ms\":null,"
        "\"consecutive_failures\":0,\"reconnects\":4,\"evidence\":null,"
        "\"server\":{\"host\":\"db\",\"address\":\"10.0.0.1\",\"port\":\"5432\",\"database\":\"knowledge\","
        "\"user\":\"health_api\"},\"addresses\":[],\"resolver\":null}");
    test_site_free(&t);
}

static void status_shows_the_addresses_of_the_next_login(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 0);
    struct database_result *d = &t.snapshot->database;
    d->server = (struct database_server){0};
    d->evidence = EVIDENCE_UNACKNOWLEDGED;
    d->addresses = (struct addresses){.count = 2, .items = {"10.0.0.2:5432", "/run/postgresql"}};
    d->lookup = (struct lookup_result){.is_used = true, .took_us = -1, .error = "no \xff"};
    expect(&t, document_status, "database/server", "null");
    expect(&t, document_status, "database/evidence", "\"unacknowledged\"");
    expect(&t, document_status, "database/addresses", "[\"10.0.0.2:5432\",\"/run/postgresql\"]");
    expect(&t, document_status, "database/resolver",
           "{\"error\":\"no ?\",\"duration_ms\":null,\"resolved_at\":null}");
    d->evidence = EVIDENCE_ACKNOWLEDGED;
    d->lookup = (struct lookup_result){.is_used = true, .took_us = 312, .ok_wall_ms = 1769860800000};
    expect(&t, document_status, "database/evidence", "\"acknowledged\"");
    expect(&t, document_status, "database/resolver",
           "{\"error\":null,\"duration_ms\":0.312,\"resolved_at\":\"2026-01-31T12:00:00.000Z\"}");
    test_site_free(&t);
}

static void status_shows_each_check_with_its_last_good_value(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    struct check_result *r = &t.snapshot->checks[0];
    r->has_value = false;
    r->reason = REASON_QUERY_TIMEOUT;
    r->has_last_ok = true;
    r->last_ok_value = 99;
    r->period_ms = 2013;
    r->checked_ns = t.now_ns - 1234567 * INT64_C(1000);
    r->last_ok_wall_ms = 1769860799000;
    expect(&t, document_status, "checks/c0",
           "{\"value\":null,\"reason\":\"query_timeout\",\"severity\":\"fail\",\"duration_ms\":1.234,"
           "\"checked_at\":\"2026-01-31T12:00:00.123Z\",\"age_ms\":1234,\"period_ms\":2013,"
           "\"last_ok\":{\"value\":99,\"time\":\"2026-01-31T11:59:59.000Z\"}}");
    test_site_free(&t);
}

static void status_shows_process_snapshot_transitions_and_config(void **state)
{
    (void)state;
    struct test_site t;
    struct verdict degraded = {.status = HEALTH_DEGRADED, .reason = REASON_SCHEMA, .check = "c0"};
    test_site_init(&t, 1);
    t.process = (struct process_facts){.usage = {.open_fds = 11, .max_fds = 1024, .rss_bytes = 4096},
                                       .connections = 3,
                                       .checks_error = "checks.sql:3: no"};
    transitions_add(&t.transitions, &t.verdict, &degraded, 1769860800000);
    expect(&t, document_status, "process/open_fds", "11");
    expect(&t, document_status, "process/draining_since", "null");
    expect(&t, document_status, "process/drain_file", "null");
    expect(&t, document_status, "snapshot", "{\"age_ms\":1500,\"stale_after_ms\":6000}");
    expect(
        &t, document_status, "transitions",
        "[{\"time\":\"2026-01-31T12:00:00.000Z\",\"from\":\"healthy\",\"to\":\"degraded\",\"check\":\"c0\","
        "\"reason\":\"schema\"}]");
    expect(&t, document_status, "config/HEALTH_INTERVAL", "\"2s\"");
    expect(&t, document_status, "config/HEALTH_CHECKS", "\"/etc/health-api/checks.sql\"");
    expect(&t, document_status, "config/checks_error", "\"checks.sql:3: no\"");
    test_site_free(&t);
}

static void the_largest_value_is_printed_exactly(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->checks[0].value = INT64_MAX;
    expect(&t, document_health, "counts", "{\"c0\":9223372036854775807}");
    test_site_free(&t);
}

static void a_problem_is_rfc_9457(void **state)
{
    (void)state;
    struct buf text = {0};
    document_problem(404, "Not Found", "There is no \"such\" route.", &text);
    assert_string_equal(text.data, "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,"
                                   "\"detail\":\"There is no \\\"such\\\" route.\"}\n");
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health_has_exactly_the_documented_members_in_order),
        cmocka_unit_test(a_failing_check_is_null_and_named_and_the_others_keep_their_counts),
        cmocka_unit_test(a_failing_database_is_one_entry_and_makes_every_count_null),
        cmocka_unit_test(a_failing_check_of_severity_warn_is_a_warning),
        cmocka_unit_test(a_failure_before_fall_is_reached_is_a_warning),
        cmocka_unit_test(failing_keeps_the_last_reason_until_rise_is_reached),
        cmocka_unit_test(failing_shows_the_present_reason_rather_than_the_last_one),
        cmocka_unit_test(each_check_has_its_own_fall_and_rise),
        cmocka_unit_test(a_database_is_the_only_entry_until_its_rise_is_reached),
        cmocka_unit_test(a_database_before_its_fall_is_the_only_warning),
        cmocka_unit_test(there_is_no_warning_before_the_first_probe),
        cmocka_unit_test(an_unknown_period_is_null),
        cmocka_unit_test(a_stale_document_names_only_stale_and_shows_no_count),
        cmocka_unit_test(draining_comes_first_and_other_failures_stay_visible),
        cmocka_unit_test(status_shows_the_database),
        cmocka_unit_test(status_shows_the_addresses_of_the_next_login),
        cmocka_unit_test(status_shows_each_check_with_its_last_good_value),
        cmocka_unit_test(status_shows_process_snapshot_transitions_and_config),
        cmocka_unit_test(the_largest_value_is_printed_exactly),
        cmocka_unit_test(a_problem_is_rfc_9457),
    };
    return cmocka_run_group_tests_name("render", tests, NULL, NULL);
}
