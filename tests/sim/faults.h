/* The faults of the simulated world, and for each the promise to an HTTP client, all in one table. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

enum fault_kind {
    FAULT_FREEZE_SERVER,
    FAULT_SILENCE, /* the network delivers no packet */
    FAULT_FREEZE_POSTMASTER,
    FAULT_STOP,      /* every session ends, no server listens */
    FAULT_RESTART,   /* every session ends, the server refuses logins as too early */
    FAULT_SHUTDOWN,  /* a smart shutdown: no session ends, the server refuses logins */
    FAULT_SOFT_STOP, /* of a proxy: no session ends, nobody listens */
    FAULT_FULL,
    FAULT_REJECT,
    FAULT_NO_FORK,
    FAULT_RECOVERY, /* follows a crash; the plan has none */
    FAULT_RESET,    /* all sessions are reset once */
    FAULT_LOST_PACKET,
    FAULT_LOST_SYN,
    FAULT_SILENT_ADDRESS, /* the first of several */
    FAULT_FREEZE_SESSION, /* one server process */
    FAULT_TERMINATE_SESSION,
    FAULT_RESOLVER_DEAD,
    FAULT_RESOLVER_SLOW,
    FAULT_STALL,          /* the program does not run; it begins while the program waits */
    FAULT_STALL_AT_CLOCK, /* the same; it begins while the program works */
    FAULT_SUSPEND,
    FAULT_WALL_JUMP,
    FAULT_RELOAD,
    FAULT_CHECK_SLOW, /* from here on faults of one check, in the order of enum behaviour */
    FAULT_CHECK_LOCKED,
    FAULT_CHECK_STUBBORN,
    FAULT_CHECK_CRASHES,
    FAULT_CHECK_DROPPED,
    FAULT_CHECK_CORRUPT,
    FAULT_CHECK_RANGE,
    FAULT_CHECK_MALFORMED,
    FAULT_COUNT
};

/* A duration: a sum of settings, each with a factor. */
struct bound {
    int interval, connect_timeout, query_timeout, reconnect_every, heartbeat, hung_after;
    int every;      /* the check's own */
    int check_time; /* the duration of all checks together */
    int load;       /* the duration of the longest check, divided by HEALTH_MAX_LOAD */
    int round_trip; /* of the network */
    int ms;
};

/* What the status must be. */
struct promise {
    const char *off; /* why the program can promise nothing, so that no plan has the fault; NULL: it can */
    bool may_fail;   /* 503 is right from the fault's begin until `cleared` after its end */
    bool is_brief;   /* 503 is right only until `cleared` after the begin */
    bool must_fail;  /* 200 is wrong from `noticed` after the begin until the end */
    struct bound noticed, cleared;
    const char *reasons; /* the allowed ones, with a space before and after each word */
};

struct fault_row {
    const char *name;
    int weight;                      /* how often a plan has it, compared with the others */
    int64_t shortest_ms, longest_ms; /* 0: it ends as soon as it begins */
    struct promise promise;
};
extern const struct fault_row fault_rows[FAULT_COUNT];

static inline bool faults_is_of_check(enum fault_kind kind)
{
    return kind >= FAULT_CHECK_SLOW;
}

/* The limits of the other invariants; 0: off. */
struct limits {
    bool fall_damps;           /* no 503 within fall - 1 intervals after the fault's begin */
    int orphans;               /* at most this many for each check */
    int sessions;              /* at most this many open at a time */
    int crashes_in_10_minutes; /* at most this many by one check */
    int load_distance;         /* a check rests at least its duration times this */
    int failed_load_distance;  /* the same after a failure */
};
const struct limits *faults_limits(void);

#endif
