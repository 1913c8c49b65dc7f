/* What the answers mean: of one request, of a route after all its tries, of all routes together. Pure. */
#ifndef WATCHDOG_JUDGE_H
#define WATCHDOG_JUDGE_H

#include "watchdog/fetch.h"
#include "watchdog/watchfile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The columns of the summary. */
enum judge_verdict {
    JUDGE_OK,
    JUDGE_TIMEOUT, /* timed out, refused or reset */
    JUDGE_LIMITED, /* 429: soft, never a failure */
    JUDGE_ERROR,   /* an answer, but not the one that was expected */
    JUDGE_UNKNOWN, /* cannot be told: our own name resolution, TLS, permissions; or not asked */
    JUDGE_VERDICTS,
};

/* What a request says about the process behind the route; only JUDGE_DEAD is ever a reason to act. */
enum judge_life {
    JUDGE_ALIVE,
    JUDGE_DEAD,      /* no answer, or the proxy's word that there is none */
    JUDGE_LIFE_OPEN, /* cannot be told */
};

/* The numbers are the program's exit codes and those of monitoring plugins. */
enum judge_level {
    JUDGE_FINE = 0,
    JUDGE_WARNING = 1,  /* an aux route fails */
    JUDGE_CRITICAL = 2, /* a core route fails */
    JUDGE_NO_IDEA = 3,  /* a core route cannot be told, and none fails */
};

struct judgement {
    enum judge_verdict verdict;
    enum judge_life life;
    bool again;    /* worth another try */
    char why[192]; /* printable; "" for JUDGE_OK */
};

/* One route so far; zeroed before its first request. */
struct judge_route {
    int tries;
    int dead_tries;
    int refused_tries; /* of the dead ones: nobody listens at the address that was asked */
    bool is_final;     /* asked as often as it is going to be */
    int code;          /* of the last try; 0: none */
    int64_t time_us;
    struct judgement last;
};

struct judge_counts {
    size_t of[JUDGE_VERDICTS];
};

void judge_try(const struct watch_route *route, const struct fetch_result *result, struct judgement *out);

/* Adds a try to a route that is asked at most max_tries times. */
void judge_add(struct judge_route *to, const struct watch_route *route, const struct fetch_result *result,
               int64_t max_tries);

/* Every one of its tries says dead, and there are no more. */
bool judge_is_dead(const struct judge_route *route);

/* Its last try was answered by the backend: a proxy's 429 says nothing of it. */
bool judge_answers(const struct judge_route *route);

/* The dead liveness routes decide that the backend hangs: their number. */
size_t judge_count_dead(const struct watch *watch, const struct judge_route *routes);

/* Each of them was refused each time: whoever should listen at base_url, the backend or a proxy, is not
 * there. */
bool judge_all_refused(const struct watch *watch, const struct judge_route *routes);

enum judge_level judge_all(const struct watch *watch, const struct judge_route *routes,
                           struct judge_counts *counts);

/* The worse of two for a report: critical, then no idea, then warning. */
enum judge_level judge_worse(enum judge_level a, enum judge_level b);

/* "ok", "timeout", "rate_limited", "http_error", "unknown" */
const char *judge_verdict_name(enum judge_verdict verdict);
const char *judge_level_name(enum judge_level level);

#endif
