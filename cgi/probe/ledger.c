/* Keeps one entry for each check and one for the database: results, fall and rise, due times, backing off.
 * Runs on the prober thread; owns the entries. */
#include "cgi/probe/ledger.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

/* While the same failure lasts, the log counts the failed attempts in one line per minute. */
#define SUMMARY_EVERY_NS (60 * NS_PER_S)

/* A check that backs off is asked at least this often. */
#define DISTANCE_MAX_NS (600 * NS_PER_S)

/* How often the ledger asks whether an orphan is still working, and after how long the orphan counts as
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

/* Failures and successes in a row. The first in a row counts at once. Each further one counts only if an
 * interval has passed since the last that counted, so that a check that is asked more often does not change
 * its status sooner. */
struct streak {
    int64_t fails;
    int64_t passes;
    int64_t counted_ns;
    bool known; /* false: the next result decides alone, without fall and rise */
    bool down;
    enum reason reason; /* of the last failure */
};

struct entry {
    struct check_result result;
    struct streak streak;
    int64_t every_ns; /* 0: the interval */
    int64_t fall;     /* 0: HEALTH_FALL */
    int64_t rise;     /* 0: HEALTH_RISE */
    int64_t due_ns;
    int64_t rested_ns; /* HEALTH_MAX_LOAD allows the next run from then on */
    int64_t took_ns;
    int64_t usual_work_ns; /* a moving average */
    int64_t distance_ns;   /* how long it backs off; 0: the server ended its last query itself */
    int64_t orphan_pid;
    int64_t seen_ns; /* when the orphan was first seen working; 0: never */
    bool is_asked;
    int losses;   /* how many times in a row its session was lost while the server worked on the check */
    int overruns; /* how many times in a row the server did not end its query within the limit */
    enum reason logged; /* what the log last said of it; an outage of the database does not change this */
    bool is_suspect;    /* the next ping decides whether it is to blame */
    bool is_slowed;
    bool was_cancelled; /* a conflict ended its last query: it is asked once more before that counts */
};

struct ledger {
    const struct config *config;
    struct entry *entries;
    size_t count;
    struct database_result database;
    struct streak login;
    struct streak ping;
    char sqlstate[6]; /* of the last failure of the database */
    struct database_server logged_server;
    int64_t server_logged_ns;
    int64_t summary_ns;
    int64_t summary_failures; /* since the last such line, or since the database recovered */
    int64_t answered_ns;      /* when the last answered question was sent */
    int64_t answered_wall_ms;
    bool is_held;     /* stay down until each check was asked again, so that `healthy` has every count */
    bool has_started; /* each check was asked once, or the database has failed */
    bool has_news;
    bool has_change;
};

static int64_t interval_ns(const struct ledger *l)
{
    return l->config->interval_ms * NS_PER_MS;
}

struct ledger *ledger_new(const struct config *config, const struct checks *checks)
{
    struct ledger *l = mem_calloc(1, sizeof *l);
    l->config = config;
    l->database.connect_us = -1;
    l->database.lookup.took_us = -1;
    l->database.round_trip_us = -1;
    l->answered_ns = clock_now_ns();
    l->answered_wall_ms = clock_wall_ms();
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

/* Finds the entry of an old check with the same name, query and limits; NULL: there is none. */
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
            entries[i] = *known;
        entries[i].is_asked = false;
        snprintf(entries[i].result.name, sizeof entries[i].result.name, "%s", check->name);
        entries[i].result.severity = check->severity;
        if (entries[i].every_ns != check->every_ms * NS_PER_MS)
            entries[i].due_ns = 0;
        entries[i].every_ns = check->every_ms * NS_PER_MS;
        entries[i].fall = check->fall;
        entries[i].rise = check->rise;
    }
    free(l->entries);
    l->entries = entries;
    l->count = checks->count;
    l->has_change = true;
}

static bool is_quick(const struct ledger *l, const struct entry *e)
{
    int64_t heartbeat_ms = l->config->heartbeat_ms > 0 ? l->config->heartbeat_ms : l->config->interval_ms;
    return e->result.checked_ns != 0 && e->distance_ns == 0 && e->took_ns < heartbeat_ms * NS_PER_MS / 2;
}

