/* Name resolution as the program sees it, by libpq or by getaddrinfo(3). db.sim has every address of the
 * server. */
#ifndef SIM_RESOLVER_H
#define SIM_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

struct resolver {
    int64_t takes_ns;
    int dead; /* how many faults say so: the answer is an error, after dead_ns */
    int64_t dead_ns;
};
extern struct resolver resolver;

/* The numbers of the addresses behind a name or a literal address (10.0.0.1 is number 0); waits. 0: none. */
int resolver_find(const char *name, int addresses[static 8]);

#endif
