/* How tries, routes and whole looks are judged, and how a JSON body is compared with the watch file. */
#include "tests/unit/unit.h"

#include "watchdog/json.h"
#include "watchdog/judge.h"

#include <stdlib.h>
#include <string.h>

static struct watch_route route_of(const char *codes)
{
    struct watch_route route = {
        .class = WATCH_CORE, .path = (char[]){"/"}, .timeout_ms = 2000, .liveness = true};
    assert_true(value_parse_codes(codes, &route.codes));
    return route;
}

static struct judgement judge(const char *codes, struct fetch_result result)
{
    struct watch_route route = route_of(codes);
    struct judgement out;
    judge_try(&route, &result, &out);
    return out;
}

static void every_kind_of_answer_has_its_outcome(void **state)
{
    (void)state;
    static const struct {
        const char *codes;
        struct fetch_result result;
        enum judge_outcome outcome;
        enum judge_sign sign;
        bool again;
    } rows[] = {
        {"200-299", {.code = 200}, JUDGE_OK, JUDGE_ALIVE, false},
        {"200-299", {.code = 302}, JUDGE_ERROR, JUDGE_ALIVE, false},
        {"200-399", {.code = 302}, JUDGE_OK, JUDGE_ALIVE, false},
        {"200", {.code = 404}, JUDGE_ERROR, JUDGE_ALIVE, false},
        {"200", {.code = 500}, JUDGE_ERROR, JUDGE_ALIVE, false},
        /* a rate limit is no failure, and says nothing about the backend */
        {"200", {.code = 429}, JUDGE_LIMITED, JUDGE_OPEN, false},
        {"200", {.code = 429, .from_nginx = true}, JUDGE_LIMITED, JUDGE_OPEN, false},
        {"200,429", {.code = 429}, JUDGE_OK, JUDGE_OPEN, false},
        /* a backend that answers 503 itself is alive */
        {"200", {.code = 503}, JUDGE_ERROR, JUDGE_ALIVE, false},
        {"200,503", {.code = 503}, JUDGE_OK, JUDGE_ALIVE, false},
        /* the proxy reports that the backend does not answer; accepted codes do not change that */
        {"200", {.code = 502}, JUDGE_ERROR, JUDGE_UNREACHED, true},
        {"200-599", {.code = 504, .time_us = 100000}, JUDGE_ERROR, JUDGE_HUNG, true},
        {"200-599", {.code = 504, .time_us = 99999}, JUDGE_ERROR, JUDGE_UNREACHED, true},
        {"200", {.code = 502, .from_nginx = true}, JUDGE_ERROR, JUDGE_UNREACHED, true},
        /* a 5xx of nginx without the shipped document is a fault of nginx itself */
        {"200", {.code = 503, .from_nginx = true}, JUDGE_ERROR, JUDGE_OPEN, true},
        {"200-599", {.code = 500, .from_nginx = true}, JUDGE_ERROR, JUDGE_OPEN, true},
        {"200", {.code = 403, .from_nginx = true}, JUDGE_ERROR, JUDGE_OPEN, false},
        {"200-499", {.code = 403, .from_nginx = true}, JUDGE_OK, JUDGE_OPEN, false},
        /* no response */
        {"200", {.kind = FETCH_TIMEOUT}, JUDGE_TIMEOUT, JUDGE_SILENT, true},
        {"200", {.kind = FETCH_TIMEOUT, .code = 200}, JUDGE_TIMEOUT, JUDGE_SILENT, true},
        {"200", {.kind = FETCH_TIMEOUT, .unconnected = true}, JUDGE_TIMEOUT, JUDGE_NO_CONTACT, true},
        {"200", {.kind = FETCH_REFUSED}, JUDGE_TIMEOUT, JUDGE_NO_CONTACT, true},
        {"200", {.kind = FETCH_FULL}, JUDGE_TIMEOUT, JUDGE_NO_CONTACT, true},
        {"200", {.kind = FETCH_RESET}, JUDGE_TIMEOUT, JUDGE_NO_CONTACT, true},
        /* after a redirect another server may be silent */
        {"200", {.kind = FETCH_TIMEOUT, .redirects = 1}, JUDGE_TIMEOUT, JUDGE_OPEN, true},
        {"200", {.kind = FETCH_REFUSED, .redirects = 1}, JUDGE_TIMEOUT, JUDGE_OPEN, true},
        {"200", {.code = 502, .redirects = 1}, JUDGE_ERROR, JUDGE_OPEN, true},
        {"200", {.kind = FETCH_MALFORMED}, JUDGE_ERROR, JUDGE_OPEN, false},
        {"200", {.kind = FETCH_REDIRECTS}, JUDGE_ERROR, JUDGE_ALIVE, false},
        /* a fault of this machine says nothing about the backend */
        {"200", {.kind = FETCH_UNRESOLVED}, JUDGE_UNKNOWN, JUDGE_OPEN, true},
        {"200", {.kind = FETCH_TLS}, JUDGE_UNKNOWN, JUDGE_OPEN, false},
        {"200", {.kind = FETCH_LOCAL}, JUDGE_UNKNOWN, JUDGE_OPEN, true},
        /* starved: this process was late for a quarter of the try, and for 50 ms at least */
        {"200",
         {.kind = FETCH_TIMEOUT, .time_us = 2000000, .late_ms = 499},
         JUDGE_TIMEOUT,
         JUDGE_SILENT,
         true},
        {"200",
         {.kind = FETCH_TIMEOUT, .time_us = 2000000, .late_ms = 500},
         JUDGE_UNKNOWN,
         JUDGE_STARVED,
         true},
        {"200", {.code = 504, .time_us = 2000000, .late_ms = 500}, JUDGE_UNKNOWN, JUDGE_STARVED, true},
        {"200",
         {.kind = FETCH_REFUSED, .time_us = 10000, .late_ms = 49},
         JUDGE_TIMEOUT,
         JUDGE_NO_CONTACT,
         true},
        {"200", {.kind = FETCH_REFUSED, .time_us = 60000, .late_ms = 50}, JUDGE_UNKNOWN, JUDGE_STARVED, true},
        {"200", {.code = 200, .time_us = 2000000, .late_ms = 1900}, JUDGE_OK, JUDGE_ALIVE, false},
        {"200", {.code = 503, .time_us = 2000000, .late_ms = 1900}, JUDGE_ERROR, JUDGE_ALIVE, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct judgement j = judge(rows[i].codes, rows[i].result);
        if (j.outcome != rows[i].outcome || j.sign != rows[i].sign || j.again != rows[i].again)
            fail_msg("row %zu: outcome %d sign %d again %d (%s)", i, (int)j.outcome, (int)j.sign, j.again,
                     j.why);
        assert_true((j.why[0] == '\0') == (j.outcome == JUDGE_OK));
    }
}

/* The document that nginx itself sends, from nginx/health-api.conf. */
static void the_reason_in_nginx_s_document_decides_the_sign(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum judge_sign sign;
    } rows[] = {
        {"{\"status\":\"degraded\",\"failing\":[{\"check\":\"backend\",\"reason\":\"hung\"}]}\n", JUDGE_HUNG},
        {"{\"status\":\"degraded\",\"failing\":[{\"check\":\"backend\",\"reason\":\"unreachable\"}]}\n",
         JUDGE_UNREACHED},
        {"{\"status\":\"degraded\",\"failing\":[{\"check\":\"backend\",\"reason\":\"nginx\"}]}\n",
         JUDGE_OPEN},
        {"{\"failing\":[]}", JUDGE_OPEN},
        {"<html>", JUDGE_OPEN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fetch_result result = {.code = 503, .from_nginx = true};
        buf_append_str(&result.body, rows[i].body);
        struct judgement j = judge("200-599", result);
        if (j.sign != rows[i].sign || j.outcome != JUDGE_ERROR || !j.again)
            fail_msg("%s: sign %d", rows[i].body, (int)j.sign);
        buf_free(&result.body);
    }
}

static void a_body_must_have_the_expected_value(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool cut;
        enum judge_outcome outcome;
    } rows[] = {
        {"{\"status\":\"healthy\"}", false, JUDGE_OK},
        {"{\"status\":\"degraded\"}", false, JUDGE_ERROR},
        {"{}", false, JUDGE_ERROR},
        {"<html>", false, JUDGE_ERROR},
        {"", false, JUDGE_ERROR},
        {"{\"status\":\"healthy\"}", true, JUDGE_ERROR},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct watch_route route = route_of("200");
        struct judgement j;
        route.json_key = (char[]){"status"};
        route.json_value = (char[]){"healthy"};
        struct fetch_result result = {.code = 200, .body_cut = rows[i].cut};
        buf_append_str(&result.body, rows[i].body);
        judge_try(&route, &result, &j);
        assert_int_equal(j.outcome, rows[i].outcome);
        assert_int_equal(j.sign, JUDGE_ALIVE);
        buf_free(&result.body);
    }
}