static bool is_slow(const struct entry *e)
{
    return e->result.checked_ns != 0 && e->took_ns >= SLOW_NS;
}

static const struct entry *first_due(const struct ledger *l, bool only_quick)
{
    const struct entry *first = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const struct entry *e = &l->entries[i];
        if (!e->is_asked && (!only_quick || is_quick(l, e)) && (first == NULL || e->due_ns < first->due_ns))
            first = e;
    }
    return first;
}

size_t ledger_pick(const struct ledger *l, bool only_quick, int64_t now_ns)
{
    const struct entry *e = first_due(l, only_quick);
    return e != NULL && e->due_ns <= now_ns ? (size_t)(e - l->entries) : LEDGER_NONE;
}

int64_t ledger_due_ns(const struct ledger *l, bool only_quick)
{
    const struct entry *e = first_due(l, only_quick);
    return e != NULL ? e->due_ns : CLOCK_NEVER;
}

void ledger_note_asked(struct ledger *l, size_t check)
{
    l->entries[check].is_asked = true;
}

bool ledger_note_lost(struct ledger *l, size_t check, const struct answer *answer, int64_t backend_pid)
{
    struct entry *e = &l->entries[check];
    e->is_asked = false;
    e->orphan_pid = backend_pid;
    if (answer->reason == REASON_QUERY_TIMEOUT)
        return ++e->overruns > OVERRUNS_FORGIVEN || (!e->result.has_value && e->result.reason == REASON_NONE);
    bool is_announced = strncmp(answer->sqlstate, "57", 2) == 0; /* operator_intervention */
    return ++e->losses > (is_announced ? ANNOUNCED_LOSSES_FORGIVEN : LOSSES_FORGIVEN);
}

