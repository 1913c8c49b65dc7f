/* Shared by the tests of cgi/serve/listen: a directory of their own, a config with a path in it, and an
 * open listener. */
#ifndef TESTS_UNIT_LISTEN_FIXTURE_H
#define TESTS_UNIT_LISTEN_FIXTURE_H

#include "tests/unit/unit.h"

#include "cgi/serve/listen.h"
#include "common/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[32];
static char path[64];
static char setting[80]; /* "unix:" and the path */
static struct config config;
static struct listener listener;
static struct error err;

static inline int begin_test(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/health-listen-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/s.sock", dir);
    snprintf(setting, sizeof setting, "unix:%s", path);
    config = (struct config){.listen = setting, .socket_mode = 0660};
    listener = (struct listener){.fd = -1};
    err.text[0] = '\0';
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    return 0;
}

static inline int end_test(void **state)
{
    (void)state;
    listen_close(&listener);
    unlink(path);
    return rmdir(dir);
}

static inline enum listen_status open_it(void)
{
    return listen_open(&config, &listener, &err);
}

static inline void expect_ok(void)
{
    enum listen_status status = open_it();
    if (status != LISTEN_OK)
        fail_msg("status %d: %s", (int)status, err.text);
}

static inline void expect_refusal(enum listen_status expected, const char *text)
{
    assert_int_equal(open_it(), expected);
    assert_int_equal(listener.fd, -1);
    if (strstr(err.text, text) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, text);
}

static inline struct sockaddr_un unix_address(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return address;
}

static inline int bind_path(int type)
{
    struct sockaddr_un address = unix_address();
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static inline int connect_path(void)
{
    struct sockaddr_un address = unix_address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static inline void expect_listening(int fd)
{
    int listening = 0;
    socklen_t len = sizeof listening;
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len), 0);
    assert_true(listening);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

static inline int be_quiet(void **state)
{
    (void)state;
    log_init(LOG_LEVEL_ERROR);
    return 0;
}

#define test(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

#endif
