/* Keeps the verdict and the pages up to date. Main thread; owns the site and a reference to the snapshot
 * that it shows. */
#include "cgi/answer/health.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>

struct health {
    const struct config *config;
    int64_t started_ns;
    struct site *site;
    const struct snapshot *snapshot; /* one reference */
    struct verdict verdict;
    struct transitions transitions;
};

struct health *health_new(const struct config *config, const struct snapshot *snapshot, int64_t started_ns)
{
    struct health *h = mem_calloc(1, sizeof *h);
    *h = (struct health){
        .config = config,
        .started_ns = started_ns,
        .site = site_new(),
        .snapshot = snapshot,
        .verdict = {.status = HEALTH_STARTING, .reason = REASON_STARTING, .check = SNAPSHOT_DATABASE},
    };
    return h;
}

void health_free(struct health *h)
{
    if (h == NULL)
        return;
    site_free(h->site);
    snapshot_release(h->snapshot);
    free(h);
}

static struct facts facts_of(const struct health *h, const struct process_facts *process, int64_t now_ns)
{
    return (struct facts){
        .config = h->config,
        .snapshot = h->snapshot,
        .verdict = &h->verdict,
        .transitions = &h->transitions,
        .process = process,
        .started_ns = h->started_ns,
        .now_ns = now_ns,
    };
}

static void record_change(struct health *h, const struct verdict *next)
{
    log_event(next->status == HEALTH_DEGRADED ? LOG_LEVEL_WARN : LOG_LEVEL_NOTICE, "status changed",
              LOG_STR("from", health_status_name(h->verdict.status)),
              LOG_STR("to", health_status_name(next->status)), LOG_STR("check", next->check),
              LOG_STR("reason", reason_name(next->reason)));
    transitions_add(&h->transitions, &h->verdict, next, clock_wall_ms());
}

/* Makes the new verdict. Returns whether the pages are out of date. */
static bool judge(struct health *h, const struct process_facts *process, int64_t now_ns)
{
    struct verdict next =
        verdict_judge(h->snapshot, process, NULL, now_ns, h->config->stale_after_ms * NS_PER_MS);
    bool changed = !verdict_equal(&h->verdict, &next);
    /* Two equal verdicts may differ in whether the counts are known, and the pages show that. While the
     * program drains, they also show whether the snapshot is stale. */
    bool outdated =
        changed || h->verdict.counts_known != next.counts_known || h->verdict.is_stale != next.is_stale;

    if (changed)
        record_change(h, &next);
    h->verdict = next;
    return outdated;
}

void health_update(struct health *h, const struct snapshot *newer, const struct process_facts *process,
                   int64_t now_ns)
{
    if (newer != NULL) {
        snapshot_release(h->snapshot);
        h->snapshot = newer;
    }
    (void)judge(h, process, now_ns);
    const struct facts facts = facts_of(h, process, now_ns);
    site_render(h->site, &facts);
}

struct response health_answer(struct health *h, const struct request *request,
                              const struct process_facts *process, int64_t now_ns)
{
    bool outdated = judge(h, process, now_ns);
    const struct facts facts = facts_of(h, process, now_ns);
    if (outdated)
        site_render(h->site, &facts);
    return site_answer(h->site, request, &facts);
}

const struct verdict *health_verdict(const struct health *h)
{
    return &h->verdict;
}
