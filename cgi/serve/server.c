/* The event loop. Main thread; owns the epoll set, the connections and the site. Nothing in here may block:
 * every descriptor is non-blocking and a request is answered from what is already rendered. */
#include "cgi/serve/server.h"

#include "cgi/answer/health.h"
#include "cgi/serve/connection.h"
#include "cgi/serve/deadman.h"
#include "cgi/serve/fcgi.h"
#include "cgi/serve/gate.h"
#include "cgi/serve/process.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS            NS_PER_S
#define PARTIAL_REQUEST_NS NS_PER_S /* DESIGN: at most 1 s from its first byte */
/* How long requests may wait in the backlog for the first probe, so that a restart is no 503 `starting`. */
#define START_HOLD_NS NS_PER_S
/* How long, at the end, connections that were just accepted may take to send their request. */
#define FINISH_NS (250 * NS_PER_MS)
/* With each tick until the first probe has finished: longer than a tick is late on a busy machine. */
#define EXTEND_START       "EXTEND_TIMEOUT_USEC=10000000"
#define EVENTS_PER_WAIT    64
#define ACCEPTS_PER_WAKEUP 64 /* then the requests that came meanwhile have their turn */

struct server {
    const struct server_options *options;
    int epoll_fd;
    int signal_fd;
    int timer_fd;
    bool is_accepting; /* the listener is in the epoll set */
    bool is_ready;     /* READY=1 is sent */
    bool is_untold;    /* the manager did not take the last STATUS */
    bool is_done;
    int exit_code;
    int64_t accept_from_ns;  /* the first probe may take until then; CLOCK_NEVER afterwards */
    int64_t drain_until_ns;  /* CLOCK_NEVER: no SIGTERM yet */
    int64_t refused_accepts; /* in a row */
    struct connections connections;

    struct health health;
    uint8_t peeked[GATE_MAX_BYTES];
};

bool server_prepare(struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1); /* libfcgi installs a handler for it; it means nothing here */
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return fcgi_init(err);
}

static bool watch(struct server *s, int operation, int fd, uint32_t events, void *tag)
{
    struct epoll_event event = {.events = events, .data.ptr = tag};
    return epoll_ctl(s->epoll_fd, operation, fd, &event) == 0;
}

static void set_accepting(struct server *s, bool accepting)
{
    if (s->is_accepting != accepting) {
        s->is_accepting = accepting;
        (void)watch(s, EPOLL_CTL_MOD, s->options->listener->fd, accepting ? EPOLLIN : 0,
                    s->options->listener);
    }
}

static bool is_stopping(const struct server *s)
{
    return s->drain_until_ns != CLOCK_NEVER;
}

/* STATUS with each change; READY=1 once, when the first probe has finished and the listener accepts. What the
 * manager has no room for is told again with the next tick. */
static void notify_status(struct server *s)
{
    char status[160];
    char lines[200];
    bool is_first = !s->is_ready && s->health.verdict.status != HEALTH_STARTING && !is_stopping(s);

    if (is_first) {
        s->accept_from_ns = CLOCK_NEVER;
        set_accepting(s, true);
    }
    health_describe(&s->health, status, sizeof status);
    snprintf(lines, sizeof lines, "%sSTATUS=%s", is_first ? "READY=1\n" : "", status);
    s->is_untold = !notify_send(lines);
    s->is_ready |= is_first && !s->is_untold;
}

static void judge(struct server *s, int64_t now_ns)
{
    if (health_judge(&s->health, now_ns))
        notify_status(s);
}

static void take_snapshot(struct server *s, int64_t now_ns)
{
    uint64_t ignored;
    (void)!read(snapshot_slot_event_fd(s->options->slot), &ignored, sizeof ignored);
    if (health_take_snapshot(&s->health, snapshot_acquire(s->options->slot), now_ns))
        notify_status(s);
}

static void close_connection(struct server *s, struct connection *c, const char *why)
{
    log_event(LOG_LEVEL_DEBUG, "connection closed", LOG_STR("why", why));
    connections_close(&s->connections, c);
}

/* Nobody waits any more, or one peer is lost, accept(2): epoll tells of the next. */
static bool is_of_one_peer(int error)
{
    switch (error) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET: return true;
    default: return false;
    }
}

