/* The state machine over one PGconn. Owned by the prober's thread; owns the connection. */
#include "cgi/probe/probe.h"

#include "cgi/probe/errors.h"
#include "cgi/probe/hosts.h"
#include "cgi/probe/intake.h"
#include "common/buf.h"
#include "common/clock.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* How often the server looks whether we are still there while it works for us; it ends the query if not. */
#define CLIENT_CHECK_INTERVAL "500ms"

/* Valid for the implicit transaction up to the next Sync only, so nothing stays behind on a server connection
 * that PgBouncer lends to others (a startup option is rejected by it, a plain SET would stay). */
#define SET_LOCALS                                                                                           \
    "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true), "               \
    "set_config('transaction_read_only', 'on', true)"
/* PostgreSQL 14 and later; refused with an error where the server's system has no POLLRDHUP, so Linux only.
 */
#define SET_CLIENT_CHECK                                                                                     \
    ", set_config('client_connection_check_interval', CASE WHEN version() LIKE '%linux%' "                   \
    "THEN '" CLIENT_CHECK_INTERVAL "' ELSE '0' END, true)"
#define CLIENT_CHECK_MIN_VERSION 140000

/* What the running segment of the pipeline has still to deliver. Segment 0 is the ping, segment i is check i
 * - 1. */
enum expected {
    EXPECT_SETTINGS,
    EXPECT_ANSWER,
    EXPECT_SYNC,
};

struct probe {
    PGconn *conn;
    enum probe_state state;
    struct probe_options options;
    struct probe_failure failure;
    int64_t deadline_ns;
    size_t bytes_left;       /* of the budget */
    short events;            /* what libpq waits for while it connects */
    enum errors_stage stage; /* how far the peer has shown that it speaks PostgreSQL's protocol */
    char fatal_sqlstate[6];  /* of a message with which the server announced the end of the connection */
    int64_t connect_started_ns;
    struct probe_facts facts;
    /* The round: */
    const struct check *const *checks;
    size_t check_count;
    size_t segments_done;
    enum expected expected;
    bool after_null; /* PQgetResult ends each query with NULL, never twice in a row */
    bool unflushed;
    int64_t segment_started_ns;
    int64_t round_deadline_ns;
    struct probe_outcome outcomes[CHECKS_MAX];
};

static void fail(struct probe *p, enum reason reason, const char *sqlstate, const char *detail)
{
    p->state = PROBE_FAILED;
    p->failure.reason = reason;
    snprintf(p->failure.sqlstate, sizeof p->failure.sqlstate, "%s", sqlstate);
    snprintf(p->failure.detail, sizeof p->failure.detail, "%.*s", (int)strcspn(detail, "\n"), detail);
}

/* libpq gave up while connecting. */
static void fail_connect(struct probe *p)
{
    const char *message = PQerrorMessage(p->conn);
    struct errors_login why = errors_of_login(message, PQconnectionNeedsPassword(p->conn) != 0);

    fail(p, why.reason, why.sqlstate, message);
    p->failure.refused = why.refused;
}

/* An established connection is broken. */
static void fail_connection(struct probe *p)
{
    const char *message = PQerrorMessage(p->conn);
    if (p->fatal_sqlstate[0] == '\0' && errors_is_violation(message)) {
        fail(p, REASON_MALFORMED, "", message);
        return;
    }
    fail(p, reason_from_sqlstate(p->fatal_sqlstate), p->fatal_sqlstate, message);
    p->failure.lost = true;
}

/* Notices are not printed; the one that announces the end of the connection is remembered (57P01 and its
 * like). */
