/* Intrusive lists, one per phase. Main thread; owns the connections and their descriptors. */
#include "cgi/serve/connection.h"

#include "common/buf.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
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

static struct connection *add(struct connections *all, int fd, int64_t now_ns)
{
    struct connection *c = mem_calloc(1, sizeof *c);
    c->fd = fd;
    c->phase = CONNECTION_NEW;
    c->since_ns = now_ns;
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

/* The one that has to make room: the longest idle, else the longest without a byte, else the longest partial;
 * NULL when there is none. */
static struct connection *find_oldest(const struct connections *all)
{
    static const enum connection_phase order[] = {CONNECTION_IDLE, CONNECTION_NEW, CONNECTION_PARTIAL};
    struct connection *oldest = NULL;
    for (size_t i = 0; oldest == NULL && i < sizeof order / sizeof order[0]; i++)
        oldest = all->phases[order[i]].head;
    return oldest;
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

/* accept4(2), with a descriptor that the oldest connection gives up where this process has no other. */
static int accept_one(struct connections *all, int listener_fd)
{
    for (;;) {
        int fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        int error = errno;
        struct connection *oldest = find_oldest(all);
        if (fd >= 0 || error != EMFILE || oldest == NULL) {
            errno = error;
            return fd;
        }
        connections_close(all, oldest, strerror(error));
    }
}

enum accept_result connections_accept(struct connections *all, int listener_fd, size_t max, int64_t now_ns,
                                      struct connection **out)
{
    int fd = accept_one(all, listener_fd);
    if (fd < 0 && is_of_one_peer(errno))
        return ACCEPT_NONE;
    if (fd < 0) {
        if (all->refused++ == 0)
            log_event(LOG_LEVEL_ERROR, "cannot accept, trying again at each tick",
                      LOG_STR("error", strerror(errno)));
        return ACCEPT_NO_ROOM;
    }
    if (all->refused > 0)
        log_event(LOG_LEVEL_NOTICE, "accepting again", LOG_INT("failed_tries", all->refused));
    all->refused = 0;
    if (all->open >= max)
        connections_close(all, find_oldest(all), "the cap is reached, longest idle");
    *out = add(all, fd, now_ns);
    return ACCEPT_ONE;
}

void connections_expire(struct connections *all, enum connection_phase phase, int64_t limit_ns,
                        int64_t now_ns)
{
    const char *why = phase == CONNECTION_PARTIAL ? "half a request for too long" : "idle for too long";
    struct connection *c;
    while ((c = all->phases[phase].head) != NULL && c->since_ns + limit_ns <= now_ns)
        connections_close(all, c, why);
}

bool connections_are_awaited(const struct connections *all)
{
    return all->phases[CONNECTION_NEW].head != NULL || all->phases[CONNECTION_PARTIAL].head != NULL;
}

void connections_free_closed(struct connections *all)
{
    struct connection_list *closed = &all->phases[CONNECTION_CLOSED];
    struct connection *c = closed->head;
    *closed = (struct connection_list){0};
    while (c != NULL) {
        struct connection *next = c->next;
        free(c);
        c = next;
    }
}

void connections_close_all(struct connections *all)
{
    struct connection *c;
    while ((c = find_oldest(all)) != NULL)
        connections_close(all, c, "stopped");
    connections_free_closed(all);
}
