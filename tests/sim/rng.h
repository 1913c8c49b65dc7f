/* Random numbers from a seed (splitmix64): the same seed gives the same run on any machine. */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* Returns one of 0 ... count - 1; 0 if count is 0. */
static inline int64_t rng_below(struct rng *rng, int64_t count)
{
    return count > 0 ? (int64_t)(rng_next(rng) % (uint64_t)count) : 0;
}

/* Returns a number from low to high, both included. */
static inline int64_t rng_between(struct rng *rng, int64_t low, int64_t high)
{
    return low + rng_below(rng, high - low + 1);
}

static inline bool rng_percent(struct rng *rng, int percent)
{
    return rng_below(rng, 100) < percent;
}

#endif
