/* Which sockets listen at an address, as the kernel lists them by sock_diag(7). Any thread; takes some ms. */
#ifndef COMMON_LISTENING_H
#define COMMON_LISTENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Sockets that share one address (SO_REUSEPORT, IPv4 beside IPv6); more are not looked at. */
#define LISTENING_MAX 256

struct listening {
    size_t count;
    struct {
        uint64_t inode;   /* as in /proc/PID/fd */
        uint32_t waiting; /* connections that nobody has accepted yet */
    } items[LISTENING_MAX];
};

/* The sockets that take connections to the address: a Unix path by the name it was bound to, in whatever
 * mount namespace (one that another socket has displaced at its path keeps its name); a TCP address also by
 * the wildcard address of its family, an IPv4 one by sockets of IPv6 too unless they are IPV6_V6ONLY
 * (ipv6(7)). The wildcard address itself means every address of its family. False: the kernel cannot be
 * asked. */
__attribute__((warn_unused_result)) bool listening_find(const struct sockaddr *address, socklen_t len,
                                                        struct listening *out);

#endif
