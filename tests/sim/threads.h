/* The program's threads as coroutines: one runs until it waits (poll, a condition, a mutex, a join, name
 * resolution), then the next that can go on does. Only when none can does virtual time pass. threads.c
 * defines the pthread functions for the whole simulator, so that the program under test starts and joins its
 * threads as ever. */
#ifndef SIM_THREADS_H
#define SIM_THREADS_H

#include <stdbool.h>
#include <stdint.h>

typedef bool threads_ready_fn(void *context);

/* Lets the calling thread wait until is_ready says so or the deadline has passed; returns what is_ready said
 * last. */
bool threads_wait(int64_t deadline_ns, threads_ready_fn *is_ready, void *context);

/* Nothing of the process runs for so long: from now on, or from the next look at the clock on. */
void threads_stall(int64_t duration_ns);
void threads_stall_at_clock(int64_t duration_ns);

/* The machine sleeps: as a stall, but what waits by CLOCK_MONOTONIC, like poll(2), waits on. */
void threads_suspend(int64_t duration_ns);

/* The clock is looked at: lets a stall that waits for that begin. */
void threads_clock_read(void);

/* Called at each moment at which a client could be answered, before and after the threads had their turn. */
extern void (*threads_on_moment)(void);

#endif
