/* libpq as a script: the PQ functions that cgi/probe calls, answered from a table of expected calls with
 * their results. A call that is not the next of the table fails the test. What only asks for something
 * (PQstatus, PQsocket, PQgetvalue ...) is no step: it is answered from the last one.
 *
 * The socket is a real pair of which the test holds the peer's end: poll(2) and recv(2) see what the test
 * sends. A scripted PQconnectPoll or PQconsumeInput reads all that is there. */
#ifndef TESTS_UNIT_SCRIPTED_LIBPQ_H
#define TESTS_UNIT_SCRIPTED_LIBPQ_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

enum pq_call {
    PQ_NOTHING, /* after the last step */
    PQ_CONNDEFAULTS,
    PQ_CONNECT_START,
    PQ_CONNECT_POLL,
    PQ_SET_NONBLOCKING,
    PQ_ENTER_PIPELINE,
    PQ_SEND_QUERY,
    PQ_SEND_FLUSH_REQUEST,
    PQ_PIPELINE_SYNC,
    PQ_FLUSH,
    PQ_CONSUME_INPUT,
    PQ_GET_RESULT,
    PQ_NOTIFIES,
    PQ_PARSE, /* libpq looks at what it has read: in PQisBusy and PQnotifies */
};

/* What a PGresult says. Each value of it is the same one. */
struct pq_result {
    ExecStatusType status;
    int rows, columns;
    Oid type;
    const char *value; /* NULL: SQL's NULL */
    size_t len;        /* 0: as long as the string is */
    const char *severity, *sqlstate, *message;
};

struct pq_step {
    enum pq_call call;
    int returns;                         /* of a pointer: 0 is NULL */
    ConnStatusType status;               /* of the connection from now on; CONNECTION_OK is 0 */
    PGTransactionStatusType transaction; /* from now on; PQTRANS_IDLE is 0 */
    const char *error;                   /* PQerrorMessage from now on */
    bool needs_password;
    bool next_host; /* the connection goes on with another socket */
    bool no_socket; /* PQsocket is -1 from now on */
    const PQconninfoOption *defaults;
    const char *sql, *parameter;
    struct pq_result result; /* of PQgetResult, or the notice that parsing finds */
};

#define STEP(...)                                                                                            \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

/* Connecting. */
#define DEFAULTS(options_)     STEP(.call = PQ_CONNDEFAULTS, .returns = 1, .defaults = (options_))
#define DEFAULTS_HAS_NO_MEMORY STEP(.call = PQ_CONNDEFAULTS, .returns = 0)
#define STARTED                STEP(.call = PQ_CONNECT_START, .returns = 1, .status = CONNECTION_STARTED)
#define START_FAILS(text)                                                                                    \
    STEP(.call = PQ_CONNECT_START, .returns = 1, .status = CONNECTION_BAD, .error = (text))
#define START_HAS_NO_MEMORY STEP(.call = PQ_CONNECT_START, .returns = 0)
#define POLL_READING                                                                                         \
    STEP(.call = PQ_CONNECT_POLL, .returns = PGRES_POLLING_READING, .status = CONNECTION_AWAITING_RESPONSE)
#define POLL_WRITING                                                                                         \
    STEP(.call = PQ_CONNECT_POLL, .returns = PGRES_POLLING_WRITING, .status = CONNECTION_MADE)
#define POLL_NEXT_HOST                                                                                       \
    STEP(.call = PQ_CONNECT_POLL, .returns = PGRES_POLLING_WRITING, .status = CONNECTION_STARTED,            \
         .next_host = true)
#define POLL_OK STEP(.call = PQ_CONNECT_POLL, .returns = PGRES_POLLING_OK)
#define POLL_FAILS(text)                                                                                     \
    STEP(.call = PQ_CONNECT_POLL, .returns = PGRES_POLLING_FAILED, .status = CONNECTION_BAD, .error = (text))
#define NONBLOCKING STEP(.call = PQ_SET_NONBLOCKING, .returns = 0)
#define PIPELINE    STEP(.call = PQ_ENTER_PIPELINE, .returns = 1)
#define CONNECTED   POLL_OK, NONBLOCKING, PIPELINE

