/* Judges answers, as watchdog/judge.h promises. Any thread; no state. */
#include "watchdog/judge.h"

#include "watchdog/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CODE_LIMITED         429
#define CODE_BAD_GATEWAY     502
#define CODE_GATEWAY_TIMEOUT 504

__attribute__((format(printf, 4, 5))) static void set(struct judgement *out, enum judge_verdict verdict,
                                                      enum judge_life life, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    out->verdict = verdict;
    out->life = life;
    vsnprintf(out->why, sizeof out->why, format, args);
    va_end(args);
}

static void judge_body(const struct watch_route *route, const struct fetch_result *result,
                       struct judgement *out)
{
    static const char *const words[] = {
        [JSON_DIFFERS] = "is something else",
        [JSON_HAS_NONE] = "is not there",
        [JSON_MALFORMED] = "expected, the body is no JSON",
    };
    set(out, JUDGE_OK, JUDGE_ALIVE, "%s", "");
    if (route->json_key == NULL)
        return;
    if (result->body_cut) {
        set(out, JUDGE_ERROR, JUDGE_ALIVE, "%d, body of more than %d bytes", result->code, FETCH_MAX_BYTES);
        return;
    }
    enum json_answer answer = json_check(result->body.data != NULL ? result->body.data : "", result->body.len,
                                         route->json_key, route->json_value);
    if (answer != JSON_SAYS_SO)
        set(out, JUDGE_ERROR, JUDGE_ALIVE, "%d, but %.64s=%.64s %s", result->code, route->json_key,
            route->json_value, words[answer]);
}

/* What a silent or unreachable backend is to us: behind a redirect it may be another server's. */
static enum judge_life dead_unless_redirected(const struct fetch_result *result)
{
    return result->redirects > 0 ? JUDGE_LIFE_OPEN : JUDGE_DEAD;
}

/* The proxy's word comes first: accepted codes do not make a dead backend a living one, and what nginx may
 * have said by itself is no sign of life. */
static void judge_answer(const struct watch_route *route, const struct fetch_result *result,
                         struct judgement *out)
{
    enum judge_life dead = dead_unless_redirected(result);
    if (result->code == CODE_BAD_GATEWAY || result->code == CODE_GATEWAY_TIMEOUT)
        set(out, JUDGE_ERROR, dead, "%d, the proxy reaches no backend", result->code);
    else if (result->from_nginx && result->code >= 500)
        set(out, JUDGE_ERROR, dead, "%d from nginx, not from the backend", result->code);
    else if (value_codes_contain(&route->codes, result->code)) {
        judge_body(route, result, out);
        if (result->from_nginx || result->code == CODE_LIMITED)
            out->life = JUDGE_LIFE_OPEN;
    } else if (result->code == CODE_LIMITED)
        set(out, JUDGE_LIMITED, JUDGE_LIFE_OPEN, "%d, asked too often", result->code);
    else
        set(out, JUDGE_ERROR, result->from_nginx ? JUDGE_LIFE_OPEN : JUDGE_ALIVE,
            "%d, not an accepted code%s", result->code, result->from_nginx ? ", from nginx" : "");
}

static void judge_failure(const struct watch_route *route, const struct fetch_result *result,
                          struct judgement *out)
{
    enum judge_life dead = dead_unless_redirected(result);
    switch (result->outcome) {
    case FETCH_TIMEOUT:
        if (result->unconnected)
            set(out, JUDGE_TIMEOUT, dead, "no connection within %lld ms", (long long)result->time_us / 1000);
        else
            set(out, JUDGE_TIMEOUT, dead, "no whole answer within %lld ms", (long long)route->timeout_ms);
        return;
    case FETCH_REFUSED:
    case FETCH_FULL: set(out, JUDGE_TIMEOUT, dead, "refused: %s", result->detail); return;
    case FETCH_RESET: set(out, JUDGE_TIMEOUT, dead, "closed without an answer: %s", result->detail); return;
    case FETCH_MALFORMED:
        set(out, JUDGE_ERROR, JUDGE_LIFE_OPEN, "malformed answer: %s", result->detail);
        return;
    case FETCH_REDIRECTS:
        set(out, JUDGE_ERROR, JUDGE_ALIVE, "more than %d redirects", FETCH_MAX_REDIRECTS);
        return;
    case FETCH_UNRESOLVED:
        set(out, JUDGE_UNKNOWN, JUDGE_LIFE_OPEN, "name resolution: %s", result->detail);
        return;
    case FETCH_TLS: set(out, JUDGE_UNKNOWN, JUDGE_LIFE_OPEN, "TLS: %s", result->detail); return;
    case FETCH_LOCAL:
    case FETCH_ANSWER: break;
    }
    set(out, JUDGE_UNKNOWN, JUDGE_LIFE_OPEN, "our own side: %s", result->detail);
}

