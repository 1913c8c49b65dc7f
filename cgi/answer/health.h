/* What is answered now: the newest snapshot, the verdict on it, the last changes, and the pages that show
 * them. Main thread. */
#ifndef ANSWER_HEALTH_H
#define ANSWER_HEALTH_H

#include "cgi/answer/route.h"

#include <stdint.h>

struct health;

/* Its verdict is `starting`, and it has no pages until health_update. Takes over the reference to the
 * snapshot; config is borrowed. */
struct health *health_new(const struct config *config, const struct snapshot *snapshot, int64_t started_ns);
void health_free(struct health *health); /* NULL is fine */

/* Judges and renders: with each newer snapshot, whose reference it takes over, and with NULL each second, for
 * what changes by itself. A changed verdict is logged and kept among the changes. */
void health_update(struct health *health, const struct snapshot *newer, const struct process_facts *process,
                   int64_t now_ns);

/* Judges and answers, so that not even the first answer after a stop of the whole process is an old green. */
struct response health_answer(struct health *health, const struct request *request,
                              const struct process_facts *process, int64_t now_ns);

/* The last one. Valid until the next call. */
const struct verdict *health_verdict(const struct health *health);

#endif