int64_t ledger_orphan(const struct ledger *l, size_t check)
{
    return l->entries[check].orphan_pid;
}

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max(int64_t a, int64_t b)
{
    return a > b ? a : b;
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
static void schedule(struct ledger *l, struct entry *e, int64_t sent_ns)
{
    bool fails = e->result.reason != REASON_NONE;
    /* The next result may change the status, so the period is the interval and not `every`. */
    bool is_urgent = fails || e->streak.down;
    int64_t wish_ns = is_urgent || e->every_ns == 0 ? interval_ns(l) : e->every_ns;
    int64_t work_ns = max(e->took_ns - max(l->database.round_trip_us, 0) * NS_PER_US, 0);
    /* A single slow run, on a busy machine, does not slow the check down. */
    e->usual_work_ns = e->usual_work_ns == 0 ? work_ns : (3 * e->usual_work_ns + work_ns) / 4;
    int64_t least_ns =
        fails ? FAILING_DISTANCE * e->took_ns : min(work_ns, e->usual_work_ns) * 100 / l->config->max_load;

    e->rested_ns = sent_ns + e->took_ns + least_ns;
    e->due_ns = max(sent_ns + with_jitter(wish_ns), sent_ns + e->took_ns + with_jitter(least_ns));
    bool is_slowed = least_ns > wish_ns * (e->is_slowed ? 1 : 2); /* hysteresis: no log line per run */
    if (fails || is_slowed == e->is_slowed)
        return;
    log_pace(e, is_slowed ? "check slowed down" : "check pace restored", max(least_ns, wish_ns));
    e->is_slowed = is_slowed;
}

bool ledger_book_orphan(struct ledger *l, size_t check, bool is_there, int64_t now_ns)
{
    struct entry *e = &l->entries[check];
    if (!is_there) {
        e->orphan_pid = 0;
        e->seen_ns = 0;
        return false;
    }
    e->seen_ns = e->seen_ns != 0 ? e->seen_ns : now_ns;
    bool is_stuck = now_ns - e->seen_ns >= STUCK_NS;
    e->due_ns =
        now_ns + with_jitter(is_stuck ? max(interval_ns(l), e->distance_ns) : min(interval_ns(l), LOOK_NS));
    return is_stuck;
}

static void count(struct ledger *l, struct streak *s, enum reason reason, int64_t fall, int64_t rise,
                  int64_t now_ns)
{
    bool passed = reason == REASON_NONE;
    bool is_first = passed ? s->passes == 0 : s->fails == 0;

    if (!passed)
        s->reason = reason;
    if (is_first || now_ns - s->counted_ns >= interval_ns(l) * 9 / 10) {
        s->passes = passed ? s->passes + 1 : 0;
        s->fails = passed ? 0 : s->fails + 1;
        s->counted_ns = now_ns;
    }
    bool down = s->down;
    if (passed && (!s->known || s->passes >= rise))
        down = false;
    if (!passed && (!s->known || s->fails >= fall))
        down = true;
    l->has_change |= down != s->down || !s->known;
    s->down = down;
    s->known = true;
}

static void note_answered(struct ledger *l, int64_t sent_ns, int64_t now_ns)
{
    if (sent_ns >= l->answered_ns) {
        l->answered_ns = sent_ns;
        l->answered_wall_ms = clock_wall_ms() - (now_ns - sent_ns) / NS_PER_MS;
    }
    l->has_news = true;
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

void ledger_book_check(struct ledger *l, size_t check, const struct answer *answer, int64_t now_ns)
{
    struct entry *e = &l->entries[check];
    struct check_result *r = &e->result;

    e->is_asked = false;
    if (answer->by_server) {
        if (e->distance_ns != 0)
            log_event(LOG_LEVEL_INFO, "check resumed", LOG_STR("check", e->result.name));
        e->distance_ns = 0;
        e->orphan_pid = 0;
        e->losses = 0;
        e->overruns = 0;
    }
    if (answer->by_server && is_conflict(answer) && !e->was_cancelled) {
        e->was_cancelled = true;
        e->due_ns = now_ns;
        return;
    }
    e->was_cancelled = false;
    log_check(e, answer);
    l->has_change |=
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
    count(l, &e->streak, answer->reason, e->fall != 0 ? e->fall : l->config->fall,
          e->rise != 0 ? e->rise : l->config->rise, now_ns);
    r->down = e->streak.down;
    r->down_reason = e->streak.reason;
    e->took_ns = answer->took_ns;
    if (e->distance_ns == 0)
        schedule(l, e, answer->sent_ns);
    l->has_news = true;
    if (answer->by_server)
        note_answered(l, answer->sent_ns, now_ns);
}

void ledger_suspect(struct ledger *l, size_t check, int64_t backend_pid, int64_t now_ns)
{
    struct entry *e = &l->entries[check];
    e->is_asked = false;
    e->orphan_pid = backend_pid;
    e->is_suspect = true;
    if (e->distance_ns == 0)
        log_event(LOG_LEVEL_NOTICE, "check backed off", LOG_STR("check", e->result.name),
                  LOG_INT("server_pid", backend_pid));
    e->distance_ns = e->distance_ns == 0 ? interval_ns(l) : e->distance_ns * 2;
    e->distance_ns = min(e->distance_ns, DISTANCE_MAX_NS);
    if (e->losses > LOSSES_FORGIVEN) /* the check may crash the server each time */
        e->distance_ns = max(e->distance_ns, e->every_ns);
    e->due_ns = now_ns + with_jitter(e->distance_ns);
}

static void log_database_failure(struct ledger *l, enum reason reason, const struct answer *answer,
                                 int64_t now_ns)
{
    bool is_new = reason != l->database.reason || strcmp(answer->sqlstate, l->sqlstate) != 0;
    l->summary_failures++;
    if (!is_new && now_ns - l->summary_ns < SUMMARY_EVERY_NS)
        return;
    log_event(LOG_LEVEL_WARN, is_new ? "database failed" : "database still failing",
              LOG_STR("reason", reason_name(reason)), LOG_STR("sqlstate", answer->sqlstate),
              LOG_STR("detail", answer->detail), LOG_INT("attempts", l->summary_failures));
    l->summary_ns = now_ns;
    l->summary_failures = 0;
}

/* Makes all values unknown, and all checks due. A check that backs off keeps its reason and its time. */
static void forget_checks(struct ledger *l)
{
    for (size_t i = 0; i < l->count; i++) {
        struct entry *e = &l->entries[i];
        e->result.has_value = false;
        if (e->distance_ns == 0) {
            e->result.reason = REASON_NONE;
            e->due_ns = is_slow(e) ? min(e->due_ns, e->rested_ns) : 0;
        }
    }
}

/* Returns a check that has no result yet. Ignores slow checks and checks that back off, but not suspects,
 * which the next ping decides on. */
size_t ledger_unasked(const struct ledger *l)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct entry *e = &l->entries[i];
        bool is_awaited = (e->distance_ns == 0 && !is_slow(e)) || e->is_suspect;
        if (is_awaited && !e->result.has_value && e->result.reason == REASON_NONE)
            return i;
    }
    return LEDGER_NONE;
}

