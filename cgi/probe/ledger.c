/* Keeps an entry for each check, and what is known of the database. Runs on the prober thread; owns the
 * entries. */
#include "cgi/probe/ledger.h"

#include "cgi/probe/entry.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

/* While the same failure lasts, the log counts the failed attempts in one line per minute. */
#define SUMMARY_EVERY_NS (60 * NS_PER_S)

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
        entry_set_check(&entries[i], check);
    }
    free(l->entries);
    l->entries = entries;
    l->count = checks->count;
    l->has_change = true;
}

static const struct entry *first_due(const struct ledger *l, bool only_quick)
{
    const struct entry *first = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const struct entry *e = &l->entries[i];
        if (!e->is_asked && (!only_quick || entry_is_quick(e, l->config)) &&
            (first == NULL || e->due_ns < first->due_ns))
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
    return entry_note_lost(&l->entries[check], answer, backend_pid);
}

int64_t ledger_orphan(const struct ledger *l, size_t check)
{
    return l->entries[check].orphan_pid;
}

bool ledger_book_orphan(struct ledger *l, size_t check, bool is_there, int64_t now_ns)
{
    return entry_book_orphan(&l->entries[check], l->config, is_there, now_ns);
}

static void note_answered(struct ledger *l, int64_t sent_ns, int64_t now_ns)
{
    if (sent_ns >= l->answered_ns) {
        l->answered_ns = sent_ns;
        l->answered_wall_ms = clock_wall_ms() - (now_ns - sent_ns) / NS_PER_MS;
    }
    l->has_news = true;
}

void ledger_book_check(struct ledger *l, size_t check, const struct answer *answer, int64_t now_ns)
{
    int64_t round_trip_ns = clock_max(l->database.round_trip_us, 0) * NS_PER_US;
    enum entry_news news = entry_book(&l->entries[check], l->config, answer, round_trip_ns, now_ns);
    if (news == ENTRY_NOTHING)
        return;
    l->has_change |= news == ENTRY_CHANGE;
    l->has_news = true;
    if (answer->by_server)
        note_answered(l, answer->sent_ns, now_ns);
}

void ledger_suspect(struct ledger *l, size_t check, int64_t backend_pid, int64_t now_ns)
{
    entry_suspect(&l->entries[check], l->config, backend_pid, now_ns);
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

size_t ledger_unasked(const struct ledger *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (entry_is_awaited(&l->entries[i]))
            return i;
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
    const struct streak_limits limits = {
        .fall = l->config->fall, .rise = l->config->rise, .interval_ns = l->config->interval_ms * NS_PER_MS};
    l->has_change |= streak_count(s, reason, limits, now_ns);
    if (reason != REASON_NONE) {
        log_database_failure(l, reason, answer, now_ns);
        snprintf(l->sqlstate, sizeof l->sqlstate, "%s", answer->sqlstate);
        set_reason(l, reason);
        l->database.evidence = answer->evidence;
        l->database.consecutive_failures++;
        l->database.has_in_recovery = false;
        for (size_t i = 0; i < l->count; i++)
            entry_forget(&l->entries[i]);
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
