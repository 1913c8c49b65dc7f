/* Builds the JSON documents with json-c. Pure; main thread. */
#include "cgi/answer/document.h"

#include "common/clock.h"
#include "common/text.h"
#include "common/version.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_ALIVE "alive"

static void print_document(struct json_object *document, struct buf *out)
{
    size_t len = 0;
    const char *text = json_object_to_json_string_length(
        document, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    buf_append(out, text, len);
    buf_append(out, "\n", 1);
    json_object_put(document);
}

/* JSON is UTF-8 (RFC 8259, 8.1); a path in the environment need not be. */
static struct json_object *new_text(const char *text)
{
    char *clean = mem_strdup(text);
    text_clean(clean);
    struct json_object *string = json_object_new_string(clean);
    free(clean);
    return string;
}

static void add_string(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, new_text(text));
}

static void add_int(struct json_object *object, const char *key, int64_t value)
{
    json_object_object_add(object, key, json_object_new_int64(value));
}

/* 0 means never and becomes null. */
static void add_time(struct json_object *object, const char *key, int64_t wall_ms)
{
    char text[CLOCK_ISO_SIZE];
    if (wall_ms == 0) {
        json_object_object_add(object, key, NULL);
        return;
    }
    clock_format_iso(wall_ms, text);
    add_string(object, key, text);
}

/* Writes milliseconds with three decimals, because the measurement has them. A negative duration is
 * unknown and becomes null. */
static void add_ms(struct json_object *object, const char *key, int64_t us)
{
    char text[32];
    if (us < 0) {
        json_object_object_add(object, key, NULL);
        return;
    }
    snprintf(text, sizeof text, "%" PRId64 ".%03d", us / 1000, (int)(us % 1000));
    json_object_object_add(object, key, json_object_new_double_s((double)us / 1000.0, text));
}

static void add_reason(struct json_object *object, enum reason reason)
{
    json_object_object_add(object, "reason",
                           reason == REASON_NONE ? NULL : json_object_new_string(reason_name(reason)));
}

static void add_entry(struct json_object *list, const char *check, enum reason reason)
{
    struct json_object *entry = json_object_new_object();
    add_string(entry, "check", check);
    add_reason(entry, reason);
    json_object_array_add(list, entry);
}

static bool shows_check(const struct facts *facts, size_t i)
{
    return facts->selection == NULL || facts->selection->checks[i];
}

static bool shows_database(const struct facts *facts)
{
    return facts->selection == NULL || facts->selection->database;
}

static struct json_object *new_counts(const struct facts *facts)
{
    struct json_object *counts = json_object_new_object();
    for (size_t i = 0; i < facts->snapshot->check_count; i++) {
        const struct check_result *check = &facts->snapshot->checks[i];
        if (!shows_check(facts, i))
            continue;
        bool known = facts->verdict->counts_known && check->has_value;
        json_object_object_add(counts, check->name, known ? json_object_new_int64(check->value) : NULL);
    }
    return counts;
}

/* Why it is down: its present reason. Without one it has not reached its rise yet, so the last reason
 * counts. */
static enum reason reason_of_down(enum reason reason, enum reason down_reason)
{
    return reason != REASON_NONE ? reason : down_reason;
}

/* Adds what makes the snapshot degraded: one entry when the database is down, else the checks that are
 * down. */
static void add_down(struct json_object *list, const struct facts *facts)
{
    const struct snapshot *s = facts->snapshot;
    if (s->database.down && shows_database(facts))
        add_entry(list, SNAPSHOT_DATABASE, reason_of_down(s->database.reason, s->database.down_reason));
    for (size_t i = 0; i < s->check_count && !s->database.down; i++) {
        const struct check_result *r = &s->checks[i];
        if (verdict_check_counts(s, facts->selection, i))
            add_entry(list, r->name, reason_of_down(r->reason, r->down_reason));
    }
}

/* Adds what fails without making the snapshot degraded: its severity is warn, or it has not failed often
 * enough for its fall. */
static void add_warnings(struct json_object *list, const struct facts *facts)
{
    const struct snapshot *s = facts->snapshot;
    if (s->database.reason != REASON_NONE && !s->database.down && shows_database(facts))
        add_entry(list, SNAPSHOT_DATABASE, s->database.reason);
    for (size_t i = 0; i < s->check_count && s->database.reason == REASON_NONE; i++) {
        const struct check_result *r = &s->checks[i];
        if (r->reason != REASON_NONE && shows_check(facts, i) &&
            !verdict_check_counts(s, facts->selection, i))
            add_entry(list, r->name, r->reason);
    }
}

static struct json_object *new_failing(const struct facts *facts)
{
    struct json_object *failing = json_object_new_array();
    const struct verdict *v = facts->verdict;
    bool about_process = strcmp(v->check, SELECTION_PROCESS) == 0;
    bool from_snapshot = v->status == HEALTH_DEGRADED && v->reason != REASON_STALE && !about_process;

