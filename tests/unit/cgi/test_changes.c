/* What a new checks file changes. */
#include "tests/unit/unit.h"

#include "cgi/changes.h"

#include <string.h>

static struct checks parse(const char *text)
{
    struct checks checks;
    struct error err;
    assert_true(checks_parse(text, strlen(text), "test.sql", &checks, &err));
    return checks;
}

static void assert_changes(const char *before_text, const char *after_text, const char *added,
                           const char *removed, const char *changed)
{
    struct checks before = parse(before_text);
    struct checks after = parse(after_text);
    struct changes changes;

    changes_find(&before, &after, &changes);
    assert_string_equal(changes.added.data, added);
    assert_string_equal(changes.removed.data, removed);
    assert_string_equal(changes.changed.data, changed);
    changes_free(&changes);
    checks_free(&before);
    checks_free(&after);
}

static void the_same_file_changes_nothing(void **state)
{
    (void)state;
    assert_changes("-- check: a\nSELECT 1;\n", "\n-- check: a\nSELECT 1;\n", "", "", "");
}

static void the_order_is_no_change(void **state)
{
    (void)state;
    assert_changes("-- check: a\nSELECT 1;\n-- check: b\nSELECT 2;\n",
                   "-- check: b\nSELECT 2;\n-- check: a\nSELECT 1;\n", "", "", "");
}

static void names_that_come_and_go_are_told(void **state)
{
    (void)state;
    assert_changes("-- check: a\nSELECT 1;\n-- check: b\nSELECT 2;\n-- check: c\nSELECT 3;\n",
                   "-- check: d\nSELECT 4;\n-- check: b\nSELECT 2;\n-- check: e\nSELECT 5;\n", "d e", "a c",
                   "");
}

static void a_query_or_an_annotation_is_a_change(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "-- check: a\nSELECT 2;\n",
        "-- check: a\n-- every: 5s\nSELECT 1;\n",
        "-- check: a\n-- timeout: 5ms\nSELECT 1;\n",
        "-- check: a\n-- min: 1\nSELECT 1;\n",
        "-- check: a\n-- max: 1\nSELECT 1;\n",
        "-- check: a\n-- severity: warn\nSELECT 1;\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_changes("-- check: a\nSELECT 1;\n", rows[i], "", "", "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_file_changes_nothing),
        cmocka_unit_test(the_order_is_no_change),
        cmocka_unit_test(names_that_come_and_go_are_told),
        cmocka_unit_test(a_query_or_an_annotation_is_a_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
