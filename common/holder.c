/* Finds the processes that have a listening socket open, in /proc. Any thread, in start-up and error paths
 * only; no state. */
#include "common/holder.h"

#include "common/clock.h"
#include "common/listening.h"
#include "common/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void describe_user(uid_t uid, char *out, size_t out_size)
{
    char memory[1024];
    struct passwd entry;
    struct passwd *found = NULL;
    if (getpwuid_r(uid, &entry, memory, sizeof memory, &found) == 0 && found != NULL)
        snprintf(out, out_size, "%s", entry.pw_name);
    else
        snprintf(out, out_size, "%u", (unsigned int)uid);
}

static ssize_t read_proc(pid_t pid, const char *name, char *out, size_t out_size)
{
    char path[64];
    out[0] = '\0';
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, out, out_size - 1);
    close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n;
}

static void describe_command(pid_t pid, char *out, size_t out_size)
{
    char name[64];
    ssize_t n = read_proc(pid, "cmdline", out, out_size);
    while (n > 0 && out[n - 1] == '\0')
        n--;
    for (ssize_t i = 0; i < n; i++)
        if (out[i] == '\0')
            out[i] = ' '; /* a NUL ends each argument, proc(5) */
    if (n <= 0) {
        ssize_t len = read_proc(pid, "comm", name, sizeof name);
        snprintf(out, out_size, "[%.*s]", len > 0 ? (int)strcspn(name, "\n") : 7, len > 0 ? name : "unknown");
    }
    text_clean(out);
}

bool holder_read_start(pid_t pid, uint64_t *start_ticks)
{
    char stat[1024];
    if (read_proc(pid, "stat", stat, sizeof stat) <= 0)
        return false;
    /* The second field is the program's name in brackets, which may contain spaces and brackets. So count
     * fields from the last bracket: starttime is the 22nd. */
    const char *rest = strrchr(stat, ')');
    return rest != NULL && sscanf(rest,
                                  ") %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                                  "%*s %*s %" SCNu64,
                                  start_ticks) == 1;
}

int64_t holder_start_wall_ms(uint64_t start_ticks)
{
    int64_t hz = sysconf(_SC_CLK_TCK);
    int64_t age_ms = clock_now_ns() / NS_PER_MS - (int64_t)start_ticks * MS_PER_S / (hz > 0 ? hz : 100);
    return clock_wall_ms() - age_ms;
}

bool holder_read_cgroup(pid_t pid, char *out, size_t out_size)
{
    char groups[8192];
    const char *best = NULL;
    size_t best_len = 0;
    if (read_proc(pid, "cgroup", groups, sizeof groups) <= 0)
        return false;
    /* Lines are "9:name=systemd:/path" and "0::/path". In a hierarchy that systemd does not use, all
     * processes are in the root. */
    for (const char *line = groups; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *controllers = line + strspn(line, "0123456789");
        const char *path = strncmp(controllers, "::", 2) == 0                ? controllers + 2
                           : strncmp(controllers, ":name=systemd:", 14) == 0 ? controllers + 14
                                                                             : NULL;
        if (path != NULL && (best == NULL || best_len <= 1)) {
            best = path;
            best_len = strcspn(path, "\n");
        }
    }
    if (best == NULL || best_len >= out_size)
        return false;
    snprintf(out, out_size, "%.*s", (int)best_len, best);
    return true;
}

static void describe_process(pid_t pid, uid_t uid, struct holder *out)
{
    out->pid = pid;
    out->socket_inode = 0;
    if (!holder_read_start(pid, &out->start_ticks))
        out->start_ticks = 0;
    out->uid = uid;
    describe_user(uid, out->user, sizeof out->user);
    describe_command(pid, out->command_line, sizeof out->command_line);
}

bool holder_of_peer(int connected_fd, struct holder *out)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(connected_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.pid <= 0)
        return false;
    /* SO_PEERCRED names the caller of listen(2). That process may be gone, and a child of it may have the
     * socket now. */
    if (kill(peer.pid, 0) != 0 && errno == ESRCH)
        return false;
    describe_process(peer.pid, peer.uid, out);
    return true;
}

enum holder_reached holder_reach(const struct sockaddr *address, socklen_t len, struct holder *out)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return HOLDER_NO_SOCKET;
    enum holder_reached reached = HOLDER_UNREACHED;
    int error = connect(fd, address, len) == 0 ? 0 : errno;
    if (error == 0 && holder_of_peer(fd, out))
        reached = HOLDER_NAMED;
    else if (error == 0 || error == EAGAIN) /* EAGAIN: its queue is full (connect(2)) */
        reached = HOLDER_UNNAMED;
    else if (error == ECONNREFUSED || error == ENOENT || error == ENOTDIR)
        reached = HOLDER_NOBODY;
    close(fd);
    errno = error;
    return reached;
}

