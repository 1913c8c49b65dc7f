/* Looks up the names of servers on a thread of its own, because getaddrinfo(3) blocks for as long as the
 * resolver likes. The caller never joins that thread: a thread that hangs frees its memory when it ends. */
#ifndef PROBE_LOOKUP_H
#define PROBE_LOOKUP_H

#include "cgi/probe/hosts.h"
#include "common/error.h"

#include <stdbool.h>

struct lookup;

/* Starts to look up each name among hosts, which is copied. NULL with err: no thread or descriptor is left.
 */
struct lookup *lookup_start(const struct hosts *hosts, struct error *err);

/* Readable as soon as it has ended. Owned by the lookup. */
int lookup_fd(const struct lookup *lookup);

/* The name that it looks up now, or looked up last. Borrowed until the release. */
const char *lookup_name(const struct lookup *lookup);

/* False: it has not ended. True: *out has each address of each name, one that failed without any; err is ""
 * or says why the first of those failed. */
bool lookup_take(const struct lookup *lookup, struct hosts *out, struct error *err);

/* Whether it has ended or not. NULL is fine. */
void lookup_release(struct lookup *lookup);

#endif
