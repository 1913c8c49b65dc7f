/* Lets the plan's faults begin and end in the simulated world. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "cgi/probe/prober.h"

/* Puts each begin and end on the timeline. Reloads are told to the prober. */
void world_schedule(struct prober *prober);

#endif
