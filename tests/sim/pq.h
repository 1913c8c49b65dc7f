/* libpq over the simulated network, for pq_connect.c, pq_pipeline.c and pq_result.c alone: the program sees
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
    ASYNC_PIPELINE_IDLE, /* between two results of a pipeline */
};

enum command {
    COMMAND_QUERY,
    COMMAND_SYNC,
};

struct pg_result {
    bool is_live, belongs_to_libpq;
    ExecStatusType status;
    struct message message; /* what the server sent; the error that libpq makes itself */
};

struct pg_conn {
    int number;
    bool is_open; /* not finished */
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
    struct message *out, *out_last; /* not flushed */
    struct pg_result *result;       /* while READY */
    PGVerbosity verbosity;
    PQnoticeReceiver receiver;
    void *receiver_context;
    char error[512];
};

/* When the server sent what the program has read last, of any connection. */
extern int64_t pq_last_answer_sent_ns;

void pq_note_answer(int64_t sent_ns);

/* Counted: connections that are not finished now, results that are not cleared. */
extern int pq_open_connections, pq_live_results;

/* Ends the run if the connection was finished already. */
PGconn *pq_check(const PGconn *conn);

struct pg_result *pq_new_result(ExecStatusType status, const struct message *message, bool belongs_to_libpq);
void pq_free_result(struct pg_result *result);

/* Reads what is there. False: the connection is broken, status and error say so. */
bool pq_read(PGconn *conn);

void pq_break(PGconn *conn, const char *error);

/* The text of an error as PQerrorMessage has it, by the verbosity. */
void pq_describe(const PGconn *conn, const struct message *error, char *out, size_t size);

#endif
