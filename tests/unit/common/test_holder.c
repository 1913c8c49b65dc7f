/* common/holder: the processes that hold a listening socket. The holders are children of this test. */
#include "tests/unit/unit.h"

#include "common/clock.h"
#include "common/holder.h"
#include "common/listening.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ONLY_WAIT "TEST_HOLDER_ONLY_WAIT"

static char dir[32];
static struct sockaddr_un unix_address;
static pid_t child;

static int begin_test(void **state)
{
    (void)state;
    child = -1;
    snprintf(dir, sizeof dir, "/tmp/health-holder-XXXXXX");
    unix_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(unix_address.sun_path, sizeof unix_address.sun_path, "%s/socket", dir);
    return 0;
}

static int end_test(void **state)
{
    (void)state;
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    unlink(unix_address.sun_path);
    return rmdir(dir);
}

static const struct sockaddr *unix_sockaddr(void)
{
    return (const struct sockaddr *)&unix_address;
}

static int listen_on(const struct sockaddr *address, socklen_t len)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, address, len), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

/* Starts a child with fd and this command line: this program again, which then only waits. Closes fd
 * here. */
static void give_to_child(int fd, char *const *argv)
{
    int started[2];
    char byte;
    assert_int_equal(pipe2(started, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char *const env[] = {(char[]){ONLY_WAIT "=1"}, NULL};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fcntl(fd, F_SETFD, 0);
        execve("/proc/self/exe", argv, env);
        _exit(1);
    }
    close(started[1]);
    close(fd);
    assert_int_equal(read(started[0], &byte, 1), 0); /* execve(2) closes it */
    close(started[0]);
}

static void names_the_peer_of_a_connection(void **state)
{
    (void)state;
    struct holder holder;
    int listener = listen_on(unix_sockaddr(), sizeof unix_address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, unix_sockaddr(), sizeof unix_address), 0);
    assert_true(holder_of_peer(fd, &holder));
    assert_int_equal(holder.pid, getpid());
    assert_int_equal(holder.uid, getuid());
    size_t len = strnlen(program_invocation_name, sizeof holder.command_line - 1);
    assert_memory_equal(holder.command_line, program_invocation_name, len);
    close(fd);
    close(listener);
}

static void says_whether_a_process_listens_at_a_path(void **state)
{
    (void)state;
    struct holder holder;
    struct sockaddr_un elsewhere = {.sun_family = AF_UNIX, .sun_path = "/dev/null/s"};
    assert_int_equal(holder_reach(unix_sockaddr(), sizeof unix_address, &holder), HOLDER_NOBODY);
    int listener = listen_on(unix_sockaddr(), sizeof unix_address);
    assert_int_equal(holder_reach(unix_sockaddr(), sizeof unix_address, &holder), HOLDER_NAMED);
    assert_int_equal(holder.pid, getpid());
    close(listener);
    assert_int_equal(holder_reach(unix_sockaddr(), sizeof unix_address, &holder), HOLDER_NOBODY);
    assert_int_equal(holder_reach((struct sockaddr *)&elsewhere, sizeof elsewhere, &holder), HOLDER_NOBODY);
}

static void names_no_process_for_a_full_queue_or_another_socket_type(void **state)
{
    (void)state;
    struct holder holder;
    int waiting[16];
    size_t count = 0;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, unix_sockaddr(), sizeof unix_address), 0);
    assert_int_equal(listen(listener, 0), 0);
    do {
        waiting[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    } while (connect(waiting[count++], unix_sockaddr(), sizeof unix_address) == 0 && count < 16);
    assert_int_equal(holder_reach(unix_sockaddr(), sizeof unix_address, &holder), HOLDER_UNNAMED);
    while (count > 0)
        close(waiting[--count]);
    close(listener);
    unlink(unix_address.sun_path);
    int datagrams = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(datagrams, unix_sockaddr(), sizeof unix_address), 0);
    assert_int_equal(holder_reach(unix_sockaddr(), sizeof unix_address, &holder), HOLDER_UNREACHED);
    assert_int_equal(errno, EPROTOTYPE);
    close(datagrams);
}

static void finds_no_peer_without_a_connection(void **state)
{
    (void)state;
    struct holder holder;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_false(holder_of_peer(fd, &holder));
    close(fd);
    assert_false(holder_of_peer(-1, &holder));
}

