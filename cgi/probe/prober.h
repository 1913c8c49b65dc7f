/* The thread that probes, which owns every PGconn, and the one probe of CGI and --once. */
#ifndef PROBE_PROBER_H
#define PROBE_PROBER_H

#include "cgi/checks.h"
#include "cgi/config.h"
#include "cgi/snapshot.h"
#include "common/error.h"

#include <stdbool.h>

/* Descriptors held for good: two eventfds, which wake the thread and say that it has ended, two connections
 * to PostgreSQL, and a lookup of names: what says that it has ended, and the resolver's socket. */
#define PROBER_FDS 6

struct prober;

/* Starts the thread. Takes over *checks (emptied). config and slot must outlive it. NULL with err filled. */
struct prober *prober_start(const struct config *config, struct checks *checks, struct snapshot_slot *slot,
                            struct error *err);

/* Gives the thread new checks; takes over *checks (emptied). They are asked as soon as a check that is under
 * way has its answer. */
void prober_set_checks(struct prober *prober, struct checks *checks);

/* Asks the thread to end and waits at most wait_ms. True: it ended and everything is freed. False: it hangs,
 * which nothing in it should do; leave it alone and exit the process. */
bool prober_stop(struct prober *prober, int64_t wait_ms);

/* Probes once on the calling thread and publishes, within HEALTH_CONNECT_TIMEOUT for the lookup of names and
 * again for each address, and HEALTH_QUERY_TIMEOUT. For CGI and --once. */
void prober_run_once(const struct config *config, const struct checks *checks, struct snapshot_slot *slot);

#endif
