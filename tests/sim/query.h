/* What the program's SQL asks the simulated server to do. */
#ifndef SIM_QUERY_H
#define SIM_QUERY_H

#include <stdbool.h>
#include <stdint.h>

enum query_kind {
    QUERY_RECOVERY, /* pg_is_in_recovery() */
    QUERY_SETTINGS, /* set_config(...) */
    QUERY_PROCESS,  /* pg_stat_activity: whether that server process works */
    QUERY_CHECK,
    QUERY_TRIVIAL, /* SELECT 1 */
};

struct query {
    enum query_kind kind;
    int check;          /* its number */
    int64_t timeout_ms; /* the statement_timeout that it sets; 0: none */
    bool client_check;  /* it sets client_connection_check_interval */
    bool wants_pid;     /* its first column is pg_backend_pid() */
    bool as_integer;    /* it casts a boolean to an integer */
    int pid;            /* QUERY_PROCESS */
};

/* An unknown query ends the run with a message that says where to add it. */
struct query query_parse(const char *sql, int parameter_count, const char *const *parameters);

/* The text of a check's query, which query_parse recognizes. */
#define QUERY_CHECK_SQL "SELECT simulated_%d()"

#endif
