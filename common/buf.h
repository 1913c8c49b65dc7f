/* A growing byte buffer. Not thread-safe. When memory runs out, the process aborts with a message: these
 * programs can do nothing useful without memory. Each user limits the size of its own buffer. */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* NUL-terminated after the first append; NULL before that */
    size_t len; /* bytes without that NUL */
    size_t cap;
};

void buf_append(struct buf *b, const void *bytes, size_t len);
void buf_append_str(struct buf *b, const char *text);
__attribute__((format(printf, 2, 3))) void buf_appendf(struct buf *b, const char *format, ...);

/* Empties the buffer and keeps its memory. */
void buf_reset(struct buf *b);

/* Frees the memory. After that the buffer is empty and can be used again. */
void buf_free(struct buf *b);

/* Appends the whole file at path. False when the file cannot be opened or read, is not a regular file, or
 * is larger than max_bytes; err then has the path and the system's error. */
__attribute__((warn_unused_result)) bool buf_read_file(struct buf *b, const char *path, size_t max_bytes,
                                                       struct error *err);

/* calloc and strdup that end the process when there is no memory. The caller frees the result. */
void *mem_calloc(size_t count, size_t size);
char *mem_strdup(const char *text);

#endif
