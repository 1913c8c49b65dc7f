/* The addresses that a login may try. Each login starts a new lookup, and the old addresses stay in use until
 * it has ended, or for as long as lookups fail. Never blocks. Prober thread. */
#ifndef PROBE_RESOLVER_H
#define PROBE_RESOLVER_H

#include "cgi/probe/hosts.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

struct resolver;

/* A lookup that takes longer than limit_ms counts as failed until it has ended. */
struct resolver *resolver_new(int64_t limit_ms);
void resolver_free(struct resolver *resolver);

/* Starts to look up the configured names, unless a lookup is running. */
void resolver_ask(struct resolver *resolver, int64_t now_ns);

/* Takes the result of a lookup that has ended. True: the addresses or the error are new. */
bool resolver_step(struct resolver *resolver, int64_t now_ns);

/* What to wait for before the next step: the descriptor in *out (-1: none) and the returned deadline. */
int64_t resolver_wait(const struct resolver *resolver, struct pollfd *out);

/* The hosts, in the order in which a login tries them. None means libpq's own default, unless
 * resolver_lacks_address: then a name is configured, and no lookup has found its address yet. */
const struct hosts *resolver_hosts(const struct resolver *resolver);
bool resolver_lacks_address(const struct resolver *resolver);

/* Call it when a login has timed out: the first address becomes the last, for a minute. */
void resolver_demote(struct resolver *resolver, int64_t now_ns);

/* Whether there are names to look up; why the last lookup failed, or ""; how long the last lookup took. */
bool resolver_has_names(const struct resolver *resolver);
const char *resolver_error(const struct resolver *resolver);
int64_t resolver_took_ns(const struct resolver *resolver);

#endif
