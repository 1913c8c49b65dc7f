/* Socket addresses as the settings and the watch file write them. Pure; any thread. */
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* Where a socket listens, or will listen. */
struct address {
    struct sockaddr_storage socket;
    socklen_t len; /* 0: none */
};

/* Parses "unix:/PATH" or "tcp:HOST:PORT". HOST is an IPv4 address, an IPv6 address in brackets,
 * "localhost" for 127.0.0.1, or "*" for any IPv4 address. Returns NULL, or a literal that says what it
 * expected; *out is empty then. */
__attribute__((warn_unused_result)) const char *address_parse(const char *text, struct address *out);

/* Whether only this machine can reach the address: a loopback address or a Unix path. */
bool address_is_loopback(const struct address *address);

#endif
