/* Reads a checks file line by line. Each "-- check:" line begins a check; only the server judges the SQL
 * after it. A comment that looks like an annotation is one or is an error, so no limit is ever ignored
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
};

struct parser {
    const char *text;
    char *copy; /* of text; the parser writes NUL bytes into it */
    int line;
    enum place place;
    int comment_line; /* where the open block comment outside of a statement began; 0: none is open */
    size_t sql;       /* offset of the statement in the text */
    size_t sql_end;   /* end of its last line that is not a comment */
    bool is_ended;    /* that line ends in ';' */
    unsigned seen;    /* one bit for each annotation that the current check has had */
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

static void cut_trailing_blanks(char *line)
{
    size_t len = strlen(line);
    while (len > 0 && strchr(BLANKS, line[len - 1]) != NULL)
        line[--len] = '\0';
}

static struct quoted quote(const char *text)
{
    struct quoted q;
    size_t len = strlen(text);
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
    c.key = c.text + strcspn(c.text, WORD);
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
    bool has_more;        /* a second word follows after only one space */
};

static struct value read_value(const struct comment *c)
{
    const char *at = c->key + c->key_len + strlen(":");
    at += strspn(at, BLANKS);
    size_t len = strcspn(at, BLANKS);
    struct value v = {.shown = quote(at)};
    snprintf(v.word, sizeof v.word, "%.*s", len < WORD_SIZE ? (int)len : 0, at);
    v.has_more = at[len] == ' ' && strchr(BLANKS, at[len + 1]) == NULL;
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

/* Called at the next "-- check:" and at the end of the file. */
static bool end_check(struct parser *p)
{
    if (p->place == BEFORE_FIRST)
        return true;
    while (p->sql_end > p->sql && strchr(BLANKS ";", p->text[p->sql_end - 1]) != NULL)
        p->sql_end--;
    if (p->sql_end == p->sql)
        return fail_at(p, current(p)->line, "check '%s' has no statement", current(p)->name);
    if (!p->is_ended)
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
    p->sql = p->sql_end = 0;
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

/* Takes a comment that has a line of its own; text is the comment without its marks. */
static bool take_comment(struct parser *p, const char *text, bool is_block)
{
    const struct comment c = read_comment(text);
    if (c.row != NULL && c.is_exact && !is_block) {
        const struct value v = read_value(&c);
        return take_annotation(p, c.row, &v);
    }
    if (c.row != NULL && (c.is_assignment || p->place == IN_HEADER))
        return FAIL(p, "'%s': expected '-- %s: %s'; any other comment here must not begin with '%s'",
                    quote(c.text).text, c.row->name, c.row == BEGINS_CHECK ? "NAME" : "VALUE", c.row->name);
    if (c.is_exact && !is_block && p->place == IN_HEADER)
        return FAIL(p, "unknown annotation '%.*s', expected every, timeout, min, max, severity, fall or rise",
                    (int)c.key_len, c.key);
    return true;
}

/* Takes a line of a statement. A ';' at its end, or before a comment, ends the statement. */
static bool take_code(struct parser *p, const char *line)
{
    static const char *const marks[] = {"--", "/*"};
    size_t len = strlen(line);
    if (p->place == BEFORE_FIRST)
        return FAIL(p, "a statement before the first '-- check: NAME'");
    if (p->place == IN_HEADER)
        p->sql = (size_t)(line - p->copy);
    p->place = IN_STATEMENT;
    p->sql_end = (size_t)(line - p->copy) + len;
    p->is_ended = line[len - 1] == ';';
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        for (const char *mark = line; (mark = strstr(mark, marks[i])) != NULL; mark += strlen(marks[i])) {
            const struct comment c = read_comment(mark + strlen(marks[i]));
            if (c.row != NULL && c.is_assignment)
                return fail_misplaced(p, c.row);
            const char *end = mark;
            while (end > line && strchr(BLANKS, end[-1]) != NULL)
                end--;
            p->is_ended = p->is_ended || (end > line && end[-1] == ';');
        }
    return true;
}

static bool take_line(struct parser *p, char *line)
{
    for (;;) {
        cut_trailing_blanks(line);
        line += strspn(line, BLANKS);
        if (p->comment_line == 0) {
            if (*line == '\0')
                return true;
            if (strncmp(line, "--", 2) == 0)
                return take_comment(p, line + 2, false);
            if (strncmp(line, "/*", 2) != 0 || (p->place == IN_STATEMENT && !p->is_ended))
                return take_code(p, line);
            line += 2;
            p->comment_line = p->line;
        }
        char *end = strstr(line, "*/");
        if (end != NULL)
            *end = '\0';
        cut_trailing_blanks(line);
        if (!take_comment(p, line, true))
            return false;
        if (end == NULL)
            return true;
        line = end + 2;
        p->comment_line = 0;
    }
}

static bool parse_lines(struct parser *p)
{
    char *rest = p->copy;
    if (strncmp(rest, "\xEF\xBB\xBF", 3) == 0)
        rest += 3; /* a byte order mark: editors on Windows write it */
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        p->line += rest != NULL || *line != '\0'; /* an empty rest after the last newline is not a line */
        if (!take_line(p, line))
            return false;
    }
    if (p->comment_line != 0)
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
