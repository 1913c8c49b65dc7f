/* The simulated libpq's queries and results, in pipeline mode and without. */
#include "tests/sim/pq.h"
#include "tests/sim/timeline.h"

#include <stdlib.h>
#include <string.h>

int64_t pq_last_answer_sent_ns;

void pq_note_answer(int64_t sent_ns)
{
    if (sent_ns > pq_last_answer_sent_ns)
        pq_last_answer_sent_ns = sent_ns;
}

static unsigned queued(const PGconn *conn)
{
    return conn->queue_end - conn->queue_first;
}

static enum command head(const PGconn *conn)
{
    return conn->queue[conn->queue_first % PQ_QUEUE_MAX];
}

static void give(PGconn *conn, ExecStatusType status, const struct message *m)
{
    if (conn->result != NULL)
        pq_free_result(conn->result);
    conn->result = pq_new_result(status, m, true);
    conn->async = ASYNC_READY;
}

/* pqPipelineProcessQueue */
static void process_queue(PGconn *conn)
{
    if (queued(conn) == 0)
        conn->async = ASYNC_IDLE;
    else if (conn->pipeline == PQ_PIPELINE_ABORTED && head(conn) != COMMAND_SYNC)
        give(conn, PGRES_PIPELINE_ABORTED, NULL);
    else
        conn->async = ASYNC_BUSY;
}

static void append_command(PGconn *conn, enum command command)
{
    if (queued(conn) == PQ_QUEUE_MAX)
        timeline_violation("world", "more than %d queries in a pipeline", PQ_QUEUE_MAX);
    conn->queue[conn->queue_end++ % PQ_QUEUE_MAX] = command;
    if (conn->pipeline == PQ_PIPELINE_ABORTED &&
        (conn->async == ASYNC_IDLE || conn->async == ASYNC_PIPELINE_IDLE))
        process_queue(conn);
    else if (conn->pipeline != PQ_PIPELINE_ABORTED && conn->async == ASYNC_IDLE)
        conn->async = ASYNC_BUSY;
}

static void put(PGconn *conn, struct message *m)
{
    if (conn->out == NULL)
        conn->out = m;
    else
        conn->out_last->next = m;
    conn->out_last = m;
}

int PQflush(PGconn *conn)
{
    pq_check(conn);
    if (conn->out != NULL && conn->link != NULL)
        net_send_up(conn->link, conn->out);
    conn->out = NULL;
    return 0;
}

static void notice(PGconn *conn, const struct message *m)
{
    if (conn->receiver != NULL) {
        PGresult *result = pq_new_result(PGRES_NONFATAL_ERROR, m, true);
        conn->receiver(conn->receiver_context, result);
        pq_free_result(result);
    }
}

static void take_busy(PGconn *conn, const struct message *m)
{
    switch (m->kind) {
    case DOWN_ROWS: give(conn, PGRES_TUPLES_OK, m); break;
    case DOWN_COMMAND: give(conn, PGRES_COMMAND_OK, m); break;
    case DOWN_ERROR:
        pq_describe(conn, m, conn->error, sizeof conn->error);
        give(conn, PGRES_FATAL_ERROR, m);
        if (conn->pipeline == PQ_PIPELINE_ON)
            conn->pipeline = PQ_PIPELINE_ABORTED;
        break;
    case DOWN_READY:
        if (conn->pipeline == PQ_PIPELINE_OFF) {
            conn->async = ASYNC_IDLE;
        } else {
            conn->pipeline = PQ_PIPELINE_ON;
            give(conn, PGRES_PIPELINE_SYNC, NULL);
        }
        break;
    default: timeline_violation("world", "message %d in a session", (int)m->kind);
    }
}

/* pqParseInput3 */
static void parse(PGconn *conn)
{
    while (conn->link != NULL && (conn->async == ASYNC_BUSY || conn->async == ASYNC_IDLE)) {
        struct message *m = net_take(conn->link);
        if (m == NULL)
            return;
        if (m->kind != DOWN_NOTICE)
            pq_note_answer(m->sent_ns);
        if (m->kind == DOWN_NOTICE || conn->async == ASYNC_IDLE)
            notice(conn, m);
        else
            take_busy(conn, m);
        net_free(m);
    }
}

