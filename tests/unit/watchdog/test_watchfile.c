/* What a watch file may contain, its defaults, and errors that name the file and the line. */
#include "tests/unit/unit.h"

#include "common/buf.h"
#include "watchdog/watchfile.h"

#include <stdlib.h>
#include <string.h>

/* Parses a copy without a NUL after it, so that the sanitizer notices a read past the end. */
static bool parse_bytes(const char *text, size_t len, struct watch *out, struct error *err)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    err->text[0] = '\0';
    bool ok = watchfile_parse(copy, len, "w.conf", out, err);
    free(copy);
    return ok;
}

static struct watch parse_good(const char *text)
{
    struct watch watch;
    struct error err;
    if (!parse_bytes(text, strlen(text), &watch, &err))
        fail_msg("%s\nwas refused: %s", text, err.text);
    return watch;
}

static void expect_error(const char *text, const char *expected)
{
    struct watch watch;
    struct error err;
    if (parse_bytes(text, strlen(text), &watch, &err))
        fail_msg("%s\nwas accepted, expected the error: %s", text, expected);
    assert_null(watch.routes);
    assert_null(watch.base_url);
    if (strcmp(err.text, expected) != 0)
        fail_msg("%s\ngave:     %s\nexpected: %s", text, err.text, expected);
}

#define HEAD "base_url http://localhost\n"

static void a_short_file_has_the_defaults(void **state)
{
    (void)state;
    struct watch w = parse_good(HEAD "core /\n");
    assert_string_equal(w.base_url, "http://localhost");
    assert_null(w.unix_path);
    assert_int_equal(w.tries, 3);
    assert_int_equal(w.retry_wait_ms, 1000);
    assert_int_equal(w.connect_timeout_ms, 1000);
    assert_int_equal(w.timeout_ms, 2000);
    assert_int_equal(w.concurrency, 8);
    assert_int_equal(w.budget, 3);
    assert_int_equal(w.start_grace_ms, 20000);
    assert_int_equal(w.cooldown_ms, 60000);
    assert_int_equal(w.restart_wait_ms, 30000);
    assert_false(w.evict_rogue);
    assert_null(w.unit);
    assert_null(w.listener);
    assert_null(w.state_file);
    assert_null(w.host);
    assert_true(strncmp(w.user_agent, "health-watch/", 13) == 0);
    assert_int_equal(w.route_count, 1);
    assert_string_equal(w.routes[0].path, "/");
    assert_int_equal(w.routes[0].timeout_ms, 2000);
    assert_true(value_codes_contain(&w.routes[0].codes, 204));
    assert_false(value_codes_contain(&w.routes[0].codes, 302));
    assert_true(w.routes[0].liveness);
    watchfile_free(&w);
}

static void each_key_and_option_is_read(void **state)
{
    (void)state;
    struct watch w =
        parse_good("# a comment\n"
                   "core /a  codes 200,302 timeout 5s json db.state=up liveness # why\n"
                   "\taux\t/b?x=1 follow\r\n"
                   "core /c\n"
                   "base_url unix:/run/x.sock\n"
                   "host example.org\n"
                   "user_agent my watch/1 (mail@example.org)\n"
                   "ca_file /etc/ca.pem\n"
                   "unit site\n"
                   "listener tcp:127.0.0.1:8000\n"
                   "state_file /tmp/s\n"
                   "codes 200-399\n"
                   "tries 2\nretry_wait 0s\nconnect_timeout 300ms\ntimeout 700ms\nconcurrency 4\n"
                   "budget 0\nstart_grace 1s\ncooldown 2s\nrestart_wait 10s\nevict_rogue yes");
    assert_string_equal(w.unix_path, "/run/x.sock");
    assert_string_equal(w.host, "example.org");
    assert_string_equal(w.user_agent, "my watch/1 (mail@example.org)");
    assert_string_equal(w.ca_file, "/etc/ca.pem");
    assert_string_equal(w.unit, "site.service");
    assert_string_equal(w.state_file, "/tmp/s");
    assert_int_equal(w.socket.socket.ss_family, AF_INET);
    assert_int_equal(w.tries, 2);
    assert_int_equal(w.budget, 0);
    assert_int_equal(w.restart_wait_ms, 10000);
    assert_true(w.evict_rogue);
    assert_int_equal(w.route_count, 3);
    assert_int_equal(w.routes[0].timeout_ms, 5000);
    assert_string_equal(w.routes[0].json_key, "db.state");
    assert_string_equal(w.routes[0].json_value, "up");
    assert_false(value_codes_contain(&w.routes[0].codes, 204));
    assert_int_equal(w.routes[0].line, 2);
    assert_string_equal(w.routes[1].path, "/b?x=1");
    assert_int_equal(w.routes[1].class, WATCH_AUX);
    assert_true(w.routes[1].follow);
    assert_int_equal(w.routes[1].timeout_ms, 700);
    assert_true(value_codes_contain(&w.routes[1].codes, 302));
    watchfile_free(&w);
}

