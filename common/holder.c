/* Finds the process behind a listening socket in /proc. Any thread; start-up and error paths. */
#include "common/holder.h"

#include "common/clock.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* linux/net.h: the flag of a listening Unix socket in /proc/net/unix. */
#define UNIX_ACCEPTING 0x10000
/* include/net/tcp_states.h: TCP_LISTEN in /proc/net/tcp. */
#define TCP_LISTENING 0x0A

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
            out[i] = ' '; /* between two arguments, proc(5) */
        else if (!isprint((unsigned char)out[i]))
            out[i] = '?'; /* it could steer a terminal */
    if (n <= 0) {
        ssize_t len = read_proc(pid, "comm", name, sizeof name);
        snprintf(out, out_size, "[%.*s]", len > 0 ? (int)strcspn(name, "\n") : 7, len > 0 ? name : "unknown");
    }
}

bool holder_read_start(pid_t pid, uint64_t *start_ticks)
{
    char stat[1024];
    if (read_proc(pid, "stat", stat, sizeof stat) <= 0)
        return false;
    /* The second field is the program's name in brackets, which may hold spaces and brackets; the 22nd
     * counts. */
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
    /* "9:name=systemd:/path" and "0::/path". One that systemd does not use has all processes in its root. */
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

static void describe(pid_t pid, uid_t uid, struct holder *out)
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
    /* It names the caller of listen(2), who may be gone and have left the socket to a child. */
    if (kill(peer.pid, 0) != 0 && errno == ESRCH)
        return false;
    describe(peer.pid, peer.uid, out);
    return true;
}

/* Whether one line of /proc/net/unix is the listening socket of path; its inode if so. */
static bool match_unix(const char *line, const void *path, uint64_t *inode)
{
    unsigned int flags;
    int path_at = 0;
    /* Num RefCount Protocol Flags Type St Inode Path */
    if (sscanf(line, "%*s %*x %*x %x %*x %*x %" SCNu64 " %n", &flags, inode, &path_at) != 2 || path_at == 0)
        return false;
    size_t len = strcspn(line + path_at, "\n");
    return (flags & UNIX_ACCEPTING) != 0 && len == strlen(path) && memcmp(line + path_at, path, len) == 0;
}

struct tcp_address {
    char any[64];   /* the wildcard, in the file's notation */
    char exact[64]; /* "0100007F:1F90" */
    bool is_any;    /* any address with this port */
};

/* The part of ADDRESS:PORT that begins with the colon. */
static const char *port_in(const char *local)
{
    return local + strcspn(local, ":");
}

static bool match_tcp(const char *line, const void *context, uint64_t *inode)
{
    const struct tcp_address *address = context;
    char local[64];
    unsigned int state;
    /* sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode */
    if (sscanf(line, " %*[^:]: %63s %*s %x %*s %*s %*s %*s %*s %" SCNu64, local, &state, inode) != 3 ||
        state != TCP_LISTENING)
        return false;
    if (address->is_any)
        return strcmp(port_in(local), port_in(address->any)) == 0;
    return strcmp(local, address->exact) == 0 || strcmp(local, address->any) == 0;
}

struct inodes {
    uint64_t items[HOLDER_MAX];
    size_t count;
};

static void find_inodes(const char *file, bool (*match)(const char *, const void *, uint64_t *),
                        const void *context, struct inodes *out)
{
    char line[512];
    FILE *table = fopen(file, "re");
    if (table == NULL)
        return;
    while (out->count < HOLDER_MAX && fgets(line, sizeof line, table) != NULL)
        if (match(line, context, &out->items[out->count]))
            out->count++;
    fclose(table);
}

/* The kernel prints each 32-bit word of an address as a number of the host's byte order. */
static void format_words(char *out, size_t out_size, const uint32_t *words, int count, in_port_t port)
{
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += (size_t)snprintf(out + len, out_size - len, "%08X", words[i]);
    snprintf(out + len, out_size - len, ":%04X", ntohs(port));
}

