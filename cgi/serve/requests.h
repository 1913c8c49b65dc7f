/* The requests on the open connections and their answers. Main thread; owns the connections and libfcgi's
 * feed. */
#ifndef SERVE_REQUESTS_H
#define SERVE_REQUESTS_H

#include "cgi/answer/health.h"
#include "cgi/serve/connection.h"

#include <stdbool.h>
#include <stdint.h>

/* What is received at a time. */
#define REQUESTS_RECEIVE_MAX 16384

/* Requests that were not answered as asked, because the peer broke the protocol or one of our limits. */
struct rejects {
    int64_t count;     /* not logged yet */
    int64_t logged_ns; /* 0: never */
    const char *why;   /* of the last one */
};

struct requests {
    struct connections connections;
    struct rejects rejects;
    uint8_t received[REQUESTS_RECEIVE_MAX];
};

/* What answers are made of. */
struct answering {
    struct health *health;
    const struct process_facts *process; /* as of the last tick */
    bool is_last;                        /* no connection is kept after its answer */
};

/* Accepts what waits at the listener, up to a batch; each connection is its epoll event's tag. Returns the
 * last result. */
enum accept_result requests_accept(struct requests *r, int epoll_fd, int listener_fd, int64_t now_ns);

/* Receives once, and answers the request that is whole. The connection may have been closed in this epoll
 * batch. */
void requests_receive(struct requests *r, struct connection *c, const struct answering *answering,
                      int64_t now_ns);

/* After each epoll batch: answers the next request of each connection that has sent several at once, and
 * those whose body does not come in time; closes connections whose request does not. */
void requests_continue(struct requests *r, const struct answering *answering, int64_t now_ns);

/* When requests_continue has something to do, CLOCK_NEVER if nothing. */
int64_t requests_deadline_ns(const struct requests *r);

/* Once a second: closes connections that have been idle for idle_ns, logs what was rejected. */
void requests_tick(struct requests *r, int64_t idle_ns, int64_t now_ns);

/* Closes all connections. */
void requests_close(struct requests *r);

#endif