    if (v->status != HEALTH_HEALTHY && !from_snapshot)
        add_entry(failing, v->check, v->reason);
    if (about_process && v->is_stale && shows_database(facts))
        add_entry(failing, SNAPSHOT_DATABASE, REASON_STALE);
    else if (from_snapshot || about_process)
        add_down(failing, facts);
    return failing;
}

static struct json_object *new_warnings(const struct facts *facts)
{
    struct json_object *warnings = json_object_new_array();
    if (facts->verdict->is_stale || facts->snapshot->starting)
        return warnings;
    add_warnings(warnings, facts);
    return warnings;
}

static int64_t uptime_seconds(const struct facts *facts)
{
    return (facts->now_ns - facts->started_ns) / NS_PER_S;
}

static struct json_object *new_health(const struct facts *facts)
{
    struct json_object *document = json_object_new_object();
    add_string(document, "status", health_status_name(facts->verdict->status));
    add_time(document, "time", facts->snapshot->taken_wall_ms);
    add_string(document, "version", HEALTH_VERSION);
    add_int(document, "uptime_seconds", uptime_seconds(facts));
    json_object_object_add(document, "counts", new_counts(facts));
    json_object_object_add(document, "failing", new_failing(facts));
    json_object_object_add(document, "warnings", new_warnings(facts));
    return document;
}

void document_health(const struct facts *facts, struct buf *out)
{
    print_document(new_health(facts), out);
}

/* No text, or an empty one, becomes null. */
static void add_known(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, text != NULL && text[0] != '\0' ? new_text(text) : NULL);
}

static struct json_object *new_server(const struct database_server *server)
{
    struct json_object *object = json_object_new_object();
    add_known(object, "host", server->host);
    add_known(object, "address", server->address);
    add_known(object, "port", server->port);
    add_known(object, "database", server->database);
    add_known(object, "user", server->user);
    return object;
}

static struct json_object *new_addresses(const struct addresses *addresses)
{
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < addresses->count; i++)
        json_object_array_add(list, new_text(addresses->items[i]));
    return list;
}

static struct json_object *new_resolver(const struct lookup_result *lookup)
{
    if (!lookup->is_used)
        return NULL;
    struct json_object *object = json_object_new_object();
    add_known(object, "error", lookup->error);
    add_ms(object, "duration_ms", lookup->took_us);
    add_time(object, "resolved_at", lookup->ok_wall_ms);
    return object;
}

static const char *evidence_name(enum evidence evidence)
{
    switch (evidence) {
    case EVIDENCE_ACKNOWLEDGED: return "acknowledged";
    case EVIDENCE_UNACKNOWLEDGED: return "unacknowledged";
    case EVIDENCE_NONE: break;
    }
    return "";
}

static struct json_object *new_database(const struct database_result *database)
{
    struct json_object *object = json_object_new_object();
    char version[32];

    add_reason(object, database->reason);
    /* Since PostgreSQL 10 the number is major * 10000 + minor (PQserverVersion). */
    int number = database->server.version;
    snprintf(version, sizeof version, "%d.%d", number / 10000, number % 10000);
    json_object_object_add(object, "server_version", number > 0 ? json_object_new_string(version) : NULL);
    json_object_object_add(object, "in_recovery",
                           database->has_in_recovery ? json_object_new_boolean(database->in_recovery) : NULL);
    add_time(object, "connected_since", database->connected_wall_ms);
    add_ms(object, "connect_ms", database->connect_us);
    add_ms(object, "round_trip_ms", database->round_trip_us);
    add_int(object, "consecutive_failures", database->consecutive_failures);
    add_int(object, "reconnects", database->reconnects);
    add_known(object, "evidence", evidence_name(database->evidence));
    json_object_object_add(object, "server",
                           database->server.version > 0 ? new_server(&database->server) : NULL);
    json_object_object_add(object, "addresses", new_addresses(&database->addresses));
    json_object_object_add(object, "resolver", new_resolver(&database->lookup));
    return object;
}

static struct json_object *new_check(const struct check_result *check, bool counts_known, int64_t now_ns)
{
    struct json_object *object = json_object_new_object();
    struct json_object *last_ok = NULL;

    if (check->has_last_ok) {
        last_ok = json_object_new_object();
        add_int(last_ok, "value", check->last_ok_value);
        add_time(last_ok, "time", check->last_ok_wall_ms);
    }
    json_object_object_add(object, "value",
                           counts_known && check->has_value ? json_object_new_int64(check->value) : NULL);
    add_reason(object, check->reason);
    add_string(object, "severity", check->severity == CHECK_WARN ? "warn" : "fail");
    add_ms(object, "duration_ms", check->checked_wall_ms != 0 ? check->duration_us : -1);
    add_time(object, "checked_at", check->checked_wall_ms);
    json_object_object_add(
        object, "age_ms",
        check->checked_ns != 0 ? json_object_new_int64((now_ns - check->checked_ns) / NS_PER_MS) : NULL);
    json_object_object_add(object, "period_ms",
                           check->period_ms > 0 ? json_object_new_int64(check->period_ms) : NULL);
    json_object_object_add(object, "last_ok", last_ok);
    return object;
}

