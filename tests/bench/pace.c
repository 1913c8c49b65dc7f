/* A client at a constant rate, for `make bench`. Request i is due at start + i / rate, even if earlier ones
 * are not answered, and its latency counts from then. So a late response also makes the requests late that
 * wait for it (no coordinated omission). Has one thread and keep-alive connections, which it opens again when
 * the server closes them. Usage: pace PORT PATH RATE COUNT CONNECTIONS. Prints one line of JSON with
 * latencies in microseconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S        1000000000LL
#define GIVE_UP_NS      (5 * NS_PER_S) /* after the last request was due */
#define MAX_CONNECTIONS 256

struct connection {
    bool is_busy;
    int64_t due_ns;
    size_t len;
    char in[16384];
};

static struct connection connections[MAX_CONNECTIONS];
static struct pollfd fds[MAX_CONNECTIONS];
static uint16_t port;
static char request[1024];
static int64_t *latencies;
static size_t answered, ok, failed;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void open_connection(size_t i)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        perror("pace: connect");
        exit(1);
    }
    fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    connections[i].is_busy = false;
    connections[i].len = 0;
}

static void reopen(size_t i)
{
    close(fds[i].fd);
    open_connection(i);
}

/* Returns the length of a complete response; 0: it is not complete yet. */
static size_t response_len(const char *text, size_t len)
{
    const char *end = memmem(text, len, "\r\n\r\n", 4);
    const char *field = end ? memmem(text, (size_t)(end - text), "\r\nContent-Length: ", 18) : NULL;
    if (!end)
        return 0;
    size_t whole = (size_t)(end - text) + 4 + (field ? strtoul(field + 18, NULL, 10) : 0);
    return len >= whole ? whole : 0;
}

static void receive(size_t i)
{
    struct connection *c = &connections[i];
    ssize_t n = recv(fds[i].fd, c->in + c->len, sizeof c->in - c->len, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        failed += c->is_busy;
        reopen(i);
        return;
    }
    c->len += (size_t)n;
    if (response_len(c->in, c->len) == 0)
        return;
    latencies[answered++] = now_ns() - c->due_ns;
    ok += memcmp(c->in, "HTTP/1.1 200", 12) == 0;
    bool is_last = memmem(c->in, c->len, "\r\nConnection: close", 19) != NULL;
    c->is_busy = false;
    c->len = 0;
    if (is_last)
        reopen(i);
}

static bool start_request(size_t i, int64_t due_ns)
{
    connections[i].is_busy = true;
    connections[i].due_ns = due_ns;
    ssize_t n = send(fds[i].fd, request, strlen(request), MSG_NOSIGNAL);
    return n == (ssize_t)strlen(request);
}

/* Finds the connection that was idle for longest, so that the server closes none. count: of connections. */
static bool find_free(size_t count, size_t *next)
{
    for (size_t tried = 0; tried < count; tried++) {
        size_t i = (*next + tried) % count;
        if (!connections[i].is_busy) {
            *next = i;
            return true;
        }
    }
    return false;
}

static void pace(int64_t interval_ns, size_t total, size_t count)
{
    int64_t start = now_ns();
    size_t sent = 0, next = 0;
    while (answered + failed < total) {
        int64_t now = now_ns();
        int64_t due = start + (int64_t)sent * interval_ns;
        if (sent < total && due <= now && find_free(count, &next)) {
            if (!start_request(next, due)) {
                failed++;
                reopen(next);
            }
            next = (next + 1) % count;
            sent++;
            continue;
        }
        if (now > start + (int64_t)total * interval_ns + GIVE_UP_NS) {
            failed = total - answered;
            return;
        }
        /* Wait until the next request is due or, if all connections are busy, until one is free. */
        int64_t wait = sent < total && due > now ? due - now : NS_PER_S / 10;
        struct timespec limit = {wait / NS_PER_S, wait % NS_PER_S};
        if (ppoll(fds, count, &limit, NULL) <= 0)
            continue;
        for (size_t i = 0; i < count; i++)
            if (fds[i].revents)
                receive(i);
    }
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile_us(double fraction)
{
    if (answered == 0)
        return -1;
    size_t index = (size_t)(fraction * (double)answered);
    return (double)latencies[index < answered ? index : answered - 1] / 1000.0;
}

int main(int argc, char **argv)
{
    size_t rate = argc == 6 ? strtoul(argv[3], NULL, 10) : 0;
    size_t total = argc == 6 ? strtoul(argv[4], NULL, 10) : 0;
    size_t count = argc == 6 ? strtoul(argv[5], NULL, 10) : 0;
    if (rate == 0 || total == 0 || count == 0 || count > MAX_CONNECTIONS) {
        fputs("usage: pace PORT PATH RATE COUNT CONNECTIONS\n", stderr);
        return 64;
    }
    port = (uint16_t)strtoul(argv[1], NULL, 10);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[2]);
    latencies = calloc(total, sizeof *latencies);
    if (!latencies)
        return 1;
    prctl(PR_SET_TIMERSLACK, 1UL); /* ns; the default is 50 us late */
    for (size_t i = 0; i < count; i++)
        open_connection(i);
    pace(NS_PER_S / (int64_t)rate, total, count);
    qsort(latencies, answered, sizeof *latencies, compare);
    printf("{\"answered\":%zu,\"ok\":%zu,\"failed\":%zu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,"
           "\"max\":%.1f}\n",
           answered, ok, failed, percentile_us(0.5), percentile_us(0.9), percentile_us(0.99),
           percentile_us(0.999), percentile_us(1.0));
    return 0;
}
