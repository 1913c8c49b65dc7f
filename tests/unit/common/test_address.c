/* common/address: addresses as the settings and the watch file write them. */
#include "tests/unit/unit.h"

#include "common/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

static struct address address;

static void expect_refused(const char *text, const char *expected)
{
    const char *said = address_parse(text, &address);
    assert_non_null(said);
    assert_non_null(strstr(said, expected));
    assert_int_equal(address.len, 0);
    assert_int_equal(address.socket.ss_family, AF_UNSPEC);
}

static void a_unix_path_has_at_most_107_bytes(void **state)
{
    (void)state;
    char text[5 + 109];
    memset(text, 'x', sizeof text);
    memcpy(text, "unix:/", 6);
    text[5 + 107] = '\0';
    assert_null(address_parse(text, &address));
    assert_int_equal(address.socket.ss_family, AF_UNIX);
    assert_int_equal(address.len, sizeof(struct sockaddr_un));
    assert_string_equal(((struct sockaddr_un *)&address.socket)->sun_path, text + 5);
    text[5 + 107] = 'x';
    text[5 + 108] = '\0';
    expect_refused(text, "at most 107 bytes");
    expect_refused("unix:relative", "absolute path");
    expect_refused("unix:", "absolute path");
}

static void a_port_needs_a_numeric_address_localhost_or_a_star(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        in_addr_t ip;
        in_port_t port;
        bool is_loopback;
    } rows[] = {
        {"tcp:127.0.0.1:9000", INADDR_LOOPBACK, 9000, true},
        {"tcp:127.255.1.2:1", 0x7fff0102, 1, true},
        {"tcp:localhost:65535", INADDR_LOOPBACK, 65535, true},
        {"tcp:*:1", INADDR_ANY, 1, false},
        {"tcp:0.0.0.0:9000", INADDR_ANY, 9000, false},
        {"tcp:192.168.1.1:9000", 0xc0a80101, 9000, false},
        {"tcp:128.0.0.1:9000", 0x80000001, 9000, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sockaddr_in in;
        assert_null(address_parse(rows[i].text, &address));
        memcpy(&in, &address.socket, sizeof in);
        assert_int_equal(address.len, sizeof in);
        assert_int_equal(in.sin_family, AF_INET);
        assert_int_equal(ntohl(in.sin_addr.s_addr), rows[i].ip);
        assert_int_equal(ntohs(in.sin_port), rows[i].port);
        assert_int_equal(address_is_loopback(&address), rows[i].is_loopback);
    }
}

static void an_ipv6_address_is_in_brackets(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_loopback;
    } rows[] = {
        {"tcp:[::1]:65535", true},
        {"tcp:[::]:65535", false},
        {"tcp:[fe80::1]:65535", false},
        {"tcp:[::ffff:8.8.8.8]:65535", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sockaddr_in6 in6;
        assert_null(address_parse(rows[i].text, &address));
        memcpy(&in6, &address.socket, sizeof in6);
        assert_int_equal(address.len, sizeof in6);
        assert_int_equal(in6.sin6_family, AF_INET6);
        assert_int_equal(ntohs(in6.sin6_port), 65535);
        assert_int_equal(address_is_loopback(&address), rows[i].is_loopback);
        assert_int_equal(IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr), rows[i].is_loopback);
    }
}

static void a_unix_path_is_loopback_and_an_unknown_family_is_not(void **state)
{
    (void)state;
    assert_null(address_parse("unix:/run/a.sock", &address));
    assert_true(address_is_loopback(&address));
    assert_false(address_is_loopback(&(struct address){0}));
}

static void other_texts_get_an_error_with_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *value, *text;
    } cases[] = {
        {"", "unix:/PATH or tcp:ADDR:PORT"},
        {"/run/x.sock", "unix:/PATH or tcp:ADDR:PORT"},
        {"9000", "unix:/PATH or tcp:ADDR:PORT"},
        {"UNIX:/x", "unix:/PATH or tcp:ADDR:PORT"},
        {"tcp:", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:9000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp::9000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:0", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:65536", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:-1", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1: 9000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:9000x", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:99999999999999999999", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.1:9000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:example.org:9000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:::1:9000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:[::1:9000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:[]:9000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:[:9000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:8000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:1.2.3.4:", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:[::1]", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:[::1]9000", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:[*]:80", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:[localhost]:80", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:**:80", "tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:123456", "tcp:ADDR:PORT with a numeric address"},
        {"127.0.0.1:80", "unix:/PATH or tcp:ADDR:PORT"},
        {"unix:a", "absolute path"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_refused(cases[i].value, cases[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unix_path_has_at_most_107_bytes),
        cmocka_unit_test(a_port_needs_a_numeric_address_localhost_or_a_star),
        cmocka_unit_test(an_ipv6_address_is_in_brackets),
        cmocka_unit_test(a_unix_path_is_loopback_and_an_unknown_family_is_not),
        cmocka_unit_test(other_texts_get_an_error_with_what_was_expected),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
