/* cgi/reason: the words for the reasons, and the reason for each SQLSTATE. */
#include "cgi/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void the_names_are_the_words_of_the_contract(void **state)
{
    (void)state;
    static const struct {
        enum reason reason;
        const char *name;
    } rows[] = {
        {REASON_NONE, "none"},
        {REASON_UNREACHABLE, "unreachable"},
        {REASON_CONNECT_TIMEOUT, "connect_timeout"},
        {REASON_QUERY_TIMEOUT, "query_timeout"},
        {REASON_HUNG, "hung"},
        {REASON_ACCESS, "access"},
        {REASON_SCHEMA, "schema"},
        {REASON_SATURATED, "saturated"},
        {REASON_RESOURCES, "resources"},
        {REASON_RESTARTING, "restarting"},
        {REASON_CORRUPT, "corrupt"},
        {REASON_MALFORMED, "malformed"},
        {REASON_QUERY_ERROR, "query_error"},
        {REASON_OUT_OF_RANGE, "out_of_range"},
        {REASON_STALE, "stale"},
        {REASON_STARTING, "starting"},
        {REASON_DRAINING, "draining"},
        {REASON_FD_LIMIT, "fd_limit"},
        {REASON_INTERNAL, "internal"},
    };
    assert_int_equal(sizeof rows / sizeof rows[0], REASON_COUNT);
    for (size_t i = 0; i < REASON_COUNT; i++)
        assert_string_equal(reason_name(rows[i].reason), rows[i].name);
}

static void an_unknown_number_is_internal(void **state)
{
    (void)state;
    assert_string_equal(reason_name(REASON_COUNT), "internal");
}

static void no_sqlstate_is_unreachable(void **state)
{
    (void)state;
    assert_int_equal(reason_from_sqlstate(NULL), REASON_UNREACHABLE);
    assert_int_equal(reason_from_sqlstate(""), REASON_UNREACHABLE);
}

static void each_sqlstate_maps_to_its_reason(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        const char *reason;
    } rows[] = {
        {"08000", "unreachable"},   {"08006", "unreachable"},   {"28000", "access"},
        {"28P01", "access"},        {"3D000", "access"},        {"42501", "access"},
        {"42P01", "schema"},        {"42703", "schema"},        {"42883", "schema"},
        {"3F000", "schema"},        {"53300", "saturated"},     {"53000", "resources"},
        {"53100", "resources"},     {"53200", "resources"},     {"53400", "resources"},
        {"57P01", "restarting"},    {"57P02", "restarting"},    {"57P03", "restarting"},
        {"57014", "query_timeout"}, {"55P03", "query_timeout"}, {"58000", "corrupt"},
        {"58030", "corrupt"},       {"58P01", "corrupt"},       {"XX001", "corrupt"},
        {"XX002", "corrupt"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(reason_name(reason_from_sqlstate(rows[i].sqlstate)), rows[i].reason) != 0)
            fail_msg("%s is %s, expected %s", rows[i].sqlstate,
                     reason_name(reason_from_sqlstate(rows[i].sqlstate)), rows[i].reason);
    }
}

static void neighbours_of_listed_codes_are_query_error(void **state)
{
    (void)state;
    static const char *const sqlstates[] = {"42601", "42P02", "42502", "57000", "57P04",
                                            "57P05", "55006", "XX000", "22012", "25006",
                                            "0A000", "00000", "3B001", "?",     "5"};
    for (size_t i = 0; i < sizeof sqlstates / sizeof sqlstates[0]; i++)
        if (reason_from_sqlstate(sqlstates[i]) != REASON_QUERY_ERROR)
            fail_msg("%s is %s", sqlstates[i], reason_name(reason_from_sqlstate(sqlstates[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_names_are_the_words_of_the_contract),
        cmocka_unit_test(an_unknown_number_is_internal),
        cmocka_unit_test(no_sqlstate_is_unreachable),
        cmocka_unit_test(each_sqlstate_maps_to_its_reason),
        cmocka_unit_test(neighbours_of_listed_codes_are_query_error),
    };
    return cmocka_run_group_tests_name("reason", tests, NULL, NULL);
}
