/* Finds the sockets that listen at an address, in the kernel's list (sock_diag(7)). Any thread; takes some
 * ms. */
#ifndef COMMON_LISTENING_H
#define COMMON_LISTENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* The most sockets that one call finds. Several can share an address (SO_REUSEPORT, IPv4 beside IPv6). */
#define LISTENING_MAX 256

struct listening {
    size_t count;
    uint64_t inodes[LISTENING_MAX]; /* as in /proc/PID/fd */
};

/* Finds the sockets that take connections to the address. A Unix path is compared with the name that a
 * socket was bound to, in whatever mount namespace; a socket keeps that name when another one has replaced it
 * at its path. A TCP address also matches the wildcard address of its family. An IPv4 address also matches
 * sockets of IPv6, unless they are IPV6_V6ONLY (ipv6(7)). The wildcard address itself means every address of
 * its family. False: the kernel cannot be asked. */
__attribute__((warn_unused_result)) bool listening_find(const struct sockaddr *address, socklen_t len,
                                                        struct listening *out);

enum listening_taken {
    LISTENING_TAKEN,   /* a process has accepted the connection */
    LISTENING_WAITS,   /* the connection waits in the queue */
    LISTENING_UNKNOWN, /* the kernel does not say, or itself waits for data (TCP_DEFER_ACCEPT) */
};

/* Finds out what has become of a connection that this process has made. The other end has an inode once a
 * process has accepted it. */
enum listening_taken listening_taken(int connected_fd);

#endif
