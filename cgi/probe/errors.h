/* What bytes and texts of a PostgreSQL peer mean: whether it speaks the protocol (PostgreSQL manual,
 * "Frontend/Backend Protocol"), why a login failed, whether a value is a count. Pure. */
#ifndef PROBE_ERRORS_H
#define PROBE_ERRORS_H

#include "cgi/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum errors_stage {
    ERRORS_UNKNOWN, /* nothing seen of this peer that would tell */
    ERRORS_SETTLED, /* it speaks version 3, or TLS took over: libpq judges from here */
};

/* Looks at the first bytes (up to 5) that a peer sent and libpq has not read yet; moves *stage when they
 * tell. False: no PostgreSQL server begins like that. */
bool errors_judge_first_bytes(const unsigned char *bytes, size_t len, enum errors_stage *stage);

/* Why libpq could not log in. */
struct errors_login {
    enum reason reason;
    char sqlstate[6]; /* "" when the server sent none */
    bool refused;     /* nobody listens there now: as cheap to try again as it was */
};

/* From its message, of verbosity PQERRORS_VERBOSE ("... FATAL:  53300: sorry, too many clients already"). The
 * texts are libpq's, OpenSSL's and PgBouncer's, which are not translated in the C locale (setlocale(3) is not
 * called); the severity, which is the server's, may be. */
struct errors_login errors_of_login(const char *message, bool needs_password);

/* Why a query failed, from its SQLSTATE and the server's primary message. */
enum reason errors_of_query(const char *sqlstate, const char *message);

/* Whether libpq's message says that the peer broke the protocol, as opposed to ending the connection. The
 * texts are libpq's own in the C locale, which a program has unless it calls setlocale(3). */
bool errors_is_violation(const char *message);

/* Parses the text form of one value: type int2, int4, int8, oid or numeric (by its oid in pg_type), digits
 * only, at most INT64_MAX. len is the value's length: a NUL byte inside makes it no count. */
bool errors_parse_count(unsigned int type_oid, const char *text, size_t len, int64_t *out);

#endif
