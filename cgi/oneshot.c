/* Answers once from a probe of its own. Main thread, no other. */
#include "cgi/oneshot.h"

#include "cgi/answer/health.h"
#include "cgi/probe/prober.h"
#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>

static struct request request_of_environment(void)
{
    return (struct request){
        .method = getenv("REQUEST_METHOD"),
        .path_info = getenv("PATH_INFO"),
        .script_name = getenv("SCRIPT_NAME"),
        .query = getenv("QUERY_STRING"),
    };
}

/* Probes, if asked to, and judges. False: no descriptor is left. */
static bool prepare(struct health *h, const struct config *config, const struct checks *checks, bool probe)
{
    int64_t started_ns = clock_now_ns();
    struct snapshot_slot *slot = snapshot_slot_new();
    if (slot == NULL)
        return false;
    if (probe)
        prober_run_once(config, checks, slot);
    health_init(h, config, snapshot_acquire(slot), started_ns);
    /* Not health_judge: one answer is no change, and nothing to log. */
    h->verdict = verdict_judge(h->snapshot, &h->process, clock_now_ns(), config->stale_after_ms * NS_PER_MS);
    health_refresh(h);
    snapshot_slot_free(slot);
    return true;
}

static int print(const char *bytes, size_t len)
{
    bool written = fwrite(bytes, 1, len, stdout) == len && fflush(stdout) == 0;
    return written ? 0 : 1;
}

static int print_answer(struct health *h, const struct request *request)
{
    struct response response = route_answer(h->site, request);
    return print(response.bytes, response.len);
}

int oneshot_cgi(const struct config *config, const struct checks *checks)
{
    const struct request request = request_of_environment();
    struct health h;

    if (!prepare(&h, config, checks, route_needs_snapshot(&request)))
        return 1;
    int exit_code = print_answer(&h, &request);
    health_free(&h);
    return exit_code;
}

void oneshot_cgi_unconfigured(void)
{
    static const struct config config = {.interval_ms = MS_PER_S}; /* for Retry-After */
    const struct request request = request_of_environment();
    struct health h;

    health_init(&h, &config, snapshot_new(0), clock_now_ns());
    h.verdict = verdict_of_process(REASON_INTERNAL);
    health_refresh(&h);
    (void)print_answer(&h, &request);
    health_free(&h);
}

int oneshot_print(const struct config *config, const struct checks *checks)
{
    struct health h;
    struct buf document = {0};

    if (!prepare(&h, config, checks, true))
        return 1;
    health_render(&h, &document);
    int exit_code = print(document.data, document.len);
    if (h.verdict.status != HEALTH_HEALTHY)
        exit_code = 1;
    buf_free(&document);
    health_free(&h);
    return exit_code;
}
