/* The simulated libpq's connections, from PQconnectStartParams to PQfinish. Owns every PGconn. */
#include "tests/sim/descriptors.h"
#include "tests/sim/pq.h"
#include "tests/sim/resolver.h"
#include "tests/sim/timeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int pq_open_connections;

static int last_number;

PGconn *pq_check(const PGconn *conn)
{
    if (conn == NULL || !conn->is_open)
        timeline_violation("once", "a connection was used after PQfinish");
    return (PGconn *)conn;
}

void pq_break(PGconn *conn, const char *error)
{
    conn->status = CONNECTION_BAD;
    snprintf(conn->error, sizeof conn->error, "%s", error);
}

bool pq_read(PGconn *conn)
{
    char bytes[16384];
    ssize_t got = 0, n;

    while ((n = recv(conn->fd, bytes, sizeof bytes, 0)) > 0) /* the program's own recv: cgi/probe/intake.c */
        got += n;
    if (got > 0 || (n < 0 && conn->link->state == LINK_OPEN))
        return true;
    pq_note_answer(timeline_now_ns - 2 * net.delay_ns);
    pq_break(conn, n == 0 ? "server closed the connection unexpectedly\n"
                            "\tThis probably means the server terminated abnormally\n"
                            "\tbefore or while processing the request.\n"
                          : "could not receive data from server: Connection reset by peer\n");
    return false;
}

void pq_describe(const PGconn *conn, const struct message *error, char *out, size_t size)
{
    if (error->sqlstate == NULL)
        snprintf(out, size, "%s\n", error->text);
    else if (conn->verbosity == PQERRORS_SQLSTATE)
        snprintf(out, size, "%s:  %s\n", error->severity, error->sqlstate);
    else if (conn->verbosity == PQERRORS_VERBOSE)
        snprintf(out, size, "%s:  %s: %s\n", error->severity, error->sqlstate, error->text);
    else
        snprintf(out, size, "%s:  %s\n", error->severity, error->text);
}

/* Appends to the errors of the hosts before. */
static void add_error(PGconn *conn, const char *text)
{
    size_t len = strlen(conn->error);
    if (net.is_local)
        snprintf(conn->error + len, sizeof conn->error - len,
                 "connection to server on socket \"/run/sim/.s.PGSQL.5432\" failed: %s", text);
    else
        snprintf(conn->error + len, sizeof conn->error - len,
                 "connection to server at \"10.0.0.%d\", port 5432 failed: %s",
                 conn->addresses[conn->address] + 1, text);
}

/* libpq closes a socket before it opens the next one, so both have the same number. */
static void leave_address(PGconn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    if (conn->link != NULL)
        net_close(conn->link);
    conn->fd = -1;
    conn->link = NULL;
}

static void connect_to_address(PGconn *conn)
{
    conn->link = net_connect(conn->addresses[conn->address]);
    conn->fd = descriptors_open_socket(conn->link);
    conn->status = CONNECTION_STARTED;
    timeline_note("libpq %d: connection %d to address %d", conn->number, conn->link->number,
                  conn->addresses[conn->address] + 1);
}

/* False: there is no further address. */
static bool connect_to_next(PGconn *conn)
{
    leave_address(conn);
    if (++conn->address >= conn->address_count)
        return false;
    connect_to_address(conn);
    return true;
}

static const char *find_parameter(const char *const *keys, const char *const *values, const char *key,
                                  const char *variable)
{
    for (size_t i = 0; keys[i] != NULL; i++)
        if (strcmp(keys[i], key) == 0 && values[i] != NULL && values[i][0] != '\0')
            return values[i];
    return getenv(variable);
}

static void add_addresses(PGconn *conn, const char *list)
{
    char entry[128];
    for (; list != NULL && *list != '\0'; list += strcspn(list, ","), list += *list == ',') {
        int found[8];
        snprintf(entry, sizeof entry, "%.*s", (int)strcspn(list, ","), list);
        int count = resolver_find(entry, found);
        for (int i = 0; i < count && conn->address_count < 8; i++)
            conn->addresses[conn->address_count++] = found[i];
    }
}

