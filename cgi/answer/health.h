/* What is answered now: the snapshot, the verdict on it, the last changes, and the pages rendered from them.
 * The server and the one-shot modes both answer from it. Main thread. */
#ifndef ANSWER_HEALTH_H
#define ANSWER_HEALTH_H

#include "cgi/answer/route.h"
#include "cgi/answer/verdict.h"
#include "cgi/config.h"
#include "cgi/snapshot.h"
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

struct health {
    const struct config *config; /* borrowed */
    const char *version;         /* borrowed */
    int64_t started_ns;
    struct site *site;
    const struct snapshot *snapshot; /* one reference */
    struct verdict verdict;
    struct transitions transitions;
    /* The caller's to change; they count from the next health_judge or health_refresh on: */
    struct process_state process;
    struct process_usage usage;
    int64_t connections;
    struct error checks_error; /* why the last reload was refused; empty when it was not */
};

/* Starts with the status `starting` on this snapshot (takes over the reference) and renders. */
void health_init(struct health *h, const struct config *config, const struct snapshot *snapshot,
                 int64_t started_ns);
void health_free(struct health *h);

/* Judges anew. True: the verdict has changed; that is logged, kept in the transitions and rendered. Before
 * each answer, so that not even the first one after a stop of the whole process is an old green. */
bool health_judge(struct health *h, int64_t now_ns);

/* Takes over the reference to a newer snapshot, judges and renders. True as health_judge. */
bool health_take_snapshot(struct health *h, const struct snapshot *snapshot, int64_t now_ns);

/* Renders anew: for what changes without the verdict, such as the uptime. */
void health_refresh(struct health *h);

/* Appends the /api/health document. */
void health_render(struct health *h, struct buf *out);

/* "healthy", or "degraded: edges: corrupt": one line for the service manager. */
void health_describe(const struct health *h, char *out, int out_size);

#endif
