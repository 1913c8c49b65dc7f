/* cgi/serve/gate: what reaches libfcgi, what the gate answers itself, and what closes the connection. The
 * gate gets each sequence of bytes at once, byte by byte and cut at random; the result must be the same. */
#include "tests/unit/unit.h"

#include "cgi/serve/gate.h"
#include "tests/unit/cgi/serve/fcgi_bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct fcgi_bytes bytes;
static struct fcgi_bytes params;

static int begin_test(void **state)
{
    (void)state;
    bytes.len = 0;
    params.len = 0;
    return 0;
}

/* What the gate writes for libfcgi must be one request in its simplest form: BEGIN_REQUEST, at most one
 * PARAMS record, and the ends of both streams. Writes "request ID keep PARAMS-LENGTH" and returns the content
 * of PARAMS. */
static const char *describe_request(const struct buf *request, struct buf *out)
{
    const uint8_t *p = (const uint8_t *)request->data;
    const uint8_t begin[] = {1, 1, p[2], p[3], 0, 8, 0, 0, 0, 1, p[10], 0, 0, 0, 0, 0};
    const uint8_t end_of_params[] = {1, 4, p[2], p[3], 0, 0, 0, 0};
    const uint8_t end_of_stdin[] = {1, 5, p[2], p[3], 0, 0, 0, 0};
    size_t content_len = (size_t)p[20] << 8 | p[21];
    size_t content_end = 24 + content_len;

    assert_in_range(request->len, 32, GATE_MAX_REQUEST);
    assert_memory_equal(p, begin, sizeof begin);
    assert_in_range(p[10], 0, 1);
    const uint8_t params_header[] = {1, 4, p[2], p[3], p[20], p[21], 0, 0};
    assert_memory_equal(p + 16, params_header, 8);
    if (content_len > 0) {
        assert_memory_equal(p + content_end, end_of_params, 8);
        content_end += 8;
    }
    assert_memory_equal(p + content_end, end_of_stdin, 8);
    assert_int_equal(request->len, content_end + 8);
    buf_appendf(out, "request %d %s %zu", p[2] << 8 | p[3], p[10] ? "keep" : "last", content_len);
    return request->data + 24;
}

/* Writes "reply TYPE ID CONTENT-IN-HEX keep". */
static void describe_reply(const struct gate_result *r, struct buf *out)
{
    const uint8_t *p = (const uint8_t *)r->bytes.data;
    assert_true(r->bytes.len >= 8 && r->bytes.len == 8 + ((size_t)p[4] << 8 | p[5]) && p[0] == 1 &&
                p[6] == 0);
    buf_appendf(out, "reply %d %d ", p[1], p[2] << 8 | p[3]);
    for (size_t i = 8; i < r->bytes.len; i++)
        buf_appendf(out, "%02x", p[i]);
    buf_append_str(out, r->keep ? " keep" : " last");
}

static void describe(const struct gate_result *r, struct buf *out)
{
    switch (r->event) {
    case GATE_MORE: return;
    case GATE_WHOLE:
        (void)describe_request(&r->bytes, out);
        buf_append_str(out, r->too_long ? " too long" : "");
        break;
    case GATE_REPLY: describe_reply(r, out); break;
    case GATE_REJECT: buf_appendf(out, "reject: %s", r->why); return;
    }
    buf_append_str(out, "\n");
}

/* Gives these bytes to a gate, in pieces of at most this many bytes; 0: of random lengths. Returns a line
 * for each event, then the stage. Each piece is a copy of its own, so that a sanitizer notices a read past
 * its end. */
static struct buf walk(const uint8_t *data, size_t len, size_t piece, uint32_t *seed)
{
    struct gate gate = {.max_connections = 256};
    struct buf out = {0};
    bool rejected = false;

    buf_append_str(&out, "");
    for (size_t at = 0; at < len && !rejected;) {
        size_t n = piece > 0 ? piece : 1 + random_next(seed) % 40;
        n = n < len - at ? n : len - at;
        uint8_t *copy = malloc(n);
        memcpy(copy, data + at, n);
        for (size_t taken = 0; taken < n && !rejected;) {
            struct gate_result r = gate_take(&gate, copy + taken, n - taken);
            assert_in_range(r.taken, 1, n - taken);
            assert_true(r.event != GATE_MORE || r.taken == n - taken);
            describe(&r, &out);
            taken += r.taken;
            rejected = r.event == GATE_REJECT;
            buf_free(&r.bytes);
        }
        free(copy);
        at += n;
    }
    static const char *const stages[] = {"between", "in params", "in body"};
    buf_append_str(&out, rejected ? "" : stages[gate.stage]);
    if (!rejected && gate.stage == GATE_BETWEEN && !gate_is_idle(&gate))
        buf_append_str(&out, ", begun");
    gate_free(&gate);
    return out;
}