bool ledger_has_ping(const struct ledger *l)
{
    return l->ping.known;
}

static void set_reason(struct ledger *l, enum reason reason)
{
    l->has_change |= l->database.reason != reason;
    l->database.reason = reason;
    l->database.down_reason = reason;
}

static void book_database(struct ledger *l, struct streak *s, const struct answer *answer, int64_t now_ns)
{
    bool still_hung =
        answer->reason == REASON_CONNECT_TIMEOUT && l->ping.fails > 0 && l->ping.reason == REASON_HUNG;
    enum reason reason = still_hung ? REASON_HUNG : answer->reason;
    count(l, s, reason, l->config->fall, l->config->rise, now_ns);
    if (reason != REASON_NONE) {
        log_database_failure(l, reason, answer, now_ns);
        snprintf(l->sqlstate, sizeof l->sqlstate, "%s", answer->sqlstate);
        set_reason(l, reason);
        l->database.evidence = answer->evidence;
        l->database.consecutive_failures++;
        l->database.has_in_recovery = false;
        forget_checks(l);
    } else if (l->login.fails > 0 || l->ping.fails > 0) {
        set_reason(l, l->login.fails > 0 ? l->login.reason : l->ping.reason); /* the other one still fails */
    } else if (l->database.reason != REASON_NONE) {
        log_event(LOG_LEVEL_INFO, "database recovered",
                  LOG_INT("failures", l->database.consecutive_failures));
        l->database.reason = REASON_NONE;
        l->database.evidence = EVIDENCE_NONE;
        l->database.consecutive_failures = 0;
        l->summary_failures = 0;
        l->has_change = true;
    }
    l->is_held |= ledger_is_down(l);
    l->has_news = true;
    bool is_refusal = answer->question == QUESTION_LOGIN && reason != REASON_NONE &&
                      answer->reason != REASON_CONNECT_TIMEOUT;
    if (is_refusal || (answer->question != QUESTION_LOGIN && answer->by_server))
        note_answered(l, answer->sent_ns, now_ns);
}

static bool is_same_server(const struct database_server *a, const struct database_server *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->address, b->address) == 0 &&
           strcmp(a->port, b->port) == 0 && strcmp(a->database, b->database) == 0 &&
           strcmp(a->user, b->user) == 0;
}

/* Logs the first server at once, and later changes at most once a minute: a host name with several addresses
 * may lead to a different address at each login. */
static void log_server(struct ledger *l, const struct database_server *server, int64_t now_ns)
{
    bool is_first = l->logged_server.version == 0;
    if (is_same_server(server, &l->logged_server) || (!is_first && !log_is_due(&l->server_logged_ns, now_ns)))
        return;
    l->logged_server = *server;
    log_event(LOG_LEVEL_NOTICE, "server connected", LOG_STR("host", server->host),
              LOG_STR("address", server->address), LOG_STR("port", server->port),
              LOG_STR("database", server->database), LOG_STR("user", server->user));
}

