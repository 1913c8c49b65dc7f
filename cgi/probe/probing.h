/* What to ask, when, and on which session; what to publish. It has no thread of its own: whoever calls
 * probing_turn owns it, and with it every PGconn. */
#ifndef PROBE_PROBING_H
#define PROBE_PROBING_H

#include "cgi/checks.h"
#include "cgi/config.h"
#include "cgi/snapshot.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/* Descriptors that a turn waits for: two sessions, a lookup of names. */
#define PROBING_POLLED 3

struct probing;

/* config, checks and slot are borrowed until probing_free. Once, before any thread is started, for libpq's
 * environment may be changed (session_init). */
struct probing *probing_new(const struct config *config, const struct checks *checks,
                            struct snapshot_slot *slot);
void probing_free(struct probing *probing);

/* Does all that can be done now, but asks no check unless it may; fills what to wait for. Returns the next
 * deadline. */
int64_t probing_turn(struct probing *probing, bool may_check, struct pollfd fds[static PROBING_POLLED]);

/* Whether a check is asked: then it is no time for new ones. */
bool probing_is_asked(const struct probing *probing);

/* New checks, borrowed, in the place of those before, which may be freed then. Not while one is asked. */
void probing_set_checks(struct probing *probing, const struct checks *before, const struct checks *checks);

/* Publishes what is known. is_last: what is not known by now is a timeout. */
void probing_publish(struct probing *probing, bool is_last);

/* Whether each check was asked, or the database fails. */
bool probing_is_complete(const struct probing *probing);

/* How long one round of questions may take in all: a login at each address, after the lookup of names. */
int64_t probing_once_ms(const struct probing *probing);

#endif
