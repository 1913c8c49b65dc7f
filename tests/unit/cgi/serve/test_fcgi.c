/* cgi/serve/fcgi: one request through libfcgi. */
#include "tests/unit/cgi/serve/fcgi_fixture.h"

#include <fcgiapp.h>
#include <signal.h>
#include <sys/syscall.h>

/* What write(2) does on server_fd while a test scripts it. libfcgi calls this write. */
static struct {
    bool on;
    size_t accepts; /* takes this many bytes, then fails with EAGAIN */
    int calls_after_failure;
    bool failed;
    size_t len;
    uint8_t data[1 << 18];
} script;

ssize_t write(int fd, const void *data, size_t len)
{
    if (!script.on || fd != server_fd)
        return syscall(SYS_write, fd, data, len);
    script.calls_after_failure += script.failed;
    size_t n = len < script.accepts ? len : script.accepts;
    if (n == 0) {
        script.failed = true;
        errno = EAGAIN;
        return -1;
    }
    memcpy(script.data + script.len, data, n);
    script.len += n;
    script.accepts -= n;
    return (ssize_t)n;
}

static void start_script(size_t accepts)
{
    memset(&script, 0, offsetof(__typeof__(script), data));
    script.accepts = accepts;
    script.on = true;
}

static void answers_several_requests_on_a_kept_connection(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        bytes.len = 0;
        put_request(&bytes, "GET", "/api/health", true, 0);
        assert_true(serve());
        expect_answer_to("GET", "/api/health");
    }
}

static void leaves_closing_to_the_caller(void **state)
{
    (void)state;
    int fd = server_fd;
    put_request(&bytes, "GET", "/api/health", false, 0);
    assert_false(serve());
    assert_int_equal(server_fd, fd);
    assert_true(is_open(fd));
    expect_answer_to("GET", "/api/health");
}

static void answers_head_without_a_body(void **state)
{
    (void)state;
    put_request(&bytes, "HEAD", "/api/health/live", true, 0);
    assert_true(serve());
    expect_answer_to("HEAD", "/api/health/live");
}

static void answers_400_without_a_method(void **state)
{
    (void)state;
    put_request(&bytes, NULL, "/api/health", true, 0);
    assert_true(serve());
    expect_status("400");
}

static void answers_400_without_any_parameter(void **state)
{
    (void)state;
    put_begin(&bytes, 1, true);
    put_record(&bytes, T_PARAMS, 1, NULL, 0, 0);
    put_record(&bytes, T_STDIN, 1, NULL, 0, 0);
    assert_true(serve());
    expect_status("400");
}

static void hands_over_path_and_query(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *status;
    } cases[] = {
        {"PATH_INFO", "/api/health", "200"}, {"PATH_INFO", "/nothing", "404"}, {"QUERY_STRING", "a=b", "200"},
        {"QUERY_STRING", "a=%zz", "400"},    {"SOMETHING_ELSE", "x", "200"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fcgi_bytes params = {.len = 0};
        put_param(&params, "REQUEST_METHOD", "GET");
        put_param(&params, "SCRIPT_NAME", strcmp(cases[i].name, "PATH_INFO") == 0 ? "" : "/api/health");
        put_param(&params, cases[i].name, cases[i].value);
        bytes.len = 0;
        put_begin(&bytes, 1, true);
        put_record(&bytes, T_PARAMS, 1, params.data, params.len, 0);
        put_record(&bytes, T_PARAMS, 1, NULL, 0, 0);
        put_record(&bytes, T_STDIN, 1, NULL, 0, 0);
        assert_true(serve());
        expect_status(cases[i].status);
    }
}

static void answers_under_the_id_of_the_request(void **state)
{
    (void)state;
    put_begin(&bytes, 0x1234, true);
    put_record(&bytes, T_PARAMS, 0x1234, NULL, 0, 0);
    put_record(&bytes, T_STDIN, 0x1234, NULL, 0, 0);
    assert_true(serve());
    assert_int_equal(read_answer()->id, 0x1234);
}

static void answers_431_when_the_gate_left_out_the_parameters(void **state)
{
    (void)state;
    struct gate_result request = {.event = GATE_WHOLE, .too_long = true};
    struct fcgi_bytes b = {.len = 0};
    put_begin(&b, 1, true);
    put_record(&b, T_PARAMS, 1, NULL, 0, 0);
    put_record(&b, T_STDIN, 1, NULL, 0, 0);
    buf_append(&request.bytes, b.data, b.len);
    assert_true(fcgi_serve(server_fd, &request, health, &process, 0));
    buf_free(&request.bytes);
    expect_status("431");
}

