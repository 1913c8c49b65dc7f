/* Judges the published snapshots by the truth of the simulated world. Each invariant has the name that
 * tests/sim/wrong/ uses. Owns the record of what was seen. */
#include "tests/sim/oracle.h"

#include "cgi/answer/verdict.h"
#include "tests/sim/descriptors.h"
#include "tests/sim/net.h"
#include "tests/sim/plan.h"
#include "tests/sim/pq.h"
#include "tests/sim/threads.h"
#include "tests/sim/timeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A snapshot may be this much older than its time says: the program reads the clock before it acts. */
#define READ_NS (20 * NS_PER_MS)

/* The greatest age of a count without faults, before what HEALTH_MAX_LOAD adds. */
static const struct bound count_age = {.every = 1,
                                       .interval = 2,
                                       .query_timeout = 1,
                                       .connect_timeout = 1,
                                       .check_time = 2,
                                       .round_trip = 40,
                                       .ms = 5000};
static const struct bound first_answer = {
    .connect_timeout = 2, .interval = 1, .check_time = 1, .round_trip = 40, .ms = 1000};

int64_t oracle_moments, oracle_healthy;

static struct snapshot_slot *watched;
static struct verdict last;
static size_t first_fault; /* the faults before it are over, and explain nothing any more */
static int64_t judged_starts[SERVER_CHECKS_MAX];
static int64_t judged_crashes;
static int64_t count_bounds_ns[SERVER_CHECKS_MAX];
static int64_t allowed_age_ns; /* of the server's last answer under a 200 */

static double seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

static bool is_excused(const struct fault *f, int64_t now_ns)
{
    return f->begin_ns <= now_ns && now_ns <= f->end_ns + f->cleared_ns;
}

static bool has_word(const char *words, const char *word)
{
    char padded[40];
    snprintf(padded, sizeof padded, " %s ", word);
    return strstr(words, padded) != NULL;
}

static void forget_old_faults(int64_t now_ns)
{
    while (first_fault < plan.fault_count &&
           now_ns > plan.faults[first_fault].end_ns + plan.faults[first_fault].cleared_ns + 1)
        first_fault++;
}

/* Finds a 200 although the program should have noticed a fault. */
static void judge_healthy(int64_t now_ns)
{
    for (size_t i = first_fault; i < plan.fault_count && plan.faults[i].begin_ns <= now_ns; i++) {
        const struct fault *f = &plan.faults[i];
        if (f->noticed_ns != CLOCK_NEVER && now_ns - f->begin_ns > f->noticed_ns && now_ns < f->end_ns)
            timeline_violation("noticed", "200 although '%s' began %.3f s ago, bound %.3f s",
                               fault_rows[f->kind].name, seconds(now_ns - f->begin_ns),
                               seconds(f->noticed_ns));
    }
    int64_t age_ns = now_ns - pq_last_answer_sent_ns;
    if (age_ns > allowed_age_ns + READ_NS)
        timeline_violation("stale", "200 although the server's last answer is %.3f s old", seconds(age_ns));
}

/* Finds a fault that explains why this check (-1: the database) fails with this reason. NULL: none does. */
static const struct fault *find_excuse(int check, const char *reason, int64_t now_ns)
{
    for (size_t i = first_fault; i < plan.fault_count && plan.faults[i].begin_ns <= now_ns; i++) {
        const struct fault *f = &plan.faults[i];
        const struct promise *promise = &fault_rows[f->kind].promise;
        /* Until HEALTH_FALL is reached, or each address was tried, the old snapshot may become stale. */
        bool is_stale = (plan.config.fall > 1 || net.address_count > 1) && strcmp(reason, "stale") == 0;
        if (promise->may_fail && is_excused(f, now_ns) && (is_stale || has_word(promise->reasons, reason)) &&
            (faults_is_of_check(f->kind) ? f->check : -1) == check)
            return f;
    }
    return NULL;
}

/* When the first fault began that may fail this check now: each failure counts, whatever its reason. */
static int64_t first_begin_ns(int check, int64_t now_ns)
{
    for (size_t i = first_fault; i < plan.fault_count && plan.faults[i].begin_ns <= now_ns; i++) {
        const struct fault *f = &plan.faults[i];
        if (fault_rows[f->kind].promise.may_fail && is_excused(f, now_ns) &&
            (faults_is_of_check(f->kind) ? f->check : -1) == check)
            return f->begin_ns;
    }
    return now_ns;
}

