/* Intrusive lists, one per phase. Main thread; owns the connections and their descriptors. */
#include "cgi/serve/connection.h"

#include "common/buf.h"

#include <stdlib.h>
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

struct connection *connections_add(struct connections *all, int fd, int64_t now_ns)
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

void connections_close(struct connections *all, struct connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    connections_move(all, c, CONNECTION_CLOSED, c->since_ns);
    all->open--;
}

struct connection *connections_oldest(const struct connections *all)
{
    static const enum connection_phase order[] = {CONNECTION_IDLE, CONNECTION_NEW, CONNECTION_PARTIAL};
    struct connection *oldest = NULL;
    for (size_t i = 0; oldest == NULL && i < sizeof order / sizeof order[0]; i++)
        oldest = all->phases[order[i]].head;
    return oldest;
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
