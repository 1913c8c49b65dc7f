/* The SQL scanner, after PostgreSQL's scan.l with standard_conforming_strings on. Any thread; owns nothing.
 */
#include "cgi/sqlscan.h"

#include <ctype.h>
#include <string.h>

static void advance(struct sqlscan *s, size_t len)
{
    for (; len > 0; len--)
        s->line += *s->at++ == '\n';
}

static bool starts_with(const struct sqlscan *s, const char *text)
{
    size_t len = strlen(text);
    return (size_t)(s->end - s->at) >= len && memcmp(s->at, text, len) == 0;
}

bool sqlscan_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static bool is_ident_start(char c)
{
    return isalpha((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_tag_part(char c)
{
    return is_ident_start(c) || isdigit((unsigned char)c);
}

static enum sqlscan_kind bad(struct sqlscan *s, const char *why)
{
    s->why = why;
    return SQLSCAN_BAD;
}

static enum sqlscan_kind take_line_comment(struct sqlscan *s)
{
    while (s->at < s->end && *s->at != '\n' && *s->at != '\r')
        s->at++;
    return SQLSCAN_LINE_COMMENT;
}

static enum sqlscan_kind take_block_comment(struct sqlscan *s)
{
    size_t depth = 0;
    do {
        size_t len = 1;
        if (s->at == s->end)
            return bad(s, "comment without its end");
        if (starts_with(s, "/*")) {
            depth++;
            len = 2;
        } else if (starts_with(s, "*/")) {
            depth--;
            len = 2;
        }
        advance(s, len);
    } while (depth > 0);
    return SQLSCAN_BLOCK_COMMENT;
}

/* Takes '...' or "..." with its doubled quotes and, if escapes is set, what a backslash escapes. */
static enum sqlscan_kind take_quoted(struct sqlscan *s, bool escapes)
{
    char mark = *s->at;
    advance(s, 1);
    while (s->at < s->end) {
        bool has_next = s->at + 1 < s->end;
        if (has_next && ((escapes && *s->at == '\\') || (*s->at == mark && s->at[1] == mark))) {
            advance(s, 2);
            continue;
        }
        bool is_end = *s->at == mark;
        advance(s, 1);
        if (is_end)
            return SQLSCAN_TOKEN;
    }
    return bad(s, "quote without its end");
}

/* Takes $tag$...$tag$, or only the '$' when it begins no such quote. */
static enum sqlscan_kind take_dollar(struct sqlscan *s)
{
    const char *tag = s->at;
    const char *body = tag + 1;
    if (body < s->end && is_ident_start(*body))
        while (body < s->end && is_tag_part(*body))
            body++;
    if (body == s->end || *body != '$') {
        advance(s, 1);
        return SQLSCAN_TOKEN;
    }
    body++;
    size_t tag_len = (size_t)(body - tag);
    const char *close = memmem(body, (size_t)(s->end - body), tag, tag_len);
    if (close == NULL)
        return bad(s, "dollar quote without its end");
    advance(s, (size_t)(close - tag) + tag_len);
    return SQLSCAN_TOKEN;
}

static enum sqlscan_kind take_identifier(struct sqlscan *s)
{
    while (s->at < s->end && (is_tag_part(*s->at) || *s->at == '$'))
        s->at++;
    return SQLSCAN_TOKEN;
}

static enum sqlscan_kind take_token(struct sqlscan *s)
{
    bool escapes = false;
    enum sqlscan_kind kind = SQLSCAN_TOKEN;
    if (*s->at == '\\')
        return bad(s, "backslash outside of quotes (a command of psql is no SQL)");
    if (starts_with(s, "E'") || starts_with(s, "e'")) {
        advance(s, 1);
        escapes = true;
        kind = take_quoted(s, escapes);
    } else if (*s->at == '\'') {
        /* A string on the line after E'...' continues it, with its escapes (manual, 4.1.2.2). */
        escapes = s->after_escape_string;
        kind = take_quoted(s, escapes);
    } else if (*s->at == '"') {
        kind = take_quoted(s, false);
    } else if (*s->at == '$') {
        kind = take_dollar(s);
    } else if (is_ident_start(*s->at)) {
        kind = take_identifier(s);
    } else {
        advance(s, 1);
    }
    s->after_escape_string = escapes;
    return kind;
}

enum sqlscan_kind sqlscan_next(struct sqlscan *s)
{
    while (s->at < s->end && sqlscan_is_space(*s->at))
        advance(s, 1);
    s->token = s->at;
    s->token_line = s->line;
    if (s->at == s->end)
        return SQLSCAN_END;
    if (starts_with(s, "--"))
        return take_line_comment(s);
    if (starts_with(s, "/*"))
        return take_block_comment(s);
    if (*s->at != ';')
        return take_token(s);
    advance(s, 1);
    s->after_escape_string = false;
    return SQLSCAN_SEMICOLON;
}
