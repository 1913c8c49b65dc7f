/* One look at the routes: asks, judges, asks again what does not answer. Main thread. */
#ifndef WATCHDOG_SURVEY_H
#define WATCHDOG_SURVEY_H

#include "watchdog/judge.h"

#include <stdbool.h>
#include <stddef.h>

struct survey {
    struct judge_route *routes; /* one for each of the file */
    int64_t took_ms;
};

/* Nothing asked yet. The caller frees with survey_free. */
void survey_init(struct survey *survey, const struct watch *watch);
void survey_free(struct survey *survey);

/* Asks every route that is not final until it is. stop_when_dead: returns as soon as a liveness route is
 * dead, for then the rest can wait; a second call finishes it. False: see fetch_run. */
__attribute__((warn_unused_result)) bool survey_run(struct survey *survey, const struct watch *watch,
                                                    bool stop_when_dead, struct error *err);

/* Asks once, and only the liveness routes that are dead in before (all of them when none is). *answers is set
 * when none of these is dead any more. */
__attribute__((warn_unused_result)) bool
survey_ask_dead(const struct survey *before, const struct watch *watch, bool *answers, struct error *err);

#endif
