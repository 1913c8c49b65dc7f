/* Writes FastCGI records as a web server does, for the tests of gate and fcgi (FastCGI Specification
 * 1.0). */
#ifndef TESTS_UNIT_FCGI_BYTES_H
#define TESTS_UNIT_FCGI_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    T_BEGIN = 1,
    T_ABORT = 2,
    T_END = 3,
    T_PARAMS = 4,
    T_STDIN = 5,
    T_STDOUT = 6,
    T_STDERR = 7,
    T_DATA = 8,
    T_GET_VALUES = 9,
};

struct fcgi_bytes {
    uint8_t data[140000]; /* room for the longest record */
    size_t len;
};

static inline void put(struct fcgi_bytes *b, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(b->data + b->len, bytes, len);
    b->len += len;
}

static inline void put_header(struct fcgi_bytes *b, int type, int id, size_t content_len, size_t padding_len)
{
    const uint8_t header[8] = {1,
                               (uint8_t)type,
                               (uint8_t)(id >> 8),
                               (uint8_t)id,
                               (uint8_t)(content_len >> 8),
                               (uint8_t)content_len,
                               (uint8_t)padding_len,
                               0};
    put(b, header, sizeof header);
}

static inline void put_record(struct fcgi_bytes *b, int type, int id, const void *content, size_t len,
                              size_t padding_len)
{
    static const uint8_t padding[255];
    put_header(b, type, id, len, padding_len);
    put(b, content, len);
    put(b, padding, padding_len);
}

static inline void put_begin(struct fcgi_bytes *b, int id, bool keep)
{
    const uint8_t body[8] = {0, 1, keep};
    put_record(b, T_BEGIN, id, body, sizeof body, 0);
}

static inline void put_length(struct fcgi_bytes *b, size_t len)
{
    const uint8_t four[4] = {(uint8_t)(len >> 24 | 0x80), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                             (uint8_t)len};
    put(b, len < 128 ? four + 3 : four, len < 128 ? 1 : 4);
}

/* Writes one name-value pair, as content for PARAMS records. */
static inline void put_param(struct fcgi_bytes *b, const char *name, const char *value)
{
    put_length(b, strlen(name));
    put_length(b, strlen(value));
    put(b, name, strlen(name));
    put(b, value, strlen(value));
}

/* Writes a whole request as nginx sends it. Leaves out a NULL method. The body is body_len bytes of
 * 'b'. */
static inline void put_request(struct fcgi_bytes *b, const char *method, const char *path, bool keep,
                               size_t body_len)
{
    static struct fcgi_bytes params;
    static uint8_t body[65535];

    params.len = 0;
    if (method != NULL)
        put_param(&params, "REQUEST_METHOD", method);
    put_param(&params, "SCRIPT_NAME", path);
    put_param(&params, "QUERY_STRING", "");
    put_begin(b, 1, keep);
    put_record(b, T_PARAMS, 1, params.data, params.len, (8 - params.len % 8) % 8);
    put_record(b, T_PARAMS, 1, NULL, 0, 0);
    if (body_len > 0) {
        memset(body, 'b', sizeof body);
        put_record(b, T_STDIN, 1, body, body_len, (8 - body_len % 8) % 8);
    }
    put_record(b, T_STDIN, 1, NULL, 0, 0);
}

/* xorshift32: the same seed gives the same sequence on each machine. */
static inline uint32_t random_next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Changes, inserts, removes or doubles some bytes, mostly in the places that matter. */
static inline void mutate(struct fcgi_bytes *b, uint32_t *seed)
{
    static const uint8_t telling[] = {0, 1, 2, 4, 5, 8, 9, 0x7f, 0x80, 0xff};
    uint32_t changes = 1 + random_next(seed) % 3;
    for (uint32_t i = 0; i < changes && b->len > 1; i++) {
        size_t at = random_next(seed) % b->len;
        size_t n = 1 + random_next(seed) % 16;
        n = n < b->len - at ? n : b->len - at;
        uint8_t byte = random_next(seed) % 2 == 0 ? telling[random_next(seed) % sizeof telling]
                                                  : (uint8_t)random_next(seed);
        switch (random_next(seed) % 6) {
        case 0: /* remove */
            memmove(b->data + at, b->data + at + n, b->len - at - n);
            b->len -= n;
            break;
        case 1: /* double */
            memmove(b->data + at + n, b->data + at, b->len - at);
            b->len += n;
            break;
        default: b->data[at] = byte; break;
        }
    }
}

#endif
