/* cgi/answer/route: it maps method and path to a response. */
#include "tests/unit/unit.h"

#include "tests/unit/cgi/answer/site.h"

#include <stdlib.h>

static struct response ask(struct test_site *t, const char *method, const char *path, const char *query)
{
    return test_site_answer(t, &(struct request){.method = method, .script_name = path, .query = query});
}

/* The value of a header, or "" without that header. */
static const char *header(const struct response *r, const char *name)
{
    static char value[256];
    char needle[64];
    size_t head_len = (size_t)(strstr(r->bytes, "\r\n\r\n") - r->bytes) + 2;
    char *head = strndup(r->bytes, head_len);
    snprintf(needle, sizeof needle, "%s: ", name);
    const char *found = strstr(head, needle);
    value[0] = '\0';
    if (found != NULL && (found == head || found[-1] == '\n')) {
        snprintf(value, sizeof value, "%.*s", (int)strcspn(found + strlen(needle), "\r"),
                 found + strlen(needle));
    }
    free(head);
    return value;
}

static size_t body_len(const struct response *r)
{
    const char *body = memmem(r->bytes, r->len, "\r\n\r\n", 4);
    return r->len - (size_t)(body - r->bytes) - 4;
}

static void every_response_has_the_documented_headers(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *query, *status, *type;
    } cases[] = {
        {"GET", "/api/health", "", "200 OK", "application/json"},
        {"GET", "/api/status", "", "200 OK", "application/json"},
        {"GET", "/api/health/live", "", "200 OK", "application/json"},
        {"GET", "/api/metrics", "", "200 OK", "text/plain; version=0.0.4; charset=utf-8"},
        {"HEAD", "/api/metrics", "", "200 OK", "text/plain; version=0.0.4; charset=utf-8"},
        {"OPTIONS", "/api/metrics", "", "200 OK", "text/plain; version=0.0.4; charset=utf-8"},
        {"POST", "/api/metrics", "", "405 Method Not Allowed", "application/problem+json"},
        {"HEAD", "/api/health", "", "200 OK", "application/json"},
        {"OPTIONS", "/api/status", "", "200 OK", "application/json"},
        {"POST", "/api/health", "", "405 Method Not Allowed", "application/problem+json"},
        {"GET", "/nothing", "", "404 Not Found", "application/problem+json"},
        {"GET", "/api/health", "%zz", "400 Bad Request", "application/problem+json"},
        {"", "/api/health", "", "400 Bad Request", "application/problem+json"},
    };
    struct test_site t;
    test_site_init(&t, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct response r = ask(&t, cases[i].method, cases[i].path, cases[i].query);
        assert_string_equal(header(&r, "Status"), cases[i].status);
        assert_int_equal(r.status, atoi(cases[i].status));
        assert_string_equal(header(&r, "Content-Type"), cases[i].type);
        assert_string_equal(header(&r, "Cache-Control"), "no-store");
        assert_string_equal(header(&r, "X-Content-Type-Options"), "nosniff");
        assert_string_equal(header(&r, "X-Health-Source"), "backend");
        assert_string_not_equal(header(&r, "Content-Length"), "");
    }
    test_site_free(&t);
}

static void health_and_status_are_503_with_retry_after_when_degraded_but_the_others_are_200(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    test_site_degrade(&t, "c0", REASON_SCHEMA);
    struct response r = ask(&t, "GET", "/api/health", NULL);
    assert_int_equal(r.status, 503);
    assert_string_equal(header(&r, "Status"), "503 Service Unavailable");
    assert_string_equal(header(&r, "Retry-After"), "2");
    assert_int_equal(ask(&t, "GET", "/api/status", NULL).status, 503);
    static const char *const others[] = {"/api/health/live", "/api/metrics"};
    for (size_t i = 0; i < 2; i++) {
        r = ask(&t, "GET", others[i], NULL);
        assert_int_equal(r.status, 200);
        assert_string_equal(header(&r, "Retry-After"), "");
    }
    test_site_free(&t);
}

static void get_head_and_options_agree_on_the_status(void **state)
{
    (void)state;
    static const char *const paths[] = {"/api/health", "/api/status", "/api/health/live", "/api/metrics"};
    struct test_site t;
    test_site_init(&t, 1);
    for (int degraded = 0; degraded <= 1; degraded++) {
        for (size_t i = 0; i < 4; i++) {
            int status = ask(&t, "GET", paths[i], NULL).status;
            assert_int_equal(ask(&t, "HEAD", paths[i], NULL).status, status);
            assert_int_equal(ask(&t, "OPTIONS", paths[i], NULL).status, status);
        }
        test_site_degrade(&t, "c0", REASON_SCHEMA);
    }
    test_site_free(&t);
}

