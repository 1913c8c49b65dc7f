/* cgi/serve/listen on a port: it takes loopback only and names the process that holds the port. */
#include "tests/unit/cgi/serve/listen_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

/* A loopback port that was free a moment ago. */
static int free_port(int family)
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t len = family == AF_INET ? sizeof in : sizeof in6;
    memcpy(&address, family == AF_INET ? (void *)&in : (void *)&in6, len);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        close(fd);
        return -1;
    }
    close(fd);
    memcpy(&in, &address, sizeof in); /* sin6_port is at the same place */
    return ntohs(in.sin_port);
}

static int connect_port(int port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((in_port_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    return fd;
}

static int accept_one(void)
{
    struct pollfd readable = {.fd = listener.fd, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 5000), 1);
    int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void use_tcp(const char *host, int port)
{
    snprintf(setting, sizeof setting, "tcp:%s:%d", host, port);
}

static void listens_on_a_loopback_port(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "localhost", "127.0.0.53", "[::1]"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        int port = free_port(hosts[i][0] == '[' ? AF_INET6 : AF_INET);
        if (port < 0)
            continue; /* this machine has no IPv6 */
        use_tcp(hosts[i], port);
        expect_ok();
        expect_listening(listener.fd);
        assert_string_equal(listener.name, setting);
        assert_string_equal(listener.path, "");
        listen_close(&listener);
    }
}

/* Nagle's algorithm would keep the end of a long response until an ACK comes. */
static void accepted_tcp_connections_send_at_once(void **state)
{
    (void)state;
    int no_delay = 0;
    socklen_t len = sizeof no_delay;
    int port = free_port(AF_INET);
    use_tcp("127.0.0.1", port);
    expect_ok();
    int client = connect_port(port);
    int fd = accept_one();
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &len), 0);
    assert_true(no_delay);
    close(fd);
    close(client);
}

static void takes_a_port_that_was_just_in_use(void **state)
{
    (void)state;
    int port = free_port(AF_INET);
    use_tcp("127.0.0.1", port);
    expect_ok();
    int client = connect_port(port);
    close(accept_one()); /* this end enters TIME_WAIT */
    close(client);
    listen_close(&listener);
    expect_ok();
}

static void names_the_process_that_holds_the_port(void **state)
{
    (void)state;
    static const in_addr_t holders[] = {INADDR_LOOPBACK, INADDR_ANY};
    for (size_t i = 0; i < 2; i++) {
        char expected[128];
        int port = free_port(AF_INET);
        struct sockaddr_in in = {
            .sin_family = AF_INET, .sin_addr.s_addr = htonl(holders[i]), .sin_port = htons((in_port_t)port)};
        int holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(holder, (struct sockaddr *)&in, sizeof in), 0);
        assert_int_equal(listen(holder, 5), 0);
        use_tcp("127.0.0.1", port);
        snprintf(expected, sizeof expected, "HEALTH_LISTEN='%s' is held by pid %d (user ", setting,
                 (int)getpid());
        expect_refusal(LISTEN_HELD, expected);
        close(holder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(listens_on_a_loopback_port),
        test(accepted_tcp_connections_send_at_once),
        test(takes_a_port_that_was_just_in_use),
        test(names_the_process_that_holds_the_port),
    };
    alarm(120); /* no test may block for long */
    return cmocka_run_group_tests_name("listen_tcp", tests, be_quiet, NULL);
}
