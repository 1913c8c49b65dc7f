/* Reads a checks file line by line. It knows the comments, the quotes and the ';' of SQL, and leaves the rest
 * to the server. A comment that looks like an annotation is one or is an error, so no limit is ever ignored
 * silently. Runs on any thread; owns only what it returns. */
#include "cgi/checks.h"

#include "common/buf.h"
#include "common/quantity.h"
#include "common/setting.h"
#include "common/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A longer value cannot be valid: a name has at most 63 bytes, an int64 has 19 digits. */
#define WORD_SIZE 64

/* How much of the file an error shows. */
#define QUOTE_MAX 40

#define BLANKS "\t\n\v\f\r "
#define LOWER  "abcdefghijklmnopqrstuvwxyz_"
#define WORD   LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
/* U+00A0. Some editors and web pages insert it for a space. */
#define NO_BREAK_SPACE "\xC2\xA0"

enum place {
    BEFORE_FIRST, /* the file has had no "-- check:" yet */
    IN_HEADER,    /* after "-- check:", before the statement */
    IN_STATEMENT,
    AFTER_STATEMENT, /* its ';' was there */
};

struct parser {
    const char *text;
    char *copy; /* of text; the parser writes NUL bytes into it */
    int line;
    enum place place;
    int depth;                 /* how many block comments are open (they nest); 0: none */
    int comment_line;          /* where it began */
    char quote_end[WORD_SIZE]; /* what closes the open quote; "": none is open */
    bool has_escapes;          /* that quote is an E'...' */
    size_t sql;                /* offset of the statement in the text */
    size_t sql_end;            /* offset after its last character so far */
    unsigned seen;             /* one bit for each annotation that the current check has had */
    const char *file;
    struct checks *checks;
    struct error *err;
};

#define FIELD(member) offsetof(struct check, member)

static const char *const severity_words[] = {[CHECK_FAIL] = "fail", [CHECK_WARN] = "warn"};

static const struct setting annotations[] = {
    {"check", .kind = SETTING_TEXT}, /* begins a check */
    {"every", SETTING_DURATION, FIELD(every_ms), .min = 100, .max = 24 * HOUR_MS},
    {"timeout", SETTING_DURATION, FIELD(timeout_ms), .min = 1, .max = 5 * MINUTE_MS},
    {"min", SETTING_COUNT, FIELD(min), .max = INT64_MAX},
    {"max", SETTING_COUNT, FIELD(max), .max = INT64_MAX},
    {"severity", SETTING_WORD, FIELD(severity), .min = CHECK_FAIL, .max = CHECK_WARN,
     .words = severity_words},
    {"fall", SETTING_COUNT, FIELD(fall), .min = 1, .max = 100},
    {"rise", SETTING_COUNT, FIELD(rise), .min = 1, .max = 100},
};

#define BEGINS_CHECK (&annotations[0])

static const char *const reserved_names[] = {"database", "process", "backend"};

/* A part of the file, shortened for an error message. */
struct quoted {
    char text[QUOTE_MAX + sizeof "..."];
};

static struct quoted quote(const char *text)
{
    struct quoted q;
    size_t len = strlen(text);
    while (len > 0 && strchr(BLANKS, text[len - 1]) != NULL)
        len--;
    size_t kept = len;
    if (len > QUOTE_MAX) {
        kept = QUOTE_MAX;
        while (kept > 0 && ((unsigned char)text[kept] & 0xC0) == 0x80)
            kept--; /* never cut a UTF-8 sequence */
    }
    snprintf(q.text, sizeof q.text, "%.*s%s", (int)kept, text, kept < len ? "..." : "");
    return q;
}

/* Always returns false. */
__attribute__((format(printf, 3, 4))) static bool fail_at(struct parser *p, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_vset_at(p->err, p->file, line, format, args);
    va_end(args);
    return false;
}

#define FAIL(p, ...) fail_at((p), (p)->line, __VA_ARGS__)

static struct check *current(struct parser *p)
{
    return &p->checks->items[p->checks->count - 1];
}

