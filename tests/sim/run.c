/* One run: starts the unmodified prober in the simulated world, and stops it when the plan ends. */
#include "tests/sim/run.h"

#include "cgi/probe/prober.h"
#include "common/log.h"
#include "tests/sim/descriptors.h"
#include "tests/sim/oracle.h"
#include "tests/sim/plan.h"
#include "tests/sim/server.h"
#include "tests/sim/threads.h"
#include "tests/sim/timeline.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void print_seed(void)
{
    printf("seed %" PRIu64 "\n", plan.seed);
}

static void nothing(void)
{
}

static void end_of_run(void *context, int64_t number)
{
    (void)context;
    (void)number;
}

struct run_result run(uint64_t seed)
{
    struct checks checks;
    struct error err;

    timeline_on_violation = print_seed;
    threads_on_moment = nothing;
    plan_make(seed);
    log_init(LOG_LEVEL_INFO);
    if (timeline_record != RECORD_NOTHING)
        plan_print();
    plan_parse_checks(&checks);
    struct snapshot_slot *slot = snapshot_slot_new();
    struct prober *prober = slot != NULL ? prober_start(&plan.config, &checks, slot, &err) : NULL;
    if (prober == NULL)
        timeline_violation("world", "the prober does not start");
    oracle_begin(slot);
    world_schedule(prober);
    timeline_at(plan.end_ns, end_of_run, NULL, 0);
    threads_wait(plan.end_ns, NULL, NULL);
    oracle_stop();
    if (!prober_stop(prober, 60 * MS_PER_S))
        timeline_violation("stop", "the prober does not end");
    threads_wait(timeline_now_ns + 10 * NS_PER_S, NULL, NULL); /* an abandoned lookup ends by itself */
    oracle_end();
    snapshot_slot_free(slot);
    if (descriptors_count() != 0)
        timeline_violation("leak", "%d descriptors are still open", descriptors_count());
    return (struct run_result){
        .virtual_ns = timeline_now_ns - TIMELINE_BEGIN_NS,
        .moments = oracle_moments,
        .healthy = oracle_healthy,
        .faults = (int64_t)plan.fault_count,
        .logins = server.logins,
        .queries = server.queries,
    };
}
