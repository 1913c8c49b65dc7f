/* One connection to PostgreSQL, and one question on it at a time. Never sleeps and blocks in nothing, as long
 * as the names of the hosts come with their addresses; time is an argument. The only module that includes
 * libpq-fe.h. Owned by one thread.
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

/* Bytes that one question may bring, and never more: an answer is a few hundred, an error some 700. */
#define SESSION_BYTE_BUDGET 1048576

/* How long after a check's own limit the server may take to say that it ended it. */
#define SESSION_GRACE_MS 250

enum session_state {
    SESSION_ASKED,
    SESSION_IDLE,
    SESSION_OVER, /* for good: close it */
};

enum question {
    QUESTION_LOGIN,    /* session_open's */
    QUESTION_PING,     /* a bare Sync: the server process lives */
    QUESTION_RECOVERY, /* SELECT pg_is_in_recovery(): the count is 0 or 1 */
    QUESTION_ORPHAN,   /* whether a server process is still at work: the count is 0 or 1 */
    QUESTION_CHECK,    /* its settings, its query, a Sync */
    QUESTION_NONE,     /* nothing was asked: an idle session was lost */
};

struct answer {
    enum question question;
    enum reason reason; /* REASON_NONE: a good one */
    bool by_server;     /* the server said so itself; false: a limit of ours, or the session was lost */
    bool ends_session;  /* it is OVER now */
    bool refused;       /* of a login: nobody listens there, as cheap to ask again as it was */
    int64_t sent_ns;    /* when the question was asked */
    int64_t took_ns;
    bool has_count;
    int64_t count;
    enum evidence evidence; /* of a peer that said nothing for too long */
    char sqlstate[6];       /* "" when the server sent none */
    char detail[200];       /* for the log only: may hold what the server said */
};

struct session;

/* Starts to connect with libpq's own settings (PGHOST ...), but to these hosts where there are any. Always
 * returns a session; it may be OVER already, which session_step reports. */
struct session *session_open(const struct hosts *hosts, int64_t limit_ms, int64_t now_ns);

/* Once, before any thread is started, for it may change the environment: GSS encryption, which libpq tries
 * first by default and which may block in Kerberos, is off unless PGGSSENCMODE or the service file asks for
 * it. */
void session_init(void);

/* The hosts that the environment and the service file name, as hosts_parse reads them. */
void session_hosts(struct hosts *out);

/* Ends the connection at once (PQfinish, never PQcancel) and frees. NULL is fine. */
void session_close(struct session *session);

/* Each asks; the state must be IDLE. Of a check the limit is the server's, and SESSION_GRACE_MS later ours;
 * check is borrowed for the call. The others have no limit of their own. */
void session_ask_ping(struct session *session, int64_t now_ns);
void session_ask_recovery(struct session *session, int64_t now_ns);
void session_ask_orphan(struct session *session, int64_t backend_pid, int64_t now_ns);
void session_ask_check(struct session *session, const struct check *check, int64_t limit_ms, int64_t now_ns);

/* Does what can be done now. True: *out is the answer to the question, or says that the session is over. Call
 * again until it is false. */
bool session_step(struct session *session, int64_t now_ns, struct answer *out);

/* What to wait for before the next session_step: the descriptor with its events, and the returned deadline.
 */
int64_t session_wait(const struct session *session, struct pollfd *out);

enum session_state session_state(const struct session *session);
enum question session_question(const struct session *session); /* the last one */
int64_t session_asked_ns(const struct session *session);

/* When bytes of the peer came last; the time of session_open before the first. */
int64_t session_heard_ns(const struct session *session);

/* This very process was kept from running for late_ns: the question gets its whole limit again, once, and
 * that time is none that the server took. */
void session_extend(struct session *session, int64_t late_ns, int64_t now_ns);

/* Who let us in. */
void session_server(const struct session *session, struct database_server *out);

/* Whether the peer's system has acknowledged all that was sent to it. */
enum evidence session_evidence(const struct session *session);

/* The server process that answered the last check, of pg_backend_pid(); 0: not known. Behind PgBouncer it is
 * the one that PgBouncer lent us. */
int64_t session_backend_pid(const struct session *session);

#endif