static void json_values_are_found_and_compared_as_text(void **state)
{
    (void)state;
    static const struct {
        const char *body, *key, *value;
        enum json_answer answer;
    } rows[] = {
        {"{\"a\":{\"b\":\"c\"}}", "a.b", "c", JSON_MATCHES},
        {"{\"a\":{\"b\":\"c\"}}", "a.x", "c", JSON_MISSING},
        {"{\"a\":\"b\"}", "a.b", "c", JSON_MISSING},
        {"{\"n\":3}", "n", "3", JSON_MATCHES},
        {"{\"n\":3}", "n", "4", JSON_DIFFERS},
        {"{\"n\":true,\"m\":null}", "n", "true", JSON_MATCHES},
        {"{\"n\":true,\"m\":null}", "m", "null", JSON_MATCHES},
        {"[1,2]", "n", "1", JSON_MISSING},
        {"\"text\"", "n", "1", JSON_MISSING},
        {"3", "n", "1", JSON_MISSING},
        {"{\"a\":", "a", "1", JSON_MALFORMED},
        {"{\"a\":1} trailing", "a", "1", JSON_MALFORMED},
        {" {\"a\":1} \r\n", "a", "1", JSON_MATCHES},
        {"{\"a\":1,\"a\":2}", "a", "2", JSON_MATCHES},
        {"", "a", "1", JSON_MALFORMED},
        {"{\"a\":[{\"b\":1},{\"b\":2}]}", "a.1.b", "2", JSON_MATCHES},
        {"{\"a\":[{\"b\":1},{\"b\":2}]}", "a.2.b", "2", JSON_MISSING},
        {"{\"a\":[1]}", "a.0x", "1", JSON_MISSING},
        {"{\"a\":[1]}", "a.99999999999999999999", "1", JSON_MISSING},
        /* a NUL would end the comparison of a value or a key */
        {"{\"a\":\"healthy\\u0000x\"}", "a", "healthy", JSON_DIFFERS},
        {"{\"a\":\"healthy\",\"note\":\"C:\\\\u0000dir \\u0000\"}", "a", "healthy", JSON_MATCHES},
        {"{\"b\":{\"a\\u0000x\":1},\"a\":2}", "a", "2", JSON_MISSING},
        {"{\"a\\u0000x\":{\"b\":1}}", "a.b", "1", JSON_MISSING},
        {"{\"a\\u0000x\":\"healthy\"}", "a", "healthy", JSON_MISSING},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum json_answer answer = json_check(rows[i].body, strlen(rows[i].body), rows[i].key, rows[i].value);
        if (answer != rows[i].answer)
            fail_msg("%s: %s=%s gave %d", rows[i].body, rows[i].key, rows[i].value, (int)answer);
    }
}

