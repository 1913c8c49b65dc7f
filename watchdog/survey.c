/* Passes each result of fetch to judge, which decides about another try. Main thread; owns what is known of
 * the routes. */
#include "watchdog/survey.h"

#include "common/buf.h"
#include "common/clock.h"

#include <stdlib.h>

struct look {
    struct survey *survey;
    const struct watch *watch;
    int64_t max_tries;
    bool stop_when_dead;
};

static enum fetch_next take_result(void *context, size_t i, const struct fetch_result *result)
{
    struct look *look = context;
    const struct watch_route *route = &look->watch->routes[i];
    struct judge_route *judged = &look->survey->routes[i];
    judge_add(judged, route, result, look->max_tries);
    if (look->stop_when_dead && route->liveness && judged->is_dead)
        return FETCH_ENOUGH;
    return judged->is_final ? FETCH_DONE : FETCH_AGAIN;
}

void survey_init(struct survey *survey, const struct watch *watch)
{
    *survey = (struct survey){.routes = mem_calloc(watch->route_count, sizeof *survey->routes)};
}

void survey_free(struct survey *survey)
{
    free(survey->routes);
    *survey = (struct survey){0};
}

bool survey_run(struct survey *survey, const struct watch *watch, bool stop_when_dead, struct error *err)
{
    struct look look = {
        .survey = survey, .watch = watch, .max_tries = watch->tries, .stop_when_dead = stop_when_dead};
    int64_t began_ns = clock_now_ns();
    bool *wanted = mem_calloc(watch->route_count, sizeof *wanted);
    for (size_t i = 0; i < watch->route_count; i++)
        wanted[i] = !survey->routes[i].is_final;
    bool ok = fetch_run(watch, wanted, take_result, &look, err);
    free(wanted);
    survey->took_ms += (clock_now_ns() - began_ns) / NS_PER_MS;
    return ok;
}

bool survey_ask_dead(const struct survey *before, const struct watch *watch, bool *answers, struct error *err)
{
    struct survey now;
    struct look look = {.survey = &now, .watch = watch, .max_tries = 1};
    bool all = judge_evidence(watch, before->routes).dead == 0;
    bool *wanted = mem_calloc(watch->route_count, sizeof *wanted);
    survey_init(&now, watch);
    for (size_t i = 0; i < watch->route_count; i++)
        wanted[i] = watch->routes[i].liveness && (all || before->routes[i].is_dead);
    bool ok = fetch_run(watch, wanted, take_result, &look, err);
    *answers = ok;
    for (size_t i = 0; i < watch->route_count; i++)
        *answers = *answers && (!wanted[i] || judge_answers(&now.routes[i]));
    survey_free(&now);
    free(wanted);
    return ok;
}
