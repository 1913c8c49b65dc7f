/* Asks the listener over FastCGI or HTTP, or watches whether it accepts a connection. Main thread; owns its
 * socket during the call. */
#include "watchdog/listener.h"

#include "common/clock.h"
#include "common/fastcgi.h"
#include "common/listening.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The pause between two looks at a queue of connections. */
#define LOOK_MS 10

/* The longest FastCGI response. Even a longer one shows that the listener answers. */
#define ANSWER_MAX_BYTES 65536

/* When a wait ends this long after its deadline, the machine was late, and not the listener. */
#define LATE_NS (200 * NS_PER_MS)

static enum listener_answer refusal(int error)
{
    return error == ECONNREFUSED || error == ENOENT ? LISTENER_GONE : LISTENER_NOT_ASKED;
}

/* Connects. False: *out says why not. EAGAIN means that the queue of a Unix socket is full (connect(2)). */
static bool join_queue(int fd, const struct address *to, int64_t deadline_ns, enum listener_answer *out)
{
    struct pollfd connected = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t len = sizeof error;
    *out = LISTENER_SILENT;
    while (connect(fd, (const struct sockaddr *)&to->socket, to->len) != 0) {
        if (errno == EINPROGRESS) {
            int wait_ms = clock_poll_timeout_ms(deadline_ns, clock_now_ns());
            if (poll(&connected, 1, wait_ms) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
                return false;
            *out = refusal(error);
            return error == 0;
        }
        if (errno != EAGAIN) {
            *out = refusal(errno);
            return false;
        }
        if (clock_now_ns() >= deadline_ns)
            return false;
        (void)poll(NULL, 0, LOOK_MS);
    }
    return true;
}

static enum listener_answer watch_queue(const struct address *at, int64_t deadline_ns)
{
    enum listener_answer answer = LISTENER_NOT_ASKED;
    enum listening_taken taken = LISTENING_WAITS;
    int fd = socket(at->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return LISTENER_NOT_ASKED;
    if (join_queue(fd, at, deadline_ns, &answer)) {
        while ((taken = listening_taken(fd)) == LISTENING_WAITS && clock_now_ns() < deadline_ns)
            (void)poll(NULL, 0, LOOK_MS);
        answer = taken == LISTENING_TAKEN   ? LISTENER_ACCEPTS
                 : taken == LISTENING_WAITS ? LISTENER_SILENT
                                            : LISTENER_NOT_ASKED;
    }
    close(fd);
    return answer;
}

static enum listener_answer ask_fastcgi(const struct address *at, const char *target, int64_t deadline_ns)
{
    const struct fastcgi_request request = {
        .target = target, .max_bytes = ANSWER_MAX_BYTES, .deadline_ns = deadline_ns};
    struct fastcgi_answer answer;
    struct error err = {0};
    enum fastcgi_outcome outcome =
        fastcgi_ask((const struct sockaddr *)&at->socket, at->len, &request, &answer, &err);
    buf_free(&answer.body);
    switch (outcome) {
    case FASTCGI_ANSWER:
    case FASTCGI_BEGUN:
    case FASTCGI_CUT:
    case FASTCGI_MALFORMED: return LISTENER_ANSWERS; /* even a malformed answer shows that it lives */
    case FASTCGI_CLOSED: return LISTENER_ACCEPTS;
    case FASTCGI_SILENT: return LISTENER_SILENT;
    case FASTCGI_REFUSED: return LISTENER_GONE;
    case FASTCGI_DENIED:
    case FASTCGI_LOCAL: break;
    }
    return LISTENER_NOT_ASKED;
}

static enum fetch_next keep_kind(void *context, size_t route, const struct fetch_result *result)
{
    enum fetch_kind *kind = context;
    (void)route;
    /* A status line is enough, even when the body is slow or the response is a redirect. */
    if (result->code != 0 || result->redirects > 0)
        *kind = FETCH_RESPONSE;
    else
        *kind = judge_is_starved(result) ? FETCH_LOCAL : result->kind;
    return FETCH_DONE;
}

/* The base_url for a listener as the watch file writes it. The caller frees it. */
static char *url_of(const char *listener)
{
    struct buf url = {0};
    if (strncmp(listener, "unix:", 5) == 0)
        buf_append_str(&url, "http://localhost");
    else if (strncmp(listener, "tcp:*:", 6) == 0)
        buf_appendf(&url, "http://127.0.0.1:%s", listener + 6);
    else
        buf_appendf(&url, "http://%s", listener + 4);
    return url.data;
}

static enum listener_answer ask_http(const struct watch *watch, size_t route, int64_t deadline_ns)
{
    struct watch asked = *watch;
    struct error err = {0};
    enum fetch_kind kind = FETCH_LOCAL;
    bool *wanted = mem_calloc(watch->route_count, sizeof *wanted);
    const char *authority = strstr(watch->base_url, "://") + 3;
    char *host = mem_strdup(watch->host != NULL ? watch->host : authority);
    if (watch->host == NULL)
        host[strcspn(host, "/")] = '\0';
    asked.base_url = url_of(watch->listener);
    asked.unix_path = strncmp(watch->listener, "unix:", 5) == 0 ? watch->listener + 5 : NULL;
    asked.host = host; /* the same virtual host as through the proxy */
    wanted[route] = true;
    while (fetch_run(&asked, wanted, keep_kind, &kind, &err) && kind == FETCH_FULL &&
           clock_now_ns() < deadline_ns)
        (void)poll(NULL, 0, LOOK_MS); /* a full queue is silence only if it stays full */
    free(asked.base_url);
    free(host);
    free(wanted);
    switch (kind) {
    case FETCH_RESPONSE:
    case FETCH_REDIRECTS:
    case FETCH_MALFORMED: return LISTENER_ANSWERS;
    case FETCH_RESET: return LISTENER_ACCEPTS;
    case FETCH_TIMEOUT:
    case FETCH_FULL: return LISTENER_SILENT;
    case FETCH_REFUSED: return LISTENER_GONE;
    case FETCH_UNRESOLVED:
    case FETCH_TLS:
    case FETCH_LOCAL: break;
    }
    return LISTENER_NOT_ASKED;
}

enum listener_answer listener_ask(const struct watch *watch, const struct survey *look, bool direct)
{
    const struct address *at = watch->socket.len == 0 && direct ? &watch->base : &watch->socket;
    enum listener_answer answer = LISTENER_NOT_ASKED;
    size_t route = 0;
    while (route < watch->route_count && !(watch->routes[route].liveness && look->routes[route].is_dead))
        route++;
    if (at->len == 0 || route == watch->route_count)
        return LISTENER_NOT_ASKED;
    int64_t limit_ms =
        watch->protocol == WATCH_NOT_ASKED ? watch->connect_timeout_ms : watch->routes[route].timeout_ms;
    int64_t deadline_ns = clock_now_ns() + limit_ms * NS_PER_MS;
    switch (watch->protocol) {
    case WATCH_NOT_ASKED: answer = watch_queue(at, deadline_ns); break;
    case WATCH_FASTCGI: answer = ask_fastcgi(at, watch->routes[route].path, deadline_ns); break;
    case WATCH_HTTP: answer = ask_http(watch, route, deadline_ns); break;
    }
    /* If the machine kept this process from running, the silence proves nothing. */
    bool is_late = clock_now_ns() > deadline_ns + LATE_NS;
    return answer == LISTENER_SILENT && is_late ? LISTENER_NOT_ASKED : answer;
}
