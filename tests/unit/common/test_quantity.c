/* common/quantity: numbers and durations as people write them. */
#include "tests/unit/unit.h"

#include "common/quantity.h"

static void durations_need_digits_and_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"0s", 0},
        {"0ms", 0},
        {"800ms", 800},
        {"2s", 2000},
        {"02s", 2000},
        {"1m", 60000},
        {"1h", 3600000},
        {"9223372036854775807ms", INT64_MAX},
        {"9223372036854775s", INT64_C(9223372036854775000)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t ms = -1;
        if (!quantity_parse_duration(rows[i].text, &ms))
            fail_msg("%s was refused", rows[i].text);
        assert_int_equal(ms, rows[i].ms);
    }
}

static void other_durations_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "5",
        "0",
        "s",
        "ms",
        "-1s",
        "+1s",
        " 1s",
        "1s ",
        "1 s",
        "1.5s",
        "1S",
        "1sec",
        "1m30s",
        "1d",
        "1us",
        "1e3s",
        "0x1s",
        "9223372036854775808ms",
        "9223372036854776s",
        "99999999999999999999s",
        "153722867280912931m",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int64_t ms;
        if (quantity_parse_duration(texts[i], &ms))
            fail_msg("'%s' was taken", texts[i]);
    }
}

static void a_duration_is_written_in_its_largest_exact_unit(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {{0, "0s"},     {1, "1ms"},     {999, "999ms"},  {1000, "1s"},    {1500, "1500ms"},
                {60000, "1m"}, {90000, "90s"}, {3600000, "1h"}, {7200000, "2h"}, {86400000, "24h"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[32];
        quantity_format_duration(rows[i].ms, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
}

static void digits_end_at_the_first_character_outside_the_base(void **state)
{
    (void)state;
    int64_t value;
    const char *rest;
    assert_true(quantity_parse_digits("0660x", 8, &value, &rest));
    assert_int_equal(value, 0660);
    assert_string_equal(rest, "x");
    assert_true(quantity_parse_digits("789", 10, &value, &rest));
    assert_int_equal(value, 789);
    assert_true(quantity_parse_digits("78", 8, &value, &rest));
    assert_string_equal(rest, "8");
    assert_false(quantity_parse_digits("", 10, &value, &rest));
    assert_false(quantity_parse_digits("-1", 10, &value, &rest));
    assert_false(quantity_parse_digits("9223372036854775808", 10, &value, &rest));
}

static void a_count_has_nothing_but_digits(void **state)
{
    (void)state;
    static const char *const others[] = {
        "", "-1", "+1", " 1", "1 ", "1x", "0x1", "1.0", "9223372036854775808"};
    int64_t value = -1;
    assert_true(quantity_parse_count("0", &value));
    assert_int_equal(value, 0);
    assert_true(quantity_parse_count("00080", &value));
    assert_int_equal(value, 80);
    assert_true(quantity_parse_count("9223372036854775807", &value));
    assert_true(value == INT64_MAX);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (quantity_parse_count(others[i], &value))
            fail_msg("'%s' was taken", others[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_need_digits_and_a_unit),
        cmocka_unit_test(other_durations_are_refused),
        cmocka_unit_test(a_duration_is_written_in_its_largest_exact_unit),
        cmocka_unit_test(digits_end_at_the_first_character_outside_the_base),
        cmocka_unit_test(a_count_has_nothing_but_digits),
    };
    return cmocka_run_group_tests_name("quantity", tests, NULL, NULL);
}
