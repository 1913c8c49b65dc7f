/* cgi/checks: what a checks file may contain, and errors with file and line. */
#include "cgi/checks.h"
#include "common/buf.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Parses a copy without a NUL after it, so that the sanitizer finds a read past the end. */
static bool parse_bytes(const char *text, size_t len, struct checks *out, struct error *err)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    err->text[0] = '\0';
    bool ok = checks_parse(copy, len, "f.sql", out, err);
    free(copy);
    return ok;
}

static struct checks parse_good(const char *text)
{
    struct checks checks;
    struct error err;
    if (!parse_bytes(text, strlen(text), &checks, &err))
        fail_msg("%s\nwas refused: %s", text, err.text);
    return checks;
}

static void expect_error_of_bytes(const char *text, size_t len, const char *expected)
{
    struct checks checks;
    struct error err;
    if (parse_bytes(text, len, &checks, &err))
        fail_msg("%s\nis accepted, expected the error: %s", text, expected);
    assert_int_equal(checks.count, 0);
    assert_null(checks.items);
    if (strcmp(err.text, expected) != 0)
        fail_msg("%s\ngave:     %s\nexpected: %s", text, err.text, expected);
}

static void expect_error(const char *text, const char *expected)
{
    expect_error_of_bytes(text, strlen(text), expected);
}

static void reads_a_full_example(void **state)
{
    (void)state;
    struct checks c = parse_good("-- check: edges\n"
                                 "-- every: 15s          how often (default: each interval)\n"
                                 "-- timeout: 800ms      this check's own limit\n"
                                 "-- min: 1              below or above is out_of_range\n"
                                 "-- max: 1000000000\n"
                                 "-- severity: warn      warn = reported, still 200; default: fail = 503\n"
                                 "-- fall: 3             failures in a row before it is down\n"
                                 "-- rise: 2             good answers in a row before it is up again\n"
                                 "SELECT count(*) FROM edges;\n");
    assert_int_equal(c.count, 1);
    assert_string_equal(c.items[0].name, "edges");
    assert_string_equal(c.items[0].sql, "SELECT count(*) FROM edges");
    assert_int_equal(c.items[0].every_ms, 15000);
    assert_int_equal(c.items[0].timeout_ms, 800);
    assert_int_equal(c.items[0].min, 1);
    assert_int_equal(c.items[0].max, 1000000000);
    assert_int_equal(c.items[0].severity, CHECK_WARN);
    assert_int_equal(c.items[0].fall, 3);
    assert_int_equal(c.items[0].rise, 2);
    assert_int_equal(c.items[0].line, 1);
    checks_free(&c);
    assert_null(c.items);
}

static void a_check_without_annotations_has_the_defaults(void **state)
{
    (void)state;
    struct checks c = parse_good("\n-- check: a\nSELECT 1;");
    assert_int_equal(c.items[0].every_ms, 0);
    assert_int_equal(c.items[0].timeout_ms, 0);
    assert_int_equal(c.items[0].min, 0);
    assert_int_equal(c.items[0].max, INT64_MAX);
    assert_int_equal(c.items[0].severity, CHECK_FAIL);
    assert_int_equal(c.items[0].fall, 0);
    assert_int_equal(c.items[0].rise, 0);
    assert_int_equal(c.items[0].line, 2);
    checks_free(&c);
}

static void keeps_the_order_of_the_file(void **state)
{
    (void)state;
    struct checks c = parse_good(
        "-- check: b\nSELECT 1;\n-- check: a\n-- min: 7\nSELECT 2;\n-- check: c\n-- min: 8\nSELECT 3;");
    assert_int_equal(c.count, 3);
    assert_string_equal(c.items[0].name, "b");
    assert_string_equal(c.items[1].name, "a");
    assert_string_equal(c.items[2].name, "c");
    assert_int_equal(c.items[1].min, 7);
    assert_int_equal(c.items[2].min, 8);
    assert_string_equal(c.items[2].sql, "SELECT 3");
    checks_free(&c);
}

