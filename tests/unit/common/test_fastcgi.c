/* common/fastcgi sends requests to a peer, over both kinds of socket. The peer is a thread of this test
 * that follows a script. */
#include "tests/unit/unit.h"

#include "cgi/serve/gate.h"
#include "common/clock.h"
#include "common/fastcgi.h"
#include "tests/unit/cgi/serve/fcgi_bytes.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define SOON_NS   (200 * NS_PER_MS) /* the deadline of a request that gets no response */
#define LATE_NS   (10 * NS_PER_S)   /* the deadline of a request that gets one */
#define BEHIND_NS (5 * NS_PER_S)    /* a busy machine may be late by this */

#define HEALTHY_BODY "{\"status\":\"healthy\"}\n"
#define HEALTHY      "Status: 200 OK\r\nContent-Type: application/json\r\n\r\n" HEALTHY_BODY

#define MAX_BYTES 65536 /* more than one record holds */

enum peer_end { CLOSES, STAYS, REPEATS };

static struct {
    bool skips_request;    /* does not read */
    bool sends_singly;     /* sends a byte whenever the client has read the one before it */
    int pause_ms;          /* the pause after each send */
    enum peer_end end;     /* after all bytes: closes; waits until the client closes; sends them again */
    int connections;       /* how many connections it closes before it serves one */
    enum gate_event event; /* what health-api's gate made of the request */
} peer;
static pthread_t thread;
static struct fcgi_bytes request, bytes; /* what the peer reads and sends */

static char dir[32];
static struct sockaddr_un unix_address;
static int listener;
static char target[FASTCGI_MAX_TARGET + 2];
static struct fastcgi_request asked; /* what the client asks for */
static int connect_error;            /* an errno: connect(2) fails with it; 0: it does its work */
static struct fastcgi_answer answer;
static struct error err;

/* All sockets have a small send buffer. So a client soon notices a peer that does not read, and many of
 * its writes are partial. */
int socket(int family, int type, int protocol)
{
    int fd = (int)syscall(SYS_socket, family, type, protocol);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int));
    return fd;
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    errno = connect_error;
    return connect_error != 0 ? -1 : (int)syscall(SYS_connect, fd, address.__sockaddr__, len);
}

static void read_request(int fd)
{
    struct gate gate = {0};
    ssize_t n;
    peer.event = GATE_MORE;
    while (peer.event == GATE_MORE &&
           (n = read(fd, request.data + request.len, sizeof request.data - request.len)) > 0) {
        struct gate_result r = gate_take(&gate, request.data + request.len, (size_t)n);
        request.len += (size_t)n;
        peer.event = r.taken == (size_t)n ? r.event : GATE_REJECT;
        buf_free(&r.bytes);
    }
    gate_free(&gate);
}

static bool send_bytes(int fd)
{
    size_t piece = peer.sends_singly ? 1 : bytes.len;
    for (size_t at = 0; at < bytes.len;) {
        ssize_t n = send(fd, bytes.data + at, piece < bytes.len - at ? piece : bytes.len - at, MSG_NOSIGNAL);
        if (n < 0)
            return false;
        at += (size_t)n;
        poll(NULL, 0, peer.pause_ms);
        int unread = 0;
        while (peer.sends_singly && ioctl(fd, TIOCOUTQ, &unread) == 0 && unread > 0) {
            struct pollfd gone = {.fd = fd};
            if (poll(&gone, 1, 0) > 0)
                return false;
            sched_yield();
        }
    }
    return true;
}

static void *serve(void *unused)
{
    for (int i = 0; i < peer.connections; i++)
        close(accept(listener, NULL, NULL));
    int fd = accept(listener, NULL, NULL);
    if (!peer.skips_request)
        read_request(fd);
    while (send_bytes(fd) && peer.end == REPEATS)
        ;
    struct pollfd gone = {.fd = fd, .events = POLLRDHUP};
    if (peer.end != CLOSES)
        poll(&gone, 1, -1);
    close(fd);
    return unused;
}

