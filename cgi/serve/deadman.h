/* The dead-man's switch: a process that stops re-arming it is ended by the kernel. Main thread; the handler
 * may run on any. */
#ifndef SERVE_DEADMAN_H
#define SERVE_DEADMAN_H

#include <stdint.h>

/* Installs the SIGALRM handler. SIGALRM must not be blocked in any thread. */
void deadman_init(void);

/* Ends the process with exit code 1 in 10 s unless it is armed again before. A process that was stopped as
 * a whole (SIGSTOP, a debugger, a suspended machine) is given 2 s to do so once it runs again. */
void deadman_arm(void);

/* From now on the process also ends in after_ms whatever happens; of several calls the earliest counts. */
void deadman_arm_final(int64_t after_ms);

#endif
