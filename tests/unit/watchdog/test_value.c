/* Words of the watch file: codes, URLs, unit names, listeners. */
#include "tests/unit/unit.h"

#include "watchdog/value.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static void codes_are_single_ones_ranges_and_lists(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int inside, outside;
    } rows[] = {
        {"200", 200, 201},         {"200-399", 302, 400},
        {"200,302,503", 503, 301}, {"100-199,500-599", 599, 200},
        {"204-204", 204, 205},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct value_codes codes;
        assert_true(value_parse_codes(rows[i].text, &codes));
        assert_true(value_codes_contain(&codes, rows[i].inside));
        assert_false(value_codes_contain(&codes, rows[i].outside));
    }
}

static void other_codes_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "99",
                                        "600",
                                        "2xx",
                                        "200-",
                                        "-200",
                                        "399-200",
                                        "200,",
                                        ",200",
                                        "200;",
                                        "200 300",
                                        "200--300",
                                        "200-300-400",
                                        "1,2,3",
                                        "99999999999999999999",
                                        "200,201,202,203,204,205,206,207,208"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct value_codes codes;
        if (value_parse_codes(texts[i], &codes))
            fail_msg("'%s' was taken", texts[i]);
    }
}

static void urls_lose_their_last_slash(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"http://127.0.0.1", "http://127.0.0.1"},
        {"http://127.0.0.1/", "http://127.0.0.1"},
        {"https://www.example.org:8443", "https://www.example.org:8443"},
        {"http://[::1]:80/app/", "http://[::1]:80/app"},
        {"http://localhost//", "http://localhost"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *path = NULL;
        char *url = value_parse_url(rows[i][0], &path);
        assert_non_null(url);
        assert_string_equal(url, rows[i][1]);
        assert_null(path);
        free(url);
    }
}

static void a_unix_path_gives_both_url_and_path(void **state)
{
    (void)state;
    char *path = NULL;
    char *url = value_parse_url("unix:/run/app.sock", &path);
    assert_string_equal(url, "http://localhost");
    assert_string_equal(path, "/run/app.sock");
    free(url);
    free(path);
}

static void other_urls_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "127.0.0.1",
        "ftp://a",
        "http://",
        "http:///x",
        "http://a:0",
        "http://a:",
        "http://a:70000",
        "http://u:p@host",
        "http://a/?q=1",
        "http://a/#f",
        "unix:relative",
        "unix:",
        "http://[::1",
        "http://a b",
        "http://a:80x",
        "http://[]x",
        "HTTP://a",
        "http://a:8a0",
        "https://",
        "unix:/"
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
        "0123456789",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *path = NULL;
        char *url = value_parse_url(texts[i], &path);
        if (url != NULL || path != NULL)
            fail_msg("'%s' was taken", texts[i]);
    }
}

static void a_unit_gets_the_suffix_of_a_service(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"site", "site.service"},
        {"site.service", "site.service"},
        {"gunicorn@a.service", "gunicorn@a.service"},
        {"my.app", "my.app.service"},
        {"dev-\\x2d", "dev-\\x2d.service"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char unit[256];
        assert_true(value_parse_unit(rows[i][0], unit, sizeof unit));
        assert_string_equal(unit, rows[i][1]);
    }
}

static void other_units_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",        "-a", "--no-block", "a/b",  "a b",          "site.socket",
                                        "a.timer", "a*", ".service",   "app@", "app@.service", "x;reboot",
                                        "a\n"};
    char unit[256];
    char huge[300];
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (value_parse_unit(texts[i], unit, sizeof unit))
            fail_msg("'%s' was taken", texts[i]);
    memset(huge, 'a', sizeof huge);
    huge[250] = '\0';
    assert_false(value_parse_unit(huge, unit, sizeof unit));
}

static void listeners_are_unix_paths_and_numeric_addresses(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
    socklen_t len;
    assert_true(value_parse_listener("tcp:127.0.0.1:8000", &address, &len));
    memcpy(&in, &address, sizeof in);
    assert_int_equal(in.sin_family, AF_INET);
    assert_int_equal(in.sin_port, htons(8000));
    assert_int_equal(in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_true(value_parse_listener("tcp:*:1", &address, &len));
    memcpy(&in, &address, sizeof in);
    assert_int_equal(in.sin_addr.s_addr, 0);
    assert_true(value_parse_listener("tcp:[::1]:65535", &address, &len));
    memcpy(&in6, &address, sizeof in6);
    assert_int_equal(in6.sin6_family, AF_INET6);
    assert_memory_equal(&in6.sin6_addr, &in6addr_loopback, sizeof in6addr_loopback);
    assert_true(value_parse_listener("unix:/run/a.sock", &address, &len));
    memcpy(&un, &address, sizeof un);
    assert_string_equal(un.sun_path, "/run/a.sock");
}

static void other_listeners_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "tcp:",
                                        "tcp:8000",
                                        "tcp:localhost:80",
                                        "tcp:127.0.0.1:0",
                                        "tcp:1.2.3.4:",
                                        "tcp:::1:80",
                                        "tcp:[::1]",
                                        "unix:",
                                        "unix:a",
                                        "127.0.0.1:80",
                                        "tcp:[::1:80",
                                        "tcp:127.0.0.1:123456",
                                        "tcp:[]:80"};
    struct sockaddr_storage address;
    socklen_t len;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (value_parse_listener(texts[i], &address, &len))
            fail_msg("'%s' was taken", texts[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_single_ones_ranges_and_lists),
        cmocka_unit_test(other_codes_are_refused),
        cmocka_unit_test(urls_lose_their_last_slash),
        cmocka_unit_test(a_unix_path_gives_both_url_and_path),
        cmocka_unit_test(other_urls_are_refused),
        cmocka_unit_test(a_unit_gets_the_suffix_of_a_service),
        cmocka_unit_test(other_units_are_refused),
        cmocka_unit_test(listeners_are_unix_paths_and_numeric_addresses),
        cmocka_unit_test(other_listeners_are_refused),
    };
    return cmocka_run_group_tests_name("watch_value", tests, NULL, NULL);
}
