/* Drives one PGconn through login, questions and end, without blocking. Runs on the prober thread; owns the
 * PGconn. */
#include "cgi/probe/session.h"

#include "cgi/probe/errors.h"
#include "cgi/probe/intake.h"
#include "common/buf.h"
#include "common/clock.h"

#include <libpq-fe.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* How often the server checks our connection while it works on a query. It ends the query if we are gone. */
#define CLIENT_CHECK_INTERVAL "500ms"

/* These settings hold only for the implicit transaction up to the next Sync, so none is left on a server
 * connection that PgBouncer lends to others. PgBouncer rejects startup options, and a plain SET would stay.
 */
#define SET_LOCALS                                                                                           \
    "SELECT pg_backend_pid(), set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, "    \
    "true), "                                                                                                \
    "set_config('transaction_read_only', 'on', true)"
/* PostgreSQL 14 and later. On a system without POLLRDHUP the server rejects it, so only Linux gets it. */
#define SET_CLIENT_CHECK                                                                                     \
    ", set_config('client_connection_check_interval', CASE WHEN version() LIKE '%linux%' "                   \
    "THEN '" CLIENT_CHECK_INTERVAL "' ELSE '0' END, true)"
#define CLIENT_CHECK_MIN_VERSION 140000

/* An idle process does not work on the check; it only has not noticed yet that we are gone. The process that
 * runs this query is excluded, because it is never idle. */
#define ORPHAN_QUERY                                                                                         \
    "SELECT count(*) FROM pg_stat_activity "                                                                 \
    "WHERE pid = $1::int AND state <> 'idle' AND pid <> pg_backend_pid()"

/* Which part of the answer the server has to send next. */
enum expected { EXPECT_SETTINGS, EXPECT_COUNT, EXPECT_SYNC };

struct session {
    PGconn *conn;
    enum session_state state;
    struct answer answer; /* may be incomplete */
    bool has_answer;      /* the answer is complete, and session_step has not returned it yet */
    int64_t limit_ns;     /* CLOCK_NEVER: none */
    int64_t deadline_ns;
    int64_t heard_ns;
    size_t bytes_left;       /* of SESSION_BYTE_BUDGET */
    enum errors_stage stage; /* whether the peer has shown that it speaks PostgreSQL's protocol */
    short events;            /* what libpq waits for during a login */
    bool unflushed;
    bool is_extended; /* the limit has begun again once */
    int64_t excused_ns;
    enum expected expected;
    bool after_null;  /* PQgetResult returned NULL, which ends a query; it never does so twice in a row */
    int64_t min, max; /* of the current check */
    int64_t backend_pid;
    char fatal_sqlstate[6]; /* of the message by which the server announced that it ends the session */
};

static void complete_answer(struct session *s, enum reason reason, int64_t now_ns)
{
    s->answer.reason = reason;
    s->answer.has_count = s->answer.has_count && (reason == REASON_NONE || reason == REASON_OUT_OF_RANGE);
    s->answer.took_ns = now_ns - s->answer.sent_ns - s->excused_ns;
    s->answer.took_ns = s->answer.took_ns > 0 ? s->answer.took_ns : 0;
    s->has_answer = true;
    s->deadline_ns = CLOCK_NEVER;
    if (s->state == SESSION_ASKED)
        s->state = SESSION_IDLE;
}

static void set_detail(struct session *s, const char *sqlstate, const char *detail)
{
    snprintf(s->answer.sqlstate, sizeof s->answer.sqlstate, "%s", sqlstate);
    snprintf(s->answer.detail, sizeof s->answer.detail, "%.*s", (int)strcspn(detail, "\n"), detail);
}

static void end_session(struct session *s, enum reason reason, const char *sqlstate, const char *detail,
                        int64_t now_ns)
{
    if (s->state == SESSION_IDLE)
        s->answer = (struct answer){.question = QUESTION_NONE, .sent_ns = now_ns};
    set_detail(s, sqlstate, detail);
    s->state = SESSION_OVER;
    s->answer.ends_session = true;
    complete_answer(s, reason, now_ns);
}

