/* The event loop. Main thread; owns the epoll set, the requests, and the health that they show. Nothing in
 * this file may block, except that server_open waits a second at most for drain_open. */
#include "cgi/serve/server.h"

#include "cgi/answer/health.h"
#include "cgi/serve/deadman.h"
#include "cgi/serve/fcgi.h"
#include "cgi/serve/process.h"
#include "cgi/serve/reload.h"
#include "cgi/serve/requests.h"
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

#define TICK_NS NS_PER_S
/* How long requests may wait in the backlog for the first probe, so that a restart causes no 503
 * `starting`. Together with the restart itself this is less than the second that nginx waits for a response
 * (fastcgi_read_timeout). */
#define START_HOLD_NS (300 * NS_PER_MS)
/* How long the last accepted connections may take to send their request. */
#define FINISH_NS (250 * NS_PER_MS)
/* Each tick sends this until the manager has taken READY=1. No tick is ten seconds late, even on a busy
 * machine. */
#define EXTEND_START    "EXTEND_TIMEOUT_USEC=10000000"
#define EVENTS_PER_WAIT 64

/* The phases in the order of time; ARCHITECTURE.md draws them. From DRAINING on, the server is stopping. */
enum phase {
    HOLDING, /* the listener is paused */
    OPENED,  /* the listener accepts; the manager waits for READY=1 */
    SERVING,
    DRAINING,
    FINISHING, /* the listener is paused; the server answers what it has accepted */
    DONE,
};

struct server {
    struct server_options options;
    int epoll_fd;
    int signal_fd;
    int timer_fd;
    enum phase phase;
    int64_t until_ns;        /* when HOLDING, DRAINING or FINISHING ends */
    struct verdict reported; /* the last verdict that the manager took */
    int64_t report_from_ns;  /* the manager had no room: send nothing before this */
    int exit_code;
    bool exceeds_fd_limit;
    int64_t stopping_since_wall_ms; /* 0: no stop signal has come, or HEALTH_DRAIN is 0 */
    struct drain *drain;
    struct requests requests;
    struct reload reload;
    struct health *health;
    struct process_facts process;
};

/* FastCGI process managers ask for a graceful stop by SIGUSR1. */
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

static bool watch_fd(struct server *s, int fd, uint32_t events, void *tag)
{
    struct epoll_event event = {.events = events, .data.ptr = tag};
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void enter(struct server *s, enum phase phase, int64_t until_ns)
{
    s->phase = phase;
    s->until_ns = until_ns;
}

/* Leaves a phase that ends by itself. Call it after each batch, with the number of its events. */
static void advance(struct server *s, int events, int64_t now_ns)
{
    switch (s->phase) {
    case HOLDING:
        if (health_verdict(s->health)->status != HEALTH_STARTING || now_ns >= s->until_ns) {
            enter(s, OPENED, CLOCK_NEVER);
            requests_set_open(&s->requests, true);
        }
        break;
    case DRAINING:
        if (now_ns >= s->until_ns) {
            enter(s, FINISHING, now_ns + FINISH_NS);
            requests_set_open(&s->requests, false);
        }
        break;
    case FINISHING:
        if (now_ns >= s->until_ns || (events == 0 && !connections_are_awaited(&s->requests.connections)))
            enter(s, DONE, CLOCK_NEVER);
        break;
    case OPENED:
    case SERVING:
    case DONE: break;
    }
}

/* Sends STATUS= with each new verdict. Sends READY=1 when the first probe has finished (or the process drains
 * by hand) and the listener accepts, and again after a reload, or when the reload takes too long. When the
 * manager has no room, a later tick tries again. */
static void report_to_manager(struct server *s, int64_t now_ns)
{
    const struct verdict *verdict = health_verdict(s->health);
    bool is_ready =
        s->phase == OPENED && verdict->status != HEALTH_STARTING && !reload_is_awaited(&s->reload);
    char status[160];
    char lines[200];

    if ((!is_ready && verdict_equal(verdict, &s->reported)) || now_ns < s->report_from_ns)
        return;
    verdict_describe(verdict, status, sizeof status);
    snprintf(lines, sizeof lines, "%sSTATUS=%s", is_ready ? "READY=1\n" : "", status);
    if (!notify_send(lines)) {
        s->report_from_ns = now_ns + NS_PER_S / 2;
        return;
    }
    s->reported = *verdict;
    if (is_ready)
        enter(s, SERVING, CLOCK_NEVER);
}

/* The time when the process began to drain: by hand, or by a stop signal. 0: it does not drain. */
static int64_t draining_since_wall_ms(const struct server *s)
{
    int64_t by_hand = drain_since_wall_ms(s->drain);
    int64_t by_signal = s->stopping_since_wall_ms;
    return by_hand != 0 && (by_signal == 0 || by_hand < by_signal) ? by_hand : by_signal;
}

/* Call it whenever the process knows something new of itself. */
static void update_health(struct server *s, int64_t now_ns)
{
    s->process.draining_since_wall_ms = draining_since_wall_ms(s);
    s->process.reason = s->exceeds_fd_limit                      ? REASON_FD_LIMIT
                        : s->process.draining_since_wall_ms != 0 ? REASON_DRAINING
                                                                 : REASON_NONE;
    health_update(s->health, NULL, &s->process, now_ns);
}

static void take_snapshot(struct server *s, int64_t now_ns)
{
    uint64_t ignored;
    (void)!read(snapshot_slot_event_fd(s->options.slot), &ignored, sizeof ignored);
    health_update(s->health, snapshot_acquire(s->options.slot), &s->process, now_ns);
}

static struct answering answering_of(const struct server *s)
{
    return (struct answering){.health = s->health, .process = &s->process, .is_last = s->phase == FINISHING};
}

/* A second call skips the rest of the drain. A second signal also skips the rest of FINISHING, but a failure
 * does not: the program can still answer the last requests. */
static void stop(struct server *s, int64_t now_ns, int exit_code)
{
    const struct config *config = s->options.config;
    /* A drain is for a planned stop. After a failure the next process has to start at once. */
    int64_t drain_ms = exit_code == 0 ? config->drain_ms : 0;
    char lines[64];

    if (s->phase == FINISHING && exit_code != 0)
        return;
    if (s->phase >= DRAINING) {
        enter(s, s->phase == DRAINING ? DRAINING : DONE, now_ns);
        deadman_arm_final(config->stop_timeout_ms);
        return;
    }
    s->exit_code = exit_code;
    enter(s, DRAINING, now_ns + drain_ms * NS_PER_MS);
    /* Without a drain no client needs to know: the last requests get the usual response. With one, those that
     * wait for the first probe get 503 draining, too. */
    if (drain_ms > 0) {
        s->stopping_since_wall_ms = clock_wall_ms();
        requests_set_open(&s->requests, true);
    }
    s->report_from_ns = 0;
    deadman_arm_final(drain_ms + config->stop_timeout_ms);
    /* sd_notify(3): this extends the manager's own limit, TimeoutStopSec=, which therefore need not include
     * HEALTH_DRAIN. */
    snprintf(lines, sizeof lines, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRId64,
             (drain_ms + config->stop_timeout_ms) * 1000);
    (void)notify_send(lines);
    update_health(s, now_ns);
}

static void read_signals(struct server *s, int64_t now_ns)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP && s->phase < DRAINING) {
            reload_request(&s->reload);
        } else if (info.ssi_signo != SIGHUP) {
            log_event(LOG_LEVEL_NOTICE, "stop requested", LOG_INT("signal", info.ssi_signo),
                      LOG_INT("from_pid", info.ssi_pid), LOG_INT("drain_ms", s->options.config->drain_ms));
            stop(s, now_ns, 0);
        }
    }
}

