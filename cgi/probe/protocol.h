/* What can be told of a PostgreSQL peer from bytes and texts alone: whether it speaks the protocol
 * (PostgreSQL manual, "Frontend/Backend Protocol"), which SQLSTATE a connect error has, whether a value is a
 * count. Pure. */
#ifndef PROBE_PROTOCOL_H
#define PROBE_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum protocol_stage {
    PROTOCOL_UNKNOWN, /* nothing seen of this peer that would tell */
    PROTOCOL_SETTLED, /* it speaks version 3, or TLS took over: libpq judges from here */
};

/* Looks at the first bytes (up to 5) that a peer sent and libpq has not read yet; moves *stage when they
 * tell. False: no PostgreSQL server begins like that. */
bool protocol_judge_first_bytes(const unsigned char *bytes, size_t len, enum protocol_stage *stage);

/* The last SQLSTATE in a connect error of verbosity PQERRORS_SQLSTATE ("... FATAL:  53300\n"), "" if none. */
void protocol_find_sqlstate(const char *message, char sqlstate[static 6]);

/* Whether libpq's message says that the peer broke the protocol, as opposed to ending the connection. The
 * texts are libpq's own in the C locale, which a program has unless it calls setlocale(3). */
bool protocol_is_violation(const char *message);

/* Whether libpq's connect error says that nobody listens: ECONNREFUSED, or no such Unix socket. */
bool protocol_is_refusal(const char *message);

/* Parses the text form of one value: type int2, int4, int8, oid or numeric (by its oid in pg_type), digits
 * only, at most INT64_MAX. len is the value's length: a NUL byte inside makes it no count. */
bool protocol_parse_count(unsigned int type_oid, const char *text, size_t len, int64_t *out);

#endif
