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
    uint64_t inodes[LISTENING_MAX]; /* as in /proc/PID/fd */
};

/* The sockets that take connections to the address: a Unix path by the name it was bound to, in whatever
 * mount namespace (one that another socket has displaced at its path keeps its name); a TCP address also by
 * the wildcard address of its family, an IPv4 one by sockets of IPv6 too unless they are IPV6_V6ONLY
 * (ipv6(7)). The wildcard address itself means every address of its family. False: the kernel cannot be
 * asked. */
__attribute__((warn_unused_result)) bool listening_find(const struct sockaddr *address, socklen_t len,
                                                        struct listening *out);

enum listening_taken {
    LISTENING_TAKEN,   /* somebody has accepted the connection */
    LISTENING_WAITS,   /* it waits in the queue */
    LISTENING_UNKNOWN, /* the kernel does not tell, or waits for data itself (TCP_DEFER_ACCEPT) */
};

/* What has become of a connection of this process: the other end has an inode once it is accepted. */
enum listening_taken listening_taken(int connected_fd);

#endif
