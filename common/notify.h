/* Messages to the service manager: one datagram each to NOTIFY_SOCKET, sd_notify(3). Silent no-ops when that
 * is not set. Never blocks. Main thread. */
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Descriptors held for good: the socket to the manager. */
#define NOTIFY_FDS 1

/* Reads NOTIFY_SOCKET and WATCHDOG_USEC / WATCHDOG_PID and removes them from the environment, so that no
 * child speaks in our name. Returns the watchdog period in ns, 0 when none is wanted from this process. */
int64_t notify_init(void);

/* Whether a manager is there. */
bool notify_is_on(void);

/* Sends lines such as "READY=1\nSTATUS=healthy". False when a manager is there but did not take it. */
bool notify_send(const char *lines);

#endif
