/* The event loop. Main thread; owns the epoll set, the connections and what is answered. Nothing in here may
 * block: every descriptor is non-blocking, and an answer is a page that is rendered already, or rendered from
 * memory. */
#include "cgi/serve/server.h"

#include "cgi/answer/health.h"
#include "cgi/serve/connection.h"
#include "cgi/serve/deadman.h"
#include "cgi/serve/fcgi.h"
#include "cgi/serve/gate.h"
#include "cgi/serve/process.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
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

/* In the order of time; drawn in ARCHITECTURE.md. From DRAINING on it stops. */
enum phase {
    HOLDING, /* the listener rests */
    OPENED,  /* it accepts; the manager is owed READY=1 */
    SERVING,
    DRAINING,
    FINISHING, /* the listener rests; what was accepted is answered */
    DONE,
};

struct server {
    struct server_options options;
    int epoll_fd;
    int signal_fd;
    int timer_fd;
    enum phase phase;
    int64_t until_ns;     /* the end of HOLDING, DRAINING and FINISHING */
    bool reload_is_due;   /* SIGHUP came */
    bool is_accepting;    /* epoll tells of the listener */
    struct verdict told;  /* to the manager */
    int64_t tell_from_ns; /* the manager had no room: not before this */
    int exit_code;
    struct connections connections;
    struct health *health;
    struct process_facts process;
    struct error checks_error;
    uint8_t peeked[GATE_MAX_BYTES];
};

/* SIGUSR1: libfcgi installs a handler for it; it means nothing here. */
static sigset_t signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(&set, numbers[i]);
    return set;
}

bool server_prepare(struct error *err)
{
    const sigset_t set = signals();
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return fcgi_init(err);
}

static bool watch_fd(struct server *s, int operation, int fd, uint32_t events, void *tag)
{
    struct epoll_event event = {.events = events, .data.ptr = tag};
    return epoll_ctl(s->epoll_fd, operation, fd, &event) == 0;
}

static void set_accepting(struct server *s, bool accepting)
{
    if (s->is_accepting != accepting) {
        s->is_accepting = accepting;
        (void)watch_fd(s, EPOLL_CTL_MOD, s->options.listener->fd, accepting ? EPOLLIN : 0,
                       s->options.listener);
    }
}

static void enter(struct server *s, enum phase phase, int64_t until_ns)
{
    s->phase = phase;
    s->until_ns = until_ns;
}

/* The phases that end by themselves, after a batch of so many events. */
static void advance(struct server *s, int events, int64_t now_ns)
{
    switch (s->phase) {
    case HOLDING:
        if (health_verdict(s->health)->status != HEALTH_STARTING || now_ns >= s->until_ns) {
            enter(s, OPENED, CLOCK_NEVER);
            set_accepting(s, true);
        }
        break;
    case DRAINING:
        if (now_ns >= s->until_ns) {
            enter(s, FINISHING, now_ns + FINISH_NS);
            set_accepting(s, false);
        }
        break;
    case FINISHING:
        if (now_ns >= s->until_ns || (events == 0 && !connections_are_awaited(&s->connections)))
            enter(s, DONE, CLOCK_NEVER);
        break;
    case OPENED:
    case SERVING:
    case DONE: break;
    }
}

/* STATUS with each new verdict; READY=1 when the first probe has finished and the listener accepts, and again
 * after a reload. What the manager has no room for is told with a later tick. */
static void tell_manager(struct server *s, int64_t now_ns)
{
    const struct verdict *verdict = health_verdict(s->health);
    bool is_ready = s->phase == OPENED && verdict->status != HEALTH_STARTING;
    char status[160];
    char lines[200];

    if ((!is_ready && verdict_equal(verdict, &s->told)) || now_ns < s->tell_from_ns)
        return;
    verdict_describe(verdict, status, sizeof status);
    snprintf(lines, sizeof lines, "%sSTATUS=%s", is_ready ? "READY=1\n" : "", status);
    if (!notify_send(lines)) {
        s->tell_from_ns = now_ns + NS_PER_S / 2;
        return;
    }
    s->told = *verdict;
    if (is_ready)
        enter(s, SERVING, CLOCK_NEVER);
}

