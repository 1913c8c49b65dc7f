/* Names the reasons, and maps PostgreSQL's error codes to them. Runs on any thread; owns constant tables. */
#include "cgi/reason.h"

#include <stddef.h>
#include <string.h>

static const char *const names[REASON_COUNT] = {
    [REASON_NONE] = "none",
    [REASON_UNREACHABLE] = "unreachable",
    [REASON_CONNECT_TIMEOUT] = "connect_timeout",
    [REASON_QUERY_TIMEOUT] = "query_timeout",
    [REASON_HUNG] = "hung",
    [REASON_ACCESS] = "access",
    [REASON_SCHEMA] = "schema",
    [REASON_SATURATED] = "saturated",
    [REASON_RESOURCES] = "resources",
    [REASON_RESTARTING] = "restarting",
    [REASON_CORRUPT] = "corrupt",
    [REASON_MALFORMED] = "malformed",
    [REASON_QUERY_ERROR] = "query_error",
    [REASON_OUT_OF_RANGE] = "out_of_range",
    [REASON_STALE] = "stale",
    [REASON_STARTING] = "starting",
    [REASON_DRAINING] = "draining",
    [REASON_FD_LIMIT] = "fd_limit",
    [REASON_INTERNAL] = "internal",
};

/* Each prefix is a whole code or its two-character class. The first match decides, so codes come first. */
static const struct {
    const char *prefix;
    enum reason reason;
} sqlstates[] = {
    {"42501", REASON_ACCESS},        /* insufficient_privilege */
    {"42P01", REASON_SCHEMA},        /* undefined_table */
    {"42703", REASON_SCHEMA},        /* undefined_column */
    {"42883", REASON_SCHEMA},        /* undefined_function */
    {"53300", REASON_SATURATED},     /* too_many_connections */
    {"55P03", REASON_QUERY_TIMEOUT}, /* lock_not_available: lock_timeout */
    {"57014", REASON_QUERY_TIMEOUT}, /* query_canceled: statement_timeout */
    {"57P01", REASON_RESTARTING},    /* admin_shutdown */
    {"57P02", REASON_RESTARTING},    /* crash_shutdown */
    {"57P03", REASON_RESTARTING},    /* cannot_connect_now */
    {"XX001", REASON_CORRUPT},       /* data_corrupted */
    {"XX002", REASON_CORRUPT},       /* index_corrupted */
    {"08", REASON_UNREACHABLE},      /* connection exception */
    {"28", REASON_ACCESS},           /* invalid authorization */
    {"3D", REASON_ACCESS},           /* invalid catalog name: no such database */
    {"3F", REASON_SCHEMA},           /* invalid schema name */
    {"53", REASON_RESOURCES},        /* insufficient resources */
    {"58", REASON_CORRUPT},          /* system error: I/O, missing file */
};

const char *reason_name(enum reason reason)
{
    if ((unsigned)reason >= REASON_COUNT)
        return names[REASON_INTERNAL];
    return names[reason];
}

enum reason reason_from_sqlstate(const char *sqlstate)
{
    if (sqlstate == NULL || sqlstate[0] == '\0')
        return REASON_UNREACHABLE;
    for (size_t i = 0; i < sizeof sqlstates / sizeof sqlstates[0]; i++)
        if (strncmp(sqlstate, sqlstates[i].prefix, strlen(sqlstates[i].prefix)) == 0)
            return sqlstates[i].reason;
    return REASON_QUERY_ERROR;
}
