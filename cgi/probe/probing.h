/* Decides what to ask, when, and on which session; publishes what is known. It has no thread of its own: the
 * thread that calls probing_turn owns it and every PGconn. */
#ifndef PROBE_PROBING_H
#define PROBE_PROBING_H

#include "cgi/checks.h"
#include "cgi/config.h"
#include "cgi/snapshot.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/* How many descriptors the caller polls after a turn: two sessions and a lookup of names. */
#define PROBING_POLLED 3

struct probing;

/* Borrows config, checks and slot until probing_free. Call it once, before any thread is started, because
 * session_init may change the environment. */
struct probing *probing_new(const struct config *config, const struct checks *checks,
                            struct snapshot_slot *slot);
void probing_free(struct probing *probing);

/* Does everything that needs no waiting, but asks a check only if may_check is true. Fills fds with what to
 * wait for, and returns the next deadline. */
int64_t probing_turn(struct probing *probing, bool may_check, struct pollfd fds[static PROBING_POLLED]);

/* True: a check is being asked, so the caller must not set new ones now. */
bool probing_is_asked(const struct probing *probing);

/* Replaces the checks. Borrows the new ones; the caller may free the old ones afterwards. Not while a check
 * is being asked. */
void probing_set_checks(struct probing *probing, const struct checks *before, const struct checks *checks);

/* Publishes what is known. is_last: first books a timeout for whatever has no answer yet. */
void probing_publish(struct probing *probing, bool is_last);

/* True: each check was asked, or the database fails. */
bool probing_is_complete(const struct probing *probing);

/* How long a single probe may take: the lookup of names, a login at each address, and the slowest check. */
int64_t probing_once_ms(const struct probing *probing);

#endif
