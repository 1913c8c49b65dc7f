/* Who holds a listening socket: for messages that name a rogue instead of "address already in use". Reads
 * /proc; may take some ms; start-up and error paths only. */
#ifndef COMMON_HOLDER_H
#define COMMON_HOLDER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct holder {
    pid_t pid;
    uid_t uid;
    char user[64];          /* name of uid, or its number */
    char command_line[256]; /* arguments joined by spaces; "[name]" when they cannot be read */
};

/* The process that answers on a connected AF_UNIX socket (SO_PEERCRED, unix(7)). */
bool holder_of_peer(int connected_fd, struct holder *out);

/* The process that listens on a TCP address, or on a Unix path, by the socket's inode in /proc/net and
 * /proc/PID/fd. False when none is found or /proc does not show it to this user. */
bool holder_of_address(const struct sockaddr *address, socklen_t len, struct holder *out);

/* "pid 123 (user root): python3 rogue.py" */
void holder_describe(const struct holder *h, char *out, int out_size);

#endif
