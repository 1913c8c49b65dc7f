/* Defines read(2) for the whole process: FEED_FD reads from memory, every other descriptor from the
 * kernel. Only the main thread reads FEED_FD; any thread may read the others. Owns the position in the bytes,
 * which are the caller's. */
#undef _FORTIFY_SOURCE /* with it, the header defines a read of its own */
#include "cgi/serve/feed.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *next;
static size_t left;

void feed_begin(const void *bytes, size_t len)
{
    next = bytes;
    left = len;
}

size_t feed_end(void)
{
    size_t unread = left;
    left = 0;
    return unread;
}

/* libfcgi must see it even in a build with -fvisibility=hidden. */
__attribute__((visibility("default"))) ssize_t read(int fd, void *bytes, size_t len)
{
    if (fd != FEED_FD)
        return syscall(SYS_read, fd, bytes, len);
    size_t n = left < len ? left : len;
    if (n > 0)
        memcpy(bytes, next, n);
    next += n;
    left -= n;
    return (ssize_t)n;
}
