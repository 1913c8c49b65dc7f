/* What the kernel reports about this process: descriptors, memory and CPU time. Main thread. */
#ifndef SERVE_PROCESS_H
#define SERVE_PROCESS_H

#include "cgi/answer/verdict.h"

#include <stdbool.h>
#include <stdint.h>

/* Descriptors that stay open: the directory /proc/self/fd. */
#define PROCESS_FDS 1

/* From /proc/self, getrlimit(2) and clock_gettime(2). */
struct process_usage process_read(void);

/* The number of open descriptors, or -1 when /proc cannot be read. */
int64_t process_count_fds(void);

/* Writes the open descriptors by kind: "socket=12 pipe=3 eventfd=2 file=5". */
void process_describe_fds(char *out, int out_size);

/* Gives up CAP_SYS_PTRACE and every other capability, for this thread and those that it starts. A unit
 * grants CAP_SYS_PTRACE only so that this program can name the process that holds the socket. Without that
 * capability, and for root, nothing changes: an administrator has granted the others on purpose. False with
 * errno when the kernel refuses. */
__attribute__((warn_unused_result)) bool process_drop_naming_capabilities(void);

#endif
