/* Judges at each moment what an HTTP client would get, by what is true in the simulated world. */
#ifndef SIM_ORACLE_H
#define SIM_ORACLE_H

#include "cgi/snapshot.h"

#include <stdint.h>

/* Watches this slot from now on. */
void oracle_begin(struct snapshot_slot *slot);

/* Stops judging, because the program is about to end. */
void oracle_stop(void);

/* Judges after the end of the program whether it has left anything. */
void oracle_end(void);

/* How many moments were judged, and at how many of them the status was healthy. */
extern int64_t oracle_moments, oracle_healthy;

#endif
