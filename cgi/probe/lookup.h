/* Looks up the names of servers in an errand, because getaddrinfo(3) may block without a limit. */
#ifndef PROBE_LOOKUP_H
#define PROBE_LOOKUP_H

#include "cgi/errand.h"
#include "cgi/probe/hosts.h"
#include "common/error.h"

#include <stdbool.h>

/* Copies hosts and starts to look up each name in it. NULL: err says why; the system has no thread or
 * descriptor left. */
struct errand *lookup_start(const struct hosts *hosts, struct error *err);

/* Returns the name that the lookup is at now, or was at last. It is valid until the release. */
const char *lookup_name(const struct errand *lookup);

/* False: the lookup has not ended. True: *out has each address of each name. A name that failed is in *out
 * without an address, and err says why the first one failed; else err is "". */
bool lookup_take(const struct errand *lookup, struct hosts *out, struct error *err);

#endif
