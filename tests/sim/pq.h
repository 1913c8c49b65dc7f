/* The simulated libpq. Only pq_connect.c, pq_pipeline.c and pq_result.c include this; the program includes
 * libpq-fe.h. The states and their changes are those of libpq 15 (fe-exec.c, fe-connect.c). */
#ifndef SIM_PQ_H
#define SIM_PQ_H

#include "tests/sim/net.h"

#include <libpq-fe.h>
#include <stdbool.h>

#define PQ_QUEUE_MAX 1024

enum async_status {
    ASYNC_IDLE,
    ASYNC_BUSY,
    ASYNC_READY,         /* a result waits for PQgetResult */
    ASYNC_PIPELINE_IDLE, /* between the results of two queries */
};

enum command {
    COMMAND_QUERY,
    COMMAND_SYNC,
};

struct pg_result {
    bool is_live, belongs_to_libpq;
    ExecStatusType status;
    struct message message; /* from the server, or an error that libpq makes itself */
};

struct pg_conn {
    int number;
    bool is_open; /* PQfinish was not called yet */
    int fd;
    struct link *link;
    ConnStatusType status;
    /* The login: */
    int addresses[8];
    int address_count, address;
    /* The session: */
    int pid; /* of the server process */
    bool nonblocking;
    PGpipelineStatus pipeline;
    enum async_status async;
    enum command queue[PQ_QUEUE_MAX];
    unsigned queue_first, queue_end;
    struct message *out, *out_last; /* not flushed yet */
    struct pg_result *result;       /* in ASYNC_READY */
    PGVerbosity verbosity;
    PQnoticeReceiver receiver;
    void *receiver_context;
    char error[512];
};

/* When the server sent the message that the program has read last, on any connection. */
extern int64_t pq_last_answer_sent_ns;

void pq_note_answer(int64_t sent_ns);

/* How many connections are not finished now, and how many results are not cleared. */
extern int pq_open_connections, pq_live_results;

/* Ends the run if PQfinish was called for the connection. */
PGconn *pq_check(const PGconn *conn);

struct pg_result *pq_new_result(ExecStatusType status, const struct message *message, bool belongs_to_libpq);
void pq_free_result(struct pg_result *result);

/* Reads what has arrived. False: the connection is broken; status and error are set. */
bool pq_read(PGconn *conn);

void pq_break(PGconn *conn, const char *error);

/* Formats an error like PQerrorMessage, by the verbosity of the connection. */
void pq_describe(const PGconn *conn, const struct message *error, char *out, size_t size);

#endif
