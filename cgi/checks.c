/* Reads a checks file: annotations in comments, a statement behind each header. Never judges the SQL itself.
 * Any thread; owns nothing but what it returns. */
#include "cgi/checks.h"

#include "cgi/sqlscan.h"
#include "common/buf.h"
#include "common/quantity.h"
#include "common/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define EVERY_MIN_MS   INT64_C(100)
#define EVERY_MAX_MS   (24 * HOUR_MS)
#define TIMEOUT_MIN_MS INT64_C(1)
#define TIMEOUT_MAX_MS (5 * MINUTE_MS)

/* Longer values are no valid ones: a name has at most 63 bytes, an int64 19 digits. */
#define WORD_SIZE 64

/* How much of the file an error shows. */
#define QUOTE_MAX 40

enum place {
    BEFORE_FIRST,    /* no "-- check:" yet */
    IN_HEADER,       /* behind it, its statement has not begun */
    IN_STATEMENT,    /* not ended with ';' yet */
    AFTER_STATEMENT, /* ended */
};

struct parser {
    struct sqlscan scan;
    enum place place;
    const char *sql;     /* first byte of the statement */
    const char *sql_end; /* behind its last token */
    unsigned seen;       /* annotations of the current check, a bit for each enum key */
    const char *file;
    struct checks *checks;
    struct error *err;
};

enum key { KEY_EVERY, KEY_TIMEOUT, KEY_MIN, KEY_MAX, KEY_SEVERITY, KEY_COUNT };

static const struct {
    const char *name;
    const char *expected;
} keys[KEY_COUNT] = {
    [KEY_EVERY] = {"every", "a duration with its unit from 100ms to 24h"},
    [KEY_TIMEOUT] = {"timeout", "a duration with its unit from 1ms to 5m"},
    [KEY_MIN] = {"min", "a number from 0 to 9223372036854775807"},
    [KEY_MAX] = {"max", "a number from 0 to 9223372036854775807"},
    [KEY_SEVERITY] = {"severity", "warn or fail"},
};

static const char *const reserved_names[] = {"database", "process", "backend"};

/* Part of the file, as an error shows it. */
struct quoted {
    char text[QUOTE_MAX + sizeof "..."];
};

static struct quoted quote(const char *bytes, size_t len)
{
    struct quoted q;
    size_t kept = len;
    if (len > QUOTE_MAX) {
        kept = QUOTE_MAX;
        while (kept > 0 && ((unsigned char)bytes[kept] & 0xC0) == 0x80)
            kept--; /* not in the middle of a UTF-8 sequence */
    }
    snprintf(q.text, sizeof q.text, "%.*s%s", (int)kept, bytes, kept < len ? "..." : "");
    return q;
}

/* Fills the error and returns false. */
__attribute__((format(printf, 3, 4))) static bool fail(struct parser *p, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_vset_at(p->err, p->file, line, format, args);
    va_end(args);
    return false;
}

static struct check *current(struct parser *p)
{
    return &p->checks->items[p->checks->count - 1];
}

/* Also skips a byte order mark, which editors on Windows write. */
static bool check_encoding(struct parser *p)
{
    const char *at = p->scan.at;
    size_t left = (size_t)(p->scan.end - at);
    int line = 1;
    if (left > CHECKS_FILE_MAX)
        return fail(p, line, "larger than %d bytes", CHECKS_FILE_MAX);
    if (left >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0)
        p->scan.at += 3;
    while (left > 0) {
        size_t len = text_utf8_len(at, left);
        if (len == 0 && *at == '\0')
            return fail(p, line, "NUL byte, expected text");
        if (len == 0)
            return fail(p, line, "byte 0x%02x is not valid UTF-8", (unsigned)(unsigned char)*at);
        line += *at == '\n';
        at += len;
        left -= len;
    }
    return true;
}

/* A line comment of the form "-- key: value". */
struct annotation {
    const char *key;
    size_t key_len;
    char value[WORD_SIZE]; /* the first word behind the colon; "" when there is none or it is too long */
    struct quoted shown;   /* all behind the colon */
    bool is_glued;         /* no space behind the colon: an ordinary comment unless the key is one of ours */
    bool has_more;         /* a second word that is not set off as a remark */
};

