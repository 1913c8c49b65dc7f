/* Receives requests on the open connections and answers them. Main thread; owns the connections and
 * libfcgi's feed. */
#ifndef SERVE_REQUESTS_H
#define SERVE_REQUESTS_H

#include "cgi/answer/health.h"
#include "cgi/serve/connection.h"

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

struct requests {
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

/* Accepts waiting connections, up to a batch, and adds each to epoll with the connection as the tag.
 * Returns the last result. */
enum accept_result requests_accept(struct requests *r, int epoll_fd, int listener_fd, int64_t now_ns);

/* Receives once and answers a request that is whole. The connection may have been closed in this epoll
 * batch. */
void requests_receive(struct requests *r, struct connection *c, const struct answering *answering,
                      int64_t now_ns);

/* Call it after each epoll batch. Answers the next request of each connection that has sent several at
 * once. Answers requests whose body is late. Closes connections whose request is late. */
void requests_continue(struct requests *r, const struct answering *answering, int64_t now_ns);

/* The time at which requests_continue has something to do; CLOCK_NEVER for never. */
int64_t requests_deadline_ns(const struct requests *r);

/* Call it once a second. Closes connections that have been idle for idle_ns and logs the rejects. */
void requests_tick(struct requests *r, int64_t idle_ns, int64_t now_ns);

/* Closes all connections. */
void requests_close(struct requests *r);

#endif