static void without_a_liveness_route_all_core_routes_are_liveness_routes(void **state)
{
    (void)state;
    struct watch w = parse_good(HEAD "core /a\ncore /b liveness\naux /c\n");
    assert_false(w.routes[0].liveness);
    assert_true(w.routes[1].liveness);
    assert_false(w.routes[2].liveness);
    watchfile_free(&w);
    w = parse_good(HEAD "core /a\ncore /b\naux /c\n");
    assert_true(w.routes[0].liveness && w.routes[1].liveness);
    assert_false(w.routes[2].liveness);
    watchfile_free(&w);
}

static void a_bad_line_is_an_error_with_its_number(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "w.conf:1: no base_url, expected one"},
        {"core /\n", "w.conf:2: no base_url, expected one"},
        {HEAD, "w.conf:2: no core route, expected at least one"},
        {HEAD "aux /\n", "w.conf:3: no core route, expected at least one"},
        {HEAD "core\n", "w.conf:2: path '': expected one that begins with / and has no #"},
        {HEAD "core a\n", "w.conf:2: path 'a': expected one that begins with / and has no #"},
        {HEAD "core /a#b\n", "w.conf:2: path '/a#b': expected one that begins with / and has no #"},
        {HEAD "core /\ncore /\n", "w.conf:3: path '/' is already in line 2"},
        {HEAD "core / fast\n", "w.conf:2: option 'fast': expected codes, timeout, json, liveness or follow"},
        {HEAD "core / codes\n",
         "w.conf:2: codes '': expected status codes such as 200, 200-399 or 200,302,503"},
        {HEAD "core / codes 200 codes 200\n", "w.conf:2: codes '200': expected once"},
        {HEAD "core / timeout 1\n",
         "w.conf:2: timeout '1': expected a duration with its unit (800ms, 2s, 1m, 1h) from 10ms to 5m"},
        {HEAD "core / timeout 6m\n",
         "w.conf:2: timeout '6m': expected a duration with its unit (800ms, 2s, 1m, 1h) from 10ms to 5m"},
        {HEAD "core / timeout 1s codes 200 timeout 1s\n", "w.conf:2: timeout '1s': expected once"},
        {HEAD "codes 2xx\n",
         "w.conf:2: codes '2xx': expected status codes such as 200, 200-399 or 200,302,503"},
        {HEAD "core / json status\n",
         "w.conf:2: json 'status': expected KEY=VALUE such as status=healthy, once"},
        {HEAD "core / json a=b json c=d\n",
         "w.conf:2: json 'c=d': expected KEY=VALUE such as status=healthy, once"},
        {HEAD "aux / liveness\n", "w.conf:2: '/' is aux: expected liveness at core routes only"},
        {HEAD "\n\ntrys 3\n",
         "w.conf:4: key 'trys': expected core, aux or one of the keys that --help lists"},
        {HEAD "tries\n", "w.conf:2: tries: expected a value"},
        {HEAD "user_agent # none\n", "w.conf:2: user_agent: expected a value"},
        {HEAD "tries 3 4\n", "w.conf:2: tries: expected one value"},
        {HEAD "tries 0\n", "w.conf:2: tries '0': expected a number from 1 to 10"},
        {HEAD "tries 3\ntries 3\n", "w.conf:3: tries is already set in line 2"},
        {HEAD "timeout 2\n",
         "w.conf:2: timeout '2': expected a duration with its unit (800ms, 2s, 1m, 1h) from 10ms to 5m"},
        {HEAD "evict_rogue maybe\n", "w.conf:2: evict_rogue 'maybe': expected no or yes"},
        {HEAD "ca_file ca.pem\n", "w.conf:2: ca_file 'ca.pem': expected an absolute path"},
        {HEAD "unit a.socket\n", "w.conf:2: unit 'a.socket': expected the name of a .service unit"},
        {HEAD "listener tcp:80\n",
         "w.conf:2: listener 'tcp:80': expected unix:/PATH or tcp:ADDRESS:PORT with a numeric "
         "address ([::1] for IPv6, * for any)"},
        {HEAD "listener tcp:*:80\ncore /\n",
         "w.conf:4: a listener without a unit, expected the unit that it must belong to"},
        {"base_url ftp://x\n",
         "w.conf:1: base_url 'ftp://x': expected http://HOST[:PORT][/PREFIX], https://HOST..., or "
         "unix:/PATH, without user, ? and #"},
        {"core /\xc3\xa4\n", "w.conf:1: byte 0xc3, expected printable ASCII outside comments"},
        {"core /\x1b[31m\n", "w.conf:1: byte 0x1b, expected printable ASCII outside comments"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_error(rows[i][0], rows[i][1]);
}

