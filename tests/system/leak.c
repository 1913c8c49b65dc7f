/* Reproduces incident 3: with LD_PRELOAD each accepted connection leaks a descriptor. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    int (*next)(int, struct sockaddr *, socklen_t *, int);
    *(void **)&next = dlsym(RTLD_NEXT, "accept4");
    int accepted = next(fd, address, len, flags);
    if (accepted >= 0)
        (void)!socket(AF_UNIX, SOCK_STREAM, 0);
    return accepted;
}