static void names_the_process_that_listens_on_a_path(void **state)
{
    (void)state;
    struct holder holder;
    char *const argv[] = {(char[]){"python3"}, (char[]){"rogue.py"}, NULL};
    give_to_child(listen_on(unix_sockaddr(), sizeof unix_address), argv);
    assert_true(holder_of_address(unix_sockaddr(), sizeof unix_address, &holder));
    assert_int_equal(holder.pid, child);
    assert_string_equal(holder.command_line, "python3 rogue.py");
}

/* The caller of listen(2), which SO_PEERCRED names, is gone. A child of it goes on with the socket. */
static void names_the_child_that_has_the_socket_now(void **state)
{
    (void)state;
    struct holder holder;
    int heirs[2];
    assert_int_equal(pipe2(heirs, O_CLOEXEC), 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        bool ok = bind(fd, unix_sockaddr(), sizeof unix_address) == 0 && listen(fd, 5) == 0;
        pid_t heir = ok ? fork() : -1;
        if (heir == 0) {
            pause();
            _exit(0);
        }
        _exit(write(heirs[1], &heir, sizeof heir) == (ssize_t)sizeof heir ? 0 : 1);
    }
    assert_int_equal(read(heirs[0], &child, sizeof child), sizeof child);
    assert_true(child > 0);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    close(heirs[0]);
    close(heirs[1]);

    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, unix_sockaddr(), sizeof unix_address), 0);
    assert_false(holder_of_peer(fd, &holder));
    assert_true(holder_of_address(unix_sockaddr(), sizeof unix_address, &holder));
    assert_int_equal(holder.pid, child);
    close(fd);
}

static void finds_no_process_on_a_stale_or_free_path(void **state)
{
    (void)state;
    struct holder holder;
    assert_false(holder_of_address(unix_sockaddr(), sizeof unix_address, &holder));
    close(listen_on(unix_sockaddr(), sizeof unix_address));
    assert_false(holder_of_address(unix_sockaddr(), sizeof unix_address, &holder));
}

static void a_socket_that_does_not_listen_is_not_held(void **state)
{
    (void)state;
    struct holder holder;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, unix_sockaddr(), sizeof unix_address), 0);
    assert_false(holder_of_address(unix_sockaddr(), sizeof unix_address, &holder));
    close(fd);
}

/* Makes a TCP address for bind(2): an IPv6 address if it has a colon. */
static socklen_t make_address(const char *text, in_port_t port, struct sockaddr_storage *out)
{
    *out = (struct sockaddr_storage){0};
    if (strchr(text, ':') != NULL) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = port};
        assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
        memcpy(out, &in6, sizeof in6);
        return sizeof in6;
    }
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = port};
    assert_int_equal(inet_pton(AF_INET, text, &in.sin_addr), 1);
    memcpy(out, &in, sizeof in);
    return sizeof in;
}

static in_port_t port_of(int fd)
{
    struct sockaddr_storage address;
    struct sockaddr_in in;
    socklen_t len = sizeof address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    memcpy(&in, &address, sizeof in); /* sin6_port is at the same place */
    return in.sin_port;
}

static bool has_ipv6(void)
{
    struct sockaddr_storage address;
    socklen_t len = make_address("::1", 0, &address);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static void names_the_process_that_listens_on_a_port(void **state)
{
    (void)state;
    static const struct {
        const char *held, *asked;
        bool found;
    } cases[] = {
        {"127.0.0.1", "127.0.0.1", true},
        {"0.0.0.0", "127.0.0.1", true},
        {"127.0.0.2", "127.0.0.1", false},
        {"::1", "::1", true},
        {"::", "::1", true},
        {"::", "127.0.0.1", true},
        {"::ffff:127.0.0.1", "127.0.0.1", true},
        {"::1", "127.0.0.1", false},
        {"127.0.0.1", "::1", false},
    };
    bool ipv6 = has_ipv6();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sockaddr_storage address;
        struct holder holder;
        if (!ipv6 && (strchr(cases[i].held, ':') != NULL || strchr(cases[i].asked, ':') != NULL))
            continue;
        socklen_t len = make_address(cases[i].held, 0, &address);
        int fd = listen_on((struct sockaddr *)&address, len);
        len = make_address(cases[i].asked, port_of(fd), &address);
        bool found = holder_of_address((struct sockaddr *)&address, len, &holder);
        close(fd);
        if (found != cases[i].found || (found && holder.pid != getpid()))
            fail_msg("%s is held, %s is asked for: found %d", cases[i].held, cases[i].asked, found);
    }
}

static void a_connection_from_a_port_does_not_hold_it(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    struct holder holder;
    socklen_t len = make_address("127.0.0.1", 0, &address);
    int listener = listen_on((struct sockaddr *)&address, len);
    len = make_address("127.0.0.1", port_of(listener), &address);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, len), 0);
    int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    assert_false(holder_of_address((struct sockaddr *)&address, len, &holder));
    close(accepted);
    close(client);
}

