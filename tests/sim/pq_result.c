/* The simulated libpq's PGresult. Owns every result. A cleared one stays unused for a while, so that a later
 * use of it is found. */
#include "tests/sim/pq.h"
#include "tests/sim/timeline.h"

#include <stdlib.h>
#include <string.h>

#define RESULTS_MAX 1024

int pq_live_results;

static struct pg_result results[RESULTS_MAX];
static size_t next_result;

struct pg_result *pq_new_result(ExecStatusType status, const struct message *message, bool belongs_to_libpq)
{
    size_t tried = 0;
    while (results[next_result % RESULTS_MAX].is_live && tried++ < RESULTS_MAX)
        next_result++;
    if (tried > RESULTS_MAX)
        timeline_violation("leak", "%d results were never cleared", RESULTS_MAX);
    struct pg_result *r = &results[next_result++ % RESULTS_MAX];
    *r = (struct pg_result){.is_live = true, .belongs_to_libpq = belongs_to_libpq, .status = status};
    if (message != NULL)
        r->message = *message;
    pq_live_results++;
    return r;
}

void pq_free_result(struct pg_result *r)
{
    r->is_live = false;
    pq_live_results--;
}

static const struct pg_result *check(const PGresult *r)
{
    if (!r->is_live)
        timeline_violation("once", "a result was used after PQclear");
    return r;
}

void PQclear(PGresult *r)
{
    if (r == NULL)
        return;
    if (!r->is_live || r->belongs_to_libpq)
        timeline_violation("once", "PQclear of a result that was cleared before, or that belongs to libpq");
    pq_free_result(r);
}

ExecStatusType PQresultStatus(const PGresult *r)
{
    return r == NULL ? PGRES_FATAL_ERROR : check(r)->status;
}

char *PQresStatus(ExecStatusType status)
{
    static char *const names[] = {
        [PGRES_EMPTY_QUERY] = "PGRES_EMPTY_QUERY",     [PGRES_COMMAND_OK] = "PGRES_COMMAND_OK",
        [PGRES_TUPLES_OK] = "PGRES_TUPLES_OK",         [PGRES_FATAL_ERROR] = "PGRES_FATAL_ERROR",
        [PGRES_PIPELINE_SYNC] = "PGRES_PIPELINE_SYNC", [PGRES_PIPELINE_ABORTED] = "PGRES_PIPELINE_ABORTED",
    };
    bool known = (size_t)status < sizeof names / sizeof names[0] && names[status] != NULL;
    return known ? names[status] : (char *)"another status";
}

char *PQresultErrorField(const PGresult *r, int field)
{
    const struct message *m = &check(r)->message;
    switch (field) {
    case PG_DIAG_SEVERITY:
    case PG_DIAG_SEVERITY_NONLOCALIZED: return (char *)m->severity;
    case PG_DIAG_SQLSTATE: return (char *)m->sqlstate;
    case PG_DIAG_MESSAGE_PRIMARY: return m->sqlstate != NULL ? (char *)m->text : NULL;
    default: return NULL;
    }
}

char *PQresultErrorMessage(const PGresult *r)
{
    const char *text = check(r)->message.text;
    return text != NULL ? (char *)text : (char *)"";
}

int PQntuples(const PGresult *r)
{
    return check(r)->message.rows;
}

int PQnfields(const PGresult *r)
{
    return check(r)->message.columns;
}

static bool has_field(const PGresult *r, int row, int column)
{
    const struct message *m = &check(r)->message;
    return row >= 0 && row < m->rows && column >= 0 && column < m->columns;
}

Oid PQftype(const PGresult *r, int column)
{
    return column >= 0 && column < check(r)->message.columns ? r->message.type : 0;
}

int PQgetisnull(const PGresult *r, int row, int column)
{
    return !has_field(r, row, column) || r->message.is_null;
}

char *PQgetvalue(const PGresult *r, int row, int column)
{
    return has_field(r, row, column) ? (char *)r->message.value : NULL;
}

int PQgetlength(const PGresult *r, int row, int column)
{
    return has_field(r, row, column) ? (int)strlen(r->message.value) : 0;
}

char *PQfname(const PGresult *r, int column)
{
    return column >= 0 && column < check(r)->message.columns ? (char *)"column" : NULL;
}

char *PQcmdTuples(PGresult *r)
{
    return check(r)->status == PGRES_TUPLES_OK ? (char *)"1" : (char *)"";
}
