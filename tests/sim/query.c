/* Recognizes the program's SQL by words in its text, without a grammar. */
#include "tests/sim/query.h"

#include "tests/sim/timeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns the value of the parameter or literal at text ("$1", "'800ms'", "800"). */
static const char *find_value(const char *text, int parameter_count, const char *const *parameters)
{
    text += strspn(text, " ,=");
    if (*text == '$') {
        int number = atoi(text + 1);
        return number >= 1 && number <= parameter_count ? parameters[number - 1] : "";
    }
    return *text == '\'' ? text + 1 : text;
}

static int64_t parse_ms(const char *value)
{
    char *unit;
    long long number = strtoll(value, &unit, 10);
    return *unit == 's' ? number * 1000 : number;
}

struct query query_parse(const char *sql, int parameter_count, const char *const *parameters)
{
    static const char check_prefix[] = "SELECT simulated_";
    static const char timeout[] = "'statement_timeout'";
    struct query q = {.check = -1, .as_integer = strstr(sql, "::int") != NULL};
    const char *at;

    if (strncmp(sql, check_prefix, sizeof check_prefix - 1) == 0) {
        q.kind = QUERY_CHECK;
        q.check = atoi(sql + sizeof check_prefix - 1);
    } else if (strstr(sql, "set_config(") != NULL) {
        q.kind = QUERY_SETTINGS;
        q.client_check = strstr(sql, "client_connection_check_interval") != NULL;
        q.wants_pid = strncmp(sql, "SELECT pg_backend_pid()", 23) == 0;
        if ((at = strstr(sql, timeout)) != NULL)
            q.timeout_ms = parse_ms(find_value(at + sizeof timeout - 1, parameter_count, parameters));
    } else if (strstr(sql, "pg_stat_activity") != NULL) {
        q.kind = QUERY_PROCESS;
        if ((at = strstr(sql, "pid =")) != NULL)
            q.pid = atoi(find_value(at + 5, parameter_count, parameters));
        if (q.pid == 0 || strstr(sql, "count(") == NULL || strstr(sql, "state <> 'idle'") == NULL)
            timeline_violation(
                "world", "tests/sim/query.c knows only one query on pg_stat_activity, the one for orphans");
    } else if (strstr(sql, "pg_is_in_recovery()") != NULL) {
        q.kind = QUERY_RECOVERY;
    } else if (strcmp(sql, "SELECT 1") == 0) {
        q.kind = QUERY_TRIVIAL;
    } else {
        timeline_violation("world", "tests/sim/query.c does not know the query: %s", sql);
    }
    return q;
}