static struct json_object *new_checks(const struct facts *facts)
{
    struct json_object *checks = json_object_new_object();
    for (size_t i = 0; i < facts->snapshot->check_count; i++) {
        const struct check_result *check = &facts->snapshot->checks[i];
        json_object_object_add(checks, check->name,
                               new_check(check, facts->verdict->counts_known, facts->now_ns));
    }
    return checks;
}

static struct json_object *new_requests(const struct facts *facts)
{
    struct json_object *requests = json_object_new_object();
    for (size_t i = 0; i < facts->request_count; i++) {
        const struct request_count *count = &facts->requests[i];
        struct json_object *route = json_object_object_get(requests, count->route);
        char code[16];
        if (route == NULL) {
            route = json_object_new_object();
            json_object_object_add(requests, count->route, route);
        }
        snprintf(code, sizeof code, "%d", count->code);
        add_int(route, code, (int64_t)count->total);
    }
    return requests;
}

static struct json_object *new_process(const struct facts *facts)
{
    struct json_object *process = json_object_new_object();
    add_int(process, "pid", getpid());
    add_string(process, "state", facts->verdict->status == HEALTH_DRAINING ? "draining" : "serving");
    add_time(process, "draining_since", facts->process->draining_since_wall_ms);
    add_known(process, "drain_file", facts->process->drain_file);
    add_known(process, "drain_error", facts->process->drain_error);
    add_int(process, "open_fds", facts->process->usage.open_fds);
    add_int(process, "max_fds", facts->process->usage.max_fds);
    add_int(process, "rss_bytes", facts->process->usage.rss_bytes);
    add_int(process, "connections", facts->process->connections);
    json_object_object_add(process, "requests_total", new_requests(facts));
    return process;
}

static struct json_object *new_snapshot(const struct facts *facts)
{
    struct json_object *snapshot = json_object_new_object();
    add_int(snapshot, "age_ms", (facts->now_ns - facts->snapshot->taken_ns) / NS_PER_MS);
    add_int(snapshot, "stale_after_ms", facts->config->stale_after_ms);
    return snapshot;
}

static struct json_object *new_transitions(const struct transitions *list)
{
    struct json_object *transitions = json_object_new_array();
    const struct transition *t;
    for (size_t i = 0; (t = transitions_get(list, i)) != NULL; i++) {
        struct json_object *entry = json_object_new_object();
        add_time(entry, "time", t->wall_ms);
        add_string(entry, "from", health_status_name(t->from));
        add_string(entry, "to", health_status_name(t->to));
        json_object_object_add(entry, "check", t->check[0] != '\0' ? json_object_new_string(t->check) : NULL);
        add_reason(entry, t->reason);
        json_object_array_add(transitions, entry);
    }
    return transitions;
}

static struct json_object *new_config(const struct facts *facts)
{
    struct json_object *config = json_object_new_object();
    const char *name;
    char value[256];
    for (size_t i = 0; config_get(facts->config, i, &name, value, sizeof value); i++)
        add_string(config, name, value);
    add_known(config, "checks_error", facts->process->checks_error);
    return config;
}

void document_status(const struct facts *facts, struct buf *out)
{
    struct json_object *document = new_health(facts);
    json_object_object_add(document, "database", new_database(&facts->snapshot->database));
    json_object_object_add(document, "checks", new_checks(facts));
    json_object_object_add(document, "process", new_process(facts));
    json_object_object_add(document, "snapshot", new_snapshot(facts));
    json_object_object_add(document, "transitions", new_transitions(facts->transitions));
    json_object_object_add(document, "config", new_config(facts));
    print_document(document, out);
}

void document_live(const struct facts *facts, struct buf *out)
{
    struct json_object *document = json_object_new_object();
    add_string(document, "status", STATUS_ALIVE);
    add_string(document, "version", HEALTH_VERSION);
    add_int(document, "uptime_seconds", uptime_seconds(facts));
    print_document(document, out);
}

static void print_status(const char *status, struct buf *out)
{
    struct json_object *document = json_object_new_object();
    add_string(document, "status", status);
    print_document(document, out);
}

void document_bare_health(const struct facts *facts, struct buf *out)
{
    print_status(health_status_name(facts->verdict->status), out);
}

void document_bare_live(const struct facts *facts, struct buf *out)
{
    (void)facts;
    print_status(STATUS_ALIVE, out);
}

void document_problem(int status, const char *title, const char *detail, struct buf *out)
{
    struct json_object *document = json_object_new_object();
    add_string(document, "type", "about:blank"); /* RFC 9457, 4.2.1: the title is the status phrase */
    add_string(document, "title", title);
    add_int(document, "status", status);
    add_string(document, "detail", detail);
    print_document(document, out);
}
