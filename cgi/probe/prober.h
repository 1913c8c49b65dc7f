/* The thread that probes and owns every PGconn; also the single probe of CGI and --once. */
#ifndef PROBE_PROBER_H
#define PROBE_PROBER_H

#include "cgi/checks.h"
#include "cgi/config.h"
#include "cgi/snapshot.h"
#include "common/error.h"

#include <stdbool.h>

/* How many descriptors the prober holds: an eventfd that wakes the thread, one that reports that it has
 * ended, two sessions, and for a lookup of names its eventfd and the resolver's socket. */
#define PROBER_FDS 6

struct prober;

/* Starts the thread. Takes over and empties *checks. config and slot must outlive it. NULL: err says why. */
struct prober *prober_start(const struct config *config, struct checks *checks, struct snapshot_slot *slot,
                            struct error *err);

/* Gives the thread new checks; takes over and empties *checks. The thread uses them once the check that it is
 * asking has its answer. */
void prober_set_checks(struct prober *prober, struct checks *checks);

/* Asks the thread to end and waits at most wait_ms. True: it has ended and everything is freed. False: it
 * hangs, which is a bug. Then the caller must not touch the prober any more, and must exit the process. */
bool prober_stop(struct prober *prober, int64_t wait_ms);

/* Probes once on the calling thread and publishes the result. Takes at most HEALTH_CONNECT_TIMEOUT for the
 * lookup of names and for each address, and the longest timeout of a check. For CGI and --once. */
void prober_run_once(const struct config *config, const struct checks *checks, struct snapshot_slot *slot);

#endif
