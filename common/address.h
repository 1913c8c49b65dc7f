/* What HEALTH_LISTEN names, and where FastCGI may be spoken at all. Pure; any thread. */
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* Reached from this machine alone, a Unix socket included: FastCGI has no authentication of its own. */
bool address_is_loopback(const struct sockaddr_storage *address);

/* "unix:/PATH", "tcp:127.0.0.1:9000", "tcp:[::1]:9000", "tcp:localhost:9000" -> *out and its *len. Returns
 * NULL, or what was expected instead, a literal. */
__attribute__((warn_unused_result)) const char *address_parse(const char *text, struct sockaddr_storage *out,
                                                              socklen_t *len);

#endif