static void expect(const char *outcome)
{
    uint32_t seed = 1;
    const size_t pieces[] = {sizeof bytes.data, 1, 0, 7, 0};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct buf out = walk(bytes.data, bytes.len, pieces[i], &seed);
        assert_string_equal(out.data, outcome);
        buf_free(&out);
    }
}

static void put_params(size_t padding_len)
{
    put_record(&bytes, T_PARAMS, 1, params.data, params.len, padding_len);
}

static void put_end_of(int type)
{
    put_record(&bytes, type, 1, NULL, 0, 0);
}

static void put_head(bool keep)
{
    put_begin(&bytes, 1, keep);
    put_end_of(T_PARAMS);
}

/* --- requests --- */

static void takes_a_whole_request(void **state)
{
    (void)state;
    put_request(&bytes, "GET", "/api/health", true, 0);
    expect("request 1 keep 57\nbetween");
    begin_test(NULL);
    put_request(&bytes, "GET", "/api/health", false, 0);
    expect("request 1 last 57\nbetween");
}

static void copies_the_parameters_as_they_are(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct buf line = {0};
    put_param(&params, "REQUEST_METHOD", "GET");
    put_param(&params, "X", "");
    put_begin(&bytes, 1, true);
    for (size_t i = 0; i < params.len; i++)
        put_record(&bytes, T_PARAMS, 1, params.data + i, 1, i % 9);
    put_end_of(T_PARAMS);
    put_end_of(T_STDIN);
    struct gate_result r = gate_take(&gate, bytes.data, bytes.len);
    assert_int_equal(r.event, GATE_WHOLE);
    assert_memory_equal(describe_request(&r.bytes, &line), params.data, params.len);
    buf_free(&r.bytes);
    buf_free(&line);
    gate_free(&gate);
}

static void takes_a_request_without_parameters(void **state)
{
    (void)state;
    put_head(false);
    put_end_of(T_STDIN);
    expect("request 1 last 0\nbetween");
}

static void leaves_out_the_body(void **state)
{
    (void)state;
    put_head(true);
    put_record(&bytes, T_STDIN, 1, "abc", 3, 0);
    put_record(&bytes, T_STDIN, 1, "d", 1, 255);
    put_end_of(T_STDIN);
    put_request(&bytes, "POST", "/", true, 60000);
    expect("request 1 keep 0\nrequest 1 keep 48\nbetween");
}

static void takes_any_request_id_but_zero(void **state)
{
    (void)state;
    static const int ids[] = {1, 2, 255, 256, 65535};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        char outcome[64];
        bytes.len = 0;
        put_begin(&bytes, ids[i], true);
        put_record(&bytes, T_PARAMS, ids[i], NULL, 0, 0);
        put_record(&bytes, T_STDIN, ids[i], NULL, 0, 0);
        snprintf(outcome, sizeof outcome, "request %d keep 0\nbetween", ids[i]);
        expect(outcome);
    }
    bytes.len = 0;
    put_begin(&bytes, 0, true);
    expect("reject: request id 0");
}

static void ignores_unknown_flags_and_reserved_bytes(void **state)
{
    (void)state;
    static const uint8_t body[8] = {0, 1, 0xff, 1, 2, 3, 4, 5};
    put_record(&bytes, T_BEGIN, 1, body, sizeof body, 0);
    put_end_of(T_PARAMS);
    put_end_of(T_STDIN);
    for (size_t header = 0; header < bytes.len; header += 8U + bytes.data[header + 5])
        bytes.data[header + 7] = 0xee;
    expect("request 1 keep 0\nbetween");
}

