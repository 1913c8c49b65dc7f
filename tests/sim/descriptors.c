/* Defines the system calls that the program makes on its descriptors, its clocks and its random numbers. Owns
 * the table of simulated descriptors. Like all of the simulator it runs on one system thread. */
#undef _FORTIFY_SOURCE
#include "tests/sim/descriptors.h"

#include "tests/sim/threads.h"
#include "tests/sim/timeline.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define FIRST           1000
#define DESCRIPTORS_MAX 64

#define CALL_NS          (2 * NS_PER_US) /* what poll(2) takes */
#define LATE_NS          (80 * NS_PER_US)
#define POLLS_PER_SECOND 5000

enum kind {
    KIND_CLOSED,
    KIND_EVENT,
    KIND_SOCKET,
    KIND_TIMER,
};

static struct descriptor {
    enum kind kind;
    uint64_t count; /* of an eventfd */
    struct link *link;
    int64_t expires_ns, period_ns; /* of a timer */
} descriptors[DESCRIPTORS_MAX];

static struct rng dice = {.state = 4711};

int descriptors_watched = -1;
void (*descriptors_on_watched)(void);
int64_t descriptors_wall_offset_ms = INT64_C(1700000000000);

static struct descriptor *find(int fd)
{
    if (fd < FIRST || fd >= FIRST + DESCRIPTORS_MAX)
        return NULL;
    struct descriptor *d = &descriptors[fd - FIRST];
    if (d->kind == KIND_CLOSED)
        timeline_violation("once", "descriptor %d was used after it was closed", fd);
    return d;
}

static int open_descriptor(struct descriptor d)
{
    for (int i = 0; i < DESCRIPTORS_MAX; i++) {
        if (descriptors[i].kind == KIND_CLOSED) {
            descriptors[i] = d;
            return FIRST + i;
        }
    }
    timeline_violation("leak", "%d descriptors are open", DESCRIPTORS_MAX);
}

int descriptors_open_socket(struct link *link)
{
    return open_descriptor((struct descriptor){.kind = KIND_SOCKET, .link = link});
}

int descriptors_count(void)
{
    int count = 0;
    for (int i = 0; i < DESCRIPTORS_MAX; i++)
        count += descriptors[i].kind != KIND_CLOSED;
    return count;
}

static short socket_events(const struct link *link)
{
    switch (link->state) {
    case LINK_CONNECTING: return 0;
    case LINK_OPEN: return link->delivered > link->read || link->at_end ? POLLIN | POLLOUT : POLLOUT;
    default: return POLLIN | POLLOUT | POLLERR | POLLHUP;
    }
}

static short events_of(const struct descriptor *d)
{
    switch (d->kind) {
    case KIND_EVENT: return d->count > 0 ? POLLIN | POLLOUT : POLLOUT;
    case KIND_TIMER: return d->expires_ns <= timeline_now_ns ? POLLIN : 0;
    case KIND_SOCKET: return socket_events(d->link);
    case KIND_CLOSED: break;
    }
    return 0;
}

struct polled {
    struct pollfd *fds;
    nfds_t count;
    int ready;
};

static bool is_ready(void *context)
{
    struct polled *p = context;
    p->ready = 0;
    for (nfds_t i = 0; i < p->count; i++) {
        struct pollfd *pfd = &p->fds[i];
        pfd->revents = 0;
        if (pfd->fd < 0)
            continue;
        const struct descriptor *d = find(pfd->fd);
        short there = d != NULL ? events_of(d) : POLLOUT;
        pfd->revents = there & (short)(pfd->events | POLLERR | POLLHUP);
        p->ready += pfd->revents != 0;
    }
    return p->ready > 0;
}

/* A program that polls without waiting uses up a core. */
static void count_poll(void)
{
    static int64_t second;
    static int64_t polls;
    if (timeline_now_ns / NS_PER_S != second) {
        second = timeline_now_ns / NS_PER_S;
        polls = 0;
    }
    if (++polls > POLLS_PER_SECOND)
        timeline_violation("spin", "poll was called %d times within a second", POLLS_PER_SECOND);
}

static int poll_until(struct pollfd *fds, nfds_t count, int64_t deadline_ns)
{
    struct polled polled = {.fds = fds, .count = count};

    if (count == 1 && fds[0].fd == STDERR_FILENO) { /* the log polls it before it writes */
        fds[0].revents = POLLOUT;
        return 1;
    }
    count_poll();
    timeline_run_to(timeline_now_ns + CALL_NS);
    if (!is_ready(&polled) && deadline_ns > timeline_now_ns) {
        threads_wait(deadline_ns, is_ready, &polled);
        timeline_run_to(timeline_now_ns + rng_below(&dice, LATE_NS));
        is_ready(&polled);
    }
    return polled.ready;
}

/* The following functions replace those of the C library. */

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return poll_until(fds, count, timeout_ms < 0 ? CLOCK_NEVER : timeline_now_ns + timeout_ms * NS_PER_MS);
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    (void)mask;
    int64_t deadline_ns =
        timeout == NULL ? CLOCK_NEVER : timeline_now_ns + timeout->tv_sec * NS_PER_S + timeout->tv_nsec;
    return poll_until(fds, count, deadline_ns);
}

int eventfd(unsigned initial, int flags)
{
    (void)flags;
    return open_descriptor((struct descriptor){.kind = KIND_EVENT, .count = initial});
}

int timerfd_create(clockid_t clock, int flags)
{
    (void)clock;
    (void)flags;
    return open_descriptor((struct descriptor){.kind = KIND_TIMER, .expires_ns = CLOCK_NEVER});
}