/* Takes [at, end), what stands behind "--". False: an ordinary comment. */
static bool read_annotation(const char *at, const char *end, struct annotation *out)
{
    while (at < end && sqlscan_is_space(*at))
        at++;
    while (end > at && sqlscan_is_space(end[-1]))
        end--;
    out->key = at;
    while (at < end && (islower((unsigned char)*at) || (*at == '_' && at > out->key)))
        at++;
    out->key_len = (size_t)(at - out->key);
    if (out->key_len == 0 || at == end || *at != ':')
        return false;
    at++;
    out->is_glued = at < end && !sqlscan_is_space(*at);
    while (at < end && sqlscan_is_space(*at))
        at++;
    const char *word = at;
    while (at < end && !sqlscan_is_space(*at))
        at++;
    size_t word_len = (size_t)(at - word);
    out->shown = quote(word, (size_t)(end - word));
    out->value[0] = '\0';
    if (word_len < WORD_SIZE)
        snprintf(out->value, sizeof out->value, "%.*s", (int)word_len, word);
    out->has_more = at < end && *at == ' ' && !sqlscan_is_space(at[1]);
    return true;
}

static bool key_is(const struct annotation *a, const char *name)
{
    return strlen(name) == a->key_len && memcmp(name, a->key, a->key_len) == 0;
}

static bool is_check_name(const char *name)
{
    if (!islower((unsigned char)*name))
        return false;
    while (islower((unsigned char)*name) || isdigit((unsigned char)*name) || *name == '_')
        name++;
    return *name == '\0';
}

static bool check_name_is_free(struct parser *p, const char *name)
{
    for (size_t i = 0; i < sizeof reserved_names / sizeof reserved_names[0]; i++)
        if (strcmp(name, reserved_names[i]) == 0)
            return fail(p, p->scan.token_line, "check '%s': the name is reserved, choose another", name);
    for (size_t i = 0; i < p->checks->count; i++) {
        if (strcmp(name, p->checks->items[i].name) == 0)
            return fail(p, p->scan.token_line, "check '%s' is already defined in line %d", name,
                        p->checks->items[i].line);
    }
    return true;
}

static bool fail_before_first(struct parser *p)
{
    return fail(p, p->scan.token_line, "statement before any '-- check: NAME'");
}

static bool fail_without_statement(struct parser *p)
{
    return fail(p, current(p)->line, "check '%s' has no statement", current(p)->name);
}

static bool check_one_word(struct parser *p, const struct annotation *a)
{
    return !a->has_more ||
           fail(p, p->scan.token_line, "%.*s '%s': expected one word; two spaces set off a remark",
                (int)a->key_len, a->key, a->shown.text);
}

static bool begin_check(struct parser *p, const struct annotation *a)
{
    if (p->place == IN_HEADER)
        return fail_without_statement(p);
    if (p->place == IN_STATEMENT)
        return fail(p, p->scan.token_line,
                    "the statement of check '%s' (line %d) is not ended with ';' before the next check",
                    current(p)->name, current(p)->line);
    if (!check_one_word(p, a))
        return false;
    if (!is_check_name(a->value))
        return fail(p, p->scan.token_line,
                    "check '%s': expected a name of a-z, 0-9 and _, at most 63, a letter first",
                    a->shown.text);
    if (!check_name_is_free(p, a->value))
        return false;
    if (p->checks->count == CHECKS_MAX)
        return fail(p, p->scan.token_line, "check '%s': expected at most %d checks", a->value, CHECKS_MAX);
    struct check *check = &p->checks->items[p->checks->count++];
    *check = (struct check){.max = INT64_MAX, .severity = CHECK_FAIL, .line = p->scan.token_line};
    memcpy(check->name, a->value, sizeof check->name);
    p->place = IN_HEADER;
    p->seen = 0;
    return true;
}

static bool parse_duration(const char *text, int64_t min_ms, int64_t max_ms, int64_t *out)
{
    return quantity_parse_duration(text, out) && *out >= min_ms && *out <= max_ms;
}

static bool parse_severity(const char *text, enum check_severity *out)
{
    *out = strcmp(text, "warn") == 0 ? CHECK_WARN : CHECK_FAIL;
    return *out == CHECK_WARN || strcmp(text, "fail") == 0;
}

static bool set_annotation(struct check *check, enum key key, const char *value)
{
    switch (key) {
    case KEY_EVERY: return parse_duration(value, EVERY_MIN_MS, EVERY_MAX_MS, &check->every_ms);
    case KEY_TIMEOUT: return parse_duration(value, TIMEOUT_MIN_MS, TIMEOUT_MAX_MS, &check->timeout_ms);
    case KEY_MIN: return quantity_parse_count(value, &check->min);
    case KEY_MAX: return quantity_parse_count(value, &check->max);
    case KEY_SEVERITY: return parse_severity(value, &check->severity);
    case KEY_COUNT: break;
    }
    return false;
}

