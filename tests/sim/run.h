/* One run of the simulator. A process can do only one, because the run does not restore what it changes. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include <stdint.h>

struct run_result {
    int64_t virtual_ns, moments, healthy, faults, logins, queries;
};

/* Ends the process with RUN_VIOLATED at the first violation. */
struct run_result run(uint64_t seed);

#endif