static void check_fd_limit(struct server *s, int64_t now_ns)
{
    char kinds[256];
    if (s->process.usage.open_fds <= s->options.config->fd_limit || s->exceeds_fd_limit)
        return;
    process_describe_fds(kinds, sizeof kinds);
    log_event(LOG_LEVEL_ERROR, "descriptor limit exceeded", LOG_INT("open_fds", s->process.usage.open_fds),
              LOG_INT("limit", s->options.config->fd_limit), LOG_STR("kinds", kinds));
    s->exceeds_fd_limit = true;
    stop(s, now_ns, 1);
}

/* shutdown(2) on a listening socket affects all processes that share it: no client can connect any more.
 * epoll reports it again and again. For a Unix socket that was shut down only for reading, it reports
 * EPOLLRDHUP. */
static void lose_listener(struct server *s, int64_t now_ns)
{
    const struct listener *listener = s->options.listener;
    (void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, listener->fd, NULL);
    log_event(
        LOG_LEVEL_ERROR, "listening socket shut down", LOG_STR("listen", listener->name),
        LOG_STR(
            "remedy",
            listener->inherited
                ? "restart the unit that passes it: systemctl restart health-api.service health-api.socket"
                : "none needed: the next start creates a new one"));
    stop(s, now_ns, 1);
}

/* Tells the manager that a reload has begun. */
static void announce_reload(struct server *s)
{
    char lines[64];
    /* sd_notify(3): RELOADING=1 requires the time. */
    snprintf(lines, sizeof lines, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_monotonic_us());
    if (s->phase < DRAINING)
        (void)notify_send(lines);
    if (s->phase == SERVING)
        enter(s, OPENED, CLOCK_NEVER);
    s->report_from_ns = 0;
}

static void tick(struct server *s, int64_t now_ns)
{
    int64_t idle_ns = s->options.config->idle_timeout_ms * NS_PER_MS;
    uint64_t ignored;
    (void)!read(s->timer_fd, &ignored, sizeof ignored);
    deadman_arm();
    /* sd_notify(3): the first probe may take longer than TimeoutStartSec=. */
    (void)notify_send(s->phase <= OPENED ? "WATCHDOG=1\n" EXTEND_START : "WATCHDOG=1");
    s->process.usage = process_read();
    s->process.connections = (int64_t)s->requests.connections.open;
    check_fd_limit(s, now_ns);
    requests_tick(&s->requests, idle_ns, now_ns);
    reload_tick(&s->reload, now_ns);
    drain_tick(s->drain, now_ns);
    update_health(s, now_ns); /* renders the new uptime */
}