static int begin_test(void **state)
{
    (void)state;
    memset(&peer, 0, sizeof peer);
    request.len = bytes.len = 0;
    snprintf(target, sizeof target, "/api/health?a=b&c");
    asked = (struct fastcgi_request){.target = target, .max_bytes = MAX_BYTES};
    snprintf(dir, sizeof dir, "/tmp/health-fastcgi-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    unix_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(unix_address.sun_path, sizeof unix_address.sun_path, "%s/s.sock", dir);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(listener, (struct sockaddr *)&unix_address, sizeof unix_address);
}

static int end_test(void **state)
{
    (void)state;
    close(listener);
    unlink(unix_address.sun_path);
    buf_free(&answer.body);
    return rmdir(dir);
}

/* Resets the peer for the next row of a test. */
static void begin_again(void)
{
    assert_int_equal(end_test(NULL), 0);
    assert_int_equal(begin_test(NULL), 0);
}

static enum fastcgi_outcome ask_at(const void *address, size_t len, int64_t within_ns)
{
    asked.deadline_ns = clock_now_ns() + within_ns;
    buf_free(&answer.body);
    err.text[0] = '\0';
    enum fastcgi_outcome outcome = fastcgi_ask(address, (socklen_t)len, &asked, &answer, &err);
    assert_true(clock_now_ns() < asked.deadline_ns + BEHIND_NS);
    if (outcome != FASTCGI_ANSWER) {
        assert_int_equal(answer.status, 0);
        assert_null(answer.body.data);
        assert_true(err.text[0] != '\0');
    }
    return outcome;
}

static enum fastcgi_outcome ask(int64_t within_ns)
{
    return ask_at(&unix_address, sizeof unix_address, within_ns);
}

static enum fastcgi_outcome ask_peer(int64_t within_ns)
{
    assert_int_equal(listen(listener, 5), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
    enum fastcgi_outcome outcome = ask(within_ns);
    pthread_join(thread, NULL);
    return outcome;
}

static void set_path(size_t len)
{
    memset(target, '/', len);
    target[len] = '\0';
}

static void put_stdout(const char *text)
{
    put_record(&bytes, T_STDOUT, 1, text, strlen(text), (8 - strlen(text) % 8) % 8);
}

/* FastCGI Specification 1.0, section 5.5. */
static void put_end(uint8_t protocol_status)
{
    const uint8_t body[8] = {[4] = protocol_status};
    put_record(&bytes, T_END, 1, body, sizeof body, 0);
}

static void put_answer(const char *output)
{
    put_stdout(output);
    put_record(&bytes, T_STDOUT, 1, NULL, 0, 0);
    put_end(0);
}

static void expect_answer(int status, const char *body)
{
    enum fastcgi_outcome outcome = ask_peer(LATE_NS);
    if (outcome != FASTCGI_ANSWER)
        fail_msg("outcome %d: %s", (int)outcome, err.text);
    assert_int_equal(answer.status, status);
    assert_string_equal(answer.body.data, body);
    assert_int_equal(answer.body.len, strlen(body));
}

static void the_response_has_the_status_and_the_body_of_the_output(void **state)
{
    (void)state;
    static const struct {
        const char *output;
        int status;
        const char *body;
    } rows[] = {
        {HEALTHY, 200, HEALTHY_BODY},
        {"Status: 503 Service Unavailable\r\n\r\ndown", 503, "down"},
        {"Content-Type: text/plain\r\nSTATUS:404\r\n\r\n", 404, ""},
        {"Content-Type: text/plain\r\n\r\nok\n\nStatus: 500\n", 200, "ok\n\nStatus: 500\n"},
        {"Status: 204\nX: y\n\n\r\n", 204, "\r\n"},
        {"Status: fine\r\n\r\nbody", 503, "body"},
        {"Status: 99999999999999999999\r\n\r\nbody", 503, "body"},
        {"Status: 200 OK\r\nno end", 503, "Status: 200 OK\r\nno end"},
        {"", 503, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put_answer(rows[i].output);
        expect_answer(rows[i].status, rows[i].body);
        begin_again();
    }
}

static void the_request_passes_the_gate_and_has_exactly_the_right_parameters(void **state)
{
    (void)state;
    static const struct fastcgi_param audience = {"AUDIENCE", "operator"};
    static const struct {
        const char *target;
        const struct fastcgi_param *extra;
        const char *path, *uri, *query;
    } rows[] = {
        {"/api/health", NULL, "/api/health", "/api/health", ""},
        {"/api/health?", NULL, "/api/health", "/api/health", ""},
        {"/api/health?a=b&c", NULL, "/api/health", "/api/health?a=b&c", "a=b&c"},
        {"/x?a?b", &audience, "/x", "/x?a?b", "a?b"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static struct fcgi_bytes params, expected;
        params.len = expected.len = 0;
        put_param(&params, "REQUEST_METHOD", "GET");
        put_param(&params, "SCRIPT_NAME", rows[i].path);
        put_param(&params, "SCRIPT_FILENAME", rows[i].path);
        put_param(&params, "REQUEST_URI", rows[i].uri);
        put_param(&params, "QUERY_STRING", rows[i].query);
        put_param(&params, "SERVER_PROTOCOL", "HTTP/1.1");
        put_param(&params, "GATEWAY_INTERFACE", "CGI/1.1");
        if (rows[i].extra != NULL)
            put_param(&params, rows[i].extra->name, rows[i].extra->value);
        put_begin(&expected, 1, false);
        put_record(&expected, T_PARAMS, 1, params.data, params.len, 0);
        put_record(&expected, T_PARAMS, 1, NULL, 0, 0);
        put_record(&expected, T_STDIN, 1, NULL, 0, 0);
        asked.target = rows[i].target;
        asked.extra = rows[i].extra;
        put_answer(HEALTHY);
        expect_answer(200, HEALTHY_BODY);
        assert_int_equal(peer.event, GATE_WHOLE);
        assert_int_equal(request.len, expected.len);
        assert_memory_equal(request.data, expected.data, expected.len);
        begin_again();
    }
}

/* The gate checks the lengths. */
static void a_path_of_more_than_127_bytes_has_a_length_of_four_bytes(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        const char *lengths;
        size_t lengths_len;
    } rows[] = {{127, "\013\x7f", 2}, {128, "\013\x80\x00\x00\x80", 5}, {4000, "\013\x80\x00\x0f\xa0", 5}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char start[32];
        memcpy(start, rows[i].lengths, rows[i].lengths_len);
        memcpy(start + rows[i].lengths_len, "SCRIPT_NAME//", 13);
        set_path(rows[i].len);
        put_answer(HEALTHY);
        expect_answer(200, HEALTHY_BODY);
        assert_int_equal(peer.event, GATE_WHOLE);
        assert_non_null(memmem(request.data, request.len, start, rows[i].lengths_len + 13));
        begin_again();
    }
}

static void a_response_may_come_byte_by_byte(void **state)
{
    (void)state;
    put_answer(HEALTHY);
    peer.sends_singly = true;
    expect_answer(200, HEALTHY_BODY);
}

static void the_client_returns_at_the_end_of_the_response_whatever_the_connection_does(void **state)
{
    (void)state;
    put_answer(HEALTHY);
    peer.end = STAYS;
    expect_answer(200, HEALTHY_BODY);
}

static void stderr_and_management_records_are_skipped(void **state)
{
    (void)state;
    put_record(&bytes, 10, 0, "limits", 6, 2); /* FCGI_GET_VALUES_RESULT */
    put_stdout("Status: 2");
    put_record(&bytes, T_STDERR, 1, "a warning\n\n", 11, 5);
    put_record(&bytes, 11, 0, "unknown?", 8, 0); /* FCGI_UNKNOWN_TYPE */
    put_answer("01 Created\r\n\r\nbody");
    expect_answer(201, "body");
}

static void a_request_that_the_peer_turns_down_has_a_response(void **state)
{
    (void)state;
    for (uint8_t protocol_status = 1; protocol_status <= 3; protocol_status++) {
        put_end(protocol_status); /* FCGI_CANT_MPX_CONN, FCGI_OVERLOADED, FCGI_UNKNOWN_ROLE */
        expect_answer(503, "");
        begin_again();
    }
}

static void the_longest_response_is_taken_and_a_byte_more_is_malformed(void **state)
{
    (void)state;
    static char output[MAX_BYTES];
    memset(output, 'x', sizeof output);
    memcpy(output, "A: b\n\n", 6);
    for (size_t more = 0; more <= 1; more++) {
        put_record(&bytes, T_STDOUT, 1, output, 60000, 255);
        put_record(&bytes, T_STDOUT, 1, output + 60000, sizeof output - 60000, 0);
        put_record(&bytes, T_STDOUT, 1, "more", more, 0);
        put_end(0);
        assert_int_equal(ask_peer(LATE_NS), more > 0 ? FASTCGI_MALFORMED : FASTCGI_ANSWER);
        assert_int_equal(answer.body.len, more > 0 ? 0 : sizeof output - 6);
        begin_again();
    }
}

static void a_response_that_is_not_fastcgi_is_malformed(void **state)
{
    (void)state;
    for (int row = 0; row < 4; row++) {
        switch (row) {
        case 0: put(&bytes, "HTTP/1.1 400 Bad Request\r\nServer: other\r\n\r\n", 43); break;
        case 1: put_request(&bytes, "GET", "/", false, 0); break; /* an echo */
        case 2: put_record(&bytes, T_STDOUT, 2, "A: b\n\n", 6, 0); break;
        case 3: put_record(&bytes, T_STDOUT, 257, "A: b\n\n", 6, 0); break;
        }
        peer.end = STAYS;
        assert_int_equal(ask_peer(LATE_NS), FASTCGI_MALFORMED);
        begin_again();
    }
}

static void a_peer_that_closes_early_has_given_no_response(void **state)
{
    (void)state;
    static struct fcgi_bytes whole;
    put_answer(HEALTHY);
    whole = bytes;
    bytes.len = 0;
    for (size_t len = 0; len < whole.len; len += len < 20 ? 1 : 17) {
        put(&bytes, whole.data, len);
        assert_int_equal(ask_peer(LATE_NS), len < FASTCGI_HEADER_LEN ? FASTCGI_CLOSED : FASTCGI_CUT);
        assert_non_null(
            strstr(err.text, len < FASTCGI_HEADER_LEN ? "before an answer" : "during the answer"));
        begin_again();
    }
    peer.skips_request = true;
    assert_int_equal(ask_peer(LATE_NS), FASTCGI_CLOSED);
}

static void the_client_gives_up_a_silent_peer_at_the_deadline(void **state)
{
    (void)state;
    peer.end = STAYS;
    int64_t before_ns = clock_now_ns();
    assert_int_equal(ask_peer(SOON_NS), FASTCGI_SILENT);
    assert_true(clock_now_ns() >= before_ns + SOON_NS);
}

static void the_client_gives_up_a_slow_peer_at_the_deadline(void **state)
{
    (void)state;
    put_record(&bytes, T_STDERR, 1, "patience", 8, 0);
    peer.sends_singly = true;
    peer.pause_ms = 5;
    peer.end = REPEATS;
    assert_int_equal(ask_peer(NS_PER_S), FASTCGI_BEGUN); /* its first header takes a while */
}

static void the_client_gives_up_a_flood_of_records_at_the_deadline(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        put_record(&bytes, T_STDERR, 1, "patience", 8, 0);
    peer.end = REPEATS;
    assert_int_equal(ask_peer(SOON_NS), FASTCGI_BEGUN);
}

/* This path does not fit into the socket's buffer. */
static void the_client_gives_up_a_peer_that_never_reads_at_the_deadline(void **state)
{
    (void)state;
    set_path(FASTCGI_MAX_TARGET);
    peer.skips_request = true;
    peer.end = STAYS;
    assert_int_equal(ask_peer(SOON_NS), FASTCGI_SILENT);
}

static void a_peer_that_closes_during_the_request_causes_no_signal(void **state)
{
    (void)state;
    set_path(FASTCGI_MAX_TARGET);
    peer.skips_request = true;
    assert_int_equal(ask_peer(LATE_NS), FASTCGI_CLOSED);
}

static void a_target_too_long_for_a_record_fails_on_this_side(void **state)
{
    (void)state;
    set_path(FASTCGI_MAX_TARGET + 1);
    assert_int_equal(ask(LATE_NS), FASTCGI_LOCAL);
}

static void the_longest_target_and_extra_parameter_fit_into_a_record_and_no_longer_one(void **state)
{
    (void)state;
    static char value[FASTCGI_MAX_EXTRA + 1];
    const struct fastcgi_param extra = {"", value};
    memset(value, 'x', FASTCGI_MAX_EXTRA);
    set_path(FASTCGI_MAX_TARGET);
    asked.extra = &extra;
    put_answer(HEALTHY);
    expect_answer(200, HEALTHY_BODY);
    assert_int_equal(peer.event, GATE_WHOLE);
    asked.extra = &(struct fastcgi_param){"n", value};
    assert_int_equal(ask(LATE_NS), FASTCGI_LOCAL);
}

static void what_connect_reports_decides_the_outcome(void **state)
{
    (void)state;
    static const struct {
        int error;
        enum fastcgi_outcome outcome;
    } rows[] = {
        {ECONNREFUSED, FASTCGI_REFUSED}, {ENOENT, FASTCGI_REFUSED},     {EACCES, FASTCGI_DENIED},
        {EPERM, FASTCGI_DENIED},         {ENOTDIR, FASTCGI_LOCAL},      {EADDRNOTAVAIL, FASTCGI_LOCAL},
        {ENETUNREACH, FASTCGI_LOCAL},    {EAFNOSUPPORT, FASTCGI_LOCAL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        connect_error = rows[i].error;
        assert_int_equal(ask(LATE_NS), rows[i].outcome);
        assert_string_equal(err.text, strerror(rows[i].error));
    }
    connect_error = 0;
}

/* connect(2): for TCP this errno means that no local port is free, which says nothing about the peer. */
static void a_missing_local_port_is_no_full_queue(void **state)
{
    (void)state;
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    connect_error = EAGAIN;
    enum fastcgi_outcome outcome = ask_at(&address, sizeof address, SOON_NS);
    connect_error = 0;
    assert_int_equal(outcome, FASTCGI_LOCAL);
}

/* Makes connections until the queue takes no more. Returns their number. */
static int fill_queue(int fds[static 8])
{
    int count = 0;
    assert_int_equal(listen(listener, 0), 0);
    for (; count < 8; count++) {
        fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(fds[count], (struct sockaddr *)&unix_address, sizeof unix_address) != 0)
            break;
    }
    assert_in_range(count, 1, 7);
    assert_int_equal(errno, EAGAIN);
    close(fds[count]);
    return count;
}

static void a_full_queue_is_silence(void **state)
{
    (void)state;
    int fds[8];
    int count = fill_queue(fds);
    assert_int_equal(ask(SOON_NS), FASTCGI_SILENT);
    assert_non_null(strstr(err.text, "queue"));
    while (count > 0)
        close(fds[--count]);
}

static void a_full_queue_that_moves_before_the_deadline_brings_a_response(void **state)
{
    (void)state;
    int fds[8];
    int count = peer.connections = fill_queue(fds);
    put_answer(HEALTHY);
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
    assert_int_equal(ask(LATE_NS), FASTCGI_ANSWER);
    pthread_join(thread, NULL);
    while (count > 0)
        close(fds[--count]);
}

static void the_request_is_refused_where_no_process_listens(void **state)
{
    (void)state;
    assert_int_equal(ask(LATE_NS), FASTCGI_REFUSED); /* bound, not listening */
    struct sockaddr_un missing = unix_address;
    strcat(missing.sun_path, "x");
    assert_int_equal(ask_at(&missing, sizeof missing, LATE_NS), FASTCGI_REFUSED);
}

static void tcp_works_like_a_unix_socket(void **state)
{
    (void)state;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } rows[] = {
        {.v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}},
        {.v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}},
    };
    put_answer(HEALTHY);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        socklen_t len = sizeof rows[i];
        close(listener);
        request.len = 0;
        listener = socket(rows[i].any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, &rows[i].any, len) != 0 && errno == EADDRNOTAVAIL)
            continue; /* a machine without IPv6 */
        assert_int_equal(getsockname(listener, &rows[i].any, &len), 0);
        assert_int_equal(ask_at(&rows[i], len, LATE_NS), FASTCGI_REFUSED);
        assert_int_equal(listen(listener, 5), 0);
        assert_int_equal(ask_at(&rows[i], len, SOON_NS), FASTCGI_SILENT);
        peer.connections = 1; /* the port that the test has just given up */
        assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
        enum fastcgi_outcome outcome = ask_at(&rows[i], len, LATE_NS);
        pthread_join(thread, NULL);
        assert_int_equal(outcome, FASTCGI_ANSWER);
        assert_string_equal(answer.body.data, HEALTHY_BODY);
    }
}

