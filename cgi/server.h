/* The event loop: listener, connections, deadlines, signals, ticks, drain. Main thread. */
#ifndef CGI_SERVER_H
#define CGI_SERVER_H

#include "cgi/config.h"
#include "cgi/listen.h"
#include "cgi/snapshot.h"

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

/* Blocks the signals that server_run reads. Before any thread is started, so that all inherit it. */
void server_block_signals(void);

/* Serves until SIGTERM or SIGINT and the drain after it, or HEALTH_FD_LIMIT is passed. Returns the exit code:
 * 0 after a signal, 1 for a failure (logged). */
int server_run(const struct server_options *options);

#endif
