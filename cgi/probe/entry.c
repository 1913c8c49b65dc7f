/* Books the answers of one check, and sets when it is due. Prober thread. */
#include "cgi/probe/entry.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

/* A check that backs off is asked at least this often. */
#define DISTANCE_MAX_NS (600 * NS_PER_S)

/* How often to ask whether an orphan is still working, and after how long the orphan counts as
 * stuck. Until then its process may merely have been delayed. */
#define LOOK_NS  (2 * NS_PER_S)
#define STUCK_NS (6 * NS_PER_S)

/* How many overruns and losses in a row a check is forgiven: one server process may be stuck, a network may
 * reset a connection, and an operator may end sessions. */
#define OVERRUNS_FORGIVEN         1
#define LOSSES_FORGIVEN           1
#define ANNOUNCED_LOSSES_FORGIVEN 3

/* A check that takes at least this long is not asked at once after an outage, and the status does not wait
 * for its count. */
#define SLOW_NS NS_PER_S

/* A failing check rests for at least this many times its duration. */
#define FAILING_DISTANCE 4

static int64_t interval_ns(const struct config *config)
{
    return config->interval_ms * NS_PER_MS;
}

void entry_set_check(struct entry *e, const struct check *check)
{
    e->is_asked = false;
    snprintf(e->result.name, sizeof e->result.name, "%s", check->name);
    e->result.severity = check->severity;
    if (e->every_ns != check->every_ms * NS_PER_MS)
        e->due_ns = 0;
    e->every_ns = check->every_ms * NS_PER_MS;
    e->fall = check->fall;
    e->rise = check->rise;
}

bool entry_is_quick(const struct entry *e, const struct config *config)
{
    return e->result.checked_ns != 0 && e->distance_ns == 0 && e->took_ns < config_heartbeat_ns(config) / 2;
}

static bool is_slow(const struct entry *e)
{
    return e->result.checked_ns != 0 && e->took_ns >= SLOW_NS;
}

bool entry_is_awaited(const struct entry *e)
{
    bool is_asked_soon = (e->distance_ns == 0 && !is_slow(e)) || e->is_suspect;
    return is_asked_soon && !e->result.has_value && e->result.reason == REASON_NONE;
}

bool entry_note_lost(struct entry *e, const struct answer *answer, int64_t backend_pid)
{
    e->is_asked = false;
    e->orphan_pid = backend_pid;
    if (answer->reason == REASON_QUERY_TIMEOUT)
        return ++e->overruns > OVERRUNS_FORGIVEN || (!e->result.has_value && e->result.reason == REASON_NONE);
    bool is_announced = strncmp(answer->sqlstate, "57", 2) == 0; /* operator_intervention */
    return ++e->losses > (is_announced ? ANNOUNCED_LOSSES_FORGIVEN : LOSSES_FORGIVEN);
}

/* +-5 %, so that many instances and many checks do not ask at the same moment. */
static int64_t with_jitter(int64_t ns)
{
    return ns - ns / 20 + ns / 10000 * (random() % 1001);
}

static void log_pace(const struct entry *e, const char *event, int64_t period_ns)
{
    log_event(LOG_LEVEL_NOTICE, event, LOG_STR("check", e->result.name),
              LOG_INT("took_ms", e->took_ns / NS_PER_MS), LOG_INT("period_ms", period_ns / NS_PER_MS));
}

/* Sets when the check is due: after its period, and not before HEALTH_MAX_LOAD allows it. */
static void schedule(struct entry *e, const struct config *config, int64_t sent_ns, int64_t round_trip_ns)
{
    bool fails = e->result.reason != REASON_NONE;
    /* The next result may change the status, so the period is the interval and not `every`. */
    bool is_urgent = fails || e->streak.down;
    int64_t wish_ns = is_urgent || e->every_ns == 0 ? interval_ns(config) : e->every_ns;
    int64_t work_ns = clock_max(e->took_ns - round_trip_ns, 0);
    /* A single slow run, on a busy machine, does not slow the check down. */
    e->usual_work_ns = e->usual_work_ns == 0 ? work_ns : (3 * e->usual_work_ns + work_ns) / 4;
    int64_t least_ns =
        fails ? FAILING_DISTANCE * e->took_ns : clock_min(work_ns, e->usual_work_ns) * 100 / config->max_load;

    e->rested_ns = sent_ns + e->took_ns + least_ns;
    e->due_ns = clock_max(sent_ns + with_jitter(wish_ns), sent_ns + e->took_ns + with_jitter(least_ns));
    bool is_slowed = least_ns > wish_ns * (e->is_slowed ? 1 : 2); /* hysteresis: no log line per run */
    if (fails || is_slowed == e->is_slowed)
        return;
    log_pace(e, is_slowed ? "check slowed down" : "check pace restored", clock_max(least_ns, wish_ns));
    e->is_slowed = is_slowed;
}

