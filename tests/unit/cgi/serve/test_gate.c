/* cgi/gate: what may reach libfcgi. */
#include "tests/unit/unit.h"

#include "cgi/serve/gate.h"
#include "tests/unit/cgi/serve/fcgi_bytes.h"

#include <stdio.h>
#include <stdlib.h>

static struct fcgi_bytes bytes;
static struct fcgi_bytes params;

static int begin_test(void **state)
{
    (void)state;
    bytes.len = 0;
    params.len = 0;
    return 0;
}

/* Judges a copy of exactly these bytes, so that a sanitizer sees a read behind them. */
static enum gate_verdict judge_bytes(const uint8_t *data, size_t len, struct gate_result *result)
{
    uint8_t *copy = malloc(len + (len == 0));
    if (len > 0)
        memcpy(copy, data, len);
    enum gate_verdict verdict = gate_judge(copy, len, result);
    free(copy);
    return verdict;
}

static enum gate_verdict judge(struct gate_result *result)
{
    return judge_bytes(bytes.data, bytes.len, result);
}

static void expect_whole(bool has_body)
{
    struct gate_result result;
    assert_int_equal(judge(&result), GATE_WHOLE);
    assert_int_equal(result.has_body, has_body);
}

static void expect_more(void)
{
    struct gate_result result;
    assert_int_equal(judge(&result), GATE_MORE);
}

static void expect_reject(const char *why)
{
    struct gate_result result;
    assert_int_equal(judge(&result), GATE_REJECT);
    assert_string_equal(result.why, why);
}

static void put_params(size_t padding_len)
{
    put_record(&bytes, T_PARAMS, 1, params.data, params.len, padding_len);
}

static void put_end_of(int type)
{
    put_record(&bytes, type, 1, NULL, 0, 0);
}

static void takes_a_whole_request(void **state)
{
    (void)state;
    put_request(&bytes, "GET", "/api/health", true, 0);
    expect_whole(false);
}

static void takes_a_request_without_parameters(void **state)
{
    (void)state;
    put_begin(&bytes, 1, false);
    put_end_of(T_PARAMS);
    put_end_of(T_STDIN);
    expect_whole(false);
}

static void tells_that_there_is_a_body(void **state)
{
    (void)state;
    put_request(&bytes, "POST", "/api/health", true, 5000);
    expect_whole(true);
}

static void takes_a_body_in_several_records(void **state)
{
    (void)state;
    put_begin(&bytes, 1, false);
    put_end_of(T_PARAMS);
    put_record(&bytes, T_STDIN, 1, "abc", 3, 0);
    put_record(&bytes, T_STDIN, 1, "d", 1, 255);
    put_end_of(T_STDIN);
    expect_whole(true);
}

static void takes_any_request_id_but_zero(void **state)
{
    (void)state;
    static const int ids[] = {1, 2, 255, 256, 65535};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        bytes.len = 0;
        put_begin(&bytes, ids[i], true);
        put_record(&bytes, T_PARAMS, ids[i], NULL, 0, 0);
        put_record(&bytes, T_STDIN, ids[i], NULL, 0, 0);
        expect_whole(false);
    }
    bytes.len = 0;
    put_begin(&bytes, 0, true);
    expect_reject("not a BEGIN_REQUEST");
}

static void ignores_unknown_flags_and_reserved_bytes(void **state)
{
    (void)state;
    static const uint8_t body[8] = {0, 1, 0xff, 1, 2, 3, 4, 5};
    put_record(&bytes, T_BEGIN, 1, body, sizeof body, 0);
    put_end_of(T_PARAMS);
    put_end_of(T_STDIN);
    for (size_t header = 0; header < bytes.len; header += 8U + bytes.data[header + 5])
        bytes.data[header + 7] = 0xee;
    expect_whole(false);
}

static void takes_any_padding_of_records_with_content(void **state)
{
    (void)state;
    put_param(&params, "REQUEST_METHOD", "GET");
    for (size_t padding_len = 0; padding_len <= 255; padding_len++) {
        bytes.len = 0;
        put_begin(&bytes, 1, true);
        put_params(padding_len);
        put_end_of(T_PARAMS);
        put_record(&bytes, T_STDIN, 1, "x", 1, padding_len);
        put_end_of(T_STDIN);
        expect_whole(true);
    }
}

/* libfcgi does not skip it: what stands in there would be parsed as records that nobody has judged. */
static void rejects_padding_that_libfcgi_takes_for_records(void **state)
{
    (void)state;
    static const uint8_t body[8] = {0, 1};
    put_record(&bytes, T_BEGIN, 1, body, sizeof body, 8);
    expect_reject("padding where a stream begins or ends");

    bytes.len = 0;
    put_begin(&bytes, 1, true);
    put_record(&bytes, T_PARAMS, 1, NULL, 0, 1);
    expect_reject("padding where a stream begins or ends");

    bytes.len = 0;
    put_begin(&bytes, 1, true);
    put_end_of(T_PARAMS);
    put_record(&bytes, T_STDIN, 1, NULL, 0, 255);
    expect_reject("padding where a stream begins or ends");
}

