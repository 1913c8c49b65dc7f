/* Turns the result of a try into an outcome and a sign, and those of all routes into an exit code. Any
 * thread; owns nothing. */
#include "watchdog/judge.h"

#include "watchdog/json.h"

#include <stdarg.h>
#include <stdio.h>

/* A try does not count if this process was late for 1 in LATE_SHARE of its time, and for LATE_MS at least. */
#define LATE_SHARE 4
#define LATE_MS    50

/* No proxy times out sooner than this. */
#define SOON_US 100000

#define CODE_LIMITED         429
#define CODE_BAD_GATEWAY     502
#define CODE_GATEWAY_TIMEOUT 504

__attribute__((format(printf, 4, 5))) static void set(struct judgement *out, enum judge_outcome outcome,
                                                      enum judge_sign sign, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    out->outcome = outcome;
    out->sign = sign;
    vsnprintf(out->why, sizeof out->why, format, args);
    va_end(args);
}

static void judge_body(const struct watch_route *route, const struct fetch_result *result,
                       struct judgement *out)
{
    static const char *const words[] = {
        [JSON_DIFFERS] = "the value is different",
        [JSON_MISSING] = "there is no such key",
        [JSON_MALFORMED] = "the body is not JSON",
    };
    set(out, JUDGE_OK, JUDGE_ALIVE, "%s", "");
    if (route->json_key == NULL)
        return;
    if (result->body_cut) {
        set(out, JUDGE_ERROR, JUDGE_ALIVE, "%d, the body exceeds %d bytes", result->code, FETCH_MAX_BYTES);
        return;
    }
    enum json_answer answer = json_check(result->body.data != NULL ? result->body.data : "", result->body.len,
                                         route->json_key, route->json_value);
    if (answer != JSON_MATCHES)
        set(out, JUDGE_ERROR, JUDGE_ALIVE, "%d, expected %.64s=%.64s: %s", result->code, route->json_key,
            route->json_value, words[answer]);
}

/* nginx's own document gives its reason (nginx/health-api.conf). */
static enum judge_sign sign_of_nginx(const struct fetch_result *result)
{
    const char *body = result->body.data != NULL ? result->body.data : "";
    static const char key[] = "failing.0.reason";
    if (json_check(body, result->body.len, key, "hung") == JSON_MATCHES)
        return JUDGE_HUNG;
    if (json_check(body, result->body.len, key, "unreachable") == JSON_MATCHES)
        return JUDGE_UNREACHED;
    return JUDGE_OPEN;
}

/* A 504 that comes too soon is not the proxy's own: the backend is a gateway, and reports a server of its
 * own. */
static enum judge_sign sign_of_504(const struct fetch_result *result)
{
    return result->time_us < SOON_US ? JUDGE_UNREACHED : JUDGE_HUNG;
}

/* What the proxy reports comes first: the accepted codes of a route do not make a dead backend alive. A
 * response that may be nginx's own is no sign of life. */
static void judge_answer(const struct watch_route *route, const struct fetch_result *result,
                         struct judgement *out)
{
    enum judge_sign sign = result->code == CODE_BAD_GATEWAY       ? JUDGE_UNREACHED
                           : result->code == CODE_GATEWAY_TIMEOUT ? sign_of_504(result)
                           : result->from_nginx                   ? sign_of_nginx(result)
                                                                  : JUDGE_ALIVE;
    const char *source = result->from_nginx ? " from nginx" : "";
    if (sign == JUDGE_UNREACHED && result->code == CODE_GATEWAY_TIMEOUT) {
        set(out, JUDGE_ERROR, sign, "%d after %lld ms, too soon for a timeout of the proxy", result->code,
            (long long)result->time_us / 1000);
    } else if (sign == JUDGE_UNREACHED) {
        set(out, JUDGE_ERROR, sign, "%d%s, the proxy cannot reach the backend", result->code, source);
    } else if (sign == JUDGE_HUNG) {
        set(out, JUDGE_ERROR, sign, "%d%s, the backend did not answer the proxy in time", result->code,
            source);
    } else if (result->from_nginx && result->code >= 500) {
        set(out, JUDGE_ERROR, JUDGE_OPEN, "%d, nginx itself failed", result->code);
        out->again = true;
    } else if (value_codes_contain(&route->codes, result->code)) {
        judge_body(route, result, out);
        if (result->from_nginx || result->code == CODE_LIMITED)
            out->sign = JUDGE_OPEN;
    } else if (result->code == CODE_LIMITED) {
        set(out, JUDGE_LIMITED, JUDGE_OPEN, "%d, rate-limited", result->code);
    } else {
        set(out, JUDGE_ERROR, sign, "%d, not an accepted code%s%s", result->code,
            result->from_nginx ? "," : "", source);
    }
}