static void end_late(struct session *s, enum reason reason, const char *detail, int64_t now_ns)
{
    enum evidence evidence = session_evidence(s);
    end_session(s, reason, "", detail, now_ns);
    s->answer.evidence = evidence;
}

static void end_malformed(struct session *s, const char *detail, int64_t now_ns)
{
    end_session(s, REASON_MALFORMED, "", detail, now_ns);
    s->answer.by_server = true;
}

/* libpq has given up on the login. */
static void end_login(struct session *s, int64_t now_ns)
{
    const char *message = PQerrorMessage(s->conn);
    struct errors_login why = errors_of_login(message, PQconnectionNeedsPassword(s->conn) != 0);

    s->answer.by_server = why.sqlstate[0] != '\0';
    s->answer.refused = why.refused;
    end_session(s, why.reason, why.sqlstate, message, now_ns);
}

/* The session broke after its login. */
static void end_broken(struct session *s, int64_t now_ns)
{
    const char *message = PQerrorMessage(s->conn);

    if (s->fatal_sqlstate[0] == '\0' && errors_is_violation(message))
        end_malformed(s, message, now_ns);
    else
        end_session(s, reason_from_sqlstate(s->fatal_sqlstate), s->fatal_sqlstate, message, now_ns);
}

/* Prints no notice, but remembers the one that announces the end of the session. 57P02, after the crash of
 * another process, is only a WARNING (postgres.c, quickdie); all others are FATAL or PANIC. */
static void receive_notice(void *context, const PGresult *result)
{
    struct session *s = context;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (severity != NULL && sqlstate != NULL &&
        (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0 || strcmp(sqlstate, "57P02") == 0))
        snprintf(s->fatal_sqlstate, sizeof s->fatal_sqlstate, "%s", sqlstate);
}

/* Keywords and values for PQconnectStartParams, with room for all that start_connecting adds. */
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

void session_hosts(struct hosts *out)
{
    PQconninfoOption *defaults = PQconndefaults();
    const char *names = NULL, *addresses = NULL, *ports = NULL;

    for (PQconninfoOption *option = defaults; option != NULL && option->keyword != NULL; option++)
        if (strcmp(option->keyword, "host") == 0)
            names = option->val;
        else if (strcmp(option->keyword, "hostaddr") == 0)
            addresses = option->val;
        else if (strcmp(option->keyword, "port") == 0)
            ports = option->val;
    hosts_parse(names, addresses, ports, out);
    PQconninfoFree(defaults);
}

static PGconn *start_connecting(const struct hosts *hosts)
{
    struct parameters params = {0};
    struct buf names = {0}, addresses = {0}, ports = {0};

    add_parameter(&params, "fallback_application_name", "health-api");
    if (hosts->count > 0) {
        hosts_join_names(hosts, &names);
        hosts_join_addresses(hosts, &addresses);
        hosts_join_ports(hosts, &ports);
        add_parameter(&params, "host", names.data);
        add_parameter(&params, "hostaddr", addresses.data);
        add_parameter(&params, "port", ports.data);
    }
    PGconn *conn = PQconnectStartParams(params.keys, params.values, 0);
    buf_free(&names);
    buf_free(&addresses);
    buf_free(&ports);
    return conn;
}

void session_init(void)
{
    setenv("PGGSSENCMODE", "disable", 0);
}

static void start_question(struct session *s, enum question question, int64_t limit_ns, int64_t now_ns)
{
    s->state = SESSION_ASKED;
    s->answer = (struct answer){.question = question, .sent_ns = now_ns};
    s->limit_ns = limit_ns;
    s->deadline_ns = limit_ns == CLOCK_NEVER ? CLOCK_NEVER : now_ns + limit_ns;
    s->bytes_left = SESSION_BYTE_BUDGET;
    s->is_extended = false;
    s->excused_ns = 0;
}