/* Each row is the rest of a file after the header of its only check, and the statement of that check. */
static void the_statement_is_the_text_for_the_server(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"SELECT 1;", "SELECT 1"},
        {"\n\n  SELECT\n  1  ;  \n", "SELECT\n  1"},
        {"SELECT 1\n;-- the end\n", "SELECT 1"},
        {"SELECT 1;\n-- the end\n\n/* the\nend */\n", "SELECT 1"},
        {"SELECT 1; -- the end; really\n", "SELECT 1"},
        {"SELECT 1; /* the end */\n", "SELECT 1"},
        {"SELECT 1; /* off\n-- x;\n*/\n", "SELECT 1"},
        {"/* /* x */ y */\nSELECT 1 /* /* ; */ ' */ + 1;", "SELECT 1 /* /* ; */ ' */ + 1"},
        {"SELECT 'a;\n-- b';", "SELECT 'a;\n-- b'"},
        {"SELECT length('\n-- check: b\n');", "SELECT length('\n-- check: b\n')"},
        {"SELECT length('--min: 1 /* max = 2 */');", "SELECT length('--min: 1 /* max = 2 */')"},
        {"SELECT 1 -- don't\n + 1;", "SELECT 1 -- don't\n + 1"},
        {"SELECT length(e'\\\\') + length('\\');", "SELECT length(e'\\\\') + length('\\')"},
        {"SELECT length(type'\\');", "SELECT length(type'\\')"},
        {"SELECT length($$;'\n$q$\n$$), 'a$b$;';", "SELECT length($$;'\n$q$\n$$), 'a$b$;'"},
        {"SELECT a$b$ FROM c;", "SELECT a$b$ FROM c"},
        {"SELECT $1;", "SELECT $1"},
        {"SELECT 1 -- all;\n;", "SELECT 1"},
        {"SELECT 1 -- no: thing\n + 1;", "SELECT 1 -- no: thing\n + 1"},
        {"SELECT length('; --') +\n-- more\n1;", "SELECT length('; --') +\n-- more\n1"},
        {"SELECT length('\n;\n-- in it\n/* too */\n');", "SELECT length('\n;\n-- in it\n/* too */\n')"},
        {"/* first */ SELECT /* ; */ 1;", "SELECT /* ; */ 1"},
        {"SELECT length(';');", "SELECT length(';')"},
        {"SELECT length('it''s;');", "SELECT length('it''s;')"},
        {"SELECT length(E'\\';');", "SELECT length(E'\\';')"},
        {"SELECT length($q$;\n-- check: b\n$q$);", "SELECT length($q$;\n-- check: b\n$q$)"},
        {"SELECT 1 AS \";\";", "SELECT 1 AS \";\""},
        {"/* \n-- check: b\n*/ SELECT 1;", "SELECT 1"},
        {"SELECT 1;;\n;", "SELECT 1"},
        {"SELECT '\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80';", "SELECT '\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "-- check: a\n%s", rows[i][0]);
        struct checks c = parse_good(text);
        assert_int_equal(c.count, 1);
        assert_string_equal(c.items[0].sql, rows[i][1]);
        checks_free(&c);
    }
}

static void accepts_windows_line_ends_and_a_byte_order_mark(void **state)
{
    (void)state;
    struct checks c = parse_good(
        "\xef\xbb\xbf-- check: a\r\n-- every: 1s\r\n\r\nSELECT 1;\r\n-- check: b\r\nSELECT 2;\r\n");
    assert_int_equal(c.count, 2);
    assert_string_equal(c.items[0].name, "a");
    assert_int_equal(c.items[0].every_ms, 1000);
    assert_string_equal(c.items[1].sql, "SELECT 2");
    assert_int_equal(c.items[1].line, 5);
    checks_free(&c);
    /* For PostgreSQL a carriage return alone ends a comment as well. */
    c = parse_good("-- check: a\r-- min: 1\r-- max: 5\rSELECT 1; -- one\r");
    assert_int_equal(c.items[0].max, 5);
    assert_string_equal(c.items[0].sql, "SELECT 1");
    checks_free(&c);
}

