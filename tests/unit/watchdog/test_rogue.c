/* Which unit or owner a process belongs to; and real listeners that this test and its children hold. */
#include "tests/unit/unit.h"

#include "watchdog/evict.h"
#include "watchdog/rogue.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void the_slice_gives_the_control_group_of_a_unit_that_is_down(void **state)
{
    (void)state;
    static const struct {
        const char *control_group, *slice, *init, *home;
    } rows[] = {
        {"", "system.slice", "/init.scope", "/system.slice/site.service"},
        {"", "a-b-c.slice", "/init.scope", "/a.slice/a-b.slice/a-b-c.slice/site.service"},
        {"", "a.b.slice", "/init.scope", "/a.b.slice/site.service"},
        {"", "-.slice", "/init.scope", "/site.service"},
        {"", "", "/init.scope", "/site.service"},
        {"", "system.slice", "/", "/system.slice/site.service"},
        {"", "system.slice", "", "/system.slice/site.service"},
        {"", "system.slice", "/docker/0123/init.scope", "/docker/0123/system.slice/site.service"},
        {"/elsewhere/site.service", "system.slice", "/init.scope", "/elsewhere/site.service"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct unit_status s = {.id = "site.service"};
        struct buf home = {0};
        snprintf(s.control_group, sizeof s.control_group, "%s", rows[i].control_group);
        snprintf(s.slice, sizeof s.slice, "%s", rows[i].slice);
        rogue_home_of(&s, rows[i].init, &home);
        assert_string_equal(home.data, rows[i].home);
        buf_free(&home);
    }
}

/* Only processes of a login session, a slice or the root have no owner. */
static void a_control_group_names_its_owner(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"/system.slice/nginx.service", "nginx.service"},
        {"/system.slice/docker.service/proxy", "docker.service"},
        {"/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main.service"},
        {"/user.slice/user-0.slice/user@0.service/app.slice/x.service", "user@0.service"},
        {"/user.slice/user-0.slice/user@0.service/app.slice/app-terminal.scope", "user@0.service"},
        {"/system.slice/docker-0123.scope", "docker-0123.scope"},
        {"/system.slice/run-r1.scope", "run-r1.scope"},
        {"/docker/0123", "/docker/0123"},
        {"/kubepods.slice/kubepods-pod1.slice/cri-containerd-01.scope", "cri-containerd-01.scope"},
        {"/kubepods/burstable/pod1/0123", "/kubepods/burstable/pod1/0123"},
        {"/user.slice/user-1000.slice/session-1.scope", ""},
        {"/user.slice/user-1000.slice", ""},
        {"/", ""},
        {"", ""},
        {"/.service", "/.service"},
        {"/a.service.d/b", "/a.service.d/b"},
        {"/../x", "/../x"},
        {"/system.slice/_io.service", "io.service"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char owner[64] = "";
        bool found = rogue_owner_of(rows[i][0], owner, sizeof owner);
        assert_int_equal(found, rows[i][1][0] != '\0');
        assert_string_equal(owner, rows[i][1]);
    }
}

static char dir[32];
static struct address listener;
static struct unit_status unit;
static pid_t children[4];

static const char *socket_path(void)
{
    static struct sockaddr_un un;
    memcpy(&un, &listener.socket, sizeof un);
    return un.sun_path;
}

static int begin_test(void **state)
{
    (void)state;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(dir, sizeof dir, "/tmp/health-rogue-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(un.sun_path, sizeof un.sun_path, "%s/s", dir);
    listener = (struct address){.len = sizeof un};
    memcpy(&listener.socket, &un, sizeof un);
    unit = (struct unit_status){.id = "site.service", .control_group = "/system.slice/site.service"};
    memset(children, 0, sizeof children);
    return 0;
}

static int end_test(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        if (children[i] > 0) {
            kill(children[i], SIGKILL);
            waitpid(children[i], NULL, 0);
        }
    }
    unlink(socket_path());
    return rmdir(dir);
}

static int listen_here(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&listener.socket, listener.len), 0);
    return fd;
}

/* The child itself calls listen(2), so that SO_PEERCRED names it. deaf: it ignores SIGTERM. */
static void start_child(size_t i, int fd, bool deaf)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    children[i] = fork();
    assert_true(children[i] >= 0);
    if (children[i] == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (deaf)
            signal(SIGTERM, SIG_IGN);
        if (listen(fd, 8) != 0)
            _exit(1);
        close(ready[0]);
        close(ready[1]);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 0);
    close(ready[0]);
}

static void a_holder_outside_the_unit_is_a_rogue_but_this_process_is_not(void **state)
{
    (void)state;
    struct rogue_list found;
    char text[600];
    int fd = listen_here();
    start_child(0, fd, false);
    rogue_find(&listener, &unit, &found); /* this process holds the listener as well */
    assert_int_equal(found.count, 1);
    assert_false(found.own);
    assert_int_equal(found.items[0].holder.pid, children[0]);
    assert_true(found.items[0].is_holder);
    assert_true(evict_may(&found.items[0]));
    rogue_describe(&found.items[0], text, sizeof text);
    assert_non_null(strstr(text, " since 20"));
    assert_non_null(strstr(text, "(user "));
    close(fd);
}

