/* Lists of hosts, turned. */
#include "tests/unit/unit.h"

#include "cgi/probe/hosts.h"

static void assert_rotated(const char *list, size_t offset, const char *expected)
{
    struct buf out = {0};
    hosts_rotate(list, offset, &out);
    assert_string_equal(out.data, expected);
    buf_free(&out);
}

static void a_list_begins_with_the_entry_asked_for(void **state)
{
    (void)state;
    assert_rotated("a,b,c", 0, "a,b,c");
    assert_rotated("a,b,c", 1, "b,c,a");
    assert_rotated("a,b,c", 2, "c,a,b");
}

static void the_offset_wraps(void **state)
{
    (void)state;
    assert_rotated("a,b,c", 3, "a,b,c");
    assert_rotated("a,b,c", 3000001, "b,c,a");
}

static void entries_are_counted_by_their_commas(void **state)
{
    (void)state;
    assert_int_equal(hosts_count(""), 1);
    assert_int_equal(hosts_count("/run/postgresql"), 1);
    assert_int_equal(hosts_count("a,b,c"), 3);
    assert_int_equal(hosts_count(",,x"), 3);
    assert_int_equal(hosts_count("a,"), 2);
}

static void one_entry_stays(void **state)
{
    (void)state;
    assert_rotated("/run/postgresql", 7, "/run/postgresql");
    assert_rotated("", 7, "");
}

static void empty_entries_are_entries(void **state)
{
    (void)state;
    assert_rotated("5432,", 1, ",5432");
    assert_rotated(",,x", 1, ",x,");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_begins_with_the_entry_asked_for),
        cmocka_unit_test(the_offset_wraps),
        cmocka_unit_test(entries_are_counted_by_their_commas),
        cmocka_unit_test(one_entry_stays),
        cmocka_unit_test(empty_entries_are_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
