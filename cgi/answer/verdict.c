/* Judges the verdict and keeps the last transitions. Pure; main thread; owns nothing. */
#include "cgi/answer/verdict.h"

#include <stdio.h>
#include <string.h>

const char *health_status_name(enum health_status status)
{
    switch (status) {
    case HEALTH_STARTING: return "starting";
    case HEALTH_HEALTHY: return "healthy";
    case HEALTH_DEGRADED: return "degraded";
    case HEALTH_DRAINING: return "draining";
    }
    return "degraded";
}

static struct verdict make_verdict(enum health_status status, enum reason reason, const char *check)
{
    struct verdict v = {.status = status, .reason = reason};
    snprintf(v.check, sizeof v.check, "%s", check);
    return v;
}

bool verdict_check_counts(const struct snapshot *snapshot, const struct selection *selection, size_t i)
{
    const struct check_result *r = &snapshot->checks[i];
    return r->down && (selection != NULL ? selection->checks[i] : r->severity == CHECK_FAIL);
}

/* A check that a reload has added is not healthy before it was asked. It does not change the whole verdict,
 * because then each such reload would take the service down for a moment. */
static const struct check_result *find_unasked(const struct snapshot *s, const struct selection *selection)
{
    for (size_t i = 0; i < s->check_count && selection != NULL; i++)
        if (selection->checks[i] && s->checks[i].checked_ns == 0)
            return &s->checks[i];
    return NULL;
}

static struct verdict judge_snapshot(const struct snapshot *s, const struct selection *selection)
{
    if (s->database.down)
        return make_verdict(HEALTH_DEGRADED, s->database.down_reason, SNAPSHOT_DATABASE);
    for (size_t i = 0; i < s->check_count; i++)
        if (verdict_check_counts(s, selection, i))
            return make_verdict(HEALTH_DEGRADED, s->checks[i].down_reason, s->checks[i].name);
    const struct check_result *unasked = find_unasked(s, selection);
    if (unasked != NULL)
        return make_verdict(HEALTH_STARTING, REASON_STARTING, unasked->name);
    return make_verdict(HEALTH_HEALTHY, REASON_NONE, "");
}

static struct verdict judge(const struct snapshot *s, const struct process_facts *process,
                            const struct selection *selection, bool is_stale)
{
    /* A program that could not read its settings knows nothing about the rest. */
    bool process_counts = selection == NULL || selection->process || process->reason == REASON_INTERNAL;
    bool snapshot_counts = selection == NULL || selection->database;

    if (process->reason != REASON_NONE && process_counts)
        return make_verdict(process->reason == REASON_DRAINING ? HEALTH_DRAINING : HEALTH_DEGRADED,
                            process->reason, SELECTION_PROCESS);
    if (!snapshot_counts)
        return make_verdict(HEALTH_HEALTHY, REASON_NONE, "");
    if (is_stale)
        return make_verdict(HEALTH_DEGRADED, REASON_STALE, SNAPSHOT_DATABASE);
    if (s->starting)
        return make_verdict(HEALTH_STARTING, REASON_STARTING, SNAPSHOT_DATABASE);
    return judge_snapshot(s, selection);
}

struct verdict verdict_judge(const struct snapshot *snapshot, const struct process_facts *process,
                             const struct selection *selection, int64_t now_ns, int64_t stale_after_ns)
{
    /* A database that is down gives no answers: the prober vouches that its snapshot is still true. */
    bool is_vouched = snapshot->database.down && snapshot->vouched_ns > snapshot->taken_ns;
    bool is_stale = now_ns - (is_vouched ? snapshot->vouched_ns : snapshot->taken_ns) > stale_after_ns;
    struct verdict v = judge(snapshot, process, selection, is_stale);

    v.is_stale = is_stale;
    v.counts_known = !is_stale && !snapshot->starting && snapshot->database.reason == REASON_NONE;
    return v;
}

void verdict_describe(const struct verdict *v, char *out, size_t out_size)
{
    if (v->reason == REASON_NONE)
        snprintf(out, out_size, "%s", health_status_name(v->status));
    else
        snprintf(out, out_size, "%s: %s: %s", health_status_name(v->status), v->check,
                 reason_name(v->reason));
}

bool verdict_equal(const struct verdict *a, const struct verdict *b)
{
    return a->status == b->status && a->reason == b->reason && strcmp(a->check, b->check) == 0;
}

void transitions_add(struct transitions *list, const struct verdict *from, const struct verdict *to,
                     int64_t wall_ms)
{
    struct transition *t = &list->items[list->total % TRANSITIONS_MAX];
    *t =
        (struct transition){.wall_ms = wall_ms, .from = from->status, .to = to->status, .reason = to->reason};
    snprintf(t->check, sizeof t->check, "%s", to->check);
    list->total++;
    list->totals[to->status]++;
}

const struct transition *transitions_get(const struct transitions *list, size_t i)
{
    if (i >= TRANSITIONS_MAX || i >= list->total)
        return NULL;
    return &list->items[(list->total - 1 - i) % TRANSITIONS_MAX];
}
