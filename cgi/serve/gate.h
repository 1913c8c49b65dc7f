/* Reads the records of one FastCGI connection, in whatever pieces they come, and writes each request again
 * for libfcgi: libfcgi blocks on half a request and is unsafe on hostile records, so it reads only what the
 * gate wrote. What needs no application (management records, a second request at a time, an abort) the gate
 * answers by itself. Pure; main thread. The protocol: FastCGI Specification 1.0, sections 3 to 5 and 8. */
#ifndef SERVE_GATE_H
#define SERVE_GATE_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest content of the PARAMS stream: what one record takes, for it is written as one. */
#define GATE_MAX_PARAMS 65535
#define GATE_TOO_LONG   "parameters of more than 65535 bytes"
/* A request with that: BEGIN_REQUEST, the PARAMS record, the ends of both streams. */
#define GATE_MAX_REQUEST (16 + 8 + GATE_MAX_PARAMS + 8 + 8)

enum gate_verdict {
    GATE_MORE,   /* all bytes are taken; the next ones decide */
    GATE_WHOLE,  /* a request is whole: bytes has it */
    GATE_REPLY,  /* bytes are records for the peer */
    GATE_REJECT, /* the peer breaks the protocol: close the connection */
};

struct gate_result {
    enum gate_verdict verdict;
    size_t taken;     /* of the bytes that were given; the rest is for the next call */
    struct buf bytes; /* the caller frees */
    bool too_long;    /* GATE_WHOLE: the parameters were longer than GATE_MAX_PARAMS and have been left out */
    bool keep;        /* GATE_REPLY: the connection goes on afterwards */
    const char *why;  /* GATE_REJECT: a literal for the log */
};

enum gate_stage {
    GATE_BETWEEN,   /* no request is under way */
    GATE_IN_PARAMS, /* from its BEGIN_REQUEST to the end of PARAMS */
    GATE_IN_BODY,   /* only its body is still to come; nobody uses it */
};

/* One for each connection. {.max_connections = n} is a new one. Only gate.c touches the rest, but for the
 * stage. */
struct gate {
    int64_t max_connections; /* the answer to FCGI_GET_VALUES */
    enum gate_stage stage;
    uint16_t id; /* of the request that is under way */
    bool keep;   /* it has FCGI_KEEP_CONN */
    bool too_long;
    struct buf request;
    uint8_t lengths[8]; /* of the name and value at hand, one or four bytes each */
    size_t lengths_len;
    uint64_t pair_left;  /* bytes of that name and value still to come */
    uint8_t header[8];   /* of the record at hand */
    size_t header_len;   /* bytes of it that have come */
    int use;             /* what becomes of its content */
    size_t content_left; /* still to come */
    size_t padding_left;
    struct buf content; /* of a record that is needed as a whole */
};

/* Takes bytes up to the first verdict other than GATE_MORE. */
struct gate_result gate_take(struct gate *gate, const uint8_t *bytes, size_t len);

/* In GATE_IN_BODY: GATE_WHOLE for the request at hand; what still comes of its body is ignored. */
struct gate_result gate_give_up_body(struct gate *gate);

/* Whether no request and no record is half received, other than one that is ignored. */
bool gate_is_idle(const struct gate *gate);

void gate_free(struct gate *gate);

#endif