/* Sending. */
#define SENT(text, value) STEP(.call = PQ_SEND_QUERY, .returns = 1, .sql = (text), .parameter = (value))
#define FLUSH_REQUESTED   STEP(.call = PQ_SEND_FLUSH_REQUEST, .returns = 1)
#define SYNC_SENT         STEP(.call = PQ_PIPELINE_SYNC, .returns = 1)
#define FLUSHED           STEP(.call = PQ_FLUSH, .returns = 0)
#define FLUSH_WANTS_WRITE STEP(.call = PQ_FLUSH, .returns = 1)
#define FLUSH_FAILS(text) STEP(.call = PQ_FLUSH, .returns = -1, .status = CONNECTION_BAD, .error = (text))

/* Receiving. */
#define CONSUMED STEP(.call = PQ_CONSUME_INPUT, .returns = 1)
#define CONSUME_FAILS(text)                                                                                  \
    STEP(.call = PQ_CONSUME_INPUT, .returns = 0, .status = CONNECTION_BAD, .error = (text))
#define NOTICE(severity_, sqlstate_)                                                                         \
    STEP(.call = PQ_PARSE, .returns = 1, .result = {.severity = (severity_), .sqlstate = (sqlstate_)})
#define PARSE_FAILS(text) STEP(.call = PQ_PARSE, .returns = 0, .status = CONNECTION_BAD, .error = (text))
#define NOTIFICATION      STEP(.call = PQ_NOTIFIES, .returns = 1)

/* Results. */
#define RESULT(...) STEP(.call = PQ_GET_RESULT, .returns = 1, .result = {__VA_ARGS__})
#define ROW(type_, value_)                                                                                   \
    RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 1, .type = (type_), .value = (value_))
#define ERROR(severity_, sqlstate_, message_)                                                                \
    RESULT(.status = PGRES_FATAL_ERROR, .severity = (severity_), .sqlstate = (sqlstate_),                    \
           .message = (message_))
/* An error with which libpq gives the connection up. */
#define ERROR_AND_BROKEN(text)                                                                               \
    STEP(.call = PQ_GET_RESULT, .returns = 1, .status = CONNECTION_BAD, .error = (text),                     \
         .result = {.status = PGRES_FATAL_ERROR, .message = (text)})
#define NO_MORE STEP(.call = PQ_GET_RESULT, .returns = 0)
#define SYNCED  RESULT(.status = PGRES_PIPELINE_SYNC)
#define SYNCED_IN(transaction_)                                                                              \
    STEP(.call = PQ_GET_RESULT, .returns = 1, .transaction = (transaction_),                                 \
         .result = {.status = PGRES_PIPELINE_SYNC})

/* Appends to the steps that are expected. */
#define EXPECT_CALLS(...)                                                                                    \
    script_expect((const struct pq_step[]){__VA_ARGS__},                                                     \
                  sizeof((const struct pq_step[]){__VA_ARGS__}) / sizeof(struct pq_step))

void script_expect(const struct pq_step *steps, size_t count);

/* Fails the test unless each step was taken. */
void script_expect_done(void);

/* Starts with an empty table, a server of version 15 and no connection. */
void script_begin(void);

/* For the teardown, after the last session_close: each step was taken, each connection was finished, each
 * result cleared and each notification freed exactly once. */
void script_end(void);

/* The peer sends. */
void peer_sends(const void *bytes, size_t len);
void peer_sends_bytes(size_t len); /* any */

/* The peer closes its end. */
void peer_closes(void);

/* The peer reads nothing: what can be buffered is full. And: it has read all. */
void peer_stalls(void);
void peer_reads(void);

int script_socket(void);        /* PQsocket of the connection */
size_t script_bytes_read(void); /* by libpq, in all */
void script_set_server_version(int version);
PGVerbosity script_verbosity(void);

/* The value of a connection option as it was passed; NULL: it was not. */
const char *script_option(const char *keyword);

#endif