static void the_unit_s_own_process_is_no_rogue(void **state)
{
    (void)state;
    struct rogue_list found;
    int fd = listen_here();
    start_child(0, fd, false);
    snprintf(unit.control_group, sizeof unit.control_group, "/");
    rogue_find(&listener, &unit, &found);
    assert_int_equal(found.count, 0);
    assert_true(found.own);
    close(fd);
}

static void a_socket_that_was_replaced_at_its_path_does_not_count(void **state)
{
    (void)state;
    struct rogue_list found;
    int old = listen_here();
    start_child(0, old, false);
    close(old);
    unlink(socket_path());
    int new = listen_here();
    start_child(1, new, false);
    close(new);
    rogue_find(&listener, &unit, &found);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.items[0].holder.pid, children[1]);
    unlink(socket_path()); /* now no process can connect there */
    rogue_find(&listener, &unit, &found);
    assert_int_equal(found.count, 0);
    assert_false(found.own || found.hidden);
}

static void a_holder_that_accepts_no_connection_is_found_by_the_name_of_its_socket(void **state)
{
    (void)state;
    struct rogue_list found;
    int clients[64];
    size_t count = 0;
    int fd = listen_here();
    start_child(0, fd, false);
    close(fd);
    while (count < 64) { /* until the backlog is full */
        clients[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        bool full = connect(clients[count], (const struct sockaddr *)&listener.socket, listener.len) != 0;
        count++;
        if (full)
            break;
    }
    assert_in_range(count, 2, 63);
    rogue_find(&listener, &unit, &found);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.items[0].holder.pid, children[0]);
    while (count > 0)
        close(clients[--count]);
}

/* After rename(2) to the path /proc still shows the old name of the socket. */
static void a_holder_whose_socket_has_another_name_is_reported_and_not_evicted(void **state)
{
    (void)state;
    struct rogue_list found;
    struct sockaddr_un other = {.sun_family = AF_UNIX};
    snprintf(other.sun_path, sizeof other.sun_path, "%s/o", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&other, sizeof other), 0);
    start_child(0, fd, false);
    close(fd);
    assert_int_equal(rename(other.sun_path, socket_path()), 0);
    rogue_find(&listener, &unit, &found);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.items[0].holder.pid, children[0]);
    assert_false(evict_may(&found.items[0]));
}

static bool is_gone(pid_t pid)
{
    return waitpid(pid, NULL, WNOHANG) == pid;
}

static void eviction_ends_polite_and_deaf_and_stopped_rogues(void **state)
{
    (void)state;
    struct rogue_list found;
    struct error err;
    int fd = listen_here();
    start_child(0, fd, false);
    start_child(1, fd, true);
    start_child(2, fd, false);
    kill(children[2], SIGSTOP);
    close(fd);
    rogue_find(&listener, &unit, &found);
    assert_int_equal(found.count, 3);
    assert_true(evict_run(&listener, &unit, &found, &err));
    for (size_t i = 0; i < 3; i++) {
        assert_true(is_gone(children[i]));
        children[i] = 0;
    }
}

/* The list is out of date, since another process has got the pid of the rogue. evict_run finds the rogue
 * again. */
static void a_process_with_a_reused_pid_is_never_signalled(void **state)
{
    (void)state;
    struct rogue_list found;
    struct error err;
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* at any port */
    start_child(1, other, false);
    close(other);
    int fd = listen_here();
    start_child(0, fd, false);
    close(fd);
    rogue_find(&listener, &unit, &found);
    assert_int_equal(found.count, 1);
    found.items[0].holder.pid = children[1];
    assert_true(evict_run(&listener, &unit, &found, &err));
    assert_true(is_gone(children[0]));
    assert_false(is_gone(children[1]));
}

static void a_process_that_no_longer_holds_the_listener_is_not_signalled(void **state)
{
    (void)state;
    struct rogue_list found;
    struct error err;
    int fd = listen_here();
    start_child(0, fd, false);
    close(fd);
    rogue_find(&listener, &unit, &found);
    unlink(socket_path());
    assert_true(evict_run(&listener, &unit, &found, &err));
    assert_false(is_gone(children[0]));
}

#define with_listener(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_slice_gives_the_control_group_of_a_unit_that_is_down),
        cmocka_unit_test(a_control_group_names_its_owner),
        with_listener(a_holder_outside_the_unit_is_a_rogue_but_this_process_is_not),
        with_listener(the_unit_s_own_process_is_no_rogue),
        with_listener(a_socket_that_was_replaced_at_its_path_does_not_count),
        with_listener(a_holder_that_accepts_no_connection_is_found_by_the_name_of_its_socket),
        with_listener(a_holder_whose_socket_has_another_name_is_reported_and_not_evicted),
        with_listener(eviction_ends_polite_and_deaf_and_stopped_rogues),
        with_listener(a_process_with_a_reused_pid_is_never_signalled),
        with_listener(a_process_that_no_longer_holds_the_listener_is_not_signalled),
    };
    return cmocka_run_group_tests_name("watch_rogue", tests, NULL, NULL);
}
