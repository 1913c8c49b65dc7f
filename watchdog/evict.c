/* Ends rogues with pidfd_send_signal(2). Main thread; owns the pidfds during an eviction. */
#include "watchdog/evict.h"

#include "common/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One round is not always enough: a server may have more than ROGUE_MAX processes, and may fork during the
 * round. */
#define ROUNDS_MAX 4

struct eviction {
    const struct address *listener;
    const struct unit_status *unit;
    const struct rogue_list *rogues;
    struct pollfd fds[ROGUE_MAX]; /* pidfds; -1: the rogue is left alone, or has exited */
};

/* glibc has a function for each of these two only from 2.36 on. */
static int open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static bool send_signal(int pidfd, int sig)
{
    return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) == 0;
}

bool evict_may(const struct rogue *rogue)
{
    return rogue->is_holder && rogue->owner[0] == '\0' && rogue->holder.pid > 1 &&
           rogue->holder.pid != getpid() && rogue->holder.start_ticks != 0;
}

static bool is_in(const struct rogue_list *list, const struct rogue *wanted)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].holder.pid == wanted->holder.pid &&
            list->items[i].holder.start_ticks == wanted->holder.start_ticks && evict_may(&list->items[i]))
            return true;
    return false;
}

static void close_pidfd(struct pollfd *pidfd)
{
    if (pidfd->fd >= 0)
        close(pidfd->fd);
    pidfd->fd = -1;
}

/* Signals each process that is still a rogue; leaves alone one that has closed the listener. */
static void signal_rogues(struct eviction *e, int sig)
{
    struct rogue_list now;
    rogue_find(e->listener, e->unit, &now);
    for (size_t i = 0; i < e->rogues->count; i++) {
        /* A failure to signal is no error here: evict_run looks again for the rogues that are left. */
        if (!is_in(&now, &e->rogues->items[i]) || (e->fds[i].fd >= 0 && !send_signal(e->fds[i].fd, sig)))
            close_pidfd(&e->fds[i]);
    }
}

/* Waits until all have exited or wait_ms have passed. */
static void wait_gone(struct eviction *e, int64_t wait_ms)
{
    int64_t deadline_ns = clock_now_ns() + wait_ms * NS_PER_MS;
    for (;;) {
        size_t left = 0;
        for (size_t i = 0; i < e->rogues->count; i++)
            left += e->fds[i].fd >= 0;
        int64_t now_ns = clock_now_ns();
        if (left == 0 || now_ns >= deadline_ns)
            return;
        if (poll(e->fds, e->rogues->count, clock_poll_timeout_ms(deadline_ns, now_ns)) < 0 && errno != EINTR)
            return;
        for (size_t i = 0; i < e->rogues->count; i++)
            if (e->fds[i].revents != 0)
                close_pidfd(&e->fds[i]);
    }
}

static void evict_listed(const struct address *listener, const struct unit_status *unit,
                         const struct rogue_list *rogues)
{
    struct eviction e = {.listener = listener, .unit = unit, .rogues = rogues};
    for (size_t i = 0; i < rogues->count; i++) {
        const struct rogue *rogue = &rogues->items[i];
        e.fds[i] =
            (struct pollfd){.fd = evict_may(rogue) ? open_pidfd(rogue->holder.pid) : -1, .events = POLLIN};
    }
    signal_rogues(&e, SIGTERM);
    wait_gone(&e, EVICT_TERM_MS);
    signal_rogues(&e, SIGKILL);
    wait_gone(&e, EVICT_KILL_MS);
    for (size_t i = 0; i < rogues->count; i++)
        close_pidfd(&e.fds[i]);
}

static bool has_new(const struct rogue_list *list, const struct rogue_list *before)
{
    for (size_t i = 0; i < list->count; i++)
        if (evict_may(&list->items[i]) && !is_in(before, &list->items[i]))
            return true;
    return false;
}

bool evict_run(const struct address *listener, const struct unit_status *unit,
               const struct rogue_list *rogues, struct error *err)
{
    struct rogue_list before = *rogues;
    struct rogue_list left;
    char who[200];
    for (int rounds = 0; rounds < ROUNDS_MAX; rounds++) {
        evict_listed(listener, unit, &before);
        rogue_find(listener, unit, &left);
        if (left.count == 0)
            return true;
        if (!has_new(&left, &before))
            break;
        before = left;
    }
    rogue_describe(&left.items[0], who, sizeof who);
    error_set(err, "the listener is still held by %s", who);
    return false;
}