/* accept4 failed. Where this process has no descriptor left a connection makes room; else the listener rests
 * until the next tick, for it is level-triggered and would spin. */
static void handle_accept_error(struct server *s, int error)
{
    struct connection *oldest = connections_oldest(&s->connections);
    if (error == EMFILE && oldest != NULL) {
        close_connection(s, oldest, strerror(error));
        return;
    }
    if (s->refused_accepts++ == 0) {
        log_event(LOG_LEVEL_ERROR, "cannot accept, trying again at each tick",
                  LOG_STR("error", strerror(error)));
    }
    set_accepting(s, false);
}

static void accept_connections(struct server *s, int64_t now_ns)
{
    for (int i = 0; i < ACCEPTS_PER_WAKEUP && s->is_accepting; i++) {
        int fd = accept4(s->options->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && is_of_one_peer(errno))
            return;
        if (fd < 0) {
            handle_accept_error(s, errno);
            continue;
        }
        if (s->refused_accepts > 0) {
            log_event(LOG_LEVEL_NOTICE, "accepting again", LOG_INT("failed_tries", s->refused_accepts));
            s->refused_accepts = 0;
        }
        if (s->connections.open >= (size_t)s->options->config->max_connections)
            close_connection(s, connections_oldest(&s->connections), "the cap is reached, longest idle");
        struct connection *c = connections_add(&s->connections, fd, now_ns);
        if (!watch(s, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, c))
            close_connection(s, c, strerror(errno));
    }
}

/* Connections are among the descriptors, which are counted once a second only. */
static void count_connections(struct server *s)
{
    int64_t open = (int64_t)s->connections.open;
    if (s->health.usage.open_fds >= 0)
        s->health.usage.open_fds += open - s->health.connections;
    s->health.connections = open;
}

static void answer(struct server *s, struct connection *c, bool is_last, int64_t now_ns)
{
    count_connections(s);
    judge(s, now_ns);
    bool keep = fcgi_serve(&c->fd, s->health.site);
    if (!keep || is_last || now_ns >= s->drain_until_ns)
        close_connection(s, c, "answered");
    else
        connections_move(&s->connections, c, CONNECTION_IDLE, now_ns);
}

static void serve_connection(struct server *s, struct connection *c, uint32_t events, int64_t now_ns)
{
    struct gate_result result = {0};
    bool peer_is_done = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    ssize_t n = recvfrom(c->fd, s->peeked, sizeof s->peeked, MSG_PEEK, NULL, NULL);

    if (n < 0 && (errno == EAGAIN || errno == EINTR) && !peer_is_done)
        return;
    if (n <= 0) {
        close_connection(s, c, n == 0 ? "closed by the peer" : strerror(errno));
        return;
    }
    switch (gate_judge(s->peeked, (size_t)n, &result)) {
    case GATE_WHOLE: answer(s, c, peer_is_done || result.has_body, now_ns); break;
    case GATE_REJECT: close_connection(s, c, result.why); break;
    case GATE_MORE:
        if (peer_is_done)
            close_connection(s, c, "closed in mid-request");
        else if (c->phase != CONNECTION_PARTIAL)
            connections_move(&s->connections, c, CONNECTION_PARTIAL, now_ns);
        break;
    }
}

static void expire(struct server *s, enum connection_phase phase, int64_t limit_ns, int64_t now_ns)
{
    struct connection *c;
    while ((c = s->connections.phases[phase].head) != NULL && c->since_ns + limit_ns <= now_ns) {
        close_connection(s, c,
                         phase == CONNECTION_PARTIAL ? "half a request for too long" : "idle for too long");
    }
}

static void begin_stop(struct server *s, int64_t now_ns, int exit_code)
{
    const struct config *config = s->options->config;
    char lines[64];

    if (is_stopping(s)) {
        s->is_done = true; /* the second signal: the rest of the drain is off */
        deadman_arm_final(config->stop_timeout_ms);
        return;
    }
    s->exit_code = exit_code;
    s->drain_until_ns = now_ns + config->drain_ms * NS_PER_MS;
    /* Without a drain nobody is to be told: what is at hand gets its usual answer. */
    s->health.process.draining = exit_code == 0 && config->drain_ms > 0;
    deadman_arm_final(config->drain_ms + config->stop_timeout_ms);
    /* sd_notify(3): the manager's own limit, TimeoutStopSec=, need not know of HEALTH_DRAIN. */
    snprintf(lines, sizeof lines, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRId64,
             (config->drain_ms + config->stop_timeout_ms) * 1000);
    (void)notify_send(lines);
    judge(s, now_ns);
}