static void content_length_is_the_length_of_the_body(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 5);
    struct response get = ask(&t, "GET", "/api/health", NULL);
    size_t get_len = body_len(&get);
    assert_true(get_len > 0);
    assert_int_equal(strtoul(header(&get, "Content-Length"), NULL, 10), get_len);

    struct response head = ask(&t, "HEAD", "/api/health", NULL);
    assert_int_equal(body_len(&head), 0);
    assert_int_equal(strtoul(header(&head, "Content-Length"), NULL, 10), get_len);

    struct response options = ask(&t, "OPTIONS", "/api/health", NULL);
    assert_int_equal(body_len(&options), 0);
    assert_string_equal(header(&options, "Content-Length"), "0");
    assert_string_equal(header(&options, "Allow"), "GET, HEAD, OPTIONS");
    test_site_free(&t);
}

static void other_methods_are_405_with_allow(void **state)
{
    (void)state;
    static const char *const methods[] = {"POST",    "PUT", "DELETE", "PATCH", "TRACE",
                                          "CONNECT", "get", "GETX",   "X Y"};
    struct test_site t;
    test_site_init(&t, 0);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct response r = ask(&t, methods[i], "/api/health", NULL);
        assert_int_equal(r.status, 405);
        assert_string_equal(header(&r, "Allow"), "GET, HEAD, OPTIONS");
        assert_true(body_len(&r) > 0);
    }
    test_site_free(&t);
}

static void the_path_is_path_info_or_script_name_or_both(void **state)
{
    (void)state;
    static const struct {
        const char *script_name, *path_info;
        int status;
    } cases[] = {
        {"/api/health", NULL, 200},
        {"/api/health", "", 200},
        {NULL, "/api/health", 200},
        {"/x.cgi", "/api/health", 200},
        {"/api/health", "/nothing", 404},
        {"/api", "/health", 200},
        {"/api/health", "/live", 200},
        {"/api/health/", "", 404},
        {"/api/healthy", "", 404},
        {"/api/healt", "", 404},
        {"/API/health", "", 404},
        {"", "", 404},
        {NULL, NULL, 404},
    };
    struct test_site t;
    test_site_init(&t, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct request request = {
            .method = "GET", .script_name = cases[i].script_name, .path_info = cases[i].path_info};
        assert_int_equal(test_site_answer(&t, &request).status, cases[i].status);
    }
    test_site_free(&t);
}

static void only_a_broken_query_string_is_400(void **state)
{
    (void)state;
    static const char *const good[] = {NULL, "", "a=b", "t=1&t=2", "%20%e2%82%ac", "a[]=1|2", "%7e", "%70"};
    static const char *const bad[] = {"%",   "%1",  "a%zz", "%00",      "%0a",
                                      "%7F", "a b", "\x01", "\xc3\xa9", "%2"};
    struct test_site t;
    test_site_init(&t, 0);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(ask(&t, "GET", "/api/health", good[i]).status, 200);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(ask(&t, "GET", "/api/health", bad[i]).status, 400);
    test_site_free(&t);
}

static const char *body(const struct response *r)
{
    static char text[65536];
    snprintf(text, sizeof text, "%.*s", (int)body_len(r), r->bytes + r->len - body_len(r));
    return text;
}