static bool check_encoding(struct parser *p, size_t len)
{
    const char *at = p->text;
    int line = 1;
    if (len > CHECKS_FILE_MAX)
        return fail_at(p, line, "larger than %d bytes", CHECKS_FILE_MAX);
    for (const char *end = at + len; at < end;) {
        size_t char_len = text_utf8_len(at, (size_t)(end - at));
        if (char_len == 0 && *at == '\0')
            return fail_at(p, line, "NUL byte, expected text");
        if (char_len == 0)
            return fail_at(p, line, "byte 0x%02x is not valid UTF-8", (unsigned)(unsigned char)*at);
        line += *at == '\n';
        at += char_len;
    }
    return true;
}

/* A comment that may be an annotation. */
struct comment {
    const char *text;
    const char *key;
    size_t key_len;
    const struct setting *row; /* the annotation with that key, in upper or lower case; NULL: none */
    bool is_exact;             /* it is "-- key:" in lower case, with a blank or nothing after the colon */
    bool is_assignment;        /* ':' or '=' follows the key, perhaps after blanks */
};

/* text is what follows the dashes. An annotation after a second pair of dashes is commented out. */
static struct comment read_comment(const char *text)
{
    struct comment c = {.text = text + strspn(text, BLANKS)};
    if (strncmp(c.text, "--", 2) == 0)
        return c;
    c.key = c.text;
    while (c.key - c.text < WORD_SIZE && *c.key != '\0' && strchr(WORD, *c.key) == NULL)
        c.key++;
    c.key_len = strspn(c.key, WORD);
    for (size_t i = 0; i < sizeof annotations / sizeof annotations[0]; i++)
        if (strlen(annotations[i].name) == c.key_len &&
            strncasecmp(c.key, annotations[i].name, c.key_len) == 0)
            c.row = &annotations[i];
    const char *next = c.key + c.key_len;
    c.is_exact = c.key == c.text && *c.key != '_' && strspn(c.key, LOWER) == c.key_len && *next == ':' &&
                 strchr(BLANKS, next[1]) != NULL; /* strchr also finds the NUL */
    next += strspn(next, BLANKS NO_BREAK_SPACE);
    c.is_assignment = *next == ':' || *next == '=';
    return c;
}

/* The value of an annotation: one word, then perhaps two spaces and a remark. */
struct value {
    char word[WORD_SIZE]; /* "": there is none, or it is too long */
    struct quoted shown;  /* everything after the colon */
    bool has_more;        /* a second word follows after only one space, or another annotation follows */
};

static struct value read_value(const struct comment *c)
{
    const char *at = c->key + c->key_len + strlen(":");
    at += strspn(at, BLANKS);
    size_t len = strcspn(at, BLANKS);
    struct value v = {.shown = quote(at)};
    snprintf(v.word, sizeof v.word, "%.*s", len < WORD_SIZE ? (int)len : 0, at);
    const struct comment remark = read_comment(at + len + strspn(at + len, BLANKS "-"));
    v.has_more = (at[len] == ' ' && strchr(BLANKS, at[len + 1]) == NULL) ||
                 (remark.row != NULL && remark.is_assignment);
    return v;
}

static bool is_check_name(const char *name)
{
    return *name >= 'a' && *name <= 'z' && name[strspn(name, LOWER "0123456789")] == '\0';
}

static bool check_name_is_free(struct parser *p, const char *name)
{
    for (size_t i = 0; i < sizeof reserved_names / sizeof reserved_names[0]; i++)
        if (strcmp(name, reserved_names[i]) == 0)
            return FAIL(p, "check '%s': the name is reserved, choose another", name);
    for (size_t i = 0; i < p->checks->count; i++)
        if (strcmp(name, p->checks->items[i].name) == 0)
            return FAIL(p, "check '%s' is already defined in line %d", name, p->checks->items[i].line);
    return true;
}

static bool fail_without_statement(struct parser *p)
{
    return fail_at(p, current(p)->line, "check '%s' has no statement", current(p)->name);
}

/* Called at the next "-- check:" and at the end of the file. */
static bool end_check(struct parser *p)
{
    if (p->place == BEFORE_FIRST)
        return true;
    if (p->place == IN_HEADER)
        return fail_without_statement(p);
    if (p->place == IN_STATEMENT)
        return FAIL(p, "the statement of check '%s' (line %d) does not end with ';'", current(p)->name,
                    current(p)->line);
    current(p)->sql = mem_calloc(p->sql_end - p->sql + 1, 1);
    memcpy(current(p)->sql, p->text + p->sql, p->sql_end - p->sql);
    return true;
}

