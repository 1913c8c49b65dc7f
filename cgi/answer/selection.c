/* Reads only= from a query string. A parameter may be repeated, and percent-encoded in any place. */
#include "cgi/answer/selection.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#define PARAMETER "only"

/* Accepts printable characters that a strict client would have encoded. */
static bool is_well_formed(const char *query)
{
    for (const unsigned char *p = (const unsigned char *)query; *p != '\0'; p++) {
        if (*p <= 0x20 || *p >= 0x7f)
            return false;
        if (*p != '%')
            continue;
        if (!isxdigit(p[1]) || !isxdigit(p[2]))
            return false;
        bool is_control = (p[1] == '0' || p[1] == '1') || (p[1] == '7' && tolower(p[2]) == 'f');
        if (is_control)
            return false;
        p += 2;
    }
    return true;
}

static unsigned hex_value(char digit)
{
    return (unsigned)(isdigit((unsigned char)digit) ? digit - '0' : tolower((unsigned char)digit) - 'a' + 10);
}

/* Decodes len bytes of a well-formed query string into a string. False: it does not fit into out. */
static bool decode(const char *text, size_t len, char *out, size_t out_size)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        if (used + 1 >= out_size)
            return false;
        out[used] = text[i];
        if (text[i] == '%') {
            out[used] = (char)(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]));
            i += 2;
        }
        used++;
    }
    out[used] = '\0';
    return true;
}

/* The checks that a query may name. One query may name 258 of 256 checks. Their hashes are compared first,
 * because the results of that many checks do not fit into the cache of a core. */
struct names {
    const struct snapshot *snapshot;
    size_t count; /* 0: not hashed yet */
    uint32_t hashes[CHECKS_MAX];
};

/* FNV-1a. */
static uint32_t hash_of(const char *name)
{
    uint32_t hash = 2166136261U;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619U;
    return hash;
}

static void hash_names(struct names *names)
{
    names->count = names->snapshot->check_count;
    for (size_t i = 0; i < names->count; i++)
        names->hashes[i] = hash_of(names->snapshot->checks[i].name);
}

/* False: there is no such name. */
static bool select_name(struct selection *selection, const char *name, struct names *names)
{
    if (names == NULL)
        return false;
    if (strcmp(name, SELECTION_PROCESS) == 0) {
        selection->process = true;
        return true;
    }
    if (strcmp(name, SNAPSHOT_DATABASE) == 0) {
        selection->database = true;
        return true;
    }
    uint32_t hash = hash_of(name);
    if (names->count == 0)
        hash_names(names);
    for (size_t i = 0; i < names->count; i++) {
        if (names->hashes[i] == hash && strcmp(name, names->snapshot->checks[i].name) == 0) {
            selection->checks[i] = true;
            selection->database = true;
            return true;
        }
    }
    return false;
}

/* Reads one parameter, NAME=VALUE. names is NULL after an error, when no name matters any more. */
static enum selection_result read_parameter(const char *text, size_t len, struct names *names,
                                            struct selection *out)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals != NULL ? (size_t)(equals - text) : len;
    size_t value_len = equals != NULL ? len - name_len - 1 : 0;
    char name[sizeof PARAMETER];
    char value[CHECK_NAME_SIZE];

    if (!decode(text, name_len, name, sizeof name) || strcmp(name, PARAMETER) != 0)
        return SELECTION_ABSENT;
    if (value_len == 0)
        return SELECTION_EMPTY;
    return decode(equals + 1, value_len, value, sizeof value) && select_name(out, value, names)
               ? SELECTION_MADE
               : SELECTION_UNKNOWN;
}

enum selection_result selection_read(const char *query, const struct snapshot *snapshot,
                                     struct selection *out)
{
    enum selection_result result = SELECTION_ABSENT;
    size_t count = 0;
    struct names names = {.snapshot = snapshot};

    if (!is_well_formed(query))
        return SELECTION_MALFORMED;
    *out = (struct selection){0};
    for (const char *text = query; *text != '\0';) {
        size_t len = strcspn(text, "&");
        enum selection_result next = read_parameter(text, len, result <= SELECTION_MADE ? &names : NULL, out);
        count += next != SELECTION_ABSENT;
        if (count > SELECTION_MAX && next < SELECTION_TOO_MANY)
            next = SELECTION_TOO_MANY;
        if (next > result)
            result = next;
        text += len + (text[len] == '&');
    }
    return result;
}
