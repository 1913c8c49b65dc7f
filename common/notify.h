/* Sends messages to the service manager: one datagram each to NOTIFY_SOCKET, sd_notify(3). Does nothing
 * when that is not set. Never blocks. Main thread. */
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Descriptors that stay open: the socket to the manager. */
#define NOTIFY_FDS 1

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and removes them from the environment, so that no
 * child process speaks for this one. Returns the watchdog period in ns, or 0 when the manager wants no sign
 * of life from this process. */
int64_t notify_init(void);

/* Whether there is a manager to notify. */
bool notify_is_on(void);

/* Sends lines such as "READY=1\nSTATUS=healthy". False when there is a manager, but it has not taken them. */
bool notify_send(const char *lines);

#endif