static void accepts_annotations_with_any_spacing(void **state)
{
    (void)state;
    struct checks c = parse_good("\n--check: a\n"
                                 "  --  every:\t1s\tremark\n"
                                 "--min:   5   \n"
                                 "--\tmax:  9 \t remark\n"
                                 "SELECT 1;");
    assert_int_equal(c.count, 1);
    assert_int_equal(c.items[0].line, 2);
    assert_int_equal(c.items[0].every_ms, 1000);
    assert_int_equal(c.items[0].min, 5);
    assert_int_equal(c.items[0].max, 9);
    checks_free(&c);
}

static void ordinary_comments_are_not_annotations(void **state)
{
    (void)state;
    struct checks c =
        parse_good("/* Limits of all checks:\n * min: 5\n */\n"
                   "-- Checks of the catalogue. author: me\n"
                   "-- author: me\n"
                   "-- check: a\n"
                   "-- Note: counts all rows\n"
                   "-- counts all rows\n"
                   "-- see https://example.org\n"
                   "-- https://example.org\n"
                   "-- minimum 5\n"
                   "-- a-b: c\n"
                   "-- _x: c\n"
                   "-- 9x: c\n"
                   "---- every: 1s\n"
                   "--\n"
                   "-- :\n"
                   "/* author: me,\n * for all: every\n one */ /* again */\n/*\n every check\n*/\n"
                   "SELECT 1 -- todo: index\n;\n"
                   "-- note: the end\n");
    assert_int_equal(c.count, 1);
    assert_int_equal(c.items[0].every_ms, 0);
    checks_free(&c);
}

static void accepts_the_bounds_of_each_annotation(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "every: 100ms",   "every: 24h",
        "timeout: 1ms",   "timeout: 5m",
        "min: 0",         "min: 9223372036854775807",
        "max: 0",         "max: 9223372036854775807",
        "severity: fail", "severity: warn",
        "fall: 1",        "fall: 100",
        "rise: 1",        "rise: 100",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "-- check: a\n-- %s\nSELECT 1;", rows[i]);
        struct checks c = parse_good(text);
        checks_free(&c);
    }
}

