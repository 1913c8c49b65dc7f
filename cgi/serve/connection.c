/* Keeps the connections in intrusive lists and decides which one makes room for another. Main thread; owns
 * the connections and their descriptors. */
#include "cgi/serve/connection.h"

#include "common/buf.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

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

static struct connection *add_connection(struct connections *all, int fd, int64_t now_ns)
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
    log_event(LOG_LEVEL_DEBUG, "connection closed", LOG_STR("reason", why));
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

/* The connections that make room for another one, in this order. A client connects because it has a
 * request, so a connection whose request is late is of less use than one that has been idle for a long
 * time. */
static const struct {
    enum connection_phase phase;
    int64_t grace_ns;
    const char *why;
} evicted[] = {
    {CONNECTION_NEW, CONNECTION_GRACE_NS, "its request is late, and another connection needs the place"},
    {CONNECTION_IDLE, 0, "idle, and another connection needs the place"},
    {CONNECTION_PARTIAL, CONNECTION_GRACE_NS, "half a request came, and another connection needs the place"},
};

enum { EVICTED_COUNT = sizeof evicted / sizeof evicted[0] };

/* Returns NULL when there is none. Skips connections with unread input. */
static struct connection *find_evictable(const struct connections *all, int64_t now_ns)
{
    for (size_t i = 0; i < EVICTED_COUNT; i++) {
        struct connection *c = all->phases[evicted[i].phase].head;
        for (; c != NULL && c->since_ns + evicted[i].grace_ns <= now_ns; c = c->next)
            if (!has_input(c))
                return c;
    }
    return NULL;
}

int64_t connections_evictable_ns(const struct connections *all)
{
    int64_t evictable_ns = CLOCK_NEVER;
    for (size_t i = 0; i < EVICTED_COUNT; i++) {
        const struct connection *oldest = all->phases[evicted[i].phase].head;
        if (oldest != NULL && oldest->since_ns + evicted[i].grace_ns < evictable_ns)
            evictable_ns = oldest->since_ns + evicted[i].grace_ns;
    }
    return evictable_ns;
}

static void evict(struct connections *all, struct connection *c)
{
    size_t i = 0;
    while (i < EVICTED_COUNT - 1 && evicted[i].phase != c->phase)
        i++;
    connections_close(all, c, evicted[i].why);
}

/* accept(2) reports these errors when the backlog is empty or this one peer is lost. epoll reports the
 * next peer. */
static bool is_peer_error(int error)
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

static void log_no_descriptor(struct connections *all, int64_t now_ns)
{
    if (log_is_due(&all->room_logged_ns, now_ns))
        log_event(LOG_LEVEL_WARN, "descriptors exhausted", LOG_INT("connections", (int64_t)all->open));
}

/* Calls accept4(2). When this process has no descriptor left, closes another connection and tries again. */
static int accept_one(struct connections *all, int listener_fd, int64_t now_ns)
{
    for (;;) {
        int fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 || errno != EMFILE)
            return fd;
        log_no_descriptor(all, now_ns);
        struct connection *c = find_evictable(all, now_ns);
        if (c == NULL) {
            errno = EMFILE;
            return -1;
        }
        evict(all, c);
    }
}

static enum accept_result report_full(struct connections *all, int64_t now_ns)
{
    if (log_is_due(&all->room_logged_ns, now_ns))
        log_event(LOG_LEVEL_NOTICE, "connection limit reached", LOG_INT("max", (int64_t)all->max));
    return ACCEPT_FULL;
}

static enum accept_result judge_accept_error(struct connections *all, int error)
{
    if (is_peer_error(error))
        return ACCEPT_NONE;
    if (error == EMFILE && all->open > 0)
        return ACCEPT_FULL;
    if (all->refused++ == 0)
        log_event(LOG_LEVEL_ERROR, "accept failed", LOG_STR("error", strerror(error)));
    return ACCEPT_FAILED;
}

enum accept_result connections_accept(struct connections *all, int listener_fd, int64_t now_ns,
                                      struct connection **out)
{
    struct connection *evictable = all->open >= all->max ? find_evictable(all, now_ns) : NULL;
    if (all->open >= all->max && evictable == NULL)
        return report_full(all, now_ns);
    int fd = accept_one(all, listener_fd, now_ns);
    if (fd < 0)
        return judge_accept_error(all, errno);
    if (all->refused > 0)
        log_event(LOG_LEVEL_NOTICE, "accept recovered", LOG_INT("failed_tries", all->refused));
    all->refused = 0;
    if (evictable != NULL && all->open >= all->max) {
        /* The chosen connection may have sent its next request meanwhile. Then another one makes room, if
         * there is one. */
        struct connection *idle = find_evictable(all, now_ns);
        evict(all, idle != NULL ? idle : evictable);
    }
    *out = add_connection(all, fd, now_ns);
    return ACCEPT_ONE;
}

size_t connections_expire(struct connections *all, enum connection_phase phase, int64_t limit_ns,
                          int64_t now_ns)
{
    const char *why = phase == CONNECTION_PARTIAL ? "only half a request came in time" : "idle for too long";
    size_t closed = 0;
    struct connection *next = NULL;
    for (struct connection *c = all->phases[phase].head; c != NULL && c->since_ns + limit_ns <= now_ns;
         c = next) {
        next = c->next;
        /* A connection with unread input is not late until twice the limit has passed. */
        if (c->since_ns + 2 * limit_ns > now_ns && has_input(c))
            continue;
        connections_close(all, c, why);
        closed++;
    }
    return closed;
}

bool connections_are_awaited(const struct connections *all)
{
    static const enum connection_phase awaited[] = {CONNECTION_NEW, CONNECTION_PARTIAL, CONNECTION_BODY,
                                                    CONNECTION_QUEUED};
    for (size_t i = 0; i < sizeof awaited / sizeof awaited[0]; i++)
        if (all->phases[awaited[i]].head != NULL)
            return true;
    return false;
}

void connections_free_closed(struct connections *all)
{
    struct connection_list *closed = &all->phases[CONNECTION_CLOSED];
    struct connection *c = closed->head;
    *closed = (struct connection_list){0};
    while (c != NULL) {
        struct connection *next = c->next;
        gate_free(&c->gate);
        buf_free(&c->rest);
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