static bool begin_check(struct parser *p, const struct value *v)
{
    if (!end_check(p))
        return false;
    if (!is_check_name(v->word))
        return FAIL(p, "check '%s': expected a name: a letter, then at most 62 of a-z, 0-9 and _",
                    v->shown.text);
    if (!check_name_is_free(p, v->word))
        return false;
    if (p->checks->count == CHECKS_MAX)
        return FAIL(p, "check '%s': expected at most %d checks", v->word, CHECKS_MAX);
    struct check *check = &p->checks->items[p->checks->count++];
    *check = (struct check){.max = INT64_MAX, .severity = CHECK_FAIL, .line = p->line};
    memcpy(check->name, v->word, sizeof check->name);
    p->place = IN_HEADER;
    p->seen = 0;
    return true;
}

static bool fail_misplaced(struct parser *p, const struct setting *row)
{
    if (row == BEGINS_CHECK)
        return FAIL(p, "'-- check:' must begin a line");
    return FAIL(p, "annotation '%s' must be between '-- check:' and the statement", row->name);
}

static bool take_annotation(struct parser *p, const struct setting *row, const struct value *v)
{
    struct error expected = {0};
    unsigned bit = 1U << (row - annotations);
    if (v->has_more)
        return FAIL(p, "%s '%s': expected one word, or two spaces before a remark", row->name, v->shown.text);
    if (row == BEGINS_CHECK)
        return begin_check(p, v);
    if (p->place != IN_HEADER)
        return fail_misplaced(p, row);
    if (p->seen & bit)
        return FAIL(p, "annotation '%s' appears twice in check '%s'", row->name, current(p)->name);
    if (!setting_set(row, v->word, current(p), &expected))
        return FAIL(p, "%s '%s': expected %s", row->name, v->shown.text, expected.text);
    if (current(p)->min > current(p)->max)
        return FAIL(p, "min %" PRId64 " of check '%s' is above its max %" PRId64, current(p)->min,
                    current(p)->name, current(p)->max);
    p->seen |= bit;
    return true;
}

static bool fail_mistyped(struct parser *p, const struct comment *c)
{
    return FAIL(p, "'%s': expected '-- %s: %s'; any other comment here must not begin with '%s'",
                quote(c->text).text, c->row->name, c->row == BEGINS_CHECK ? "NAME" : "VALUE", c->row->name);
}

/* Takes a line comment; text is what follows the dashes. */
static bool take_comment(struct parser *p, const char *text, bool begins_line)
{
    const struct comment c = read_comment(text);
    if (c.row != NULL && c.is_exact && begins_line) {
        const struct value v = read_value(&c);
        return take_annotation(p, c.row, &v);
    }
    if (c.row != NULL && c.is_assignment && !begins_line)
        return fail_misplaced(p, c.row);
    if (c.row != NULL && (c.is_assignment || p->place == IN_HEADER))
        return fail_mistyped(p, &c);
    if (c.is_exact && p->place == IN_HEADER)
        return FAIL(p, "unknown annotation '%.*s', expected every, timeout, min, max, severity, fall or rise",
                    (int)c.key_len, c.key);
    return true;
}

/* Takes the rest of a line in a block comment. */
static bool check_block(struct parser *p, const char *text, bool is_first)
{
    const struct comment c = read_comment(text);
    bool is_mistyped = c.row != NULL && p->place == IN_HEADER && (is_first || c.is_assignment);
    return !is_mistyped || fail_mistyped(p, &c);
}

static const char *skip_block(struct parser *p, const char *at)
{
    while (*at != '\0' && p->depth > 0) {
        bool is_mark = strncmp(at, "/*", 2) == 0 || strncmp(at, "*/", 2) == 0;
        if (is_mark)
            p->depth += *at == '/' ? 1 : -1;
        at += is_mark ? 2 : 1;
    }
    return at;
}

static const char *skip_quoted(struct parser *p, const char *at)
{
    size_t len = strlen(p->quote_end);
    for (; *at != '\0'; at++) {
        if (strncmp(at, p->quote_end, len) == 0) {
            p->quote_end[0] = '\0';
            return at + len;
        }
        if (p->has_escapes && *at == '\\' && at[1] != '\0')
            at++;
    }
    return at;
}