static void takes_names_and_values_of_all_length_forms(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 127, 128, 255, 256, 4000};
    static const size_t count = sizeof lengths / sizeof lengths[0];
    for (size_t i = 0; i < count * count; i++) {
        char name[4001];
        char value[4001];
        snprintf(name, sizeof name, "%0*d", (int)lengths[i / count], 0);
        snprintf(value, sizeof value, "%0*d", (int)lengths[i % count], 0);
        name[lengths[i / count]] = '\0';
        value[lengths[i % count]] = '\0';
        begin_test(NULL);
        put_param(&params, name, value);
        put_begin(&bytes, 1, true);
        put_params(0);
        put_end_of(T_PARAMS);
        put_end_of(T_STDIN);
        expect_whole(false);
    }
}

static void takes_four_byte_lengths_of_short_names(void **state)
{
    (void)state;
    static const uint8_t pair[] = {0x80, 0, 0, 1, 0x80, 0, 0, 2, 'n', 'v', 'v'};
    put(&params, pair, sizeof pair);
    put_begin(&bytes, 1, true);
    put_params(0);
    put_end_of(T_PARAMS);
    put_end_of(T_STDIN);
    expect_whole(false);
}

static void takes_pairs_that_straddle_records_at_any_byte(void **state)
{
    (void)state;
    char value[300];
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = '\0';
    put_param(&params, "N", value);
    put_param(&params, value, "");
    for (size_t first = 1; first < params.len; first++) {
        bytes.len = 0;
        put_begin(&bytes, 1, true);
        put_record(&bytes, T_PARAMS, 1, params.data, first, first % 9);
        put_record(&bytes, T_PARAMS, 1, params.data + first, params.len - first, 0);
        put_end_of(T_PARAMS);
        put_end_of(T_STDIN);
        expect_whole(false);
    }
}

static void takes_pairs_that_come_byte_by_byte(void **state)
{
    (void)state;
    put_param(&params, "REQUEST_METHOD", "GET");
    put_begin(&bytes, 1, true);
    for (size_t i = 0; i < params.len; i++)
        put_record(&bytes, T_PARAMS, 1, params.data + i, 1, 0);
    put_end_of(T_PARAMS);
    put_end_of(T_STDIN);
    expect_whole(false);
}

static void rejects_pairs_that_end_behind_their_stream(void **state)
{
    (void)state;
    put_param(&params, "NAME", "value");
    size_t whole = params.len;
    for (size_t len = 1; len < whole; len++) {
        bytes.len = 0;
        params.len = len;
        put_begin(&bytes, 1, true);
        put_params(0);
        expect_more();
        put_end_of(T_PARAMS);
        expect_reject("a parameter that ends behind the PARAMS stream");
    }
}

static void rejects_lengths_that_no_request_can_have(void **state)
{
    (void)state;
    static const uint8_t pairs[][8] = {
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff}, /* two that overflow when they are added in 32 bits */
        {0xff, 0xff, 0xff, 0xff, 0},
        {0, 0xff, 0xff, 0xff, 0xff},
        {0x80, 0, 0x40, 1, 0}, /* GATE_MAX_BYTES + 1 */
        {0x80, 0, 0x20, 0, 0x80, 0, 0x20, 1},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        bytes.len = 0;
        put_begin(&bytes, 1, true);
        put_record(&bytes, T_PARAMS, 1, pairs[i], sizeof pairs[i], 0);
        expect_reject("a parameter longer than a request may be");
    }
}

static void rejects_a_second_request_behind_the_first(void **state)
{
    (void)state;
    put_request(&bytes, "GET", "/api/health", true, 0);
    put_request(&bytes, "GET", "/api/health", true, 0);
    expect_reject("bytes behind the request");
}

static void rejects_any_byte_behind_the_request(void **state)
{
    (void)state;
    put_request(&bytes, "GET", "/api/health", true, 0);
    for (int byte = 0; byte <= 255; byte++) {
        bytes.data[bytes.len] = (uint8_t)byte;
        bytes.len++;
        expect_reject("bytes behind the request");
        bytes.len--;
    }
}

static void rejects_at_the_first_byte_what_is_not_fastcgi(void **state)
{
    (void)state;
    for (int byte = 0; byte <= 255; byte++) {
        bytes.data[0] = (uint8_t)byte;
        bytes.len = 1;
        if (byte == 1)
            expect_more();
        else
            expect_reject("not version 1 of the protocol");
    }
}