PGconn *PQconnectStartParams(const char *const *keys, const char *const *values, int expand_dbname)
{
    PGconn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        abort();
    (void)expand_dbname;
    conn->number = ++last_number;
    conn->is_open = true;
    conn->fd = -1;
    pq_open_connections++;
    const char *hostaddr = find_parameter(keys, values, "hostaddr", "PGHOSTADDR");
    add_addresses(conn, hostaddr != NULL ? hostaddr : find_parameter(keys, values, "host", "PGHOST"));
    if (conn->address_count == 0)
        pq_break(
            conn,
            "could not translate host name \"db.sim\" to address: Temporary failure in name resolution\n");
    else
        connect_to_address(conn);
    return conn;
}

PGconn *PQconnectStart(const char *conninfo)
{
    const char *const none[] = {NULL};
    (void)conninfo;
    return PQconnectStartParams(none, none, 0);
}

static PostgresPollingStatusType give_up(PGconn *conn)
{
    leave_address(conn);
    conn->status = CONNECTION_BAD;
    return PGRES_POLLING_FAILED;
}

static PostgresPollingStatusType poll_connecting(PGconn *conn)
{
    switch (conn->link->state) {
    case LINK_CONNECTING: return PGRES_POLLING_WRITING;
    case LINK_OPEN:
        net_send_up(conn->link, net_new(UP_LOGIN));
        conn->status = CONNECTION_AWAITING_RESPONSE;
        return PGRES_POLLING_READING;
    default: break;
    }
    pq_note_answer(timeline_now_ns - 2 * net.delay_ns); /* the server's kernel answered */
    if (net.is_local)
        add_error(conn, "No such file or directory\n");
    else
        add_error(conn,
                  conn->link->state == LINK_REFUSED ? "Connection refused\n" : "Connection reset by peer\n");
    return connect_to_next(conn) ? PGRES_POLLING_WRITING : give_up(conn);
}

static PostgresPollingStatusType take_login_error(PGconn *conn, const struct message *m)
{
    char text[256];
    pq_describe(conn, m, text, sizeof text);
    add_error(conn, text);
    bool try_next = m->sqlstate != NULL && strcmp(m->sqlstate, "57P03") == 0;
    return try_next && connect_to_next(conn) ? PGRES_POLLING_WRITING : give_up(conn);
}

static PostgresPollingStatusType poll_login(PGconn *conn)
{
    char earlier[sizeof conn->error];

    snprintf(earlier, sizeof earlier, "%s", conn->error);
    if (!pq_read(conn)) {
        char text[sizeof conn->error];
        snprintf(text, sizeof text, "%s", conn->error);
        snprintf(conn->error, sizeof conn->error, "%s", earlier);
        add_error(conn, text);
        return give_up(conn);
    }
    struct message *taken = net_take(conn->link);
    if (taken == NULL)
        return PGRES_POLLING_READING;
    struct message m = *taken;
    net_free(taken);
    if (m.kind != DOWN_LOGIN) /* a refusal is an answer, too */
        pq_note_answer(m.sent_ns);
    if (m.kind == DOWN_ERROR)
        return take_login_error(conn, &m);
    if (m.kind == DOWN_LOGIN) {
        net_send_up(conn->link, net_new(UP_LOGIN));
        return PGRES_POLLING_READING;
    }
    conn->status = CONNECTION_OK;
    conn->pid = m.pid;
    conn->link->logged_in = true;
    conn->error[0] = '\0';
    timeline_note("libpq %d: logged in", conn->number);
    return PGRES_POLLING_OK;
}

PostgresPollingStatusType PQconnectPoll(PGconn *conn)
{
    switch (pq_check(conn)->status) {
    case CONNECTION_STARTED: return poll_connecting(conn);
    case CONNECTION_AWAITING_RESPONSE: return poll_login(conn);
    case CONNECTION_OK: return PGRES_POLLING_OK;
    default: return PGRES_POLLING_FAILED;
    }
}

