/* Runs another program without a shell, keeps a limited part of its output, and kills it at a deadline. Main
 * thread. */
#ifndef WATCHDOG_COMMAND_H
#define WATCHDOG_COMMAND_H

#include "common/buf.h"
#include "common/error.h"

#include <stdint.h>

/* This many bytes of each output stream are kept; the rest is read and dropped. */
#define COMMAND_MAX_OUTPUT 65536

enum command_status {
    COMMAND_OK,      /* it exited with code 0 */
    COMMAND_FAILED,  /* it exited with another code, a signal killed it, or it did not start */
    COMMAND_MISSING, /* PATH has no such program */
    COMMAND_TIMEOUT, /* it was killed at the deadline */
};

/* Runs argv[0], which it searches on PATH, with argv. The child reads /dev/null, inherits no other
 * descriptor, and has its own process group, which is killed after timeout_ms. Appends the child's standard
 * output to out. Unless it returns COMMAND_OK, err says what happened and quotes the last line of the child's
 * standard error. */
enum command_status command_run(const char *const argv[], int64_t timeout_ms, struct buf *out,
                                struct error *err);

#endif
