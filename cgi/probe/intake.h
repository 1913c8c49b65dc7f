/* Limits what libpq may receive in one call. Once a long message has begun, libpq 15 reads for as long as
 * more arrives (fe-misc.c, pqReadData): one PQconsumeInput took 30 MB of a 100 MB value from a real server.
 * libpq has no option for that. But it reads with recv(2), also under TLS, and the recv of this file replaces
 * that of the C library. All other code calls recvfrom(2), so only libpq is limited. Any thread. */
#ifndef PROBE_INTAKE_H
#define PROBE_INTAKE_H

#include <stddef.h>

/* Until intake_end, recv on this thread takes at most len bytes in all, then fails with EAGAIN. */
void intake_begin(size_t len);

/* Returns how much of len is left. */
size_t intake_end(void);

#endif
