/* Reads a checks file: annotations in comments, a statement behind each header. Never judges the SQL itself.
 * Any thread; owns nothing but what it returns. */
#include "cgi/checks.h"

#include "cgi/sqlscan.h"
#include "common/buf.h"
#include "common/quantity.h"
#include "common/setting.h"
#include "common/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
    unsigned seen;       /* a bit for each of the annotations of the current check */
    const char *file;
    struct checks *checks;
    struct error *err;
};

#define FIELD(member) offsetof(struct check, member)

static const char *const severity_words[] = {[CHECK_FAIL] = "fail", [CHECK_WARN] = "warn"};

static const struct setting annotations[] = {
    {"every", SETTING_DURATION, FIELD(every_ms), .min = 100, .max = 24 * HOUR_MS},
    {"timeout", SETTING_DURATION, FIELD(timeout_ms), .min = 1, .max = 5 * MINUTE_MS},
    {"min", SETTING_COUNT, FIELD(min), .max = INT64_MAX},
    {"max", SETTING_COUNT, FIELD(max), .max = INT64_MAX},
    {"severity", SETTING_WORD, FIELD(severity), .min = CHECK_WARN, .max = CHECK_FAIL,
     .words = severity_words},
    {"fall", SETTING_COUNT, FIELD(fall), .min = 1, .max = 100},
    {"rise", SETTING_COUNT, FIELD(rise), .min = 1, .max = 100},
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

/* An annotation with a known key, or in a header with any. */
static bool take_annotation(struct parser *p, const struct setting *row, const struct annotation *a)
{
    struct error expected = {0};
    if (p->place != IN_HEADER)
        return fail(p, p->scan.token_line, "annotation '%s' must stand between '-- check:' and its statement",
                    row->name);
    if (row == NULL)
        return fail(p, p->scan.token_line,
                    "unknown annotation '%s', expected every, timeout, min, max, severity, fall or rise",
                    quote(a->key, a->key_len).text);
    unsigned bit = 1U << (row - annotations);
    if (p->seen & bit)
        return fail(p, p->scan.token_line, "annotation '%s' stands twice in check '%s'", row->name,
                    current(p)->name);
    if (!check_one_word(p, a))
        return false;
    if (!setting_set(row, a->value, current(p), &expected))
        return fail(p, p->scan.token_line, "%s '%s': expected %s", row->name, a->shown.text, expected.text);
    if (current(p)->min > current(p)->max)
        return fail(p, p->scan.token_line, "min %" PRId64 " of check '%s' is above its max %" PRId64,
                    current(p)->min, current(p)->name, current(p)->max);
    p->seen |= bit;
    return true;
}

static bool take_line_comment(struct parser *p)
{
    struct annotation a;
    if (!read_annotation(p->scan.token + strlen("--"), p->scan.at, &a))
        return true;
    bool is_check = a.key_len == strlen("check") && memcmp(a.key, "check", a.key_len) == 0;
    const struct setting *row =
        setting_find(annotations, sizeof annotations / sizeof annotations[0], a.key, a.key_len);
    if (!is_check && row == NULL && (a.is_glued || p->place != IN_HEADER))
        return true;
    if (a.is_glued)
        return fail(p, p->scan.token_line, "annotation '%.*s:' needs a space before its value",
                    (int)a.key_len, a.key);
    return is_check ? begin_check(p, &a) : take_annotation(p, row, &a);
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