static void only_limits_the_health_route_and_no_other(void **state)
{
    (void)state;
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS"};
    static const struct {
        const char *path, *query;
        int status;
    } cases[] = {
        {"/api/health", "", 503},
        {"/api/health", "only=c0", 503},
        {"/api/health", "only=c1", 200},
        {"/api/health", "only=database", 200},
        {"/api/health", "only=process", 200},
        {"/api/health", "only=process&only=c0", 503},
        {"/api/health", "only=c2", 404},
        {"/api/health", "only=c1&only=c2", 404},
        {"/api/health", "only=", 400},
        {"/api/health", "only=%", 400},
        {"/api/status", "only=c1", 503},
        {"/api/status", "only=c2", 503},
        {"/api/status", "only=", 503},
        {"/api/health/live", "only=c0", 200},
        {"/api/health/live", "only=c2", 200},
        {"/api/health/live", "only=", 200},
        {"/api/health/live", "only=%", 400},
    };
    struct test_site t;
    test_site_init(&t, 2);
    test_site_degrade(&t, "c0", REASON_SCHEMA);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t m = 0; m < sizeof methods / sizeof methods[0]; m++)
            assert_int_equal(ask(&t, methods[m], cases[i].path, cases[i].query).status, cases[i].status);
    struct response r = ask(&t, "GET", "/api/health", "only=c1");
    assert_non_null(strstr(body(&r), "\"counts\":{\"c1\":101},\"failing\":[],\"warnings\":[]}"));
    r = ask(&t, "GET", "/api/health", "only=c0");
    assert_non_null(strstr(
        body(&r),
        "\"counts\":{\"c0\":100},\"failing\":[{\"check\":\"c0\",\"reason\":\"schema\"}],\"warnings\":[]}"));
    r = ask(&t, "GET", "/api/health", "only=process");
    assert_non_null(strstr(body(&r), "\"counts\":{},\"failing\":[],\"warnings\":[]}"));
    test_site_free(&t);
}

static void a_query_without_only_gets_the_same_bytes(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 2);
    struct response plain = ask(&t, "GET", "/api/health", NULL);
    struct response busted = ask(&t, "GET", "/api/health", "t=123&Only=c0");
    assert_ptr_equal(plain.bytes, busted.bytes);
    assert_int_equal(plain.len, busted.len);
    test_site_free(&t);
}

static void strangers_see_the_status_and_nothing_else_if_the_public_view_is_bare(void **state)
{
    (void)state;
    static const char *const strangers[] = {NULL, "", "Operator", "operator ", "operators", "1"};
    static const struct {
        const char *path, *query;
        int status;
        const char *body;
    } cases[] = {
        {"/api/health", "", 503, "{\"status\":\"degraded\"}\n"},
        {"/api/health", "t=1", 503, "{\"status\":\"degraded\"}\n"},
        {"/api/health", "only=database", 200, "{\"status\":\"healthy\"}\n"},
        {"/api/health", "only=process", 200, "{\"status\":\"healthy\"}\n"},
        {"/api/health", "only=c0", 404, NULL},
        {"/api/health", "only=c1", 404, NULL},
        {"/api/health", "only=nothing", 404, NULL},
        {"/api/health", "only=process&only=c1", 404, NULL},
        {"/api/health/live", "", 200, "{\"status\":\"alive\"}\n"},
        {"/api/status", "", 403, NULL},
        {"/api/status", "only=c0", 403, NULL},
        {"/api/metrics", "", 403, NULL},
        {"/api/metrics", "only=c0", 403, NULL},
    };
    struct test_site t;
    test_site_init(&t, 2);
    t.config.public_view = PUBLIC_BARE;
    test_site_degrade(&t, "c0", REASON_SCHEMA);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct request request = {.script_name = cases[i].path, .query = cases[i].query};
        for (size_t s = 0; s < sizeof strangers / sizeof strangers[0]; s++) {
            request.audience = strangers[s];
            request.method = "GET";
            struct response r = test_site_answer(&t, &request);
            assert_int_equal(r.status, cases[i].status);
            if (cases[i].body != NULL)
                assert_string_equal(body(&r), cases[i].body);
            assert_null(strstr(body(&r), "c0"));
            assert_null(strstr(body(&r), "schema"));
            request.method = "HEAD";
            assert_int_equal(test_site_answer(&t, &request).status, cases[i].status);
        }
        request.method = "GET";
        request.audience = "operator";
        t.config.public_view = PUBLIC_FULL;
        struct response full = test_site_answer(
            &t, &(struct request){.method = "GET", .script_name = cases[i].path, .query = cases[i].query});
        char *expected = strndup(full.bytes, full.len);
        t.config.public_view = PUBLIC_BARE;
        struct response r = test_site_answer(&t, &request);
        if (cases[i].status != 403) /* these two routes count requests */
            assert_memory_equal(r.bytes, expected, r.len);
        assert_int_equal(r.status, full.status);
        free(expected);
    }
    struct response exists = ask(&t, "GET", "/api/health", "only=c0");
    char *bytes = strndup(exists.bytes, exists.len);
    struct response does_not = ask(&t, "GET", "/api/health", "only=no");
    assert_int_equal(does_not.len, strlen(bytes));
    assert_memory_equal(does_not.bytes, bytes, does_not.len);
    free(bytes);
    test_site_free(&t);
}

