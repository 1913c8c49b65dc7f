/* The FastCGI protocol (FastCGI Specification 1.0): its numbers, and a client that sends a responder one
 * request, as a web server does. Any thread. */
#ifndef COMMON_FASTCGI_H
#define COMMON_FASTCGI_H

#include "common/buf.h"
#include "common/error.h"

#include <stdint.h>
#include <sys/socket.h>

/* Sections 3.3, 5.1 and 8. */
enum { FASTCGI_VERSION_1 = 1, FASTCGI_HEADER_LEN = 8, FASTCGI_RESPONDER = 1, FASTCGI_BEGIN_BODY_LEN = 8 };
enum fastcgi_type {
    FASTCGI_BEGIN_REQUEST = 1,
    FASTCGI_ABORT_REQUEST = 2,
    FASTCGI_END_REQUEST = 3,
    FASTCGI_PARAMS = 4,
    FASTCGI_STDIN = 5,
    FASTCGI_STDOUT = 6,
    FASTCGI_STDERR = 7,
    FASTCGI_GET_VALUES = 9,
    FASTCGI_GET_VALUES_RESULT = 10,
    FASTCGI_UNKNOWN_TYPE = 11,
};

/* The longest target. The parameters repeat it, and fit into one record together with an extra one. */
#define FASTCGI_MAX_TARGET 16384

/* The longest name and value together of an extra parameter. */
#define FASTCGI_MAX_EXTRA 1024

struct fastcgi_param {
    const char *name;
    const char *value;
};

/* A GET request. */
struct fastcgi_request {
    const char *target;                /* "/PATH" or "/PATH?QUERY" */
    const struct fastcgi_param *extra; /* one parameter beside those that describe the target; NULL: none */
    size_t max_bytes;                  /* the longest response, headers included */
    int64_t deadline_ns;               /* clock_now_ns() */
};

enum fastcgi_outcome {
    FASTCGI_ANSWER,    /* a whole response: END_REQUEST came */
    FASTCGI_BEGUN,     /* a record came, but not the whole response by the deadline */
    FASTCGI_SILENT,    /* connected, or the queue was full, and no record had come by the deadline */
    FASTCGI_REFUSED,   /* no process listens there: ECONNREFUSED, ENOENT */
    FASTCGI_DENIED,    /* this process may not connect: EACCES, EPERM */
    FASTCGI_CLOSED,    /* closed or reset before a record came */
    FASTCGI_CUT,       /* closed or reset after a record, before the response was whole */
    FASTCGI_MALFORMED, /* not FastCGI, or a response of more than max_bytes */
    FASTCGI_LOCAL,     /* this side failed: no descriptor, no route, a target or parameter that is too long */
};

struct fastcgi_answer {
    /* From the Status header; 200 without one (CGI, RFC 3875, 6.3.3). 503 when a whole response has no CGI
     * headers, because an overloaded peer sends none. 0: no whole response. */
    int status;
    struct buf body; /* without the headers; the caller frees it */
};

/* Sends the request once over a connection of its own, as nginx does. Never blocks past the deadline and
 * causes no SIGPIPE. With any outcome but FASTCGI_ANSWER err says why, and the body is empty. The address is
 * an AF_UNIX, AF_INET or AF_INET6 one. */
__attribute__((warn_unused_result)) enum fastcgi_outcome
fastcgi_ask(const struct sockaddr *address, socklen_t len, const struct fastcgi_request *request,
            struct fastcgi_answer *out, struct error *err);

#endif