static void skips_any_padding(void **state)
{
    (void)state;
    static const uint8_t begin[8] = {0, 1, 1};
    put_param(&params, "REQUEST_METHOD", "GET");
    for (size_t padding_len = 0; padding_len <= 255; padding_len += 5) {
        bytes.len = 0;
        put_record(&bytes, T_BEGIN, 1, begin, sizeof begin, padding_len);
        put_params(padding_len);
        put_record(&bytes, T_PARAMS, 1, NULL, 0, padding_len);
        put_record(&bytes, T_STDIN, 1, "x", 1, padding_len);
        put_record(&bytes, T_STDIN, 1, NULL, 0, padding_len);
        expect("request 1 keep 19\nbetween");
    }
}

static void takes_names_and_values_of_all_length_forms(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 127, 128, 255, 256, 4000};
    static const size_t count = sizeof lengths / sizeof lengths[0];
    for (size_t i = 0; i < count * count; i++) {
        char name[4001];
        char value[4001];
        char outcome[64];
        snprintf(name, sizeof name, "%0*d", (int)lengths[i / count], 0);
        snprintf(value, sizeof value, "%0*d", (int)lengths[i % count], 0);
        name[lengths[i / count]] = '\0';
        value[lengths[i % count]] = '\0';
        begin_test(NULL);
        put_param(&params, name, value);
        put_begin(&bytes, 1, true);
        put_params(0);
        put_end_of(T_PARAMS);
        put_end_of(T_STDIN);
        snprintf(outcome, sizeof outcome, "request 1 keep %zu\nbetween", params.len);
        expect(outcome);
    }
}

static void takes_four_byte_lengths_of_short_names(void **state)
{
    (void)state;
    static const uint8_t pair[] = {0x80, 0, 0, 1, 0x80, 0, 0, 2, 'n', 'v', 'v'};
    put(&params, pair, sizeof pair);
    put_begin(&bytes, 1, true);
    put_params(0);
    put_end_of(T_PARAMS);
    put_end_of(T_STDIN);
    expect("request 1 keep 11\nbetween");
}

static void waits_for_the_end_of_each_stream(void **state)
{
    (void)state;
    put_begin(&bytes, 1, true);
    expect("in params");
    put_end_of(T_PARAMS);
    expect("in body");
    put_record(&bytes, T_STDIN, 1, "x", 1, 0);
    expect("in body");
    put_end_of(T_STDIN);
    expect("request 1 keep 0\nbetween");
    bytes.data[bytes.len++] = 1;
    expect("request 1 keep 0\nbetween, begun");
}

static void returns_one_request_after_the_other(void **state)
{
    (void)state;
    put_request(&bytes, "GET", "/api/health", true, 10);
    put_request(&bytes, "GET", "/", false, 0);
    expect("request 1 keep 57\nrequest 1 last 47\nbetween");
}

/* Gives up the body after each number of its bytes. The gate must ignore the rest of it, and take the next
 * request whole. */
static void give_up_within(size_t head_len, size_t next_at)
{
    for (size_t cut = head_len; cut < next_at; cut++) {
        struct gate gate = {0};
        struct gate_result r = gate_take(&gate, bytes.data, cut);
        assert_int_equal(r.event, GATE_MORE);
        r = gate_give_up_body(&gate);
        assert_int_equal(r.event, GATE_WHOLE);
        assert_int_equal(gate.stage, GATE_BETWEEN);
        buf_free(&r.bytes);
        r = gate_take(&gate, bytes.data + cut, next_at - cut);
        assert_int_equal(r.event, GATE_MORE);
        assert_true(gate_is_idle(&gate));
        r = gate_take(&gate, bytes.data + next_at, bytes.len - next_at);
        assert_int_equal(r.event, GATE_WHOLE);
        assert_int_equal(r.bytes.len, 16 + 8 + 57 + 8 + 8);
        buf_free(&r.bytes);
        gate_free(&gate);
    }
}

static void gives_up_a_body_and_ignores_the_rest_of_it(void **state)
{
    (void)state;
    put_head(true);
    size_t head_len = bytes.len;
    put_record(&bytes, T_STDIN, 1, "0123456789", 10, 6);
    put_record(&bytes, T_STDIN, 1, "x", 1, 0);
    put_end_of(T_STDIN);
    size_t next_at = bytes.len;
    put_request(&bytes, "GET", "/api/health", true, 0);
    give_up_within(head_len, next_at);
}

static void gives_up_a_body_and_ignores_an_abort_that_has_begun(void **state)
{
    (void)state;
    put_head(true);
    size_t head_len = bytes.len;
    put_record(&bytes, T_ABORT, 1, NULL, 0, 8);
    size_t next_at = bytes.len;
    put_request(&bytes, "GET", "/api/health", true, 0);
    give_up_within(head_len, next_at);
}

