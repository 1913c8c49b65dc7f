/* Does each fault to the server, the network, the resolver or the program. */
#include "tests/sim/world.h"

#include "tests/sim/descriptors.h"
#include "tests/sim/plan.h"
#include "tests/sim/resolver.h"
#include "tests/sim/threads.h"
#include "tests/sim/timeline.h"

static struct fault scheduled[PLAN_FAULTS_MAX];
static struct prober *reloaded;

/* Several faults may change the door; the first one in the order of enum door decides. */
static void set_door(enum door door, bool begins)
{
    static int held[DOOR_NO_FORK + 1];
    held[door] += begins ? 1 : -1;
    server.door = DOOR_OPEN;
    for (int i = DOOR_NO_FORK; i > DOOR_OPEN; i--)
        if (held[i] > 0)
            server.door = (enum door)i;
    if (begins && (door == DOOR_ABSENT || door == DOOR_NOT_YET))
        server_terminate_all();
}

static void recovered(void *context, int64_t number)
{
    (void)context;
    (void)number;
    timeline_note("the server has recovered");
    server.recovering = false;
    server_go_on();
}

static void begin_recovery(int check)
{
    plan_add_fault(FAULT_RECOVERY, check, server.recovery_ns);
    timeline_at(timeline_now_ns + server.recovery_ns, recovered, NULL, 0);
}

static void set_check(const struct fault *f, bool begins)
{
    server.checks[f->check].behaviour =
        begins ? (enum behaviour)(CHECK_SLOW + (int)(f->kind - FAULT_CHECK_SLOW)) : CHECK_GOOD;
    if (!begins)
        server_release(f->check);
}

static void reload(void)
{
    struct checks checks;
    plan_parse_checks(&checks);
    prober_set_checks(reloaded, &checks);
}

static void change(const struct fault *f, bool begins)
{
    int step = begins ? 1 : -1;
    int64_t duration_ns = f->end_ns - f->begin_ns;

    switch (f->kind) {
    case FAULT_FREEZE_SERVER: server.frozen = begins; break;
    case FAULT_SILENCE: net.silent += step; break;
    case FAULT_FREEZE_POSTMASTER: server.postmaster_frozen = begins; break;
    case FAULT_STOP: set_door(DOOR_ABSENT, begins); break;
    case FAULT_RESTART: set_door(DOOR_NOT_YET, begins); break;
    case FAULT_SHUTDOWN: set_door(DOOR_CLOSES, begins); break;
    case FAULT_SOFT_STOP: set_door(DOOR_SHUT, begins); break;
    case FAULT_FULL: set_door(DOOR_FULL, begins); break;
    case FAULT_REJECT: set_door(DOOR_REJECTS, begins); break;
    case FAULT_NO_FORK: set_door(DOOR_NO_FORK, begins); break;
    case FAULT_SILENT_ADDRESS: net.silent_address[0] += step; break;
    case FAULT_FREEZE_SESSION: server_freeze_one(begins); break;
    case FAULT_RESOLVER_DEAD: resolver.dead += step; break;
    case FAULT_RESOLVER_SLOW: resolver.takes_ns += step * 1200 * NS_PER_MS; break;
    case FAULT_RECOVERY:
    case FAULT_COUNT: break;
    case FAULT_RESET: begins ? net_reset_all() : (void)0; break;
    case FAULT_LOST_PACKET: net.lose_next += begins; break;
    case FAULT_LOST_SYN: net.lose_next_syn += begins; break;
    case FAULT_TERMINATE_SESSION: begins ? server_terminate_one() : (void)0; break;
    case FAULT_STALL: begins ? threads_stall(duration_ns) : (void)0; break;
    case FAULT_STALL_AT_CLOCK: begins ? threads_stall_at_clock(duration_ns) : (void)0; break;
    case FAULT_SUSPEND: begins ? threads_suspend(duration_ns) : (void)0; break;
    case FAULT_WALL_JUMP: descriptors_wall_offset_ms -= begins ? 3600 * MS_PER_S : 0; break;
    case FAULT_RELOAD: begins ? reload() : (void)0; break;
    default: set_check(f, begins); break;
    }
    server_go_on();
}

static void begin_fault(void *context, int64_t number)
{
    const struct fault *f = context;
    (void)number;
    timeline_note("FAULT begins: %s, check_%d", fault_rows[f->kind].name, f->check);
    change(f, true);
}

static void end_fault(void *context, int64_t number)
{
    const struct fault *f = context;
    (void)number;
    timeline_note("FAULT ends: %s, check_%d", fault_rows[f->kind].name, f->check);
    change(f, false);
}

static void stop_time(void *context, int64_t number)
{
    (void)context;
    (void)number;
}

void world_schedule(struct prober *prober)
{
    reloaded = prober;
    server_on_crash = begin_recovery;
    for (size_t i = 0; i < plan.fault_count; i++) {
        struct fault *f = &scheduled[i];
        *f = plan.faults[i];
        timeline_at(f->begin_ns, begin_fault, f, 0);
        timeline_at(f->end_ns, end_fault, f, 0);
        /* From these times on the oracle judges differently. */
        if (f->noticed_ns != CLOCK_NEVER)
            timeline_at(f->begin_ns + f->noticed_ns + 1, stop_time, NULL, 0);
        timeline_at(f->end_ns + f->cleared_ns + 1, stop_time, NULL, 0);
    }
}
