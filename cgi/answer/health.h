/* What clients get now: the newest snapshot, the verdict on it, the last transitions, and the pages that
 * show them. Main thread. */
#ifndef ANSWER_HEALTH_H
#define ANSWER_HEALTH_H

#include "cgi/answer/route.h"

#include <stdint.h>

struct health;

/* The first verdict is `starting`, and there are no pages until health_update. Takes over the reference to
 * the snapshot and borrows config. */
struct health *health_new(const struct config *config, const struct snapshot *snapshot, int64_t started_ns);
void health_free(struct health *health); /* NULL is fine */

/* Judges and renders. Call it with each newer snapshot, whose reference it takes over. Call it with NULL
 * each second, because some facts change with time alone. Logs a changed verdict and records it as a
 * transition. */
void health_update(struct health *health, const struct snapshot *newer, const struct process_facts *process,
                   int64_t now_ns);

/* Judges and answers. It judges at each request, so that even the first response after a stop of the whole
 * process is no outdated 200. */
struct response health_answer(struct health *health, const struct request *request,
                              const struct process_facts *process, int64_t now_ns);

/* The last verdict. Valid until the next call. */
const struct verdict *health_verdict(const struct health *health);

#endif
