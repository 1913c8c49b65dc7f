/* The PostgreSQL server: a postmaster that lets clients in, a server process for each, and the checks'
 * queries. What it counts is the truth that the oracle compares with. */
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
    CHECK_SLOW,      /* takes longer, still within every limit */
    CHECK_LOCKED,    /* waits for a lock until it is released or a timeout ends it */
    CHECK_STUBBORN,  /* does the same, and no timeout ends it */
    CHECK_CRASHES,   /* takes its server process with it, and that the whole server */
    CHECK_DROPPED,   /* 42P01 */
    CHECK_CORRUPT,   /* XX001 */
    CHECK_RANGE,     /* a value outside of what is good */
    CHECK_MALFORMED, /* no row */
};

struct server_check {
    enum behaviour behaviour;
    int64_t duration_ns; /* while it is good */
    int64_t slow_ns;     /* CHECK_SLOW */
    /* Counted: */
    int64_t starts, busy_ns, last_end_ns, last_took_ns;
    bool last_failed;
    /* Of the run before the last one: how long it took, whether it failed, how long after it the last one
     * began. */
    int64_t took_before_ns, distance_ns;
    bool failed_before;
};

/* How a login ends. */
enum door {
    DOOR_OPEN,
    DOOR_ABSENT,  /* nobody listens */
    DOOR_NOT_YET, /* 57P03 */
    DOOR_FULL,    /* 53300 */
    DOOR_REJECTS, /* 28P01 */
    DOOR_NO_FORK, /* an error of the old protocol, without SQLSTATE */
};

struct server {
    enum door door;
    bool frozen;            /* every process of it */
    bool postmaster_frozen; /* that alone */
    int login_steps;        /* round trips of a login after the connect */
    int64_t fork_ns;
    int64_t login_ns;    /* work of each step */
    int64_t recovery_ns; /* after a crash */
    bool recovering;
    struct server_check checks[SERVER_CHECKS_MAX];
    int check_count;
    /* Counted: */
    int64_t logins, crashes, queries;
    struct rng rng;
};
extern struct server server;

/* Of the network. */
bool server_listens(void);
void server_connected(struct link *link);
void server_received(struct link *link);
void server_disconnected(struct link *link);

/* Faults have changed: what could not go on before may go on now. */
void server_go_on(void);

/* Ends every session with 57P01, or one of them. */
void server_terminate_all(void);
void server_terminate_one(void);

/* One server process with a client is stopped (true), or all such go on. */
void server_freeze_one(bool frozen);

/* A check behaves well again: what waits for its lock goes on. */
void server_release(int check);

/* Server processes that work on that check for a client that is gone. */
int server_orphans(int check);

/* Called when a check crashed the server. */
extern void (*server_on_crash)(int check);

#endif
