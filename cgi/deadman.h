/* The dead-man's switch: a process that stops re-arming it is ended by the kernel. Main thread; the handler
 * may run on any. */
#ifndef CGI_DEADMAN_H
#define CGI_DEADMAN_H

#include <stdint.h>

/* DESIGN: each tick of one second re-arms alarm(10). */
#define DEADMAN_PERIOD_MS 10000

/* Installs the SIGALRM handler. SIGALRM must not be blocked in any thread. */
void deadman_init(void);

/* Ends the process with exit code 1 in after_ms unless armed anew before. When the timer fires more than a
 * second late the whole process was stopped (SIGSTOP, a debugger, a suspended machine): then it is armed anew
 * by itself. */
void deadman_arm(int64_t after_ms);

/* The last one: ends the process in after_ms whatever happens; later calls of deadman_arm do nothing. */
void deadman_arm_final(int64_t after_ms);

#endif
