/* Lets the plan's faults begin and end in the simulated world. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "cgi/probe/prober.h"

/* Puts each begin and end on the timeline. prober gets the new checks of a reload. */
void world_schedule(struct prober *prober);

#endif