static void reload(struct server *s)
{
    char lines[64];
    struct timespec now;

    /* sd_notify(3): RELOADING=1 needs the time on CLOCK_MONOTONIC. */
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(lines, sizeof lines, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
             (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    (void)notify_send(lines);
    s->health.checks_error.text[0] = '\0';
    if (!s->options->reload(s->options->context, &s->health.checks_error)) {
        log_event(LOG_LEVEL_ERROR, "reload refused, the old checks stay",
                  LOG_STR("error", s->health.checks_error.text));
    }
    s->is_ready = false;
    notify_status(s);
}

static void read_signals(struct server *s, int64_t now_ns)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            if (!is_stopping(s))
                reload(s);
        } else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
            log_event(LOG_LEVEL_NOTICE, "stopping", LOG_INT("signal", info.ssi_signo),
                      LOG_INT("from_pid", info.ssi_pid), LOG_INT("drain_ms", s->options->config->drain_ms));
            begin_stop(s, now_ns, 0);
        }
    }
}

static void check_fd_limit(struct server *s, int64_t now_ns)
{
    char kinds[256];
    if (s->health.usage.open_fds <= s->options->config->fd_limit || s->health.process.fd_limit)
        return;
    process_describe_fds(kinds, sizeof kinds);
    log_event(LOG_LEVEL_ERROR, "too many descriptors, stopping to be started anew",
              LOG_INT("open_fds", s->health.usage.open_fds), LOG_INT("limit", s->options->config->fd_limit),
              LOG_STR("kinds", kinds));
    s->health.process.fd_limit = true;
    begin_stop(s, now_ns, 1);
}

static void tick(struct server *s, int64_t now_ns)
{
    uint64_t ignored;
    (void)!read(s->timer_fd, &ignored, sizeof ignored);
    deadman_arm();
    /* A first probe may take longer than TimeoutStartSec=, sd_notify(3). */
    (void)notify_send(s->is_ready || is_stopping(s) ? "WATCHDOG=1" : "WATCHDOG=1\n" EXTEND_START);
    process_usage_read(&s->health.usage);
    s->health.connections = (int64_t)s->connections.open;
    check_fd_limit(s, now_ns);
    expire(s, CONNECTION_IDLE, s->options->config->idle_timeout_ms * NS_PER_MS, now_ns);
    expire(s, CONNECTION_NEW, s->options->config->idle_timeout_ms * NS_PER_MS, now_ns);
    if (s->drain_until_ns > now_ns && s->accept_from_ns == CLOCK_NEVER)
        set_accepting(s, true);
    if (s->is_untold)
        notify_status(s);
    judge(s, now_ns);
    health_refresh(&s->health); /* the uptime in the documents */
}

static int64_t next_deadline(const struct server *s)
{
    const struct connection *partial = s->connections.phases[CONNECTION_PARTIAL].head;
    int64_t deadline_ns = s->accept_from_ns < s->drain_until_ns ? s->accept_from_ns : s->drain_until_ns;
    if (partial != NULL && partial->since_ns + PARTIAL_REQUEST_NS < deadline_ns)
        deadline_ns = partial->since_ns + PARTIAL_REQUEST_NS;
    return deadline_ns;
}

static void dispatch(struct server *s, const struct epoll_event *event, int64_t now_ns)
{
    void *tag = event->data.ptr;
    if (tag == s->options->listener)
        accept_connections(s, now_ns);
    else if (tag == s->options->slot)
        take_snapshot(s, now_ns);
    else if (tag == &s->signal_fd)
        read_signals(s, now_ns);
    else if (tag == &s->timer_fd)
        tick(s, now_ns);
    else if (((struct connection *)tag)->phase != CONNECTION_CLOSED)
        serve_connection(s, tag, event->events, now_ns);
}

