/* The open FastCGI connections: which are new, idle for how long, which have sent half a request. Main
 * thread. */
#ifndef SERVE_CONNECTION_H
#define SERVE_CONNECTION_H

#include "cgi/serve/gate.h"
#include "common/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connection whose request has not come keeps its place for so long: a client that has just connected may
 * have to wait for a processor before it writes. */
#define CONNECTION_GRACE_NS (100 * NS_PER_MS)

enum connection_phase {
    CONNECTION_NEW,     /* accepted, nothing sent yet; ordered by when it came */
    CONNECTION_IDLE,    /* between requests; the list is ordered by the last activity */
    CONNECTION_PARTIAL, /* the first bytes of a request are here; ordered by when they came */
    CONNECTION_BODY,    /* all of a request but its body; ordered by when the rest was here */
    CONNECTION_QUEUED,  /* has sent several requests at once: the next one waits for its turn */
    CONNECTION_CLOSED,  /* until connections_free_closed: the epoll batch at hand may still name it */
    CONNECTION_PHASES
};

struct connection {
    int fd; /* -1 when closed */
    enum connection_phase phase;
    int64_t since_ns; /* in this phase */
    struct gate gate;
    struct buf rest; /* CONNECTION_QUEUED: received, and not given to the gate yet, from rest_at on */
    size_t rest_at;
    struct connection *prev;
    struct connection *next;
};

struct connection_list {
    struct connection *head; /* longest in this phase */
    struct connection *tail;
};

struct connections {
    size_t max; /* HEALTH_MAX_CONNECTIONS */
    struct connection_list phases[CONNECTION_PHASES];
    size_t open;            /* all but the closed */
    int64_t refused;        /* calls of accept in a row for which the system had no room */
    int64_t room_logged_ns; /* 0: never */
};

enum accept_result {
    ACCEPT_ONE,
    ACCEPT_NONE,   /* the backlog is empty, or the peer is lost already: epoll reports the next one */
    ACCEPT_FULL,   /* all places are in use: try again when one closes, or at connections_evictable_ns */
    ACCEPT_FAILED, /* the system has no room: not again before some time has passed */
};

/* Accepts one that waits at the listener, new since now_ns. Past max, and where this process has no
 * descriptor left, another makes room: one whose request is late, else the longest idle. */
__attribute__((warn_unused_result)) enum accept_result
connections_accept(struct connections *all, int listener_fd, int64_t now_ns, struct connection **out);

/* From when on one of them can make room for another, CLOCK_NEVER as long as all have a request under way. */
int64_t connections_evictable_ns(const struct connections *all);

/* Moves it to the end of the phase's list, since now_ns. */
void connections_move(struct connections *all, struct connection *c, enum connection_phase phase,
                      int64_t now_ns);

/* Closes the descriptor (which takes it out of epoll). why is for the log at level debug. */
void connections_close(struct connections *all, struct connection *c, const char *why);

/* Closes those that have been in the phase for limit_ns. Returns how many. */
size_t connections_expire(struct connections *all, enum connection_phase phase, int64_t limit_ns,
                          int64_t now_ns);

/* Whether one of them is expected to send a request, or the rest of one, or has one that waits. */
bool connections_are_awaited(const struct connections *all);

/* Closes and frees all of them. */
void connections_close_all(struct connections *all);

/* Frees those that were closed. Call between two epoll batches. */
void connections_free_closed(struct connections *all);

#endif