static void a_one_shot_caller_probes_only_if_the_response_depends_on_it(void **state)
{
    (void)state;
    static const struct {
        const char *path, *query;
        bool full, bare;
    } cases[] = {
        {"/api/health", "", true, true},
        {"/api/health", "only=database", true, true},
        {"/api/health", "only=c0", true, false},
        {"/api/health", "only=process", false, false},
        {"/api/health", "only=process&only=c0", true, false},
        {"/api/health", "only=", false, false},
        {"/api/health", "%", false, false},
        {"/api/status", "", true, false},
        {"/api/status", "only=process", true, false},
        {"/api/status", "only=", true, false},
        {"/api/metrics", "", true, false},
        {"/api/metrics", "only=process", true, false},
        {"/api/health/live", "", false, false},
        {"/nothing", "", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct request request = {
            .method = "GET", .script_name = cases[i].path, .query = cases[i].query};
        assert_int_equal(route_needs_snapshot(&request, &(struct config){.public_view = PUBLIC_FULL}),
                         cases[i].full);
        assert_int_equal(route_needs_snapshot(&request, &(struct config){.public_view = PUBLIC_BARE}),
                         cases[i].bare);
    }
}

static void requests_are_counted_by_route_and_code(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 0);
    ask(&t, "GET", "/api/health", NULL);
    ask(&t, "HEAD", "/api/health", NULL);
    ask(&t, "POST", "/api/status", NULL);
    ask(&t, "GET", "/nothing", NULL);
    struct response r = ask(&t, "GET", "/api/status", NULL);
    static const char counts[] =
        "\"requests_total\":{\"/api/health\":{\"200\":2},\"/api/status\":{\"405\":1},"
        "\"other\":{\"404\":1}}";
    assert_non_null(memmem(r.bytes, r.len, counts, strlen(counts)));
    test_site_free(&t);
}

/* A scrape that is being answered is not in its own numbers, but in those of the next one. */
static void a_scrape_is_counted_after_its_own_answer(void **state)
{
    (void)state;
    static const char count[] = "health_api_http_requests_total{route=\"/api/metrics\",code=\"200\"}";
    struct test_site t;
    test_site_init(&t, 0);
    struct response r = ask(&t, "GET", "/api/metrics", NULL);
    assert_null(memmem(r.bytes, r.len, count, strlen(count)));
    r = ask(&t, "GET", "/api/metrics", NULL);
    const char *found = memmem(r.bytes, r.len, count, strlen(count));
    assert_non_null(found);
    assert_int_equal(strncmp(found + strlen(count), " 1\n", 3), 0);
    test_site_free(&t);
}

static void only_a_new_rendering_changes_the_page(void **state)
{
    (void)state;
    struct test_site t;
    test_site_init(&t, 1);
    t.snapshot->checks[0].value = 7;
    struct response r = ask(&t, "GET", "/api/health", NULL);
    assert_non_null(memmem(r.bytes, r.len, "\"c0\":100", 8));
    test_site_render(&t);
    r = ask(&t, "GET", "/api/health", NULL);
    assert_non_null(memmem(r.bytes, r.len, "\"c0\":7}", 7));
    test_site_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_response_has_the_documented_headers),
        cmocka_unit_test(health_and_status_are_503_with_retry_after_when_degraded_but_the_others_are_200),
        cmocka_unit_test(get_head_and_options_agree_on_the_status),
        cmocka_unit_test(content_length_is_the_length_of_the_body),
        cmocka_unit_test(other_methods_are_405_with_allow),
        cmocka_unit_test(the_path_is_path_info_or_script_name_or_both),
        cmocka_unit_test(only_a_broken_query_string_is_400),
        cmocka_unit_test(only_limits_the_health_route_and_no_other),
        cmocka_unit_test(a_query_without_only_gets_the_same_bytes),
        cmocka_unit_test(strangers_see_the_status_and_nothing_else_if_the_public_view_is_bare),
        cmocka_unit_test(a_one_shot_caller_probes_only_if_the_response_depends_on_it),
        cmocka_unit_test(requests_are_counted_by_route_and_code),
        cmocka_unit_test(a_scrape_is_counted_after_its_own_answer),
        cmocka_unit_test(only_a_new_rendering_changes_the_page),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