void ledger_book_login(struct ledger *l, const struct answer *answer, const struct database_server *server,
                       int64_t now_ns)
{
    if (answer->reason == REASON_NONE) {
        log_server(l, server, now_ns);
        l->database.server = *server;
        l->database.connected_wall_ms = clock_wall_ms();
        l->database.connect_us = answer->took_ns / NS_PER_US;
    }
    book_database(l, &l->login, answer, now_ns);
}

void ledger_book_ping(struct ledger *l, const struct answer *answer, int64_t now_ns)
{
    if (answer->reason == REASON_NONE && answer->question != QUESTION_CHECK)
        l->database.round_trip_us = answer->took_ns / NS_PER_US;
    if (answer->question == QUESTION_RECOVERY && answer->has_count) {
        l->database.has_in_recovery = true;
        l->database.in_recovery = answer->count != 0;
    }
    for (size_t i = 0; i < l->count; i++)
        l->entries[i].is_suspect = false;
    book_database(l, &l->ping, answer, now_ns);
}

_Static_assert(HOSTS_MAX == SNAPSHOT_ADDRESSES_MAX, "the snapshot has room for each host");

void ledger_set_hosts(struct ledger *l, const struct hosts *hosts)
{
    struct addresses *a = &l->database.addresses;
    a->count = hosts->count;
    for (size_t i = 0; i < hosts->count; i++) {
        const struct host *host = &hosts->items[i];
        const char *address = host->address[0] != '\0' ? host->address : host->name;
        const char *format = strchr(address, ':') != NULL ? "[%.64s]%s%s" : "%.80s%s%s";
        snprintf(a->items[i], sizeof a->items[i], format, address, host->port[0] != '\0' ? ":" : "",
                 host->port);
    }
    l->has_news = true;
}

void ledger_book_lookup(struct ledger *l, const char *error, int64_t took_ns)
{
    struct lookup_result *r = &l->database.lookup;
    if (error[0] != '\0' && r->error[0] == '\0')
        log_event(LOG_LEVEL_WARN, "name resolution failed", LOG_STR("detail", error),
                  LOG_INT("known_addresses", l->database.addresses.count));
    else if (error[0] == '\0' && r->error[0] != '\0')
        log_event(LOG_LEVEL_INFO, "name resolution recovered", LOG_INT("took_ms", took_ns / NS_PER_MS));
    r->is_used = true;
    snprintf(r->error, sizeof r->error, "%s", error);
    if (error[0] == '\0') {
        r->took_us = took_ns / NS_PER_US;
        r->ok_wall_ms = clock_wall_ms();
    }
    l->has_news = true;
}

void ledger_note_reconnect(struct ledger *l)
{
    l->database.reconnects++;
    l->has_news = true;
}

bool ledger_fails(const struct ledger *l)
{
    return l->database.reason != REASON_NONE;
}

bool ledger_is_down(const struct ledger *l)
{
    return l->login.down || l->ping.down;
}

bool ledger_is_complete(const struct ledger *l)
{
    return ledger_fails(l) || (l->ping.known && ledger_unasked(l) == LEDGER_NONE);
}

bool ledger_has_news(const struct ledger *l)
{
    return l->has_news;
}

bool ledger_has_change(const struct ledger *l)
{
    return l->has_change;
}

struct snapshot *ledger_snapshot(struct ledger *l, int64_t now_ns)
{
    struct snapshot *s = snapshot_new(l->count);
    bool complete = ledger_is_complete(l);
    l->has_started |= complete;
    l->is_held = ledger_is_down(l) || (l->is_held && !complete);
    l->database.down = l->is_held;
    s->taken_ns = l->answered_ns;
    s->taken_wall_ms = l->answered_wall_ms;
    s->vouched_ns = now_ns;
    s->starting = !l->has_started;
    s->database = l->database;
    if (ledger_fails(l))
        s->database.connected_wall_ms = 0;
    for (size_t i = 0; i < l->count; i++)
        s->checks[i] = l->entries[i].result;
    l->has_news = false;
    l->has_change = false;
    return s;
}
