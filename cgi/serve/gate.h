/* Reads the records of one FastCGI connection, in whatever pieces they come, and writes each request again
 * for libfcgi. libfcgi blocks on half a request and is unsafe on hostile records, so it reads only what the
 * gate has written. The gate itself answers what needs no application: management records, a second request
 * at a time, an abort. Pure; main thread. The protocol is FastCGI Specification 1.0, sections 3 to 5 and
 * 8. */
#ifndef SERVE_GATE_H
#define SERVE_GATE_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest content of the PARAMS stream. The gate writes the stream as one record, and a record takes
 * no more. */
#define GATE_MAX_PARAMS 65535
#define GATE_TOO_LONG   "parameters of more than 65535 bytes"
/* The longest request that the gate writes: BEGIN_REQUEST, the PARAMS record, and the records that end
 * both streams. */
#define GATE_MAX_REQUEST (16 + 8 + GATE_MAX_PARAMS + 8 + 8)

enum gate_event {
    GATE_MORE,   /* the gate has taken all bytes and needs more */
    GATE_WHOLE,  /* bytes is a whole request */
    GATE_REPLY,  /* bytes are records for the peer */
    GATE_REJECT, /* the peer breaks the protocol: close the connection */
};

struct gate_result {
    enum gate_event event;
    size_t taken;     /* how many of the given bytes; give the others to the next call */
    struct buf bytes; /* the caller frees it */
    bool too_long;    /* GATE_WHOLE: the gate left out parameters longer than GATE_MAX_PARAMS */
    bool keep;        /* GATE_REPLY: the connection stays open after the reply */
    const char *why;  /* GATE_REJECT: a literal for the log */
};

enum gate_stage {
    GATE_BETWEEN,   /* no request is under way */
    GATE_IN_PARAMS, /* from its BEGIN_REQUEST to the end of PARAMS */
    GATE_IN_BODY,   /* only its body is missing; this program does not use it */
};

/* One for each connection. A new gate is {.max_connections = n}. Other files may read stage; the other
 * fields belong to gate.c. */
struct gate {
    int64_t max_connections; /* the answer to FCGI_GET_VALUES */
    enum gate_stage stage;
    uint16_t id; /* of the request under way */
    bool keep;   /* the request has the flag FCGI_KEEP_CONN */
    bool too_long;
    struct buf request;
    uint8_t lengths[8]; /* of the current name and value, one or four bytes each */
    size_t lengths_len;
    uint64_t pair_left;  /* bytes of that name and value that have not come yet */
    uint8_t header[8];   /* of the current record */
    size_t header_len;   /* bytes of it that have come */
    int use;             /* what the gate does with its content: enum use */
    size_t content_left; /* bytes that have not come yet */
    size_t padding_left;
    struct buf content; /* of a record that the gate needs as a whole */
};

/* Takes bytes up to the first event other than GATE_MORE. */
struct gate_result gate_take(struct gate *gate, const uint8_t *bytes, size_t len);

/* Call it in GATE_IN_BODY. Returns GATE_WHOLE with the current request. The gate ignores the rest of its
 * body from now on. */
struct gate_result gate_give_up_body(struct gate *gate);

/* Whether no request is under way and no record is half received. A record that the gate ignores does not
 * count. */
bool gate_is_idle(const struct gate *gate);

void gate_free(struct gate *gate);

#endif
