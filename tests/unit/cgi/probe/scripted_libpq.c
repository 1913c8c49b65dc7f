/* The scripted libpq. It has one connection at a time. script_begin resets the struct with all its state. */
#include "tests/unit/cgi/probe/scripted_libpq.h"

#include "tests/unit/cgi/probe/scripted_result.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_MAX   4096
#define TRACKED_MAX 4096
#define OPTIONS_MAX 8
#define CHUNK       16384
#define CLOSED      (-1)

struct pg_conn {
    bool open;
    ConnStatusType status;
    PGTransactionStatusType transaction;
    const char *error;
    bool needs_password;
    bool no_socket;
    int fd, peer_fd;
    size_t bytes_read;
    int syncs_open; /* how many were sent and not answered yet */
    PGVerbosity verbosity;
    PQnoticeReceiver receiver;
    void *receiver_context;
};

struct option {
    char keyword[64];
    char value[64];
};

static struct {
    struct pq_step steps[STEPS_MAX];
    size_t count;
    size_t at;
    struct pg_conn conn;
    int server_version;
    struct option options[OPTIONS_MAX];
    PGnotify *notifies[TRACKED_MAX];
    size_t notify_count;
    PQconninfoOption *defaults; /* returned by PQconndefaults and not freed yet */
} script;

static const char *const names[] = {
    [PQ_NOTHING] = "nothing",
    [PQ_CONNDEFAULTS] = "PQconndefaults",
    [PQ_CONNECT_START] = "PQconnectStartParams",
    [PQ_CONNECT_POLL] = "PQconnectPoll",
    [PQ_SET_NONBLOCKING] = "PQsetnonblocking",
    [PQ_ENTER_PIPELINE] = "PQenterPipelineMode",
    [PQ_SEND_QUERY] = "PQsendQueryParams",
    [PQ_SEND_FLUSH_REQUEST] = "PQsendFlushRequest",
    [PQ_PIPELINE_SYNC] = "PQpipelineSync",
    [PQ_FLUSH] = "PQflush",
    [PQ_CONSUME_INPUT] = "PQconsumeInput",
    [PQ_GET_RESULT] = "PQgetResult",
    [PQ_NOTIFIES] = "PQnotifies",
    [PQ_PARSE] = "parsing",
};

static enum pq_call next_call(void)
{
    return script.at < script.count ? script.steps[script.at].call : PQ_NOTHING;
}

static struct pq_step *take(enum pq_call call)
{
    if (next_call() != call) {
        fail_msg("step %zu: %s was called, the script expects %s", script.at, names[call],
                 names[next_call()]);
    }
    struct pq_step *step = &script.steps[script.at++];
    script.conn.status = step->status;
    script.conn.transaction = step->transaction;
    script.conn.error = step->error != NULL ? step->error : "";
    script.conn.needs_password = step->needs_password;
    script.conn.no_socket = step->no_socket;
    return step;
}

static void assert_open(const PGconn *conn)
{
    if (conn != &script.conn || !conn->open)
        fail_msg("step %zu: libpq was called with a connection that is not open", script.at);
}

static void open_sockets(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    script.conn.fd = fds[0];
    script.conn.peer_fd = fds[1];
}

static void close_fd(int *fd)
{
    if (*fd != CLOSED) {
        close(*fd);
        *fd = CLOSED;
    }
}

static size_t read_all(int fd)
{
    char bytes[CHUNK];
    size_t len = 0;
    for (ssize_t n; (n = recv(fd, bytes, sizeof bytes, 0)) > 0;)
        len += (size_t)n;
    return len;
}

static void parse(void)
{
    while (next_call() == PQ_PARSE) {
        const struct pq_step *step = take(PQ_PARSE);
        if (step->returns != 0) {
            PGresult *notice = result_new(&step->result, true);
            script.conn.receiver(script.conn.receiver_context, notice);
            result_end_notice(notice);
        }
    }
}

/* The script. */

void script_expect(const struct pq_step *steps, size_t count)
{
    assert_true(script.count + count <= STEPS_MAX);
    memcpy(&script.steps[script.count], steps, count * sizeof *steps);
    script.count += count;
}

void script_expect_done(void)
{
    if (script.at != script.count)
        fail_msg("%zu of %zu steps were taken; the next is %s", script.at, script.count, names[next_call()]);
}

void script_begin(void)
{
    memset(&script, 0, sizeof script);
    script.conn.fd = CLOSED;
    script.conn.peer_fd = CLOSED;
    script.server_version = 150000;
}

