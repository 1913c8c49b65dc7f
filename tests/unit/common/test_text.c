/* common/text: UTF-8 and texts that are fit for a terminal. common/error: places in files. */
#include "tests/unit/unit.h"

#include "common/error.h"
#include "common/text.h"

#include <string.h>

static void a_character_has_the_length_of_rfc_3629(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"a", 1},
        {"\x7f", 1},
        {"\xc2\x80", 2},
        {"\xc3\xa4", 2},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\x98\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"", 0},
        {"\x80", 0},             /* a second byte */
        {"\xc0\x80", 0},         /* overlong */
        {"\xc1\xbf", 0},         /* overlong */
        {"\xe0\x9f\xbf", 0},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 0}, /* overlong */
        {"\xed\xa0\x80", 0},     /* a surrogate */
        {"\xf4\x90\x80\x80", 0}, /* beyond U+10FFFF */
        {"\xff", 0},
        {"\xe2\x82", 0}, /* cut */
        {"\xe2\x82\x41", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(text_utf8_len(rows[i].bytes, strlen(rows[i].bytes)), rows[i].len);
    assert_int_equal(text_utf8_len("\xe2\x82\xac", 2), 0);
    assert_int_equal(text_utf8_len("a", 0), 0);
}

static void bytes_that_could_control_a_terminal_become_question_marks(void **state)
{
    (void)state;
    char text[] = "a\x1b[31m\n\x7f\xc2\x9b\xff\xc3\xa4z";
    text_clean(text);
    assert_string_equal(text, "a?[31m?????\xc3\xa4z");
}

__attribute__((format(printf, 4, 5))) static void set_at(struct error *err, const char *file, int line,
                                                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_vset_at(err, file, line, format, args);
    va_end(args);
}

static void an_error_names_file_and_line(void **state)
{
    (void)state;
    struct error err;
    set_at(&err, "a/b.sql", 12, "unexpected '%s'", "x\ty");
    assert_string_equal(err.text, "a/b.sql:12: unexpected 'x?y'");
}

static void a_long_file_name_keeps_its_end(void **state)
{
    (void)state;
    struct error err;
    char file[300];
    memset(file, 'd', sizeof file);
    memcpy(file + sizeof file - 8, "/my.sql", 8);
    set_at(&err, file, 1, "why");
    assert_non_null(strstr(err.text, "dd/my.sql:1: why"));
    assert_int_equal(strncmp(err.text, "...d", 4), 0);
    assert_int_equal(strlen(err.text), 3 + 96 + strlen(":1: why"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_character_has_the_length_of_rfc_3629),
        cmocka_unit_test(bytes_that_could_control_a_terminal_become_question_marks),
        cmocka_unit_test(an_error_names_file_and_line),
        cmocka_unit_test(a_long_file_name_keeps_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
