/* The dead-man's switch: the kernel ends a process that stops re-arming it. Main thread; the handler may
 * run on any thread. */
#ifndef SERVE_DEADMAN_H
#define SERVE_DEADMAN_H

#include <stdint.h>

/* Installs the SIGALRM handler. SIGALRM must not be blocked in any thread. */
void deadman_init(void);

/* Ends the process with exit code 1 in 10 s, unless it is armed again before that. A process that was
 * stopped as a whole (SIGSTOP, a debugger, a suspended machine) has 2 s to arm it again once it runs. */
void deadman_arm(void);

/* From now on the process also ends in after_ms, whatever happens. Of several calls the earliest end
 * counts. */
void deadman_arm_final(int64_t after_ms);

#endif