/* An annotation with a known key, or in a header with any. */
static bool take_annotation(struct parser *p, enum key key, const struct annotation *a)
{
    if (p->place != IN_HEADER)
        return fail(p, p->scan.token_line, "annotation '%s' must stand between '-- check:' and its statement",
                    keys[key].name);
    if (key == KEY_COUNT)
        return fail(p, p->scan.token_line,
                    "unknown annotation '%s', expected every, timeout, min, max or severity",
                    quote(a->key, a->key_len).text);
    if (p->seen & 1U << key)
        return fail(p, p->scan.token_line, "annotation '%s' stands twice in check '%s'", keys[key].name,
                    current(p)->name);
    if (!check_one_word(p, a))
        return false;
    if (!set_annotation(current(p), key, a->value))
        return fail(p, p->scan.token_line, "%s '%s': expected %s", keys[key].name, a->shown.text,
                    keys[key].expected);
    if (current(p)->min > current(p)->max)
        return fail(p, p->scan.token_line, "min %" PRId64 " of check '%s' is above its max %" PRId64,
                    current(p)->min, current(p)->name, current(p)->max);
    p->seen |= 1U << key;
    return true;
}

static bool take_line_comment(struct parser *p)
{
    struct annotation a;
    if (!read_annotation(p->scan.token + strlen("--"), p->scan.at, &a))
        return true;
    bool is_check = key_is(&a, "check");
    enum key key = 0;
    while (key < KEY_COUNT && !key_is(&a, keys[key].name))
        key++;
    if (!is_check && key == KEY_COUNT && (a.is_glued || p->place != IN_HEADER))
        return true;
    if (a.is_glued)
        return fail(p, p->scan.token_line, "annotation '%.*s:' needs a space before its value",
                    (int)a.key_len, a.key);
    return is_check ? begin_check(p, &a) : take_annotation(p, key, &a);
}

static bool take_token(struct parser *p)
{
    if (p->place == BEFORE_FIRST)
        return fail_before_first(p);
    if (p->place == AFTER_STATEMENT)
        return fail(p, p->scan.token_line, "second statement under check '%s' (line %d)", current(p)->name,
                    current(p)->line);
    if (p->place == IN_HEADER) {
        p->place = IN_STATEMENT;
        p->sql = p->scan.token;
    }
    p->sql_end = p->scan.at;
    return true;
}

/* At a semicolon or the end of the file. */
static bool end_statement(struct parser *p)
{
    if (p->place == BEFORE_FIRST)
        return fail_before_first(p);
    if (p->place == IN_HEADER)
        return fail_without_statement(p);
    if (p->place == IN_STATEMENT) {
        size_t len = (size_t)(p->sql_end - p->sql);
        current(p)->sql = mem_calloc(len + 1, 1);
        memcpy(current(p)->sql, p->sql, len);
        p->place = AFTER_STATEMENT;
    }
    return true;
}

static bool parse_file(struct parser *p)
{
    for (;;) {
        bool ok = true;
        switch (sqlscan_next(&p->scan)) {
        case SQLSCAN_LINE_COMMENT: ok = take_line_comment(p); break;
        case SQLSCAN_BLOCK_COMMENT: break;
        case SQLSCAN_TOKEN: ok = take_token(p); break;
        case SQLSCAN_SEMICOLON: ok = end_statement(p); break;
        case SQLSCAN_BAD:
            return fail(p, p->scan.token_line, "%s: %s", p->scan.why,
                        quote(p->scan.token, (size_t)(p->scan.end - p->scan.token)).text);
        case SQLSCAN_END:
            if (p->place == BEFORE_FIRST)
                return fail(p, 1, "no check, expected '-- check: NAME' and a statement");
            return end_statement(p);
        }
        if (!ok)
            return false;
    }
}

bool checks_parse(const char *text, size_t len, const char *file, struct checks *out, struct error *err)
{
    *out = (struct checks){.items = mem_calloc(CHECKS_MAX, sizeof(struct check))};
    struct parser p = {
        .scan = {.at = text, .end = text + len, .line = 1},
        .file = file,
        .checks = out,
        .err = err,
    };
    if (check_encoding(&p) && parse_file(&p))
        return true;
    checks_free(out);
    return false;
}

void checks_free(struct checks *checks)
{
    for (size_t i = 0; i < checks->count; i++)
        free(checks->items[i].sql);
    free(checks->items);
    *checks = (struct checks){0};
}
