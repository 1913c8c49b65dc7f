/* cgi/drain: which file drains a process, what counts as a file, since when, and what the log says. */
#include "tests/unit/unit.h"

#include "cgi/drain.h"

#include "common/clock.h"
#include "common/log.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Far more than the second that the module promises, for a busy machine. */
#define DEADLINE_MS 10000
#define MINUTE_NS   (60 * NS_PER_S)

static char dir[32];
static char file[64]; /* dir/drain */
static int log_fd;
static int saved_stderr;
static int epoll_fd;
static int64_t now_ns;

static int begin_test(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/health-drain-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(file, sizeof file, "%s/drain", dir);
    log_fd = memfd_create("log", MFD_CLOEXEC);
    saved_stderr = dup(STDERR_FILENO);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    now_ns = clock_now_ns();
    unsetenv("JOURNAL_STREAM");
    log_init(LOG_LEVEL_INFO);
    return log_fd < 0 || epoll_fd < 0 || dup2(log_fd, STDERR_FILENO) < 0 || chdir(dir) != 0 ? -1 : 0;
}

static int end_test(void **state)
{
    (void)state;
    char command[64];
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(log_fd);
    close(epoll_fd);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return chdir("/") == 0 ? system(command) : -1; /* NOLINT: a path of our own */
}

#define with_directory(f) cmocka_unit_test_setup_teardown(f, begin_test, end_test)

/* Returns the log so far. */
static const char *logged(void)
{
    static char text[16384];
    ssize_t len = pread(log_fd, text, sizeof text - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    return text;
}

static int count_in_log(const char *what)
{
    int count = 0;
    for (const char *at = logged(); (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

static void expect_in_log(const char *what, int count)
{
    if (count_in_log(what) == count)
        return;
    dup2(saved_stderr, STDERR_FILENO); /* the reason must not go into the log */
    fail_msg("%d times '%s', expected %d, in:\n%s", count_in_log(what), what, count, logged());
}

static struct drain *open_drain(const char *setting)
{
    const struct config config = {.drain_file = setting};
    return drain_open(&config, -1, now_ns);
}

static struct drain *watch_drain(const char *setting)
{
    struct drain *drain = open_drain(setting);
    drain_watch(drain, epoll_fd, now_ns);
    return drain;
}

/* Waits for the next news and takes them. Returns whether the drain has begun or ended. */
static bool take_news(struct drain *drain)
{
    struct epoll_event event;
    if (epoll_wait(epoll_fd, &event, 1, DEADLINE_MS) != 1)
        fail_msg("there are no news within %d ms", DEADLINE_MS);
    assert_ptr_equal(event.data.ptr, drain);
    return drain_take(drain, now_ns);
}

static void expect_draining(struct drain *drain, bool expected)
{
    assert_int_equal(drain_since_wall_ms(drain) != 0, expected);
}

static void create(const char *path)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

/* --- which file
 * ---------------------------------------------------------------------------------------------- */

/* Returns a socket that is bound to the path; with an '@' in place of its first byte, the name is abstract.
 */
static int bind_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, len), 0);
    return fd;
}

static void expect_file(int fd, const char *setting, const char *expected)
{
    const struct config config = {.drain_file = setting};
    struct drain *drain = drain_open(&config, fd, now_ns);
    if (expected == NULL)
        assert_null(drain_file(drain));
    else
        assert_string_equal(drain_file(drain), expected);
    expect_draining(drain, false);
    drain_close(drain);
    expect_in_log("event=", 0);
}

static void the_default_is_beside_a_unix_socket(void **state)
{
    (void)state;
    static const struct {
        const char *name;  /* of the socket; a '/' stands for the directory */
        const char *drain; /* NULL: there is no file */
    } rows[] = {
        {"/s", "/drain"},
        {"/health-api.sock", "/drain"},
        {"/drain.sock", "/drain"},
        {"/drain", NULL},        /* it would drain for ever */
        {"relative.sock", NULL}, /* of the process that has bound it */
        {"@", NULL},             /* abstract: in no directory, although the name looks like one */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[80];
        char expected[80];
        snprintf(path, sizeof path, "%s%s%s", rows[i].name[0] == '/' ? dir : "", rows[i].name,
                 rows[i].name[0] == '@' ? dir : "");
        snprintf(expected, sizeof expected, "%s%s", dir, rows[i].drain != NULL ? rows[i].drain : "");
        int fd = bind_unix(path);
        expect_file(fd, NULL, rows[i].drain != NULL ? expected : NULL);
        expect_file(fd, "off", NULL);
        expect_file(fd, "/nowhere/at/all", "/nowhere/at/all");
        close(fd);
        (void)unlink(path);
    }
}

static void the_longest_path_of_a_socket_has_a_file_beside_it(void **state)
{
    (void)state;
    struct sockaddr_un address;
    char path[sizeof address.sun_path + 1];
    char expected[sizeof path];
    memset(path, 'x', sizeof path);
    memcpy(path, dir, strlen(dir));
    path[strlen(dir)] = '/';
    path[sizeof path - 1] = '\0';
    snprintf(expected, sizeof expected, "%s/drain", dir);
    int fd = bind_unix(path);
    expect_file(fd, NULL, expected);
    close(fd);
}

static void there_is_no_default_without_a_unix_socket(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int unbound = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(tcp, (const struct sockaddr *)&address, sizeof address), 0);
    expect_file(tcp, NULL, NULL);
    expect_file(unbound, NULL, NULL);
    expect_file(-1, NULL, NULL);
    expect_file(-1, "/nowhere/at/all", "/nowhere/at/all");
    close(tcp);
    close(unbound);
}