static bool is_word(char c)
{
    return (unsigned char)c >= 0x80 || (c != '\0' && strchr(WORD, c) != NULL);
}

/* Takes one character of a statement, or what opens a quote (PostgreSQL's manual, 4.1.2). */
static const char *skip_code(struct parser *p, const char *line, const char *at)
{
    char before = '\0';
    if (at > line)
        before = at[-1];
    if (*at == '\'' || *at == '"') {
        snprintf(p->quote_end, sizeof p->quote_end, "%c", *at);
        p->has_escapes =
            *at == '\'' && (before == 'e' || before == 'E') && (at - line < 2 || !is_word(at[-2]));
    } else if (*at == '$' && !is_word(before)) {
        size_t len = 1 + strspn(at + 1, WORD);
        if (at[len] == '$' && len + 1 < sizeof p->quote_end) {
            snprintf(p->quote_end, sizeof p->quote_end, "%.*s", (int)len + 1, at);
            p->has_escapes = false;
            return at + len + 1;
        }
    }
    return at + 1;
}

/* Takes a line without its line ending. */
static bool take_line(struct parser *p, const char *line)
{
    const char *at = line;
    if (p->depth > 0 && !check_block(p, line, false))
        return false;
    while (*at != '\0') {
        if (p->depth > 0) {
            at = skip_block(p, at);
        } else if (p->quote_end[0] != '\0') {
            at = skip_quoted(p, at);
            p->sql_end = (size_t)(at - p->copy);
        } else if (strchr(BLANKS, *at) != NULL) {
            at++;
        } else if (strncmp(at, "--", 2) == 0) {
            return take_comment(p, at + 2, line + strspn(line, BLANKS) == at);
        } else if (strncmp(at, "/*", 2) == 0) {
            at += 2;
            p->depth = 1;
            p->comment_line = p->line;
            if (!check_block(p, at, true))
                return false;
        } else if (p->place == BEFORE_FIRST) {
            return FAIL(p, "a statement before the first '-- check: NAME'");
        } else if (*at == ';' && p->place == IN_HEADER) {
            return fail_without_statement(p);
        } else if (*at == ';') {
            at++;
            p->place = AFTER_STATEMENT;
        } else if (p->place == AFTER_STATEMENT) {
            return FAIL(p, "second statement under check '%s' (line %d): is a line '-- check: NAME' missing?",
                        current(p)->name, current(p)->line);
        } else {
            if (p->place == IN_HEADER)
                p->sql = (size_t)(at - p->copy);
            p->place = IN_STATEMENT;
            at = skip_code(p, line, at);
            p->sql_end = (size_t)(at - p->copy);
        }
    }
    return true;
}

static bool parse_lines(struct parser *p)
{
    char *line = p->copy;
    if (strncmp(line, "\xEF\xBB\xBF", 3) == 0)
        line += 3; /* the byte order mark that editors on Windows write */
    for (p->line = 1; *line != '\0';) {
        char *end = line + strcspn(line, "\r\n");
        const char ended_by = *end;
        *end = '\0';
        if (!take_line(p, line))
            return false;
        line = end + (ended_by != '\0' ? 1 : 0);
        p->line += ended_by == '\n' && *line != '\0';
    }
    if (p->depth > 0)
        return fail_at(p, p->comment_line, "the comment has no closing '*/'");
    if (p->place == BEFORE_FIRST)
        return fail_at(p, 1, "no check, expected '-- check: NAME' and a statement");
    return end_check(p);
}

bool checks_parse(const char *text, size_t len, const char *file, struct checks *out, struct error *err)
{
    struct parser p = {.text = text, .file = file, .checks = out, .err = err};
    *out = (struct checks){.items = mem_calloc(CHECKS_MAX, sizeof(struct check))};
    bool ok = check_encoding(&p, len);
    if (ok) {
        p.copy = mem_calloc(len + 1, 1);
        memcpy(p.copy, text, len);
        ok = parse_lines(&p);
        free(p.copy);
    }
    if (!ok)
        checks_free(out);
    return ok;
}

void checks_free(struct checks *checks)
{
    for (size_t i = 0; i < checks->count; i++)
        free(checks->items[i].sql);
    free(checks->items);
    *checks = (struct checks){0};
}
