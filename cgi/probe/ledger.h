/* What is known of the database and of each check: the prober writes down what its probes found, the snapshot
 * is a copy. Counts HEALTH_FALL and HEALTH_RISE, and logs each change once. Prober thread. */
#ifndef PROBE_LEDGER_H
#define PROBE_LEDGER_H

#include "cgi/probe/probe.h"
#include "cgi/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;

/* checks is borrowed for the call. */
struct ledger *ledger_new(int64_t fall, int64_t rise, const struct checks *checks);
void ledger_free(struct ledger *ledger);

/* New checks after a reload, in the place of those that it has (before): one with the same name and query
 * keeps what is known of it, all are due. */
void ledger_set_checks(struct ledger *ledger, const struct checks *before, const struct checks *checks);

/* The checks that are due, by their index, into out (room for all); returns how many. One that failed is due
 * always. Those that broke the connection come last, so that they do not keep the others from being counted,
 * and the one of them that was asked last behind the others. Within half an interval of its time counts as
 * due. */
size_t ledger_select_due(const struct ledger *ledger, int64_t now_ns, int64_t interval_ns, size_t *out);

void ledger_make_all_due(struct ledger *ledger);

void ledger_note_connected(struct ledger *ledger, const struct probe_facts *facts);
void ledger_note_reconnect(struct ledger *ledger);

/* A round: each outcome as it comes, then finish, or instead ledger_fail_database, or ledger_abandon_round
 * when it is begun anew on another connection. It is one probe for HEALTH_FALL. */
void ledger_abandon_round(struct ledger *ledger);

/* Whether this check's last answer broke the connection. */
bool ledger_is_breaker(const struct ledger *ledger, size_t check);

/* True: this check fails, and readers should know at once. */
bool ledger_take_outcome(struct ledger *ledger, size_t check, const struct probe_outcome *outcome,
                         int64_t now_ns);

/* It has passed when no check fails, among them those that it did not get to. */
void ledger_finish_round(struct ledger *ledger, const struct probe_facts *facts);

/* The database as a whole failed: every value is unknown, every check is due. detail is for the log. */
void ledger_fail_database(struct ledger *ledger, enum reason reason, const char *sqlstate, const char *detail,
                          int64_t now_ns);

/* A new snapshot of what is known, taken at now_ns. The caller publishes it. */
struct snapshot *ledger_snapshot(struct ledger *ledger, int64_t now_ns);

/* When the last one was taken. */
int64_t ledger_published_ns(const struct ledger *ledger);

#endif