struct session *session_open(const struct hosts *hosts, int64_t limit_ms, int64_t now_ns)
{
    struct session *s = mem_calloc(1, sizeof *s);

    start_question(s, QUESTION_LOGIN, limit_ms * NS_PER_MS, now_ns);
    s->heard_ns = now_ns;
    s->events = POLLOUT; /* libpq manual: as if PQconnectPoll had returned PGRES_POLLING_WRITING */
    s->conn = start_connecting(hosts);
    if (s->conn == NULL) {
        end_session(s, REASON_INTERNAL, "", "libpq has no memory for a connection", now_ns);
        return s;
    }
    PQsetErrorVerbosity(s->conn, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(s->conn, receive_notice, s);
    if (PQstatus(s->conn) == CONNECTION_BAD)
        end_login(s, now_ns);
    return s;
}

void session_close(struct session *s)
{
    if (s == NULL)
        return;
    intake_begin(0); /* else PQfinish reads without limit while the peer does not take our Terminate */
    PQfinish(s->conn);
    (void)intake_end();
    free(s);
}

/* Returns which of these events have happened. */
static short ready_events(int fd, short events)
{
    struct pollfd pfd = {.fd = fd, .events = events};
    if (poll(&pfd, 1, 0) <= 0)
        return 0;
    return pfd.revents;
}

/* Subtracts from the budget what a call of libpq has read. */
static void count_bytes(struct session *s, int64_t now_ns)
{
    size_t left = intake_end();
    if (left < s->bytes_left)
        s->heard_ns = now_ns;
    s->bytes_left = left;
}

/* False: the peer's first bytes show that it is not PostgreSQL. */
static bool peer_is_plausible(struct session *s)
{
    unsigned char first[5];
    ConnStatusType status = PQstatus(s->conn);

    if (status == CONNECTION_STARTED || status == CONNECTION_NEEDED) {
        s->stage = ERRORS_UNKNOWN; /* libpq tries the next host */
        return true;
    }
    if (s->stage == ERRORS_SETTLED)
        return true;
    ssize_t n = recvfrom(PQsocket(s->conn), first, sizeof first, MSG_PEEK | MSG_DONTWAIT, NULL, NULL);
    return n <= 0 || errors_judge_first_bytes(first, (size_t)n, &s->stage);
}

static void complete_login(struct session *s, int64_t now_ns)
{
    if (PQsetnonblocking(s->conn, 1) != 0 || PQenterPipelineMode(s->conn) != 1) {
        end_session(s, REASON_INTERNAL, "", PQerrorMessage(s->conn), now_ns);
        return;
    }
    s->answer.by_server = true;
    complete_answer(s, REASON_NONE, now_ns);
}

static void step_login(struct session *s, int64_t now_ns)
{
    while (s->state == SESSION_ASKED && ready_events(PQsocket(s->conn), s->events) != 0) {
        if (s->bytes_left == 0) {
            end_malformed(s, "the peer sent too many bytes during the login", now_ns);
            return;
        }
        if (!peer_is_plausible(s)) {
            end_malformed(s, "the peer does not speak PostgreSQL's protocol", now_ns);
            return;
        }
        intake_begin(s->bytes_left);
        PostgresPollingStatusType polled = PQconnectPoll(s->conn);
        count_bytes(s, now_ns);
        switch (polled) {
        case PGRES_POLLING_OK: complete_login(s, now_ns); break;
        case PGRES_POLLING_READING: s->events = POLLIN; break;
        case PGRES_POLLING_WRITING: s->events = POLLOUT; break;
        default: end_login(s, now_ns); break;
        }
    }
    /* While bytes keep coming a login may take twice its limit: a packet is lost, or the network is slow. */
    bool goes_on = s->heard_ns > s->answer.sent_ns && now_ns < s->heard_ns + s->limit_ns / 2;
    if (s->state == SESSION_ASKED && now_ns >= s->deadline_ns && goes_on &&
        s->deadline_ns < s->answer.sent_ns + 2 * s->limit_ns)
        s->deadline_ns += s->limit_ns / 4;
    else if (s->state == SESSION_ASKED && now_ns >= s->deadline_ns)
        end_late(s, REASON_CONNECT_TIMEOUT, "the server did not let us in within HEALTH_CONNECT_TIMEOUT",
                 now_ns);
}

static bool send_query(PGconn *conn, const char *sql, const char *parameter)
{
    const char *values[] = {parameter};
    return PQsendQueryParams(conn, sql, parameter != NULL ? 1 : 0, NULL, values, NULL, NULL, 0) == 1;
}

/* False: the session is over. */
static bool flush(struct session *s, int64_t now_ns)
{
    if (!s->unflushed)
        return true;
    intake_begin(s->bytes_left);
    int flushed = PQflush(s->conn);
    count_bytes(s, now_ns);
    s->unflushed = flushed != 0;
    if (flushed < 0)
        end_broken(s, now_ns);
    return flushed >= 0;
}

static void prepare_question(struct session *s, enum question question, enum expected expected,
                             int64_t limit_ns, int64_t now_ns)
{
    start_question(s, question, limit_ns, now_ns);
    s->after_null = false;
    s->expected = expected;
    s->min = 0;
    s->max = 1;
    intake_begin(s->bytes_left); /* libpq also reads when a peer does not take what we send */
}

/* Ends the question with a Sync, and flushes it. */
static void submit_question(struct session *s, bool sent, int64_t now_ns)
{
    sent = sent && PQpipelineSync(s->conn) == 1;
    count_bytes(s, now_ns);
    s->unflushed = true;
    if (sent)
        (void)flush(s, now_ns);
    else
        end_broken(s, now_ns);
}

void session_ask_ping(struct session *s, int64_t now_ns)
{
    prepare_question(s, QUESTION_PING, EXPECT_SYNC, CLOCK_NEVER, now_ns);
    submit_question(s, true, now_ns);
}

void session_ask_recovery(struct session *s, int64_t now_ns)
{
    prepare_question(s, QUESTION_RECOVERY, EXPECT_COUNT, CLOCK_NEVER, now_ns);
    submit_question(s, send_query(s->conn, "SELECT pg_is_in_recovery()", NULL), now_ns);
}

void session_ask_orphan(struct session *s, int64_t backend_pid, int64_t now_ns)
{
    char pid[24];
    snprintf(pid, sizeof pid, "%lld", (long long)backend_pid);
    prepare_question(s, QUESTION_ORPHAN, EXPECT_COUNT, CLOCK_NEVER, now_ns);
    submit_question(s, send_query(s->conn, ORPHAN_QUERY, pid), now_ns);
}

void session_ask_check(struct session *s, const struct check *check, int64_t limit_ms, int64_t now_ns)
{
    bool has_client_check = PQserverVersion(s->conn) >= CLIENT_CHECK_MIN_VERSION;
    char limit[32];

    snprintf(limit, sizeof limit, "%lldms", (long long)limit_ms);
    prepare_question(s, QUESTION_CHECK, EXPECT_SETTINGS, (limit_ms + SESSION_GRACE_MS) * NS_PER_MS, now_ns);
    s->min = check->min;
    s->max = check->max;
    s->backend_pid = PQbackendPID(s->conn); /* take_settings corrects it behind PgBouncer */
    /* The flush request makes the server send its process id before the query begins. */
    submit_question(s,
                    send_query(s->conn, has_client_check ? SET_LOCALS SET_CLIENT_CHECK : SET_LOCALS, limit) &&
                        PQsendFlushRequest(s->conn) == 1 && send_query(s->conn, check->sql, NULL),
                    now_ns);
}

static bool is_one_value(const PGresult *result)
{
    return PQntuples(result) == 1 && PQgetisnull(result, 0, 0) == 0;
}

static void take_settings(struct session *s, const PGresult *result)
{
    if (is_one_value(result))
        s->backend_pid = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    s->expected = EXPECT_COUNT;
}

static bool read_bool(const char *value, int64_t *out)
{
    *out = strcmp(value, "t") == 0;
    return *out == 1 || strcmp(value, "f") == 0;
}

static void take_count(struct session *s, const PGresult *result)
{
    struct answer *a = &s->answer;
    const char *value = PQnfields(result) == 1 && is_one_value(result) ? PQgetvalue(result, 0, 0) : NULL;
    if (value != NULL && a->question == QUESTION_RECOVERY)
        a->has_count = read_bool(value, &a->count);
    else if (value != NULL)
        a->has_count =
            errors_parse_count(PQftype(result, 0), value, (size_t)PQgetlength(result, 0, 0), &a->count);
    if (!a->has_count)
        a->reason = REASON_MALFORMED;
    else if (a->count < s->min || a->count > s->max)
        a->reason = REASON_OUT_OF_RANGE;
    s->expected = EXPECT_SYNC;
}

static void take_error(struct session *s, const PGresult *result, int64_t now_ns)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    message = message != NULL ? message : "";
    receive_notice(s, result);
    if (s->fatal_sqlstate[0] != '\0' || PQstatus(s->conn) == CONNECTION_BAD) {
        end_broken(s, now_ns);
    } else if (sqlstate == NULL) {
        /* A server always sends a SQLSTATE, so this is libpq's own complaint about what it received. */
        end_malformed(s, PQresultErrorMessage(result), now_ns);
    } else {
        s->answer.reason = errors_of_query(sqlstate, message);
        s->answer.has_count = false; /* an error of the commit comes after the count */
        set_detail(s, sqlstate, message);
        s->expected = EXPECT_SYNC;
    }
}

