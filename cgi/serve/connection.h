/* The open FastCGI connections: which are new, idle for how long, which have sent half a request. Main
 * thread. */
#ifndef SERVE_CONNECTION_H
#define SERVE_CONNECTION_H

#include <stdbool.h>
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
    size_t open;     /* all but the closed */
    int64_t refused; /* calls of accept in a row for which the system had no room */
};

enum accept_result {
    ACCEPT_ONE,
    ACCEPT_NONE,    /* nobody, or one that is lost already: epoll tells of the next */
    ACCEPT_NO_ROOM, /* the system's: not again before some time has passed */
};

/* Accepts one that waits at the listener, new since now_ns. Past max, and where this process has no
 * descriptor left, the oldest makes room. */
enum accept_result connections_accept(struct connections *all, int listener_fd, size_t max, int64_t now_ns,
                                      struct connection **out);

/* Moves it to the end of the phase's list, since now_ns. */
void connections_move(struct connections *all, struct connection *c, enum connection_phase phase,
                      int64_t now_ns);

/* Closes the descriptor (which takes it out of epoll). why is for the log at level debug. */
void connections_close(struct connections *all, struct connection *c, const char *why);

/* Closes those that have been in the phase for limit_ns. */
void connections_expire(struct connections *all, enum connection_phase phase, int64_t limit_ns,
                        int64_t now_ns);

/* Whether a request is to come of one: it is new, or has sent half of it. */
bool connections_are_awaited(const struct connections *all);

/* Closes and frees all of them. */
void connections_close_all(struct connections *all);

/* Frees those that were closed. Call between two epoll batches. */
void connections_free_closed(struct connections *all);

#endif