/* Does not use the owner of /proc/PID: that is root for a process that has changed its user (proc(5)). */
static bool read_uid(pid_t pid, uid_t *uid)
{
    char status[1024];
    unsigned int effective;

    (void)read_proc(pid, "status", status, sizeof status);
    const char *line = strstr(status, "\nUid:");
    if (line == NULL || sscanf(line, " Uid: %*u %u", &effective) != 1)
        return false;
    *uid = effective;
    return true;
}

/* Returns the index of the socket that a link in /proc/PID/fd names, or sockets->count if it names none of
 * them. */
static size_t find_link(const char *target, const struct listening *sockets)
{
    uint64_t inode;
    size_t which = 0;
    if (sscanf(target, "socket:[%" SCNu64 "]", &inode) != 1)
        return sockets->count;
    while (which < sockets->count && sockets->inodes[which] != inode)
        which++;
    return which;
}

/* Returns the first of the sockets that the process has open, or 0. Sets seen[i] for each socket i
 * that the process has open. */
static uint64_t socket_of_process(const char *pid, const struct listening *sockets, bool *seen)
{
    char path[64];
    char target[64];
    uint64_t found = 0;
    struct dirent *entry;

    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        size_t which = find_link(target, sockets);
        if (which == sockets->count)
            continue;
        seen[which] = true;
        found = found != 0 ? found : sockets->inodes[which];
    }
    closedir(dir);
    return found;
}

bool holder_belongs(const char *cgroup, const char *control_group)
{
    size_t len = strlen(control_group);
    if (strcmp(control_group, "/") == 0)
        return true; /* every group is below the root */
    return strncmp(cgroup, control_group, len) == 0 && (cgroup[len] == '/' || cgroup[len] == '\0');
}

bool holder_is_in(pid_t pid, const char *home)
{
    char cgroup[512];
    return holder_read_cgroup(pid, cgroup, sizeof cgroup) && holder_belongs(cgroup, home);
}

static void find_processes(const struct listening *sockets, const char *home, struct holders *out, bool *seen)
{
    struct dirent *entry;
    DIR *proc = sockets->count > 0 ? opendir("/proc") : NULL;

    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        uint64_t inode = pid > 0 ? socket_of_process(entry->d_name, sockets, seen) : 0;
        uid_t uid;
        if (inode == 0 || !read_uid(pid, &uid))
            continue;
        if (home != NULL && holder_is_in(pid, home)) {
            out->own = true;
        } else if (out->count == HOLDER_MAX) {
            out->more = true;
        } else {
            describe_process(pid, uid, &out->items[out->count]);
            out->items[out->count++].socket_inode = inode;
        }
    }
    if (proc != NULL)
        closedir(proc);
}

static int compare_age(const void *left, const void *right)
{
    const struct holder *a = left;
    const struct holder *b = right;
    if (a->start_ticks != b->start_ticks)
        return a->start_ticks < b->start_ticks ? -1 : 1;
    return (a->pid > b->pid) - (a->pid < b->pid);
}

void holder_list(const struct sockaddr *address, socklen_t len, const char *home, struct holders *out)
{
    struct listening sockets;
    bool seen[LISTENING_MAX] = {false};

    *out = (struct holders){.count = 0};
    out->unseen = !listening_find(address, len, &sockets);
    find_processes(&sockets, home, out, seen);
    qsort(out->items, out->count, sizeof out->items[0], compare_age);
    for (size_t i = 0; i < sockets.count; i++)
        out->unseen = out->unseen || !seen[i];
}

/* Whether that process sees a socket at the path in its own root. Also true when this user may not look
 * there, but not for pid 1. */
static bool is_there_for(pid_t pid, const char *path)
{
    char seen[256];
    struct stat st;
    snprintf(seen, sizeof seen, "/proc/%d/root%s", (int)pid, path);
    return stat(seen, &st) == 0 ? S_ISSOCK(st.st_mode) : errno == EACCES && pid != 1;
}

bool holder_is_hidden(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct holders list;
    if (access(path, F_OK) == 0 || errno != ENOENT)
        return false;
    if (is_there_for(1, path))
        return true;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    holder_list((const struct sockaddr *)&address, sizeof address, NULL, &list);
    for (size_t i = 0; i < list.count; i++)
        if (is_there_for(list.items[i].pid, path))
            return true;
    return false;
}

bool holder_of_address(const struct sockaddr *address, socklen_t len, struct holder *out)
{
    struct holders list;
    holder_list(address, len, NULL, &list);
    if (list.count > 0)
        *out = list.items[0];
    return list.count > 0;
}

void holder_describe(const struct holder *h, char *out, int out_size)
{
    snprintf(out, (size_t)out_size, "pid %d (user %s): %s", (int)h->pid, h->user, h->command_line);
}