static void makes_control_characters_of_a_command_line_harmless(void **state)
{
    (void)state;
    struct holder holder;
    char *const argv[] = {(char[]){"\x1b[31mred\nname=x\x7f\xc3\xa4\xff"}, (char[]){"60"}, NULL};
    give_to_child(listen_on(unix_sockaddr(), sizeof unix_address), argv);
    assert_true(holder_of_address(unix_sockaddr(), sizeof unix_address, &holder));
    assert_string_equal(holder.command_line, "?[31mred?name=x?\xc3\xa4? 60");
}

static void cuts_a_long_command_line(void **state)
{
    (void)state;
    struct holder holder;
    char name[5000];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    char *const argv[] = {name, NULL};
    give_to_child(listen_on(unix_sockaddr(), sizeof unix_address), argv);
    assert_true(holder_of_address(unix_sockaddr(), sizeof unix_address, &holder));
    assert_int_equal(strlen(holder.command_line), sizeof holder.command_line - 1);
}

static void cuts_no_character_in_half(void **state)
{
    (void)state;
    struct holder holder;
    char name[401] = "";
    for (size_t i = 0; i < 400; i += 2)
        memcpy(name + i, "\xc3\xa4", 3);
    char *const argv[] = {name, NULL};
    give_to_child(listen_on(unix_sockaddr(), sizeof unix_address), argv);
    assert_true(holder_of_address(unix_sockaddr(), sizeof unix_address, &holder));
    assert_memory_equal(holder.command_line, name, 254);
    assert_string_equal(holder.command_line + 254, "?");
}

static void a_process_without_command_line_is_named_by_its_program(void **state)
{
    (void)state;
    struct holder holder;
    char *const argv[] = {(char[]){""}, NULL};
    give_to_child(listen_on(unix_sockaddr(), sizeof unix_address), argv);
    assert_true(holder_of_address(unix_sockaddr(), sizeof unix_address, &holder));
    assert_string_equal(holder.command_line, "[exe]"); /* "/proc/self/exe": the test started it so */
}

/* Its files in /proc belong to root (proc(5)), because it has not called execve(2) since. */
static void names_the_user_that_a_process_has_become(void **state)
{
    (void)state;
    struct holder holder;
    int ready[2];
    char byte;
    if (getuid() != 0)
        skip();
    int fd = listen_on(unix_sockaddr(), sizeof unix_address);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (setuid(54321) == 0) {
            close(ready[1]);
            pause();
        }
        _exit(1);
    }
    close(ready[1]);
    close(fd);
    assert_int_equal(read(ready[0], &byte, 1), 0);
    close(ready[0]);
    assert_true(holder_of_address(unix_sockaddr(), sizeof unix_address, &holder));
    assert_int_equal(holder.pid, child);
    assert_int_equal(holder.uid, 54321);
    assert_string_equal(holder.user, "54321"); /* this user has no name */
}

/* Makes a listening TCP socket. only is the value for IPV6_V6ONLY; -1 leaves it as it is. */
static int listen_on_port(const char *text, in_port_t port, int only)
{
    struct sockaddr_storage address;
    int on = 1;
    socklen_t len = make_address(text, port, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    if (only >= 0)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

/* nginx has "listen [::]:80", and another process has 127.0.0.1:80: nginx never sees an IPv4 packet. */
static void an_ipv6_only_socket_does_not_hold_the_port_of_ipv4(void **state)
{
    (void)state;
    static const struct {
        const char *held;
        int only;
        const char *asked;
        bool found;
    } cases[] = {
        {"::", 1, "127.0.0.1", false},
        {"::", 0, "127.0.0.1", true},
        {"::", 1, "0.0.0.0", false},
        {"::", 0, "0.0.0.0", true},
        {"::", 1, "::1", true},
        {"::", 1, "::", true},
        {"::1", 1, "::", true},
        {"::1", 1, "0.0.0.0", false},
        {"0.0.0.0", -1, "::", false},
        {"0.0.0.0", -1, "::1", false},
        {"127.0.0.1", -1, "0.0.0.0", true},
    };
    if (!has_ipv6())
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sockaddr_storage address;
        struct holder holder;
        int fd = listen_on_port(cases[i].held, 0, cases[i].only);
        socklen_t len = make_address(cases[i].asked, port_of(fd), &address);
        bool found = holder_of_address((struct sockaddr *)&address, len, &holder);
        close(fd);
        if (found != cases[i].found)
            fail_msg("%s (v6only %d) is held, %s is asked for: found %d", cases[i].held, cases[i].only,
                     cases[i].asked, found);
    }
}

static struct holders list;

static void lists_every_process_that_shares_a_socket_the_oldest_first(void **state)
{
    (void)state;
    int fd = listen_on(unix_sockaddr(), sizeof unix_address);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
        _exit(0);
    }
    holder_list(unix_sockaddr(), sizeof unix_address, NULL, &list);
    assert_int_equal(list.count, 2);
    assert_false(list.unseen || list.own || list.more);
    assert_int_equal(list.items[0].pid, getpid());
    assert_int_equal(list.items[1].pid, child);
    assert_true(list.items[0].start_ticks <= list.items[1].start_ticks);
    close(fd);
}

