/* cgi/protocol: what bytes and texts tell of a PostgreSQL peer. */
#include "tests/unit/unit.h"

#include "cgi/probe/protocol.h"

static void first_bytes_tell_a_postgresql_from_anything_else(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        bool plausible;
        enum protocol_stage stage;
    } cases[] = {
        {"S", 1, true, PROTOCOL_SETTLED},
        {"G", 1, true, PROTOCOL_SETTLED},
        {"N", 1, true, PROTOCOL_UNKNOWN},
        {"R\0\0\0\x08", 5, true, PROTOCOL_SETTLED},
        {"R\0\0", 3, true, PROTOCOL_SETTLED},
        {"E\0\0\0\x64", 5, true, PROTOCOL_SETTLED},
        {"v\0\0\0\x0c", 5, true, PROTOCOL_SETTLED},
        {"R\0\0\0\0", 5, false, PROTOCOL_SETTLED}, /* version 2: no length, AuthenticationOk */
        {"EFATA", 5, false, PROTOCOL_SETTLED},     /* version 2: no length, a text */
        {"HTTP/", 5, false, PROTOCOL_UNKNOWN},
        {"\x15\x03\x01\0\x02", 5, false, PROTOCOL_UNKNOWN}, /* a TLS alert */
        {"\0", 1, false, PROTOCOL_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum protocol_stage stage = PROTOCOL_UNKNOWN;
        bool plausible =
            protocol_judge_first_bytes((const unsigned char *)cases[i].bytes, cases[i].len, &stage);
        assert_int_equal(plausible, cases[i].plausible);
        assert_int_equal(stage, cases[i].stage);
    }
}

static void expect_sqlstate(const char *message, const char *expected)
{
    char sqlstate[6];
    protocol_find_sqlstate(message, sqlstate);
    assert_string_equal(sqlstate, expected);
}

static void the_last_sqlstate_of_a_connect_error_is_found(void **state)
{
    (void)state;
    expect_sqlstate("connection to server on socket \"/x\" failed: FATAL:  53300\n", "53300");
    expect_sqlstate("a failed: FATAL:  57P03\nb failed: FATAL:  28P01\n", "28P01");
    expect_sqlstate("a failed: FATAL:  57P03\nb failed: Connection refused\n", "57P03");
    /* Severities as the catalogues of PostgreSQL 15 have them. */
    expect_sqlstate("a failed: \u0412\u0410\u0416\u041d\u041e:  28P01\n", "28P01");
    expect_sqlstate("a failed: \u81f4\u547d\u9519\u8bef:  53300\n", "53300");
    expect_sqlstate("a failed: FATALE:  57P03", "57P03");
    expect_sqlstate("connection refused", "");
    expect_sqlstate("FATAL:  password authentication failed", "");
    expect_sqlstate("FATAL:  533001\n", "");
    expect_sqlstate("", "");
}

static void a_broken_protocol_is_told_from_a_broken_connection(void **state)
{
    (void)state;
    assert_true(protocol_is_violation(
        "lost synchronization with server: got message type \"H\", length 1414549295\n"));
    assert_true(protocol_is_violation("expected authentication request from server, but received H"));
    assert_false(protocol_is_violation("server closed the connection unexpectedly"));
    assert_false(protocol_is_violation("could not receive data from server: Connection reset by peer"));
    assert_false(protocol_is_violation("Connection refused\n\tIs the server running on that host?"));
}

static void only_nobody_listening_is_a_refusal(void **state)
{
    (void)state;
    assert_true(
        protocol_is_refusal("connection to server at \"127.0.0.1\", port 1 failed: Connection refused"));
    assert_true(
        protocol_is_refusal("connection to server on socket \"/x\" failed: No such file or directory"));
    assert_false(protocol_is_refusal("connection to server on socket \"/x\" failed: Permission denied"));
}

static void a_count_is_a_non_negative_64_bit_integer_of_an_integer_type(void **state)
{
    (void)state;
    enum { INT8 = 20, TEXT = 25, NUMERIC = 1700 };
    static const struct {
        unsigned int type;
        const char *text;
        size_t len;
        bool ok;
        int64_t value;
    } cases[] = {
        {INT8, "0", 1, true, 0},
        {INT8, "9223372036854775807", 19, true, INT64_MAX},
        {21, "7", 1, true, 7},
        {23, "7", 1, true, 7},
        {26, "7", 1, true, 7},
        {NUMERIC, "714201", 6, true, 714201},
        {NUMERIC, "9223372036854775808", 19, false, 0},
        {NUMERIC, "1.0", 3, false, 0},
        {NUMERIC, "NaN", 3, false, 0},
        {INT8, "-1", 2, false, 0},
        {INT8, "1\0002", 3, false, 0},
        {INT8, "", 0, false, 0},
        {INT8, " 1", 2, false, 0},
        {TEXT, "12", 2, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t value = 0;
        assert_int_equal(protocol_parse_count(cases[i].type, cases[i].text, cases[i].len, &value),
                         cases[i].ok);
        assert_int_equal(value, cases[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_bytes_tell_a_postgresql_from_anything_else),
        cmocka_unit_test(the_last_sqlstate_of_a_connect_error_is_found),
        cmocka_unit_test(a_broken_protocol_is_told_from_a_broken_connection),
        cmocka_unit_test(only_nobody_listening_is_a_refusal),
        cmocka_unit_test(a_count_is_a_non_negative_64_bit_integer_of_an_integer_type),
    };
    return cmocka_run_group_tests_name("protocol", tests, NULL, NULL);
}