static void do_nothing(void *context, int64_t number)
{
    (void)context;
    (void)number;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *before)
{
    struct descriptor *d = find(fd);
    int64_t ns = when->it_value.tv_sec * NS_PER_S + when->it_value.tv_nsec;
    (void)before;
    if (d == NULL || d->kind != KIND_TIMER) {
        errno = EINVAL;
        return -1;
    }
    d->expires_ns = ns == 0 ? CLOCK_NEVER : (flags & TFD_TIMER_ABSTIME) != 0 ? ns : timeline_now_ns + ns;
    d->period_ns = when->it_interval.tv_sec * NS_PER_S + when->it_interval.tv_nsec;
    if (d->expires_ns != CLOCK_NEVER) /* virtual time must stop then */
        timeline_at(d->expires_ns, do_nothing, NULL, 0);
    return 0;
}

static bool event_is_ready(void *descriptor)
{
    return (events_of(descriptor) & POLLIN) != 0;
}

static ssize_t read_number(struct descriptor *d, void *out)
{
    uint64_t number = d->count;
    if (!event_is_ready(d)) {
        errno = EAGAIN;
        return -1;
    }
    if (d->kind == KIND_TIMER) {
        number = 1;
        d->expires_ns = d->period_ns > 0 ? d->expires_ns + d->period_ns : CLOCK_NEVER;
    }
    d->count = 0;
    memcpy(out, &number, sizeof number);
    return sizeof number;
}

/* The first bytes that a real server may send: of an authentication request, of an error, or of an error in
 * the old protocol. */
static const char *first_bytes(const struct message *m)
{
    if (m == NULL || m->kind != DOWN_ERROR)
        return "R\0\0\0\x3c";
    return m->sqlstate != NULL ? "E\0\0\0\x3c" : "Ecoul";
}

static ssize_t read_socket(struct link *link, void *out, size_t len, bool keep)
{
    int64_t there = link->delivered - link->read;

    if (there == 0 && (link->state == LINK_RESET || link->state == LINK_REFUSED)) {
        errno = link->state == LINK_RESET ? ECONNRESET : ECONNREFUSED;
        return -1;
    }
    if (there == 0) {
        errno = EAGAIN;
        return link->at_end ? 0 : -1;
    }
    ssize_t n = (int64_t)len < there ? (ssize_t)len : (ssize_t)there;
    memcpy(out, first_bytes(link->inbox), n < 5 ? (size_t)n : 5);
    link->read += keep ? 0 : n;
    return n;
}

ssize_t recvfrom(int fd, void *out, size_t len, int flags, __SOCKADDR_ARG from, socklen_t *from_len)
{
    struct descriptor *d = find(fd);
    (void)from;
    (void)from_len;
    if (d == NULL || d->kind != KIND_SOCKET) {
        errno = ENOTSOCK;
        return -1;
    }
    return read_socket(d->link, out, len, (flags & MSG_PEEK) != 0);
}

ssize_t read(int fd, void *out, size_t len)
{
    struct descriptor *d = find(fd);
    if (d == NULL)
        return syscall(SYS_read, fd, out, len);
    if (d->kind == KIND_SOCKET)
        return read_socket(d->link, out, len, false);
    return read_number(d, out);
}

int eventfd_read(int fd, eventfd_t *value)
{
    return read(fd, value, sizeof *value) > 0 ? 0 : -1;
}

int eventfd_write(int fd, eventfd_t value)
{
    struct descriptor *d = find(fd);
    d->count += value;
    if (fd == descriptors_watched)
        descriptors_on_watched();
    return 0;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    uint64_t number;
    if (fd == STDERR_FILENO) { /* the log writes one line at a time */
        timeline_note("log: %.*s", (int)len - 1, (const char *)bytes);
        return (ssize_t)len;
    }
    if (find(fd) == NULL)
        return syscall(SYS_write, fd, bytes, len);
    memcpy(&number, bytes, sizeof number);
    return eventfd_write(fd, number) == 0 ? (ssize_t)len : -1;
}

int close(int fd)
{
    struct descriptor *d = find(fd);
    if (d == NULL)
        return (int)syscall(SYS_close, fd);
    d->kind = KIND_CLOSED;
    return 0;
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    struct descriptor *d = find(fd);
    memset(value, 0, *len);
    if (level == IPPROTO_TCP && option == TCP_INFO && *len >= sizeof(struct tcp_info))
        ((struct tcp_info *)value)->tcpi_unacked = d->link->up.first != NULL;
    return 0;
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    (void)find(fd);
    (void)level;
    (void)option;
    (void)value;
    (void)len;
    return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    struct descriptor *d = find(fd);
    va_list args;
    va_start(args, request);
    int *out = va_arg(args, int *);
    va_end(args);
    if (d != NULL && request == FIONREAD)
        *out = (int)(d->link->delivered - d->link->read);
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int64_t ns = timeline_now_ns;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        ns += descriptors_wall_offset_ms * NS_PER_MS;
    } else {
        threads_clock_read();
        ns = timeline_now_ns;
    }
    *out = (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    return 0;
}

int nanosleep(const struct timespec *duration, struct timespec *left)
{
    (void)left;
    threads_wait(timeline_now_ns + duration->tv_sec * NS_PER_S + duration->tv_nsec, NULL, NULL);
    return 0;
}

pid_t getpid(void)
{
    return 4711;
}

long random(void)
{
    return (long)(rng_next(&dice) >> 33);
}

void srandom(unsigned seed)
{
    dice.state = seed;
}

ssize_t getrandom(void *out, size_t len, unsigned flags)
{
    unsigned char *bytes = out;
    (void)flags;
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)rng_next(&dice);
    return (ssize_t)len;
}
