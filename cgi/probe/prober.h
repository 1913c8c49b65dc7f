/* The prober: when to probe, on which connection, and what to publish. Its thread owns every PGconn. */
#ifndef PROBE_PROBER_H
#define PROBE_PROBER_H

#include "cgi/checks.h"
#include "cgi/config.h"
#include "cgi/snapshot.h"
#include "common/error.h"

#include <stdbool.h>

/* Descriptors held for good: two eventfds, which wake the thread and say that it has ended, and two
 * connections to PostgreSQL. */
#define PROBER_FDS 4

struct prober;

/* Starts the thread. Takes over *checks (emptied). config and slot must outlive it. NULL with err filled. */
struct prober *prober_start(const struct config *config, struct checks *checks, struct snapshot_slot *slot,
                            struct error *err);

/* Gives the thread new checks; takes over *checks (emptied). They run at once, or at the next interval where
 * a round is running. */
void prober_set_checks(struct prober *prober, struct checks *checks);

/* Asks the thread to end and waits at most wait_ms. True: it ended and everything is freed. False: it hangs
 * (name resolution); leave it alone and exit the process. */
bool prober_stop(struct prober *prober, int64_t wait_ms);

/* Probes once on the calling thread, within HEALTH_CONNECT_TIMEOUT + HEALTH_QUERY_TIMEOUT and the time of
 * name resolution, and publishes. For CGI and --once. */
void prober_run_once(const struct config *config, const struct checks *checks, struct snapshot_slot *slot);

#endif