static void rejects_values_outside_of_the_bounds(void **state)
{
    (void)state;
#define EVERY   "a duration with its unit (800ms, 2s, 1m, 1h) from 100ms to 24h"
#define TIMEOUT "a duration with its unit (800ms, 2s, 1m, 1h) from 1ms to 5m"
#define NUMBER  "a number from 0 to 9223372036854775807"
#define STREAK  "a number from 1 to 100"
    static const char *const rows[][3] = {
        {"every", "99ms", EVERY},
        {"every", "25h", EVERY},
        {"every", "15", EVERY},
        {"every", "", EVERY},
        {"every", "99999999999999999999s", EVERY},
        {"timeout", "0ms", TIMEOUT},
        {"timeout", "301s", TIMEOUT},
        {"timeout", "-1s", TIMEOUT},
        {"min", "-1", NUMBER},
        {"min", "1.5", NUMBER},
        {"min", "9223372036854775808", NUMBER},
        {"min", "92233720368547758070", NUMBER},
        {"max", "", NUMBER},
        {"max", "1e9", NUMBER},
        {"max", "1000;", NUMBER},
        {"severity", "info", "fail or warn"},
        {"severity", "Warn", "fail or warn"},
        {"severity", "", "fail or warn"},
        {"fall", "0", STREAK},
        {"fall", "101", STREAK},
        {"fall", "3s", STREAK},
        {"rise", "0", STREAK},
        {"rise", "101", STREAK},
        {"rise", "", STREAK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[128];
        char expected[256];
        snprintf(text, sizeof text, "-- check: a\n-- %s: %s\nSELECT 1;", rows[i][0], rows[i][1]);
        snprintf(expected, sizeof expected, "f.sql:2: %s '%s': expected %s", rows[i][0], rows[i][1],
                 rows[i][2]);
        expect_error(text, expected);
    }
}

static void rejects_a_second_word_after_one_space(void **state)
{
    (void)state;
    expect_error("-- check: a\n-- every: 15 s\nSELECT 1;",
                 "f.sql:2: every '15 s': expected one word, or two spaces before a remark");
    expect_error("-- check: a\n-- min: 1  max: 5\nSELECT 1;",
                 "f.sql:2: min '1  max: 5': expected one word, or two spaces before a remark");
    expect_error("-- check: a\n-- min: 1   -- max = 5\nSELECT 1;",
                 "f.sql:2: min '1   -- max = 5': expected one word, or two spaces before a remark");
    expect_error("-- check: a b\nSELECT 1;",
                 "f.sql:1: check 'a b': expected one word, or two spaces before a remark");
}

static void change_case(char *text, int (*change)(int), size_t count)
{
    for (size_t i = 0; i < count && text[i] != '\0'; i++)
        text[i] = (char)change((unsigned char)text[i]);
}

/* True: the parser accepts a header with this comment. Then each limit that it asks for must be set. */
static bool header_is_taken(const char *comment)
{
    struct checks c;
    struct error err;
    char text[128];
    snprintf(text, sizeof text, "-- check: a\n%s\nSELECT 1;", comment);
    if (!parse_bytes(text, strlen(text), &c, &err)) {
        assert_memory_equal(err.text, "f.sql:", 6); /* "-- check:" ends the header of line 1 */
        return false;
    }
    if (c.items[0].min != 7 && c.items[0].max != 7 && c.items[0].fall != 7 && c.items[0].rise != 7)
        fail_msg("%s\nis accepted, and sets no limit", comment);
    checks_free(&c);
    return true;
}

/* Writes each key in each way: each is an annotation or an error, and never an ordinary comment. */
static void a_mistyped_annotation_is_an_error_and_not_ignored(void **state)
{
    (void)state;
    static const char *const keys[] = {"min", "max", "fall", "rise", "every", "timeout", "severity", "check"};
    static const char *const styles[] = {"--", "/*"};
    static const char *const prefixes[] = {" ", "",   "\t", "\xc2\xa0", " * ", "#",
                                           "-", "- ", " @", " \"",      "/ "};
    static const char *const separators[] = {": ",   ":\t",        " : ",          "= ", "=",  ":",    " ",
                                             " - ",  "\xc2\xa0",   ":\xc2\xa0",    "; ", ". ", "\": ", " :",
                                             " is ", "\xc2\xa0: ", "\xef\xbc\x9a "};
    size_t taken = 0;
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
        for (size_t i = 0; i < 2 * 3 * 11 * 17; i++) {
            const char *prefix = prefixes[i / 6 % 11];
            const char *separator = separators[i / 66];
            char key[16];
            char comment[64];
            snprintf(key, sizeof key, "%s", keys[k]);
            change_case(key, toupper, i / 2 % 3 == 0 ? 0 : i / 2 % 3 == 1 ? 1 : sizeof key);
            snprintf(comment, sizeof comment, "%s%s%s%s7%s", styles[i % 2], prefix, key, separator,
                     i % 2 == 1 ? " */" : "");
            bool is_right = k < 4 && i % 6 == 0 && strspn(prefix, " \t") == strlen(prefix) &&
                            (strcmp(separator, ": ") == 0 || strcmp(separator, ":\t") == 0);
            if (header_is_taken(comment) != is_right)
                fail_msg("%s\nis %s", comment, is_right ? "refused" : "taken");
            taken += is_right;
        }
    assert_int_equal(taken, 4 * 3 * 2);
}

static void the_error_shows_a_mistyped_annotation_in_its_right_form(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"-- Min : 1000", "Min : 1000", "min: VALUE"},
        {"-- min 1000", "min 1000", "min: VALUE"},
        {"--\xc2\xa0min: 1000", "\xc2\xa0min: 1000", "min: VALUE"},
        {"-- Every node has an edge", "Every node has an edge", "every: VALUE"},
        {"-- check : b", "check : b", "check: NAME"},
        {"/* min: 1000 */", "min: 1000 */", "min: VALUE"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[128];
        char expected[256];
        snprintf(text, sizeof text, "-- check: a\n%s\nSELECT 1;", rows[i][0]);
        snprintf(expected, sizeof expected,
                 "f.sql:2: '%s': expected '-- %s'; any other comment here must not begin with '%.*s'",
                 rows[i][1], rows[i][2], (int)strcspn(rows[i][2], ":"), rows[i][2]);
        expect_error(text, expected);
    }
    expect_error("-- check: a\n/* limits\n * min: 1000\n */\nSELECT 1;",
                 "f.sql:3: '* min: 1000': expected '-- min: VALUE'; "
                 "any other comment here must not begin with 'min'");
}

