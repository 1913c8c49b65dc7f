/* Maps a peer's bytes and libpq's texts to reasons. Runs on the prober thread; owns constant tables. */
#include "cgi/probe/errors.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* libpq's own limits for the length of the first message (fe-connect.c). A peer that sends a shorter or
 * longer one does not speak version 3. */
#define FIRST_MESSAGE_MIN 8
#define FIRST_MESSAGE_MAX 30000

bool errors_judge_first_bytes(const unsigned char *bytes, size_t len, enum errors_stage *stage)
{
    switch (bytes[0]) {
    case 'S': /* the server accepts an SSLRequest */
    case 'G': /* the server accepts a GSSENCRequest */ *stage = ERRORS_SETTLED; return true;
    case 'N': /* the server declines; its real first message follows */ return true;
    case 'R': /* Authentication */
    case 'E': /* ErrorResponse */
    case 'v': /* NegotiateProtocolVersion */ break;
    default: return false;
    }
    *stage = ERRORS_SETTLED;
    if (len < 5)
        return true; /* libpq is about to read them, and judges the rest */
    if (bytes[0] == 'E' && memcmp(bytes + 1, "coul", 4) == 0)
        return true; /* "could not fork new process": plain text, as in version 2 (postmaster.c) */
    uint32_t length =
        (uint32_t)bytes[1] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 8 | (uint32_t)bytes[4];
    return length >= FIRST_MESSAGE_MIN && length <= FIRST_MESSAGE_MAX;
}

bool errors_is_violation(const char *message)
{
    static const char *const phrases[] = {
        "lost synchronization with server",
        "expected authentication request from server",
        "received invalid response to SSL negotiation",
        "received invalid response to GSSAPI negotiation",
        "received unencrypted data after",
        "invalid protocol negotiation message",
        "received duplicate protocol negotiation message",
        "invalid authentication request",
        "authentication method",
        "unexpected message from server",
        "unexpected response from server",
        "unexpected field count",
        "unexpected character",
        "insufficient data in",
        "extraneous data in",
        "message contents do not agree with length",
        "without prior row description",
        "protocol error",
    };
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++)
        if (strstr(message, phrases[i]) != NULL)
            return true;
    return false;
}

/* A part of a message and the reason that it means. The first match in a table decides. */
struct phrase {
    const char *text;
    enum reason reason;
};

static enum reason find_phrase(const char *message, const struct phrase *phrases, size_t count,
                               enum reason otherwise)
{
    for (size_t i = 0; i < count; i++)
        if (strstr(message, phrases[i].text) != NULL)
            return phrases[i].reason;
    return otherwise;
}

#define FIND_PHRASE(message, phrases, otherwise)                                                             \
    find_phrase((message), (phrases), sizeof(phrases) / sizeof(phrases)[0], (otherwise))

/* Finds the last SQLSTATE in a message. After a login at several hosts it is that of the last host. */
static void find_sqlstate(const char *message, char sqlstate[static 6])
{
    static const char after_severity[] = ":  "; /* the word before it is in the server's language */

    sqlstate[0] = '\0';
    for (const char *p = message; (p = strstr(p, after_severity)) != NULL;) {
        p += strlen(after_severity);
        if (strspn(p, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && strchr(":\n", p[5]) != NULL)
            snprintf(sqlstate, 6, "%.5s", p);
    }
}

/* PgBouncer sends the SQLSTATE protocol_violation whatever it refuses (objects.c, client.c). */
static enum reason of_pgbouncer(const char *message)
{
    static const struct phrase phrases[] = {
        {"no more connections allowed", REASON_SATURATED},
        {"password authentication failed", REASON_ACCESS},
        {"authentication failed", REASON_ACCESS},
        {"no such database", REASON_ACCESS},
        {"no such user", REASON_ACCESS},
        {"auth failed", REASON_ACCESS},
    };
    return FIND_PHRASE(message, phrases, REASON_UNREACHABLE);
}

/* Texts of libpq itself, with those of OpenSSL and the Kerberos library in them. */
static enum reason of_client(const char *message)
{
    static const struct phrase phrases[] = {
        {"could not fork", REASON_RESOURCES},
        {"certificate", REASON_ACCESS},
        {"unexpected eof", REASON_UNREACHABLE}, /* OpenSSL 3: the peer went away during the handshake */
        {"SSL error", REASON_ACCESS},
        {"SSL was required", REASON_ACCESS},
        {"GSSAPI", REASON_ACCESS},
        {"GSS encryption", REASON_ACCESS},
        {"channel binding", REASON_ACCESS},
    };
    /* Skip "connection to server at \"NAME\" ... failed: ": the name may contain one of these phrases. */
    const char *failed = strstr(message, " failed: ");
    return FIND_PHRASE(failed != NULL ? failed : message, phrases, REASON_UNREACHABLE);
}

struct errors_login errors_of_login(const char *message, bool needs_password)
{
    struct errors_login why = {.reason = REASON_UNREACHABLE};

    find_sqlstate(message, why.sqlstate);
    if (strcmp(why.sqlstate, "08P01") == 0) {
        why.reason = of_pgbouncer(message);
    } else if (why.sqlstate[0] != '\0') {
        bool allows_none = strcmp(why.sqlstate, "55000") == 0; /* ALLOW_CONNECTIONS false */
        why.reason = allows_none ? REASON_ACCESS : reason_from_sqlstate(why.sqlstate);
    } else if (needs_password || strstr(message, "authentication method requirement") != NULL) {
        why.reason = REASON_ACCESS;
    } else if (errors_is_violation(message)) {
        why.reason = REASON_MALFORMED;
    } else {
        why.reason = of_client(message);
        why.refused = strstr(message, "Connection refused") != NULL ||
                      strstr(message, "No such file or directory") != NULL;
    }
    return why;
}

enum reason errors_of_query(const char *sqlstate, const char *message)
{
    /* The query has a parameter, and health-api never sends a value for one. */
    if (strcmp(sqlstate, "08P01") == 0)
        return REASON_QUERY_ERROR;
    /* A missing file is damage if it is in the data directory, or if the message does not name it: the path
     * of a pg_xact file is only in the detail (slru.c). Otherwise it is the library of an extension. */
    static const struct phrase data[] = {{"base/", REASON_CORRUPT},      {"global/", REASON_CORRUPT},
                                         {"pg_tblspc/", REASON_CORRUPT}, {"pg_wal/", REASON_CORRUPT},
                                         {"pg_xact/", REASON_CORRUPT},   {"pg_multixact/", REASON_CORRUPT},
                                         {"pg_logical/", REASON_CORRUPT}};
    if (strcmp(sqlstate, "58P01") == 0 && strpbrk(message, "/\"") != NULL)
        return FIND_PHRASE(message, data, REASON_SCHEMA);
    return reason_from_sqlstate(sqlstate);
}

bool errors_parse_count(unsigned int type_oid, const char *text, size_t len, int64_t *out)
{
    /* PostgreSQL never changes these numbers (src/include/catalog/pg_type.dat). */
    enum { INT8 = 20, INT2 = 21, INT4 = 23, OID = 26, NUMERIC = 1700 };
    bool is_integer =
        type_oid == INT8 || type_oid == INT2 || type_oid == INT4 || type_oid == OID || type_oid == NUMERIC;
    int64_t value = 0;

    if (!is_integer || len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        int64_t digit = text[i] - '0';
        if (!isdigit((unsigned char)text[i]) || value > (INT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}
