/* What cgi/fcgi relies on: that libfcgi reads a request as the gate has judged it, and two of its fields. */
#include "tests/unit/cgi/serve/fcgi_fixture.h"

#include "cgi/serve/gate.h"

#include <fcgiapp.h>
#include <signal.h>

/* The contract of gate and libfcgi: a request that the gate lets through is read to its last byte, without
 * waiting, and answered whole. */
static void expect_that_libfcgi_agrees(uint32_t seed, size_t *whole_count)
{
    static uint8_t data[1 << 16];
    static struct answer answer;
    struct gate_result result;
    char byte;

    if (bytes.len == 0 || gate_judge(bytes.data, bytes.len, &result) != GATE_WHOLE)
        return;
    (*whole_count)++;
    bool keep = (bytes.data[8 + 2] & 1) != 0;
    int fd = server_fd;
    send_bytes();
    bool kept = serve();
    size_t len = receive(data, sizeof data);
    bool consumed = server_fd == fd && recv(fd, &byte, 1, 0) < 0 && errno == EAGAIN;
    if (kept != keep || !consumed || !parse_answer(data, len, &answer) ||
        answer.id != (bytes.data[2] << 8 | bytes.data[3])) {
        fail_msg("seed %u: keep %d, kept %d, consumed %d, %zu bytes answered", seed, keep, kept, consumed,
                 len);
    }
}

static void reads_whatever_mutation_the_gate_lets_through(void **state)
{
    (void)state;
    size_t whole_count = 0;
    for (uint32_t i = 1; i <= 20000; i++) {
        uint32_t seed = i;
        bytes.len = 0;
        put_request(&bytes, "GET", "/api/health", i % 2 == 0, i % 3 == 0 ? 20 : 0);
        mutate(&bytes, &seed);
        expect_that_libfcgi_agrees(i, &whole_count);
    }
    assert_true(whole_count > 1000);
}

/* Padding whose bytes look like records, sometimes. */
static void put_with_padding(int type, const void *content, size_t len, uint32_t *seed)
{
    static const uint8_t baits[] = {0, 1, 4, 5, 8, 9, 11};
    size_t padding_len = random_next(seed) % 4 == 0 ? random_next(seed) % 32 : 0;
    put_record(&bytes, type, 1, content, len, padding_len);
    for (size_t i = 1; i <= padding_len; i++)
        bytes.data[bytes.len - i] = baits[random_next(seed) % sizeof baits];
}

/* Up to three records of random length, then the empty one. */
static void put_stream(int type, const struct fcgi_bytes *content, uint32_t *seed)
{
    size_t at = 0;
    for (int i = 0; i < 3 && at < content->len; i++) {
        size_t left = content->len - at;
        size_t n = i == 2 ? left : 1 + random_next(seed) % left;
        put_with_padding(type, content->data + at, n, seed);
        at += n;
    }
    put_with_padding(type, NULL, 0, seed);
}

static void reads_whatever_framing_the_gate_lets_through(void **state)
{
    (void)state;
    static struct fcgi_bytes params;
    static struct fcgi_bytes body;
    static char value[9000];
    size_t whole_count = 0;

    memset(value, 'v', sizeof value - 1);
    memset(body.data, 'b', 5000);
    for (uint32_t i = 1; i <= 5000; i++) {
        uint32_t seed = i;
        bytes.len = params.len = 0;
        put_param(&params, "SCRIPT_NAME", "/api/health");
        put_param(&params, "X", value + random_next(&seed) % sizeof value);
        put_param(&params, "REQUEST_METHOD", "HEAD");
        body.len = random_next(&seed) % 5000;
        const uint8_t begin[8] = {0, 1, i % 2};
        put_with_padding(T_BEGIN, begin, sizeof begin, &seed);
        put_stream(T_PARAMS, &params, &seed);
        put_stream(T_STDIN, &body, &seed);
        expect_that_libfcgi_agrees(i, &whole_count);
    }
    assert_true(whole_count > 1000);
}

/* fcgi.c sets two fields below "Don't use anything below here": this is all that it expects of them. */
static void libfcgi_adopts_a_connection_by_two_fields(void **state)
{
    (void)state;
    FCGX_Request r;
    int *ipc_fd = &r.ipcFd;
    int *keep_connection = &r.keepConnection;
    struct FCGX_Stream **in = &r.in;

    for (int keep = 0; keep <= 1; keep++) {
        bytes.len = 0;
        put_request(&bytes, "GET", "/api/health", keep, 0);
        send_bytes();
        assert_int_equal(FCGX_InitRequest(&r, -1, 0), 0);
        assert_int_equal(*ipc_fd, -1);
        assert_null(*in);
        *ipc_fd = server_fd;
        *keep_connection = 1;
        assert_int_equal(FCGX_Accept_r(&r), 0);
        assert_int_equal(*ipc_fd, server_fd);
        assert_int_equal(*keep_connection, keep);
        assert_string_equal(FCGX_GetParam("REQUEST_METHOD", r.envp), "GET");
        FCGX_Free(&r, 0);
        assert_true(is_open(server_fd));
    }
}

static void libfcgi_closes_what_it_cannot_read(void **state)
{
    (void)state;
    FCGX_Request r;
    FCGX_InitRequest(&r, -1, 0);
    r.ipcFd = server_fd;
    r.keepConnection = 1;
    assert_int_equal(FCGX_Accept_r(&r), -EBADF);
    assert_int_equal(r.ipcFd, -1);
    assert_false(is_open(server_fd));
    server_fd = -1;
}

static int init_library(void **state)
{
    struct error err;
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    return fcgi_init(&err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(libfcgi_adopts_a_connection_by_two_fields),
        test(libfcgi_closes_what_it_cannot_read),
        test(reads_whatever_mutation_the_gate_lets_through),
        test(reads_whatever_framing_the_gate_lets_through),
    };
    alarm(120); /* nothing here may block; a hang ends as a failure */
    return cmocka_run_group_tests_name("fcgi_contract", tests, init_library, NULL);
}
