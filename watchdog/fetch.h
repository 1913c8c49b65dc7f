/* Requests routes over HTTP with libcurl, several at a time, each with a hard deadline. Reports what came
 * back; judge.h says what it means. Main thread. */
#ifndef WATCHDOG_FETCH_H
#define WATCHDOG_FETCH_H

#include "common/buf.h"
#include "common/error.h"
#include "watchdog/watchfile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The limit for a body, and for the headers of a response. A longer body is cut; longer headers are
 * FETCH_MALFORMED. */
#define FETCH_MAX_BYTES 65536

/* The limit for a route with the option follow. */
#define FETCH_MAX_REDIRECTS 5

enum fetch_kind {
    FETCH_RESPONSE,   /* status line, headers and body, or its first FETCH_MAX_BYTES */
    FETCH_TIMEOUT,    /* no connection, or no complete response, before the deadline */
    FETCH_REFUSED,    /* no process listens there */
    FETCH_FULL,       /* a process listens there, but the queue of its Unix socket is full */
    FETCH_RESET,      /* the connection ended before a status line */
    FETCH_MALFORMED,  /* the response is not HTTP, or ended in the middle */
    FETCH_REDIRECTS,  /* more than FETCH_MAX_REDIRECTS */
    FETCH_UNRESOLVED, /* the host name has no address, or the resolver did not answer in time */
    FETCH_TLS,        /* the certificate is not trusted, or the handshake failed */
    FETCH_LOCAL, /* this machine failed: no route, permission or descriptor, or the sandbox hides the path */
};

struct fetch_result {
    enum fetch_kind kind;
    int code;         /* of the last status line; 0: there was none */
    int redirects;    /* how many were followed */
    bool from_nginx;  /* header "X-Health-Source: nginx": nginx itself has made this response */
    bool body_cut;    /* the body is longer than FETCH_MAX_BYTES */
    bool unconnected; /* FETCH_TIMEOUT: the connection was not made in time */
    int64_t time_us;  /* of this request */
    int64_t late_ms;  /* how long, in all, the machine kept this process from running during the request */
    struct buf body;  /* valid during fetch_done_fn */
    char detail[128]; /* printable; says more about FETCH_REFUSED and the kinds after it; may be "" */
};

enum fetch_next {
    FETCH_DONE,   /* this route needs no other request */
    FETCH_AGAIN,  /* request this route again after the retry_wait of the watch file */
    FETCH_ENOUGH, /* stop now and abandon the requests that are under way */
};

/* Called once for each finished request. */
typedef enum fetch_next fetch_done_fn(void *context, size_t route, const struct fetch_result *result);

/* Requests the routes with wanted[i], liveness routes first. Returns when every route is done, or after
 * FETCH_ENOUGH. False: err says why libcurl failed. Leaves no descriptor open, and no thread but that of a
 * name resolution that hangs. */
__attribute__((warn_unused_result)) bool fetch_run(const struct watch *watch, const bool *wanted,
                                                   fetch_done_fn *done, void *context, struct error *err);

#endif