static void take_snapshot(struct server *s, int64_t now_ns)
{
    uint64_t ignored;
    (void)!read(snapshot_slot_event_fd(s->options.slot), &ignored, sizeof ignored);
    health_update(s->health, snapshot_acquire(s->options.slot), &s->process, now_ns);
}

static void accept_connections(struct server *s, int64_t now_ns)
{
    size_t max = (size_t)s->options.config->max_connections;
    struct connection *c = NULL;

    for (int i = 0; i < ACCEPTS_PER_WAKEUP; i++) {
        enum accept_result result =
            connections_accept(&s->connections, s->options.listener->fd, max, now_ns, &c);
        if (result == ACCEPT_NO_ROOM)
            set_accepting(s, false); /* until the next tick: it is level-triggered and would spin */
        if (result != ACCEPT_ONE)
            return;
        if (!watch_fd(s, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, c))
            connections_close(&s->connections, c, strerror(errno));
    }
}

static void answer_connection(struct server *s, struct connection *c, bool is_last, int64_t now_ns)
{
    int64_t open = (int64_t)s->connections.open;
    /* Connections are among the descriptors, which are counted once a second only. */
    if (s->process.usage.open_fds >= 0)
        s->process.usage.open_fds += open - s->process.connections;
    s->process.connections = open;
    /* By the clock of now: the batch may have waited, or the whole process. */
    bool keep = fcgi_serve(&c->fd, s->health, &s->process, clock_now_ns());
    if (!keep || is_last || s->phase == FINISHING)
        connections_close(&s->connections, c, "answered");
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
        connections_close(&s->connections, c, n == 0 ? "closed by the peer" : strerror(errno));
        return;
    }
    switch (gate_judge(s->peeked, (size_t)n, &result)) {
    case GATE_WHOLE: answer_connection(s, c, peer_is_done || result.has_body, now_ns); break;
    case GATE_REJECT: connections_close(&s->connections, c, result.why); break;
    case GATE_MORE:
        if (peer_is_done)
            connections_close(&s->connections, c, "closed in mid-request");
        else if (c->phase != CONNECTION_PARTIAL)
            connections_move(&s->connections, c, CONNECTION_PARTIAL, now_ns);
        break;
    }
}

static void begin_stop(struct server *s, int64_t now_ns, int exit_code)
{
    const struct config *config = s->options.config;
    char lines[64];

    s->exit_code = exit_code;
    enter(s, DRAINING, now_ns + config->drain_ms * NS_PER_MS);
    /* Without a drain nobody is to be told: what is at hand gets its usual answer. */
    s->process.draining = exit_code == 0 && config->drain_ms > 0;
    if (config->drain_ms > 0)
        set_accepting(s, true); /* those that wait for the first probe are told as well */
    s->tell_from_ns = 0;
    deadman_arm_final(config->drain_ms + config->stop_timeout_ms);
    /* sd_notify(3): the manager's own limit, TimeoutStopSec=, need not know of HEALTH_DRAIN. */
    snprintf(lines, sizeof lines, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRId64,
             (config->drain_ms + config->stop_timeout_ms) * 1000);
    (void)notify_send(lines);
    health_update(s->health, NULL, &s->process, now_ns);
}

/* The second signal: the rest of the drain is off. */
static void hasten_stop(struct server *s, int64_t now_ns)
{
    enter(s, s->phase == DRAINING ? DRAINING : DONE, now_ns);
    deadman_arm_final(s->options.config->stop_timeout_ms);
}