static void bytes_that_are_not_text_are_refused(void **state)
{
    (void)state;
    struct watch watch;
    struct error err;
    assert_false(parse_bytes("core /\0\n", 8, &watch, &err));
    assert_false(parse_bytes("\xff\xfe", 2, &watch, &err));
    assert_false(watchfile_parse("x", 1,
                                 "a\x1b"
                                 "b",
                                 &watch, &err));
    assert_null(strchr(err.text, '\x1b'));
}

static void a_comment_may_contain_any_text_and_a_value_a_hash(void **state)
{
    (void)state;
    struct watch w = parse_good(HEAD "core / # \xc3\xa4\nuser_agent a#b # c\n#x");
    assert_string_equal(w.user_agent, "a#b");
    watchfile_free(&w);
}

static void more_routes_than_allowed_are_refused(void **state)
{
    (void)state;
    struct buf text = {0};
    struct watch watch;
    struct error err;
    buf_append_str(&text, HEAD);
    for (int i = 0; i < WATCHFILE_MAX_ROUTES; i++)
        buf_appendf(&text, "core /%d\n", i);
    assert_true(parse_bytes(text.data, text.len, &watch, &err));
    assert_int_equal(watch.route_count, WATCHFILE_MAX_ROUTES);
    watchfile_free(&watch);
    buf_append_str(&text, "aux /more\n");
    assert_false(parse_bytes(text.data, text.len, &watch, &err));
    assert_non_null(strstr(err.text, "at most 256 routes"));
    buf_free(&text);
}

static void the_shipped_files_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        size_t routes;
    } rows[] = {{"watchdog/watch.conf", 2}, {"watchdog/watch.conf.example", 21}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf text = {0};
        struct error err;
        struct watch w;
        if (!buf_read_file(&text, rows[i].path, WATCHFILE_MAX_BYTES, &err))
            skip(); /* the working directory is not the root of the repository */
        if (!watchfile_parse(text.data, text.len, rows[i].path, &w, &err))
            fail_msg("%s", err.text);
        assert_int_equal(w.route_count, rows[i].routes);
        watchfile_free(&w);
        buf_free(&text);
    }
}