/* In /tmp anybody could take the node out of service. */
static void there_is_no_default_in_a_directory_of_everybody(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        bool is_default;
    } rows[] = {{0700, true}, {0755, true}, {0775, true}, {0777, false}, {01777, false}};
    char path[80];
    snprintf(path, sizeof path, "%s/s", dir);
    int fd = bind_unix(path);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(chmod(dir, rows[i].mode), 0);
        expect_file(fd, NULL, rows[i].is_default ? file : NULL);
        expect_file(fd, "/nowhere/at/all", "/nowhere/at/all");
    }
    close(fd);
}

/* --- what counts, and since when
 * ------------------------------------------------------------------------------- */

static void make_file(void)
{
    create(file);
}

static void make_closed_file(void)
{
    create(file);
    assert_int_equal(chmod(file, 0), 0);
}

static void make_directory(void)
{
    assert_int_equal(mkdir(file, 0), 0);
}

static void make_dangling_link(void)
{
    assert_int_equal(symlink("/nowhere/at/all", file), 0);
}

static void make_loop(void)
{
    assert_int_equal(symlink(file, file), 0);
}

static void make_fifo(void)
{
    assert_int_equal(mkfifo(file, 0600), 0);
}

static void make_socket(void)
{
    close(bind_unix(file));
}

static void whatever_has_the_name_counts(void **state)
{
    (void)state;
    static void (*const makers[])(void) = {make_file, make_closed_file, make_directory, make_dangling_link,
                                           make_loop, make_fifo,        make_socket};
    for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++) {
        makers[i]();
        struct drain *drain = open_drain(file);
        expect_draining(drain, true);
        drain_close(drain);
        assert_int_equal(remove(file), 0);
        drain = open_drain(file);
        expect_draining(drain, false);
        drain_close(drain);
    }
    expect_in_log("event=", 0);
}

static void a_missing_directory_is_a_missing_file(void **state)
{
    (void)state;
    char below_a_file[96];
    create(file);
    snprintf(below_a_file, sizeof below_a_file, "%s/drain", file);
    const char *const paths[] = {"/nowhere/at/all", below_a_file};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct drain *drain = open_drain(paths[i]);
        expect_draining(drain, false);
        drain_close(drain);
    }
    expect_in_log("event=", 0);
}

/* A file that was moved or copied here, or that touch -d made. */
static void an_old_or_future_mtime_says_nothing(void **state)
{
    (void)state;
    static const time_t mtimes[] = {0, 1000000000, 32503680000};
    for (size_t i = 0; i < sizeof mtimes / sizeof mtimes[0]; i++) {
        const struct timespec times[] = {{.tv_sec = mtimes[i]}, {.tv_sec = mtimes[i]}};
        int64_t before_ms = clock_wall_ms();
        create(file);
        assert_int_equal(utimensat(AT_FDCWD, file, times, 0), 0);
        struct drain *drain = open_drain(file);
        int64_t since_ms = drain_since_wall_ms(drain);
        /* The clock of a file system may be behind by a timer tick of the kernel. */
        assert_in_range(since_ms, before_ms - 20, clock_wall_ms());
        drain_close(drain);
        assert_int_equal(unlink(file), 0);
    }
}

