/* One connection to PostgreSQL as a state machine that never sleeps and never blocks but in name resolution.
 * Time is an argument. The only file that includes libpq-fe.h. Owned by one thread.
 *
 *   probe_open -> CONNECTING -> IDLE -> (probe_start_round) ROUND -> IDLE ...    any state -> FAILED
 *
 * A round is a ping (SELECT pg_is_in_recovery()) and each given check, in pipeline mode, a Sync behind each.
 */
#ifndef PROBE_PROBE_H
#define PROBE_PROBE_H

#include "cgi/checks.h"
#include "cgi/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that one connect or one round may receive, and never more: an answer is a few hundred, an error some
 * 700, and a round may have CHECKS_MAX of them. */
#define PROBE_BYTE_BUDGET 1048576

/* How long after a check's own limit the server may take to say that it ended it. */
#define PROBE_GRACE_MS 250

enum probe_state {
    PROBE_CONNECTING,
    PROBE_IDLE,
    PROBE_ROUND,
    PROBE_FAILED, /* for good; probe_failure says why; close it */
};

/* What to wait for before the next probe_step. */
struct probe_wait {
    int fd;
    short events; /* of poll(2) */
    int64_t deadline_ns;
};

struct probe_failure {
    enum reason reason;
    char sqlstate[6]; /* "" when the server sent none */
    char detail[256]; /* for the log only: may hold what the server said */
    bool refused;     /* nobody listens there now: as cheap to try again as it was */
    bool lost; /* the peer ended an established connection: a fresh one tells whether that means anything */
    bool checks_only; /* the outcomes hold all the blame, the database as a whole is not at fault */
};

struct probe_options {
    int64_t connect_timeout_ms;
    int64_t query_timeout_ms; /* for the ping, and for checks without their own */
    size_t first_host;        /* of several hosts the one to begin with, modulo their number */
};

/* What a check answered in the running or last round. */
struct probe_outcome {
    bool done;
    bool has_value;
    int64_t value;
    enum reason reason;
    char sqlstate[6];
    bool broke_connection; /* its answer left the connection unusable */
    char detail[128];      /* for the log only: may hold what the server said */
    int64_t duration_us;
};

struct probe;

/* Once, before any thread is started, for it may change the environment: GSS encryption, which libpq tries
 * first by default and which may block in Kerberos, is off unless PGGSSENCMODE or the service file asks for
 * it. */
void probe_init(void);

/* Starts to connect with libpq's own settings (PGHOST ...). Always returns a probe; it may be FAILED already.
 */
struct probe *probe_open(const struct probe_options *options, int64_t now_ns);

/* Ends the connection at once (PQfinish, never PQcancel) and frees. NULL is fine. */
void probe_close(struct probe *probe);

/* Sends a round; state must be IDLE. The checks are borrowed until the round is over. No check of the round
 * may take longer than until round_deadline_ns (CLOCK_NEVER in a server): past it those that are not done are
 * query_timeout and the connection has failed. */
void probe_start_round(struct probe *probe, const struct check *const *checks, size_t count,
                       int64_t round_deadline_ns, int64_t now_ns);

/* Does what can be done now and fills wait for the next call. Call when fd is ready or the deadline has
 * passed. */
enum probe_state probe_step(struct probe *probe, int64_t now_ns, struct probe_wait *wait);

enum probe_state probe_state(const struct probe *probe);
const struct probe_failure *probe_failure(const struct probe *probe);

/* The outcome of check i of the round; not done: see done. Valid until the next round. */
const struct probe_outcome *probe_outcome(const struct probe *probe, size_t i);

struct probe_facts {
    int server_version; /* as PQserverVersion has it; 0 before the connection is up */
    int64_t connect_us;
    int64_t round_trip_us; /* of the last ping; -1 before the first */
    bool in_recovery;      /* as of the last ping */
};

const struct probe_facts *probe_facts(const struct probe *probe);

#endif
