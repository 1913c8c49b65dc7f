/* Judges what an HTTP client would get, at each moment, by what is true in the simulated world. */
#ifndef SIM_ORACLE_H
#define SIM_ORACLE_H

#include "cgi/snapshot.h"

#include <stdint.h>

/* Watches this slot from now on. */
void oracle_begin(struct snapshot_slot *slot);

/* Judges no more: the program is told to end. */
void oracle_stop(void);

/* The program has ended: nothing of it may be left. */
void oracle_end(void);

/* How many moments were judged, how many of them were answered with 200. */
extern int64_t oracle_moments, oracle_healthy;

#endif