static int64_t next_deadline(const struct server *s)
{
    int64_t deadline_ns = requests_deadline_ns(&s->requests);
    if (s->phase == FINISHING && !connections_are_awaited(&s->requests.connections))
        return 0; /* handle only what has come already */
    return s->until_ns < deadline_ns ? s->until_ns : deadline_ns;
}

static void dispatch(struct server *s, const struct epoll_event *event, int64_t now_ns)
{
    void *tag = event->data.ptr;
    const struct answering answering = answering_of(s);
    if (tag == s->options.listener && (event->events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) != 0)
        lose_listener(s, now_ns);
    else if (tag == s->options.listener)
        requests_accept(&s->requests, now_ns);
    else if (tag == s->options.slot)
        take_snapshot(s, now_ns);
    else if (tag == &s->signal_fd)
        read_signals(s, now_ns);
    else if (tag == &s->timer_fd)
        tick(s, now_ns);
    else if (tag != &s->reload && tag != s->drain) /* their errands: turn and server_run take the results */
        requests_receive(&s->requests, tag, &answering, now_ns);
}

/* Waits for one batch of events and handles it. */
static void turn(struct server *s)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    int timeout_ms = clock_poll_timeout_ms(next_deadline(s), clock_now_ns());
    int count = epoll_wait(s->epoll_fd, events, EVENTS_PER_WAIT, timeout_ms);
    int64_t now_ns = clock_now_ns();

    if (count < 0)
        return; /* EINTR, which SIGSTOP and SIGCONT also cause: first read what has arrived, then check the
                   deadlines */
    for (int i = 0; i < count; i++)
        dispatch(s, &events[i], now_ns);
    if (drain_take(s->drain, now_ns))
        update_health(s, now_ns);
    const struct answering answering = answering_of(s);
    requests_continue(&s->requests, &answering, now_ns);
    advance(s, count, now_ns);
    connections_free_closed(&s->requests.connections);
}

/* The server ticks each second, or three times in the period in which systemd expects a sign of life. */
static struct itimerspec tick_times(int64_t watchdog_ns)
{
    int64_t tick_ns = watchdog_ns > 0 && watchdog_ns / 3 < TICK_NS ? watchdog_ns / 3 : TICK_NS;
    struct timespec period = {.tv_sec = tick_ns / NS_PER_S, .tv_nsec = tick_ns % NS_PER_S};
    return (struct itimerspec){.it_interval = period, .it_value = period};
}

/* False: err says which call the system refused. */
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
    if (watch_fd(s, s->signal_fd, EPOLLIN, &s->signal_fd) &&
        watch_fd(s, s->timer_fd, EPOLLIN, &s->timer_fd) &&
        watch_fd(s, snapshot_slot_event_fd(s->options.slot), EPOLLIN, s->options.slot) &&
        watch_fd(s, s->options.listener->fd, EPOLLRDHUP, s->options.listener))
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
        .drain = drain_open(options->config, options->listener->fd, now_ns),
        .requests = {.listener = options->listener,
                     .connections = {.max = (size_t)options->config->max_connections}},
        .reload = {.path = options->config->checks_path},
        .health = health_new(options->config, snapshot_acquire(options->slot), options->started_ns),
    };
    s->process.checks_error = s->reload.error.text;
    s->process.drain_file = drain_file(s->drain);
    s->process.drain_error = drain_error(s->drain);
    s->process.started_wall_ms = clock_wall_ms() - (now_ns - options->started_ns) / NS_PER_MS;
    s->reported = *health_verdict(s->health);
    if (!open_all(s, err)) {
        (void)server_close(s);
        return NULL;
    }
    s->requests.epoll_fd = s->epoll_fd;
    drain_watch(s->drain, s->epoll_fd, now_ns);
    s->process.usage = process_read(); /* the first tick comes a second later */
    update_health(s, now_ns);
    deadman_init();
    deadman_arm();
    return s;
}

enum server_event server_run(struct server *s, struct checks *new_checks)
{
    while (s->phase != DONE) {
        int64_t now_ns = clock_now_ns();
        if (reload_begin(&s->reload, s->epoll_fd, now_ns))
            announce_reload(s);
        report_to_manager(
            s, now_ns); /* also sends READY=1 after a reload: by now the caller uses the new checks */
        turn(s);
        enum reload_result reload = reload_take(&s->reload, s->epoll_fd, new_checks);
        if (reload != RELOAD_NOTHING)
            s->report_from_ns = 0;
        if (reload == RELOAD_READ)
            return SERVER_NEW_CHECKS;
    }
    return SERVER_STOPPED;
}

int server_close(struct server *s)
{
    const int fds[] = {s->epoll_fd, s->signal_fd, s->timer_fd};
    int exit_code = s->exit_code;

    requests_close(&s->requests);
    reload_close(&s->reload);
    drain_close(s->drain);
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    health_free(s->health);
    free(s);
    return exit_code;
}
