/* The report: its lines, and JSON that a parser accepts. */
#include "tests/unit/unit.h"

#include "watchdog/json.h"
#include "watchdog/report.h"

#include <string.h>

static struct watch_route routes[] = {
    {.class = WATCH_CORE, .path = (char[]){"/"}, .liveness = true},
    {.class = WATCH_CORE, .path = (char[]){"/api/health"}},
    {.class = WATCH_AUX, .path = (char[]){"/a'b|c?x=1"}},
    {.class = WATCH_AUX, .path = (char[]){"/later"}},
};

static const struct watch watch = {.routes = routes, .route_count = 4};
static const struct rogue_list no_rogues;
static const struct recovery no_recovery;

static struct judge_route judged[] = {
    {.tries = 1, .code = 200, .time_us = 1499, .is_final = true, .last = {.outcome = JUDGE_OK}},
    {.tries = 3,
     .signs = {[JUDGE_SILENT] = 3},
     .time_us = 2000400,
     .is_final = true,
     .last = {.outcome = JUDGE_TIMEOUT, .why = "no complete response within 2000 ms"}},
    {.tries = 1,
     .code = 503,
     .time_us = 5000,
     .is_final = true,
     .last = {.outcome = JUDGE_ERROR, .why = "503 | \"no\""}},
    {.tries = 0},
};

static const struct survey survey = {.routes = judged, .took_ms = 8003};

static struct report make_report(void)
{
    struct report report = {
        .watch = &watch, .survey = &survey, .rogues = &no_rogues, .recovery = &no_recovery};
    report.level = judge_all(&watch, judged, &report.counts);
    return report;
}

static void each_route_that_is_not_ok_has_a_line(void **state)
{
    (void)state;
    struct report report = make_report();
    struct buf out = {0};
    report_add(&report, "recovery", "%s", "done");
    report_text(&report, false, &out);
    assert_string_equal(out.data, "core /api/health: no complete response within 2000 ms (3 tries, 2000 ms)\n"
                                  "aux /a'b|c?x=1: 503 | \"no\" (1 try, 5 ms)\n"
                                  "aux /later: not requested\n"
                                  "recovery: done\n"
                                  "1 OK, 1 timeout/unreachable, 0 rate-limited, 1 HTTP error, 1 unknown\n");
    buf_reset(&out);
    report_text(&report, true, &out);
    assert_non_null(strstr(out.data, "core /: ok, 200 in 1 ms, 1 try\n"));
    buf_free(&out);
}

static void the_summary_has_its_documented_form(void **state)
{
    (void)state;
    const struct judge_counts counts = {.of = {[JUDGE_OK] = 21}};
    struct buf out = {0};
    report_summary(&counts, &out);
    assert_string_equal(out.data, "21 OK, 0 timeout/unreachable, 0 rate-limited, 0 HTTP error");
    buf_free(&out);
}

static void the_document_is_valid_and_complete(void **state)
{
    (void)state;
    static const char *const expected[][2] = {
        {"status", "critical"},
        {"exit_code", "2"},
        {"summary.ok", "1"},
        {"summary.timeout", "1"},
        {"summary.unknown", "1"},
        {"took_ms", "8003"},
        {"recovery.action", "kill"},
        {"recovery.ok", "true"},
        {"routes_before", "null"},
        {"recovery.text", "a \"b\""},
        {"rogues.0.pid", "7"},
        {"notes.0.text", "line?\"two\" ?"},
        {"routes.1.why", "no complete response within 2000 ms"},
    };
    struct recovery recovery = {.action = POLICY_KILL, .ok = true, .took_ms = 900, .text = "a \"b\""};
    struct rogue_list rogues = {.count = 1};
    struct report report = make_report();
    struct buf out = {0};
    rogues.items[0].holder.pid = 7;
    report.recovery = &recovery;
    report.rogues = &rogues;
    report_add(&report, "recovery", "%s", "line\n\"two\" \xff");
    report_json(&report, &out);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        if (json_check(out.data, out.len, expected[i][0], expected[i][1]) != JSON_MATCHES)
            fail_msg("%s is not %s in %s", expected[i][0], expected[i][1], out.data);
    assert_string_equal(out.data + out.len - 2, "}\n");
    buf_free(&out);
}

static void too_many_findings_are_dropped(void **state)
{
    (void)state;
    struct report report = make_report();
    for (int i = 0; i < REPORT_MAX_FINDINGS + 5; i++)
        report_add(&report, "unit", "%d", i);
    assert_int_equal(report.finding_count, REPORT_MAX_FINDINGS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_route_that_is_not_ok_has_a_line),
        cmocka_unit_test(the_summary_has_its_documented_form),
        cmocka_unit_test(the_document_is_valid_and_complete),
        cmocka_unit_test(too_many_findings_are_dropped),
    };
    return cmocka_run_group_tests_name("watch_report", tests, NULL, NULL);
}
