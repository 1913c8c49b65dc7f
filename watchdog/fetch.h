/* Asks all routes over HTTP at once, up to a limit, each within its own hard deadline; the only file that
 * knows libcurl. What an answer means is not judged here. Main thread. */
#ifndef WATCHDOG_FETCH_H
#define WATCHDOG_FETCH_H

#include "common/buf.h"
#include "common/error.h"
#include "watchdog/watchfile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As much is read of a body, and of the headers. More body is cut and still an answer; more headers are none.
 */
#define FETCH_MAX_BYTES 65536

/* With the route option follow. */
#define FETCH_MAX_REDIRECTS 5

enum fetch_kind {
    FETCH_RESPONSE,   /* status line, headers and body, or its first FETCH_MAX_BYTES */
    FETCH_TIMEOUT,    /* the deadline passed: no connection, no answer, or not all of it */
    FETCH_REFUSED,    /* nobody listens */
    FETCH_FULL,       /* somebody listens and has no room: the queue of a Unix socket is full */
    FETCH_RESET,      /* the connection ended before a status line */
    FETCH_MALFORMED,  /* what came is no HTTP, or ended in the middle */
    FETCH_REDIRECTS,  /* more than FETCH_MAX_REDIRECTS */
    FETCH_UNRESOLVED, /* the host's name has no address, or the resolver did not answer in time */
    FETCH_TLS,        /* no trust, or no common protocol */
    FETCH_LOCAL, /* our own side failed: no route, no permission, no descriptor, a path that is hidden from
                    us */
};

struct fetch_result {
    enum fetch_kind kind;
    int code;         /* the last status line's; 0: there was none */
    int redirects;    /* followed */
    bool from_nginx;  /* header "X-Health-Source: nginx": the proxy says so itself */
    bool body_cut;    /* the body was longer */
    bool unconnected; /* FETCH_TIMEOUT: there was no connection yet */
    int64_t time_us;  /* of this request */
    int64_t late_ms;  /* for how long, in all, this process was kept from running meanwhile */
    struct buf body;  /* valid during fetch_done_fn */
    char detail[128]; /* printable words for FETCH_REFUSED and after; "" when there are none */
};

enum fetch_next {
    FETCH_DONE,   /* with this route */
    FETCH_AGAIN,  /* ask it again after the file's retry_wait */
    FETCH_ENOUGH, /* stop now: the requests under way are given up */
};

/* Called once for each finished request. */
typedef enum fetch_next fetch_done_fn(void *context, size_t route, const struct fetch_result *result);

/* Asks the routes with wanted[i], those that are liveness first, and returns when all are done or enough is
 * said. False: err says why libcurl could not be set up. No descriptor or thread is left behind, except a
 * resolver's thread when name resolution hangs. */
__attribute__((warn_unused_result)) bool fetch_run(const struct watch *watch, const bool *wanted,
                                                   fetch_done_fn *done, void *context, struct error *err);

#endif
