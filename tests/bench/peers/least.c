/* The least possible FastCGI responder, for `make bench`: the limit of what any program can reach. One thread
 * with epoll answers every request with the bytes of the file argv[1], and keeps connections open. It relies
 * on nginx and a Unix socket: each request is well-formed and arrives in one piece. It has no deadlines and
 * no limits, so it is not an example. The listening socket is descriptor 0. */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BEGIN_REQUEST = 1, END_REQUEST = 3, STDIN = 5, STDOUT = 6, HEADER = 8, EVENTS = 64 };

static uint8_t answer[65536]; /* STDOUT, the end of STDOUT, END_REQUEST */
static size_t answer_len;
static size_t id_offsets[3];

static void add_record(uint8_t type, const uint8_t *content, size_t len)
{
    static size_t records;
    uint8_t head[HEADER] = {1, type, 0, 1, (uint8_t)(len >> 8), (uint8_t)len, 0, 0};
    id_offsets[records++] = answer_len + 2;
    memcpy(answer + answer_len, head, sizeof head);
    memcpy(answer + answer_len + HEADER, content, len);
    answer_len += HEADER + len;
}

static bool load_answer(const char *path)
{
    static uint8_t content[32768];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, content, sizeof content);
    if (n <= 0)
        return false;
    close(fd);
    add_record(STDOUT, content, (size_t)n);
    add_record(STDOUT, content, 0);
    add_record(END_REQUEST, (const uint8_t[8]){0}, 8);
    return true;
}

/* Reads one complete request and writes one response. False: the caller has to close the connection. */
static bool serve(int fd)
{
    uint8_t in[16384];
    bool keep = false;
    bool is_whole = false;
    ssize_t n = read(fd, in, sizeof in);
    for (ssize_t at = 0; at + HEADER <= n;) {
        ssize_t len = in[at + 4] << 8 | in[at + 5];
        if (in[at + 1] == BEGIN_REQUEST) {
            keep = in[at + HEADER + 2] & 1;
            for (size_t i = 0; i < 3; i++)
                memcpy(answer + id_offsets[i], in + at + 2, 2);
        }
        is_whole = in[at + 1] == STDIN && len == 0;
        at += HEADER + len + in[at + 6];
    }
    return is_whole && write(fd, answer, answer_len) == (ssize_t)answer_len && keep;
}

int main(int argc, char **argv)
{
    if (argc != 2 || !load_answer(argv[1])) {
        fputs("usage: least ANSWER <LISTENER\n", stderr);
        return 64;
    }
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listener = {.events = EPOLLIN, .data.fd = 0};
    signal(SIGPIPE, SIG_IGN); /* nginx closes the connection when its client does */
    fcntl(0, F_SETFL, O_NONBLOCK);
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &listener);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != 0) {
                if (!serve(fd))
                    close(fd);
                continue;
            }
            fd = accept4(0, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            struct epoll_event connection = {.events = EPOLLIN, .data.fd = fd};
            if (fd >= 0)
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &connection);
        }
    }
}
