/* Runs one child with posix_spawn(3), reads its output through two pipes, and waits for its exit on a pidfd.
 * Main thread; owns the child until it is reaped. */
#include "watchdog/command.h"

#include "common/clock.h"
#include "common/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A killed child exits at once unless it hangs in the kernel. */
#define REAP_MS 2000

/* The longest quote of the child's last line in an error. */
#define LINE_MAX_LEN 159

struct child {
    pid_t pid;
    int pidfd;
    int out; /* read ends, -1 when closed */
    int err;
};

/* Returns 0 or an error number. */
static int spawn(const char *const argv[], int out, int err, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    char *const *arguments;
    memcpy(&arguments, &argv,
           sizeof arguments); /* POSIX leaves out const for historical reasons, but modifies nothing */
    int error = posix_spawnp(pid, argv[0], &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Reads what the pipe has, and closes it at its end. */
static void drain(int *fd, struct buf *to)
{
    char chunk[4096];
    /* The number of turns is limited, so that a child that writes without end cannot outlive its deadline. */
    for (int turn = 0; turn < COMMAND_MAX_OUTPUT / (int)sizeof chunk; turn++) {
        ssize_t n = read(*fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close(*fd);
            *fd = -1;
            return;
        }
        size_t room = to->len < COMMAND_MAX_OUTPUT ? COMMAND_MAX_OUTPUT - to->len : 0;
        buf_append(to, chunk, (size_t)n < room ? (size_t)n : room);
    }
}

/* Returns true when the child has exited, even if its own children still write; false at the deadline. */
static bool wait_for_exit(struct child *child, int64_t deadline_ns, struct buf *out, struct buf *err)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = child->pidfd, .events = POLLIN},
                               {.fd = child->out, .events = POLLIN},
                               {.fd = child->err, .events = POLLIN}};
        int64_t now_ns = clock_now_ns();
        if (now_ns >= deadline_ns)
            return false;
        if (poll(fds, 3, clock_poll_timeout_ms(deadline_ns, now_ns)) < 0 && errno != EINTR)
            return false;
        if (fds[1].revents != 0 && child->out >= 0)
            drain(&child->out, out);
        if (fds[2].revents != 0 && child->err >= 0)
            drain(&child->err, err);
        if (fds[0].revents != 0)
            return true;
    }
}

/* Returns the wait status, or -1 if the child survives SIGKILL. */
static int reap(const struct child *child)
{
    struct pollfd end = {.fd = child->pidfd, .events = POLLIN};
    int status = -1;
    bool is_over = child->pidfd < 0 || poll(&end, 1, REAP_MS) == 1; /* no pidfd: already killed */
    if (is_over && waitpid(child->pid, &status, 0) == child->pid)
        return status;
    return -1;
}

/* Appends the last line that is not empty: there systemctl reports its error. */
static void append_last_line(const struct buf *text, struct error *err)
{
    size_t used = strlen(err->text);
    size_t end = text->len;
    while (end > 0 && isspace((unsigned char)text->data[end - 1]))
        end--;
    size_t start = end;
    while (start > 0 && text->data[start - 1] != '\n')
        start--;
    if (start == end)
        return;
    int len = end - start < LINE_MAX_LEN ? (int)(end - start) : LINE_MAX_LEN;
    snprintf(err->text + used, sizeof err->text - used, ": %.*s", len, text->data + start);
    text_clean(err->text + used);
}

static enum command_status judge_exit(const char *name, int status, const struct buf *text, struct error *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return COMMAND_OK;
    if (WIFEXITED(status))
        error_set(err, "%s exited with code %d", name, WEXITSTATUS(status));
    else
        error_set(err, "%s was killed by signal %d", name, WTERMSIG(status));
    append_last_line(text, err);
    return COMMAND_FAILED;
}

static enum command_status start_child(const char *const argv[], struct child *child, struct error *err)
{
    int out[2] = {-1, -1};
    int errors[2] = {-1, -1};
    enum command_status status = COMMAND_FAILED;
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0) {
        error_set(err, "pipe: %s", strerror(errno));
        goto out;
    }
    int error = spawn(argv, out[1], errors[1], &child->pid);
    if (error != 0) {
        error_set(err, "%s: %s", argv[0], strerror(error));
        status = error == ENOENT || error == EACCES ? COMMAND_MISSING : COMMAND_FAILED;
        goto out;
    }
    /* The child is not reaped yet, so its pid is not reused. glibc has pidfd_open only from 2.36 on. */
    child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    child->out = out[0];
    child->err = errors[0];
    fcntl(child->out, F_SETFL, O_NONBLOCK);
    fcntl(child->err, F_SETFL, O_NONBLOCK);
    out[0] = errors[0] = -1;
    status = COMMAND_OK;
out:
    for (int i = 0; i < 2; i++) {
        if (out[i] >= 0)
            close(out[i]);
        if (errors[i] >= 0)
            close(errors[i]);
    }
    return status;
}

enum command_status command_run(const char *const argv[], int64_t timeout_ms, struct buf *out,
                                struct error *err)
{
    struct child child = {.pid = -1, .pidfd = -1, .out = -1, .err = -1};
    struct buf errors = {0};
    int64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    enum command_status status = start_child(argv, &child, err);
    if (status != COMMAND_OK)
        return status;
    bool ended = child.pidfd >= 0 && wait_for_exit(&child, deadline_ns, out, &errors);
    if (!ended)
        kill(-child.pid, SIGKILL); /* the child is not reaped yet, so its group id is not reused */
    int end = reap(&child);
    if (child.out >= 0)
        drain(&child.out, out);
    if (child.err >= 0)
        drain(&child.err, &errors);
    if (ended && end >= 0) {
        status = judge_exit(argv[0], end, &errors, err);
    } else {
        error_set(err, "%s did not exit within %" PRId64 " ms", argv[0], timeout_ms);
        append_last_line(&errors, err);
        status = COMMAND_TIMEOUT;
    }
    if (child.out >= 0)
        close(child.out);
    if (child.err >= 0)
        close(child.err);
    if (child.pidfd >= 0)
        close(child.pidfd);
    buf_free(&errors);
    return status;
}
