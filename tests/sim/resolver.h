/* Name resolution for libpq and getaddrinfo(3). The name db.sim has every address of the server. */
#ifndef SIM_RESOLVER_H
#define SIM_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

struct resolver {
    int64_t takes_ns;
    int dead; /* how many running faults make each lookup fail after dead_ns */
    int64_t dead_ns;
};
extern struct resolver resolver;

/* Waits, then fills in the numbers of the addresses of a name or of a literal address (10.0.0.1 is number 0).
 * Returns how many there are. */
int resolver_find(const char *name, int addresses[static 8]);

#endif
