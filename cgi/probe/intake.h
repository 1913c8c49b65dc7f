/* A limit on what a library may receive in one call. libpq 15 reads on for as long as more arrives once a
 * long message has begun (fe-misc.c, pqReadData), so what waits in the socket beforehand says nothing: a
 * value of 100 MB from a real server took 30 MB within one PQconsumeInput. It has no option against that, but
 * it reads with recv(2), TLS included, and this program's recv stands before the C library's. What is not
 * libpq calls recvfrom(2) instead, so that nothing but libpq goes through here. Any thread. */
#ifndef PROBE_INTAKE_H
#define PROBE_INTAKE_H

#include <stddef.h>

/* Until intake_end recv of this thread takes no more than len bytes in all, then says EAGAIN. */
void intake_begin(size_t len);

/* Returns how much of len is left. */
size_t intake_end(void);

#endif