/* Otherwise its statement would belong to the check before. */
static void a_mistyped_check_line_is_an_error(void **state)
{
    (void)state;
    static const char *const comments[] = {"Check: b", "check : b", "check=b",   "check\xc2\xa0: b",
                                           "check:b",  "CHECK: b",  "* check: b"};
    for (size_t i = 0; i < sizeof comments / sizeof comments[0]; i++) {
        char text[128];
        char expected[256];
        snprintf(text, sizeof text, "-- check: a\nSELECT 1;\n-- %s\nSELECT 2;", comments[i]);
        snprintf(
            expected, sizeof expected,
            "f.sql:3: '%s': expected '-- check: NAME'; any other comment here must not begin with 'check'",
            comments[i]);
        expect_error(text, expected);
    }
    expect_error("-- check: a\nSELECT 1; -- check: b\nSELECT 2;", "f.sql:2: '-- check:' must begin a line");
    struct checks c = parse_good("-- Check that all is well.\n-- check: a\nSELECT 1;\n-- Check this\n"
                                 "-- every so often\n-- --check: b\n");
    assert_int_equal(c.count, 1);
    checks_free(&c);
}

static void rejects_an_unknown_annotation(void **state)
{
    (void)state;
    expect_error("-- check: a\n-- tiemout: 1s\nSELECT 1;",
                 "f.sql:2: unknown annotation 'tiemout', "
                 "expected every, timeout, min, max, severity, fall or rise");
    expect_error("-- check: a\n-- note: counts all rows\nSELECT 1;",
                 "f.sql:2: unknown annotation 'note', "
                 "expected every, timeout, min, max, severity, fall or rise");
    expect_error("-- check: a\n-- tag:\nSELECT 1;",
                 "f.sql:2: unknown annotation 'tag', "
                 "expected every, timeout, min, max, severity, fall or rise");
}

static void rejects_an_annotation_that_would_have_no_effect(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "\n-- every: 1s\n-- check: a\nSELECT 1;",   "-- check: a\nSELECT\n-- every: 1s\n1;",
        "-- check: a\nSELECT 1;\n-- every: 1s\n",   "-- check: a\n\nSELECT 1; -- every: 1s",
        "-- check: a\n\nSELECT 1 -- Every = 1s\n;",
    };
    static const int lines[] = {2, 3, 3, 3, 3};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char expected[128];
        snprintf(expected, sizeof expected,
                 "f.sql:%d: annotation 'every' must be between '-- check:' and the statement", lines[i]);
        expect_error(rows[i], expected);
    }
}

static void rejects_an_annotation_given_twice(void **state)
{
    (void)state;
    expect_error("-- check: a\n-- min: 1\n-- max: 2\n-- min: 1\nSELECT 1;",
                 "f.sql:4: annotation 'min' appears twice in check 'a'");
}