static void read_signals(struct server *s, int64_t now_ns)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP && s->phase < DRAINING) {
            s->reload_is_due = true;
        } else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
            log_event(LOG_LEVEL_NOTICE, "stopping", LOG_INT("signal", info.ssi_signo),
                      LOG_INT("from_pid", info.ssi_pid), LOG_INT("drain_ms", s->options.config->drain_ms));
            if (s->phase >= DRAINING)
                hasten_stop(s, now_ns);
            else
                begin_stop(s, now_ns, 0);
        }
    }
}

static void check_fd_limit(struct server *s, int64_t now_ns)
{
    char kinds[256];
    if (s->process.usage.open_fds <= s->options.config->fd_limit || s->process.fd_limit)
        return;
    process_describe_fds(kinds, sizeof kinds);
    log_event(LOG_LEVEL_ERROR, "too many descriptors, stopping to be started anew",
              LOG_INT("open_fds", s->process.usage.open_fds), LOG_INT("limit", s->options.config->fd_limit),
              LOG_STR("kinds", kinds));
    s->process.fd_limit = true;
    if (s->phase >= DRAINING)
        hasten_stop(s, now_ns);
    else
        begin_stop(s, now_ns, 1);
}

static void tick(struct server *s, int64_t now_ns)
{
    int64_t idle_ns = s->options.config->idle_timeout_ms * NS_PER_MS;
    uint64_t ignored;
    (void)!read(s->timer_fd, &ignored, sizeof ignored);
    deadman_arm();
    /* A first probe may take longer than TimeoutStartSec=, sd_notify(3). */
    (void)notify_send(s->phase <= OPENED ? "WATCHDOG=1\n" EXTEND_START : "WATCHDOG=1");
    s->process.usage = process_read();
    s->process.connections = (int64_t)s->connections.open;
    check_fd_limit(s, now_ns);
    connections_expire(&s->connections, CONNECTION_IDLE, idle_ns, now_ns);
    connections_expire(&s->connections, CONNECTION_NEW, idle_ns, now_ns);
    if (s->phase == OPENED || s->phase == SERVING || s->phase == DRAINING)
        set_accepting(s, true); /* it may have been at rest for want of a descriptor */
    health_update(s->health, NULL, &s->process, now_ns); /* the uptime in the pages */
}

static int64_t next_deadline(const struct server *s)
{
    const struct connection *partial = s->connections.phases[CONNECTION_PARTIAL].head;
    int64_t deadline_ns = s->until_ns;
    if (s->phase == FINISHING && !connections_are_awaited(&s->connections))
        deadline_ns = 0; /* only what is here already */
    if (partial != NULL && partial->since_ns + PARTIAL_REQUEST_NS < deadline_ns)
        deadline_ns = partial->since_ns + PARTIAL_REQUEST_NS;
    return deadline_ns;
}

static void dispatch(struct server *s, const struct epoll_event *event, int64_t now_ns)
{
    void *tag = event->data.ptr;
    if (tag == s->options.listener)
        accept_connections(s, now_ns);
    else if (tag == s->options.slot)
        take_snapshot(s, now_ns);
    else if (tag == &s->signal_fd)
        read_signals(s, now_ns);
    else if (tag == &s->timer_fd)
        tick(s, now_ns);
    else if (((struct connection *)tag)->phase != CONNECTION_CLOSED)
        serve_connection(s, tag, event->events, now_ns);
}

/* One batch of events. */
static void turn(struct server *s)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    int timeout_ms = clock_poll_timeout_ms(next_deadline(s), clock_now_ns());
    int count = epoll_wait(s->epoll_fd, events, EVENTS_PER_WAIT, timeout_ms);
    int64_t now_ns = clock_now_ns();

    for (int i = 0; i < count; i++)
        dispatch(s, &events[i], now_ns);
    connections_expire(&s->connections, CONNECTION_PARTIAL, PARTIAL_REQUEST_NS, now_ns);
    advance(s, count, now_ns);
    tell_manager(s, now_ns);
    connections_free_closed(&s->connections);
}

