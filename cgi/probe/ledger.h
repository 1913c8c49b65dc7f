/* Holds what is known of the database and of each check. The prober books each answer here, and a snapshot is
 * a copy. Also applies fall and rise, schedules each check, and logs each change once. Prober thread. */
#ifndef PROBE_LEDGER_H
#define PROBE_LEDGER_H

#include "cgi/config.h"
#include "cgi/probe/session.h"
#include "cgi/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;

#define LEDGER_NONE SIZE_MAX /* no check */

/* Borrows checks for the call, and config until ledger_free. */
struct ledger *ledger_new(const struct config *config, const struct checks *checks);
void ledger_free(struct ledger *ledger);

/* Replaces the checks (before) with those of a reload. A check with the same name, query and limits keeps its
 * results and, with the same `every`, its due time. All others are due now. */
void ledger_set_checks(struct ledger *ledger, const struct checks *before, const struct checks *checks);

/* Returns the check that has been due for the longest time; LEDGER_NONE: none is due. only_quick: considers
 * only checks that usually answer within half a heartbeat. */
size_t ledger_pick(const struct ledger *ledger, bool only_quick, int64_t now_ns);

/* When the next check is due; CLOCK_NEVER: there is none. */
int64_t ledger_due_ns(const struct ledger *ledger, bool only_quick);

/* The server process that may still work on the check, although its session is closed; 0: none. */
int64_t ledger_orphan(const struct ledger *ledger, size_t check);

/* Books whether the orphan still works. If it does (is_there), the check waits longer. True: it has worked
 * for so long that it is stuck. */
bool ledger_book_orphan(struct ledger *ledger, size_t check, bool is_there, int64_t now_ns);

/* Notes that the check is being asked: it is not due until its answer or its loss is booked. */
void ledger_note_asked(struct ledger *ledger, size_t check);

/* Books the answer of a check, whether it came from the server or not. */
void ledger_book_check(struct ledger *ledger, size_t check, const struct answer *answer, int64_t now_ns);

/* Notes that the session was lost before the server answered, or that the server overran the limit
 * (REASON_QUERY_TIMEOUT). False: the check is forgiven, and is asked again once its server process has
 * stopped. True: this has happened too often in a row, or there is no earlier result to keep meanwhile. */
bool ledger_note_lost(struct ledger *ledger, size_t check, const struct answer *answer, int64_t backend_pid);

/* The session was lost or the limit was overrun while the server worked on this check: it backs off, even
 * before it is known whether the check or the server is to blame. */
void ledger_suspect(struct ledger *ledger, size_t check, int64_t backend_pid, int64_t now_ns);

/* Book a login (server: NULL if it failed), or another question about the database as a whole. A failure
 * makes every value unknown; when the database works again, every check is due. */
void ledger_book_login(struct ledger *ledger, const struct answer *answer,
                       const struct database_server *server, int64_t now_ns);
void ledger_book_ping(struct ledger *ledger, const struct answer *answer, int64_t now_ns);

/* Sets the servers that a login may try. */
void ledger_set_hosts(struct ledger *ledger, const struct hosts *hosts);

/* Books a lookup of their names that took took_ns; error says why it failed, or is "". */
void ledger_book_lookup(struct ledger *ledger, const char *error, int64_t took_ns);

/* Counts a session that was lost or broken while the database did not fail. */
void ledger_note_reconnect(struct ledger *ledger);

/* True: each check was asked once, or the database fails. */
bool ledger_is_complete(const struct ledger *ledger);

/* Whether the database fails, and whether it is down after its fall. */
bool ledger_fails(const struct ledger *ledger);
bool ledger_is_down(const struct ledger *ledger);

/* Whether a ping was ever answered, and the first check whose result is awaited (LEDGER_NONE: none). */
bool ledger_has_ping(const struct ledger *ledger);
size_t ledger_unasked(const struct ledger *ledger);

/* Since the last snapshot: whether anything was booked, and whether it is something to publish at once. */
bool ledger_has_news(const struct ledger *ledger);
bool ledger_has_change(const struct ledger *ledger);

/* Returns a new snapshot of what is known. The caller publishes it. */
struct snapshot *ledger_snapshot(struct ledger *ledger, int64_t now_ns);

#endif
