/* What the answers mean: of one request, of a route after all its tries, of all routes together. Pure. */
#ifndef WATCHDOG_JUDGE_H
#define WATCHDOG_JUDGE_H

#include "watchdog/fetch.h"
#include "watchdog/watchfile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The columns of the summary. */
enum judge_outcome {
    JUDGE_UNKNOWN, /* cannot be told: our own name resolution, TLS, permissions, a starved machine; or not
                      asked */
    JUDGE_OK,
    JUDGE_TIMEOUT, /* timed out, refused or reset */
    JUDGE_LIMITED, /* 429: soft, no failure */
    JUDGE_ERROR,   /* an answer, but not the one that was expected */
    JUDGE_OUTCOMES,
};

/* What one request says about the process behind the route. */
enum judge_sign {
    JUDGE_ALIVE,      /* an answer of its own */
    JUDGE_SILENT,     /* somebody took the connection, and no whole answer came in time */
    JUDGE_HUNG,       /* the proxy's word: the backend gave no answer in time (504, reason hung) */
    JUDGE_UNREACHED,  /* the proxy's word: it reaches no backend (502, reason unreachable) */
    JUDGE_NO_CONTACT, /* refused, not connected in time, or closed without a byte: so much for base_url */
    JUDGE_STARVED,    /* failed while this very process was kept from running: does not count */
    JUDGE_OPEN,       /* cannot be told: a proxy's own answer, or our own side failed */
    JUDGE_SIGNS,
};

/* The numbers are the program's exit codes and those of monitoring plugins. */
enum judge_level {
    JUDGE_FINE = 0,
    JUDGE_WARNING = 1,  /* an aux route fails, or a liveness route is rate-limited */
    JUDGE_CRITICAL = 2, /* a core route fails */
    JUDGE_NO_IDEA = 3,  /* a core route cannot be told, and none fails */
};

struct judgement {
    enum judge_outcome outcome;
    enum judge_sign sign;
    bool again;    /* worth another try */
    char why[192]; /* printable; "" for JUDGE_OK */
};

/* One route so far; zeroed before its first request. */
struct judge_route {
    int tries;              /* that count: all but the starved ones */
    int signs[JUDGE_SIGNS]; /* how many of each */
    bool is_final;          /* asked as often as it is going to be */
    bool is_dead;           /* as often as is allowed, and each time in vain */
    int code;               /* of the last try; 0: none */
    int64_t time_us;
    struct judgement last; /* zeroed: not asked */
};

/* The liveness routes together. */
struct judge_evidence {
    size_t dead;
    size_t unanswered; /* of the dead: no try got an answer from anybody, a proxy included */
    size_t reached;    /* of the dead: some try got somebody at base_url, and so did the last */
    size_t hung;       /* of the reached: some try brought the proxy's word that the backend was silent */
};

struct judge_counts {
    size_t of[JUDGE_OUTCOMES];
};

void judge_try(const struct watch_route *route, const struct fetch_result *result, struct judgement *out);

/* Adds a try to a route that is asked at most max_tries times. */
void judge_add(struct judge_route *to, const struct watch_route *route, const struct fetch_result *result,
               int64_t max_tries);

/* Tries that said dead. */
int judge_dead_tries(const struct judge_route *route);

/* Whether a request was under way while this process was kept from running: it tells nothing of silence. */
bool judge_is_starved(const struct fetch_result *result);

/* Its last try was answered by the backend: a proxy's 429 says nothing of it. */
bool judge_answers(const struct judge_route *route);

struct judge_evidence judge_evidence(const struct watch *watch, const struct judge_route *routes);

enum judge_level judge_all(const struct watch *watch, const struct judge_route *routes,
                           struct judge_counts *counts);

/* The worse of two for a report: critical, then no idea, then warning. */
enum judge_level judge_worse(enum judge_level a, enum judge_level b);

/* "ok", "timeout", "rate_limited", "http_error", "unknown" */
const char *judge_outcome_name(enum judge_outcome outcome);
const char *judge_level_name(enum judge_level level);

#endif
