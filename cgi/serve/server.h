/* The event loop: listener, connections, deadlines, signals, ticks, drain. ARCHITECTURE.md draws its
 * phases. Main thread. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "cgi/checks.h"
#include "cgi/config.h"
#include "cgi/drain.h"
#include "cgi/serve/listen.h"
#include "cgi/serve/reload.h"
#include "cgi/snapshot.h"
#include "common/error.h"

#include <stdint.h>

/* Descriptors that stay open: epoll, signalfd, timerfd; a reload and the drain by hand add their own. */
#define SERVER_FDS (3 + RELOAD_FDS + DRAIN_FDS)

struct server_options {
    const struct config *config;
    struct listener *listener; /* stays the caller's */
    struct snapshot_slot *slot;
    int64_t started_ns;
    int64_t watchdog_ns; /* the service manager expects a sign of life at least this often; 0: never */
};

struct server;

enum server_event {
    SERVER_STOPPED, /* after a signal and its drain, at HEALTH_FD_LIMIT, or without its listening socket */
    SERVER_NEW_CHECKS,
};

/* Blocks the signals that server_run reads, so that all threads inherit the mask, and sets up libfcgi.
 * Call it before any thread starts. */
__attribute__((warn_unused_result)) bool server_prepare(struct error *err);

/* Opens what the loop waits for. Returns NULL with err filled when that fails. The pointers in options
 * must outlive the server. */
struct server *server_open(const struct server_options *options, struct error *err);

/* Serves until the caller has something to do. SERVER_NEW_CHECKS: after SIGHUP the server has read these
 * checks. The caller owns them, puts them to use, and runs the server again. */
enum server_event server_run(struct server *server, struct checks *new_checks);

/* Closes all connections and frees the server. Returns the exit code: 0 after a signal, else 1, and then
 * the log has the reason. */
int server_close(struct server *server);

#endif
