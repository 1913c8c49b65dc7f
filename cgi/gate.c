/* Walks the records of one request. Pure; main thread. */
#include "cgi/gate.h"

/* FastCGI Specification 1.0, section 8 and 3.3. */
enum {
    VERSION_1 = 1,
    HEADER_LEN = 8,
    BEGIN_REQUEST = 1,
    PARAMS = 4,
    STDIN = 5,
    BEGIN_BODY_LEN = 8,
    RESPONDER = 1,
};

enum stage { EXPECT_BEGIN, IN_PARAMS, IN_STDIN, COMPLETE };

/* Where the concatenated PARAMS stream stands: in the lengths of a pair, or in its bytes. */
struct pairs {
    uint8_t lengths[8]; /* of the pair at hand, one or four bytes each */
    size_t lengths_len;
    size_t skip; /* bytes of name and value still to come */
};

struct walk {
    enum stage stage;
    uint16_t id;
    bool has_body;
    struct pairs pairs;
    const char *why;
};

struct record {
    uint8_t type;
    uint16_t id;
    const uint8_t *content;
    size_t content_len;
};

static size_t length_size(uint8_t first)
{
    return first & 0x80 ? 4 : 1;
}

static size_t decode_length(const uint8_t *p)
{
    if (length_size(p[0]) == 1) {
        return p[0];
    }
    return (size_t)(p[0] & 0x7f) << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* Whether the lengths of the pair at hand are whole. */
static bool has_lengths(const struct pairs *pairs)
{
    if (pairs->lengths_len == 0) {
        return false;
    }
    size_t name = length_size(pairs->lengths[0]);
    return pairs->lengths_len > name && pairs->lengths_len == name + length_size(pairs->lengths[name]);
}

static bool walk_pairs(struct walk *w, const uint8_t *p, size_t len)
{
    struct pairs *pairs = &w->pairs;
    while (len > 0) {
        if (pairs->skip > 0) {
            size_t n = pairs->skip < len ? pairs->skip : len;
            pairs->skip -= n;
            p += n;
            len -= n;
            continue;
        }
        pairs->lengths[pairs->lengths_len++] = *p++;
        len--;
        if (!has_lengths(pairs)) {
            continue;
        }
        pairs->skip =
            decode_length(pairs->lengths) + decode_length(pairs->lengths + length_size(pairs->lengths[0]));
        pairs->lengths_len = 0;
        if (pairs->skip > GATE_MAX_BYTES) {
            w->why = "a parameter longer than a request may be";
            return false;
        }
    }
    return true;
}

static bool walk_begin(struct walk *w, const struct record *r)
{
    if (r->type != BEGIN_REQUEST || r->id == 0 || r->content_len != BEGIN_BODY_LEN) {
        w->why = "not a BEGIN_REQUEST";
        return false;
    }
    if (r->content[0] != 0 || r->content[1] != RESPONDER) {
        w->why = "a role other than responder";
        return false;
    }
    w->id = r->id;
    w->stage = IN_PARAMS;
    return true;
}

static bool walk_params(struct walk *w, const struct record *r)
{
    if (r->type != PARAMS) {
        w->why = "not a PARAMS record";
        return false;
    }
    if (r->content_len > 0) {
        return walk_pairs(w, r->content, r->content_len);
    }
    if (w->pairs.skip > 0 || w->pairs.lengths_len > 0) {
        w->why = "a parameter that ends behind the PARAMS stream";
        return false;
    }
    w->stage = IN_STDIN;
    return true;
}

static bool walk_stdin(struct walk *w, const struct record *r)
{
    if (r->type != STDIN) {
        w->why = "not a STDIN record";
        return false;
    }
    if (r->content_len == 0) {
        w->stage = COMPLETE;
    } else {
        w->has_body = true;
    }
    return true;
}

static bool walk_record(struct walk *w, const struct record *r)
{
    if (w->stage != EXPECT_BEGIN && r->id != w->id) {
        w->why = "a record of another request";
        return false;
    }
    switch (w->stage) {
    case EXPECT_BEGIN: return walk_begin(w, r);
    case IN_PARAMS: return walk_params(w, r);
    case IN_STDIN: return walk_stdin(w, r);
    case COMPLETE: break;
    }
    w->why = "bytes behind the request";
    return false;
}

/* What a header alone tells, before its content is here. */
static bool header_is_possible(struct walk *w, const uint8_t *header, size_t offset)
{
    size_t record_len = HEADER_LEN + ((size_t)header[4] << 8 | header[5]) + header[6];
    if (w->stage == COMPLETE) {
        w->why = "bytes behind the request";
        return false;
    }
    if (offset + record_len > GATE_MAX_BYTES) {
        w->why = "longer than a request may be";
        return false;
    }
    return true;
}

static enum gate_verdict reject(struct gate_result *out, const char *why)
{
    out->why = why;
    return GATE_REJECT;
}

enum gate_verdict gate_judge(const uint8_t *bytes, size_t len, struct gate_result *out)
{
    struct walk w = {.stage = EXPECT_BEGIN};
    size_t offset = 0;

    *out = (struct gate_result){0};
    while (offset < len) {
        const uint8_t *header = bytes + offset;
        if (header[0] != VERSION_1) {
            return reject(out, "not version 1 of the protocol");
        }
        if (len - offset < HEADER_LEN) {
            return w.stage == COMPLETE ? reject(out, "bytes behind the request") : GATE_MORE;
        }
        if (!header_is_possible(&w, header, offset)) {
            return reject(out, w.why);
        }
        struct record r = {
            .type = header[1],
            .id = (uint16_t)(header[2] << 8 | header[3]),
            .content = header + HEADER_LEN,
            .content_len = (size_t)header[4] << 8 | header[5],
        };
        size_t record_len = HEADER_LEN + r.content_len + header[6];
        if (len - offset < record_len) {
            return GATE_MORE;
        }
        if (!walk_record(&w, &r)) {
            return reject(out, w.why);
        }
        offset += record_len;
    }
    if (w.stage == COMPLETE) {
        out->has_body = w.has_body;
        return GATE_WHOLE;
    }
    return len >= GATE_MAX_BYTES ? reject(out, "longer than a request may be") : GATE_MORE;
}
