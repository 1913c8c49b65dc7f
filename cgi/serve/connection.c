/* Intrusive lists, one per phase. Main thread; owns the connections and their descriptors. */
#include "cgi/serve/connection.h"

#include "common/buf.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FULL_LOG_NS (60 * NS_PER_S)

static void list_remove(struct connection_list *list, struct connection *c)
{
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        list->head = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    else
        list->tail = c->prev;
}

static void list_append(struct connection_list *list, struct connection *c)
{
    c->next = NULL;
    c->prev = list->tail;
    if (list->tail != NULL)
        list->tail->next = c;
    else
        list->head = c;
    list->tail = c;
}

static struct connection *add(struct connections *all, int fd, int64_t now_ns)
{
    struct connection *c = mem_calloc(1, sizeof *c);
    c->fd = fd;
    c->phase = CONNECTION_NEW;
    c->since_ns = now_ns;
    c->gate.max_connections = (int64_t)all->max;
    list_append(&all->phases[CONNECTION_NEW], c);
    all->open++;
    return c;
}

void connections_move(struct connections *all, struct connection *c, enum connection_phase phase,
                      int64_t now_ns)
{
    list_remove(&all->phases[c->phase], c);
    c->phase = phase;
    c->since_ns = now_ns;
    list_append(&all->phases[phase], c);
}

void connections_close(struct connections *all, struct connection *c, const char *why)
{
    log_event(LOG_LEVEL_DEBUG, "connection closed", LOG_STR("why", why));
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    connections_move(all, c, CONNECTION_CLOSED, c->since_ns);
    all->open--;
}

static bool has_input(const struct connection *c)
{
    int len = 0;
    return ioctl(c->fd, FIONREAD, &len) == 0 && len > 0;
}

/* The one that has to make room: the longest idle, else the oldest whose request should have come by now.
 * None that has sent something that nobody has read yet. NULL when there is none. */
static struct connection *find_evictable(const struct connections *all, int64_t now_ns)
{
    static const enum connection_phase order[] = {CONNECTION_IDLE, CONNECTION_NEW, CONNECTION_PARTIAL};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        int64_t grace_ns = order[i] == CONNECTION_IDLE ? 0 : CONNECTION_GRACE_NS;
        struct connection *c = all->phases[order[i]].head;
        while (c != NULL && c->since_ns + grace_ns <= now_ns && has_input(c))
            c = c->next;
        if (c != NULL && c->since_ns + grace_ns <= now_ns)
            return c;
    }
    return NULL;
}

int64_t connections_evictable_ns(const struct connections *all)
{
    static const enum connection_phase order[] = {CONNECTION_NEW, CONNECTION_PARTIAL};
    int64_t evictable_ns = CLOCK_NEVER;
    if (all->phases[CONNECTION_IDLE].head != NULL)
        return 0;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        const struct connection *oldest = all->phases[order[i]].head;
        if (oldest != NULL && oldest->since_ns + CONNECTION_GRACE_NS < evictable_ns)
            evictable_ns = oldest->since_ns + CONNECTION_GRACE_NS;
    }
    return evictable_ns;
}

/* Nobody waits any more, or one peer is lost, accept(2): epoll tells of the next. */
static bool is_of_one_peer(int error)
{
    switch (error) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET: return true;
    default: return false;
    }
}

/* accept4(2), with a descriptor that another connection gives up where this process has no other. */
static int accept_one(struct connections *all, int listener_fd, int64_t now_ns)
{
    for (;;) {
        int fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        int error = errno;
        if (fd >= 0 || error != EMFILE)
            return fd;
        struct connection *evictable = find_evictable(all, now_ns);
        errno = error;
        if (evictable == NULL)
            return fd;
        connections_close(all, evictable, strerror(error));
    }
}

static enum accept_result refuse_full(struct connections *all, int64_t now_ns)
{
    if (all->full_logged_ns == 0 || now_ns >= all->full_logged_ns + FULL_LOG_NS) {
        log_event(LOG_LEVEL_NOTICE, "all connections in use, the next ones wait",
                  LOG_INT("connections", (int64_t)all->open), LOG_INT("max", (int64_t)all->max));
        all->full_logged_ns = now_ns;
    }
    return ACCEPT_FULL;
}

static enum accept_result refuse_failed(struct connections *all, int error)
{
    if (all->refused++ == 0)
        log_event(LOG_LEVEL_ERROR, "cannot accept, trying again each second",
                  LOG_STR("error", strerror(error)));
    return ACCEPT_FAILED;
}

enum accept_result connections_accept(struct connections *all, int listener_fd, int64_t now_ns,
                                      struct connection **out)
{
    struct connection *evictable = NULL;
    if (all->open >= all->max) {
        evictable = find_evictable(all, now_ns);
        if (evictable == NULL)
            return refuse_full(all, now_ns);
    }
    int fd = accept_one(all, listener_fd, now_ns);
    if (fd < 0 && is_of_one_peer(errno))
        return ACCEPT_NONE;
    if (fd < 0)
        return errno == EMFILE && all->open > 0 ? refuse_full(all, now_ns) : refuse_failed(all, errno);
    if (all->refused > 0)
        log_event(LOG_LEVEL_NOTICE, "accepting again", LOG_INT("failed_tries", all->refused));
    all->refused = 0;
    if (all->open >= all->max)
        connections_close(all, evictable, "idle, and HEALTH_MAX_CONNECTIONS is reached");
    *out = add(all, fd, now_ns);
    return ACCEPT_ONE;
}

size_t connections_expire(struct connections *all, enum connection_phase phase, int64_t limit_ns,
                          int64_t now_ns)
{
    const char *why = phase == CONNECTION_PARTIAL ? "half a request for too long" : "idle for too long";
    size_t closed = 0;
    struct connection *c;
    for (; (c = all->phases[phase].head) != NULL && c->since_ns + limit_ns <= now_ns; closed++)
        connections_close(all, c, why);
    return closed;
}

bool connections_are_awaited(const struct connections *all)
{
    return all->phases[CONNECTION_NEW].head != NULL || all->phases[CONNECTION_PARTIAL].head != NULL ||
           all->phases[CONNECTION_BODY].head != NULL;
}

void connections_free_closed(struct connections *all)
{
    struct connection_list *closed = &all->phases[CONNECTION_CLOSED];
    struct connection *c = closed->head;
    *closed = (struct connection_list){0};
    while (c != NULL) {
        struct connection *next = c->next;
        gate_free(&c->gate);
        free(c);
        c = next;
    }
}

void connections_close_all(struct connections *all)
{
    for (size_t phase = 0; phase < CONNECTION_CLOSED; phase++) {
        struct connection *c;
        while ((c = all->phases[phase].head) != NULL)
            connections_close(all, c, "stopped");
    }
    connections_free_closed(all);
}