static void rejects_a_min_above_its_max(void **state)
{
    (void)state;
    expect_error("-- check: a\n-- min: 5\n-- max: 4\nSELECT 1;",
                 "f.sql:3: min 5 of check 'a' is above its max 4");
    expect_error("-- check: a\n-- max: 4\n-- min: 5\nSELECT 1;",
                 "f.sql:3: min 5 of check 'a' is above its max 4");
    struct checks c = parse_good("-- check: a\n-- min: 5\n-- max: 5\nSELECT 1;");
    checks_free(&c);
}

static void rejects_names_with_other_characters(void **state)
{
    (void)state;
    static const char *const names[] = {"", "Edges", "9a", "_a", "a-b", "a.b", "a\"b", "\xc3\xa4", "a;"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[128];
        char expected[256];
        snprintf(text, sizeof text, "-- check: %s\nSELECT 1;", names[i]);
        snprintf(expected, sizeof expected,
                 "f.sql:1: check '%s': expected a name: a letter, then at most 62 of a-z, 0-9 and _",
                 names[i]);
        expect_error(text, expected);
    }
}

static void a_name_may_have_63_bytes_and_no_more(void **state)
{
    (void)state;
    char text[128] = "-- check: ";
    memset(text + 10, 'a', 63);
    strcpy(text + 73, "\nSELECT 1;");
    struct checks c = parse_good(text);
    assert_int_equal(strlen(c.items[0].name), 63);
    checks_free(&c);
    memset(text + 10, 'a', 64);
    strcpy(text + 74, "\nSELECT 1;");
    expect_error(text, "f.sql:1: check 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...': "
                       "expected a name: a letter, then at most 62 of a-z, 0-9 and _");
}

static void rejects_reserved_names(void **state)
{
    (void)state;
    static const char *const names[] = {"database", "process", "backend"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[128];
        char expected[128];
        snprintf(text, sizeof text, "-- check: %s\nSELECT 1;", names[i]);
        snprintf(expected, sizeof expected, "f.sql:1: check '%s': the name is reserved, choose another",
                 names[i]);
        expect_error(text, expected);
    }
}

static void rejects_a_duplicate_name_and_names_both_lines(void **state)
{
    (void)state;
    expect_error("\n-- check: a\nSELECT 1;\n-- check: b\nSELECT 1;\n-- check: a\nSELECT 2;",
                 "f.sql:6: check 'a' is already defined in line 2");
}

/* Most often the border between two checks is missing or mistyped. */
static void rejects_two_statements_under_one_name(void **state)
{
    (void)state;
    expect_error("-- check: a\nSELECT 1;\nSELECT 2;",
                 "f.sql:3: second statement under check 'a' (line 1): is a line '-- check: NAME' missing?");
    expect_error("-- check: a\nSELECT 1;\n-- chekc: b\nSELECT 2;",
                 "f.sql:4: second statement under check 'a' (line 1): is a line '-- check: NAME' missing?");
    expect_error("-- check: a\nSELECT 1; SELECT 2",
                 "f.sql:2: second statement under check 'a' (line 1): is a line '-- check: NAME' missing?");
}

static void rejects_a_check_without_a_statement(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "\n-- check: a\n-- min: 1\n-- check: b\nSELECT 1;",
        "\n-- check: a\n",
        "\n-- check: a",
        "\n-- check: a\n;",
        "\n-- check: a\n/* SELECT 1; */\n-- SELECT 1;\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_error(rows[i], "f.sql:2: check 'a' has no statement");
}

static void rejects_a_statement_before_any_check(void **state)
{
    (void)state;
    expect_error("-- setup\nSET x = 1;\n-- check: a\nSELECT 1;",
                 "f.sql:2: a statement before the first '-- check: NAME'");
    expect_error("SELECT 1;", "f.sql:1: a statement before the first '-- check: NAME'");
    expect_error("\n;", "f.sql:2: a statement before the first '-- check: NAME'");
}

