/* cgi/address: what HEALTH_LISTEN may name. */
#include "tests/unit/unit.h"

#include "common/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

static struct sockaddr_storage address;
static socklen_t len;

static void expect_refused(const char *text, const char *expected)
{
    const char *said = address_parse(text, &address, &len);
    assert_non_null(said);
    assert_non_null(strstr(said, expected));
}

static void a_unix_path_may_fill_the_socket_address_and_no_more(void **state)
{
    (void)state;
    char text[5 + 109];
    memset(text, 'x', sizeof text);
    memcpy(text, "unix:/", 6);
    text[5 + 107] = '\0';
    assert_null(address_parse(text, &address, &len));
    assert_int_equal(address.ss_family, AF_UNIX);
    assert_int_equal(len, sizeof(struct sockaddr_un));
    assert_string_equal(((struct sockaddr_un *)&address)->sun_path, text + 5);
    text[5 + 107] = 'x';
    text[5 + 108] = '\0';
    expect_refused(text, "at most 107 bytes");
    expect_refused("unix:relative", "absolute path");
    expect_refused("unix:", "absolute path");
}

static void a_port_of_this_machine_alone_is_taken(void **state)
{
    (void)state;
    static const char *const good[] = {"tcp:127.0.0.1:9000", "tcp:127.255.1.2:1", "tcp:localhost:65535"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_null(address_parse(good[i], &address, &len));
        assert_int_equal(address.ss_family, AF_INET);
        assert_int_equal(len, sizeof(struct sockaddr_in));
    }
    assert_null(address_parse("tcp:[::1]:9000", &address, &len));
    assert_int_equal(address.ss_family, AF_INET6);
    assert_int_equal(ntohs(((struct sockaddr_in6 *)&address)->sin6_port), 9000);
}

static void anything_else_is_told_what_was_expected(void **state)
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
        {"tcp:0.0.0.0:9000", "a loopback address (127.0.0.0/8, [::1]): FastCGI has no authentication"},
        {"tcp:192.168.1.1:9000", "a loopback address"},
        {"tcp:128.0.0.1:9000", "a loopback address"},
        {"tcp:[::]:9000", "a loopback address"},
        {"tcp:[fe80::1]:9000", "a loopback address"},
        {"tcp:[::ffff:8.8.8.8]:9000", "a loopback address"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_refused(cases[i].value, cases[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unix_path_may_fill_the_socket_address_and_no_more),
        cmocka_unit_test(a_port_of_this_machine_alone_is_taken),
        cmocka_unit_test(anything_else_is_told_what_was_expected),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
