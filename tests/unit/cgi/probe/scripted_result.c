/* The results of the scripted libpq. All of them are in one list that results_free empties. */
#include "tests/unit/cgi/probe/scripted_result.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACKED_MAX 4096

struct pg_result {
    struct pq_result says;
    bool owned_by_libpq; /* a notice */
    bool cleared;
};

static PGresult *results[TRACKED_MAX];
static size_t count;

PGresult *result_new(const struct pq_result *says, bool owned_by_libpq)
{
    PGresult *result = calloc(1, sizeof *result);
    assert_non_null(result);
    assert_true(count < TRACKED_MAX);
    result->says = *says;
    result->owned_by_libpq = owned_by_libpq;
    results[count++] = result;
    return result;
}

void result_end_notice(PGresult *notice)
{
    notice->cleared = true;
}

size_t results_free(void)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        left += !results[i]->cleared;
        free(results[i]);
    }
    count = 0;
    return left;
}

static const struct pq_result *read_result(const PGresult *result)
{
    if (result == NULL || result->cleared)
        fail_msg("read of a result that is NULL or was cleared");
    return &result->says;
}

/* libpq prints a warning to stderr for a field that does not exist; the program must not read one. */
static const struct pq_result *read_field(const PGresult *result, int row, int column)
{
    const struct pq_result *says = read_result(result);
    if (row < 0 || row >= says->rows || column < 0 || column >= says->columns)
        fail_msg("row %d, column %d of a result with %d x %d fields", row, column, says->rows, says->columns);
    return says;
}

void PQclear(PGresult *result)
{
    if (result == NULL)
        return;
    if (result->cleared || result->owned_by_libpq)
        fail_msg("PQclear of a result that was cleared before, or that belongs to libpq");
    result->cleared = true;
}

ExecStatusType PQresultStatus(const PGresult *result)
{
    return result == NULL ? PGRES_FATAL_ERROR : read_result(result)->status;
}

char *PQresStatus(ExecStatusType status)
{
    static char text[32];
    snprintf(text, sizeof text, "status %d", (int)status);
    return text;
}

char *PQresultErrorField(const PGresult *result, int field)
{
    const struct pq_result *says = read_result(result);
    switch (field) {
    case PG_DIAG_SEVERITY_NONLOCALIZED: return (char *)says->severity;
    case PG_DIAG_SQLSTATE: return (char *)says->sqlstate;
    case PG_DIAG_MESSAGE_PRIMARY: return says->sqlstate != NULL ? (char *)says->message : NULL;
    default: fail_msg("field %c is not in the script", field); return NULL;
    }
}

char *PQresultErrorMessage(const PGresult *result)
{
    const struct pq_result *says = read_result(result);
    return says->message != NULL ? (char *)says->message : "";
}

int PQntuples(const PGresult *result)
{
    return read_result(result)->rows;
}

int PQnfields(const PGresult *result)
{
    return read_result(result)->columns;
}

Oid PQftype(const PGresult *result, int column)
{
    return read_field(result, 0, column)->type;
}

int PQgetisnull(const PGresult *result, int row, int column)
{
    return read_field(result, row, column)->value == NULL;
}

char *PQgetvalue(const PGresult *result, int row, int column)
{
    const struct pq_result *says = read_field(result, row, column);
    return says->value != NULL ? (char *)says->value : "";
}

int PQgetlength(const PGresult *result, int row, int column)
{
    const struct pq_result *says = read_field(result, row, column);
    return (int)(says->len != 0 || says->value == NULL ? says->len : strlen(says->value));
}
