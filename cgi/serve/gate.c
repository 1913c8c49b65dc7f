/* Reads the records of one connection piece by piece: header, content, padding. Main thread; owns the
 * buffers of struct gate. */
#include "cgi/serve/gate.h"

#include "common/fastcgi.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KEEP_CONN 1 /* section 5.1 */
/* The three names of section 4.1 take 48 bytes with their lengths; this leaves room for names that we do
 * not know. */
#define MAX_VALUES_LEN 1024

enum protocol_status { REQUEST_COMPLETE, CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE }; /* section 5.5 */

enum use {
    IGNORE, /* section 3.3: records of a request that is not under way */
    BEGIN,
    PARAMS,
    BODY,
    ABORT,
    VALUES,
    UNKNOWN_TYPE,
};

static uint16_t record_id(const struct gate *g)
{
    return (uint16_t)(g->header[2] << 8 | g->header[3]);
}

static size_t record_content_len(const struct gate *g)
{
    return (size_t)g->header[4] << 8 | g->header[5];
}

static void refuse(struct gate_result *r, const char *why)
{
    r->event = GATE_REJECT;
    r->why = why;
}

static void append_header(struct buf *b, uint8_t type, uint16_t id, size_t content_len)
{
    const uint8_t header[FASTCGI_HEADER_LEN] = {
        FASTCGI_VERSION_1,    type, (uint8_t)(id >> 8), (uint8_t)id, (uint8_t)(content_len >> 8),
        (uint8_t)content_len,
    };
    buf_append(b, header, sizeof header);
}

static void reply_end(struct gate_result *r, uint16_t id, enum protocol_status status, bool keep)
{
    const uint8_t body[8] = {0, 0, 0, 0, (uint8_t)status};
    append_header(&r->bytes, FASTCGI_END_REQUEST, id, sizeof body);
    buf_append(&r->bytes, body, sizeof body);
    r->event = GATE_REPLY;
    r->keep = keep;
}

static void reply_unknown_type(struct gate_result *r, uint8_t type)
{
    const uint8_t body[8] = {type};
    append_header(&r->bytes, FASTCGI_UNKNOWN_TYPE, 0, sizeof body);
    buf_append(&r->bytes, body, sizeof body);
    r->event = GATE_REPLY;
    r->keep = true;
}

/* Section 3.4: one byte, or four with the highest bit set. */
static size_t length_size(uint8_t first)
{
    return first & 0x80 ? 4 : 1;
}

