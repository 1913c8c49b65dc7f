/* Where the scanner sees quotes, comments and statement ends. */
#include "cgi/sqlscan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The kinds in text, a letter each: t token, l line comment, b block comment, ; semicolon, ! bad. */
static const char *kinds(const char *text)
{
    static const char letters[] = {[SQLSCAN_LINE_COMMENT] = 'l',
                                   [SQLSCAN_BLOCK_COMMENT] = 'b',
                                   [SQLSCAN_SEMICOLON] = ';',
                                   [SQLSCAN_TOKEN] = 't',
                                   [SQLSCAN_BAD] = '!'};
    static char out[128];
    struct sqlscan scan = {.at = text, .end = text + strlen(text), .line = 1};
    size_t len = 0;
    for (;;) {
        enum sqlscan_kind kind = sqlscan_next(&scan);
        if (kind != SQLSCAN_END)
            out[len++] = letters[kind];
        if (kind == SQLSCAN_END || kind == SQLSCAN_BAD || len == sizeof out - 1)
            break;
    }
    out[len] = '\0';
    return out;
}

struct row {
    const char *text;
    const char *kinds;
};

static void expect(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(kinds(rows[i].text), rows[i].kinds) != 0)
            fail_msg("%s\nis '%s', expected '%s'", rows[i].text, kinds(rows[i].text), rows[i].kinds);
}

#define EXPECT(rows) expect((rows), sizeof(rows) / sizeof(rows)[0])

static void cuts_words_and_single_characters(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", ""},       {" \t\r\n\f", ""},  {"SELECT 1;", "tt;"},
        {"a.b", "ttt"}, {"a$b$", "t"},      {"\xc3\xa4rger", "t"},
        {";;", ";;"},   {"5 - -3", "tttt"}, {"4 / 2 * 1", "ttttt"},
    };
    EXPECT(rows);
}

static void plain_strings_end_at_a_single_quote(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"'a;b'", "t"},     {"'it''s;'", "t"},      {"''", "t"},           {"''';'", "t"},
        {"'a\\';'", "t;!"}, {"'--';", "t;"},        {"'/*';", "t;"},       {"'$$';", "t;"},
        {"'a\n;b';", "t;"}, {"N'a;'", "tt"},        {"U&'a;'", "ttt"},     {"fe'a\\';", "tt;"},
        {"B'01'", "tt"},    {"'a'\n'b\\';", "tt;"}, {"'a' E'\\';'", "tt"},
    };
    EXPECT(rows);
}

static void escape_strings_know_backslashes(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"E'a\\';b'", "t"},      {"e'\\\\';", "t;"},      {"E'a''\\';'", "t"},
        {"E'\\'", "!"},          {"E'a'\n'\\';'", "tt"},  {"E'a' -- c\n'\\';'", "tlt"},
        {"E'a'; '\\';", "t;t;"}, {"E'a', '\\';", "ttt;"},
    };
    EXPECT(rows);
}

static void quoted_identifiers_hold_anything(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"\"a;b\"", "t"}, {"\"a\"\";\"", "t"}, {"\"--\";", "t;"}, {"\"'\";", "t;"}, {"\"\\\";", "t;"},
    };
    EXPECT(rows);
}

static void dollar_quotes_end_at_their_own_tag(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"$$a;b$$;", "t;"},
        {"$t$ $$ ; $x$ ; $t$;", "t;"},
        {"$t$ $T$ $t$;", "t;"},
        {"$$ $t$$;", "t;"},
        {"$t$ $$t$;", "t;"},
        {"$_9\xc3\xa4$;$_9\xc3\xa4$", "t"},
        {"$$ ' -- /* \\ $$;", "t;"},
        {"$1;", "tt;"},
        {"$1$$;$$", "ttt"},
        {"$9t$;", "ttt;"},
        {"a$$;", "t;"},
        {"$t;", "tt;"},
        {"$", "t"},
    };
    EXPECT(rows);
}

static void comments_are_taken_whole(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"-- a;b\n;", "l;"},
        {"--", "l"},
        {"-- '\n;", "l;"},
        {"-- /*\n;", "l;"},
        {"1--2\n;", "tl;"},
        {"-- a\r;", "l;"},
        {"/* ; ' -- $$ */;", "b;"},
        {"/* /* ; */ ; */;", "b;"},
        {"/**/;", "b;"},
        {"/*/ ; */;", "b;"},
        {"/***/;", "b;"},
        {"2*/* ; */2", "ttbt"},
        {"/* \n */", "b"},
        {"/* /*/ ; */ ; */;", "b;"},
    };
    EXPECT(rows);
}

static void what_is_not_ended_is_bad(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a 'b;", "t!"}, {"'a''", "!"}, {"\"a", "!"}, {"E'a\\", "!"},      {"/* /* */", "!"},
        {"/*/", "!"},    {"$$a", "!"},  {"$$", "!"},  {"$t$ $$ $T$", "!"}, {"'", "!"},
    };
    EXPECT(rows);
}

static void a_backslash_outside_of_quotes_is_bad(void **state)
{
    (void)state;
    static const struct row rows[] = {{"\\d", "!"}, {"SELECT 1 \\gx", "tt!"}};
    EXPECT(rows);
}

static void tokens_carry_their_place_and_first_line(void **state)
{
    (void)state;
    const char text[] = "\n\n  'a\nb'\n;";
    struct sqlscan scan = {.at = text, .end = text + strlen(text), .line = 1};
    assert_int_equal(sqlscan_next(&scan), SQLSCAN_TOKEN);
    assert_int_equal(scan.token_line, 3);
    assert_ptr_equal(scan.token, strchr(text, '\''));
    assert_int_equal(scan.at - scan.token, 5);
    assert_int_equal(sqlscan_next(&scan), SQLSCAN_SEMICOLON);
    assert_int_equal(scan.token_line, 5);
}

static void bad_tokens_say_why_and_where_they_begin(void **state)
{
    (void)state;
    const char text[] = "SELECT\n $x$\n\n";
    struct sqlscan scan = {.at = text, .end = text + strlen(text), .line = 1};
    assert_int_equal(sqlscan_next(&scan), SQLSCAN_TOKEN);
    assert_int_equal(sqlscan_next(&scan), SQLSCAN_BAD);
    assert_int_equal(scan.token_line, 2);
    assert_string_equal(scan.why, "dollar quote without its end");
}

static void nothing_behind_the_end_is_read(void **state)
{
    (void)state;
    static const char *const texts[] = {"--", "/*", "E'", "''", "$t$", "*/", "e", "'\\'"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        /* A one-byte text in a one-byte object: the sanitizer sees any look at a second byte. */
        char one[1] = {texts[i][0]};
        struct sqlscan scan = {.at = one, .end = one + 1, .line = 1};
        sqlscan_next(&scan);
        assert_true(scan.at <= scan.end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_words_and_single_characters),
        cmocka_unit_test(plain_strings_end_at_a_single_quote),
        cmocka_unit_test(escape_strings_know_backslashes),
        cmocka_unit_test(quoted_identifiers_hold_anything),
        cmocka_unit_test(dollar_quotes_end_at_their_own_tag),
        cmocka_unit_test(comments_are_taken_whole),
        cmocka_unit_test(what_is_not_ended_is_bad),
        cmocka_unit_test(a_backslash_outside_of_quotes_is_bad),
        cmocka_unit_test(tokens_carry_their_place_and_first_line),
        cmocka_unit_test(bad_tokens_say_why_and_where_they_begin),
        cmocka_unit_test(nothing_behind_the_end_is_read),
    };
    return cmocka_run_group_tests_name("sqlscan", tests, NULL, NULL);
}
