/* The growing byte buffer and allocators that cannot fail. Any thread, but one at a time for each buffer;
 * a buffer owns its memory. */
#include "common/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUF_MIN_CAP 256

_Noreturn static void die_out_of_memory(void)
{
    static const char message[] = "out of memory\n";
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0)
        abort();
    abort();
}

/* Makes room for len more bytes and a NUL. */
static void buf_reserve(struct buf *b, size_t len)
{
    if (len >= SIZE_MAX / 2 - b->len)
        die_out_of_memory();
    size_t need = b->len + len + 1;
    if (need <= b->cap)
        return;
    size_t cap = b->cap < BUF_MIN_CAP ? BUF_MIN_CAP : b->cap;
    while (cap < need)
        cap *= 2;
    char *data = realloc(b->data, cap);
    if (data == NULL)
        die_out_of_memory();
    b->data = data;
    b->cap = cap;
}

void buf_append(struct buf *b, const void *bytes, size_t len)
{
    buf_reserve(b, len);
    if (len > 0)
        memcpy(b->data + b->len, bytes, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_append_str(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_appendf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len >= 0) {
        buf_reserve(b, (size_t)len);
        vsnprintf(b->data + b->len, (size_t)len + 1, format, again);
        b->len += (size_t)len;
    }
    va_end(again);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    if (b->data != NULL)
        b->data[0] = '\0';
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

/* Reads fd to its end. Checks the size while it reads, because a file may grow after fstat. */
static bool read_all(struct buf *b, int fd, size_t max_bytes, const char *path, struct error *err)
{
    size_t total = 0;
    for (;;) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            error_set(err, "%s: %s", path, strerror(errno));
            return false;
        }
        if (n == 0)
            return true;
        if ((size_t)n > max_bytes - total) {
            error_set(err, "%s: larger than %zu bytes", path, max_bytes);
            return false;
        }
        buf_append(b, chunk, (size_t)n);
        total += (size_t)n;
    }
}

bool buf_read_file(struct buf *b, const char *path, size_t max_bytes, struct error *err)
{
    bool ok = false;
    size_t len_before = b->len;
    /* O_NONBLOCK: else open(2) waits for the writer of a FIFO. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        error_set(err, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(err, "%s: not a regular file", path);
        goto out;
    }
    buf_append(b, "", 0);
    ok = read_all(b, fd, max_bytes, path, err);
out:
    if (fd >= 0)
        close(fd);
    if (!ok && b->data != NULL) {
        b->len = len_before;
        b->data[b->len] = '\0';
    }
    return ok;
}

void *mem_calloc(size_t count, size_t size)
{
    /* calloc(0) may return NULL although there is memory. */
    void *memory = calloc(count > 0 ? count : 1, size > 0 ? size : 1);
    if (memory == NULL)
        die_out_of_memory();
    return memory;
}

char *mem_strdup(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        die_out_of_memory();
    return copy;
}
