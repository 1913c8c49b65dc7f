/* Runs another program by its argument vector, without a shell: with a deadline, bounded output, and surely
 * reaped. Main thread. */
#ifndef WATCHDOG_COMMAND_H
#define WATCHDOG_COMMAND_H

#include "common/buf.h"
#include "common/error.h"

#include <stdint.h>

/* As much is kept of what it prints; the rest is read and dropped. */
#define COMMAND_MAX_OUTPUT 65536

enum command_status {
    COMMAND_OK,      /* it ended with code 0 */
    COMMAND_FAILED,  /* another code, a signal, or it could not be started */
    COMMAND_MISSING, /* there is no such program on PATH */
    COMMAND_TIMEOUT, /* it was killed at the deadline */
};

/* Runs argv[0] (searched on PATH) with argv, its input /dev/null, no other descriptor of ours, in a process
 * group of its own, all of which is killed when timeout_ms have passed. Appends its standard output to out.
 * Unless the answer is COMMAND_OK err says what happened, with the last line of its standard error. */
enum command_status command_run(const char *const argv[], int64_t timeout_ms, struct buf *out,
                                struct error *err);

#endif