void PQfinish(PGconn *conn)
{
    if (conn == NULL)
        return;
    pq_check(conn);
    timeline_note("libpq %d: finished", conn->number);
    leave_address(conn);
    if (conn->result != NULL)
        pq_free_result(conn->result);
    for (struct message *m = conn->out; m != NULL; m = conn->out) {
        conn->out = m->next;
        net_free(m);
    }
    conn->is_open = false; /* its memory is kept, so that a second PQfinish is found */
    pq_open_connections--;
}

/* The functions that only return something. */

ConnStatusType PQstatus(const PGconn *conn)
{
    return conn == NULL ? CONNECTION_BAD : pq_check(conn)->status;
}

int PQsocket(const PGconn *conn)
{
    return pq_check(conn)->fd;
}

char *PQerrorMessage(const PGconn *conn)
{
    return pq_check(conn)->error;
}

int PQserverVersion(const PGconn *conn)
{
    return pq_check(conn)->status == CONNECTION_OK ? 150004 : 0;
}

int PQbackendPID(const PGconn *conn)
{
    return pq_check(conn)->status == CONNECTION_OK ? conn->pid : 0;
}

int PQconnectionNeedsPassword(const PGconn *conn)
{
    (void)pq_check(conn);
    return 0;
}

int PQconnectionUsedPassword(const PGconn *conn)
{
    (void)pq_check(conn);
    return 1;
}

char *PQhost(const PGconn *conn)
{
    return net.is_local || pq_check(conn)->address_count == 0 ? (char *)"/run/sim" : (char *)"db.sim";
}

char *PQhostaddr(const PGconn *conn)
{
    static char text[32];
    pq_check(conn);
    if (net.is_local || conn->address >= conn->address_count)
        return (char *)"";
    snprintf(text, sizeof text, "10.0.0.%d", conn->addresses[conn->address] + 1);
    return text;
}

char *PQport(const PGconn *conn)
{
    (void)pq_check(conn);
    return (char *)"5432";
}

const char *PQparameterStatus(const PGconn *conn, const char *name)
{
    (void)pq_check(conn);
    return strcmp(name, "server_version") == 0 ? "15.4" : strcmp(name, "in_hot_standby") == 0 ? "off" : NULL;
}

char *PQdb(const PGconn *conn)
{
    (void)pq_check(conn);
    return (char *)"simulated";
}

char *PQuser(const PGconn *conn)
{
    (void)pq_check(conn);
    return (char *)"health";
}

int PQsslInUse(PGconn *conn)
{
    (void)pq_check(conn);
    return 0;
}

PGVerbosity PQsetErrorVerbosity(PGconn *conn, PGVerbosity verbosity)
{
    PGVerbosity old = pq_check(conn)->verbosity;
    conn->verbosity = verbosity;
    return old;
}

PQnoticeReceiver PQsetNoticeReceiver(PGconn *conn, PQnoticeReceiver receiver, void *context)
{
    PQnoticeReceiver old = pq_check(conn)->receiver;
    conn->receiver = receiver;
    conn->receiver_context = context;
    return old;
}

PQconninfoOption *PQconndefaults(void)
{
    static const char *const names[][2] = {{"host", "PGHOST"},
                                           {"hostaddr", "PGHOSTADDR"},
                                           {"port", "PGPORT"},
                                           {"user", "PGUSER"},
                                           {"dbname", "PGDATABASE"}};
    size_t count = sizeof names / sizeof names[0];
    PQconninfoOption *options = calloc(count + 1, sizeof *options);
    for (size_t i = 0; options != NULL && i < count; i++) {
        const char *value = getenv(names[i][1]);
        options[i].keyword = (char *)names[i][0];
        options[i].envvar = (char *)names[i][1];
        options[i].val = value != NULL ? strdup(value) : NULL;
    }
    return options;
}

void PQconninfoFree(PQconninfoOption *options)
{
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
        free(o->val);
    free(options);
}
