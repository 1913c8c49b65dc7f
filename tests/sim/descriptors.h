/* The descriptors that the program has open: simulated ones, of sockets and eventfds, by numbers that the
 * system does not use. descriptors.c defines poll(2), read(2), write(2), close(2) and their like for the
 * whole simulator. */
#ifndef SIM_DESCRIPTORS_H
#define SIM_DESCRIPTORS_H

#include "tests/sim/net.h"

#include <stdint.h>

int descriptors_open_socket(struct link *link);

/* How many are open. */
int descriptors_count(void);

/* Called when this eventfd is written to; -1: none. */
extern int descriptors_watched;
extern void (*descriptors_on_watched)(void);

/* The wall clock is so far ahead of the clock since boot. */
extern int64_t descriptors_wall_offset_ms;

#endif