static void answers_the_longest_request(void **state)
{
    (void)state;
    static char value[GATE_MAX_PARAMS];
    struct fcgi_bytes params = {.len = 0};
    put_param(&params, "REQUEST_METHOD", "GET");
    put_param(&params, "SCRIPT_NAME", "/api/health");
    memset(value, 'v', sizeof value);
    value[GATE_MAX_PARAMS - params.len - 6] = '\0';
    put_param(&params, "Q", value);
    assert_int_equal(params.len, GATE_MAX_PARAMS);
    put_begin(&bytes, 1, true);
    put_record(&bytes, T_PARAMS, 1, params.data, params.len, 0);
    put_record(&bytes, T_PARAMS, 1, NULL, 0, 0);
    put_record(&bytes, T_STDIN, 1, NULL, 0, 0);
    assert_true(serve());
    expect_answer_to("GET", "/api/health");
}

/* Makes /api/status 100 KB long: check names of full length, and an error text for the rest. */
static void make_long_status(size_t text_len)
{
    static char text[1 << 17];
    struct snapshot *snapshot = snapshot_new(CHECKS_MAX);
    for (size_t i = 0; i < CHECKS_MAX; i++) {
        struct check_result *r = &snapshot->checks[i];
        snprintf(r->name, sizeof r->name, "%0*zu", (int)sizeof r->name - 1, i);
        r->has_last_ok = true;
    }
    memset(text, 'e', text_len);
    text[text_len] = '\0';
    publish(snapshot, text);
}

