/* The values of the watch file: status codes, URLs and unit names. */
#include "tests/unit/unit.h"

#include "watchdog/value.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static void single_codes_ranges_and_lists_are_accepted(void **state)
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

static void a_url_loses_the_slashes_at_its_end(void **state)
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
        const char *path = NULL;
        char *url = value_parse_url(rows[i][0], &path);
        assert_non_null(url);
        assert_string_equal(url, rows[i][1]);
        assert_null(path);
        free(url);
    }
}

static void a_unix_path_gives_a_url_and_a_path(void **state)
{
    (void)state;
    const char *path = NULL;
    char *url = value_parse_url("unix:/run/app.sock", &path);
    assert_string_equal(url, "http://localhost");
    assert_string_equal(path, "/run/app.sock");
    free(url);
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
        const char *path = NULL;
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
        char unit[VALUE_UNIT_SIZE];
        assert_true(value_parse_unit(rows[i][0], unit));
        assert_string_equal(unit, rows[i][1]);
    }
}

static void other_units_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",        "-a", "--no-block", "a/b",  "a b",          "site.socket",
                                        "a.timer", "a*", ".service",   "app@", "app@.service", "x;reboot",
                                        "a\n"};
    char unit[VALUE_UNIT_SIZE];
    char huge[300];
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (value_parse_unit(texts[i], unit))
            fail_msg("'%s' was taken", texts[i]);
    memset(huge, 'a', sizeof huge);
    huge[250] = '\0';
    assert_false(value_parse_unit(huge, unit));
}

static struct sockaddr_in address_of(const char *text)
{
    struct sockaddr_in in;
    const char *unix_path = NULL;
    char *url = value_parse_url(text, &unix_path);
    assert_non_null(url);
    struct address address = value_address_of(url, unix_path);
    memcpy(&in, &address.socket, sizeof in);
    free(url);
    return in;
}

static void a_url_has_an_address_unless_its_host_is_a_name(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        int family, port;
    } rows[] = {
        {"http://127.0.0.1", AF_INET, 80},         {"https://127.0.0.1/a", AF_INET, 443},
        {"http://10.0.0.1:8000/a", AF_INET, 8000}, {"http://localhost:8000", AF_INET, 8000},
        {"http://localhost/", AF_INET, 80},        {"http://[::1]", AF_INET6, 80},
        {"https://[::1]:8443/a", AF_INET6, 8443},  {"http://localhost.example.org", AF_UNSPEC, 0},
        {"http://www.example.org", AF_UNSPEC, 0},  {"http://www.example.org:80", AF_UNSPEC, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sockaddr_in in = address_of(rows[i].url); /* sockaddr_in6 has the port at the same offset */
        if (in.sin_family != rows[i].family || ntohs(in.sin_port) != rows[i].port)
            fail_msg("%s: family %d, port %d", rows[i].url, in.sin_family, ntohs(in.sin_port));
    }
    assert_int_equal(address_of("unix:/run/app.sock").sin_family, AF_UNIX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_codes_ranges_and_lists_are_accepted),
        cmocka_unit_test(other_codes_are_refused),
        cmocka_unit_test(a_url_loses_the_slashes_at_its_end),
        cmocka_unit_test(a_unix_path_gives_a_url_and_a_path),
        cmocka_unit_test(other_urls_are_refused),
        cmocka_unit_test(a_unit_gets_the_suffix_of_a_service),
        cmocka_unit_test(other_units_are_refused),
        cmocka_unit_test(a_url_has_an_address_unless_its_host_is_a_name),
    };
    return cmocka_run_group_tests_name("watch_value", tests, NULL, NULL);
}
