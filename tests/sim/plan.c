/* Makes the plan of a run from its seed, with weighted random numbers. Owns the plan. */
#include "tests/sim/plan.h"

#include "tests/sim/net.h"
#include "tests/sim/resolver.h"
#include "tests/sim/rng.h"
#include "tests/sim/timeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_FORMAT     "check_%d"
#define CHECK_MAX       INT64_C(1000000000000000)
#define OVERLAP_NS      (10 * NS_PER_S)
#define ENVIRONMENT_MAX 16

struct plan plan;

static struct rng dice;
static char environment[ENVIRONMENT_MAX][64];
static int environment_count;

static int64_t pick(const int64_t *values, size_t count)
{
    return values[rng_below(&dice, (int64_t)count)];
}
#define PICK(...)                                                                                            \
    pick((const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void set(const char *name, int64_t value, const char *unit)
{
    snprintf(environment[environment_count++], sizeof environment[0], "%s=%" PRId64 "%s", name, value, unit);
}

static void make_checks(int64_t query_timeout_ms)
{
    plan.check_count = (int)(rng_percent(&dice, 10) ? rng_between(&dice, 12, 40) : rng_between(&dice, 1, 8));
    for (int i = 0; i < plan.check_count; i++) {
        struct plan_check *c = &plan.checks[i];
        c->warn = rng_percent(&dice, 30);
        c->every_ms = rng_percent(&dice, 30) ? PICK(1000, 5000, 15000, 30000) : 0;
        c->timeout_ms = rng_percent(&dice, 20) ? PICK(300, 500, 1500) : 0;
        int64_t limit_ms = c->timeout_ms != 0 ? c->timeout_ms : query_timeout_ms;
        c->duration_ns = PICK(50, 100, 500, 2000, 10000, 45000) * NS_PER_US;
        if (plan.check_count > 8 && c->duration_ns > 2 * NS_PER_MS)
            c->duration_ns = 2 * NS_PER_MS;
        c->slow_ns = limit_ms * rng_between(&dice, 20, 60) / 100 * NS_PER_MS;
    }
}

/* Uses its own random numbers, so that the rest of a seed's plan is the same as before this was added. */
static void make_streaks(void)
{
    struct rng rest = dice;
    dice.state = plan.seed ^ 4;
    for (int i = 0; i < plan.check_count; i++) {
        plan.checks[i].fall = rng_percent(&dice, 25) ? PICK(1, 2, 3, 5) : 0;
        plan.checks[i].rise = rng_percent(&dice, 25) ? PICK(1, 2, 3) : 0;
    }
    dice = rest;
}

static int64_t check_time_ns(void)
{
    int64_t sum = 0, slowest = 0;
    for (int i = 0; i < plan.check_count; i++) {
        sum += plan.checks[i].duration_ns + 2 * (net.delay_ns + net.jitter_ns);
        slowest = plan.checks[i].slow_ns > slowest ? plan.checks[i].slow_ns : slowest;
    }
    return sum + slowest;
}

static void make_config(void)
{
    struct error err;
    char *vars[ENVIRONMENT_MAX + 1] = {NULL};
    int64_t interval_ms = PICK(500, 1000, 2000, 2000, 2000, 5000);
    int64_t connect_ms = PICK(1500, 1500, 2500);
    int64_t query_ms = PICK(500, 800, 800, 2000);
    int64_t fall = PICK(1, 1, 1, 2, 3, 5);

    environment_count = 0;
    make_checks(query_ms);
    make_streaks();
    set("HEALTH_INTERVAL", interval_ms, "ms");
    set("HEALTH_CONNECT_TIMEOUT", connect_ms, "ms");
    set("HEALTH_QUERY_TIMEOUT", query_ms, "ms");
    set("HEALTH_RECONNECT_EVERY", PICK(4000, 4000, 10000, 30000), "ms");
    set("HEALTH_FALL", fall, "");
    set("HEALTH_RISE", PICK(1, 1, 1, 2, 3), "");
    int64_t least_ms = interval_ms + connect_ms + query_ms;
    set("HEALTH_STALE_AFTER", least_ms + PICK(100, 1000, 4000), "ms");
    for (int i = 0; i < environment_count; i++)
        vars[i] = environment[i];
    if (!config_load(vars, 1024, 0, &plan.config, &err))
        timeline_violation("world", "%s", err.text);
}

static void make_world(uint64_t seed)
{
    net = (struct net){.rng.state = seed ^ 1};
    server = (struct server){.rng.state = seed ^ 2, .check_count = plan.check_count};
    resolver = (struct resolver){.takes_ns = 300 * NS_PER_US, .dead_ns = 5 * NS_PER_S};
    net.is_local = rng_percent(&dice, 20);
    net.delay_ns = (net.is_local ? 15 : PICK(50, 100, 250, 1000, 10000, 40000)) * NS_PER_US;
    net.jitter_ns = net.delay_ns / 5;
    net.address_count = net.is_local ? 1 : (int)PICK(1, 1, 2);
    setenv("PGHOST", net.is_local ? "/run/sim" : "db.sim", 1);
    server.login_steps = (int)rng_between(&dice, 0, 4);
    server.fork_ns = PICK(500, 2000) * NS_PER_US;
    server.login_ns = PICK(50, 500, 3000) * NS_PER_US;
    server.recovery_ns = PICK(200, 2000, 8000) * NS_PER_MS;
    for (int i = 0; i < plan.check_count; i++) {
        server.checks[i].duration_ns = plan.checks[i].duration_ns;
        server.checks[i].slow_ns = plan.checks[i].slow_ns;
    }
}

int64_t plan_bound_ns(const struct bound *b, int check)
{
    const struct config *c = &plan.config;
    int64_t query_ms = c->query_timeout_ms;
    int64_t every_ms = 0, longest_ns = 0;

    for (int i = 0; i < plan.check_count; i++) {
        query_ms = plan.checks[i].timeout_ms > query_ms ? plan.checks[i].timeout_ms : query_ms;
        longest_ns = plan.checks[i].slow_ns > longest_ns ? plan.checks[i].slow_ns : longest_ns;
    }
    longest_ns += c->hung_after_ms * NS_PER_MS / 2; /* the program takes a shorter silence for work */
    if (check >= 0)
        every_ms = plan.checks[check].every_ms;
    int64_t ms =
        b->interval * c->interval_ms + b->connect_timeout * c->connect_timeout_ms * net.address_count +
        b->query_timeout * query_ms + b->reconnect_every * c->reconnect_every_ms +
        b->heartbeat * c->heartbeat_ms + b->hung_after * c->hung_after_ms + b->every * every_ms + b->ms;
    return ms * NS_PER_MS + b->check_time * check_time_ns() + b->load * longest_ns * PLAN_LOAD_INVERSE +
           b->round_trip * 2 * (net.delay_ns + net.jitter_ns);
}

int64_t plan_fall(int check)
{
    return check >= 0 && plan.checks[check].fall != 0 ? plan.checks[check].fall : plan.config.fall;
}

int64_t plan_rise(int check)
{
    return check >= 0 && plan.checks[check].rise != 0 ? plan.checks[check].rise : plan.config.rise;
}

int64_t plan_repeat_ns(int64_t times)
{
    const struct bound one = {
        .interval = 1, .connect_timeout = 1, .query_timeout = 1, .check_time = 1, .ms = 2700};
    return (times - 1) * plan_bound_ns(&one, -1);
}

/* True: an earlier fault may have delayed an answer. The program asks a check that took long again late. */
static bool is_soon_after_another(const struct fault *f)
{
    int64_t longest_ns = plan_bound_ns(&(struct bound){.load = 1}, -1);
    for (size_t i = 0; i < plan.fault_count; i++) {
        const struct fault *before = &plan.faults[i];
        bool of_another_check = faults_is_of_check(before->kind) && before->check != f->check;
        if (!of_another_check && f->begin_ns < before->end_ns + before->cleared_ns + longest_ns * 11 / 10)
            return true;
    }
    return false;
}

static int64_t noticed_ns(const struct fault *f, struct bound bound, int check)
{
    int64_t load_ns = 0;
    /* The distance between two failures doubles each time. */
    bool backs_off = f->kind == FAULT_CHECK_STUBBORN || f->kind == FAULT_CHECK_CRASHES;
    if (check >= 0 && !(backs_off && plan_fall(check) > 1) && !is_soon_after_another(f)) {
        bound.load = 0;
        load_ns = plan.checks[check].duration_ns * PLAN_LOAD_INVERSE * 11 / 10;
    }
    int64_t database_ns = f->kind == FAULT_CHECK_CRASHES ? plan_repeat_ns(plan.config.fall) : 0;
    if (f->kind == FAULT_REJECT) /* logins are rare then, because too many may lock an account */
        database_ns = (plan.config.fall - 1) * 11500 * NS_PER_MS;
    return plan_bound_ns(&bound, check) + load_ns + plan_repeat_ns(plan_fall(check)) + database_ns;
}

static void set_bounds(struct fault *f)
{
    const struct promise *promise = &fault_rows[f->kind].promise;
    int check = faults_is_of_check(f->kind) ? f->check : -1;
    bool warn = check >= 0 && plan.checks[check].warn;

    f->noticed_ns = CLOCK_NEVER;
    bool is_far_apart = f->kind == FAULT_CHECK_CRASHES && plan_fall(check) > 1; /* the distance doubles */
    if (promise->must_fail && !warn && !is_far_apart)
        f->noticed_ns = noticed_ns(f, promise->noticed, check);
    f->cleared_ns = plan_bound_ns(&promise->cleared, check) + plan_repeat_ns(plan_rise(check));
    /* Logins have their own row of successes, and the next login comes only then. */
    f->cleared_ns += (plan_rise(check) - 1) * plan.config.reconnect_every_ms * NS_PER_MS;
    if (promise->is_brief)
        f->cleared_ns -= f->end_ns - f->begin_ns;
}

/* When the fault and its excuse are both over: a brief excuse may end before the fault. */
static int64_t is_over_ns(const struct fault *f)
{
    return f->end_ns + (f->cleared_ns > 0 ? f->cleared_ns : 0);
}

static int64_t reach_ns(const struct fault *f)
{
    bool ends_sessions =
        f->kind == FAULT_RESET || f->kind == FAULT_TERMINATE_SESSION || f->kind == FAULT_LOST_SYN;
    int64_t login_ns = ends_sessions ? plan_bound_ns(&(struct bound){.connect_timeout = 1}, -1) : 0;
    return (f->noticed_ns == CLOCK_NEVER ? 0 : f->noticed_ns) + is_over_ns(f) - f->begin_ns + login_ns;
}

/* Extends the bounds of faults that overlap: each may delay when the other one is noticed and cleared. */
static void stretch_overlaps(void)
{
    int64_t more[PLAN_FAULTS_MAX] = {0};
    for (size_t i = 0; i < plan.fault_count; i++) {
        const struct fault *a = &plan.faults[i];
        for (size_t k = 0; k < plan.fault_count; k++) {
            const struct fault *b = &plan.faults[k];
            if (k != i && a->begin_ns < is_over_ns(b) + OVERLAP_NS &&
                b->begin_ns < is_over_ns(a) + OVERLAP_NS)
                more[i] += reach_ns(b);
        }
    }
    for (size_t i = 0; i < plan.fault_count; i++) {
        plan.faults[i].noticed_ns += plan.faults[i].noticed_ns == CLOCK_NEVER ? 0 : more[i];
        plan.faults[i].cleared_ns += more[i];
    }
}

static bool is_possible(enum fault_kind kind)
{
    bool of_network = kind == FAULT_SILENCE || kind == FAULT_LOST_PACKET || kind == FAULT_LOST_SYN ||
                      kind == FAULT_RESOLVER_DEAD || kind == FAULT_RESOLVER_SLOW;
    if (fault_rows[kind].promise.off != NULL || (of_network && net.is_local))
        return false;
    return kind != FAULT_SILENT_ADDRESS || net.address_count > 1;
}

static enum fault_kind pick_kind(void)
{
    int64_t total = 0, drawn;
    int kind = 0;
    for (int i = 0; i < FAULT_COUNT; i++)
        total += is_possible((enum fault_kind)i) ? fault_rows[i].weight : 0;
    for (drawn = rng_below(&dice, total);; kind++) {
        int weight = is_possible((enum fault_kind)kind) ? fault_rows[kind].weight : 0;
        if (drawn < weight)
            return (enum fault_kind)kind;
        drawn -= weight;
    }
}

/* Picks on a logarithmic scale, so that short durations are as likely as long ones. */
static int64_t pick_duration_ns(const struct fault_row *row)
{
    int64_t high = row->longest_ms;
    for (int64_t halvings = rng_below(&dice, 6); halvings > 0 && high / 2 > row->shortest_ms; halvings--)
        high /= 2;
    return rng_between(&dice, row->shortest_ms, high) * NS_PER_MS;
}

/* While such a check holds the session and the newcomer's SYN is lost, the program cannot find out within the
 * bound who is silent. */
static bool holds_session(enum fault_kind kind)
{
    return faults_is_of_check(kind) || kind == FAULT_FREEZE_SESSION;
}

static bool is_too_much(enum fault_kind a, enum fault_kind b)
{
    bool a_is_loss = a == FAULT_LOST_SYN || a == FAULT_LOST_PACKET;
    bool b_is_loss = b == FAULT_LOST_SYN || b == FAULT_LOST_PACKET;
    return (a_is_loss && holds_session(b)) || (b_is_loss && holds_session(a));
}

/* True: a fault of the same kind or check is planned for this time; two at once would be one. */
static bool is_taken(enum fault_kind kind, int check, int64_t begin_ns)
{
    for (size_t i = 0; i < plan.fault_count; i++) {
        const struct fault *f = &plan.faults[i];
        bool same_check = faults_is_of_check(kind) && faults_is_of_check(f->kind) && f->check == check;
        /* A lost SYN takes effect only at the next login. */
        int64_t login_ns = (plan.config.reconnect_every_ms + 1000) * NS_PER_MS;
        int64_t apart_ns = kind == FAULT_LOST_SYN ? login_ns : NS_PER_S;
        if ((f->kind == kind || same_check) && begin_ns <= f->end_ns + apart_ns)
            return true;
        if (is_too_much(kind, f->kind) && begin_ns <= f->end_ns + 20 * NS_PER_S + login_ns)
            return true;
    }
    return false;
}

static void make_faults(void)
{
    int64_t begin_ns = TIMELINE_BEGIN_NS + 20 * NS_PER_S, last_end_ns = begin_ns;

    plan.end_ns = TIMELINE_BEGIN_NS + rng_between(&dice, 200, 1200) * NS_PER_S;
    while (begin_ns < plan.end_ns - 30 * NS_PER_S && plan.fault_count < PLAN_FAULTS_MAX / 2) {
        struct fault f = {
            .kind = pick_kind(), .begin_ns = begin_ns, .check = (int)rng_below(&dice, plan.check_count)};
        f.end_ns = f.begin_ns + pick_duration_ns(&fault_rows[f.kind]);
        set_bounds(&f);
        if (!is_taken(f.kind, f.check, f.begin_ns)) {
            plan.faults[plan.fault_count++] = f;
            last_end_ns = is_over_ns(&f) > last_end_ns ? is_over_ns(&f) : last_end_ns;
        }
        begin_ns = rng_percent(&dice, 25) ? begin_ns + rng_below(&dice, 5000) * NS_PER_MS
                                          : last_end_ns + rng_between(&dice, 10000, 40000) * NS_PER_MS;
    }
    stretch_overlaps();
}

/* How long the program itself does not run soon after that. */
static int64_t stalls_after_ns(int64_t begin_ns)
{
    int64_t sum_ns = 0;
    for (size_t i = 0; i < plan.fault_count; i++) {
        const struct fault *f = &plan.faults[i];
        bool is_stall = f->kind == FAULT_STALL || f->kind == FAULT_STALL_AT_CLOCK || f->kind == FAULT_SUSPEND;
        if (is_stall && f->end_ns > begin_ns && f->begin_ns < begin_ns + 60 * NS_PER_S)
            sum_ns += f->end_ns - f->begin_ns;
    }
    return sum_ns;
}

void plan_add_fault(enum fault_kind kind, int check, int64_t duration_ns)
{
    if (plan.fault_count == PLAN_FAULTS_MAX)
        timeline_violation("world", "more than %d faults", PLAN_FAULTS_MAX);
    struct fault f = {
        .kind = kind, .begin_ns = timeline_now_ns, .end_ns = timeline_now_ns + duration_ns, .check = check};
    set_bounds(&f);
    f.cleared_ns += stalls_after_ns(f.begin_ns);
    size_t at = plan.fault_count++;
    for (; at > 0 && plan.faults[at - 1].begin_ns > f.begin_ns; at--)
        plan.faults[at] = plan.faults[at - 1];
    plan.faults[at] = f;
}

void plan_make(uint64_t seed)
{
    plan = (struct plan){.seed = seed};
    dice.state = seed * UINT64_C(0xD1342543DE82EF95) + 1;
    make_config();
    make_world(seed);
    make_faults();
}

void plan_parse_checks(struct checks *out)
{
    static char text[SERVER_CHECKS_MAX * 256];
    struct error err;
    int len = 0;
    for (int i = 0; i < plan.check_count; i++) {
        const struct plan_check *c = &plan.checks[i];
        size_t room = sizeof text - (size_t)len;
        len += snprintf(text + len, room, "-- check: " NAME_FORMAT "\n-- max: %" PRId64 "\n", i, CHECK_MAX);
        room = sizeof text - (size_t)len;
        if (c->every_ms != 0)
            len += snprintf(text + len, room, "-- every: %" PRId64 "ms\n", c->every_ms);
        room = sizeof text - (size_t)len;
        if (c->timeout_ms != 0)
            len += snprintf(text + len, room, "-- timeout: %" PRId64 "ms\n", c->timeout_ms);
        room = sizeof text - (size_t)len;
        if (c->fall != 0)
            len += snprintf(text + len, room, "-- fall: %" PRId64 "\n", c->fall);
        room = sizeof text - (size_t)len;
        if (c->rise != 0)
            len += snprintf(text + len, room, "-- rise: %" PRId64 "\n", c->rise);
        room = sizeof text - (size_t)len;
        len +=
            snprintf(text + len, room, "%s" QUERY_CHECK_SQL ";\n", c->warn ? "-- severity: warn\n" : "", i);
    }
    if (!checks_parse(text, (size_t)len, "simulated", out, &err))
        timeline_violation("world", "%s", err.text);
}

void plan_print(void)
{
    printf("seed %" PRIu64 ": PGHOST=%s", plan.seed, getenv("PGHOST"));
    for (int i = 0; i < environment_count; i++)
        printf(" %s", environment[i]);
    printf("\n  round trip %.2f ms, %d addresses, %d + 1 steps of login of %.2f ms, recovery %.1f s\n",
           (double)net.delay_ns / 5e5, net.address_count, server.login_steps, (double)server.login_ns / 1e6,
           (double)server.recovery_ns / 1e9);
    for (int i = 0; i < plan.check_count; i++) {
        const struct plan_check *c = &plan.checks[i];
        printf("  " NAME_FORMAT ": %.2f ms%s, every %" PRId64 " ms, timeout %" PRId64
               " ms, slow %.0f ms, fall %" PRId64 ", rise %" PRId64 "\n",
               i, (double)c->duration_ns / 1e6, c->warn ? ", warn" : "", c->every_ms, c->timeout_ms,
               (double)c->slow_ns / 1e6, plan_fall(i), plan_rise(i));
    }
    for (size_t i = 0; i < plan.fault_count; i++) {
        const struct fault *f = &plan.faults[i];
        char check[32] = "", noticed[32] = "harmless";
        if (faults_is_of_check(f->kind))
            snprintf(check, sizeof check, " (" NAME_FORMAT ")", f->check);
        if (f->noticed_ns != CLOCK_NEVER)
            snprintf(noticed, sizeof noticed, "noticed by %.3f",
                     (double)(f->begin_ns + f->noticed_ns - TIMELINE_BEGIN_NS) / 1e9);
        printf("  %10.3f to %10.3f  %s%s: %s, cleared by %.3f\n",
               (double)(f->begin_ns - TIMELINE_BEGIN_NS) / 1e9, (double)(f->end_ns - TIMELINE_BEGIN_NS) / 1e9,
               fault_rows[f->kind].name, check, noticed,
               (double)(f->end_ns + f->cleared_ns - TIMELINE_BEGIN_NS) / 1e9);
    }
}