bool entry_book_orphan(struct entry *e, const struct config *config, bool is_there, int64_t now_ns)
{
    if (!is_there) {
        e->orphan_pid = 0;
        e->seen_ns = 0;
        return false;
    }
    e->seen_ns = e->seen_ns != 0 ? e->seen_ns : now_ns;
    bool is_stuck = now_ns - e->seen_ns >= STUCK_NS;
    e->due_ns = now_ns + with_jitter(is_stuck ? clock_max(interval_ns(config), e->distance_ns)
                                              : clock_min(interval_ns(config), LOOK_NS));
    return is_stuck;
}

static void log_check(struct entry *e, const struct answer *answer)
{
    if (answer->reason == e->logged)
        return;
    e->logged = answer->reason;
    if (answer->reason == REASON_NONE) {
        log_event(LOG_LEVEL_INFO, "check recovered", LOG_STR("check", e->result.name));
        return;
    }
    log_event(LOG_LEVEL_WARN, "check failed", LOG_STR("check", e->result.name),
              LOG_STR("reason", reason_name(answer->reason)), LOG_STR("sqlstate", answer->sqlstate),
              LOG_STR("detail", answer->detail));
}

/* serialization_failure, deadlock_detected. A standby also sends 40001 for a query that blocks recovery. */
static bool is_conflict(const struct answer *answer)
{
    return strcmp(answer->sqlstate, "40001") == 0 || strcmp(answer->sqlstate, "40P01") == 0;
}

/* The server has ended the query itself, so no process works on it any more. */
static void end_distance(struct entry *e)
{
    if (e->distance_ns != 0)
        log_event(LOG_LEVEL_INFO, "check resumed", LOG_STR("check", e->result.name));
    e->distance_ns = 0;
    e->orphan_pid = 0;
    e->losses = 0;
    e->overruns = 0;
}

/* True: the result differs from the one before. */
static bool take_result(struct check_result *r, const struct answer *answer)
{
    bool differs =
        r->reason != answer->reason || r->has_value != answer->has_count || r->value != answer->count;
    r->reason = answer->reason;
    r->failures[answer->reason] += answer->reason != REASON_NONE;
    r->has_value = answer->has_count;
    r->value = answer->count;
    r->duration_us = answer->took_ns / NS_PER_US;
    r->period_ms = r->checked_ns != 0 ? (answer->sent_ns - r->checked_ns) / NS_PER_MS : 0;
    r->checked_ns = answer->sent_ns;
    r->checked_wall_ms = clock_wall_ms();
    if (answer->reason == REASON_NONE) {
        r->has_last_ok = true;
        r->last_ok_value = answer->count;
        r->last_ok_wall_ms = r->checked_wall_ms;
    }
    return differs;
}

enum entry_news entry_book(struct entry *e, const struct config *config, const struct answer *answer,
                           int64_t round_trip_ns, int64_t now_ns)
{
    const struct streak_limits limits = {.fall = e->fall != 0 ? e->fall : config->fall,
                                         .rise = e->rise != 0 ? e->rise : config->rise,
                                         .interval_ns = interval_ns(config)};

    e->is_asked = false;
    if (answer->by_server)
        end_distance(e);
    if (answer->by_server && is_conflict(answer) && !e->was_cancelled) {
        e->was_cancelled = true;
        e->due_ns = now_ns;
        return ENTRY_NOTHING;
    }
    e->was_cancelled = false;
    log_check(e, answer);
    bool differs = take_result(&e->result, answer);
    bool turns = streak_count(&e->streak, answer->reason, limits, now_ns);
    e->result.down = e->streak.down;
    e->result.down_reason = e->streak.reason;
    e->took_ns = answer->took_ns;
    if (e->distance_ns == 0)
        schedule(e, config, answer->sent_ns, round_trip_ns);
    return differs || turns ? ENTRY_CHANGE : ENTRY_NEWS;
}

void entry_suspect(struct entry *e, const struct config *config, int64_t backend_pid, int64_t now_ns)
{
    e->is_asked = false;
    e->orphan_pid = backend_pid;
    e->is_suspect = true;
    if (e->distance_ns == 0)
        log_event(LOG_LEVEL_NOTICE, "check backed off", LOG_STR("check", e->result.name),
                  LOG_INT("server_pid", backend_pid));
    e->distance_ns = e->distance_ns == 0 ? interval_ns(config) : e->distance_ns * 2;
    e->distance_ns = clock_min(e->distance_ns, DISTANCE_MAX_NS);
    if (e->losses > LOSSES_FORGIVEN) /* the check may crash the server each time */
        e->distance_ns = clock_max(e->distance_ns, e->every_ns);
    e->due_ns = now_ns + with_jitter(e->distance_ns);
}

void entry_forget(struct entry *e)
{
    e->result.has_value = false;
    if (e->distance_ns != 0)
        return;
    e->result.reason = REASON_NONE;
    e->due_ns = is_slow(e) ? clock_min(e->due_ns, e->rested_ns) : 0;
}