static void judge_failure(const struct watch_route *route, const struct fetch_result *result,
                          struct judgement *out)
{
    switch (result->kind) {
    case FETCH_TIMEOUT:
        if (result->unconnected)
            set(out, JUDGE_TIMEOUT, JUDGE_NO_CONTACT, "no connection within %lld ms",
                (long long)result->time_us / 1000);
        else
            set(out, JUDGE_TIMEOUT, JUDGE_SILENT, "no complete response within %lld ms",
                (long long)route->timeout_ms);
        return;
    case FETCH_REFUSED:
    case FETCH_FULL: set(out, JUDGE_TIMEOUT, JUDGE_NO_CONTACT, "refused: %s", result->detail); return;
    case FETCH_RESET:
        set(out, JUDGE_TIMEOUT, JUDGE_NO_CONTACT, "closed without a response: %s", result->detail);
        return;
    case FETCH_MALFORMED: set(out, JUDGE_ERROR, JUDGE_OPEN, "malformed response: %s", result->detail); return;
    case FETCH_REDIRECTS:
        set(out, JUDGE_ERROR, JUDGE_ALIVE, "more than %d redirects", FETCH_MAX_REDIRECTS);
        return;
    case FETCH_UNRESOLVED:
        set(out, JUDGE_UNKNOWN, JUDGE_OPEN, "name resolution failed: %s", result->detail);
        out->again = true;
        return;
    case FETCH_TLS: set(out, JUDGE_UNKNOWN, JUDGE_OPEN, "TLS failed: %s", result->detail); return;
    case FETCH_LOCAL:
    case FETCH_RESPONSE: break;
    }
    set(out, JUDGE_UNKNOWN, JUDGE_OPEN, "failed on this machine: %s", result->detail);
    out->again = true;
}

static bool is_dead_sign(enum judge_sign sign)
{
    return sign == JUDGE_SILENT || sign == JUDGE_HUNG || sign == JUDGE_UNREACHED || sign == JUDGE_NO_CONTACT;
}

/* A machine that keeps this process from running may keep the service from answering, too. */
bool judge_is_starved(const struct fetch_result *result)
{
    return result->late_ms >= LATE_MS && result->late_ms >= result->time_us / 1000 / LATE_SHARE;
}

void judge_try(const struct watch_route *route, const struct fetch_result *result, struct judgement *out)
{
    out->again = false;
    if (result->kind == FETCH_RESPONSE)
        judge_answer(route, result, out);
    else
        judge_failure(route, result, out);
    if (is_dead_sign(out->sign) && judge_is_starved(result))
        set(out, JUDGE_UNKNOWN, JUDGE_STARVED,
            "this machine is starved of CPU: a try of %lld ms ran %lld ms late and does not count",
            (long long)result->time_us / 1000, (long long)result->late_ms);
    out->again = out->again || is_dead_sign(out->sign) || out->sign == JUDGE_STARVED;
    if (is_dead_sign(out->sign) && result->redirects > 0)
        out->sign = JUDGE_OPEN; /* a redirect may lead to another server */
}

