/* Interprets what a PostgreSQL peer sends: whether it speaks the protocol (PostgreSQL manual,
 * "Frontend/Backend Protocol"), why a login or a query failed, whether a value is a count. Pure. */
#ifndef PROBE_ERRORS_H
#define PROBE_ERRORS_H

#include "cgi/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum errors_stage {
    ERRORS_UNKNOWN, /* no byte of this peer has shown yet what it speaks */
    ERRORS_SETTLED, /* it speaks version 3, or TLS has begun: libpq judges the rest */
};

/* Looks at the first bytes (up to 5) that a peer has sent and libpq has not read yet. Sets *stage to
 * ERRORS_SETTLED when they show what it speaks. False: no PostgreSQL server begins like that. */
bool errors_judge_first_bytes(const unsigned char *bytes, size_t len, enum errors_stage *stage);

/* Why libpq could not log in. */
struct errors_login {
    enum reason reason;
    char sqlstate[6]; /* "" when the server sent none */
    bool refused;     /* no server listens there now, so the next try is cheap */
};

/* Takes libpq's message of verbosity PQERRORS_VERBOSE ("... FATAL:  53300: sorry, too many
 * clients already"). The texts of libpq, OpenSSL and PgBouncer are not translated, because the program never
 * calls setlocale(3). The server may translate the severity. */
struct errors_login errors_of_login(const char *message, bool needs_password);

/* Gives the reason of a failed query by its SQLSTATE and the server's primary message. */
enum reason errors_of_query(const char *sqlstate, const char *message);

/* True: libpq's message says that the peer broke the protocol. False: the peer ended the connection. The
 * texts are libpq's own, in the C locale that every program has until it calls setlocale(3). */
bool errors_is_violation(const char *message);

/* Parses one value in text format. True: it has only digits, is at most INT64_MAX, and type_oid is the oid of
 * int2, int4, int8, oid or numeric in pg_type. A NUL byte within len is not a digit. */
bool errors_parse_count(unsigned int type_oid, const char *text, size_t len, int64_t *out);

#endif