static void answers_with_100_kb(void **state)
{
    (void)state;
    int size = 1 << 20;
    make_long_status(40000);
    (void)setsockopt(server_fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    (void)setsockopt(server_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    put_request(&bytes, "GET", "/api/status", true, 0);
    assert_true(serve());
    const struct answer *a = read_answer();
    assert_true(a->len > 100 * 1024);
    assert_string_equal(a->data + a->len - 2, "}\n");
}

static void fill_what_the_peer_does_not_read(void)
{
    static const char filler[4096];
    int size = 4096;
    (void)setsockopt(server_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    while (send(server_fd, filler, sizeof filler, MSG_NOSIGNAL) > 0) {
    }
    while (send(server_fd, filler, 1, MSG_NOSIGNAL) > 0) {
    }
    assert_int_equal(errno, EAGAIN);
}

static void gives_up_a_peer_that_does_not_read(void **state)
{
    (void)state;
    static const char *const paths[] = {"/api/health", "/api/status"};
    make_long_status(100);
    for (size_t i = 0; i < 2; i++) {
        bytes.len = 0;
        put_request(&bytes, "GET", paths[i], true, 0);
        fill_what_the_peer_does_not_read();
        int fd = server_fd;
        assert_false(serve());
        assert_int_equal(server_fd, fd);
        assert_true(is_open(fd));
        close_pair();
        open_pair();
    }
}

static void gives_up_a_peer_that_is_gone(void **state)
{
    (void)state;
    put_request(&bytes, "GET", "/api/health", true, 0);
    shutdown(peer_fd, SHUT_RD);
    assert_false(serve());
    assert_true(is_open(server_fd));
}

/* Answers /api/status over a socket that takes this many bytes, with an error text of this length in it.
 * Each call makes a new health, because the document has counters; its verdict stays `starting`, because a
 * transition has a time. */
static bool answer_over_short_socket(size_t text_len, size_t accepts)
{
    static char text[30000];

    memset(text, 'e', text_len);
    text[text_len] = '\0';
    struct snapshot *snapshot = snapshot_new(2);
    snapshot->starting = true;
    publish(snapshot, text);
    bytes.len = 0;
    put_request(&bytes, "GET", "/api/status", true, 0);
    start_script(accepts);
    bool kept = serve();
    script.on = false;
    return kept;
}

/* What the socket took must be a beginning of the whole response: no byte twice, none missing. Returns the
 * length of the whole response. */
static size_t try_short_writes(size_t text_len)
{
    static uint8_t whole[40000];
    static struct answer answer;

    assert_true(answer_over_short_socket(text_len, sizeof script.data));
    assert_true(parse_answer(script.data, script.len, &answer));
    size_t whole_len = script.len;
    memcpy(whole, script.data, whole_len);
    const size_t accepts[] = {0,    100,  8191,          8192,           8193,
                              8200, 8230, whole_len - 1, whole_len - 24, whole_len - 40};
    for (size_t i = 0; i < sizeof accepts / sizeof accepts[0]; i++) {
        bool kept = answer_over_short_socket(text_len, accepts[i]);
        if (kept != (accepts[i] >= whole_len) || script.calls_after_failure != 0 || script.len > whole_len ||
            memcmp(script.data, whole, script.len) != 0) {
            fail_msg(
                "text of %zu bytes, %zu accepted: kept %d, %d writes after the failed one, %zu of %zu bytes",
                text_len, accepts[i], kept, script.calls_after_failure, script.len, whole_len);
        }
    }
    return whole_len;
}

static void never_sends_a_byte_twice_when_a_write_falls_short(void **state)
{
    (void)state;
    /* Takes responses of each length from 50 bytes below the 8 KiB of libfcgi's buffer to 50 above, and
     * some that need several buffers. */
    size_t around = 6000 + 8192 - try_short_writes(6000);
    for (size_t text_len = around - 50; text_len < around + 50; text_len++)
        assert_in_range(try_short_writes(text_len), 8192 - 64, 8192 + 64);
    for (size_t text_len = around + 50; text_len < 30000; text_len += 2500)
        try_short_writes(text_len);
}

/* The gate never writes this. If it did, libfcgi must not take the next request for a part of this one. */
static void an_unreadable_request_does_not_harm_the_next_one(void **state)
{
    (void)state;
    struct fcgi_bytes cut = {.len = 0};
    put_request(&cut, "GET", "/api/health", true, 0);
    int64_t before = process_count_fds();
    for (size_t len = 0; len < cut.len; len++) {
        assert_false(serve_raw(cut.data, len));
        expect_nothing_to_read(peer_fd);
        assert_true(is_open(server_fd));
        bytes.len = 0;
        put_request(&bytes, "GET", "/api/health", true, 0);
        assert_true(serve());
        expect_answer_to("GET", "/api/health");
    }
    assert_false(serve_raw("GET / HTTP/1.1\r\n\r\n", 18));
    assert_true(serve());
    assert_int_equal(process_count_fds(), before);
}

static void opens_and_loses_no_descriptor(void **state)
{
    (void)state;
    int64_t before = process_count_fds();
    for (int i = 0; i < 200; i++) {
        bytes.len = 0;
        put_request(&bytes, "GET", "/api/health", i % 2 == 0, 0);
        assert_int_equal(serve(), i % 2 == 0);
        (void)read_answer();
    }
    assert_int_equal(process_count_fds(), before);
}

/* ONE_WRITE_MAX of fcgi.c depends on this. */
static void libfcgi_has_an_output_buffer_of_8_kib(void **state)
{
    (void)state;
    static const char body[8001];
    FCGX_Request r;
    put_request(&bytes, "GET", "/api/health", true, 0);
    assert_int_equal(write(peer_fd, bytes.data, bytes.len), bytes.len);
    FCGX_InitRequest(&r, -1, 0);
    r.ipcFd = server_fd;
    r.keepConnection = 1;
    assert_int_equal(FCGX_Accept_r(&r), 0);
    assert_int_equal(FCGX_PutStr(body, 8000, r.out), 8000);
    expect_nothing_to_read(peer_fd);
    assert_int_equal(FCGX_FClose(r.err), 0);
    start_script(sizeof script.data);
    assert_int_equal(FCGX_FClose(r.out), 0);
    script.on = false;
    assert_int_equal(script.len, 8 + 8000 + 8 + 16);
    FCGX_Free(&r, 0);
}

static void on_signal(int number)
{
    (void)number;
}

static struct sigaction actions_before[3];
static const int signals[3] = {SIGTERM, SIGUSR1, SIGPIPE};

static int init_library(void **state)
{
    (void)state;
    struct error err;
    signal(SIGTERM, SIG_DFL);
    signal(SIGUSR1, on_signal);
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < 3; i++)
        sigaction(signals[i], NULL, &actions_before[i]);
    return fcgi_init(&err) ? 0 : -1;
}

static void leaves_the_signal_handlers_as_they_were(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct sigaction now;
        sigaction(signals[i], NULL, &now);
        assert_ptr_equal(now.sa_handler, actions_before[i].sa_handler);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(leaves_the_signal_handlers_as_they_were),
        test(libfcgi_has_an_output_buffer_of_8_kib),
        test(answers_several_requests_on_a_kept_connection),
        test(leaves_closing_to_the_caller),
        test(answers_head_without_a_body),
        test(answers_400_without_a_method),
        test(answers_400_without_any_parameter),
        test(hands_over_path_and_query),
        test(answers_under_the_id_of_the_request),
        test(answers_431_when_the_gate_left_out_the_parameters),
        test(answers_the_longest_request),
        test(answers_with_100_kb),
        test(gives_up_a_peer_that_does_not_read),
        test(gives_up_a_peer_that_is_gone),
        test(never_sends_a_byte_twice_when_a_write_falls_short),
        test(an_unreadable_request_does_not_harm_the_next_one),
        test(opens_and_loses_no_descriptor),
    };
    alarm(120); /* no test may block; the alarm makes a hang a failure */
    return cmocka_run_group_tests_name("fcgi", tests, init_library, NULL);
}
