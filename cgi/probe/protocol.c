/* Pure functions over a peer's bytes and libpq's texts. Prober thread. */
#include "cgi/probe/protocol.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The limits that libpq itself has for the first message (fe-connect.c): shorter or longer is a peer that
 * does not speak version 3. */
#define FIRST_MESSAGE_MIN 8
#define FIRST_MESSAGE_MAX 30000

bool protocol_judge_first_bytes(const unsigned char *bytes, size_t len, enum protocol_stage *stage)
{
    switch (bytes[0]) {
    case 'S': /* yes to an SSLRequest */
    case 'G': /* yes to a GSSENCRequest */ *stage = PROTOCOL_SETTLED; return true;
    case 'N': /* no to one; the server's real first message follows */ return true;
    case 'R': /* Authentication */
    case 'E': /* ErrorResponse */
    case 'v': /* NegotiateProtocolVersion */ break;
    default: return false;
    }
    *stage = PROTOCOL_SETTLED;
    if (len < 5)
        return true; /* libpq is about to read these few, and judges the rest */
    uint32_t length =
        (uint32_t)bytes[1] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 8 | (uint32_t)bytes[4];
    return length >= FIRST_MESSAGE_MIN && length <= FIRST_MESSAGE_MAX;
}

void protocol_find_sqlstate(const char *message, char sqlstate[static 6])
{
    static const char behind_severity[] = ":  "; /* the word before it is in the server's language */

    sqlstate[0] = '\0';
    for (const char *p = message; (p = strstr(p, behind_severity)) != NULL;) {
        p += strlen(behind_severity);
        if (strspn(p, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && (p[5] == '\0' || p[5] == '\n'))
            snprintf(sqlstate, 6, "%.5s", p);
    }
}

bool protocol_is_violation(const char *message)
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

bool protocol_is_refusal(const char *message)
{
    return strstr(message, "Connection refused") != NULL ||
           strstr(message, "No such file or directory") != NULL;
}

bool protocol_parse_count(unsigned int type_oid, const char *text, size_t len, int64_t *out)
{
    /* src/include/catalog/pg_type.dat; the numbers are fixed for good. */
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
