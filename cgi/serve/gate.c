/* Walks the records of one request. Pure; main thread. */
#include "cgi/serve/gate.h"

#include "common/fastcgi.h"

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
    size_t padding_len;
};

static bool fail(struct walk *w, const char *why)
{
    w->why = why;
    return false;
}

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

/* Whether the lengths of the pair at hand are whole. */
static bool has_lengths(const struct pairs *pairs)
{
    if (pairs->lengths_len == 0)
        return false;
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
        if (!has_lengths(pairs))
            continue;
        pairs->skip =
            decode_length(pairs->lengths) + decode_length(pairs->lengths + length_size(pairs->lengths[0]));
        pairs->lengths_len = 0;
        if (pairs->skip > GATE_MAX_BYTES)
            return fail(w, "a parameter longer than a request may be");
    }
    return true;
}

/* What a header alone tells, before its content is here. */
static bool check_header(struct walk *w, const struct record *r, size_t offset)
{
    if (offset + FASTCGI_HEADER_LEN + r->content_len + r->padding_len > GATE_MAX_BYTES)
        return fail(w, "longer than a request may be");
    if (w->stage == EXPECT_BEGIN) {
        if (r->type != FASTCGI_BEGIN_REQUEST || r->id == 0 || r->content_len != FASTCGI_BEGIN_BODY_LEN)
            return fail(w, "not a BEGIN_REQUEST");
    } else if (r->id != w->id) {
        return fail(w, "a record of another request");
    } else if (r->type != (w->stage == IN_PARAMS ? FASTCGI_PARAMS : FASTCGI_STDIN)) {
        return fail(w, w->stage == IN_PARAMS ? "not a PARAMS record" : "not a STDIN record");
    }
    /* libfcgi forgets the padding when it turns to the next stream (SetReaderType) and would take it for
     * records that nobody has judged. No sender pads these: 0 and 8 are multiples of 8 already. */
    if (r->padding_len > 0 && (w->stage == EXPECT_BEGIN || r->content_len == 0))
        return fail(w, "padding where a stream begins or ends");
    return true;
}

static bool walk_begin(struct walk *w, const struct record *r)
{
    if (r->content[0] != 0 || r->content[1] != FASTCGI_RESPONDER)
        return fail(w, "a role other than responder");
    w->id = r->id;
    w->stage = IN_PARAMS;
    return true;
}

static bool walk_params(struct walk *w, const struct record *r)
{
    if (r->content_len > 0)
        return walk_pairs(w, r->content, r->content_len);
    if (w->pairs.skip > 0 || w->pairs.lengths_len > 0)
        return fail(w, "a parameter that ends behind the PARAMS stream");
    w->stage = IN_STDIN;
    return true;
}

static void walk_stdin(struct walk *w, const struct record *r)
{
    if (r->content_len == 0)
        w->stage = COMPLETE;
    else
        w->has_body = true;
}

/* A whole record whose header has passed. */
static bool walk_record(struct walk *w, const struct record *r)
{
    switch (w->stage) {
    case EXPECT_BEGIN: return walk_begin(w, r);
    case IN_PARAMS: return walk_params(w, r);
    case IN_STDIN: walk_stdin(w, r); break;
    case COMPLETE: break;
    }
    return true;
}

/* Walks all that is there; what is left of an unfinished record stays unread. */
static bool walk_bytes(struct walk *w, const uint8_t *bytes, size_t len)
{
    size_t offset = 0;
    while (offset < len) {
        const uint8_t *header = bytes + offset;
        if (w->stage == COMPLETE)
            return fail(w, "bytes behind the request");
        if (header[0] != FASTCGI_VERSION_1)
            return fail(w, "not version 1 of the protocol");
        if (len - offset < FASTCGI_HEADER_LEN)
            return true;
        const struct record r = {
            .type = header[1],
            .id = (uint16_t)(header[2] << 8 | header[3]),
            .content = header + FASTCGI_HEADER_LEN,
            .content_len = (size_t)header[4] << 8 | header[5],
            .padding_len = header[6],
        };
        if (!check_header(w, &r, offset))
            return false;
        size_t record_len = FASTCGI_HEADER_LEN + r.content_len + r.padding_len;
        if (len - offset < record_len)
            return true;
        if (!walk_record(w, &r))
            return false;
        offset += record_len;
    }
    return true;
}

enum gate_verdict gate_judge(const uint8_t *bytes, size_t len, struct gate_result *out)
{
    struct walk w = {.stage = EXPECT_BEGIN};
    bool ok = walk_bytes(&w, bytes, len);

    if (ok && w.stage != COMPLETE && len >= GATE_MAX_BYTES)
        ok = fail(&w, "longer than a request may be");
    *out = (struct gate_result){.has_body = w.has_body, .why = w.why};
    if (!ok)
        return GATE_REJECT;
    return w.stage == COMPLETE ? GATE_WHOLE : GATE_MORE;
}