static void base_url_is_the_listener_or_a_proxy_in_front_of_it(void **state)
{
    (void)state;
    static const struct {
        const char *base_url, *listener;
        bool is_direct;
    } rows[] = {
        {"http://127.0.0.1:8000", "tcp:127.0.0.1:8000", true},
        {"http://127.0.0.1:8000/app", "tcp:127.0.0.1:8000", true},
        {"http://localhost:8000", "tcp:127.0.0.1:8000", true},
        {"http://localhost", "tcp:127.0.0.1:80", true},
        {"https://127.0.0.1", "tcp:127.0.0.1:443", true},
        {"http://127.0.0.1:8000", "tcp:*:8000", true},
        {"http://[::1]:8000", "tcp:[::]:8000", true},
        {"http://[::1]:8000", "tcp:[::1]:8000", true},
        {"http://[::1]", "tcp:[::1]:80", true},
        {"unix:/run/a.sock", "unix:/run/a.sock", true},
        {"http://127.0.0.1", "tcp:127.0.0.1:8000", false},
        {"http://127.0.0.2:8000", "tcp:127.0.0.1:8000", false},
        {"http://10.0.0.1:8000", "tcp:*:8000", false},
        {"http://10.0.0.1:8000", "tcp:10.0.0.1:8000", true},
        {"http://127.0.0.1:8000", "tcp:[::]:8000", false},
        {"http://www.example.org:8000", "tcp:127.0.0.1:8000", false},
        {"http://localhost.example.org:8000", "tcp:127.0.0.1:8000", false},
        {"http://127.0.0.1:80", "unix:/run/a.sock", false},
        {"unix:/run/b.sock", "unix:/run/a.sock", false},
        {"unix:/run/a.sock", "tcp:127.0.0.1:80", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf text = {0};
        buf_appendf(&text, "base_url %s\nunit a\nlistener %s\ncore /\n", rows[i].base_url, rows[i].listener);
        struct watch w = parse_good(text.data);
        if (watchfile_is_direct(&w) != rows[i].is_direct)
            fail_msg("%s and %s: not %d", rows[i].base_url, rows[i].listener, rows[i].is_direct);
        watchfile_free(&w);
        buf_free(&text);
    }
    struct watch w = parse_good("base_url http://127.0.0.1:8000\nunit a\ncore /\n");
    assert_false(watchfile_is_direct(&w));
    assert_int_not_equal(w.base.len, 0);
    watchfile_free(&w);
    w = parse_good("base_url http://www.example.org\nunit a\ncore /\n");
    assert_int_equal(w.base.len, 0);
    watchfile_free(&w);
}

static void the_listener_protocol_is_fastcgi_or_http(void **state)
{
    (void)state;
    struct watch w = parse_good(HEAD "unit a\nlistener unix:/a\nlistener_protocol fastcgi\ncore /\n");
    assert_int_equal(w.protocol, WATCH_FASTCGI);
    watchfile_free(&w);
    w = parse_good(HEAD "unit a\nlistener unix:/a\nlistener_protocol http\ncore /\n");
    assert_int_equal(w.protocol, WATCH_HTTP);
    watchfile_free(&w);
    w = parse_good(HEAD "unit a\nlistener unix:/a\ncore /\n");
    assert_int_equal(w.protocol, WATCH_NOT_ASKED);
    watchfile_free(&w);
    expect_error(HEAD "unit a\nlistener unix:/a\nlistener_protocol smtp\ncore /\n",
                 "w.conf:4: listener_protocol 'smtp': expected fastcgi or http");
    expect_error(HEAD "unit a\nlistener_protocol http\ncore /\n",
                 "w.conf:5: a listener_protocol without a listener, expected the listener that speaks it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_url_is_the_listener_or_a_proxy_in_front_of_it),
        cmocka_unit_test(the_listener_protocol_is_fastcgi_or_http),
        cmocka_unit_test(a_short_file_has_the_defaults),
        cmocka_unit_test(each_key_and_option_is_read),
        cmocka_unit_test(without_a_liveness_route_all_core_routes_are_liveness_routes),
        cmocka_unit_test(a_bad_line_is_an_error_with_its_number),
        cmocka_unit_test(bytes_that_are_not_text_are_refused),
        cmocka_unit_test(a_comment_may_contain_any_text_and_a_value_a_hash),
        cmocka_unit_test(more_routes_than_allowed_are_refused),
        cmocka_unit_test(the_shipped_files_are_read),
    };
    return cmocka_run_group_tests_name("watch_file", tests, NULL, NULL);
}