/* An open transaction would hold locks, and its settings would apply to the next check. */
static void take_sync(struct session *s, int64_t now_ns)
{
    s->answer.by_server = true;
    if (PQtransactionStatus(s->conn) == PQTRANS_IDLE)
        complete_answer(s, s->answer.reason, now_ns);
    else
        end_malformed(s, "the query left a transaction open", now_ns);
}

static void take_result(struct session *s, const PGresult *result, int64_t now_ns)
{
    ExecStatusType status = PQresultStatus(result);

    if (status == PGRES_FATAL_ERROR)
        take_error(s, result, now_ns);
    else if (PQstatus(s->conn) == CONNECTION_BAD)
        end_broken(s, now_ns);
    else if (status == PGRES_PIPELINE_SYNC && s->expected == EXPECT_SYNC)
        take_sync(s, now_ns);
    else if (status == PGRES_PIPELINE_ABORTED && s->expected == EXPECT_SYNC)
        return; /* the check after settings that failed */
    else if (status == PGRES_TUPLES_OK && s->expected == EXPECT_SETTINGS)
        take_settings(s, result);
    else if (status == PGRES_TUPLES_OK && s->expected == EXPECT_COUNT)
        take_count(s, result);
    else /* a SET or LISTEN would stay in the session; after a COPY the protocol state is unknown */
        end_malformed(s, PQresStatus(status), now_ns);
}

