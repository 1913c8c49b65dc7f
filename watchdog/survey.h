/* One look at the routes: requests each, judges the result, and tries again those that do not answer. Main
 * thread. */
#ifndef WATCHDOG_SURVEY_H
#define WATCHDOG_SURVEY_H

#include "watchdog/judge.h"

#include <stdbool.h>
#include <stddef.h>

struct survey {
    struct judge_route *routes; /* one for each route of the watch file */
    int64_t took_ms;
};

/* Begins a look in which no route is requested yet. The caller frees it with survey_free. */
void survey_init(struct survey *survey, const struct watch *watch);
void survey_free(struct survey *survey);

/* Requests every route until it needs no other try. stop_when_dead: returns as soon as a liveness route is
 * dead; a second call requests the remaining routes. False: see fetch_run. */
__attribute__((warn_unused_result)) bool survey_run(struct survey *survey, const struct watch *watch,
                                                    bool stop_when_dead, struct error *err);

/* Requests each liveness route that is dead in before once; all liveness routes if none is dead. Sets
 * *answers if all of them answer. */
__attribute__((warn_unused_result)) bool
survey_ask_dead(const struct survey *before, const struct watch *watch, bool *answers, struct error *err);

#endif
