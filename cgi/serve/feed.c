/* Stands in for read(2). */
#undef _FORTIFY_SOURCE /* it has a read of its own in the header */
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

/* Seen by libfcgi also in a build with -fvisibility=hidden. */
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
