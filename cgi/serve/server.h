/* The event loop: listener, connections, deadlines, signals, ticks, drain. Main thread. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "cgi/config.h"
#include "cgi/serve/listen.h"
#include "cgi/snapshot.h"

/* Descriptors held for good: epoll, signalfd, timerfd. */
#define SERVER_FDS 3

/* Reloads the checks file (SIGHUP). False: err says why the old checks stay. */
typedef bool server_reload_fn(void *context, struct error *err);

struct server_options {
    const struct config *config;
    struct listener *listener; /* stays the caller's */
    struct snapshot_slot *slot;
    int64_t started_ns;
    int64_t watchdog_ns; /* how often the service manager wants to hear of us at the least; 0: never */
    server_reload_fn *reload;
    void *context;
};

/* Blocks the signals that server_run reads, so that all threads inherit it, and sets up libfcgi, which
 * changes the environment: before any thread is started, for libpq reads the environment at each connect. */
__attribute__((warn_unused_result)) bool server_prepare(struct error *err);

/* Serves until SIGTERM or SIGINT and the drain after it, or HEALTH_FD_LIMIT is passed. Returns the exit code:
 * 0 after a signal, 1 for a failure (logged). */
int server_run(const struct server_options *options);

#endif
