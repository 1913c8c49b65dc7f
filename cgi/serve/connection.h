/* The open FastCGI connections: which are new, idle for how long, which have sent half a request. Main
 * thread. */
#ifndef SERVE_CONNECTION_H
#define SERVE_CONNECTION_H

#include <stddef.h>
#include <stdint.h>

enum connection_phase {
    CONNECTION_NEW,     /* accepted, nothing sent yet; ordered by when it came */
    CONNECTION_IDLE,    /* between requests; the list is ordered by the last activity */
    CONNECTION_PARTIAL, /* the first bytes of a request are here; ordered by when they came */
    CONNECTION_CLOSED,  /* until connections_free_closed: the epoll batch at hand may still name it */
    CONNECTION_PHASES
};

struct connection {
    int fd; /* -1 when closed */
    enum connection_phase phase;
    int64_t since_ns; /* in this phase */
    struct connection *prev;
    struct connection *next;
};

struct connection_list {
    struct connection *head; /* longest in this phase */
    struct connection *tail;
};

struct connections {
    struct connection_list phases[CONNECTION_PHASES];
    size_t open; /* all but the closed */
};

/* Takes over fd; new since now_ns. */
struct connection *connections_add(struct connections *all, int fd, int64_t now_ns);

/* Moves it to the end of the phase's list, since now_ns. */
void connections_move(struct connections *all, struct connection *c, enum connection_phase phase,
                      int64_t now_ns);

/* Closes the descriptor (which takes it out of epoll). */
void connections_close(struct connections *all, struct connection *c);

/* The one that has to make room: the longest idle, else the longest without a byte, else the longest partial;
 * NULL when there is none. */
struct connection *connections_oldest(const struct connections *all);

/* Frees those that were closed. Call between two epoll batches. */
void connections_free_closed(struct connections *all);

#endif