static void a_missing_descriptor_fails_on_this_side(void **state)
{
    (void)state;
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    enum fastcgi_outcome outcome = ask(LATE_NS);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(outcome, FASTCGI_LOCAL);
}

static void any_bytes_lead_to_an_outcome(void **state)
{
    (void)state;
    uint32_t seed = 20240229;
    for (int round = 0; round < 500; round++) {
        put_record(&bytes, T_STDERR, 1, "a warning", 9, 7);
        put_answer(HEALTHY);
        mutate(&bytes, &seed);
        enum fastcgi_outcome outcome = ask_peer(LATE_NS);
        if (outcome != FASTCGI_ANSWER && outcome != FASTCGI_CLOSED && outcome != FASTCGI_CUT)
            assert_int_equal(outcome, FASTCGI_MALFORMED);
        begin_again();
    }
}

#define test(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(the_response_has_the_status_and_the_body_of_the_output),
        test(the_request_passes_the_gate_and_has_exactly_the_right_parameters),
        test(a_path_of_more_than_127_bytes_has_a_length_of_four_bytes),
        test(a_response_may_come_byte_by_byte),
        test(the_client_returns_at_the_end_of_the_response_whatever_the_connection_does),
        test(stderr_and_management_records_are_skipped),
        test(a_request_that_the_peer_turns_down_has_a_response),
        test(the_longest_response_is_taken_and_a_byte_more_is_malformed),
        test(a_response_that_is_not_fastcgi_is_malformed),
        test(a_peer_that_closes_early_has_given_no_response),
        test(the_client_gives_up_a_silent_peer_at_the_deadline),
        test(the_client_gives_up_a_slow_peer_at_the_deadline),
        test(the_client_gives_up_a_flood_of_records_at_the_deadline),
        test(the_client_gives_up_a_peer_that_never_reads_at_the_deadline),
        test(a_peer_that_closes_during_the_request_causes_no_signal),
        test(a_target_too_long_for_a_record_fails_on_this_side),
        test(the_longest_target_and_extra_parameter_fit_into_a_record_and_no_longer_one),
        test(what_connect_reports_decides_the_outcome),
        test(a_missing_local_port_is_no_full_queue),
        test(a_full_queue_is_silence),
        test(a_full_queue_that_moves_before_the_deadline_brings_a_response),
        test(the_request_is_refused_where_no_process_listens),
        test(tcp_works_like_a_unix_socket),
        test(a_missing_descriptor_fails_on_this_side),
        test(any_bytes_lead_to_an_outcome),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