/* A server can have many processes. In the expected control group, each of them just belongs to the
 * unit. */
static void reports_more_processes_than_fit_apart_from_unseen_ones(void **state)
{
    (void)state;
    enum { WORKERS = HOLDER_MAX + 8 };
    pid_t workers[WORKERS];
    int fd = listen_on(unix_sockaddr(), sizeof unix_address);
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = fork();
        assert_true(workers[i] >= 0);
        if (workers[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            pause();
            _exit(0);
        }
    }
    holder_list(unix_sockaddr(), sizeof unix_address, "/no/such/group", &list);
    assert_int_equal(list.count, HOLDER_MAX);
    assert_true(list.more);
    assert_false(list.unseen || list.own);
    holder_list(unix_sockaddr(), sizeof unix_address, "/", &list);
    assert_int_equal(list.count, 0);
    assert_true(list.own);
    assert_false(list.unseen || list.more);
    for (int i = 0; i < WORKERS; i++) {
        kill(workers[i], SIGKILL);
        waitpid(workers[i], NULL, 0);
    }
    close(fd);
}

static void a_holder_of_one_address_holds_the_port_of_the_wildcard(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    int fd = listen_on_port("127.0.0.2", 0, -1);
    socklen_t len = make_address("0.0.0.0", port_of(fd), &address);
    holder_list((struct sockaddr *)&address, len, NULL, &list);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.items[0].pid, getpid());
    close(fd);
    holder_list((struct sockaddr *)&address, len, NULL, &list);
    assert_int_equal(list.count, 0);
    assert_false(list.unseen);
}

static void lists_all_sockets_that_share_a_port(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    int on = 1;
    int fds[2];
    socklen_t len = make_address("127.0.0.1", 0, &address);
    for (int i = 0; i < 2; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
        assert_int_equal(bind(fds[i], (struct sockaddr *)&address, len), 0);
        assert_int_equal(listen(fds[i], 1), 0);
        len = make_address("127.0.0.1", port_of(fds[i]), &address);
    }
    give_to_child(fds[1], (char *const[]){(char[]){"rogue"}, NULL});
    holder_list((struct sockaddr *)&address, len, NULL, &list);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[0].pid, getpid());
    assert_int_equal(list.items[1].pid, child);
    close(fds[0]);
}

/* Whether a process has accepted this connection, whatever other connections wait in the queue. */
static void says_whether_a_connection_was_accepted(void **state)
{
    (void)state;
    static const char *const addresses[] = {"127.0.0.1", "::1", "::", NULL};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof unix_address;
        int listener;
        if (addresses[i] != NULL && strchr(addresses[i], ':') != NULL && !has_ipv6())
            continue;
        memcpy(&address, &unix_address, sizeof unix_address);
        listener = addresses[i] != NULL ? listen_on_port(addresses[i], 0, -1)
                                        : listen_on(unix_sockaddr(), sizeof unix_address);
        if (addresses[i] != NULL) /* :: takes IPv4, too */
            len = make_address(strcmp(addresses[i], "::") == 0 ? "127.0.0.1" : addresses[i],
                               port_of(listener), &address);
        int first = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int second = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(listening_taken(first), LISTENING_UNKNOWN);
        assert_int_equal(connect(first, (struct sockaddr *)&address, len), 0);
        assert_int_equal(connect(second, (struct sockaddr *)&address, len), 0);
        assert_int_equal(listening_taken(first), LISTENING_WAITS);
        int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_int_equal(listening_taken(first), LISTENING_TAKEN);
        assert_int_equal(listening_taken(second), LISTENING_WAITS);
        close(accepted);
        close(first);
        close(second);
        close(listener);
    }
    assert_int_equal(listening_taken(-1), LISTENING_UNKNOWN);
}

