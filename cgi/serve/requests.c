/* Moves bytes from the connections through the gate to libfcgi and responses back. Main thread; owns
 * nothing but what struct requests has. Nothing in this file may block: each descriptor is non-blocking, and
 * a response is a page that was rendered in advance, or one that is rendered from memory. */
#include "cgi/serve/requests.h"

#include "cgi/serve/fcgi.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* The limit from the first byte of a request to the end of its parameters. */
#define PARTIAL_NS NS_PER_S
/* The limit for the body after that. This program does not use the body. If it is slow, the response goes
 * out before the body ends. */
#define BODY_NS            (100 * NS_PER_MS)
#define ACCEPTS_PER_WAKEUP 64 /* after that, the requests that came meanwhile have their turn */

static void watch_listener(struct requests *r)
{
    bool accepts = r->is_open && !r->is_paused;
    struct epoll_event event = {.events = accepts ? EPOLLIN | EPOLLRDHUP : EPOLLRDHUP,
                                .data.ptr = r->listener};
    (void)epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, r->listener->fd, &event);
}

void requests_set_open(struct requests *r, bool is_open)
{
    r->is_open = is_open;
    watch_listener(r);
}

/* Returns CLOCK_NEVER unless there is a pause. */
static int64_t end_of_pause_ns(const struct requests *r)
{
    if (!r->is_open || !r->is_paused)
        return CLOCK_NEVER;
    if (r->pause_until_ns != CLOCK_NEVER)
        return r->pause_until_ns;
    return r->connections.open < r->open_at_pause ? 0 : connections_evictable_ns(&r->connections);
}

/* epoll is level-triggered: the loop would spin. */
static void pause_accepting(struct requests *r, int64_t until_ns)
{
    r->is_paused = true;
    r->pause_until_ns = until_ns;
    r->open_at_pause = r->connections.open;
    watch_listener(r);
}

void requests_accept(struct requests *r, int64_t now_ns)
{
    enum accept_result result = ACCEPT_ONE;
    struct connection *c = NULL;

    for (int i = 0; i < ACCEPTS_PER_WAKEUP && result == ACCEPT_ONE; i++) {
        result = connections_accept(&r->connections, r->listener->fd, now_ns, &c);
        if (result != ACCEPT_ONE)
            break;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0)
            connections_close(&r->connections, c, strerror(errno));
        if (r->connections.open >= r->connections.max)
            break; /* epoll reports whether another one waits */
    }
    if (result == ACCEPT_FULL || result == ACCEPT_FAILED)
        pause_accepting(r, result == ACCEPT_FULL ? CLOCK_NEVER : now_ns + NS_PER_S);
}

static void log_rejects(struct rejects *rejects, int64_t now_ns)
{
    if (rejects->count == 0 || !log_is_due(&rejects->logged_ns, now_ns))
        return;
    log_event(LOG_LEVEL_NOTICE, "requests rejected", LOG_INT("count", rejects->count),
              LOG_STR("last_reason", rejects->why));
    rejects->count = 0;
}

static void count_reject(struct requests *r, const char *why, int64_t now_ns)
{
    r->rejects.count++;
    r->rejects.why = why;
    log_rejects(&r->rejects, now_ns);
}

/* Returns whether to keep the connection. */
static bool answer_request(struct requests *r, const struct connection *c, struct gate_result *request,
                           const struct answering *answering, int64_t now_ns)
{
    struct process_facts process = *answering->process;
    int64_t open = (int64_t)r->connections.open;
    /* The open descriptors include the connections, but the program counts them only once a second. */
    if (process.usage.open_fds >= 0)
        process.usage.open_fds += open - process.connections;
    process.connections = open;
    if (request->too_long)
        count_reject(r, GATE_TOO_LONG, now_ns);
    /* Reads the clock again: this batch, or the whole process, may have had to wait. */
    bool keep = fcgi_serve(c->fd, request, answering->health, &process, clock_now_ns());
    buf_free(&request->bytes);
    return keep && !answering->is_last;
}

/* Returns whether to keep the connection. A peer whose socket has no room does not read its replies. */
static bool send_reply(const struct connection *c, struct gate_result *reply)
{
    bool sent = send(c->fd, reply->bytes.data, reply->bytes.len, MSG_NOSIGNAL) == (ssize_t)reply->bytes.len;
    buf_free(&reply->bytes);
    return sent && reply->keep;
}

/* Moves the connection to the phase that matches the gate's stage. The time of a partial request counts
 * from its first byte, the idle time from the last byte. */
static void follow_gate(struct requests *r, struct connection *c, int64_t now_ns)
{
    enum connection_phase phase = gate_is_idle(&c->gate) ? CONNECTION_IDLE : CONNECTION_PARTIAL;
    if (c->gate.stage == GATE_IN_BODY)
        phase = CONNECTION_BODY;
    if (phase != c->phase || phase == CONNECTION_IDLE)
        connections_move(&r->connections, c, phase, now_ns);
}

