/* Turns libpq's lists of several hosts ("a,b,c"), so that an attempt may begin with another than the first:
 * libpq itself never goes on from a host that accepts and says nothing when it is polled (PQconnectPoll).
 * Pure. */
#ifndef PROBE_HOSTS_H
#define PROBE_HOSTS_H

#include "common/buf.h"

#include <stddef.h>

/* How many entries the comma-separated list has. */
size_t hosts_count(const char *list);

/* Appends the comma-separated list beginning with entry offset (modulo its length), the entries before it
 * behind. Empty entries are entries. */
void hosts_rotate(const char *list, size_t offset, struct buf *out);

#endif