static void deep_json_is_malformed(void **state)
{
    (void)state;
    char body[2000];
    memset(body, '[', sizeof body);
    assert_int_equal(json_check(body, sizeof body, "a", "b"), JSON_MALFORMED);
    assert_int_equal(json_check("{\"a\":\"b\0c\"}", 11, "a", "b"), JSON_MALFORMED);
}

/* The tries of one route, one letter each: o 200, t timeout, e the backend's own 503, d no name resolution, r
 * refused, f a full queue, u not connected, c closed without a byte, l 429, b 502, h 504, q 504 at once, n
 * nginx's own 500, s silent while this machine is starved of CPU. */
static struct judge_route after(const char *tries, int64_t max_tries)
{
    struct watch_route route = route_of("200");
    struct judge_route judged = {0};
    for (; *tries != '\0'; tries++) {
        static const struct fetch_result results[] = {
            ['o'] = {.code = 200},
            ['e'] = {.code = 503},
            ['l'] = {.code = 429},
            ['t'] = {.kind = FETCH_TIMEOUT},
            ['d'] = {.kind = FETCH_UNRESOLVED},
            ['r'] = {.kind = FETCH_REFUSED},
            ['f'] = {.kind = FETCH_FULL},
            ['u'] = {.kind = FETCH_TIMEOUT, .unconnected = true},
            ['c'] = {.kind = FETCH_RESET},
            ['b'] = {.code = 502},
            ['h'] = {.code = 504, .time_us = 300000},
            ['q'] = {.code = 504, .time_us = 4000},
            ['n'] = {.code = 500, .from_nginx = true},
            ['s'] = {.kind = FETCH_TIMEOUT, .time_us = 1000000, .late_ms = 900},
        };
        assert_false(judged.is_final);
        judge_add(&judged, &route, &results[(unsigned char)*tries], max_tries);
    }
    return judged;
}

