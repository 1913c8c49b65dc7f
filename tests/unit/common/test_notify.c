/* common/notify: datagrams to the service manager. */
#include "tests/unit/unit.h"

#include "common/clock.h"
#include "common/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[32];
static char path[64];
static int manager_fd;

static int begin_test(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    snprintf(dir, sizeof dir, "/tmp/health-notify-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/notify", dir);
    manager_fd = -1;
    return 0;
}

static int end_test(void **state)
{
    (void)state;
    (void)notify_init(); /* closes the socket, because NOTIFY_SOCKET is not set */
    if (manager_fd >= 0)
        close(manager_fd);
    unlink(path);
    return rmdir(dir);
}

/* A manager that listens on name; "@..." is an abstract one. */
static void start_manager(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    memcpy(address.sun_path, name, len);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    manager_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(manager_fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                     0);
    setenv("NOTIFY_SOCKET", name, 1);
}

static void expect_message(const char *expected)
{
    char text[256];
    ssize_t n = recv(manager_fd, text, sizeof text - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    assert_string_equal(text, expected);
}

static void expect_no_message(void)
{
    char byte;
    assert_int_equal(recv(manager_fd, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void is_silent_without_a_manager(void **state)
{
    (void)state;
    assert_int_equal(notify_init(), 0);
    assert_true(notify_send("READY=1"));
}

static void sends_one_datagram_to_a_path(void **state)
{
    (void)state;
    start_manager(path);
    (void)notify_init();
    assert_true(notify_send("READY=1\nSTATUS=healthy"));
    expect_message("READY=1\nSTATUS=healthy");
    expect_no_message();
}

static void sends_to_an_abstract_name(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof name, "@health-notify-test/%d", (int)getpid());
    start_manager(name);
    (void)notify_init();
    assert_true(notify_send("WATCHDOG=1"));
    expect_message("WATCHDOG=1");
}

static void removes_the_variables_that_a_child_could_use(void **state)
{
    (void)state;
    start_manager(path);
    setenv("WATCHDOG_USEC", "1000000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    (void)notify_init();
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
}

static void passes_no_descriptor_to_children(void **state)
{
    (void)state;
    start_manager(path);
    int next = dup(manager_fd); /* notify_init gets this number */
    close(next);
    (void)notify_init();
    assert_int_equal(fcntl(next, F_GETFD), FD_CLOEXEC);
}

static void reports_that_the_manager_is_gone(void **state)
{
    (void)state;
    start_manager(path);
    (void)notify_init();
    close(manager_fd);
    manager_fd = -1;
    assert_false(notify_send("WATCHDOG=1"));
}

static void reports_that_there_never_was_a_manager(void **state)
{
    (void)state;
    setenv("NOTIFY_SOCKET", path, 1);
    (void)notify_init();
    assert_false(notify_send("READY=1"));
}

static void finds_a_manager_that_has_restarted(void **state)
{
    (void)state;
    start_manager(path);
    (void)notify_init();
    close(manager_fd);
    unlink(path);
    start_manager(path);
    assert_true(notify_send("WATCHDOG=1"));
    expect_message("WATCHDOG=1");
}

static void does_not_wait_for_a_manager_that_does_not_read(void **state)
{
    (void)state;
    int sent = 0;
    start_manager(path);
    (void)notify_init();
    while (sent < 100000 && notify_send("WATCHDOG=1"))
        sent++;
    assert_in_range(sent, 1, 99999); /* net.unix.max_dgram_qlen */
    expect_message("WATCHDOG=1");
    assert_true(notify_send("STOPPING=1"));
}

static void ignores_addresses_it_cannot_use(void **state)
{
    (void)state;
    char too_long[200];
    memset(too_long, 'x', sizeof too_long);
    too_long[0] = '/';
    too_long[sizeof too_long - 1] = '\0';
    const char *const names[] = {"", "relative", "vsock:2:1234", too_long};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        (void)notify_init();
        assert_true(notify_send("READY=1"));
    }
}

static void reads_the_watchdog_period(void **state)
{
    (void)state;
    char own[16];
    snprintf(own, sizeof own, "%d", (int)getpid());
    const struct {
        const char *usec, *pid;
        int64_t ns;
    } cases[] = {
        {NULL, NULL, 0},
        {"3000000", NULL, 3 * NS_PER_S},
        {"3000000", own, 3 * NS_PER_S},
        {"3000000", "1", 0}, /* set for another process */
        {"3000000", "", 0},
        {"3000000", "x", 0},
        {"0", own, 0},
        {"", own, 0},
        {"-5", own, 0},
        {" 5", own, 0},
        {"5s", own, 0},
        {"1", own, NS_PER_US},
        {"9223372036854775", own, INT64_C(9223372036854775) * NS_PER_US},
        {"9223372036854776", own, 0},
        {"18446744073709551615", own, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
        if (cases[i].usec != NULL)
            setenv("WATCHDOG_USEC", cases[i].usec, 1);
        if (cases[i].pid != NULL)
            setenv("WATCHDOG_PID", cases[i].pid, 1);
        int64_t ns = notify_init();
        if (ns != cases[i].ns)
            fail_msg("case %zu: %" PRId64, i, ns);
    }
}

#define test(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(is_silent_without_a_manager),
        test(sends_one_datagram_to_a_path),
        test(sends_to_an_abstract_name),
        test(removes_the_variables_that_a_child_could_use),
        test(passes_no_descriptor_to_children),
        test(reports_that_the_manager_is_gone),
        test(reports_that_there_never_was_a_manager),
        test(finds_a_manager_that_has_restarted),
        test(does_not_wait_for_a_manager_that_does_not_read),
        test(ignores_addresses_it_cannot_use),
        test(reads_the_watchdog_period),
    };
    alarm(60); /* no test may block */
    return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