/* --- changes
 * ----------------------------------------------------------------------------------------------------- */

static void it_begins_and_ends_with_the_file(void **state)
{
    (void)state;
    struct drain *drain = watch_drain(file);
    expect_draining(drain, false);
    for (int i = 1; i <= 2; i++) {
        create(file);
        assert_true(take_news(drain));
        expect_draining(drain, true);
        assert_int_equal(unlink(file), 0);
        assert_true(take_news(drain));
        expect_draining(drain, false);
        expect_in_log("level=notice event=\"drain begun\" file=", i);
        expect_in_log("level=notice event=\"drain ended\" file=", i);
    }
    assert_false(drain_take(drain, now_ns));
    drain_close(drain);
}

static void a_start_with_the_file_is_logged_once(void **state)
{
    (void)state;
    create(file);
    struct drain *drain = watch_drain(file);
    expect_draining(drain, true);
    expect_in_log("event=\"drain begun\"", 1);
    assert_int_equal(unlink(file), 0);
    assert_true(take_news(drain));
    expect_in_log("event=\"drain begun\"", 1);
    drain_close(drain);
}

static void a_second_touch_does_not_change_since_when(void **state)
{
    (void)state;
    create(file);
    struct drain *drain = watch_drain(file);
    int64_t since_ms = drain_since_wall_ms(drain);
    while (clock_wall_ms() <= since_ms + 20)
        (void)poll(NULL, 0, 1);
    assert_int_equal(utimensat(AT_FDCWD, file, NULL, 0), 0);
    struct drain *other = open_drain(file);
    assert_true(drain_since_wall_ms(other) > since_ms);
    drain_close(other);
    assert_int_equal(drain_since_wall_ms(drain), since_ms);
    drain_close(drain);
}

static void a_drain_that_goes_on_is_logged_every_ten_minutes(void **state)
{
    (void)state;
    create(file);
    struct drain *drain = watch_drain(file);
    drain_tick(drain, now_ns + 10 * MINUTE_NS - 1);
    expect_in_log("event=\"drain continued\"", 0);
    for (int i = 1; i <= 3; i++) {
        drain_tick(drain, now_ns + 10 * i * MINUTE_NS);
        drain_tick(drain, now_ns + 10 * i * MINUTE_NS + NS_PER_S);
        expect_in_log("level=warn event=\"drain continued\" file=", i);
    }
    drain_close(drain);
}

/* --- when nobody can tell
 * ---------------------------------------------------------------------------------------- */

/* Atomically makes the path lead through itself, which no look can follow (ELOOP). */
static void make_unreachable(const char *link)
{
    char fresh[96];
    snprintf(fresh, sizeof fresh, "%s.new", link);
    assert_int_equal(symlink(link, fresh), 0);
    assert_int_equal(rename(fresh, link), 0);
}

static void a_look_that_fails_changes_nothing_and_is_logged(void **state)
{
    (void)state;
    for (int draining = 0; draining <= 1; draining++) {
        char link[80];
        char through_link[96];
        snprintf(link, sizeof link, "%s/link%d", dir, draining);
        snprintf(through_link, sizeof through_link, "%s/drain", link);
        assert_int_equal(symlink(dir, link), 0);
        if (draining)
            create(file);
        struct drain *drain = watch_drain(through_link);
        make_unreachable(link);
        assert_false(take_news(drain));
        expect_draining(drain, draining);
        drain_tick(drain, now_ns);
        drain_tick(drain, now_ns + 2 * MINUTE_NS); /* one line for as long as it lasts */
        expect_in_log("level=warn event=\"drain lookup failed\"", draining + 1);
        expect_in_log(draining ? "levels of symbolic links\" state=draining"
                               : "levels of symbolic links\" state=serving",
                      1);
        assert_int_equal(unlink(link), 0); /* now there is no such file */
        assert_int_equal(take_news(drain), draining);
        expect_draining(drain, false);
        drain_tick(drain, now_ns);
        expect_in_log("level=info event=\"drain lookup recovered\"", draining + 1);
        drain_close(drain);
    }
}

