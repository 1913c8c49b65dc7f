/* The addresses that a login may try. They are looked up again for each login. The last ones are used
 * meanwhile, and for as long as the resolver fails. Blocks in nothing. Prober thread. */
#ifndef PROBE_RESOLVER_H
#define PROBE_RESOLVER_H

#include "cgi/probe/hosts.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

struct resolver;

/* A lookup that takes longer than limit_ms counts as failed until it ends. */
struct resolver *resolver_new(int64_t limit_ms);
void resolver_free(struct resolver *resolver);

/* Looks up what is configured now, unless a lookup is under way. */
void resolver_ask(struct resolver *resolver, int64_t now_ns);

/* True: the addresses or the error are new. */
bool resolver_step(struct resolver *resolver, int64_t now_ns);

/* What to wait for before the next step: the descriptor (-1: none), and the returned deadline. */
int64_t resolver_wait(const struct resolver *resolver, struct pollfd *out);

/* In the order in which a login is to try them. None: libpq's own default, unless it is an address that
 * lacks. */
const struct hosts *resolver_hosts(const struct resolver *resolver);
bool resolver_lacks_address(const struct resolver *resolver);

/* A login was in vain for its whole limit: the first address is tried last for a minute. */
void resolver_demote(struct resolver *resolver, int64_t now_ns);

/* Whether there are names to look up; why that failed the last time, or ""; how long the last took. */
bool resolver_has_names(const struct resolver *resolver);
const char *resolver_error(const struct resolver *resolver);
int64_t resolver_took_ns(const struct resolver *resolver);

#endif