/* Each second, or three times within the period in which systemd expects to hear from us. */
static struct itimerspec tick_times(int64_t watchdog_ns)
{
    int64_t tick_ns = watchdog_ns > 0 && watchdog_ns / 3 < TICK_NS ? watchdog_ns / 3 : TICK_NS;
    struct timespec period = {.tv_sec = tick_ns / NS_PER_S, .tv_nsec = tick_ns % NS_PER_S};
    return (struct itimerspec){.it_interval = period, .it_value = period};
}

/* False: err says what the system refused. */
static bool open_all(struct server *s, struct error *err)
{
    const struct itimerspec ticks = tick_times(s->options.watchdog_ns);
    const sigset_t set = signals();
    const char *errpos = "epoll_create1";

    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll_fd < 0)
        goto failed;
    errpos = "signalfd";
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->signal_fd < 0)
        goto failed;
    errpos = "timerfd";
    s->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (s->timer_fd < 0 || timerfd_settime(s->timer_fd, 0, &ticks, NULL) != 0)
        goto failed;
    errpos = "epoll_ctl";
    if (watch_fd(s, EPOLL_CTL_ADD, s->signal_fd, EPOLLIN, &s->signal_fd) &&
        watch_fd(s, EPOLL_CTL_ADD, s->timer_fd, EPOLLIN, &s->timer_fd) &&
        watch_fd(s, EPOLL_CTL_ADD, snapshot_slot_event_fd(s->options.slot), EPOLLIN, s->options.slot) &&
        watch_fd(s, EPOLL_CTL_ADD, s->options.listener->fd, 0, s->options.listener))
        return true;

failed:
    error_set(err, "%s: %s", errpos, strerror(errno));
    return false;
}

struct server *server_open(const struct server_options *options, struct error *err)
{
    struct server *s = mem_calloc(1, sizeof *s);
    int64_t now_ns = clock_now_ns();

    *s = (struct server){
        .options = *options,
        .epoll_fd = -1,
        .signal_fd = -1,
        .timer_fd = -1,
        .phase = HOLDING,
        .until_ns = now_ns + START_HOLD_NS,
        .health = health_new(options->config, snapshot_acquire(options->slot), options->started_ns),
    };
    s->process.checks_error = s->checks_error.text;
    s->told = *health_verdict(s->health);
    if (!open_all(s, err)) {
        (void)server_close(s);
        return NULL;
    }
    s->process.usage = process_read(); /* the first tick is a second away */
    health_update(s->health, NULL, &s->process, now_ns);
    deadman_init();
    deadman_arm();
    return s;
}

static void begin_reload(struct server *s)
{
    char lines[64];

    s->reload_is_due = false;
    if (s->phase >= DRAINING)
        return;
    /* sd_notify(3): RELOADING=1 needs the time. */
    snprintf(lines, sizeof lines, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_monotonic_us());
    (void)notify_send(lines);
    if (s->phase == SERVING)
        enter(s, OPENED, CLOCK_NEVER);
}

enum server_event server_run(struct server *s)
{
    while (!s->reload_is_due && s->phase != DONE)
        turn(s);
    if (s->phase == DONE)
        return SERVER_STOPPED;
    begin_reload(s);
    return SERVER_RELOAD;
}

void server_end_reload(struct server *s, const struct error *refused)
{
    s->checks_error = *refused;
    if (refused->text[0] != '\0')
        log_event(LOG_LEVEL_ERROR, "reload refused, the old checks stay", LOG_STR("error", refused->text));
    s->tell_from_ns = 0;
    tell_manager(s, clock_now_ns());
}

int server_close(struct server *s)
{
    const int fds[] = {s->epoll_fd, s->signal_fd, s->timer_fd};
    int exit_code = s->exit_code;

    connections_close_all(&s->connections);
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    health_free(s->health);
    free(s);
    return exit_code;
}
