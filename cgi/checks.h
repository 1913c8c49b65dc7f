/* A checks file: named queries in plain SQL, with annotations in comments. Pure functions; any thread. */
#ifndef CGI_CHECKS_H
#define CGI_CHECKS_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECK_NAME_SIZE 64      /* PostgreSQL's NAMEDATALEN: a check is often named like its table */
#define CHECKS_MAX      256     /* bounds /api/status and the pipeline that one probe sends */
#define CHECKS_FILE_MAX 1048576 /* bytes */

enum check_severity {
    CHECK_FAIL, /* a failure makes the service degraded */
    CHECK_WARN, /* a failure is reported, and the response stays 200 */
};

struct check {
    char name[CHECK_NAME_SIZE];
    char *sql;          /* one statement, without its semicolon */
    int64_t every_ms;   /* 0: at each interval */
    int64_t timeout_ms; /* 0: HEALTH_QUERY_TIMEOUT */
    int64_t min;        /* default 0 */
    int64_t max;        /* default INT64_MAX */
    int64_t fall;       /* 0: HEALTH_FALL */
    int64_t rise;       /* 0: HEALTH_RISE */
    enum check_severity severity;
    int line; /* of "-- check:" */
};

struct checks {
    struct check *items;
    size_t count;
};

/* Parses a file's text; file is only its name for messages. True: the caller owns *out (checks_free).
 * False: err is "FILE:LINE: what was found, what was expected", and *out is empty. A file without a check is
 * an error. So is a check with a reserved name: the contract uses database, process and backend itself. */
__attribute__((warn_unused_result)) bool checks_parse(const char *text, size_t len, const char *file,
                                                      struct checks *out, struct error *err);

void checks_free(struct checks *checks);

#endif
