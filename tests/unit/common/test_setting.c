/* common/setting with a table of its own: it reads, refuses, describes, writes back and prints each
 * kind. */
#include "tests/unit/unit.h"

#include "common/quantity.h"
#include "common/setting.h"

#include <stdlib.h>
#include <string.h>

enum colour { NO_COLOUR, RED, GREEN, BLUE };

struct example {
    const char *name;
    const char *path;
    int64_t wait_ms;
    int64_t count;
    int64_t mode;
    enum colour colour;
    unsigned int is_on;
    char guard; /* a value that is too wide for its field overwrites this */
};

static const char *const colours[] = {[RED] = "red", [GREEN] = "green", [BLUE] = "blue"};
static const char *const no_yes[] = {"no", "yes"};

static const char *check_path(const char *text)
{
    return text[0] == '/' ? NULL : "an absolute path";
}

#define FIELD(member) offsetof(struct example, member)

static const struct setting rows[] = {
    {"name", SETTING_TEXT, FIELD(name), .meaning = "any text"},
    {"path", SETTING_TEXT, FIELD(path), "/a", .meaning = "a path", .check = check_path},
    {"wait", SETTING_DURATION, FIELD(wait_ms), "1s", 10, HOUR_MS, .meaning = "how long"},
    {"count", SETTING_COUNT, FIELD(count), NULL, 1, 9, "how many", .fallback_help = "some", .note = ", odd"},
    {"mode", SETTING_MODE, FIELD(mode), "0660", 0, 0777, .meaning = "who may"},
    {"colour", SETTING_WORD, FIELD(colour), NULL, RED, BLUE, "which", .words = colours},
    {"on", SETTING_WORD, FIELD(is_on), "no", 0, 1, "whether", .words = no_yes},
};

#define COUNT (sizeof rows / sizeof rows[0])

static bool set(struct example *out, const char *name, const char *value, struct error *expected)
{
    const struct setting *row = setting_find(rows, COUNT, name, strlen(name));
    assert_non_null(row);
    return setting_set(row, value, out, expected);
}

static void a_row_is_found_by_its_whole_name(void **state)
{
    (void)state;
    assert_ptr_equal(setting_find(rows, COUNT, "count", 5), &rows[3]);
    assert_ptr_equal(setting_find(rows, COUNT, "count: 3", 5), &rows[3]);
    assert_null(setting_find(rows, COUNT, "count", 4));
    assert_null(setting_find(rows, COUNT, "counts", 6));
    assert_null(setting_find(rows, COUNT, "Count", 5));
    assert_null(setting_find(rows, COUNT, "", 0));
}

static void each_kind_is_stored_and_written_back(void **state)
{
    (void)state;
    static const char *const values[][3] = {
        {"name", "", ""},         {"name", "x y", "x y"},     {"path", "/x", "/x"},
        {"wait", "10ms", "10ms"}, {"wait", "3600s", "1h"},    {"count", "1", "1"},
        {"count", "09", "9"},     {"mode", "0", "0000"},      {"mode", "777", "0777"},
        {"colour", "red", "red"}, {"colour", "blue", "blue"}, {"on", "yes", "yes"},
        {"on", "no", "no"},
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct example example = {.guard = 'g'};
        struct error expected;
        char text[64];
        const struct setting *row = setting_find(rows, COUNT, values[i][0], strlen(values[i][0]));
        if (!set(&example, values[i][0], values[i][1], &expected))
            fail_msg("%s=%s: expected %s", values[i][0], values[i][1], expected.text);
        setting_format(row, &example, text, sizeof text);
        assert_string_equal(text, values[i][2]);
        assert_int_equal(example.guard, 'g');
    }
}

static void a_wrong_value_is_described_and_not_stored(void **state)
{
    (void)state;
#define DURATION "a duration with its unit (800ms, 2s, 1m, 1h) from 10ms to 1h"
    static const char *const values[][3] = {
        {"path", "x", "an absolute path"},
        {"wait", "2", DURATION},
        {"wait", "9ms", DURATION},
        {"wait", "61m", DURATION},
        {"wait", "99999999999999999999s", DURATION},
        {"count", "0", "a number from 1 to 9, odd"},
        {"count", "10", "a number from 1 to 9, odd"},
        {"count", "3x", "a number from 1 to 9, odd"},
        {"count", "", "a number from 1 to 9, odd"},
        {"mode", "1000", "an octal mode from 0 to 0777"},
        {"mode", "8", "an octal mode from 0 to 0777"},
        {"colour", "", "red, green or blue"},
        {"colour", "Red", "red, green or blue"},
        {"colour", "reds", "red, green or blue"},
        {"on", "maybe", "no or yes"},
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct example example = {.guard = 'g'};
        const struct example before = example;
        struct error expected;
        if (set(&example, values[i][0], values[i][1], &expected))
            fail_msg("%s=%s was taken", values[i][0], values[i][1]);
        assert_string_equal(expected.text, values[i][2]);
        assert_memory_equal(&example, &before, sizeof example);
    }
}

static void an_unset_text_is_written_as_nothing(void **state)
{
    (void)state;
    const struct example example = {.name = NULL};
    char text[8] = "x";
    setting_format(&rows[0], &example, text, sizeof text);
    assert_string_equal(text, "");
}

static void stores_the_fallbacks_that_there_are(void **state)
{
    (void)state;
    struct example example = {.count = 7, .colour = GREEN, .is_on = 1};
    setting_set_fallbacks(rows, COUNT, &example);
    assert_null(example.name);
    assert_string_equal(example.path, "/a");
    assert_int_equal(example.wait_ms, 1000);
    assert_int_equal(example.count, 7);
    assert_int_equal(example.mode, 0660);
    assert_int_equal(example.colour, GREEN);
    assert_int_equal(example.is_on, 0);
}

static void help_has_aligned_columns(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    setting_print(rows, COUNT, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "  name    -     any text\n"
                              "  path    /a    a path\n"
                              "  wait    1s    how long\n"
                              "  count   some  how many\n"
                              "  mode    0660  who may\n"
                              "  colour  -     which\n"
                              "  on      no    whether\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_found_by_its_whole_name),
        cmocka_unit_test(each_kind_is_stored_and_written_back),
        cmocka_unit_test(a_wrong_value_is_described_and_not_stored),
        cmocka_unit_test(an_unset_text_is_written_as_nothing),
        cmocka_unit_test(stores_the_fallbacks_that_there_are),
        cmocka_unit_test(help_has_aligned_columns),
    };
    return cmocka_run_group_tests_name("setting", tests, NULL, NULL);
}
