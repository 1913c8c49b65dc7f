/* cgi/listen: getting the listening socket, and saying who holds it. */
#include "tests/unit/unit.h"

#include "cgi/listen.h"
#include "common/clock.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static char dir[32];
static char path[64];
static char setting[80]; /* "unix:" and path */
static struct config config;
static struct listener listener;
static struct error err;

static int begin_test(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/health-listen-XXXXXX");
    if (mkdtemp(dir) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/s.sock", dir);
    snprintf(setting, sizeof setting, "unix:%s", path);
    config = (struct config){.listen = setting, .socket_mode = 0660};
    listener = (struct listener){.fd = -1};
    err.text[0] = '\0';
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    return 0;
}

static int end_test(void **state)
{
    (void)state;
    listen_close(&listener);
    unlink(path);
    return rmdir(dir);
}

static enum listen_status open_it(void)
{
    return listen_open(&config, &listener, &err);
}

static void expect_ok(void)
{
    enum listen_status status = open_it();
    if (status != LISTEN_OK) {
        fail_msg("status %d: %s", (int)status, err.text);
    }
}

static void expect_refusal(enum listen_status expected, const char *text)
{
    assert_int_equal(open_it(), expected);
    assert_int_equal(listener.fd, -1);
    if (strstr(err.text, text) == NULL) {
        fail_msg("'%s' does not say '%s'", err.text, text);
    }
}

static struct sockaddr_un unix_address(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return address;
}

static int bind_path(int type)
{
    struct sockaddr_un address = unix_address();
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int connect_path(void)
{
    struct sockaddr_un address = unix_address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void expect_listening(int fd)
{
    int listening = 0;
    socklen_t len = sizeof listening;
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len), 0);
    assert_true(listening);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

static void listens_on_a_unix_path(void **state)
{
    (void)state;
    struct stat st;
    expect_ok();
    expect_listening(listener.fd);
    assert_false(listener.inherited);
    assert_string_equal(listener.name, setting);
    assert_string_equal(listener.path, path);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_ino, listener.ino);
    int fd = connect_path();
    assert_true(fd >= 0);
    close(fd);
}

static void sets_the_mode_whatever_the_umask(void **state)
{
    (void)state;
    static const mode_t modes[] = {0660, 0600, 0666, 0777, 0};
    static const mode_t umasks[] = {0, 022, 0777};
    for (size_t i = 0; i < 15; i++) {
        struct stat st;
        mode_t before = umask(umasks[i % 3]);
        config.socket_mode = modes[i / 3];
        expect_ok();
        assert_int_equal(umask(before), umasks[i % 3]);
        assert_int_equal(lstat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, modes[i / 3]);
        listen_close(&listener);
    }
}

static void removes_the_path_at_the_end(void **state)
{
    (void)state;
    int fd;
    expect_ok();
    fd = listener.fd;
    listen_close(&listener);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(listener.fd, -1);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    listen_close(&listener); /* twice is harmless */
}

static void leaves_a_path_that_is_another_s_by_now(void **state)
{
    (void)state;
    expect_ok();
    assert_int_equal(unlink(path), 0);
    int other = bind_path(SOCK_STREAM);
    listen_close(&listener);
    assert_int_equal(access(path, F_OK), 0);
    close(other);
}

static void replaces_a_stale_socket(void **state)
{
    (void)state;
    close(bind_path(SOCK_STREAM));
    expect_ok();
    int fd = connect_path();
    assert_true(fd >= 0);
    close(fd);
}

static void leaves_what_is_no_socket(void **state)
{
    (void)state;
    struct stat st;
    close(open(path, O_CREAT | O_WRONLY, 0600));
    expect_refusal(LISTEN_CONFIG, "exists and is no socket, expected a free path or a stale socket");
    assert_non_null(strstr(err.text, setting));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    unlink(path);

    assert_int_equal(symlink("/nowhere", path), 0);
    expect_refusal(LISTEN_CONFIG, "is no socket");
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

static void leaves_a_socket_of_another_type(void **state)
{
    (void)state;
    int fd = bind_path(SOCK_DGRAM);
    expect_refusal(LISTEN_CONFIG, "HEALTH_LISTEN='");
    assert_int_equal(access(path, F_OK), 0);
    close(fd);
}

static void names_the_process_that_answers_on_the_path(void **state)
{
    (void)state;
    char pid[32];
    int holder = bind_path(SOCK_STREAM);
    assert_int_equal(listen(holder, 5), 0);
    snprintf(pid, sizeof pid, "is held by pid %d (user ", (int)getpid());
    expect_refusal(LISTEN_HELD, pid);
    assert_non_null(strstr(err.text, "test_listen"));
    int fd = connect_path();
    assert_true(fd >= 0); /* it is left alone */
    close(fd);
    close(holder);
}

static void a_full_backlog_is_held_too(void **state)
{
    (void)state;
    char pid[32];
    int waiting[16];
    int count = 0;
    int holder = bind_path(SOCK_STREAM);
    assert_int_equal(listen(holder, 0), 0);
    while (count < 16 && (waiting[count] = connect_path()) >= 0) {
        count++;
    }
    assert_in_range(count, 1, 15);
    snprintf(pid, sizeof pid, "is held by pid %d", (int)getpid());
    expect_refusal(LISTEN_HELD, pid);
    while (count > 0) {
        close(waiting[--count]);
    }
    close(holder);
}

static void refuses_a_path_that_cannot_be(void **state)
{
    (void)state;
    char too_long[200] = "unix:/tmp/";
    memset(too_long + strlen(too_long), 'x', 120);
    static const char *const values[] = {"unix:", "unix:relative", "unix:./s.sock"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        config.listen = values[i];
        expect_refusal(LISTEN_CONFIG, "': expected an absolute path of at most 107 bytes");
    }
    config.listen = too_long;
    expect_refusal(LISTEN_CONFIG, "expected an absolute path of at most 107 bytes");
}

static void names_setting_and_directory_when_it_is_missing(void **state)
{
    (void)state;
    config.listen = "unix:/nowhere/at/all/s.sock";
    expect_refusal(LISTEN_CONFIG, "HEALTH_LISTEN='unix:/nowhere/at/all/s.sock': directory: No such file or "
                                  "directory, expected one where this user may create files");
}

static void names_the_setting_when_the_directory_is_not_writable(void **state)
{
    (void)state;
    assert_int_equal(chmod(dir, 0555), 0);
    if (getuid() == 0) {
        assert_int_equal(seteuid(NOBODY), 0); /* root may write everywhere */
    }
    enum listen_status status = open_it();
    if (getuid() == 0) {
        assert_int_equal(seteuid(0), 0);
    }
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(status, LISTEN_CONFIG);
    assert_non_null(strstr(err.text, "HEALTH_LISTEN='unix:/tmp/health-listen-"));
    assert_non_null(strstr(err.text, "bind: Permission denied"));
}

static bool is_in_group(gid_t gid)
{
    gid_t groups[256];
    int count = getgroups(256, groups);
    for (int i = 0; i < count; i++) {
        if (groups[i] == gid) {
            return true;
        }
    }
    return count < 0 || gid == getegid();
}

/* The name of a group that this process is not in; NULL when that would not help because it is not root's. */
static const char *another_group(gid_t *gid)
{
    static char name[64];
    struct group *entry;
    bool found = false;
    setgrent();
    while (getuid() == 0 && !found && (entry = getgrent()) != NULL) {
        found = !is_in_group(entry->gr_gid) && strlen(entry->gr_name) < sizeof name;
        if (found) {
            snprintf(name, sizeof name, "%s", entry->gr_name);
            *gid = entry->gr_gid;
        }
    }
    endgrent();
    return found ? name : NULL;
}

static void gives_the_path_to_the_group(void **state)
{
    (void)state;
    struct stat st;
    gid_t gid = 0;
    config.socket_group = another_group(&gid);
    if (config.socket_group == NULL) {
        skip();
    }
    expect_ok();
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_gid, gid);
    assert_int_equal(st.st_uid, geteuid());
    assert_int_equal(st.st_mode & 07777, 0660);
}

static void refuses_an_unknown_group(void **state)
{
    (void)state;
    config.socket_group = "no-such-group";
    expect_refusal(LISTEN_CONFIG, "HEALTH_SOCKET_GROUP='no-such-group': unknown");
    assert_int_equal(access(path, F_OK), -1);
}

static void refuses_a_group_that_it_may_not_give(void **state)
{
    (void)state;
    gid_t gid;
    config.socket_group = another_group(&gid);
    if (config.socket_group == NULL) {
        skip();
    }
    assert_int_equal(chmod(dir, 0777), 0);
    assert_int_equal(seteuid(NOBODY), 0);
    enum listen_status status = open_it();
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(status, LISTEN_CONFIG);
    assert_non_null(strstr(err.text, "': chown: Operation not permitted"));
    assert_int_equal(access(path, F_OK), -1);
}

/* Waits for the other end of start to be closed, reports how listen_open went, and keeps what it got until
 * the other end of stop is closed. */
static void compete(int start, int report, int stop)
{
    char byte;
    (void)!read(start, &byte, 1);
    char status = (char)open_it();
    if (write(report, &status, 1) == 1) {
        (void)!read(stop, &byte, 1);
    }
    _exit(0);
}

enum { RIVALS = 8 };

/* Lets them all start at once on a stale socket, and counts how it went for them. True: the path answers
 * then. */
static bool run_rivals(int counts[static LISTEN_FAILED + 1])
{
    int start[2];
    int report[2];
    int stop[2];
    pid_t rivals[RIVALS];

    close(bind_path(SOCK_STREAM));
    assert_int_equal(pipe(start) | pipe(report) | pipe(stop), 0);
    for (int i = 0; i < RIVALS; i++) {
        rivals[i] = fork();
        assert_true(rivals[i] >= 0);
        if (rivals[i] == 0) {
            close(start[1]);
            close(stop[1]);
            compete(start[0], report[1], stop[0]);
        }
    }
    close(start[1]);
    for (int i = 0; i < RIVALS; i++) {
        char status = -1;
        assert_int_equal(read(report[0], &status, 1), 1);
        counts[(int)status]++;
    }
    int fd = connect_path();
    close(stop[1]);
    for (int i = 0; i < RIVALS; i++) {
        waitpid(rivals[i], NULL, 0);
    }
    const int fds[] = {start[0], report[0], report[1], stop[0], fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        close(fds[i]);
    }
    unlink(path);
    return fd >= 0;
}

static void of_processes_that_start_at_once_one_wins(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        int counts[LISTEN_FAILED + 1] = {0};
        assert_true(run_rivals(counts));
        assert_int_equal(counts[LISTEN_OK], 1);
        assert_int_equal(counts[LISTEN_HELD], RIVALS - 1);
    }
}

