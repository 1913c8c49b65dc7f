/* Looks up the names of servers in an errand, because getaddrinfo(3) blocks for as long as the resolver
 * likes.
 */
#ifndef PROBE_LOOKUP_H
#define PROBE_LOOKUP_H

#include "cgi/errand.h"
#include "cgi/probe/hosts.h"
#include "common/error.h"

#include <stdbool.h>

/* Starts to look up each name among hosts, which is copied. NULL with err: no thread or descriptor is left.
 */
struct errand *lookup_start(const struct hosts *hosts, struct error *err);

/* The name that it looks up now, or looked up last. Borrowed until the release. */
const char *lookup_name(const struct errand *lookup);

/* False: it has not ended. True: *out has each address of each name, one that failed without any; err is ""
 * or says why the first of those failed. */
bool lookup_take(const struct errand *lookup, struct hosts *out, struct error *err);

#endif
