/* cgi/serve/listen with sockets that systemd or inetd pass. */
#include "tests/unit/cgi/serve/listen_fixture.h"

#include <netinet/in.h>

/* A descriptor number that a test takes over, and what it was before. */
struct borrowed {
    int number;
    int before; /* -1: it was closed */
};

/* Puts fd where systemd or inetd would, blocking and inheritable as they do. fd stays open, too. */
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

/* A listening socket on path, with a higher number than the borrowed ones. */
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

    /* The socket is closed, not shut down, and its path belongs to systemd. */
    listen_close(&listener);
    int client = connect_path();
    assert_true(client >= 0);
    assert_int_equal(access(path, F_OK), 0);
    close(client);
    give_back(&b);
    close(fd);
}

static void leaves_a_socket_for_another_process(void **state)
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
    listener.fd = -1; /* give_back restores the old one there */
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
        {open("/dev/null", O_RDONLY | O_CLOEXEC), "systemd fd 3 is not a listening stream socket"},
        {socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "systemd fd 3 is not a listening stream socket"},
        {socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "systemd fd 3 is not a listening stream socket"},
        {packets, "systemd fd 3 is not a listening stream socket"},
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
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        close(cases[i].fd);
}

/* Runs open_it with stderr in a file. Returns what it logged. */
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

static void a_setting_wins_over_systemd_and_is_logged(void **state)
{
    (void)state;
    int fd = make_activated();
    unlink(path);
    struct borrowed b = borrow(3, fd);
    set_listen_env(getpid(), "1");
    assert_non_null(strstr(log_of_open(), "inherited socket ignored"));
    assert_false(listener.inherited);
    assert_string_equal(listener.path, path);
    assert_null(getenv("LISTEN_FDS"));
    give_back(&b);
    close(fd);
}

static void takes_the_first_of_several_sockets_with_a_warning(void **state)
{
    (void)state;
    int fd = make_activated();
    struct borrowed b = borrow(3, fd);
    config.listen = NULL;
    set_listen_env(getpid(), "2");
    assert_non_null(strstr(log_of_open(), "extra sockets ignored"));
    assert_int_equal(listener.fd, 3);
    listener.fd = -1;
    give_back(&b);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(takes_the_socket_of_systemd),
        test(leaves_a_socket_for_another_process),
        test(takes_fd_0_when_it_listens),
        test(refuses_what_systemd_should_not_pass),
        test(a_setting_wins_over_systemd_and_is_logged),
        test(takes_the_first_of_several_sockets_with_a_warning),
    };
    alarm(120); /* no test may block for long */
    return cmocka_run_group_tests_name("listen_inherited", tests, be_quiet, NULL);
}