static void find_tcp_inodes(const struct sockaddr *address, struct inodes *out)
{
    struct tcp_address wanted = {.is_any = false};
    uint32_t words[4] = {0};
    in_port_t port;

    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        port = in.sin_port;
        wanted.is_any = in.sin_addr.s_addr == htonl(INADDR_ANY);
        format_words(wanted.any, sizeof wanted.any, words, 1, port);
        words[0] = in.sin_addr.s_addr;
        format_words(wanted.exact, sizeof wanted.exact, words, 1, port);
        find_inodes("/proc/net/tcp", match_tcp, &wanted, out);
        /* A socket of IPv6 takes IPv4 as well: its wildcard, or the mapped address (RFC 4291, 2.5.5.2). */
        words[2] = htonl(0xffff);
        words[3] = words[0];
        words[0] = 0;
    } else {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        port = in6.sin6_port;
        wanted.is_any = IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr);
        memcpy(words, &in6.sin6_addr, sizeof words);
    }
    format_words(wanted.exact, sizeof wanted.exact, words, 4, port);
    memset(words, 0, sizeof words);
    format_words(wanted.any, sizeof wanted.any, words, 4, port);
    find_inodes("/proc/net/tcp6", match_tcp, &wanted, out);
    if (wanted.is_any && address->sa_family == AF_INET6)
        find_inodes("/proc/net/tcp", match_tcp, &wanted, out); /* only the port is compared */
}

/* The owner of /proc/PID is no answer: for a process that has changed its user it is root (proc(5)). */
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

static bool is_link_to(const char *target, const struct inodes *inodes, size_t *which)
{
    uint64_t inode;
    if (sscanf(target, "socket:[%" SCNu64 "]", &inode) != 1)
        return false;
    for (*which = 0; *which < inodes->count; ++*which)
        if (inodes->items[*which] == inode)
            return true;
    return false;
}

/* Which of the sockets the process has open, the first that is found; 0: none. Marks all of them in seen. */
static uint64_t socket_of_process(const char *pid, const struct inodes *inodes, bool *seen)
{
    char path[64];
    char target[64];
    uint64_t found = 0;
    size_t which;
    struct dirent *entry;

    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        if (is_link_to(target, inodes, &which)) {
            seen[which] = true;
            found = found != 0 ? found : inodes->items[which];
        }
    }
    closedir(dir);
    return found;
}

static size_t find_processes(const struct inodes *inodes, struct holder *out, size_t max, bool *seen)
{
    size_t count = 0;
    struct dirent *entry;
    DIR *proc = inodes->count > 0 ? opendir("/proc") : NULL;

    while (proc != NULL && count < max && (entry = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        uint64_t inode = pid > 0 ? socket_of_process(entry->d_name, inodes, seen) : 0;
        uid_t uid;
        if (inode != 0 && read_uid(pid, &uid)) {
            describe(pid, uid, &out[count]);
            out[count++].socket_inode = inode;
        }
    }
    if (proc != NULL)
        closedir(proc);
    return count;
}

static int compare_age(const void *left, const void *right)
{
    const struct holder *a = left;
    const struct holder *b = right;
    if (a->start_ticks != b->start_ticks)
        return a->start_ticks < b->start_ticks ? -1 : 1;
    return (a->pid > b->pid) - (a->pid < b->pid);
}

size_t holder_list(const struct sockaddr *address, socklen_t len, struct holder *out, size_t max,
                   bool *unseen)
{
    struct inodes inodes = {.count = 0};
    bool seen[HOLDER_MAX] = {false};

    if (address->sa_family == AF_UNIX && len > offsetof(struct sockaddr_un, sun_path)) {
        struct sockaddr_un un = {0};
        memcpy(&un, address, len < sizeof un ? len : sizeof un - 1);
        find_inodes("/proc/net/unix", match_unix, un.sun_path, &inodes);
    } else if (address->sa_family == AF_INET || address->sa_family == AF_INET6) {
        find_tcp_inodes(address, &inodes);
    }
    size_t count = find_processes(&inodes, out, max, seen);
    qsort(out, count, sizeof *out, compare_age);
    *unseen = count == max;
    for (size_t i = 0; i < inodes.count; i++)
        *unseen = *unseen || !seen[i];
    return count;
}

bool holder_of_address(const struct sockaddr *address, socklen_t len, struct holder *out)
{
    bool unseen;
    return holder_list(address, len, out, 1, &unseen) == 1;
}

void holder_describe(const struct holder *h, char *out, int out_size)
{
    snprintf(out, (size_t)out_size, "pid %d (user %s): %s", (int)h->pid, h->user, h->command_line);
}