int PQconsumeInput(PGconn *conn)
{
    PQflush(conn);
    return conn->link != NULL && pq_read(conn) ? 1 : 0;
}

int PQisBusy(PGconn *conn)
{
    parse(pq_check(conn));
    return conn->async == ASYNC_BUSY && conn->status != CONNECTION_BAD;
}

static PGresult *hand_out(PGconn *conn)
{
    PGresult *result = conn->result;
    conn->result = NULL;
    result->belongs_to_libpq = false;
    if (queued(conn) > 0 && (conn->pipeline != PQ_PIPELINE_OFF))
        conn->queue_first++;
    if (conn->pipeline == PQ_PIPELINE_OFF) {
        conn->async = ASYNC_BUSY;
    } else {
        conn->async = ASYNC_PIPELINE_IDLE;
        if (result->status == PGRES_PIPELINE_SYNC)
            process_queue(conn);
    }
    return result;
}

PGresult *PQgetResult(PGconn *conn)
{
    parse(pq_check(conn));
    switch (conn->async) {
    case ASYNC_READY: return hand_out(conn);
    case ASYNC_PIPELINE_IDLE: process_queue(conn); return NULL;
    case ASYNC_IDLE: return NULL;
    case ASYNC_BUSY: break;
    }
    if (conn->status != CONNECTION_BAD)
        timeline_violation("blocks", "PQgetResult waits for the server; PQisBusy would have shown that");
    struct message error = {.kind = DOWN_ERROR, .text = conn->error};
    conn->async = ASYNC_IDLE;
    return pq_new_result(PGRES_FATAL_ERROR, &error, false);
}

int PQsendQueryParams(PGconn *conn, const char *sql, int count, const Oid *types, const char *const *values,
                      const int *lengths, const int *formats, int result_format)
{
    (void)types;
    (void)lengths;
    (void)formats;
    (void)result_format;
    if (pq_check(conn)->status != CONNECTION_OK)
        return 0;
    struct message *m = net_new(UP_QUERY);
    m->query = query_parse(sql, count, values);
    put(conn, m);
    if (conn->pipeline == PQ_PIPELINE_OFF) {
        put(conn, net_new(UP_SYNC));
        conn->async = ASYNC_BUSY;
        PQflush(conn);
    } else {
        append_command(conn, COMMAND_QUERY);
    }
    return 1;
}

int PQsendQuery(PGconn *conn, const char *sql)
{
    return PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0);
}

int PQpipelineSync(PGconn *conn)
{
    if (pq_check(conn)->status != CONNECTION_OK || conn->pipeline == PQ_PIPELINE_OFF)
        return 0;
    put(conn, net_new(UP_SYNC));
    append_command(conn, COMMAND_SYNC);
    PQflush(conn);
    return 1;
}

int PQsendFlushRequest(PGconn *conn)
{
    if (pq_check(conn)->status != CONNECTION_OK)
        return 0;
    put(conn, net_new(UP_FLUSH));
    return 1;
}

int PQsetnonblocking(PGconn *conn, int nonblocking)
{
    if (pq_check(conn)->status == CONNECTION_BAD)
        return -1;
    conn->nonblocking = nonblocking != 0;
    return 0;
}

int PQisnonblocking(const PGconn *conn)
{
    return pq_check(conn)->nonblocking;
}

int PQenterPipelineMode(PGconn *conn)
{
    if (pq_check(conn)->async != ASYNC_IDLE)
        return 0;
    conn->pipeline = PQ_PIPELINE_ON;
    return 1;
}

int PQexitPipelineMode(PGconn *conn)
{
    if (pq_check(conn)->async != ASYNC_IDLE || queued(conn) > 0)
        return 0;
    conn->pipeline = PQ_PIPELINE_OFF;
    return 1;
}

PGpipelineStatus PQpipelineStatus(const PGconn *conn)
{
    return pq_check(conn)->pipeline;
}

PGTransactionStatusType PQtransactionStatus(const PGconn *conn)
{
    if (pq_check(conn)->status != CONNECTION_OK)
        return PQTRANS_UNKNOWN;
    return conn->async != ASYNC_IDLE ? PQTRANS_ACTIVE : PQTRANS_IDLE;
}

PGnotify *PQnotifies(PGconn *conn)
{
    parse(pq_check(conn));
    return NULL;
}

void PQfreemem(void *memory)
{
    free(memory);
}