/* Lets libpq read what has arrived, within the budget. False: the session is over. */
static bool receive(struct session *s, int64_t now_ns)
{
    if (ready_events(PQsocket(s->conn), POLLIN) == 0)
        return true;
    if (s->bytes_left == 0) {
        end_malformed(s, "the peer sent too many bytes for one answer", now_ns);
        return false;
    }
    intake_begin(s->bytes_left);
    bool consumed = PQconsumeInput(s->conn) == 1;
    count_bytes(s, now_ns);
    if (!consumed) {
        end_broken(s, now_ns);
        return false;
    }
    for (PGnotify *notify; (notify = PQnotifies(s->conn)) != NULL;)
        PQfreemem(notify);
    return true;
}

static void step_question(struct session *s, int64_t now_ns)
{
    if (!flush(s, now_ns) || !receive(s, now_ns))
        return;
    while (s->state == SESSION_ASKED && PQisBusy(s->conn) == 0) {
        PGresult *result = PQgetResult(s->conn);
        if (result == NULL && s->after_null)
            end_malformed(s, "the pipeline ended early", now_ns);
        else if (result != NULL)
            take_result(s, result, now_ns);
        s->after_null = result == NULL;
        PQclear(result);
    }
    if (s->state == SESSION_ASKED && now_ns >= s->deadline_ns)
        end_late(s, REASON_QUERY_TIMEOUT, "the server did not answer in time", now_ns);
}

