/* The prober's book of what is known. Prober thread; owns its entries. */
#include "cgi/probe/ledger.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

/* While the same failure lasts, one line this often says how many attempts it has been. */
#define SUMMARY_EVERY_NS (60 * NS_PER_S)

struct entry {
    struct check_result result;
    int64_t every_ns;
    int64_t due_ns;
    int64_t broke; /* which break of the connection it was; 0: its last answer was none */
};

struct ledger {
    int64_t fall;
    int64_t rise;
    int64_t breaks; /* of the connection, so far */
    struct entry *entries;
    size_t count;
    struct database_result database;
    char database_sqlstate[6];
    int64_t summary_ns;
    int64_t summary_failures; /* since the last line of them, or the last answer */
    bool probed;              /* a probe has finished: no longer starting */
    bool degraded;
    char cause_check[CHECK_NAME_SIZE];
    enum reason cause;
    int64_t failed_in_a_row;
    int64_t passed_in_a_row;
    bool round_counted; /* as failed, while it still runs */
    int64_t published_ns;
};

struct ledger *ledger_new(int64_t fall, int64_t rise, const struct checks *checks)
{
    struct ledger *l = mem_calloc(1, sizeof *l);
    l->fall = fall;
    l->rise = rise;
    l->database.connect_us = -1;
    l->database.round_trip_us = -1;
    ledger_set_checks(l, &(struct checks){0}, checks);
    return l;
}

void ledger_free(struct ledger *l)
{
    if (l != NULL) {
        free(l->entries);
        free(l);
    }
}

/* What is known of a check that counts the same. */
static const struct entry *find(const struct ledger *l, const struct checks *before,
                                const struct check *check)
{
    for (size_t i = 0; i < before->count; i++) {
        const struct check *old = &before->items[i];
        if (strcmp(old->name, check->name) == 0)
            return strcmp(old->sql, check->sql) == 0 && old->min == check->min && old->max == check->max
                       ? &l->entries[i]
                       : NULL;
    }
    return NULL;
}

void ledger_set_checks(struct ledger *l, const struct checks *before, const struct checks *checks)
{
    struct entry *entries = mem_calloc(checks->count, sizeof *entries);
    for (size_t i = 0; i < checks->count; i++) {
        const struct check *check = &checks->items[i];
        const struct entry *known = find(l, before, check);
        if (known != NULL)
            entries[i].result = known->result;
        snprintf(entries[i].result.name, sizeof entries[i].result.name, "%s", check->name);
        entries[i].result.severity = check->severity;
        entries[i].every_ns = check->every_ms * NS_PER_MS;
    }
    free(l->entries);
    l->entries = entries;
    l->count = checks->count;
}

static bool is_due(const struct entry *e, int64_t now_ns, int64_t interval_ns)
{
    return e->result.reason != REASON_NONE || !e->result.has_value || e->due_ns - interval_ns / 2 <= now_ns;
}

size_t ledger_select_due(const struct ledger *l, int64_t now_ns, int64_t interval_ns, size_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (!is_due(&l->entries[i], now_ns, interval_ns))
            continue;
        size_t at = n++;
        for (; at > 0 && l->entries[out[at - 1]].broke > l->entries[i].broke; at--)
            out[at] = out[at - 1];
        out[at] = i;
    }
    return n;
}

bool ledger_is_breaker(const struct ledger *l, size_t check)
{
    return l->entries[check].broke != 0;
}

void ledger_make_all_due(struct ledger *l)
{
    for (size_t i = 0; i < l->count; i++)
        l->entries[i].due_ns = 0;
}

void ledger_note_connected(struct ledger *l, const struct probe_facts *facts)
{
    l->database.server_version = facts->server_version;
    l->database.connected_wall_ms = clock_wall_ms();
    l->database.connect_us = facts->connect_us;
}

void ledger_note_reconnect(struct ledger *l)
{
    l->database.reconnects++;
}

void ledger_abandon_round(struct ledger *l)
{
    l->round_counted = false;
    ledger_make_all_due(l);
}

/* NULL: none does. */
static const struct check_result *first_failing(const struct ledger *l)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct check_result *r = &l->entries[i].result;
        if (r->reason != REASON_NONE && r->severity == CHECK_FAIL)
            return r;
    }
    return NULL;
}

static void set_cause(struct ledger *l)
{
    const struct check_result *failing = first_failing(l);
    bool is_check = l->database.reason == REASON_NONE && failing != NULL;
    l->cause = is_check ? failing->reason : l->database.reason;
    snprintf(l->cause_check, sizeof l->cause_check, "%s", is_check ? failing->name : SNAPSHOT_DATABASE);
}

/* Counts one probe. The first ever decides alone: there is no status yet that it could flip. */
static void count_probe(struct ledger *l, bool passed)
{
    l->passed_in_a_row = passed ? l->passed_in_a_row + 1 : 0;
    l->failed_in_a_row = passed ? 0 : l->failed_in_a_row + 1;
    if (passed && (!l->probed || l->passed_in_a_row >= l->rise))
        l->degraded = false;
    if (!passed && (!l->probed || l->failed_in_a_row >= l->fall))
        l->degraded = true;
    if (!passed)
        set_cause(l);
    l->probed = true;
}

