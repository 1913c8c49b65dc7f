/* The simulated PostgreSQL server: a postmaster, a server process for each client, and the checks' queries.
 * Its counters are the truth with which the oracle compares. */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include "tests/sim/net.h"
#include "tests/sim/rng.h"

#include <stdbool.h>
#include <stdint.h>

#define SERVER_CHECKS_MAX 48

/* What a check's query does to the server. */
enum behaviour {
    CHECK_GOOD,
    CHECK_SLOW,      /* takes longer, but less than every limit */
    CHECK_LOCKED,    /* waits for a lock until the lock is released or a timeout ends the query */
    CHECK_STUBBORN,  /* waits for a lock, and no timeout ends the query */
    CHECK_CRASHES,   /* crashes its server process, and so the whole server */
    CHECK_DROPPED,   /* 42P01 */
    CHECK_CORRUPT,   /* XX001 */
    CHECK_RANGE,     /* returns a value outside of its limits */
    CHECK_MALFORMED, /* returns no row */
};

struct server_check {
    enum behaviour behaviour;
    int64_t duration_ns; /* when it works */
    int64_t slow_ns;     /* with CHECK_SLOW */
    /* Counters: */
    int64_t starts, busy_ns, last_end_ns, last_took_ns;
    bool last_failed;
    /* Of the last run but one: how long it took, whether it failed, and how long after it the last began. */
    int64_t took_before_ns, distance_ns;
    bool failed_before;
};

/* How a login ends. */
enum door {
    DOOR_OPEN,
    DOOR_ABSENT,  /* no server listens */
    DOOR_SHUT,    /* the same, but the sessions go on */
    DOOR_NOT_YET, /* 57P03 */
    DOOR_CLOSES,  /* the same, but the sessions go on */
    DOOR_FULL,    /* 53300 */
    DOOR_REJECTS, /* 28P01 */
    DOOR_NO_FORK, /* an error of the old protocol, without SQLSTATE */
};

struct server {
    enum door door;
    bool frozen;            /* every process is stopped */
    bool postmaster_frozen; /* only the postmaster is stopped */
    int login_steps;        /* round trips of a login after the connect */
    int64_t fork_ns;
    int64_t login_ns;    /* duration of each step */
    int64_t recovery_ns; /* duration of recovery after a crash */
    bool recovering;
    struct server_check checks[SERVER_CHECKS_MAX];
    int check_count;
    /* Counters: */
    int64_t logins, crashes, queries;
    struct rng rng;
};
extern struct server server;

/* The network calls these. */
bool server_listens(void);
void server_connected(struct link *link);
void server_received(struct link *link);
void server_disconnected(struct link *link);

/* Call it when faults have changed: what was stopped may continue now. */
void server_go_on(void);

/* Ends every session, or one of them, with 57P01. */
void server_terminate_all(void);
void server_terminate_one(void);

/* True: stops one server process that has a client. False: all such processes continue. */
void server_freeze_one(bool frozen);

/* Releases the check's lock: the queries that wait for it continue. */
void server_release(int check);

/* How many clients have logged in, and have not left. A smart shutdown waits for them. */
int server_clients(void);

/* How many server processes work on this check for a client that is gone. */
int server_orphans(int check);

/* Called when a check crashed the server. */
extern void (*server_on_crash)(int check);

#endif
