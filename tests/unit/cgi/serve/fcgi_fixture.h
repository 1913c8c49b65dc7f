/* Shared by the tests of cgi/serve/fcgi: the health that is answered, a socket pair whose web server end
 * the tests hold, and a reader of responses. */
#ifndef TESTS_UNIT_FCGI_FIXTURE_H
#define TESTS_UNIT_FCGI_FIXTURE_H

#include "tests/unit/unit.h"

#include "cgi/serve/fcgi.h"
#include "cgi/serve/process.h"
#include "tests/unit/cgi/serve/fcgi_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct config config = {.interval_ms = 2000, .stale_after_ms = 6000};
static struct process_facts process;
static struct health *health;
static struct fcgi_bytes bytes;
static int server_fd; /* non-blocking, as in the event loop */
static int peer_fd;

/* Replaces the health by one that shows this snapshot, and takes over the snapshot. */
static inline void publish(struct snapshot *snapshot, const char *checks_error)
{
    process = (struct process_facts){.checks_error = checks_error};
    health_free(health);
    health = health_new(&config, snapshot, 0);
    health_update(health, NULL, &process, 0);
}

static inline void open_pair(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    server_fd = fds[0];
    peer_fd = fds[1];
}

static inline void close_pair(void)
{
    if (server_fd >= 0)
        close(server_fd);
    close(peer_fd);
}

static inline int begin_test(void **state)
{
    (void)state;
    publish(snapshot_new(2), "");
    bytes.len = 0;
    open_pair();
    return 0;
}

static inline int end_test(void **state)
{
    (void)state;
    close_pair();
    health_free(health);
    health = NULL;
    return 0;
}

/* Serves a request of exactly these bytes, whatever they are. */
static inline bool serve_raw(const void *data, size_t len)
{
    struct gate_result request = {.event = GATE_WHOLE};
    buf_append(&request.bytes, data, len);
    bool kept = fcgi_serve(server_fd, &request, health, &process, 0);
    buf_free(&request.bytes);
    return kept;
}

/* Serves the one request in bytes, as the gate hands it over. */
static inline bool serve(void)
{
    struct gate gate = {0};
    struct gate_result request = gate_take(&gate, bytes.data, bytes.len);
    assert_int_equal(request.event, GATE_WHOLE);
    bool kept = fcgi_serve(server_fd, &request, health, &process, 0);
    buf_free(&request.bytes);
    gate_free(&gate);
    return kept;
}

/* A response as the peer receives it. */
struct answer {
    int id;
    size_t len; /* the content of STDOUT */
    char data[1 << 18];
};

/* Whether these bytes are one whole response: STDOUT, its end, and END_REQUEST with "request complete". */
static inline bool parse_answer(const uint8_t *p, size_t len, struct answer *out)
{
    bool stdout_ended = false;
    out->len = 0;
    while (len >= 8) {
        size_t content_len = (size_t)p[4] << 8 | p[5];
        size_t record_len = 8 + content_len + p[6];
        if (p[0] != 1 || record_len > len)
            return false;
        out->id = p[2] << 8 | p[3];
        if (p[1] == T_END)
            return stdout_ended && record_len == len && p[8 + 4] == 0;
        if (p[1] != T_STDOUT || stdout_ended)
            return false;
        memcpy(out->data + out->len, p + 8, content_len);
        out->len += content_len;
        stdout_ended = content_len == 0;
        p += record_len;
        len -= record_len;
    }
    return false;
}

static inline size_t receive(uint8_t *out, size_t out_size)
{
    size_t len = 0;
    ssize_t n;
    while (len < out_size && (n = recv(peer_fd, out + len, out_size - len, 0)) > 0)
        len += (size_t)n;
    return len;
}

static inline const struct answer *read_answer(void)
{
    static uint8_t data[1 << 18];
    static struct answer answer;
    size_t len = receive(data, sizeof data);
    if (!parse_answer(data, len, &answer))
        fail_msg("%zu bytes are not one whole answer", len);
    return &answer;
}

static inline void expect_answer_to(const char *method, const char *path)
{
    const struct answer *a = read_answer();
    const struct request request = {.method = method, .script_name = path};
    const struct response r = health_answer(health, &request, &process, 0);
    assert_int_equal(a->len, r.len);
    assert_memory_equal(a->data, r.bytes, r.len);
    assert_int_equal(a->id, 1);
}

static inline void expect_status(const char *status)
{
    const struct answer *a = read_answer();
    char line[64];
    size_t len = (size_t)snprintf(line, sizeof line, "Status: %s ", status);
    assert_true(a->len > len);
    assert_memory_equal(a->data, line, len);
}

static inline void expect_nothing_to_read(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static inline bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

#define test(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

#endif