static void log_outcome(const struct entry *e, const struct probe_outcome *outcome)
{
    if (outcome->reason == e->result.reason)
        return;
    if (outcome->reason == REASON_NONE) {
        log_event(LOG_LEVEL_INFO, "check passes again", LOG_STR("check", e->result.name));
        return;
    }
    log_event(LOG_LEVEL_WARN, "check fails", LOG_STR("check", e->result.name),
              LOG_STR("reason", reason_name(outcome->reason)), LOG_STR("sqlstate", outcome->sqlstate),
              LOG_STR("detail", outcome->detail));
}

bool ledger_take_outcome(struct ledger *l, size_t check, const struct probe_outcome *outcome, int64_t now_ns)
{
    struct entry *e = &l->entries[check];
    struct check_result *r = &e->result;
    bool passed = outcome->reason == REASON_NONE;

    log_outcome(e, outcome);
    r->reason = outcome->reason;
    r->has_value = outcome->has_value;
    r->value = outcome->value;
    r->duration_us = outcome->duration_us;
    r->checked_wall_ms = clock_wall_ms();
    if (passed) {
        r->has_last_ok = true;
        r->last_ok_value = outcome->value;
        r->last_ok_wall_ms = r->checked_wall_ms;
    }
    e->due_ns = now_ns + e->every_ns;
    e->broke = outcome->broke_connection ? ++l->breaks : 0;
    l->database.reason = REASON_NONE; /* it answers */
    if (!passed && r->severity == CHECK_FAIL && !l->round_counted) {
        l->round_counted = true;
        count_probe(l, false);
    }
    return !passed;
}

void ledger_finish_round(struct ledger *l, const struct probe_facts *facts)
{
    if (l->database.consecutive_failures > 0) {
        log_event(LOG_LEVEL_INFO, "database answers again",
                  LOG_INT("failures", l->database.consecutive_failures));
    }
    l->database.reason = REASON_NONE;
    l->database.consecutive_failures = 0;
    l->database.round_trip_us = facts->round_trip_us;
    l->database.has_in_recovery = true;
    l->database.in_recovery = facts->in_recovery;
    l->summary_failures = 0;
    if (!l->round_counted)
        count_probe(l, first_failing(l) == NULL);
    else if (first_failing(l) != NULL)
        set_cause(l);
    l->round_counted = false;
}

static void log_database_failure(struct ledger *l, enum reason reason, const char *sqlstate,
                                 const char *detail, int64_t now_ns)
{
    bool is_new = reason != l->database.reason || strcmp(sqlstate, l->database_sqlstate) != 0;
    l->summary_failures++;
    if (!is_new && now_ns - l->summary_ns < SUMMARY_EVERY_NS)
        return;
    log_event(LOG_LEVEL_WARN, is_new ? "database fails" : "database still fails",
              LOG_STR("reason", reason_name(reason)), LOG_STR("sqlstate", sqlstate),
              LOG_STR("detail", detail), LOG_INT("attempts", l->summary_failures));
    l->summary_ns = now_ns;
    l->summary_failures = 0;
}

void ledger_fail_database(struct ledger *l, enum reason reason, const char *sqlstate, const char *detail,
                          int64_t now_ns)
{
    log_database_failure(l, reason, sqlstate, detail, now_ns);
    snprintf(l->database_sqlstate, sizeof l->database_sqlstate, "%s", sqlstate);
    l->database.reason = reason;
    l->database.consecutive_failures++;
    l->database.connected_wall_ms = 0;
    l->database.has_in_recovery = false;
    for (size_t i = 0; i < l->count; i++) {
        l->entries[i].result.has_value = false;
        l->entries[i].result.reason = REASON_NONE; /* not the check's fault */
        l->entries[i].broke = 0;                   /* a round must not leave out what is not known to fail */
    }
    ledger_make_all_due(l);
    if (l->round_counted)
        set_cause(l); /* the rest of a probe that has failed already */
    else
        count_probe(l, false);
    l->round_counted = false;
}

struct snapshot *ledger_snapshot(struct ledger *l, int64_t now_ns)
{
    struct snapshot *s = snapshot_new(l->count);
    s->taken_ns = now_ns;
    s->taken_wall_ms = clock_wall_ms();
    s->starting = !l->probed;
    s->degraded = l->degraded;
    s->cause = l->cause;
    memcpy(s->cause_check, l->cause_check, sizeof s->cause_check);
    s->database = l->database;
    for (size_t i = 0; i < l->count; i++)
        s->checks[i] = l->entries[i].result;
    l->published_ns = now_ns;
    return s;
}

int64_t ledger_published_ns(const struct ledger *l)
{
    return l->published_ns;
}
