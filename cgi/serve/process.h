/* What the kernel says of this process: descriptors and memory. Main thread. */
#ifndef SERVE_PROCESS_H
#define SERVE_PROCESS_H

#include "cgi/answer/verdict.h"

#include <stdbool.h>
#include <stdint.h>

/* Descriptors held while they are counted: /proc/self/fd. */
#define PROCESS_FDS 1

/* From /proc/self and getrlimit(2). */
struct process_usage process_read(void);

/* The number of open descriptors, -1 when /proc cannot be read. */
int64_t process_count_fds(void);

/* "socket=12 pipe=3 eventfd=2 file=5": the open descriptors by kind. */
void process_describe_fds(char *out, int out_size);

/* Gives up CAP_SYS_PTRACE, which a unit gives only for naming who holds the socket, and every capability that
 * came with it; of this thread and of those it starts. Without it, and for root, nothing changes: other
 * capabilities are somebody's wish. False with errno when the kernel refuses. */
__attribute__((warn_unused_result)) bool process_drop_naming_capabilities(void);

#endif