static void put_long_params(size_t len)
{
    static char value[GATE_MAX_PARAMS + 1000];
    memset(value, 'v', len - 6);
    value[len - 6] = '\0';
    put_param(&params, "N", value);
    assert_int_equal(params.len, len);
    put_begin(&bytes, 1, true);
    put_record(&bytes, T_PARAMS, 1, params.data, 30000, 0);
    put_record(&bytes, T_PARAMS, 1, params.data + 30000, len - 30000, 0);
    put_end_of(T_PARAMS);
    put_end_of(T_STDIN);
}

static void takes_parameters_up_to_the_limit(void **state)
{
    (void)state;
    put_long_params(GATE_MAX_PARAMS);
    expect("request 1 keep 65535\nbetween");
}

static void leaves_out_longer_parameters(void **state)
{
    (void)state;
    put_long_params(GATE_MAX_PARAMS + 1);
    put_request(&bytes, "GET", "/api/health", true, 0);
    expect("request 1 keep 0 too long\nrequest 1 keep 57\nbetween");
}

static void takes_many_empty_parameters(void **state)
{
    (void)state;
    memset(params.data, 0, GATE_MAX_PARAMS);
    params.len = GATE_MAX_PARAMS / 2 * 2;
    put_begin(&bytes, 1, true);
    put_params(0);
    put_end_of(T_PARAMS);
    put_end_of(T_STDIN);
    expect("request 1 keep 65534\nbetween");
}

/* --- what the gate answers itself --- */

static void answers_get_values_with_the_names_it_knows(void **state)
{
    (void)state;
    struct fcgi_bytes asked = {.len = 0};
    put_param(&asked, "FCGI_MPXS_CONNS", "");
    put_param(&asked, "FCGI_MAX_CONN", "");
    put_param(&asked, "FCGI_MAX_REQS", "ignored");
    put_record(&bytes, T_GET_VALUES, 0, asked.data, asked.len, 3);
    /* 15 1 FCGI_MPXS_CONNS 0, 13 3 FCGI_MAX_REQS 256 */
    expect("reply 10 0 0f01464347495f4d5058535f434f4e4e5330"
           "0d03464347495f4d41585f52455153323536 keep\nbetween");
    bytes.len = 0;
    put_record(&bytes, T_GET_VALUES, 0, NULL, 0, 0);
    expect("reply 10 0  keep\nbetween");
}

static void rejects_malformed_get_values(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        size_t len;
    } cases[] = {{"\x01", 1},
                 {"\x80\0", 2},
                 {"\x05\0NAME", 6},
                 {"\x01\x01N", 3},
                 {"\xff\xff\xff\xff\xff\xff\xff\xff", 8}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bytes.len = 0;
        put_record(&bytes, T_GET_VALUES, 0, cases[i].content, cases[i].len, 0);
        expect("reject: a GET_VALUES pair longer than its record");
    }
    bytes.len = 0;
    put_header(&bytes, T_GET_VALUES, 0, 1025, 0);
    expect("reject: a GET_VALUES record that is too long");
}

static void answers_unknown_management_records(void **state)
{
    (void)state;
    for (int type = 10; type <= 255; type += 5) {
        char outcome[64];
        bytes.len = 0;
        put_record(&bytes, type, 0, "abc", 3, 1);
        snprintf(outcome, sizeof outcome, "reply 11 0 %02x00000000000000 keep\nbetween", (unsigned)type);
        expect(outcome);
    }
}

static void answers_management_records_within_a_request(void **state)
{
    (void)state;
    static const char *const after[] = {"in params", "in params", "in body"};
    for (int at = 0; at < 3; at++) {
        char outcome[64];
        bytes.len = 0;
        params.len = 0;
        put_param(&params, "NAME", "value");
        put_begin(&bytes, 1, true);
        if (at > 0)
            put_record(&bytes, T_PARAMS, 1, params.data, 5, 0); /* in the middle of a pair */
        if (at > 1) {
            put_record(&bytes, T_PARAMS, 1, params.data + 5, params.len - 5, 0);
            put_end_of(T_PARAMS);
        }
        put_record(&bytes, T_GET_VALUES, 0, NULL, 0, 0);
        snprintf(outcome, sizeof outcome, "reply 10 0  keep\n%s", after[at]);
        expect(outcome);
    }
    put_end_of(T_STDIN);
    expect("reply 10 0  keep\nrequest 1 keep 11\nbetween");
}

