/* Answers once from a probe of its own. Main thread, no other. */
#include "cgi/oneshot.h"

#include "cgi/prober.h"
#include "cgi/route.h"
#include "common/clock.h"
#include "common/version.h"

#include <stdio.h>
#include <stdlib.h>

struct oneshot {
    const struct config *config;
    const struct snapshot *snapshot;
    struct verdict verdict;
    struct transitions transitions;
    struct process_usage usage;
    int64_t started_ns;
};

static void view(void *context, struct render_input *out)
{
    const struct oneshot *o = context;
    *out = (struct render_input){
        .snapshot = o->snapshot,
        .verdict = &o->verdict,
        .version = HEALTH_VERSION,
        .now_ns = clock_now_ns(),
        .started_ns = o->started_ns,
        .config = o->config,
        .transitions = &o->transitions,
        .usage = &o->usage,
        .checks_error = "",
    };
}

static struct site *new_site(struct oneshot *o)
{
    int64_t retry_after_s = (o->config->interval_ms + MS_PER_S - 1) / MS_PER_S;
    struct site *site = site_new(view, o, (int)retry_after_s);
    site_refresh(site);
    return site;
}

static struct request request_of_environment(void)
{
    return (struct request){
        .method = getenv("REQUEST_METHOD"),
        .path_info = getenv("PATH_INFO"),
        .script_name = getenv("SCRIPT_NAME"),
        .query = getenv("QUERY_STRING"),
    };
}

/* False: no descriptor is left. */
static bool prepare(struct oneshot *o, const struct config *config, const struct checks *checks, bool probe)
{
    const struct process_state process = {0};
    struct snapshot_slot *slot = snapshot_slot_new();
    if (slot == NULL) {
        return false;
    }
    *o = (struct oneshot){.config = config, .started_ns = clock_now_ns()};
    process_usage_read(&o->usage);
    if (probe) {
        prober_run_once(config, checks, slot);
    }
    o->snapshot = snapshot_acquire(slot);
    o->verdict = verdict_judge(o->snapshot, &process, clock_now_ns(), config->stale_after_ms * NS_PER_MS);
    snapshot_slot_free(slot);
    return true;
}

static int print(const char *bytes, size_t len)
{
    bool written = fwrite(bytes, 1, len, stdout) == len && fflush(stdout) == 0;
    return written ? 0 : 1;
}

int oneshot_cgi(const struct config *config, const struct checks *checks)
{
    const struct request request = request_of_environment();
    struct oneshot o;

    if (!prepare(&o, config, checks, route_needs_snapshot(&request))) {
        return 1;
    }
    struct site *site = new_site(&o);
    struct response response = route_answer(site, &request);
    int exit_code = print(response.bytes, response.len);
    site_free(site);
    snapshot_release(o.snapshot);
    return exit_code;
}

void oneshot_cgi_unconfigured(void)
{
    static const struct config config = {0};
    const struct request request = request_of_environment();
    struct oneshot o = {.config = &config, .started_ns = clock_now_ns()};

    o.verdict = verdict_of_process(REASON_INTERNAL);
    o.snapshot = snapshot_new(0);
    struct site *site = new_site(&o);
    struct response response = route_answer(site, &request);
    (void)print(response.bytes, response.len);
    site_free(site);
    snapshot_release(o.snapshot);
}

int oneshot_print(const struct config *config, const struct checks *checks)
{
    struct oneshot o;
    struct render_input in;
    struct buf document = {0};

    if (!prepare(&o, config, checks, true)) {
        return 1;
    }
    view(&o, &in);
    render_health(&in, &document);
    int exit_code = print(document.data, document.len);
    if (o.verdict.status != HEALTH_HEALTHY) {
        exit_code = 1;
    }
    buf_free(&document);
    snapshot_release(o.snapshot);
    return exit_code;
}
