/* Owns the site and the snapshot that it shows. Main thread. */
#include "cgi/answer/health.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/version.h"

#include <stdio.h>

static void view(void *context, struct render_input *out)
{
    struct health *h = context;
    *out = (struct render_input){
        .snapshot = h->snapshot,
        .verdict = &h->verdict,
        .version = h->version,
        .now_ns = clock_now_ns(),
        .started_ns = h->started_ns,
        .config = h->config,
        .transitions = &h->transitions,
        .usage = &h->usage,
        .connections = h->connections,
        .checks_error = h->checks_error.text,
    };
    out->requests = site_request_counts(h->site, &out->request_count);
}

void health_init(struct health *h, const struct config *config, const struct snapshot *snapshot,
                 int64_t started_ns)
{
    /* Retry-After: by then there is a newer answer. */
    int64_t retry_after_s = (config->interval_ms + MS_PER_S - 1) / MS_PER_S;

    *h = (struct health){
        .config = config,
        .version = HEALTH_VERSION,
        .started_ns = started_ns,
        .snapshot = snapshot,
        .verdict = {.status = HEALTH_STARTING, .reason = REASON_STARTING, .check = SNAPSHOT_DATABASE},
    };
    process_usage_read(&h->usage);
    h->site = site_new(view, h, (int)retry_after_s);
    site_refresh(h->site);
}

void health_free(struct health *h)
{
    site_free(h->site);
    snapshot_release(h->snapshot);
}

static void record_change(struct health *h, const struct verdict *next)
{
    log_event(next->status == HEALTH_DEGRADED ? LOG_LEVEL_WARN : LOG_LEVEL_NOTICE, "status changed",
              LOG_STR("from", health_status_name(h->verdict.status)),
              LOG_STR("to", health_status_name(next->status)), LOG_STR("check", next->check),
              LOG_STR("reason", reason_name(next->reason)));
    transitions_add(&h->transitions, &h->verdict, next, clock_wall_ms());
}

bool health_judge(struct health *h, int64_t now_ns)
{
    struct verdict next =
        verdict_judge(h->snapshot, &h->process, now_ns, h->config->stale_after_ms * NS_PER_MS);
    bool changed = !verdict_equal(&h->verdict, &next);

    if (changed)
        record_change(h, &next);
    /* Equal is about the status; whether the counts are known may differ all the same. */
    bool renders_the_same = !changed && h->verdict.counts_known == next.counts_known;
    h->verdict = next;
    if (!renders_the_same)
        site_refresh(h->site);
    return changed;
}

bool health_take_snapshot(struct health *h, const struct snapshot *snapshot, int64_t now_ns)
{
    snapshot_release(h->snapshot);
    h->snapshot = snapshot;
    bool changed = health_judge(h, now_ns);
    if (!changed)
        site_refresh(h->site);
    return changed;
}

void health_refresh(struct health *h)
{
    site_refresh(h->site);
}

void health_render(struct health *h, struct buf *out)
{
    struct render_input in;
    view(h, &in);
    render_health(&in, out);
}

void health_describe(const struct health *h, char *out, int out_size)
{
    if (h->verdict.reason == REASON_NONE) {
        snprintf(out, (size_t)out_size, "%s", health_status_name(h->verdict.status));
    } else {
        snprintf(out, (size_t)out_size, "%s: %s: %s", health_status_name(h->verdict.status), h->verdict.check,
                 reason_name(h->verdict.reason));
    }
}
