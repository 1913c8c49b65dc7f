/* What is known of the database and of each check: the prober books the answers, the snapshot is a copy.
 * Counts fall and rise, says when each check is due, and logs each change once. Prober thread. */
#ifndef PROBE_LEDGER_H
#define PROBE_LEDGER_H

#include "cgi/config.h"
#include "cgi/probe/session.h"
#include "cgi/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;

/* No check. */
#define LEDGER_NONE SIZE_MAX

/* checks is borrowed for the call, config for good. */
struct ledger *ledger_new(const struct config *config, const struct checks *checks);
void ledger_free(struct ledger *ledger);

/* New checks after a reload, in the place of those that it has (before): one with the same name and query
 * keeps what is known of it and when it is due; the others are due now. */
void ledger_set_checks(struct ledger *ledger, const struct checks *before, const struct checks *checks);

/* The check that is due for the longest time, LEDGER_NONE: none is. only_quick: of those that usually answer
 * within a heartbeat. */
size_t ledger_pick(const struct ledger *ledger, bool only_quick, int64_t now_ns);

/* When the next one is due, CLOCK_NEVER without any. */
int64_t ledger_due_ns(const struct ledger *ledger, bool only_quick);

/* The server process that may still work on the check after its session was closed; 0: none. */
int64_t ledger_orphan(const struct ledger *ledger, size_t check);

/* Whether it is still at work. If it is the check waits for its turn again. True: it has been so for long. */
bool ledger_book_orphan(struct ledger *ledger, size_t check, bool is_there, int64_t now_ns);

/* It is asked: until its answer is booked, or its loss, it is not due. */
void ledger_note_asked(struct ledger *ledger, size_t check);

/* How a check ended: by an answer of the server's own, or not. */
void ledger_book_check(struct ledger *ledger, size_t check, const struct answer *answer, int64_t now_ns);

/* Its session was lost before the server answered, or the limit was overrun (REASON_QUERY_TIMEOUT). False: it
 * is forgiven, and asked again as soon as its server process is not at work; true: it has happened too often
 * in a row, or nothing is known that would stand meanwhile. */
bool ledger_note_lost(struct ledger *ledger, size_t check, const struct answer *answer, int64_t backend_pid);

/* A check in flight when the session was lost or our limit was overrun: it backs off, whoever is to blame. */
void ledger_suspect(struct ledger *ledger, size_t check, int64_t backend_pid, int64_t now_ns);

/* A login (server: of a good one, else NULL), or another question about the database as a whole. A failed one
 * makes every value unknown, and every check due once that is over. */
void ledger_book_login(struct ledger *ledger, const struct answer *answer,
                       const struct database_server *server, int64_t now_ns);
void ledger_book_ping(struct ledger *ledger, const struct answer *answer, int64_t now_ns);

/* The servers that a login may try. */
void ledger_set_hosts(struct ledger *ledger, const struct hosts *hosts);

/* Their names were looked up in took_ns; error: why not, or "". */
void ledger_book_lookup(struct ledger *ledger, const char *error, int64_t took_ns);

/* A session was lost or broken while the database did not fail. */
void ledger_note_reconnect(struct ledger *ledger);

/* Whether each check was asked once, or the database fails. */
bool ledger_is_complete(const struct ledger *ledger);

/* Whether the database fails, and whether it is down after its fall. */
bool ledger_fails(const struct ledger *ledger);
bool ledger_is_down(const struct ledger *ledger);

/* Whether a ping was ever answered, and a check that was never asked, LEDGER_NONE: each was. */
bool ledger_has_ping(const struct ledger *ledger);
size_t ledger_unasked(const struct ledger *ledger);

/* Whether something has been booked since the last snapshot, and something that readers should know at once.
 */
bool ledger_has_news(const struct ledger *ledger);
bool ledger_has_change(const struct ledger *ledger);

/* A new snapshot of what is known. The caller publishes it. */
struct snapshot *ledger_snapshot(struct ledger *ledger, int64_t now_ns);

#endif