static int number_of(const char *name)
{
    int number = 0;
    if (strncmp(name, "check_", 6) != 0)
        return -1;
    for (name += 6; *name != '\0'; name++)
        number = number * 10 + *name - '0';
    return number;
}

static void judge_failing(const struct verdict *v, int64_t now_ns)
{
    const char *reason = reason_name(v->reason);
    int check = number_of(v->check);

    if (v->status == HEALTH_STARTING && now_ns - TIMELINE_BEGIN_NS < plan_bound_ns(&first_answer, -1))
        return;
    const struct fault *excuse = find_excuse(check, reason, now_ns);
    if (excuse == NULL)
        timeline_violation(check >= 0 ? "blame" : "alarm", "503 '%s: %s' although no fault explains it",
                           v->check, reason);
    if (check >= 0 && plan.checks[check].warn)
        timeline_violation("warn", "503 for %s, which is only a warning", v->check);
    int64_t least_ns = (plan_fall(check) - 1) * plan.config.interval_ms * NS_PER_MS * 9 / 10;
    int64_t began_ns = first_begin_ns(check, now_ns);
    if (faults_limits()->fall_damps && last.status == HEALTH_HEALTHY && v->reason != REASON_STALE &&
        now_ns - began_ns < least_ns)
        timeline_violation("fall", "503 '%s: %s' %.3f s after its begin, with a fall of %" PRId64, v->check,
                           reason, seconds(now_ns - began_ns), plan_fall(check));
}

/* Judges the reason of the database and of each check, whatever the status is. */
static void judge_blame(const struct snapshot *s, int64_t now_ns)
{
    if (s->database.reason != REASON_NONE && find_excuse(-1, reason_name(s->database.reason), now_ns) == NULL)
        timeline_violation("blame", "the database is blamed for '%s'", reason_name(s->database.reason));
    for (size_t i = 0; i < s->check_count; i++) {
        const struct check_result *c = &s->checks[i];
        if (c->reason != REASON_NONE &&
            find_excuse(number_of(c->name), reason_name(c->reason), now_ns) == NULL)
            timeline_violation("blame", "%s is blamed for '%s'", c->name, reason_name(c->reason));
    }
}

/* The value of a count is the time when the server counted. */
static void judge_counts(const struct snapshot *s, int64_t now_ns)
{
    for (size_t i = 0; i < s->check_count; i++) {
        int number = number_of(s->checks[i].name);
        int64_t age_ns = now_ns - s->checks[i].value * NS_PER_MS;
        int64_t load_ns = s->checks[i].duration_us * NS_PER_US * PLAN_LOAD_INVERSE * 11 / 10;
        int64_t bound_ns = count_bounds_ns[number] + load_ns;
        if (s->checks[i].has_value && s->checks[i].reason == REASON_NONE && age_ns > bound_ns)
            timeline_violation("counts", "the count of %s is %.3f s old, bound %.3f s", s->checks[i].name,
                               seconds(age_ns), seconds(bound_ns));
    }
}

/* The snapshot is not newer than the server's last answer. */
static void judge_time(const struct snapshot *s)
{
    if (!s->starting && s->taken_ns > pq_last_answer_sent_ns + READ_NS)
        timeline_violation("time", "the snapshot says %.3f s, the last answer is of %.3f s",
                           seconds(s->taken_ns - TIMELINE_BEGIN_NS),
                           seconds(pq_last_answer_sent_ns - TIMELINE_BEGIN_NS));
}