static void refuses_a_second_request_at_a_time(void **state)
{
    (void)state;
    put_begin(&bytes, 1, true);
    put_begin(&bytes, 2, false);
    put_record(&bytes, T_PARAMS, 2, "anything", 8, 0);
    put_record(&bytes, T_STDIN, 2, NULL, 0, 0);
    put_end_of(T_PARAMS);
    put_begin(&bytes, 0x102, true);
    put_end_of(T_STDIN);
    expect("reply 3 2 0000000001000000 keep\nreply 3 258 0000000001000000 keep\nrequest 1 keep 0\nbetween");
}

static void answers_unknown_role_to_other_roles(void **state)
{
    (void)state;
    static const uint8_t roles[][2] = {{0, 0}, {0, 2}, {0, 3}, {1, 1}, {0xff, 0xff}};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        const uint8_t body[8] = {roles[i][0], roles[i][1], i % 2};
        bytes.len = 0;
        put_record(&bytes, T_BEGIN, 1, body, sizeof body, 0);
        put_end_of(T_PARAMS);
        put_end_of(T_STDIN);
        expect(i % 2 ? "reply 3 1 0000000003000000 keep\nbetween"
                     : "reply 3 1 0000000003000000 last\nbetween");
    }
}

static void ends_an_aborted_request(void **state)
{
    (void)state;
    for (int keep = 0; keep <= 1; keep++) {
        const char *outcome = keep ? "reply 3 1 0000000000000000 keep\nrequest 1 last 57\nbetween"
                                   : "reply 3 1 0000000000000000 last\nrequest 1 last 57\nbetween";
        for (int at = 0; at < 3; at++) {
            begin_test(NULL);
            put_begin(&bytes, 1, keep);
            if (at == 1)
                put_record(&bytes, T_PARAMS, 1, "\x04\x05NA", 4, 0); /* in the middle of a pair */
            if (at == 2) {
                put_end_of(T_PARAMS);
                put_record(&bytes, T_STDIN, 1, "x", 1, 0);
            }
            put_end_of(T_ABORT);
            put_request(&bytes, "GET", "/api/health", false, 0);
            expect(outcome);
        }
    }
}

static void ignores_records_of_requests_that_are_not_under_way(void **state)
{
    (void)state;
    for (int type = 2; type <= 255; type++)
        put_record(&bytes, type, 1 + type, "\xff\xff", 2, type % 4 == 0 ? 1 : 0);
    put_begin(&bytes, 1, true);
    for (int type = 2; type <= 255; type++)
        put_record(&bytes, type, 1 + type, "\xff\xff", 2, 0);
    expect("in params");
}

/* --- what it rejects --- */

static void rejects_pairs_longer_than_their_stream(void **state)
{
    (void)state;
    put_param(&params, "NAME", "value");
    size_t whole = params.len;
    for (size_t len = 1; len < whole; len++) {
        bytes.len = 0;
        params.len = len;
        put_begin(&bytes, 1, true);
        put_params(0);
        expect("in params");
        put_end_of(T_PARAMS);
        expect("reject: a parameter longer than its stream");
    }
}

static void rejects_lengths_that_overflow(void **state)
{
    (void)state;
    static const uint8_t pairs[][8] = {
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff}, /* two lengths that overflow when they are added in 32 bits */
        {0xff, 0xff, 0xff, 0xff, 0},
        {0, 0xff, 0xff, 0xff, 0xff},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        bytes.len = 0;
        put_begin(&bytes, 1, true);
        put_record(&bytes, T_PARAMS, 1, pairs[i], sizeof pairs[i], 0);
        put_record(&bytes, T_PARAMS, 1, pairs[i], sizeof pairs[i], 0);
        put_end_of(T_PARAMS);
        expect("reject: a parameter longer than its stream");
    }
}

static void rejects_other_protocols_at_the_first_byte(void **state)
{
    (void)state;
    for (int byte = 0; byte <= 255; byte++) {
        bytes.data[0] = (uint8_t)byte;
        bytes.len = 1;
        expect(byte == 1 ? "between, begun" : "reject: not version 1 of the protocol");
        bytes.len = 0;
        put_begin(&bytes, 1, true);
        bytes.data[bytes.len++] = (uint8_t)byte;
        expect(byte == 1 ? "in params" : "reject: not version 1 of the protocol");
    }
}

