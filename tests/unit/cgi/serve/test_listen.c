/* cgi/serve/listen on its own path: stale sockets, live holders, mode and group. */
#include "tests/unit/cgi/serve/listen_fixture.h"

#include <errno.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define NOBODY 65534

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
    listen_close(&listener); /* a second close is harmless */
}

static void leaves_a_path_that_another_process_has_taken(void **state)
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

static void leaves_a_file_that_is_not_a_socket(void **state)
{
    (void)state;
    struct stat st;
    close(open(path, O_CREAT | O_WRONLY, 0600));
    expect_refusal(LISTEN_CONFIG, "exists and is not a socket, expected a free path or a stale socket");
    assert_non_null(strstr(err.text, setting));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    unlink(path);

    assert_int_equal(symlink("/nowhere", path), 0);
    expect_refusal(LISTEN_CONFIG, "is not a socket");
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
    char program[32]; /* only a part, because a long text is cut */
    snprintf(program, sizeof program, "): %s", program_invocation_name);
    assert_non_null(strstr(err.text, program));
    int fd = connect_path();
    assert_true(fd >= 0); /* listen_open has left it alone */
    close(fd);
    close(holder);
}

static void a_path_with_a_full_backlog_is_held(void **state)
{
    (void)state;
    char pid[32];
    int waiting[16];
    int count = 0;
    int holder = bind_path(SOCK_STREAM);
    assert_int_equal(listen(holder, 0), 0);
    while (count < 16 && (waiting[count] = connect_path()) >= 0)
        count++;
    assert_in_range(count, 1, 15);
    snprintf(pid, sizeof pid, "is held by pid %d", (int)getpid());
    expect_refusal(LISTEN_HELD, pid);
    while (count > 0)
        close(waiting[--count]);
    close(holder);
}

static void refuses_an_impossible_path(void **state)
{
    (void)state;
    char too_long[200] = "unix:/tmp/";
    memset(too_long + strlen(too_long), 'x', 120);
    static const char *const values[] = {"unix:", "unix:relative", "unix:./s.sock"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        config.listen = values[i];
        expect_refusal(LISTEN_CONFIG, "': expected unix:/PATH, an absolute path of at most 107 bytes");
    }
    config.listen = too_long;
    expect_refusal(LISTEN_CONFIG, "an absolute path of at most 107 bytes");
}

static void names_the_setting_when_the_directory_is_missing(void **state)
{
    (void)state;
    config.listen = "unix:/nowhere/at/all/s.sock";
    expect_refusal(LISTEN_CONFIG,
                   "HEALTH_LISTEN='unix:/nowhere/at/all/s.sock': bind: No such file or "
                   "directory, expected a path in a directory where this user may create files");
}

static void names_the_setting_when_the_directory_is_not_writable(void **state)
{
    (void)state;
    assert_int_equal(chmod(dir, 0555), 0);
    if (getuid() == 0)
        assert_int_equal(seteuid(NOBODY), 0); /* root may write to any directory */
    enum listen_status status = open_it();
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(status, LISTEN_CONFIG);
    assert_non_null(strstr(err.text, "HEALTH_LISTEN='unix:/tmp/health-listen-"));
    assert_non_null(strstr(err.text, "bind: Permission denied"));
}

static bool is_in_group(gid_t gid)
{
    gid_t groups[256];
    int count = getgroups(256, groups);
    for (int i = 0; i < count; i++)
        if (groups[i] == gid)
            return true;
    return count < 0 || gid == getegid();
}

/* The name of a group that this process is not in. NULL when there is none, and for root, who may give a
 * file to any group. */
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
    if (config.socket_group == NULL)
        skip();
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
    if (config.socket_group == NULL)
        skip();
    assert_int_equal(chmod(dir, 0777), 0);
    assert_int_equal(seteuid(NOBODY), 0);
    enum listen_status status = open_it();
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(status, LISTEN_CONFIG);
    assert_non_null(strstr(err.text, "': chown: Operation not permitted"));
    assert_int_equal(access(path, F_OK), -1);
}

/* What another process does between the check of the path and bind(2). */
static int quicker = -1;
static bool is_quicker;

/* Replaces bind(2) of libc. */
int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    if (is_quicker) {
        is_quicker = false;
        quicker = bind_path(SOCK_STREAM);
        assert_int_equal(listen(quicker, 5), 0);
    }
    return (int)syscall(SYS_bind, fd, address.__sockaddr__, len);
}

static void names_a_process_that_binds_the_path_first(void **state)
{
    (void)state;
    char pid[32];
    snprintf(pid, sizeof pid, "is held by pid %d (user ", (int)getpid());
    is_quicker = true;
    expect_refusal(LISTEN_HELD, pid);
    int fd = connect_path();
    assert_true(fd >= 0); /* listen_open has left it alone */
    close(fd);
    close(quicker);
}

/* Without a setting or an inherited socket, listen_open takes the default. */
static void an_error_says_when_the_path_is_the_default(void **state)
{
    (void)state;
    if (access("/run/health-api", F_OK) == 0)
        skip();
    config.listen = NULL;
    expect_refusal(LISTEN_CONFIG,
                   "HEALTH_LISTEN (default)='unix:/run/health-api/health-api.sock': bind: No such file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(listens_on_a_unix_path),
        test(sets_the_mode_whatever_the_umask),
        test(removes_the_path_at_the_end),
        test(leaves_a_path_that_another_process_has_taken),
        test(replaces_a_stale_socket),
        test(leaves_a_file_that_is_not_a_socket),
        test(leaves_a_socket_of_another_type),
        test(names_the_process_that_answers_on_the_path),
        test(a_path_with_a_full_backlog_is_held),
        test(refuses_an_impossible_path),
        test(names_the_setting_when_the_directory_is_missing),
        test(names_the_setting_when_the_directory_is_not_writable),
        test(gives_the_path_to_the_group),
        test(refuses_an_unknown_group),
        test(refuses_a_group_that_it_may_not_give),
        test(names_a_process_that_binds_the_path_first),
        test(an_error_says_when_the_path_is_the_default),
    };
    alarm(120); /* no test may block for long */
    return cmocka_run_group_tests_name("listen", tests, be_quiet, NULL);
}