static size_t decode_length(const uint8_t *p)
{
    if (length_size(p[0]) == 1)
        return p[0];
    return (size_t)(p[0] & 0x7f) << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* Returns how many bytes the two lengths of a pair take, or 0 while some of them are missing. */
static size_t lengths_end(const uint8_t *p, size_t len)
{
    if (len == 0)
        return 0;
    size_t name = length_size(p[0]);
    if (len <= name)
        return 0;
    size_t end = name + length_size(p[name]);
    return len >= end ? end : 0;
}

/* --- management records, section 4 --- */

static void append_value(struct buf *values, const char *name, size_t name_len, int64_t max_connections)
{
    static const char *const names[] = {"FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i]) != name_len || memcmp(names[i], name, name_len) != 0)
            continue;
        char value[24];
        bool is_number = i < 2;
        int value_len = snprintf(value, sizeof value, "%" PRId64, is_number ? max_connections : 0);
        const uint8_t lengths[2] = {(uint8_t)name_len, (uint8_t)value_len};
        buf_append(values, lengths, sizeof lengths);
        buf_append(values, name, name_len);
        buf_append(values, value, (size_t)value_len);
    }
}

/* Answers the names that this program knows and leaves out the others. */
static void reply_values(const struct gate *g, struct gate_result *r)
{
    const char *p = g->content.data;
    size_t left = g->content.len;
    struct buf values = {0};

    while (left > 0) {
        size_t name_at = lengths_end((const uint8_t *)p, left);
        size_t name_len = name_at > 0 ? decode_length((const uint8_t *)p) : 0;
        size_t value_len = name_at > 0 ? decode_length((const uint8_t *)p + length_size((uint8_t)p[0])) : 0;
        if (name_at == 0 || name_len > left - name_at || value_len > left - name_at - name_len) {
            buf_free(&values);
            refuse(r, "a GET_VALUES pair longer than its record");
            return;
        }
        append_value(&values, p + name_at, name_len, g->max_connections);
        p += name_at + name_len + value_len;
        left -= name_at + name_len + value_len;
    }
    append_header(&r->bytes, FASTCGI_GET_VALUES_RESULT, 0, values.len);
    buf_append(&r->bytes, values.data, values.len);
    buf_free(&values);
    r->event = GATE_REPLY;
    r->keep = true;
}

/* --- the request under way, section 5 --- */

static const size_t params_at = 2 * FASTCGI_HEADER_LEN + FASTCGI_BEGIN_BODY_LEN;

static void start_request(struct gate *g)
{
    const uint8_t body[FASTCGI_BEGIN_BODY_LEN] = {0, FASTCGI_RESPONDER, g->keep ? KEEP_CONN : 0};
    append_header(&g->request, FASTCGI_BEGIN_REQUEST, g->id, sizeof body);
    buf_append(&g->request, body, sizeof body);
    append_header(&g->request, FASTCGI_PARAMS, g->id, 0); /* complete_params fills in its length */
}

static void begin_request(struct gate *g, struct gate_result *r)
{
    const uint8_t *body = (const uint8_t *)g->content.data;
    bool is_responder = body[0] == 0 && body[1] == FASTCGI_RESPONDER;
    bool keep = (body[2] & KEEP_CONN) != 0;

    if (g->stage != GATE_BETWEEN) {
        reply_end(r, record_id(g), CANT_MPX_CONN, true);
    } else if (!is_responder) {
        reply_end(r, record_id(g), UNKNOWN_ROLE, keep);
    } else {
        g->stage = GATE_IN_PARAMS;
        g->id = record_id(g);
        g->keep = keep;
        g->too_long = false;
        start_request(g);
    }
}

/* Copies the content of the stream as it is and keeps track only of where its pairs end. */
static void take_params(struct gate *g, const uint8_t *p, size_t len)
{
    if (len > GATE_MAX_PARAMS - (g->request.len - params_at))
        g->too_long = true;
    if (!g->too_long)
        buf_append(&g->request, p, len);
    while (len > 0) {
        size_t n = g->pair_left < len ? (size_t)g->pair_left : len;
        g->pair_left -= n;
        p += n;
        len -= n;
        if (len == 0)
            break;
        g->lengths[g->lengths_len++] = *p++;
        len--;
        if (lengths_end(g->lengths, g->lengths_len) == 0)
            continue;
        g->pair_left =
            (uint64_t)decode_length(g->lengths) + decode_length(g->lengths + length_size(g->lengths[0]));
        g->lengths_len = 0;
    }
}

static void complete_params(struct gate *g, struct gate_result *r)
{
    if (record_content_len(g) > 0)
        return;
    if (g->pair_left > 0 || g->lengths_len > 0) {
        refuse(r, "a parameter longer than its stream");
        return;
    }
    if (g->too_long) {
        buf_reset(&g->request);
        start_request(g);
    }
    size_t content_len = g->request.len - params_at;
    if (content_len > 0) {
        g->request.data[params_at - 4] = (char)(content_len >> 8);
        g->request.data[params_at - 3] = (char)content_len;
        append_header(&g->request, FASTCGI_PARAMS, g->id, 0);
    }
    append_header(&g->request, FASTCGI_STDIN, g->id, 0);
    g->stage = GATE_IN_BODY;
}

static void complete_request(struct gate *g, struct gate_result *r)
{
    r->event = GATE_WHOLE;
    r->bytes = g->request;
    r->too_long = g->too_long;
    g->request = (struct buf){0};
    g->stage = GATE_BETWEEN;
}

static void abort_request(struct gate *g, struct gate_result *r)
{
    reply_end(r, g->id, REQUEST_COMPLETE, g->keep);
    buf_free(&g->request);
    g->lengths_len = 0;
    g->pair_left = 0;
    g->stage = GATE_BETWEEN;
}

/* --- records, section 3.3 --- */

/* Chooses what to do with the current record. Returns -1 after rejecting it. */
static int choose_use(const struct gate *g, struct gate_result *r)
{
    uint8_t type = g->header[1];
    size_t content_len = record_content_len(g);

    if (record_id(g) == 0) {
        if (type == FASTCGI_GET_VALUES && content_len <= MAX_VALUES_LEN)
            return VALUES;
        if (type > FASTCGI_GET_VALUES)
            return UNKNOWN_TYPE;
        refuse(r, type == FASTCGI_GET_VALUES ? "a GET_VALUES record that is too long" : "request id 0");
        return -1;
    }
    bool is_under_way = g->stage != GATE_BETWEEN && record_id(g) == g->id;
    if (type == FASTCGI_BEGIN_REQUEST) {
        if (content_len == FASTCGI_BEGIN_BODY_LEN && !is_under_way)
            return BEGIN;
        refuse(r, is_under_way ? "a request id that is in use" : "a BEGIN_REQUEST of the wrong length");
        return -1;
    }
    if (!is_under_way)
        return IGNORE;
    if (type == FASTCGI_ABORT_REQUEST)
        return ABORT;
    if (type == FASTCGI_PARAMS && g->stage == GATE_IN_PARAMS)
        return PARAMS;
    if (type == FASTCGI_STDIN && g->stage == GATE_IN_BODY)
        return BODY;
    refuse(r, g->stage == GATE_IN_PARAMS ? "not a PARAMS record" : "not a STDIN record");
    return -1;
}

static void take_content(struct gate *g, const uint8_t *p, size_t len)
{
    switch ((enum use)g->use) {
    case PARAMS: take_params(g, p, len); break;
    case BEGIN:
    case VALUES: buf_append(&g->content, p, len); break;
    case IGNORE:
    case BODY:
    case ABORT:
    case UNKNOWN_TYPE: break;
    }
}

static void complete_record(struct gate *g, struct gate_result *r)
{
    switch ((enum use)g->use) {
    case IGNORE: break;
    case BEGIN: begin_request(g, r); break;
    case PARAMS: complete_params(g, r); break;
    case BODY:
        if (record_content_len(g) == 0)
            complete_request(g, r);
        break;
    case ABORT: abort_request(g, r); break;
    case VALUES: reply_values(g, r); break;
    case UNKNOWN_TYPE: reply_unknown_type(r, g->header[1]); break;
    }
    buf_free(&g->content);
    g->header_len = 0;
}

/* Returns how many bytes it took, at least one. */
static size_t take_header(struct gate *g, const uint8_t *bytes, size_t len, struct gate_result *r)
{
    size_t n = sizeof g->header - g->header_len;
    n = n < len ? n : len;
    memcpy(g->header + g->header_len, bytes, n);
    g->header_len += n;
    if (g->header[0] != FASTCGI_VERSION_1) {
        refuse(r, "not version 1 of the protocol");
    } else if (g->header_len == sizeof g->header) {
        g->content_left = record_content_len(g);
        g->padding_left = g->header[6];
        g->use = choose_use(g, r);
    }
    return n;
}

static size_t take_record(struct gate *g, const uint8_t *bytes, size_t len)
{
    size_t content = g->content_left < len ? g->content_left : len;
    size_t padding = g->padding_left < len - content ? g->padding_left : len - content;
    take_content(g, bytes, content);
    g->content_left -= content;
    g->padding_left -= padding;
    return content + padding;
}

struct gate_result gate_take(struct gate *g, const uint8_t *bytes, size_t len)
{
    struct gate_result r = {.event = GATE_MORE};

    while (r.taken < len && r.event == GATE_MORE) {
        if (g->header_len < sizeof g->header)
            r.taken += take_header(g, bytes + r.taken, len - r.taken, &r);
        else
            r.taken += take_record(g, bytes + r.taken, len - r.taken);
        bool is_whole = g->header_len == sizeof g->header && g->content_left + g->padding_left == 0;
        if (is_whole && r.event == GATE_MORE)
            complete_record(g, &r);
    }
    return r;
}

struct gate_result gate_give_up_body(struct gate *g)
{
    struct gate_result r = {0};
    complete_request(g, &r);
    /* The header of a record may have come already: ignore its content. An abort would end a request that
     * is over. */
    if (g->use == BODY || g->use == ABORT)
        g->use = IGNORE;
    return r;
}

bool gate_is_idle(const struct gate *g)
{
    bool ignores_one = g->header_len == sizeof g->header && g->use == IGNORE;
    return g->stage == GATE_BETWEEN && (g->header_len == 0 || ignores_one);
}

void gate_free(struct gate *g)
{
    buf_free(&g->request);
    buf_free(&g->content);
}
