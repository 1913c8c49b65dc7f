/* One login to PostgreSQL, with one question at a time. Never blocks, as long as each host name comes with
 * its address. Time is an argument. Only this module includes libpq-fe.h. One thread owns a session.
 *
 *   session_open -> ASKED (to let us in) -> IDLE -> (session_ask) ASKED -> IDLE ...      any state -> OVER
 */
#ifndef PROBE_SESSION_H
#define PROBE_SESSION_H

#include "cgi/checks.h"
#include "cgi/probe/hosts.h"
#include "cgi/reason.h"
#include "cgi/snapshot.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes the peer may send for one question. An answer has a few hundred, an error about 700. */
#define SESSION_BYTE_BUDGET 1048576

/* How long the server may take after a check's limit to report that it has ended the query. */
#define SESSION_GRACE_MS 250

enum session_state {
    SESSION_ASKED,
    SESSION_IDLE,
    SESSION_OVER, /* the caller has to close it */
};

enum question {
    QUESTION_LOGIN,    /* asked by session_open */
    QUESTION_PING,     /* a Sync message alone */
    QUESTION_RECOVERY, /* SELECT pg_is_in_recovery(): the count is 0 or 1 */
    QUESTION_ORPHAN,   /* whether a server process still works: the count is 0 or 1 */
    QUESTION_CHECK,    /* its settings, its query, a Sync */
    QUESTION_NONE,     /* no question: an idle session was lost */
};

struct answer {
    enum question question;
    enum reason reason; /* REASON_NONE: success */
    bool by_server;     /* the server itself sent it; false: our limit ended it, or the session was lost */
    bool ends_session;  /* the session is OVER now */
    bool refused;       /* a login only: no server listens there, so the next try is cheap */
    int64_t sent_ns;    /* when the question was asked */
    int64_t took_ns;
    bool has_count;
    int64_t count;
    enum evidence evidence; /* of a peer that was silent for too long */
    char sqlstate[6];       /* "" when the server sent none */
    char detail[200];       /* for the log only: may quote the server */
};

struct session;

/* Starts to log in with libpq's own settings (PGHOST ...), but to these hosts if there are any. Always
 * returns a session. It may be OVER already; session_step reports that. */
struct session *session_open(const struct hosts *hosts, int64_t limit_ms, int64_t now_ns);

/* Turns off GSS encryption unless PGGSSENCMODE or the service file asks for it: libpq tries it first by
 * default, and it may block in Kerberos. Call it once before any thread is started, because it may change the
 * environment. */
void session_init(void);

/* Gets the hosts that the environment and the service file name (hosts_parse). */
void session_hosts(struct hosts *out);

/* Closes the session at once (PQfinish, never PQcancel) and frees it. NULL is fine. */
void session_close(struct session *session);

/* Each sends a question; the state must be IDLE. The server ends a check after limit_ms; if it does not, the
 * session ends SESSION_GRACE_MS later. The other questions have no limit. check is borrowed for the call. */
void session_ask_ping(struct session *session, int64_t now_ns);
void session_ask_recovery(struct session *session, int64_t now_ns);
void session_ask_orphan(struct session *session, int64_t backend_pid, int64_t now_ns);
void session_ask_check(struct session *session, const struct check *check, int64_t limit_ms, int64_t now_ns);

/* Does everything that needs no waiting. True: *out is the answer to the question, or reports that the
 * session is over. Call it again until it returns false. */
bool session_step(struct session *session, int64_t now_ns, struct answer *out);

/* What to wait for before the next session_step: the descriptor and its events in *out, and the returned
 * deadline. */
int64_t session_wait(const struct session *session, struct pollfd *out);

enum session_state session_state(const struct session *session);
enum question session_question(const struct session *session); /* the last question */
int64_t session_asked_ns(const struct session *session);

/* When the peer's last bytes came; before the first ones, when the session was opened. */
int64_t session_heard_ns(const struct session *session);

/* This process did not run for late_ns. The question gets its whole limit again, once, and late_ns does not
 * count as time that the server took. */
void session_extend(struct session *session, int64_t late_ns, int64_t now_ns);

/* Gets the server that let us in. */
void session_server(const struct session *session, struct database_server *out);

/* Whether the peer's kernel has acknowledged all bytes that were sent to it. */
enum evidence session_evidence(const struct session *session);

/* The server process of the last check (pg_backend_pid()); 0: unknown. Behind PgBouncer it is the process
 * that PgBouncer lent us. */
int64_t session_backend_pid(const struct session *session);

#endif