static void a_statement_that_was_cut_off_is_an_error(void **state)
{
    (void)state;
    static const char error[] = "f.sql:%d: the statement of check 'a' (line 1) does not end with ';'";
    static const char *const rows[] = {
        "-- check: a\nSELECT 1\n-- check: b\nSELECT 2;",
        "-- check: a\nSELECT count(*)\nFROM a",
        "-- check: a\nSELECT count(*)\nFROM a -- where b;c",
        "-- check: a\nSELECT count(*)\nFROM a WHERE b = ';",
        "-- check: a\nSELECT count(*)\nFROM a WHERE b = $$;\n",
        "-- check: a\nSELECT count(*)\nFROM a /* b */ -- ;\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char expected[128];
        snprintf(expected, sizeof expected, error, 3);
        expect_error(rows[i], expected);
    }
}

static void rejects_a_file_without_checks(void **state)
{
    (void)state;
    static const char *const rows[] = {"", "\n\n", "-- only a comment\n", "\xef\xbb\xbf", "/* none\n */"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_error(rows[i], "f.sql:1: no check, expected '-- check: NAME' and a statement");
}

static void names_the_line_where_an_open_comment_began(void **state)
{
    (void)state;
    expect_error("\n/* head\n\n-- check: a\nSELECT 1;", "f.sql:2: the comment has no closing '*/'");
    expect_error("-- check: a\n/* all\nSELECT 1;", "f.sql:2: the comment has no closing '*/'");
    expect_error("-- check: a\nSELECT 1;\n\n/* all\nSELECT 1;", "f.sql:4: the comment has no closing '*/'");
}

static void rejects_nul_bytes(void **state)
{
    (void)state;
    static const char text[] = "-- check: a\nSELECT 1;\0";
    expect_error_of_bytes(text, sizeof text, "f.sql:2: NUL byte, expected text");
}

static void rejects_invalid_utf8(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"\xff", "ff"},         {"\x80", "80"},         {"\xc0\x80", "c0"},         {"\xc3(", "c3"},
        {"\xe0\x80\x80", "e0"}, {"\xed\xa0\x80", "ed"}, {"\xf4\x90\x80\x80", "f4"}, {"\xf0\x9f\x98", "f0"},
        {"\xe2\x82", "e2"},     {"\xe4", "e4"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[64];
        char expected[64];
        snprintf(text, sizeof text, "-- check: a\nSELECT 1;\n-- %s", rows[i][0]);
        snprintf(expected, sizeof expected, "f.sql:3: byte 0x%s is not valid UTF-8", rows[i][1]);
        expect_error(text, expected);
    }
}

static void a_long_value_is_cut_between_characters_in_errors(void **state)
{
    (void)state;
    expect_error("-- check: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xe2\x82\xac\xe2\x82\xac\nSELECT 1;",
                 "f.sql:1: check 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...': "
                 "expected a name: a letter, then at most 62 of a-z, 0-9 and _");
}

static void errors_show_no_control_characters(void **state)
{
    (void)state;
    expect_error("-- check: a\n-- severity: \x1b[31m\x7fx\xc2\x9b\nSELECT 1;",
                 "f.sql:2: severity '?[31m?x?\?': expected fail or warn");
}

static void an_error_shows_the_end_of_a_long_file_name(void **state)
{
    (void)state;
    struct checks checks;
    struct error err;
    char file[300];
    memset(file, 'd', sizeof file);
    strcpy(file + 200, "/checks.sql");
    assert_false(checks_parse("x", 1, file, &checks, &err));
    assert_memory_equal(err.text, "...ddd", 6);
    assert_non_null(strstr(err.text, "ddd/checks.sql:1: a statement before the first '-- check: NAME'"));
    assert_false(checks_parse("x", 1, "d\xff-\n/f", &checks, &err));
    assert_string_equal(err.text, "d?-?/f:1: a statement before the first '-- check: NAME'");
}