static void rejects_another_version_in_a_later_record(void **state)
{
    (void)state;
    put_begin(&bytes, 1, true);
    bytes.data[bytes.len++] = 2;
    expect_reject("not version 1 of the protocol");
}

static void rejects_roles_other_than_responder(void **state)
{
    (void)state;
    static const uint8_t roles[][2] = {{0, 0}, {0, 2}, {0, 3}, {1, 1}, {0xff, 0xff}};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        const uint8_t body[8] = {roles[i][0], roles[i][1], 1};
        bytes.len = 0;
        put_record(&bytes, T_BEGIN, 1, body, sizeof body, 0);
        expect_reject("a role other than responder");
    }
}

static void rejects_a_begin_of_the_wrong_length(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 7, 9, 16, 65535};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        bytes.len = 0;
        put_header(&bytes, T_BEGIN, 1, lengths[i], 0);
        struct gate_result result;
        assert_int_equal(judge(&result), GATE_REJECT);
    }
}

/* The header is enough: the content of a bad record is not waited for. */
static void rejects_records_that_do_not_belong_where_they_are(void **state)
{
    (void)state;
    struct gate_result result;
    for (int stage = 0; stage < 3; stage++) {
        static const int expected[] = {T_BEGIN, T_PARAMS, T_STDIN};
        for (int type = 0; type <= 255; type++) {
            bytes.len = 0;
            if (stage > 0)
                put_begin(&bytes, 1, true);
            if (stage > 1)
                put_end_of(T_PARAMS);
            put_header(&bytes, type, 1, 8, 0);
            assert_int_equal(judge(&result), type == expected[stage] ? GATE_MORE : GATE_REJECT);
        }
    }
}

static void rejects_management_records_anywhere(void **state)
{
    (void)state;
    static const char *const why[] = {"not a BEGIN_REQUEST", "a record of another request",
                                      "a record of another request"};
    for (int stage = 0; stage < 3; stage++) {
        bytes.len = 0;
        if (stage > 0)
            put_begin(&bytes, 1, true);
        if (stage > 1)
            put_end_of(T_PARAMS);
        put_record(&bytes, T_GET_VALUES, 0, "\x09\x00MPXS_CONN", 11, 0);
        expect_reject(why[stage]);
    }
}

static void rejects_records_of_another_request(void **state)
{
    (void)state;
    put_begin(&bytes, 1, true);
    size_t begin_len = bytes.len;
    put_header(&bytes, T_PARAMS, 2, 0, 0);
    expect_reject("a record of another request");
    bytes.len = begin_len;
    put_header(&bytes, T_PARAMS, 0x101, 0, 0);
    expect_reject("a record of another request");
    bytes.len = begin_len;
    put_header(&bytes, T_BEGIN, 2, 8, 0);
    expect_reject("a record of another request");
}

static void rejects_an_abort_and_a_second_begin(void **state)
{
    (void)state;
    put_begin(&bytes, 1, true);
    size_t begin_len = bytes.len;
    put_record(&bytes, T_ABORT, 1, NULL, 0, 0);
    expect_reject("not a PARAMS record");
    bytes.len = begin_len;
    put_begin(&bytes, 1, true);
    expect_reject("not a PARAMS record");
}

static void waits_for_the_end_of_each_stream(void **state)
{
    (void)state;
    put_begin(&bytes, 1, true);
    expect_more();
    put_end_of(T_PARAMS);
    expect_more();
    put_record(&bytes, T_STDIN, 1, "x", 1, 0);
    expect_more();
    put_end_of(T_STDIN);
    expect_whole(true);
}

static void waits_while_only_a_part_is_there(void **state)
{
    (void)state;
    struct gate_result result;
    put_request(&bytes, "POST", "/api/health", true, 300);
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_equal(judge_bytes(bytes.data, len, &result), GATE_MORE);
    expect_whole(true);
}

/* A request whose records are len bytes together. */
static void put_request_of(size_t len)
{
    static uint8_t body[GATE_MAX_BYTES];
    bytes.len = 0;
    put_begin(&bytes, 1, true);
    put_end_of(T_PARAMS);
    put_record(&bytes, T_STDIN, 1, body, len - bytes.len - 16, 0);
    put_end_of(T_STDIN);
    assert_int_equal(bytes.len, len);
}

static void takes_a_request_up_to_the_limit(void **state)
{
    (void)state;
    put_request_of(GATE_MAX_BYTES);
    expect_whole(true);
    put_request_of(GATE_MAX_BYTES + 1);
    expect_reject("longer than a request may be");
}