void judge_add(struct judge_route *to, const struct watch_route *route, const struct fetch_result *result,
               int64_t max_tries)
{
    judge_try(route, result, &to->last);
    to->tries += to->last.sign != JUDGE_STARVED;
    to->signs[to->last.sign]++;
    to->code = result->code;
    to->time_us = result->time_us;
    to->is_final = !to->last.again || to->tries >= max_tries || to->signs[JUDGE_STARVED] >= max_tries;
    to->is_dead = to->tries >= max_tries && judge_dead_tries(to) == to->tries;
}

int judge_dead_tries(const struct judge_route *route)
{
    return route->signs[JUDGE_SILENT] + route->signs[JUDGE_HUNG] + route->signs[JUDGE_UNREACHED] +
           route->signs[JUDGE_NO_CONTACT];
}

bool judge_answers(const struct judge_route *route)
{
    return route->tries > 0 && route->last.sign == JUDGE_ALIVE;
}

struct judge_evidence judge_evidence(const struct watch *watch, const struct judge_route *routes)
{
    struct judge_evidence sum = {.dead = 0};
    for (size_t i = 0; i < watch->route_count; i++) {
        const struct judge_route *route = &routes[i];
        const int *signs = route->signs;
        if (!watch->routes[i].liveness || !route->is_dead)
            continue;
        bool reached = signs[JUDGE_NO_CONTACT] < route->tries && route->last.sign != JUDGE_NO_CONTACT;
        sum.dead++;
        sum.unanswered += signs[JUDGE_HUNG] + signs[JUDGE_UNREACHED] == 0;
        sum.reached += reached;
        sum.hung += reached && signs[JUDGE_HUNG] > 0;
    }
    return sum;
}

static enum judge_level level_of(const struct watch_route *route, const struct judge_route *judged)
{
    bool is_core = route->class == WATCH_CORE;
    switch (judged->last.outcome) {
    case JUDGE_OK:
    case JUDGE_LIMITED: /* a liveness route says nothing if the response is not the backend's own */
        return route->liveness && judged->last.sign != JUDGE_ALIVE ? JUDGE_WARNING : JUDGE_FINE;
    case JUDGE_UNKNOWN: return is_core ? JUDGE_NO_IDEA : JUDGE_WARNING;
    case JUDGE_TIMEOUT:
    case JUDGE_ERROR:
    case JUDGE_OUTCOMES: break;
    }
    return is_core ? JUDGE_CRITICAL : JUDGE_WARNING;
}

enum judge_level judge_all(const struct watch *watch, const struct judge_route *routes,
                           struct judge_counts *counts)
{
    enum judge_level level = JUDGE_FINE;
    *counts = (struct judge_counts){0};
    for (size_t i = 0; i < watch->route_count; i++) {
        counts->of[routes[i].last.outcome]++;
        level = judge_worse(level, level_of(&watch->routes[i], &routes[i]));
    }
    return level;
}

enum judge_level judge_worse(enum judge_level a, enum judge_level b)
{
    static const int rank[] = {
        [JUDGE_FINE] = 0, [JUDGE_WARNING] = 1, [JUDGE_NO_IDEA] = 2, [JUDGE_CRITICAL] = 3};
    return rank[a] >= rank[b] ? a : b;
}

const char *judge_outcome_name(enum judge_outcome outcome)
{
    static const char *const names[] = {
        [JUDGE_OK] = "ok",
        [JUDGE_TIMEOUT] = "timeout",
        [JUDGE_LIMITED] = "rate_limited",
        [JUDGE_ERROR] = "http_error",
        [JUDGE_UNKNOWN] = "unknown",
    };
    return outcome < JUDGE_OUTCOMES ? names[outcome] : "unknown";
}

const char *judge_level_name(enum judge_level level)
{
    static const char *const names[] = {[JUDGE_FINE] = "ok",
                                        [JUDGE_WARNING] = "warning",
                                        [JUDGE_CRITICAL] = "critical",
                                        [JUDGE_NO_IDEA] = "unknown"};
    return names[level];
}