static void step_idle(struct session *s, int64_t now_ns)
{
    /* PQisBusy makes libpq process what it has read: notices and parameter changes. */
    if (receive(s, now_ns) && PQisBusy(s->conn) == 0 && PQstatus(s->conn) == CONNECTION_BAD)
        end_broken(s, now_ns);
}

bool session_step(struct session *s, int64_t now_ns, struct answer *out)
{
    if (s->state == SESSION_IDLE && !s->has_answer)
        step_idle(s, now_ns);
    else if (s->state == SESSION_ASKED && s->answer.question == QUESTION_LOGIN)
        step_login(s, now_ns);
    else if (s->state == SESSION_ASKED)
        step_question(s, now_ns);
    bool has_answer = s->has_answer;
    s->has_answer = false;
    if (has_answer)
        *out = s->answer;
    return has_answer;
}

int64_t session_wait(const struct session *s, struct pollfd *out)
{
    *out = (struct pollfd){.fd = -1};
    if (s->state == SESSION_OVER)
        return CLOCK_NEVER;
    bool is_login = s->state == SESSION_ASKED && s->answer.question == QUESTION_LOGIN;
    bool wants_write = s->state == SESSION_ASKED && s->unflushed;
    out->fd = PQsocket(s->conn);
    out->events = POLLIN;
    if (is_login)
        out->events = s->events;
    else if (wants_write)
        out->events = POLLIN | POLLOUT;
    return s->state == SESSION_ASKED ? s->deadline_ns : CLOCK_NEVER;
}

enum session_state session_state(const struct session *s)
{
    return s->state;
}

enum question session_question(const struct session *s)
{
    return s->answer.question;
}

int64_t session_asked_ns(const struct session *s)
{
    return s->answer.sent_ns;
}

int64_t session_heard_ns(const struct session *s)
{
    return s->heard_ns;
}

void session_extend(struct session *s, int64_t late_ns, int64_t now_ns)
{
    s->excused_ns += late_ns;
    if (s->state == SESSION_ASKED && s->limit_ns != CLOCK_NEVER && !s->is_extended)
        s->deadline_ns = now_ns + s->limit_ns;
    s->is_extended = true;
}

static void copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

void session_server(const struct session *s, struct database_server *out)
{
    out->version = PQserverVersion(s->conn);
    copy(out->host, sizeof out->host, PQhost(s->conn));
    copy(out->address, sizeof out->address, PQhostaddr(s->conn));
    copy(out->port, sizeof out->port, PQport(s->conn));
    copy(out->database, sizeof out->database, PQdb(s->conn));
    copy(out->user, sizeof out->user, PQuser(s->conn));
}

enum evidence session_evidence(const struct session *s)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    if (getsockopt(PQsocket(s->conn), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return EVIDENCE_NONE; /* a Unix socket has none */
    return info.tcpi_unacked == 0 ? EVIDENCE_ACKNOWLEDGED : EVIDENCE_UNACKNOWLEDGED;
}

int64_t session_backend_pid(const struct session *s)
{
    return s->backend_pid;
}