static void act_on(struct requests *r, struct connection *c, struct gate_result *result,
                   const struct answering *answering, int64_t now_ns)
{
    switch (result->event) {
    case GATE_MORE: follow_gate(r, c, now_ns); break;
    case GATE_WHOLE:
        if (answer_request(r, c, result, answering, now_ns))
            connections_move(&r->connections, c, CONNECTION_IDLE, now_ns);
        else
            connections_close(&r->connections, c, "answered");
        break;
    case GATE_REPLY:
        if (send_reply(c, result))
            follow_gate(r, c, now_ns);
        else
            connections_close(&r->connections, c, "answered without the application");
        break;
    case GATE_REJECT:
        count_reject(r, result->why, now_ns);
        connections_close(&r->connections, c, result->why);
        break;
    }
}

/* Gives these bytes to the gate up to its first event. Returns how many bytes it took. */
static size_t take_one(struct requests *r, struct connection *c, const void *bytes, size_t len,
                       const struct answering *answering, int64_t now_ns)
{
    struct gate_result result = gate_take(&c->gate, bytes, len);
    act_on(r, c, &result, answering, now_ns);
    return result.taken;
}

void requests_receive(struct requests *r, struct connection *c, const struct answering *answering,
                      int64_t now_ns)
{
    if (c->phase == CONNECTION_CLOSED || c->phase == CONNECTION_QUEUED)
        return;
    ssize_t n = recvfrom(c->fd, r->received, sizeof r->received, 0, NULL, NULL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        const char *why = gate_is_idle(&c->gate) ? "closed by the peer" : "closed in the middle of a request";
        connections_close(&r->connections, c, n == 0 ? why : strerror(errno));
        return;
    }
    size_t taken = take_one(r, c, r->received, (size_t)n, answering, now_ns);
    if (taken < (size_t)n && c->phase != CONNECTION_CLOSED) {
        buf_append(&c->rest, r->received + taken, (size_t)n - taken);
        connections_move(&r->connections, c, CONNECTION_QUEUED, now_ns);
    }
}

/* Takes one request from each connection, so that a peer that sends many at once does not keep the others
 * waiting. */
static void take_queued(struct requests *r, const struct answering *answering, int64_t now_ns)
{
    const struct connection_list *queued = &r->connections.phases[CONNECTION_QUEUED];
    const struct connection *last = queued->tail;
    struct connection *c = NULL;

    while (queued->head != NULL && c != last) {
        c = queued->head;
        c->rest_at += take_one(r, c, c->rest.data + c->rest_at, c->rest.len - c->rest_at, answering, now_ns);
        if (c->phase == CONNECTION_CLOSED)
            continue;
        if (c->rest_at < c->rest.len) {
            connections_move(&r->connections, c, CONNECTION_QUEUED, now_ns);
        } else {
            buf_free(&c->rest);
            c->rest_at = 0;
            follow_gate(r, c, now_ns);
        }
    }
}

/* Reads and ignores the rest of the body, so that no client gets an error while it still writes. If the
 * connection is to end, it stays open for reading until the client closes it. */
static void answer_before_body(struct requests *r, const struct answering *answering, int64_t now_ns)
{
    struct connection *c;
    while ((c = r->connections.phases[CONNECTION_BODY].head) != NULL && c->since_ns + BODY_NS <= now_ns) {
        struct gate_result request = gate_give_up_body(&c->gate);
        if (!answer_request(r, c, &request, answering, now_ns))
            (void)shutdown(c->fd, SHUT_WR);
        connections_move(&r->connections, c, CONNECTION_IDLE, now_ns);
    }
}

void requests_continue(struct requests *r, const struct answering *answering, int64_t now_ns)
{
    size_t late = connections_expire(&r->connections, CONNECTION_PARTIAL, PARTIAL_NS, now_ns);
    for (size_t i = 0; i < late; i++)
        count_reject(r, "not whole within a second", now_ns);
    answer_before_body(r, answering, now_ns);
    take_queued(r, answering, now_ns);
    if (now_ns >= end_of_pause_ns(r)) {
        r->is_paused = false;
        watch_listener(r);
    }
}

int64_t requests_deadline_ns(const struct requests *r)
{
    const struct connection *partial = r->connections.phases[CONNECTION_PARTIAL].head;
    const struct connection *body = r->connections.phases[CONNECTION_BODY].head;
    if (r->connections.phases[CONNECTION_QUEUED].head != NULL)
        return 0;
    int64_t partial_ns = partial != NULL ? partial->since_ns + PARTIAL_NS : CLOCK_NEVER;
    int64_t body_ns = body != NULL ? body->since_ns + BODY_NS : CLOCK_NEVER;
    return clock_min(clock_min(partial_ns, body_ns), end_of_pause_ns(r));
}

void requests_tick(struct requests *r, int64_t idle_ns, int64_t now_ns)
{
    (void)connections_expire(&r->connections, CONNECTION_IDLE, idle_ns, now_ns);
    (void)connections_expire(&r->connections, CONNECTION_NEW, idle_ns, now_ns);
    log_rejects(&r->rejects, now_ns);
}

void requests_close(struct requests *r)
{
    log_rejects(&r->rejects, CLOCK_NEVER);
    connections_close_all(&r->connections);
}
