/* Accepts connections, receives requests on them and answers them. Main thread; owns the connections and
 * libfcgi's feed. */
#ifndef SERVE_REQUESTS_H
#define SERVE_REQUESTS_H

#include "cgi/answer/health.h"
#include "cgi/serve/connection.h"
#include "cgi/serve/listen.h"

#include <stdbool.h>
#include <stdint.h>

/* The most bytes that one call receives. */
#define REQUESTS_RECEIVE_MAX 16384

/* Requests that this program has not answered as the client wanted, because the peer broke the protocol or
 * exceeded a limit. */
struct rejects {
    int64_t count;     /* since the last log line */
    int64_t logged_ns; /* 0: never */
    const char *why;   /* of the last reject */
};

/* Begins as {.epoll_fd = e, .listener = l, .connections = {.max = n}}; the listener is in the epoll set
 * already, with itself as the tag. */
struct requests {
    int epoll_fd;
    struct listener *listener;
    bool is_open;           /* new connections are welcome */
    bool is_paused;         /* there is no room for one: epoll does not watch the listener for them */
    int64_t pause_until_ns; /* CLOCK_NEVER: until there is room */
    size_t open_at_pause;   /* connections when the pause began */
    struct connections connections;
    struct rejects rejects;
    uint8_t received[REQUESTS_RECEIVE_MAX];
};

/* What responses are made of. */
struct answering {
    struct health *health;
    const struct process_facts *process; /* as of the last tick */
    bool is_last;                        /* every connection closes after its response */
};

/* Whether epoll watches the listener for new connections, as soon as there is room for one. If not, they wait
 * in the backlog. */
void requests_set_open(struct requests *r, bool is_open);

/* Accepts waiting connections, up to a batch, and adds each to epoll with the connection as the tag. Pauses
 * when there is no room. */
void requests_accept(struct requests *r, int64_t now_ns);

/* Receives once and answers a request that is whole. The connection may have been closed in this epoll
 * batch. */
void requests_receive(struct requests *r, struct connection *c, const struct answering *answering,
                      int64_t now_ns);

/* Call it after each epoll batch. Answers the next request of each connection that has sent several at
 * once. Answers requests whose body is late. Closes connections whose request is late. Ends a pause. */
void requests_continue(struct requests *r, const struct answering *answering, int64_t now_ns);

/* The time at which requests_continue has something to do; CLOCK_NEVER for never. */
int64_t requests_deadline_ns(const struct requests *r);

/* Call it once a second. Closes connections that have been idle for idle_ns and logs the rejects. */
void requests_tick(struct requests *r, int64_t idle_ns, int64_t now_ns);

/* Closes all connections. */
void requests_close(struct requests *r);

#endif
