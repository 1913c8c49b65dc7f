/* Says what the results of requests mean: for one try, for a route after all its tries, and for all routes
 * together. Pure. */
#ifndef WATCHDOG_JUDGE_H
#define WATCHDOG_JUDGE_H

#include "watchdog/fetch.h"
#include "watchdog/watchfile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The outcome of a route's tries. The summary counts the routes with each outcome. */
enum judge_outcome {
    JUDGE_UNKNOWN, /* not requested, or this side failed: name resolution, TLS, permissions, lack of CPU */
    JUDGE_OK,
    JUDGE_TIMEOUT, /* timed out, refused or reset */
    JUDGE_LIMITED, /* 429, which is not a failure */
    JUDGE_ERROR,   /* a response, but not an expected one */
    JUDGE_OUTCOMES,
};

/* What one try says about the process that serves the route. */
enum judge_sign {
    JUDGE_ALIVE,      /* it sent a response of its own */
    JUDGE_SILENT,     /* the connection was made, but no complete response came in time */
    JUDGE_HUNG,       /* the proxy reports that the backend did not answer in time (504, reason hung) */
    JUDGE_UNREACHED,  /* the proxy reports that it cannot reach the backend (502, reason unreachable) */
    JUDGE_NO_CONTACT, /* base_url refused, did not connect in time, or closed without a byte */
    JUDGE_STARVED,    /* failed while the machine kept this program from running: does not count */
    JUDGE_OPEN,       /* nothing: the response is the proxy's own, or this side failed */
    JUDGE_SIGNS,
};

/* The numbers are the exit codes of the program, which monitoring plugins use as well. */
enum judge_level {
    JUDGE_FINE = 0,
    JUDGE_WARNING = 1,  /* an aux route fails, or a liveness route is rate-limited */
    JUDGE_CRITICAL = 2, /* a core route fails */
    JUDGE_NO_IDEA = 3,  /* a core route is unknown, and none fails */
};

struct judgement {
    enum judge_outcome outcome;
    enum judge_sign sign;
    bool again;    /* worth another try */
    char why[192]; /* printable; "" for JUDGE_OK */
};

/* What is known of one route so far; zeroed before its first try. */
struct judge_route {
    int tries;              /* without the starved ones */
    int signs[JUDGE_SIGNS]; /* how many tries gave which sign */
    bool is_final;          /* it gets no further try */
    bool is_dead;           /* it has had all its tries, and each was a sign of a dead backend */
    int code;               /* of the last try; 0: none */
    int64_t time_us;        /* of the last try */
    struct judgement last;  /* zeroed: not requested yet */
};

/* How many liveness routes are dead, and what their tries say. */
struct judge_evidence {
    size_t dead;
    size_t unanswered; /* of the dead: no try got any response, not even from a proxy */
    size_t reached;    /* of the dead: at least one try reached base_url, and so did the last one */
    size_t hung;       /* of the reached: in some try the proxy reported that the backend was silent */
};

struct judge_counts {
    size_t of[JUDGE_OUTCOMES];
};

void judge_try(const struct watch_route *route, const struct fetch_result *result, struct judgement *out);

/* Judges a try and adds it to a route that gets at most max_tries. */
void judge_add(struct judge_route *to, const struct watch_route *route, const struct fetch_result *result,
               int64_t max_tries);

/* The number of tries that were a sign of a dead backend. */
int judge_dead_tries(const struct judge_route *route);

/* True: for a large part of the request the machine did not let this process run, so a failure proves
 * nothing. */
bool judge_is_starved(const struct fetch_result *result);

/* Whether the backend itself answered the last try. A 429 does not count: it may be the proxy's. */
bool judge_answers(const struct judge_route *route);

struct judge_evidence judge_evidence(const struct watch *watch, const struct judge_route *routes);

enum judge_level judge_all(const struct watch *watch, const struct judge_route *routes,
                           struct judge_counts *counts);

/* The worse of two levels. Their order from good to bad is fine, warning, no idea, critical. */
enum judge_level judge_worse(enum judge_level a, enum judge_level b);

/* "ok", "timeout", "rate_limited", "http_error", "unknown" */
const char *judge_outcome_name(enum judge_outcome outcome);
const char *judge_level_name(enum judge_level level);

#endif
