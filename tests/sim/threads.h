/* Runs the program's threads as coroutines. A thread runs until it waits (for poll, a condition, a mutex, a
 * join or name resolution); then the next one that can run continues. Virtual time passes only when no thread
 * can run. threads.c defines the pthread functions for the whole simulator, so the program starts and joins
 * its threads as usual. */
#ifndef SIM_THREADS_H
#define SIM_THREADS_H

#include <stdbool.h>
#include <stdint.h>

typedef bool threads_ready_fn(void *context);

/* The calling thread waits until is_ready returns true or the deadline has passed. Returns the last result of
 * is_ready. */
bool threads_wait(int64_t deadline_ns, threads_ready_fn *is_ready, void *context);

/* No thread of the process runs for this long: from now on, or from the next time it reads the clock. */
void threads_stall(int64_t duration_ns);
void threads_stall_at_clock(int64_t duration_ns);

/* Suspends the machine: like a stall, but a wait by CLOCK_MONOTONIC, as in poll(2), takes longer. */
void threads_suspend(int64_t duration_ns);

/* Call it when the program reads the clock: a stall may wait for that. */
void threads_clock_read(void);

/* Called at each moment at which a client could get a response, before and after the threads run. */
extern void (*threads_on_moment)(void);

#endif
