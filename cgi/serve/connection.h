/* The open FastCGI connections, in one list per phase. Main thread. */
#ifndef SERVE_CONNECTION_H
#define SERVE_CONNECTION_H

#include "cgi/serve/gate.h"
#include "common/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connection without a request keeps its place for this long. A client that has just connected may have
 * to wait for a processor before it writes. */
#define CONNECTION_GRACE_NS (100 * NS_PER_MS)

enum connection_phase {
    CONNECTION_NEW,     /* accepted; the peer has sent nothing yet */
    CONNECTION_IDLE,    /* between two requests, since the last byte */
    CONNECTION_PARTIAL, /* the peer has sent the first bytes of a request */
    CONNECTION_BODY,    /* the peer has sent all of a request but its body */
    CONNECTION_QUEUED,  /* the peer has sent several requests at once; the next one waits for its turn */
    CONNECTION_CLOSED,  /* kept until connections_free_closed: the current epoll batch may still name it */
    CONNECTION_PHASES
};

struct connection {
    int fd; /* -1 when closed */
    enum connection_phase phase;
    int64_t since_ns; /* when it entered this phase */
    struct gate gate;
    struct buf rest; /* CONNECTION_QUEUED: received bytes; from rest_at on the gate has not taken them */
    size_t rest_at;
    struct connection *prev;
    struct connection *next;
};

struct connection_list {
    struct connection *head; /* has been in this phase for the longest time */
    struct connection *tail;
};

struct connections {
    size_t max; /* HEALTH_MAX_CONNECTIONS */
    struct connection_list phases[CONNECTION_PHASES];
    size_t open;            /* all but the closed ones */
    int64_t refused;        /* how many calls of accept in a row failed because the system had no room */
    int64_t room_logged_ns; /* 0: never */
};

enum accept_result {
    ACCEPT_ONE,
    ACCEPT_NONE,   /* the backlog is empty, or this peer is lost already; epoll reports the next one */
    ACCEPT_FULL,   /* all places are in use: try again when one is free, or at connections_evictable_ns */
    ACCEPT_FAILED, /* the system has no room: try again after some time */
};

/* Accepts one connection from the listener; it is new since now_ns. When max connections are open, or when
 * this process has no descriptor left, it closes another connection to make room: one whose request is late,
 * else the one that is idle for the longest time. */
__attribute__((warn_unused_result)) enum accept_result
connections_accept(struct connections *all, int listener_fd, int64_t now_ns, struct connection **out);

/* The earliest time at which one connection can make room for another. CLOCK_NEVER while all of them have
 * a request under way. */
int64_t connections_evictable_ns(const struct connections *all);

/* Moves the connection to the end of the phase's list, as of now_ns. */
void connections_move(struct connections *all, struct connection *c, enum connection_phase phase,
                      int64_t now_ns);

/* Closes the descriptor, which also removes it from epoll. why goes into the log at level debug. */
void connections_close(struct connections *all, struct connection *c, const char *why);

/* Closes the connections that have been in the phase for limit_ns. Returns how many it has closed. */
size_t connections_expire(struct connections *all, enum connection_phase phase, int64_t limit_ns,
                          int64_t now_ns);

/* Whether any peer is expected to send a request or the rest of one, or a request waits for its turn. */
bool connections_are_awaited(const struct connections *all);

/* Closes and frees all connections. */
void connections_close_all(struct connections *all);

/* Frees the closed connections. Call it between two epoll batches. */
void connections_free_closed(struct connections *all);

#endif
