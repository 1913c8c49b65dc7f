/* What cgi/serve/fcgi relies on: libfcgi reads each request that the gate writes, and two of its fields
 * work as expected. */
#include "tests/unit/cgi/serve/fcgi_fixture.h"

#include "cgi/serve/feed.h"

#include <fcgiapp.h>
#include <signal.h>

/* The contract of gate and libfcgi: libfcgi reads each request of the gate to its last byte, without
 * waiting, and answers it whole under its id. */
static void expect_that_libfcgi_agrees(uint32_t seed, size_t *whole_count)
{
    static uint8_t data[1 << 16];
    static struct answer answer;
    struct gate gate = {0};
    struct gate_result r = {.event = GATE_MORE};

    for (size_t taken = 0; taken < bytes.len && r.event != GATE_REJECT;) {
        r = gate_take(&gate, bytes.data + taken, bytes.len - taken);
        taken += r.taken;
        if (r.event == GATE_WHOLE) {
            const uint8_t *p = (const uint8_t *)r.bytes.data;
            bool kept = fcgi_serve(server_fd, &r, health, &process, 0);
            size_t len = receive(data, sizeof data);
            if (kept != (p[10] == 1) || !parse_answer(data, len, &answer) || answer.id != (p[2] << 8 | p[3]))
                fail_msg("seed %u: keep %d, kept %d, %zu bytes answered", seed, p[10], kept, len);
            (*whole_count)++;
        }
        buf_free(&r.bytes);
    }
    gate_free(&gate);
}

static void reads_what_the_gate_writes_for_mutated_requests(void **state)
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

/* Sometimes the bytes of the padding look like records. */
static void put_with_padding(int type, const void *content, size_t len, uint32_t *seed)
{
    static const uint8_t baits[] = {0, 1, 4, 5, 8, 9, 11};
    size_t padding_len = random_next(seed) % 4 == 0 ? random_next(seed) % 32 : 0;
    put_record(&bytes, type, 1, content, len, padding_len);
    for (size_t i = 1; i <= padding_len; i++)
        bytes.data[bytes.len - i] = baits[random_next(seed) % sizeof baits];
}

/* Writes up to three records of random length, then the empty one. */
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

static void reads_what_the_gate_writes_for_any_framing(void **state)
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

/* fcgi.c sets two fields below "Don't use anything below here". It expects no more of them than this:
 * libfcgi reads from one descriptor and, once fcgi.c has replaced that, writes to another. */
static void libfcgi_adopts_descriptors_by_two_fields(void **state)
{
    (void)state;
    FCGX_Request r;
    int *ipc_fd = &r.ipcFd;
    int *keep_connection = &r.keepConnection;
    struct FCGX_Stream **in = &r.in;

    for (int keep = 0; keep <= 1; keep++) {
        char byte;
        bytes.len = 0;
        put_request(&bytes, "GET", "/api/health", keep, 0);
        assert_int_equal(FCGX_InitRequest(&r, -1, 0), 0);
        assert_int_equal(*ipc_fd, -1);
        assert_null(*in);
        *ipc_fd = FEED_FD;
        *keep_connection = 1;
        feed_begin(bytes.data, bytes.len);
        assert_int_equal(FCGX_Accept_r(&r), 0);
        assert_int_equal(*ipc_fd, FEED_FD);
        assert_int_equal(*keep_connection, keep);
        assert_string_equal(FCGX_GetParam("REQUEST_METHOD", r.envp), "GET");
        assert_int_equal(FCGX_GetStr(&byte, 1, r.in), 0);
        assert_int_equal(feed_end(), 0);
        *ipc_fd = server_fd;
        assert_int_equal(FCGX_PutStr("x", 1, r.out), 1);
        assert_int_equal(FCGX_FFlush(r.out), 0);
        assert_true(recv(peer_fd, &byte, 1, 0) == 1);
        FCGX_Free(&r, 0);
        assert_true(is_open(server_fd));
    }
}

static void no_descriptor_has_the_number_of_the_feed(void **state)
{
    (void)state;
    char bytes_read[8];
    assert_false(is_open(FEED_FD));
    assert_int_equal(dup2(peer_fd, FEED_FD), -1);
    feed_begin("abcdef", 6);
    assert_int_equal(read(FEED_FD, bytes_read, 4), 4);
    assert_int_equal(close(FEED_FD), -1);
    assert_int_equal(read(FEED_FD, bytes_read + 4, 4), 2);
    assert_memory_equal(bytes_read, "abcdef", 6);
    assert_int_equal(read(FEED_FD, bytes_read, 4), 0);
    assert_int_equal(feed_end(), 0);
    /* The kernel serves the other numbers. */
    assert_int_equal(write(peer_fd, "x", 1), 1);
    assert_int_equal(read(server_fd, bytes_read, 8), 1);
    assert_int_equal(read(-1, bytes_read, 1), -1);
    assert_int_equal(errno, EBADF);
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
        test(libfcgi_adopts_descriptors_by_two_fields),
        test(no_descriptor_has_the_number_of_the_feed),
        test(libfcgi_closes_what_it_cannot_read),
        test(reads_what_the_gate_writes_for_mutated_requests),
        test(reads_what_the_gate_writes_for_any_framing),
    };
    alarm(120); /* no test may block; the alarm makes a hang a failure */
    return cmocka_run_group_tests_name("fcgi_contract", tests, init_library, NULL);
}