static void receive_notice(void *context, const PGresult *result)
{
    struct probe *p = context;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (severity != NULL && sqlstate != NULL &&
        (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        snprintf(p->fatal_sqlstate, sizeof p->fatal_sqlstate, "%s", sqlstate);
}

/* One more keyword and value for PQconnectStartParams; room for all that start_connecting adds. */
struct parameters {
    const char *keys[8];
    const char *values[8];
    size_t count;
};

static void add_parameter(struct parameters *params, const char *key, const char *value)
{
    params->keys[params->count] = key;
    params->values[params->count] = value;
    params->count++;
}

/* What the environment and the service file say of hosts, beginning with another one. */
static void add_rotated_hosts(struct parameters *params, size_t first_host, struct buf rotated[static 3])
{
    static const char *const lists[3] = {"host", "hostaddr", "port"};
    PQconninfoOption *defaults = PQconndefaults();

    for (PQconninfoOption *option = defaults; option != NULL && option->keyword != NULL; option++) {
        for (size_t i = 0; i < 3; i++) {
            if (strcmp(option->keyword, lists[i]) == 0 && option->val != NULL) {
                hosts_rotate(option->val, first_host, &rotated[i]);
                add_parameter(params, lists[i], rotated[i].data);
            }
        }
    }
    PQconninfoFree(defaults);
}

static PGconn *start_connecting(size_t first_host)
{
    struct parameters params = {0};
    struct buf rotated[3] = {0};

    add_parameter(&params, "fallback_application_name", "health-api");
    if (first_host > 0)
        add_rotated_hosts(&params, first_host, rotated);
    PGconn *conn = PQconnectStartParams(params.keys, params.values, 0);
    for (size_t i = 0; i < 3; i++)
        buf_free(&rotated[i]);
    return conn;
}

void probe_init(void)
{
    setenv("PGGSSENCMODE", "disable", 0);
}

struct probe *probe_open(const struct probe_options *options, int64_t now_ns)
{
    struct probe *p = mem_calloc(1, sizeof *p);

    p->options = *options;
    p->state = PROBE_CONNECTING;
    p->connect_started_ns = now_ns;
    p->deadline_ns = now_ns + options->connect_timeout_ms * NS_PER_MS;
    p->bytes_left = PROBE_BYTE_BUDGET;
    p->events = POLLOUT; /* libpq manual: behave as if PQconnectPoll had returned PGRES_POLLING_WRITING */
    p->facts.round_trip_us = -1;
    p->conn = start_connecting(options->first_host);
    if (p->conn == NULL) {
        fail(p, REASON_INTERNAL, "", "libpq has no memory for a connection");
        return p;
    }
    PQsetErrorVerbosity(p->conn, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(p->conn, receive_notice, p);
    if (PQstatus(p->conn) == CONNECTION_BAD)
        fail_connect(p);
    return p;
}

void probe_close(struct probe *p)
{
    if (p != NULL) {
        intake_begin(
            0); /* it says goodbye, and would read whatever comes while the peer does not take that */
        PQfinish(p->conn);
        (void)intake_end();
        free(p);
    }
}

/* Which of the wanted events are there now. */
static short ready_events(int fd, short events)
{
    struct pollfd pfd = {.fd = fd, .events = events};
    if (poll(&pfd, 1, 0) <= 0)
        return 0;
    return pfd.revents;
}

static void connected(struct probe *p, int64_t now_ns)
{
    if (PQsetnonblocking(p->conn, 1) != 0 || PQenterPipelineMode(p->conn) != 1) {
        fail(p, REASON_INTERNAL, "", PQerrorMessage(p->conn));
        return;
    }
    p->state = PROBE_IDLE;
    p->facts.server_version = PQserverVersion(p->conn);
    p->facts.connect_us = (now_ns - p->connect_started_ns) / NS_PER_US;
    p->bytes_left = PROBE_BYTE_BUDGET;
}

/* False: the peer's first bytes show that it is no PostgreSQL. */
static bool peer_is_plausible(struct probe *p)
{
    unsigned char first[5];
    ConnStatusType status = PQstatus(p->conn);

    if (status == CONNECTION_STARTED || status == CONNECTION_NEEDED) {
        p->stage = ERRORS_UNKNOWN; /* the next host of several */
        return true;
    }
    if (p->stage == ERRORS_SETTLED)
        return true;
    ssize_t n = recvfrom(PQsocket(p->conn), first, sizeof first, MSG_PEEK | MSG_DONTWAIT, NULL, NULL);
    return n <= 0 || errors_judge_first_bytes(first, (size_t)n, &p->stage);
}

static void step_connecting(struct probe *p, int64_t now_ns)
{
    while (p->state == PROBE_CONNECTING && ready_events(PQsocket(p->conn), p->events) != 0) {
        if (p->bytes_left == 0) {
            fail(p, REASON_MALFORMED, "", "more bytes than any server sends while connecting");
            return;
        }
        if (!peer_is_plausible(p)) {
            fail(p, REASON_MALFORMED, "", "the peer does not speak PostgreSQL's protocol");
            return;
        }
        intake_begin(p->bytes_left);
        PostgresPollingStatusType polled = PQconnectPoll(p->conn);
        p->bytes_left = intake_end();
        switch (polled) {
        case PGRES_POLLING_OK: connected(p, now_ns); break;
        case PGRES_POLLING_READING: p->events = POLLIN; break;
        case PGRES_POLLING_WRITING: p->events = POLLOUT; break;
        default: fail_connect(p); break;
        }
    }
    if (p->state == PROBE_CONNECTING && now_ns >= p->deadline_ns)
        fail(p, REASON_CONNECT_TIMEOUT, "", "the server did not let us in within HEALTH_CONNECT_TIMEOUT");
}

static const struct check *running_check(const struct probe *p)
{
    return p->segments_done == 0 ? NULL : p->checks[p->segments_done - 1];
}

static int64_t check_timeout_ms(const struct probe *p, const struct check *check)
{
    return check != NULL && check->timeout_ms != 0 ? check->timeout_ms : p->options.query_timeout_ms;
}

static void begin_segment(struct probe *p, int64_t now_ns)
{
    const struct check *check = running_check(p);
    int64_t own_ns = now_ns + (check_timeout_ms(p, check) + PROBE_GRACE_MS) * NS_PER_MS;

    p->expected = check == NULL ? EXPECT_ANSWER : EXPECT_SETTINGS;
    p->segment_started_ns = now_ns;
    p->deadline_ns = own_ns < p->round_deadline_ns ? own_ns : p->round_deadline_ns;
}

static bool send_query(PGconn *conn, const char *sql, const char *parameter)
{
    const char *values[] = {parameter};
    return PQsendQueryParams(conn, sql, parameter != NULL ? 1 : 0, NULL, values, NULL, NULL, 0) == 1;
}

static bool send_check(struct probe *p, const struct check *check)
{
    bool has_client_check = PQserverVersion(p->conn) >= CLIENT_CHECK_MIN_VERSION;
    char timeout[32];

    snprintf(timeout, sizeof timeout, "%lldms", (long long)check_timeout_ms(p, check));
    return send_query(p->conn, has_client_check ? SET_LOCALS SET_CLIENT_CHECK : SET_LOCALS, timeout) &&
           send_query(p->conn, check->sql, NULL) && PQpipelineSync(p->conn) == 1;
}

void probe_start_round(struct probe *p, const struct check *const *checks, size_t count,
                       int64_t round_deadline_ns, int64_t now_ns)
{
    p->state = PROBE_ROUND;
    p->checks = checks;
    p->check_count = count;
    p->segments_done = 0;
    p->after_null = false;
    p->unflushed = true;
    p->bytes_left = PROBE_BYTE_BUDGET;
    p->round_deadline_ns = round_deadline_ns;
    memset(p->outcomes, 0, count * sizeof p->outcomes[0]);

    intake_begin(p->bytes_left); /* libpq also reads where a peer does not take what it sends */
    bool sent = send_query(p->conn, "SELECT pg_is_in_recovery()", NULL) && PQpipelineSync(p->conn) == 1;
    for (size_t i = 0; sent && i < count; i++)
        sent = send_check(p, checks[i]);
    p->bytes_left = intake_end();
    begin_segment(p, now_ns);
    if (!sent)
        fail_connection(p);
}

static void end_segment(struct probe *p, int64_t now_ns)
{
    int64_t duration_us = (now_ns - p->segment_started_ns) / NS_PER_US;
    if (p->segments_done == 0) {
        p->facts.round_trip_us = duration_us;
    } else {
        p->outcomes[p->segments_done - 1].done = true;
        p->outcomes[p->segments_done - 1].duration_us = duration_us;
    }
    p->segments_done++;
    if (p->segments_done == p->check_count + 1) {
        p->state = PROBE_IDLE;
        return;
    }
    begin_segment(p, now_ns);
}

/* What the peer sends breaks the connection's order: nothing behind it can be told. The blame is with the
 * running check; with the database when that is the ping or when no round runs. */
static void fail_segment(struct probe *p, enum reason reason, const char *detail, int64_t now_ns)
{
    if (p->state == PROBE_ROUND && p->segments_done > 0) {
        p->outcomes[p->segments_done - 1].has_value = false;
        p->outcomes[p->segments_done - 1].reason = reason;
        p->outcomes[p->segments_done - 1].broke_connection = true;
        end_segment(p, now_ns);
        p->failure.checks_only = true;
    }
    fail(p, reason, "", detail);
}

static void take_answer(struct probe *p, const PGresult *result)
{
    if (p->segments_done == 0) {
        bool plausible = PQntuples(result) == 1 && PQnfields(result) == 1 && PQgetisnull(result, 0, 0) == 0;
        p->facts.in_recovery = plausible && strcmp(PQgetvalue(result, 0, 0), "t") == 0;
        if (!plausible)
            fail(p, REASON_MALFORMED, "", "pg_is_in_recovery() did not return one value");
        return;
    }
    const struct check *check = running_check(p);
    struct probe_outcome *outcome = &p->outcomes[p->segments_done - 1];
    outcome->has_value = PQntuples(result) == 1 && PQnfields(result) == 1 && PQgetisnull(result, 0, 0) == 0 &&
                         errors_parse_count(PQftype(result, 0), PQgetvalue(result, 0, 0),
                                            (size_t)PQgetlength(result, 0, 0), &outcome->value);
    if (!outcome->has_value)
        outcome->reason = REASON_MALFORMED;
    else if (outcome->value < check->min || outcome->value > check->max)
        outcome->reason = REASON_OUT_OF_RANGE;
}

static void take_error(struct probe *p, const PGresult *result, int64_t now_ns)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    message = message != NULL ? message : "";
    receive_notice(p, result);
    if (p->fatal_sqlstate[0] != '\0' || PQstatus(p->conn) == CONNECTION_BAD) {
        fail_connection(p);
        return;
    }
    if (sqlstate == NULL) {
        /* No server sends an error without: libpq complains of what it received. */
        fail_segment(p, REASON_MALFORMED, PQresultErrorMessage(result), now_ns);
        return;
    }
    if (p->segments_done == 0) {
        fail(p, errors_of_query(sqlstate, message), sqlstate, message);
        return;
    }
    struct probe_outcome *outcome = &p->outcomes[p->segments_done - 1];
    outcome->has_value = false; /* an error of the commit comes behind the answer */
    outcome->reason = errors_of_query(sqlstate, message);
    snprintf(outcome->sqlstate, sizeof outcome->sqlstate, "%s", sqlstate);
    snprintf(outcome->detail, sizeof outcome->detail, "%s", message);
    p->expected = EXPECT_SYNC;
}

static void take_result(struct probe *p, const PGresult *result, int64_t now_ns)
{
    ExecStatusType status = PQresultStatus(result);

    if (status == PGRES_FATAL_ERROR) {
        take_error(p, result, now_ns);
    } else if (PQstatus(p->conn) == CONNECTION_BAD) {
        fail_connection(p);
    } else if (status == PGRES_PIPELINE_SYNC && p->expected == EXPECT_SYNC) {
        end_segment(p, now_ns);
    } else if (status == PGRES_PIPELINE_ABORTED && p->expected == EXPECT_SYNC) {
        /* the check behind settings that failed */
    } else if (status == PGRES_TUPLES_OK && p->expected == EXPECT_SETTINGS) {
        p->expected = EXPECT_ANSWER;
    } else if (status == PGRES_TUPLES_OK && p->expected == EXPECT_ANSWER) {
        p->expected = EXPECT_SYNC;
        take_answer(p, result);
    } else if ((status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY) && p->expected == EXPECT_ANSWER &&
               p->segments_done > 0) {
        p->outcomes[p->segments_done - 1].reason = REASON_MALFORMED;
        p->expected = EXPECT_SYNC;
    } else {
        fail_segment(p, REASON_MALFORMED, PQresStatus(status), now_ns);
    }
}

/* Reads what is there into libpq, within the budget. False: the probe has failed. */
static bool receive(struct probe *p, int64_t now_ns)
{
    if (ready_events(PQsocket(p->conn), POLLIN) == 0)
        return true;
    if (p->bytes_left == 0) {
        fail_segment(p, REASON_MALFORMED, "an answer over the byte budget", now_ns);
        return false;
    }
    intake_begin(p->bytes_left);
    bool consumed = PQconsumeInput(p->conn) == 1;
    p->bytes_left = intake_end();
    if (!consumed) {
        fail_connection(p);
        return false;
    }
    for (PGnotify *notify; (notify = PQnotifies(p->conn)) != NULL;)
        PQfreemem(notify);
    return true;
}

static void step_idle(struct probe *p, int64_t now_ns)
{
    /* PQisBusy makes libpq look at what it has read: notices and parameter changes. */
    if (receive(p, now_ns) && PQisBusy(p->conn) == 0 && PQstatus(p->conn) == CONNECTION_BAD)
        fail_connection(p);
}

static void expire_round(struct probe *p, int64_t now_ns)
{
    bool by_caller = now_ns >= p->round_deadline_ns && p->segments_done > 0;
    for (size_t i = p->segments_done - 1; by_caller && i < p->check_count; i++) {
        p->outcomes[i].done = true;
        p->outcomes[i].has_value = false;
        p->outcomes[i].reason = REASON_QUERY_TIMEOUT;
        p->outcomes[i].duration_us = (now_ns - p->segment_started_ns) / NS_PER_US;
    }
    fail(p, REASON_QUERY_TIMEOUT, "", "the server did not answer in time");
    p->failure.checks_only = by_caller;
}

static void step_round(struct probe *p, int64_t now_ns)
{
    if (p->unflushed) {
        intake_begin(p->bytes_left);
        int flushed = PQflush(p->conn);
        p->bytes_left = intake_end();
        p->unflushed = flushed != 0;
        if (flushed < 0) {
            fail_connection(p);
            return;
        }
    }
    if (!receive(p, now_ns))
        return;
    while (p->state == PROBE_ROUND && PQisBusy(p->conn) == 0) {
        PGresult *result = PQgetResult(p->conn);
        if (result != NULL) {
            take_result(p, result, now_ns);
            p->after_null = false;
        } else if (p->after_null) {
            fail_segment(p, REASON_MALFORMED, "the pipeline ended early", now_ns);
        } else {
            p->after_null = true;
        }
        PQclear(result);
    }
    if (p->state == PROBE_ROUND && now_ns >= p->deadline_ns)
        expire_round(p, now_ns);
}

enum probe_state probe_step(struct probe *p, int64_t now_ns, struct probe_wait *wait)
{
    switch (p->state) {
    case PROBE_CONNECTING: step_connecting(p, now_ns); break;
    case PROBE_IDLE: step_idle(p, now_ns); break;
    case PROBE_ROUND: step_round(p, now_ns); break;
    case PROBE_FAILED: break;
    }

    *wait = (struct probe_wait){.fd = -1, .deadline_ns = CLOCK_NEVER};
    if (p->state == PROBE_FAILED)
        return p->state;
    wait->fd = PQsocket(p->conn);
    wait->events = POLLIN;
    if (p->state == PROBE_CONNECTING)
        wait->events = p->events;
    else if (p->state == PROBE_ROUND && p->unflushed)
        wait->events = POLLIN | POLLOUT;
    if (p->state != PROBE_IDLE)
        wait->deadline_ns = p->deadline_ns;
    return p->state;
}

enum probe_state probe_state(const struct probe *p)
{
    return p->state;
}

const struct probe_failure *probe_failure(const struct probe *p)
{
    return &p->failure;
}

const struct probe_outcome *probe_outcome(const struct probe *p, size_t i)
{
    return &p->outcomes[i];
}

const struct probe_facts *probe_facts(const struct probe *p)
{
    return &p->facts;
}