/* Anyone who may read the directory can take the lock. */
static void a_lock_that_is_never_released_does_not_keep_it_from_starting(void **state)
{
    (void)state;
    int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    int64_t begin_ns = clock_now_ns();
    expect_ok();
    assert_true(clock_now_ns() - begin_ns < 10 * NS_PER_S);
    close(lock);
}

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
    memcpy(&in, &address, sizeof in); /* the port of IPv6 stands in the same place */
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
        if (port < 0) {
            continue; /* no IPv6 here */
        }
        use_tcp(hosts[i], port);
        expect_ok();
        expect_listening(listener.fd);
        assert_string_equal(listener.name, setting);
        assert_string_equal(listener.path, "");
        listen_close(&listener);
    }
}

/* The end of a long answer does not wait for an ACK, which Nagle's algorithm would. */
static void accepted_tcp_connections_send_at_once(void **state)
{
    (void)state;
    int no_delay = 0;
    socklen_t len = sizeof no_delay;
    int port = free_port(AF_INET);
    use_tcp("127.0.0.1", port);
    expect_ok();
    int client = connect_port(port);
    struct pollfd readable = {.fd = listener.fd, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 5000), 1);
    int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC);
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
    int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC);
    close(fd); /* this end goes to TIME_WAIT */
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

static void refuses_what_is_no_address(void **state)
{
    (void)state;
    static const struct {
        const char *value, *text;
    } cases[] = {
        {"", "expected unix:PATH or tcp:ADDR:PORT"},
        {"/run/x.sock", "expected unix:PATH or tcp:ADDR:PORT"},
        {"9000", "expected unix:PATH or tcp:ADDR:PORT"},
        {"UNIX:/x", "expected unix:PATH or tcp:ADDR:PORT"},
        {"tcp:", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:9000", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp::9000", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:0", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:65536", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:-1", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1: 9000", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:9000x", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.0.0.1:99999999999999999999", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:127.1:9000", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:example.org:9000", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:::1:9000", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:[::1:9000", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:[]:9000", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:[:9000", "expected tcp:ADDR:PORT with a numeric address"},
        {"tcp:0.0.0.0:9000",
         "expected a loopback address (127.0.0.0/8, [::1]): FastCGI has no authentication"},
        {"tcp:192.168.1.1:9000", "expected a loopback address"},
        {"tcp:128.0.0.1:9000", "expected a loopback address"},
        {"tcp:[::]:9000", "expected a loopback address"},
        {"tcp:[fe80::1]:9000", "expected a loopback address"},
        {"tcp:[::ffff:8.8.8.8]:9000", "expected a loopback address"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char prefix[64];
        config.listen = cases[i].value;
        expect_refusal(LISTEN_CONFIG, cases[i].text);
        int len = snprintf(prefix, sizeof prefix, "HEALTH_LISTEN='%s': ", cases[i].value);
        assert_memory_equal(err.text, prefix, (size_t)len);
    }
}

/* The default: nothing is set and nothing inherited. */
static void an_error_about_the_default_says_so(void **state)
{
    (void)state;
    if (access("/run/health-api", F_OK) == 0) {
        skip();
    }
    config.listen = NULL;
    expect_refusal(LISTEN_CONFIG,
                   "HEALTH_LISTEN (default)='unix:/run/health-api/health-api.sock': directory: No such file");
}

/* Descriptor number of the child's world taken over for a test, and what was there before. */
struct borrowed {
    int number;
    int before; /* -1: it was closed */
};

/* Puts fd where systemd or inetd would, blocking and inheritable as they do; fd stays open too. */
static struct borrowed borrow(int number, int fd)
{
    struct borrowed b = {.number = number, .before = fcntl(number, F_DUPFD_CLOEXEC, 10)};
    assert_int_equal(dup2(fd, number), number);
    return b;
}

static void give_back(const struct borrowed *b)
{
    if (b->before >= 0) {
        assert_int_equal(dup2(b->before, b->number), b->number);
        close(b->before);
    } else {
        close(b->number);
    }
}

static void set_listen_env(int pid, const char *fds)
{
    char text[32];
    snprintf(text, sizeof text, "%d", pid);
    setenv("LISTEN_PID", text, 1);
    setenv("LISTEN_FDS", fds, 1);
    setenv("LISTEN_FDNAMES", "x", 1);
}

/* A listening socket on path, with a number above those that are borrowed. */
static int make_activated(void)
{
    int low = bind_path(SOCK_STREAM);
    assert_int_equal(listen(low, 5), 0);
    int fd = fcntl(low, F_DUPFD_CLOEXEC, 10);
    close(low);
    return fd;
}

static void takes_the_socket_of_systemd(void **state)
{
    (void)state;
    int fd = make_activated();
    struct borrowed b = borrow(3, fd);
    config.listen = NULL;
    set_listen_env(getpid(), "1");
    assert_true(listen_is_inherited());
    expect_ok();
    assert_int_equal(listener.fd, 3);
    assert_true(listener.inherited);
    assert_string_equal(listener.name, "systemd fd 3");
    assert_string_equal(listener.path, "");
    expect_listening(3);
    assert_null(getenv("LISTEN_PID"));
    assert_null(getenv("LISTEN_FDS"));
    assert_null(getenv("LISTEN_FDNAMES"));

    /* Closed, not shut down, and its path is systemd's. */
    listen_close(&listener);
    int client = connect_path();
    assert_true(client >= 0);
    assert_int_equal(access(path, F_OK), 0);
    close(client);
    give_back(&b);
    close(fd);
}

static void a_socket_for_another_process_is_not_taken(void **state)
{
    (void)state;
    int fd = make_activated();
    struct borrowed b = borrow(3, fd);
    set_listen_env(1, "1");
    config.listen = NULL;
    assert_false(listen_is_inherited());
    set_listen_env(getpid(), "0");
    assert_false(listen_is_inherited());
    set_listen_env(getpid(), "nonsense");
    assert_false(listen_is_inherited());
    give_back(&b);
    close(fd);
}

static void takes_fd_0_when_it_listens(void **state)
{
    (void)state;
    int fd = make_activated();
    struct borrowed b = borrow(0, fd);
    config.listen = NULL;
    assert_true(listen_is_inherited());
    expect_ok();
    assert_int_equal(listener.fd, 0);
    assert_true(listener.inherited);
    assert_string_equal(listener.name, "fd 0");
    expect_listening(0);
    listener.fd = -1; /* give_back puts the old one there */
    give_back(&b);
    assert_false(listen_is_inherited());
    close(fd);
}

static void refuses_what_systemd_should_not_pass(void **state)
{
    (void)state;
    struct sockaddr_in any = {.sin_family = AF_INET};
    int beyond = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(beyond, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(listen(beyond, 1), 0);
    struct sockaddr_un address = unix_address();
    int packets = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(packets, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(packets, 1), 0);
    const struct {
        int fd;
        const char *text;
    } cases[] = {
        {open("/dev/null", O_RDONLY | O_CLOEXEC), "systemd fd 3 is no listening stream socket"},
        {socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "systemd fd 3 is no listening stream socket"},
        {socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "systemd fd 3 is no listening stream socket"},
        {packets, "systemd fd 3 is no listening stream socket"},
        {beyond, "systemd fd 3 listens beyond loopback"},
    };
    config.listen = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int fd = fcntl(cases[i].fd, F_DUPFD_CLOEXEC, 10);
        struct borrowed b = borrow(3, fd);
        set_listen_env(getpid(), "1");
        expect_refusal(LISTEN_CONFIG, cases[i].text);
        give_back(&b);
        close(fd);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        close(cases[i].fd);
    }
}

/* Runs open_it with stderr in a file; what it logged. */
static const char *log_of_open(void)
{
    static char text[1024];
    FILE *file = tmpfile();
    int before = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    log_init(LOG_LEVEL_WARN);
    enum listen_status status = open_it();
    dup2(before, STDERR_FILENO);
    log_init(LOG_LEVEL_ERROR);
    close(before);
    rewind(file);
    size_t len = fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    fclose(file);
    assert_int_equal(status, LISTEN_OK);
    return text;
}

static void a_setting_wins_over_systemd_and_says_so(void **state)
{
    (void)state;
    int fd = make_activated();
    unlink(path);
    struct borrowed b = borrow(3, fd);
    set_listen_env(getpid(), "1");
    assert_non_null(strstr(log_of_open(), "the socket of systemd is not used"));
    assert_false(listener.inherited);
    assert_string_equal(listener.path, path);
    assert_null(getenv("LISTEN_FDS"));
    give_back(&b);
    close(fd);
}

static void of_several_sockets_the_first_is_taken_with_a_warning(void **state)
{
    (void)state;
    int fd = make_activated();
    struct borrowed b = borrow(3, fd);
    config.listen = NULL;
    set_listen_env(getpid(), "2");
    assert_non_null(strstr(log_of_open(), "more than one socket"));
    assert_int_equal(listener.fd, 3);
    listener.fd = -1;
    give_back(&b);
    close(fd);
}

static int be_quiet(void **state)
{
    (void)state;
    log_init(LOG_LEVEL_ERROR);
    return 0;
}

#define test(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(listens_on_a_unix_path),
        test(sets_the_mode_whatever_the_umask),
        test(removes_the_path_at_the_end),
        test(leaves_a_path_that_is_another_s_by_now),
        test(replaces_a_stale_socket),
        test(leaves_what_is_no_socket),
        test(leaves_a_socket_of_another_type),
        test(names_the_process_that_answers_on_the_path),
        test(a_full_backlog_is_held_too),
        test(refuses_a_path_that_cannot_be),
        test(names_setting_and_directory_when_it_is_missing),
        test(names_the_setting_when_the_directory_is_not_writable),
        test(gives_the_path_to_the_group),
        test(refuses_an_unknown_group),
        test(refuses_a_group_that_it_may_not_give),
        test(of_processes_that_start_at_once_one_wins),
        test(a_lock_that_is_never_released_does_not_keep_it_from_starting),
        test(listens_on_a_loopback_port),
        test(accepted_tcp_connections_send_at_once),
        test(takes_a_port_that_was_just_in_use),
        test(names_the_process_that_holds_the_port),
        test(refuses_what_is_no_address),
        test(an_error_about_the_default_says_so),
        test(takes_the_socket_of_systemd),
        test(a_socket_for_another_process_is_not_taken),
        test(takes_fd_0_when_it_listens),
        test(refuses_what_systemd_should_not_pass),
        test(a_setting_wins_over_systemd_and_says_so),
        test(of_several_sockets_the_first_is_taken_with_a_warning),
    };
    alarm(120); /* nothing here may block for long */
    return cmocka_run_group_tests_name("listen", tests, be_quiet, NULL);
}
