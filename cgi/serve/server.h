/* The event loop: listener, connections, deadlines, signals, ticks, drain. Its phases are drawn in
 * ARCHITECTURE.md. Main thread. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "cgi/checks.h"
#include "cgi/config.h"
#include "cgi/serve/listen.h"
#include "cgi/snapshot.h"
#include "common/error.h"

#include <stdint.h>

/* Descriptors held for good: epoll, signalfd, timerfd; and for a reload: the checks file, and what says that
 * it was read. */
#define SERVER_FDS 5

struct server_options {
    const struct config *config;
    struct listener *listener; /* stays the caller's */
    struct snapshot_slot *slot;
    int64_t started_ns;
    int64_t watchdog_ns; /* how often the service manager wants to hear of us at the least; 0: never */
};

struct server;

enum server_event {
    SERVER_STOPPED, /* by a signal and the drain after it, past HEALTH_FD_LIMIT, or without its listening
                       socket */
    SERVER_NEW_CHECKS,
};

/* Blocks the signals that server_run reads, so that all threads inherit it, and sets up libfcgi: before any
 * thread is started. */
__attribute__((warn_unused_result)) bool server_prepare(struct error *err);

/* Opens what the loop waits for. NULL with err filled. The options' pointers must outlive it. */
struct server *server_open(const struct server_options *options, struct error *err);

/* Serves until there is something for the caller to do. SERVER_NEW_CHECKS: after SIGHUP the checks file has
 * these; the caller owns them, puts them to use, and runs the server again. */
enum server_event server_run(struct server *server, struct checks *new_checks);

/* Closes all connections and frees. Returns the exit code: 0 after a signal, else 1 (logged). */
int server_close(struct server *server);

#endif
