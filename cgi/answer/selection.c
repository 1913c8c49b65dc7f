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

/* False: there is no such name. */
static bool select_name(struct selection *selection, const char *name, const struct snapshot *snapshot)
{
    if (strcmp(name, SELECTION_PROCESS) == 0) {
        selection->process = true;
        return true;
    }
    if (strcmp(name, SNAPSHOT_DATABASE) == 0) {
        selection->database = true;
        return true;
    }
    for (size_t i = 0; i < snapshot->check_count; i++) {
        if (strcmp(name, snapshot->checks[i].name) == 0) {
            selection->checks[i] = true;
            selection->database = true;
            return true;
        }
    }
    return false;
}

/* Reads one parameter, NAME=VALUE. */
static enum selection_result read_parameter(const char *text, size_t len, const struct snapshot *snapshot,
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
    return decode(equals + 1, value_len, value, sizeof value) && select_name(out, value, snapshot)
               ? SELECTION_MADE
               : SELECTION_UNKNOWN;
}

enum selection_result selection_read(const char *query, const struct snapshot *snapshot,
                                     struct selection *out)
{
    static const struct snapshot no_names; /* after an error no name matters */
    enum selection_result result = SELECTION_ABSENT;
    size_t count = 0;

    if (!is_well_formed(query))
        return SELECTION_MALFORMED;
    *out = (struct selection){0};
    for (const char *text = query; *text != '\0';) {
        size_t len = strcspn(text, "&");
        enum selection_result next =
            read_parameter(text, len, result <= SELECTION_MADE ? snapshot : &no_names, out);
        count += next != SELECTION_ABSENT;
        if (count > SELECTION_MAX && next < SELECTION_TOO_MANY)
            next = SELECTION_TOO_MANY;
        if (next > result)
            result = next;
        text += len + (text[len] == '&');
    }
    return result;
}
