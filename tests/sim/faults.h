/* What can go wrong in the simulated world, and what follows from it for an HTTP client: the one table of
 * promises. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

enum fault_kind {
    FAULT_FREEZE_SERVER,
    FAULT_SILENCE, /* nothing passes the network */
    FAULT_FREEZE_POSTMASTER,
    FAULT_STOP,    /* every session ends, nobody listens */
    FAULT_RESTART, /* every session ends, logins are told to wait */
    FAULT_FULL,
    FAULT_REJECT,
    FAULT_NO_FORK,
    FAULT_RECOVERY, /* not planned: after a crash */
    FAULT_RESET,    /* of all connections, once */
    FAULT_LOST_PACKET,
    FAULT_LOST_SYN,
    FAULT_SILENT_ADDRESS, /* the first of several */
    FAULT_FREEZE_SESSION, /* one server process */
    FAULT_TERMINATE_SESSION,
    FAULT_RESOLVER_DEAD,
    FAULT_RESOLVER_SLOW,
    FAULT_STALL,          /* of the program itself, while it waits */
    FAULT_STALL_AT_CLOCK, /* and while it works */
    FAULT_SUSPEND,
    FAULT_WALL_JUMP,
    FAULT_RELOAD,
    FAULT_CHECK_SLOW, /* from here on: of one check, in the order of enum behaviour */
    FAULT_CHECK_LOCKED,
    FAULT_CHECK_STUBBORN,
    FAULT_CHECK_CRASHES,
    FAULT_CHECK_DROPPED,
    FAULT_CHECK_CORRUPT,
    FAULT_CHECK_RANGE,
    FAULT_CHECK_MALFORMED,
    FAULT_COUNT
};

/* A duration as a sum of so many times a setting. */
struct bound {
    int interval, connect_timeout, query_timeout, reconnect_every, heartbeat, hung_after;
    int every;      /* of the check */
    int check_time; /* of all checks, one after the other */
    int load;       /* the longest check, divided by HEALTH_MAX_LOAD */
    int round_trip; /* of the network */
    int ms;
};

/* What the answer must be. */
struct promise {
    const char *off; /* why the program cannot keep any: the fault is not planned; else NULL */
    bool may_fail;   /* 503 is right, from the fault's begin to its end and by cleared after that */
    bool is_brief;   /* it may fail by cleared after the begin only */
    bool must_fail;  /* and 200 is wrong, by noticed after its begin */
    struct bound noticed, cleared;
    const char *reasons; /* of the database, or of the check; a space before and after each word */
};

struct fault_row {
    const char *name;
    int weight;                      /* how often it is planned, beside the others */
    int64_t shortest_ms, longest_ms; /* 0: it is over as soon as it begins */
    struct promise promise;
};
extern const struct fault_row fault_rows[FAULT_COUNT];

static inline bool faults_is_of_check(enum fault_kind kind)
{
    return kind >= FAULT_CHECK_SLOW;
}

/* The rest of the invariants: 0 is off. */
struct limits {
    bool fall_damps;           /* no 503 before fall - 1 intervals have passed since the fault's begin */
    int orphans;               /* of each check */
    int sessions;              /* that are open at a time */
    int crashes_in_10_minutes; /* by one check */
    int load_distance;         /* a good check's time on the server times this lies between two of its runs */
    int failed_load_distance;  /* the same after a failure */
};
const struct limits *faults_limits(void);

#endif
