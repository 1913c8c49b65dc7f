/* The simulated descriptors of the program: sockets, eventfds and timers, with numbers that the system does
 * not use. descriptors.c defines poll(2), read(2), write(2), close(2) and similar calls for the whole
 * simulator. */
#ifndef SIM_DESCRIPTORS_H
#define SIM_DESCRIPTORS_H

#include "tests/sim/net.h"

#include <stdint.h>

int descriptors_open_socket(struct link *link);

/* How many are open. */
int descriptors_count(void);

/* A write to this eventfd calls descriptors_on_watched; -1: no eventfd is watched. */
extern int descriptors_watched;
extern void (*descriptors_on_watched)(void);

/* How far the wall clock is ahead of CLOCK_BOOTTIME. */
extern int64_t descriptors_wall_offset_ms;

#endif