static void rejects_a_begin_of_the_wrong_length(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 7, 9, 16, 65535};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        bytes.len = 0;
        put_header(&bytes, T_BEGIN, 1, lengths[i], 0);
        expect("reject: a BEGIN_REQUEST of the wrong length");
    }
}

/* The header is enough: the gate does not wait for the content of a bad record. */
static void rejects_records_out_of_order(void **state)
{
    (void)state;
    for (int type = 0; type <= 255; type++) {
        if (type == T_BEGIN || type == T_ABORT)
            continue;
        bytes.len = 0;
        put_begin(&bytes, 1, true);
        put_header(&bytes, type, 1, 8, 0);
        expect(type == T_PARAMS ? "in params" : "reject: not a PARAMS record");
        bytes.len = 0;
        put_head(true);
        put_header(&bytes, type, 1, 8, 0);
        expect(type == T_STDIN ? "in body" : "reject: not a STDIN record");
    }
    for (int type = 0; type < T_GET_VALUES; type++) {
        bytes.len = 0;
        put_header(&bytes, type, 0, 8, 0);
        expect("reject: request id 0");
    }
    bytes.len = 0;
    put_begin(&bytes, 1, true);
    put_begin(&bytes, 1, true);
    expect("reject: a request id that is in use");
}

/* --- any bytes --- */

static void pieces_do_not_matter(uint32_t *seed)
{
    struct buf whole = walk(bytes.data, bytes.len, bytes.len + 1, seed);
    struct buf cut = walk(bytes.data, bytes.len, 0, seed);
    assert_string_equal(cut.data, whole.data);
    buf_free(&whole);
    buf_free(&cut);
}

static void survives_random_mutations(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 20000; i++) {
        uint32_t seed = i;
        bytes.len = 0;
        put_record(&bytes, T_GET_VALUES, 0,
                   "\x0f\0"
                   "FCGI_MPXS_CONNS",
                   17, 0);
        put_request(&bytes, "POST", "/api/health", i % 2 == 0, i % 50);
        put_begin(&bytes, 2, true);
        put_request(&bytes, "GET", "/api/health/live", true, 0);
        mutate(&bytes, &seed);
        pieces_do_not_matter(&seed);
    }
}

static void survives_random_bytes(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 20000; i++) {
        uint32_t seed = i;
        bytes.len = 1 + random_next(&seed) % 200;
        for (size_t at = 0; at < bytes.len; at++)
            bytes.data[at] = at % 8 == 0 && i % 2 == 0 ? 1 : (uint8_t)(random_next(&seed) % 12);
        pieces_do_not_matter(&seed);
    }
}

#define test(function) cmocka_unit_test_setup(function, begin_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(takes_a_whole_request),
        test(copies_the_parameters_as_they_are),
        test(takes_a_request_without_parameters),
        test(leaves_out_the_body),
        test(takes_any_request_id_but_zero),
        test(ignores_unknown_flags_and_reserved_bytes),
        test(skips_any_padding),
        test(takes_names_and_values_of_all_length_forms),
        test(takes_four_byte_lengths_of_short_names),
        test(waits_for_the_end_of_each_stream),
        test(returns_one_request_after_the_other),
        test(gives_up_a_body_and_ignores_the_rest_of_it),
        test(gives_up_a_body_and_ignores_an_abort_that_has_begun),
        test(takes_parameters_up_to_the_limit),
        test(leaves_out_longer_parameters),
        test(takes_many_empty_parameters),
        test(answers_get_values_with_the_names_it_knows),
        test(rejects_malformed_get_values),
        test(answers_unknown_management_records),
        test(answers_management_records_within_a_request),
        test(refuses_a_second_request_at_a_time),
        test(answers_unknown_role_to_other_roles),
        test(ends_an_aborted_request),
        test(ignores_records_of_requests_that_are_not_under_way),
        test(rejects_pairs_longer_than_their_stream),
        test(rejects_lengths_that_overflow),
        test(rejects_other_protocols_at_the_first_byte),
        test(rejects_a_begin_of_the_wrong_length),
        test(rejects_records_out_of_order),
        test(survives_random_mutations),
        test(survives_random_bytes),
    };
    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