/* Appends checks named c0, c1 ... */
static void append_checks(struct buf *text, int count)
{
    for (int i = 0; i < count; i++)
        buf_appendf(text, "-- check: c%d\nSELECT %d;\n", i, i);
}

static void accepts_256_checks_and_no_more(void **state)
{
    (void)state;
    struct buf text = {0};
    append_checks(&text, CHECKS_MAX);
    struct checks c = parse_good(text.data);
    assert_int_equal(c.count, CHECKS_MAX);
    assert_string_equal(c.items[CHECKS_MAX - 1].sql, "SELECT 255");
    checks_free(&c);
    buf_reset(&text);
    append_checks(&text, CHECKS_MAX + 1);
    expect_error(text.data, "f.sql:513: check 'c256': expected at most 256 checks");
    buf_free(&text);
}

static void rejects_a_file_over_the_size_limit(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_str(&text, "-- check: a\nSELECT 1;");
    while (text.len < CHECKS_FILE_MAX)
        buf_append(&text, "\n", 1);
    struct checks c = parse_good(text.data);
    checks_free(&c);
    buf_append(&text, "\n", 1);
    expect_error(text.data, "f.sql:1: larger than 1048576 bytes");
    buf_free(&text);
}

static void free_of_nothing_is_fine(void **state)
{
    (void)state;
    struct checks c = {0};
    checks_free(&c);
    assert_int_equal(c.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_full_example),
        cmocka_unit_test(a_check_without_annotations_has_the_defaults),
        cmocka_unit_test(keeps_the_order_of_the_file),
        cmocka_unit_test(the_statement_is_the_text_for_the_server),
        cmocka_unit_test(accepts_windows_line_ends_and_a_byte_order_mark),
        cmocka_unit_test(accepts_annotations_with_any_spacing),
        cmocka_unit_test(ordinary_comments_are_not_annotations),
        cmocka_unit_test(accepts_the_bounds_of_each_annotation),
        cmocka_unit_test(rejects_values_outside_of_the_bounds),
        cmocka_unit_test(rejects_a_second_word_after_one_space),
        cmocka_unit_test(a_mistyped_annotation_is_an_error_and_not_ignored),
        cmocka_unit_test(the_error_shows_a_mistyped_annotation_in_its_right_form),
        cmocka_unit_test(a_mistyped_check_line_is_an_error),
        cmocka_unit_test(rejects_an_unknown_annotation),
        cmocka_unit_test(rejects_an_annotation_that_would_have_no_effect),
        cmocka_unit_test(rejects_an_annotation_given_twice),
        cmocka_unit_test(rejects_a_min_above_its_max),
        cmocka_unit_test(rejects_names_with_other_characters),
        cmocka_unit_test(a_name_may_have_63_bytes_and_no_more),
        cmocka_unit_test(rejects_reserved_names),
        cmocka_unit_test(rejects_a_duplicate_name_and_names_both_lines),
        cmocka_unit_test(rejects_two_statements_under_one_name),
        cmocka_unit_test(rejects_a_check_without_a_statement),
        cmocka_unit_test(rejects_a_statement_before_any_check),
        cmocka_unit_test(a_statement_that_was_cut_off_is_an_error),
        cmocka_unit_test(rejects_a_file_without_checks),
        cmocka_unit_test(names_the_line_where_an_open_comment_began),
        cmocka_unit_test(rejects_nul_bytes),
        cmocka_unit_test(rejects_invalid_utf8),
        cmocka_unit_test(a_long_value_is_cut_between_characters_in_errors),
        cmocka_unit_test(errors_show_no_control_characters),
        cmocka_unit_test(an_error_shows_the_end_of_a_long_file_name),
        cmocka_unit_test(accepts_256_checks_and_no_more),
        cmocka_unit_test(rejects_a_file_over_the_size_limit),
        cmocka_unit_test(free_of_nothing_is_fine),
    };
    return cmocka_run_group_tests_name("checks", tests, NULL, NULL);
}
