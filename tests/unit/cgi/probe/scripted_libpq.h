/* A scripted libpq: the PQ functions that cgi/probe calls, with a table of expected calls and their results.
 * A call that is not the next one in the table fails the test. A function that only returns state (PQstatus,
 * PQsocket, PQgetvalue ...) is not a step; its result comes from the last step.
 *
 * The socket is one end of a real pair, and the test holds the other end: poll(2) and recv(2) see what the
 * test sends. A scripted PQconnectPoll or PQconsumeInput reads everything that has arrived. */
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
    PQ_PARSE, /* libpq parses what it has read, in PQisBusy and PQnotifies */
};

/* The content of a PGresult. All its values are equal. */
struct pq_result {
    ExecStatusType status;
    int rows, columns;
    Oid type;
    const char *value; /* NULL: SQL's NULL */
    size_t len;        /* 0: the length of the string */
    const char *severity, *sqlstate, *message;
};

struct pq_step {
    enum pq_call call;
    int returns;                         /* for a pointer, 0 is NULL */
    ConnStatusType status;               /* from this step on; CONNECTION_OK is 0 */
    PGTransactionStatusType transaction; /* from this step on; PQTRANS_IDLE is 0 */
    const char *error;                   /* PQerrorMessage from this step on */
    bool needs_password;
    bool next_host; /* libpq tries the next host with another socket */
    bool no_socket; /* PQsocket is -1 from this step on */
    const PQconninfoOption *defaults;
    const char *sql, *parameter;
    struct pq_result result; /* of PQgetResult, or a notice that libpq finds by parsing */
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
/* An error after which libpq gives up the connection. */
#define ERROR_AND_BROKEN(text)                                                                               \
    STEP(.call = PQ_GET_RESULT, .returns = 1, .status = CONNECTION_BAD, .error = (text),                     \
         .result = {.status = PGRES_FATAL_ERROR, .message = (text)})
#define NO_MORE STEP(.call = PQ_GET_RESULT, .returns = 0)
#define SYNCED  RESULT(.status = PGRES_PIPELINE_SYNC)
#define SYNCED_IN(transaction_)                                                                              \
    STEP(.call = PQ_GET_RESULT, .returns = 1, .transaction = (transaction_),                                 \
         .result = {.status = PGRES_PIPELINE_SYNC})

/* Appends expected steps to the script. */
#define EXPECT_CALLS(...)                                                                                    \
    script_expect((const struct pq_step[]){__VA_ARGS__},                                                     \
                  sizeof((const struct pq_step[]){__VA_ARGS__}) / sizeof(struct pq_step))

void script_expect(const struct pq_step *steps, size_t count);

/* Fails the test unless each step was taken. */
void script_expect_done(void);

/* Starts with an empty table, a server of version 15 and no connection. */
void script_begin(void);

/* For the teardown, after the last session_close. Fails unless each step was taken, and each connection,
 * result and notification was freed exactly once. */
void script_end(void);

/* The peer sends. */
void peer_sends(const void *bytes, size_t len);
void peer_sends_bytes(size_t len); /* of any value */

/* The peer closes its end. */
void peer_closes(void);

/* The peer stops reading, and all buffers are full; the peer has read everything. */
void peer_stalls(void);
void peer_reads(void);

int script_socket(void);        /* PQsocket of the connection */
size_t script_bytes_read(void); /* how many bytes libpq has read */
void script_set_server_version(int version);
PGVerbosity script_verbosity(void);

/* The value that was passed for a connection option; NULL: none was. */
const char *script_option(const char *keyword);

#endif