static void a_route_is_dead_only_when_every_try_is_silent(void **state)
{
    (void)state;
    static const struct {
        const char *tries;
        bool final, dead;
    } rows[] = {
        {"o", true, false},     {"t", false, false},   {"tt", false, false}, {"ttt", true, true},
        {"to", true, false},    {"tto", true, false},  {"tte", true, false}, {"e", true, false},
        {"tdt", true, false},   {"ddd", true, false},  {"st", false, false}, {"stt", false, false},
        {"sttt", true, true},   {"sts", false, false}, {"sss", true, false}, {"tsst", false, false},
        {"ttsss", true, false}, {"nnn", true, false},  {"bhb", true, true},  {"ttn", true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct judge_route judged = after(rows[i].tries, 3);
        if (judged.is_final != rows[i].final || judged.is_dead != rows[i].dead)
            fail_msg("%s: final %d dead %d", rows[i].tries, judged.is_final, judged.is_dead);
    }
    struct judge_route once = after("t", 1);
    assert_true(once.is_dead);
    struct judge_route none = {.is_final = true};
    assert_false(judge_answers(&none));
}

static void a_rate_limit_does_not_show_that_the_backend_answers(void **state)
{
    (void)state;
    struct judge_route limited = after("l", 3);
    struct judge_route alive = after("e", 3);
    assert_false(judge_answers(&limited));
    assert_true(judge_answers(&alive));
}

static void a_silent_proxy_is_distinguished_from_a_silent_backend(void **state)
{
    (void)state;
    static const struct {
        const char *routes[2];
        struct judge_evidence expected;
    } rows[] = {
        {{"o", "o"}, {.dead = 0}},
        {{"ttt", "o"}, {.dead = 1, .unanswered = 1, .reached = 1}},
        {{"rrr", "ttt"}, {.dead = 2, .unanswered = 2, .reached = 1}},
        {{"bbt", "o"}, {.dead = 1, .reached = 1}}, /* the proxy answered */
        {{"hhh", "o"}, {.dead = 1, .reached = 1, .hung = 1}},
        {{"bbb", "o"}, {.dead = 1, .reached = 1}},
        {{"bhb", "o"}, {.dead = 1, .reached = 1, .hung = 1}},
        {{"qqq", "o"}, {.dead = 1, .reached = 1}}, /* a gateway's own 504 */
        /* the proxy dies during the first try or after it, has a full queue, or has no connection left */
        {{"crr", "o"}, {.dead = 1, .unanswered = 1}},
        {{"trr", "o"}, {.dead = 1, .unanswered = 1}},
        {{"hhr", "o"}, {.dead = 1}},
        {{"uuu", "o"}, {.dead = 1, .unanswered = 1}},
        {{"fff", "o"}, {.dead = 1, .unanswered = 1}},
        {{"ccc", "o"}, {.dead = 1, .unanswered = 1}},
        {{"ttu", "o"}, {.dead = 1, .unanswered = 1}},
        {{"rrt", "o"}, {.dead = 1, .unanswered = 1, .reached = 1}},
        {{"sss", "o"}, {.dead = 0}},
        {{"ttsss", "ttt"}, {.dead = 1, .unanswered = 1, .reached = 1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct watch_route routes[2] = {route_of("200"), route_of("200")};
        struct watch watch = {.routes = routes, .route_count = 2};
        struct judge_route judged[2] = {after(rows[i].routes[0], 3), after(rows[i].routes[1], 3)};
        struct judge_evidence e = judge_evidence(&watch, judged);
        if (memcmp(&e, &rows[i].expected, sizeof e) != 0)
            fail_msg("%s %s: dead %zu unanswered %zu reached %zu hung %zu", rows[i].routes[0],
                     rows[i].routes[1], e.dead, e.unanswered, e.reached, e.hung);
    }
}

static void a_route_s_class_decides_the_level_of_its_failure(void **state)
{
    (void)state;
    static const struct {
        const char *core, *aux;
        enum judge_level level;
    } rows[] = {
        {"o", "o", JUDGE_FINE},       {"o", "ttt", JUDGE_WARNING}, {"o", "e", JUDGE_WARNING},
        {"o", "ddd", JUDGE_WARNING},  {"e", "o", JUDGE_CRITICAL},  {"ttt", "o", JUDGE_CRITICAL},
        {"ttt", "e", JUDGE_CRITICAL}, {"ddd", "o", JUDGE_NO_IDEA}, {"ddd", "ttt", JUDGE_NO_IDEA},
        {"", "o", JUDGE_NO_IDEA},     {"l", "o", JUDGE_WARNING},   {"o", "l", JUDGE_FINE},
        {"l", "ttt", JUDGE_WARNING},  {"sss", "o", JUDGE_NO_IDEA}, {"o", "sss", JUDGE_WARNING},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct watch_route routes[2] = {route_of("200,407"), route_of("200")};
        struct watch watch = {.routes = routes, .route_count = 2};
        struct judge_counts counts;
        routes[1].class = WATCH_AUX;
        routes[1].liveness = false;
        struct judge_route judged[2] = {after(rows[i].core, 3), after(rows[i].aux, 3)};
        enum judge_level level = judge_all(&watch, judged, &counts);
        if (level != rows[i].level)
            fail_msg("core %s aux %s: level %d", rows[i].core, rows[i].aux, (int)level);
        assert_int_equal(judge_evidence(&watch, judged).dead, strcmp(rows[i].core, "ttt") == 0);
    }
    assert_int_equal(judge_worse(JUDGE_NO_IDEA, JUDGE_CRITICAL), JUDGE_CRITICAL);
    assert_int_equal(judge_worse(JUDGE_NO_IDEA, JUDGE_WARNING), JUDGE_NO_IDEA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_answer_has_its_outcome),
        cmocka_unit_test(a_body_must_have_the_expected_value),
        cmocka_unit_test(json_values_are_found_and_compared_as_text),
        cmocka_unit_test(deep_json_is_malformed),
        cmocka_unit_test(the_reason_in_nginx_s_document_decides_the_sign),
        cmocka_unit_test(a_route_is_dead_only_when_every_try_is_silent),
        cmocka_unit_test(a_rate_limit_does_not_show_that_the_backend_answers),
        cmocka_unit_test(a_silent_proxy_is_distinguished_from_a_silent_backend),
        cmocka_unit_test(a_route_s_class_decides_the_level_of_its_failure),
    };
    return cmocka_run_group_tests_name("watch_judge", tests, NULL, NULL);
}
