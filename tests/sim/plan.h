/* The plan of a run, which follows from its seed: settings, checks, the server and its network, and the
 * faults with their begin and end. */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include "cgi/checks.h"
#include "cgi/config.h"
#include "tests/sim/faults.h"
#include "tests/sim/server.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_FAULTS_MAX 512

#define PLAN_LOAD_INVERSE 50 /* 1 / HEALTH_MAX_LOAD */

struct plan_check {
    int64_t every_ms, timeout_ms, fall, rise; /* 0: not set */
    bool warn;
    int64_t duration_ns, slow_ns;
};

struct fault {
    enum fault_kind kind;
    int64_t begin_ns, end_ns;
    int check;
    int64_t noticed_ns; /* from then on a 200 is wrong; CLOCK_NEVER: it is never wrong */
    int64_t cleared_ns; /* from then on a 503 is wrong */
};

struct plan {
    uint64_t seed;
    int64_t end_ns;
    struct config config;
    int check_count;
    struct plan_check checks[SERVER_CHECKS_MAX];
    struct fault faults[PLAN_FAULTS_MAX]; /* sorted by their begin */
    size_t fault_count;
};
extern struct plan plan;

/* Fills plan, server, net and resolver, and the environment (PGHOST). */
void plan_make(uint64_t seed);

/* Writes a checks file with the planned checks, and parses it as the program does. */
void plan_parse_checks(struct checks *out);

/* Adds a fault that was not planned and begins now. */
void plan_add_fault(enum fault_kind kind, int check, int64_t duration_ns);

/* Computes a bound; check -1: the fault is not of a check. */
int64_t plan_bound_ns(const struct bound *bound, int check);

/* How many failures in a row make the check down, and successes up again; check -1: the database. */
int64_t plan_fall(int check);
int64_t plan_rise(int check);

/* How long this many failures or successes in a row take after the first one. */
int64_t plan_repeat_ns(int64_t times);

void plan_print(void);

#endif