void script_end(void)
{
    size_t notifies_left = 0;

    for (size_t i = 0; i < script.notify_count; i++) {
        notifies_left += script.notifies[i] != NULL;
        free(script.notifies[i]);
    }
    close_fd(&script.conn.fd);
    close_fd(&script.conn.peer_fd);
    script.notify_count = 0;
    assert_false(script.conn.open);
    assert_null(script.defaults);
    assert_int_equal(results_free(), 0);
    assert_int_equal(notifies_left, 0);
    script_expect_done();
}

void peer_sends(const void *bytes, size_t len)
{
    assert_int_equal(send(script.conn.peer_fd, bytes, len, MSG_NOSIGNAL), len);
}

void peer_sends_bytes(size_t len)
{
    static const char bytes[CHUNK] = {'R', 0, 0, 0, 8}; /* a valid first message */
    for (size_t sent = 0; sent < len;) {
        size_t chunk = len - sent < CHUNK ? len - sent : CHUNK;
        peer_sends(bytes, chunk);
        sent += chunk;
    }
}

void peer_closes(void)
{
    close_fd(&script.conn.peer_fd);
}

void peer_stalls(void)
{
    static const char bytes[CHUNK];
    while (send(script.conn.fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0) {
    }
    assert_int_equal(errno, EAGAIN);
}

void peer_reads(void)
{
    (void)read_all(script.conn.peer_fd);
}

int script_socket(void)
{
    return script.conn.fd;
}

size_t script_bytes_read(void)
{
    return script.conn.bytes_read;
}

void script_set_server_version(int version)
{
    script.server_version = version;
}

PGVerbosity script_verbosity(void)
{
    return script.conn.verbosity;
}

const char *script_option(const char *keyword)
{
    for (size_t i = 0; i < OPTIONS_MAX; i++)
        if (strcmp(script.options[i].keyword, keyword) == 0)
            return script.options[i].value;
    return NULL;
}

/* libpq: the connection. */

PQconninfoOption *PQconndefaults(void)
{
    assert_null(script.defaults);
    const struct pq_step *step = take(PQ_CONNDEFAULTS);
    script.defaults = (PQconninfoOption *)step->defaults;
    return script.defaults;
}

void PQconninfoFree(PQconninfoOption *options)
{
    if (options != script.defaults)
        fail_msg("step %zu: PQconninfoFree of options that were freed or never returned", script.at);
    script.defaults = NULL;
}

PGconn *PQconnectStartParams(const char *const *keywords, const char *const *values, int expand_dbname)
{
    assert_int_equal(expand_dbname, 0);
    assert_false(script.conn.open);
    memset(script.options, 0, sizeof script.options);
    for (size_t i = 0; keywords[i] != NULL; i++) {
        assert_true(i < OPTIONS_MAX);
        snprintf(script.options[i].keyword, sizeof script.options[i].keyword, "%s", keywords[i]);
        snprintf(script.options[i].value, sizeof script.options[i].value, "%s", values[i]);
    }
    script.conn = (struct pg_conn){.fd = CLOSED, .peer_fd = CLOSED};
    const struct pq_step *step = take(PQ_CONNECT_START);
    if (step->returns == 0)
        return NULL;
    open_sockets();
    script.conn.open = true;
    return &script.conn;
}

PostgresPollingStatusType PQconnectPoll(PGconn *conn)
{
    assert_open(conn);
    const struct pq_step *step = take(PQ_CONNECT_POLL);
    if (step->next_host) {
        int old_fd = conn->fd;
        int old_peer_fd = conn->peer_fd;
        open_sockets(); /* before closing the old ones, so that the numbers differ */
        close(old_fd);
        close_fd(&old_peer_fd);
    } else {
        conn->bytes_read += read_all(conn->fd);
    }
    return (PostgresPollingStatusType)step->returns;
}

void PQfinish(PGconn *conn)
{
    if (conn == NULL)
        return;
    assert_open(conn);
    if (read_all(conn->fd) > 0) /* libpq would read while the peer does not take its Terminate */
        fail_msg("step %zu: PQfinish was able to read", script.at);
    conn->open = false;
    close_fd(&conn->fd);
    close_fd(&conn->peer_fd);
}

ConnStatusType PQstatus(const PGconn *conn)
{
    assert_open(conn);
    return conn->status;
}

char *PQerrorMessage(const PGconn *conn)
{
    assert_open(conn);
    return (char *)conn->error;
}

int PQsocket(const PGconn *conn)
{
    assert_open(conn);
    return conn->no_socket ? -1 : conn->fd;
}

PGTransactionStatusType PQtransactionStatus(const PGconn *conn)
{
    assert_open(conn);
    return conn->transaction;
}

int PQserverVersion(const PGconn *conn)
{
    assert_open(conn);
    return conn->status == CONNECTION_OK ? script.server_version : 0;
}

int PQbackendPID(const PGconn *conn)
{
    assert_open(conn);
    return 42;
}

char *PQhost(const PGconn *conn)
{
    assert_open(conn);
    return (char *)"db.example";
}

char *PQhostaddr(const PGconn *conn)
{
    assert_open(conn);
    return (char *)"10.0.0.1";
}

char *PQport(const PGconn *conn)
{
    assert_open(conn);
    return (char *)"5432";
}

char *PQdb(const PGconn *conn)
{
    assert_open(conn);
    return (char *)"knowledge";
}

char *PQuser(const PGconn *conn)
{
    assert_open(conn);
    return NULL;
}

int PQconnectionNeedsPassword(const PGconn *conn)
{
    assert_open(conn);
    return conn->needs_password;
}

PGVerbosity PQsetErrorVerbosity(PGconn *conn, PGVerbosity verbosity)
{
    assert_open(conn);
    PGVerbosity old = conn->verbosity;
    conn->verbosity = verbosity;
    return old;
}

PQnoticeReceiver PQsetNoticeReceiver(PGconn *conn, PQnoticeReceiver receiver, void *context)
{
    assert_open(conn);
    PQnoticeReceiver old = conn->receiver;
    conn->receiver = receiver;
    conn->receiver_context = context;
    return old;
}

int PQsetnonblocking(PGconn *conn, int arg)
{
    assert_open(conn);
    assert_int_equal(arg, 1);
    return take(PQ_SET_NONBLOCKING)->returns;
}

int PQenterPipelineMode(PGconn *conn)
{
    assert_open(conn);
    return take(PQ_ENTER_PIPELINE)->returns;
}

/* libpq: sending and receiving. */

int PQsendQueryParams(PGconn *conn, const char *sql, int count, const Oid *types, const char *const *values,
                      const int *lengths, const int *formats, int result_format)
{
    assert_open(conn);
    const struct pq_step *step = take(PQ_SEND_QUERY);
    assert_string_equal(sql, step->sql);
    assert_int_equal(count, step->parameter != NULL ? 1 : 0);
    if (count > 0)
        assert_string_equal(values[0], step->parameter);
    assert_true(types == NULL && lengths == NULL && formats == NULL && result_format == 0); /* all text */
    return step->returns;
}

int PQsendFlushRequest(PGconn *conn)
{
    assert_open(conn);
    return take(PQ_SEND_FLUSH_REQUEST)->returns;
}

int PQpipelineSync(PGconn *conn)
{
    assert_open(conn);
    conn->syncs_open++;
    return take(PQ_PIPELINE_SYNC)->returns;
}

int PQflush(PGconn *conn)
{
    assert_open(conn);
    return take(PQ_FLUSH)->returns;
}

int PQconsumeInput(PGconn *conn)
{
    assert_open(conn);
    const struct pq_step *step = take(PQ_CONSUME_INPUT);
    conn->bytes_read += read_all(conn->fd);
    return step->returns;
}

PGnotify *PQnotifies(PGconn *conn)
{
    assert_open(conn);
    parse();
    if (next_call() != PQ_NOTIFIES)
        return NULL;
    take(PQ_NOTIFIES);
    assert_true(script.notify_count < TRACKED_MAX);
    PGnotify *notify = calloc(1, sizeof *notify);
    assert_non_null(notify);
    script.notifies[script.notify_count++] = notify;
    return notify;
}

void PQfreemem(void *memory)
{
    for (size_t i = 0; i < script.notify_count; i++) {
        if (memory != NULL && script.notifies[i] == memory) {
            free(memory);
            script.notifies[i] = NULL;
            return;
        }
    }
    fail_msg("step %zu: PQfreemem of a notification that was freed or never returned", script.at);
}

/* libpq is busy unless a result is the next step of the script. */
int PQisBusy(PGconn *conn)
{
    assert_open(conn);
    parse();
    return conn->syncs_open > 0 && next_call() != PQ_GET_RESULT;
}

PGresult *PQgetResult(PGconn *conn)
{
    assert_open(conn);
    const struct pq_step *step = take(PQ_GET_RESULT);
    if (step->returns == 0)
        return NULL;
    if (step->result.status == PGRES_PIPELINE_SYNC)
        conn->syncs_open--;
    return result_new(&step->result, false);
}
