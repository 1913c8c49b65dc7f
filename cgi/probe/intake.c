/* Defines recv(2) for libpq, with a limit. Runs on any thread; owns one limit for each thread. */
#undef _FORTIFY_SOURCE /* with it, the header <sys/socket.h> defines its own recv */
#include "cgi/probe/intake.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>

static _Thread_local bool is_limited;
static _Thread_local size_t left;

void intake_begin(size_t len)
{
    is_limited = true;
    left = len;
}

size_t intake_end(void)
{
    is_limited = false;
    return left;
}

/* libpq must find this symbol also in a build with -fvisibility=hidden. */
__attribute__((visibility("default"))) ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
    if (!is_limited)
        return recvfrom(fd, bytes, len, flags, NULL, NULL);
    if (left == 0) {
        errno = EAGAIN;
        return -1;
    }
    ssize_t n = recvfrom(fd, bytes, len < left ? len : left, flags, NULL, NULL);
    if (n > 0)
        left -= (size_t)n;
    return n;
}