/* Apache's default on Linux: the kernel itself waits for data before any process may accept the
 * connection. */
static void does_not_know_about_a_connection_that_the_kernel_holds_back(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    int seconds = 5;
    int listener = listen_on_port("127.0.0.1", 0, -1);
    socklen_t len = make_address("127.0.0.1", port_of(listener), &address);
    assert_int_equal(setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listening_taken(fd), LISTENING_UNKNOWN);
    close(fd);
    close(listener);
}

static void the_control_group_decides_where_a_process_belongs(void **state)
{
    (void)state;
    static const struct {
        const char *cgroup, *control_group;
        bool belongs;
    } rows[] = {
        {"/system.slice/site.service", "/system.slice/site.service", true},
        {"/system.slice/site.service/worker", "/system.slice/site.service", true},
        {"/system.slice/site.service2", "/system.slice/site.service", false},
        {"/system.slice/site", "/system.slice/site.service", false},
        {"/user.slice/x/site.service", "/system.slice/site.service", false},
        {"/user.slice/user-0.slice/user@0.service/app.slice/site.service", "/system.slice/site.service",
         false},
        {"/machine.slice/web.service/system.slice/site.service", "/system.slice/site.service", false},
        {"/", "/system.slice/site.service", false},
        {"/anything", "/", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (holder_belongs(rows[i].cgroup, rows[i].control_group) != rows[i].belongs)
            fail_msg("row %zu: %s in %s", i, rows[i].cgroup, rows[i].control_group);
}

static void the_start_time_distinguishes_two_processes(void **state)
{
    (void)state;
    uint64_t own;
    uint64_t other;
    assert_true(holder_read_start(getpid(), &own));
    assert_true(holder_read_start(1, &other));
    assert_true(other < own);
    int64_t age_ms = clock_wall_ms() - holder_start_wall_ms(own);
    assert_in_range(age_ms + 1000, 0, 600 * 1000); /* the age of this test; one tick of rounding */
    assert_false(holder_read_start(0x7ffffff0, &own));
}

static void reads_the_control_group(void **state)
{
    (void)state;
    char group[4096];
    char small[1];
    assert_true(holder_read_cgroup(getpid(), group, sizeof group));
    assert_int_equal(group[0], '/');
    assert_null(strchr(group, '\n'));
    assert_false(holder_read_cgroup(getpid(), small, sizeof small));
    assert_false(holder_read_cgroup(0x7ffffff0, group, sizeof group));
}

static void describes_a_holder_in_one_line(void **state)
{
    (void)state;
    const struct holder holder = {.pid = 123, .user = "root", .command_line = "python3 rogue.py"};
    char text[64];
    holder_describe(&holder, text, sizeof text);
    assert_string_equal(text, "pid 123 (user root): python3 rogue.py");
    holder_describe(&holder, text, 8);
    assert_string_equal(text, "pid 123");
}

#define test(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(names_the_peer_of_a_connection),
        test(says_whether_a_process_listens_at_a_path),
        test(names_no_process_for_a_full_queue_or_another_socket_type),
        test(finds_no_peer_without_a_connection),
        test(names_the_process_that_listens_on_a_path),
        test(names_the_child_that_has_the_socket_now),
        test(finds_no_process_on_a_stale_or_free_path),
        test(a_socket_that_does_not_listen_is_not_held),
        test(names_the_process_that_listens_on_a_port),
        test(a_connection_from_a_port_does_not_hold_it),
        test(makes_control_characters_of_a_command_line_harmless),
        test(cuts_a_long_command_line),
        test(cuts_no_character_in_half),
        test(a_process_without_command_line_is_named_by_its_program),
        test(names_the_user_that_a_process_has_become),
        test(an_ipv6_only_socket_does_not_hold_the_port_of_ipv4),
        test(reports_more_processes_than_fit_apart_from_unseen_ones),
        test(says_whether_a_connection_was_accepted),
        test(does_not_know_about_a_connection_that_the_kernel_holds_back),
        test(the_control_group_decides_where_a_process_belongs),
        test(lists_every_process_that_shares_a_socket_the_oldest_first),
        test(a_holder_of_one_address_holds_the_port_of_the_wildcard),
        test(lists_all_sockets_that_share_a_port),
        test(the_start_time_distinguishes_two_processes),
        test(reads_the_control_group),
        test(describes_a_holder_in_one_line),
    };
    if (getenv(ONLY_WAIT) != NULL) {
        pause();
        return 1;
    }
    return cmocka_run_group_tests_name("holder", tests, NULL, NULL);
}