static void a_file_that_cannot_be_looked_for_at_the_start_is_no_drain(void **state)
{
    (void)state;
    char link[80];
    char through_link[96];
    snprintf(link, sizeof link, "%s/link", dir);
    snprintf(through_link, sizeof through_link, "%s/drain", link);
    assert_int_equal(symlink(link, link), 0);
    struct drain *drain = open_drain(through_link);
    expect_draining(drain, false);
    expect_in_log("event=\"drain lookup failed\"", 1);
    drain_close(drain);
}

/* One that comes and goes must not fill the disk. */
static void failures_are_logged_once_a_minute(void **state)
{
    (void)state;
    char link[80];
    char through_link[96];
    snprintf(link, sizeof link, "%s/link", dir);
    snprintf(through_link, sizeof through_link, "%s/drain", link);
    struct drain *drain = watch_drain(through_link);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(symlink(link, link), 0);
        assert_false(take_news(drain));
        drain_tick(drain, now_ns + i * NS_PER_S);
        expect_in_log("event=\"drain lookup failed\"", 1);
        if (i == 0) {
            assert_int_equal(unlink(link), 0);
            assert_false(take_news(drain));
            drain_tick(drain, now_ns);
            expect_in_log("event=\"drain lookup recovered\"", 1);
        }
    }
    drain_tick(drain, now_ns + MINUTE_NS);
    expect_in_log("event=\"drain lookup failed\"", 2);
    drain_close(drain);
}

/* The looks go on in real time, but here the time of the ticks passes more quickly. */
static void looks_that_stop_are_logged_until_they_go_on(void **state)
{
    (void)state;
    struct drain *drain = watch_drain(file);
    int ticks = 0;
    for (; ticks < DEADLINE_MS && count_in_log("event=\"drain lookup failed\"") == 0; ticks++)
        drain_tick(drain, now_ns += NS_PER_S);
    assert_in_range(ticks, 5, 30); /* five seconds; each look in between begins them again */
    expect_in_log("error=\"no answer: is its file system hanging?\" state=serving", 1);
    for (int i = 0; i < DEADLINE_MS && count_in_log("event=\"drain lookup recovered\"") == 0; i++) {
        (void)poll(NULL, 0, 1);
        drain_tick(drain, now_ns);
    }
    expect_in_log("event=\"drain lookup recovered\"", 1);
    drain_close(drain);
}

static void neither_a_suspended_machine_nor_quick_ticks_are_a_hang(void **state)
{
    (void)state;
    struct drain *drain = watch_drain(file);
    for (int i = 1; i < 50; i++) /* as with WatchdogSec=300ms */
        drain_tick(drain, now_ns += NS_PER_S / 10);
    drain_close(drain);
    drain = watch_drain(file);
    poll(NULL, 0, 100); /* a tick has noticed the first look */
    drain_tick(drain, now_ns);
    drain_tick(drain, now_ns + 60 * MINUTE_NS);
    drain_tick(drain, now_ns + 60 * MINUTE_NS + NS_PER_S / 100); /* a timer ticks again in its old rhythm */
    expect_in_log("event=", 0);
    drain_close(drain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_directory(the_default_is_beside_a_unix_socket),
        with_directory(the_longest_path_of_a_socket_has_a_file_beside_it),
        with_directory(there_is_no_default_without_a_unix_socket),
        with_directory(there_is_no_default_in_a_directory_of_everybody),
        with_directory(whatever_has_the_name_counts),
        with_directory(a_missing_directory_is_a_missing_file),
        with_directory(an_old_or_future_mtime_says_nothing),
        with_directory(it_begins_and_ends_with_the_file),
        with_directory(a_start_with_the_file_is_logged_once),
        with_directory(a_second_touch_does_not_change_since_when),
        with_directory(a_drain_that_goes_on_is_logged_every_ten_minutes),
        with_directory(a_look_that_fails_changes_nothing_and_is_logged),
        with_directory(a_file_that_cannot_be_looked_for_at_the_start_is_no_drain),
        with_directory(failures_are_logged_once_a_minute),
        with_directory(looks_that_stop_are_logged_until_they_go_on),
        with_directory(neither_a_suspended_machine_nor_quick_ticks_are_a_hang),
    };
    return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}