static void rejects_a_record_too_long_when_its_header_is_there(void **state)
{
    (void)state;
    put_begin(&bytes, 1, true);
    size_t fits = GATE_MAX_BYTES - bytes.len - 8;
    put_header(&bytes, T_PARAMS, 1, fits, 0);
    expect_more();
    bytes.len -= 8;
    put_header(&bytes, T_PARAMS, 1, fits + 1, 0);
    expect_reject("longer than a request may be");
    bytes.len -= 8;
    put_header(&bytes, T_PARAMS, 1, fits - 254, 255);
    expect_reject("longer than a request may be");
    bytes.len -= 8;
    put_header(&bytes, T_PARAMS, 1, 65535, 255);
    expect_reject("longer than a request may be");
}

/* Nothing more can be peeked then, so waiting would be in vain. */
static void rejects_a_full_buffer_without_a_whole_request(void **state)
{
    (void)state;
    static uint8_t body[GATE_MAX_BYTES];
    for (size_t left = 0; left < 8; left++) {
        bytes.len = 0;
        put_begin(&bytes, 1, true);
        put_end_of(T_PARAMS);
        put_record(&bytes, T_STDIN, 1, body, GATE_MAX_BYTES - bytes.len - 8 - left, 0);
        put_end_of(T_STDIN);
        bytes.len = GATE_MAX_BYTES;
        expect_reject("longer than a request may be");
    }
}

/* As many pairs as fit: linear, and what libfcgi makes of them is bounded. */
static void takes_many_empty_parameters(void **state)
{
    (void)state;
    static uint8_t pairs[16000];
    put_begin(&bytes, 1, true);
    put_record(&bytes, T_PARAMS, 1, pairs, sizeof pairs, 0);
    put_end_of(T_PARAMS);
    put_end_of(T_STDIN);
    expect_whole(false);
}

static void survives_random_mutations(void **state)
{
    (void)state;
    static struct fcgi_bytes original;
    size_t verdicts[3] = {0};

    original.len = 0;
    put_request(&original, "POST", "/api/health", true, 40);
    for (uint32_t i = 1; i <= 200000; i++) {
        uint32_t seed = i;
        struct gate_result result;
        bytes.len = 0;
        put(&bytes, original.data, original.len);
        mutate(&bytes, &seed);
        enum gate_verdict verdict = judge(&result);
        assert_in_range(verdict, GATE_MORE, GATE_REJECT);
        if ((verdict == GATE_REJECT) != (result.why != NULL))
            fail_msg("mutation %u: verdict %d, why %s", i, (int)verdict, result.why);
        verdicts[verdict]++;
    }
    /* Or the mutations are of no use. */
    for (size_t i = 0; i < 3; i++)
        assert_true(verdicts[i] > 1000);
}

static void survives_random_bytes(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 20000; i++) {
        uint32_t seed = i;
        struct gate_result result;
        bytes.len = random_next(&seed) % 200;
        for (size_t k = 0; k < bytes.len; k++)
            bytes.data[k] = (uint8_t)(random_next(&seed) % 10);
        (void)judge(&result);
    }
}

#define test(function) cmocka_unit_test_setup(function, begin_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(takes_a_whole_request),
        test(takes_a_request_without_parameters),
        test(tells_that_there_is_a_body),
        test(takes_a_body_in_several_records),
        test(takes_any_request_id_but_zero),
        test(ignores_unknown_flags_and_reserved_bytes),
        test(takes_any_padding_of_records_with_content),
        test(rejects_padding_that_libfcgi_takes_for_records),
        test(takes_names_and_values_of_all_length_forms),
        test(takes_four_byte_lengths_of_short_names),
        test(takes_pairs_that_straddle_records_at_any_byte),
        test(takes_pairs_that_come_byte_by_byte),
        test(rejects_pairs_that_end_behind_their_stream),
        test(rejects_lengths_that_no_request_can_have),
        test(rejects_a_second_request_behind_the_first),
        test(rejects_any_byte_behind_the_request),
        test(rejects_at_the_first_byte_what_is_not_fastcgi),
        test(rejects_another_version_in_a_later_record),
        test(rejects_roles_other_than_responder),
        test(rejects_a_begin_of_the_wrong_length),
        test(rejects_records_that_do_not_belong_where_they_are),
        test(rejects_management_records_anywhere),
        test(rejects_records_of_another_request),
        test(rejects_an_abort_and_a_second_begin),
        test(waits_for_the_end_of_each_stream),
        test(waits_while_only_a_part_is_there),
        test(takes_a_request_up_to_the_limit),
        test(rejects_a_record_too_long_when_its_header_is_there),
        test(rejects_a_full_buffer_without_a_whole_request),
        test(takes_many_empty_parameters),
        test(survives_random_mutations),
        test(survives_random_bytes),
    };
    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