void judge_try(const struct watch_route *route, const struct fetch_result *result, struct judgement *out)
{
    if (result->outcome == FETCH_ANSWER)
        judge_answer(route, result, out);
    else
        judge_failure(route, result, out);
    out->again = out->life == JUDGE_DEAD || out->verdict == JUDGE_TIMEOUT ||
                 result->outcome == FETCH_UNRESOLVED || result->outcome == FETCH_LOCAL;
}

void judge_add(struct judge_route *to, const struct watch_route *route, const struct fetch_result *result,
               int64_t max_tries)
{
    judge_try(route, result, &to->last);
    to->tries++;
    to->dead_tries += to->last.life == JUDGE_DEAD;
    to->refused_tries += to->last.life == JUDGE_DEAD && result->outcome == FETCH_REFUSED;
    to->code = result->code;
    to->time_us = result->time_us;
    to->is_final = !to->last.again || to->tries >= max_tries;
}

bool judge_is_dead(const struct judge_route *route)
{
    return route->is_final && route->tries > 0 && route->dead_tries == route->tries;
}

bool judge_answers(const struct judge_route *route)
{
    return route->tries > 0 && route->last.life == JUDGE_ALIVE;
}

size_t judge_count_dead(const struct watch *watch, const struct judge_route *routes)
{
    size_t dead = 0;
    for (size_t i = 0; i < watch->route_count; i++)
        dead += watch->routes[i].liveness && judge_is_dead(&routes[i]);
    return dead;
}

bool judge_all_refused(const struct watch *watch, const struct judge_route *routes)
{
    for (size_t i = 0; i < watch->route_count; i++)
        if (watch->routes[i].liveness && judge_is_dead(&routes[i]) &&
            routes[i].refused_tries < routes[i].tries)
            return false;
    return judge_count_dead(watch, routes) > 0;
}

static enum judge_level level_of(enum watch_class class, enum judge_verdict verdict)
{
    switch (verdict) {
    case JUDGE_OK:
    case JUDGE_LIMITED: return JUDGE_FINE;
    case JUDGE_UNKNOWN: return class == WATCH_CORE ? JUDGE_NO_IDEA : JUDGE_WARNING;
    case JUDGE_TIMEOUT:
    case JUDGE_ERROR:
    case JUDGE_VERDICTS: break;
    }
    return class == WATCH_CORE ? JUDGE_CRITICAL : JUDGE_WARNING;
}

enum judge_level judge_all(const struct watch *watch, const struct judge_route *routes,
                           struct judge_counts *counts)
{
    enum judge_level level = JUDGE_FINE;
    *counts = (struct judge_counts){0};
    for (size_t i = 0; i < watch->route_count; i++) {
        enum judge_verdict verdict = routes[i].tries > 0 ? routes[i].last.verdict : JUDGE_UNKNOWN;
        counts->of[verdict]++;
        level = judge_worse(level, level_of(watch->routes[i].class, verdict));
    }
    return level;
}

enum judge_level judge_worse(enum judge_level a, enum judge_level b)
{
    static const int rank[] = {
        [JUDGE_FINE] = 0, [JUDGE_WARNING] = 1, [JUDGE_NO_IDEA] = 2, [JUDGE_CRITICAL] = 3};
    return rank[a] >= rank[b] ? a : b;
}

const char *judge_verdict_name(enum judge_verdict verdict)
{
    static const char *const names[] = {
        [JUDGE_OK] = "ok",
        [JUDGE_TIMEOUT] = "timeout",
        [JUDGE_LIMITED] = "rate_limited",
        [JUDGE_ERROR] = "http_error",
        [JUDGE_UNKNOWN] = "unknown",
    };
    return verdict < JUDGE_VERDICTS ? names[verdict] : "unknown";
}

const char *judge_level_name(enum judge_level level)
{
    static const char *const names[] = {[JUDGE_FINE] = "ok",
                                        [JUDGE_WARNING] = "warning",
                                        [JUDGE_CRITICAL] = "critical",
                                        [JUDGE_NO_IDEA] = "unknown"};
    return names[level];
}
