/* A growing byte buffer. Not thread-safe. Out of memory ends the process (abort with a message): no part of
 * these programs can do anything useful without memory, and each buffer is bounded by its user. */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* NUL-terminated once anything was appended; NULL before */
    size_t len; /* bytes without that NUL */
    size_t cap;
};

void buf_append(struct buf *b, const void *bytes, size_t len);
void buf_append_str(struct buf *b, const char *text);
__attribute__((format(printf, 2, 3))) void buf_appendf(struct buf *b, const char *format, ...);

/* Forgets the content, keeps the memory. */
void buf_reset(struct buf *b);

/* Frees the memory; the buffer is empty and usable again. */
void buf_free(struct buf *b);

/* Appends the whole file at path. False with err filled (path, the system's word) when it cannot be opened or
 * read, is no regular file, or is larger than max_bytes. */
__attribute__((warn_unused_result)) bool buf_read_file(struct buf *b, const char *path, size_t max_bytes,
                                                       struct error *err);

/* calloc and strdup that end the process when there is no memory. The caller frees. */
void *mem_calloc(size_t count, size_t size);
char *mem_strdup(const char *text);

#endif