static void judge_load(void)
{
    const struct limits *limits = faults_limits();
    for (int i = 0; i < plan.check_count; i++) {
        const struct server_check *c = &server.checks[i];
        if (limits->orphans > 0 && server_orphans(i) > limits->orphans)
            timeline_violation("orphans", "%d orphans work on check_%d", server_orphans(i), i);
        if (c->starts == judged_starts[i])
            continue;
        judged_starts[i] = c->starts;
        int64_t distance = c->failed_before ? limits->failed_load_distance : limits->load_distance;
        if (c->distance_ns < distance * c->took_before_ns)
            timeline_violation("load", "check_%d took %.3f s and was asked again %.3f s later", i,
                               seconds(c->took_before_ns), seconds(c->distance_ns));
    }
    if (server.crashes != judged_crashes) {
        judged_crashes = server.crashes;
        int recent = 0;
        for (size_t i = 0; i < plan.fault_count; i++)
            recent += plan.faults[i].kind == FAULT_RECOVERY &&
                      timeline_now_ns - plan.faults[i].begin_ns < 600 * NS_PER_S;
        if (limits->crashes_in_10_minutes > 0 && recent > limits->crashes_in_10_minutes)
            timeline_violation("crashes", "a check crashed the server %d times within 10 minutes", recent);
    }
}

static struct verdict ask(const struct snapshot *s)
{
    const struct process_facts process = {.checks_error = ""};
    return verdict_judge(s, &process, NULL, timeline_now_ns, plan.config.stale_after_ms * NS_PER_MS);
}

static void judge(void)
{
    const struct snapshot *s = snapshot_acquire(watched);
    int64_t now_ns = timeline_now_ns;
    struct verdict v = ask(s);

    forget_old_faults(now_ns);
    bool is_quiet = (first_fault == plan.fault_count || plan.faults[first_fault].begin_ns > now_ns) &&
                    now_ns - TIMELINE_BEGIN_NS > 20 * NS_PER_S;
    if (timeline_record != RECORD_NOTHING && !verdict_equal(&v, &last)) {
        char text[128];
        verdict_describe(&v, text, sizeof text);
        timeline_note("ANSWER: %s", text);
    }
    if (v.status == HEALTH_HEALTHY)
        judge_healthy(now_ns);
    else
        judge_failing(&v, now_ns);
    judge_blame(s, now_ns);
    judge_time(s);
    if (is_quiet && v.status == HEALTH_HEALTHY)
        judge_counts(s, now_ns);
    last = v;
    oracle_moments++;
    oracle_healthy += v.status == HEALTH_HEALTHY;
    snapshot_release(s);
}

/* Finds a session for whose end somebody waits, long after a refused login should have shown that. */
static void judge_leaving(void)
{
    int64_t to_leave_ns = plan_bound_ns(
        &(struct bound){.query_timeout = 1, .connect_timeout = 1, .round_trip = 20, .ms = 1000}, -1);
    for (size_t i = first_fault; i < plan.fault_count && plan.faults[i].begin_ns <= timeline_now_ns; i++) {
        const struct fault *f = &plan.faults[i];
        bool is_unwanted = f->kind == FAULT_SHUTDOWN || f->kind == FAULT_SOFT_STOP || f->kind == FAULT_REJECT;
        int64_t age_ns = timeline_now_ns - f->begin_ns;
        if (is_unwanted && age_ns > f->noticed_ns + to_leave_ns && timeline_now_ns < f->end_ns &&
            server_clients() > 0)
            timeline_violation("leaving", "'%s' began %.3f s ago, and a session is still open",
                               fault_rows[f->kind].name, seconds(age_ns));
    }
}

static void judge_moment(void)
{
    if (pq_open_connections > faults_limits()->sessions)
        timeline_violation("sessions", "%d connections are open at a time", pq_open_connections);
    judge_load();
    judge_leaving();
    judge();
}

static void set_bounds(void)
{
    for (int i = 0; i < plan.check_count; i++)
        count_bounds_ns[i] = plan_bound_ns(&count_age, i);
    allowed_age_ns = plan.config.stale_after_ms * NS_PER_MS;
}

void oracle_begin(struct snapshot_slot *slot)
{
    set_bounds();
    watched = slot;
    descriptors_watched = snapshot_slot_event_fd(slot);
    descriptors_on_watched = judge;
    threads_on_moment = judge_moment;
}

static void rest(void)
{
}

void oracle_stop(void)
{
    descriptors_watched = -1;
    threads_on_moment = rest;
}

void oracle_end(void)
{
    if (pq_open_connections != 0)
        timeline_violation("once", "%d connections were never finished", pq_open_connections);
    if (pq_live_results != 0)
        timeline_violation("once", "%d results were never cleared", pq_live_results);
}