/* One batch of events. Returns how many there were. */
static int turn(struct server *s, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    int count = epoll_wait(s->epoll_fd, events, EVENTS_PER_WAIT, timeout_ms);
    int64_t now_ns = clock_now_ns();

    for (int i = 0; i < count; i++)
        dispatch(s, &events[i], now_ns);
    expire(s, CONNECTION_PARTIAL, PARTIAL_REQUEST_NS, now_ns);
    if (now_ns >= s->accept_from_ns) {
        s->accept_from_ns = CLOCK_NEVER;
        set_accepting(s, true);
    }
    connections_free_closed(&s->connections);
    return count;
}

/* Each second, or thrice in the time within which the manager wants to hear of us. */
static struct itimerspec tick_times(int64_t watchdog_ns)
{
    int64_t tick_ns = watchdog_ns > 0 && watchdog_ns / 3 < TICK_NS ? watchdog_ns / 3 : TICK_NS;
    struct timespec period = {.tv_sec = tick_ns / NS_PER_S, .tv_nsec = tick_ns % NS_PER_S};
    return (struct itimerspec){.it_interval = period, .it_value = period};
}

static bool open_all(struct server *s, struct error *err)
{
    const struct itimerspec ticks = tick_times(s->options->watchdog_ns);
    const char *errpos = "epoll_create1";
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll_fd < 0)
        goto failed;
    errpos = "signalfd";
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->signal_fd < 0)
        goto failed;
    errpos = "timerfd";
    s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (s->timer_fd < 0 || timerfd_settime(s->timer_fd, 0, &ticks, NULL) != 0)
        goto failed;
    errpos = "epoll_ctl";
    if (!watch(s, EPOLL_CTL_ADD, s->signal_fd, EPOLLIN, &s->signal_fd) ||
        !watch(s, EPOLL_CTL_ADD, s->timer_fd, EPOLLIN, &s->timer_fd) ||
        !watch(s, EPOLL_CTL_ADD, snapshot_slot_event_fd(s->options->slot), EPOLLIN, s->options->slot) ||
        !watch(s, EPOLL_CTL_ADD, s->options->listener->fd, 0, s->options->listener))
        goto failed;
    s->accept_from_ns = clock_now_ns() + START_HOLD_NS;
    return true;

failed:
    error_set(err, "%s: %s", errpos, strerror(errno));
    return false;
}

static void close_all(struct server *s)
{
    struct connection *c;
    while ((c = connections_oldest(&s->connections)) != NULL)
        connections_close(&s->connections, c);
    connections_free_closed(&s->connections);
    int fds[] = {s->epoll_fd, s->signal_fd, s->timer_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    health_free(&s->health);
}

static bool has_requests_to_come(const struct server *s)
{
    return s->connections.phases[CONNECTION_NEW].head != NULL ||
           s->connections.phases[CONNECTION_PARTIAL].head != NULL;
}

/* What was accepted is still answered; what waits in the backlog is our successor's. */
static void finish(struct server *s)
{
    int64_t until_ns = clock_now_ns() + FINISH_NS;
    int64_t now_ns;
    int count;

    s->accept_from_ns = CLOCK_NEVER;
    set_accepting(s, false);
    do {
        now_ns = clock_now_ns();
        count = turn(s, has_requests_to_come(s) ? clock_poll_timeout_ms(until_ns, now_ns) : 0);
    } while (!s->is_done && now_ns < until_ns && (count > 0 || has_requests_to_come(s)));
}

static void serve(struct server *s)
{
    while (!s->is_done && clock_now_ns() < s->drain_until_ns)
        (void)turn(s, clock_poll_timeout_ms(next_deadline(s), clock_now_ns()));
    finish(s);
}

int server_run(const struct server_options *options)
{
    struct server s = {
        .options = options,
        .epoll_fd = -1,
        .signal_fd = -1,
        .timer_fd = -1,
        .drain_until_ns = CLOCK_NEVER,
    };
    struct error err = {0};

    health_init(&s.health, options->config, snapshot_acquire(options->slot), options->started_ns);
    if (open_all(&s, &err)) {
        process_usage_read(&s.health.usage); /* the first tick is a second away */
        deadman_init();
        deadman_arm();
        serve(&s);
    } else {
        log_event(LOG_LEVEL_ERROR, "cannot serve", LOG_STR("error", err.text));
        s.exit_code = 1;
    }
    close_all(&s);
    return s.exit_code;
}
