/* Writes one family of metrics after the other. Pure; main thread; owns nothing. docs/metrics.md says what
 * each of them means. */
#include "cgi/answer/metrics.h"

#include "common/clock.h"
#include "common/version.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* key is NULL: there is no such label. */
struct label {
    const char *key;
    const char *value;
};

static const struct label no_label = {0};

struct family {
    const char *name;
    const char *type;
    const char *help;
    void (*append)(struct buf *out, const char *name, const struct facts *facts);
};

/* Escapes what the format requires in the value of a label. */
static void append_label(struct buf *out, const struct label *label)
{
    buf_appendf(out, "%s=\"", label->key);
    for (const char *p = label->value; *p != '\0'; p++)
        if (*p == '\n')
            buf_append_str(out, "\\n");
        else if (*p == '\\' || *p == '"')
            buf_append(out, (const char[]){'\\', *p}, 2);
        else
            buf_append(out, p, 1);
    buf_append(out, "\"", 1);
}

/* Begins a sample. The caller appends its value and the end of the line. */
static void begin_sample(struct buf *out, const char *name, struct label first, struct label second)
{
    buf_append_str(out, name);
    if (first.key != NULL) {
        buf_append(out, "{", 1);
        append_label(out, &first);
        if (second.key != NULL) {
            buf_append(out, ",", 1);
            append_label(out, &second);
        }
        buf_append(out, "}", 1);
    }
    buf_append(out, " ", 1);
}

static void append_int(struct buf *out, const char *name, struct label first, struct label second,
                       int64_t value)
{
    begin_sample(out, name, first, second);
    buf_appendf(out, "%" PRId64 "\n", value);
}

static void append_total(struct buf *out, const char *name, struct label first, struct label second,
                         uint64_t value)
{
    begin_sample(out, name, first, second);
    buf_appendf(out, "%" PRIu64 "\n", value);
}

/* Writes seconds without printf's floating point, whose decimal point depends on the locale. The caller's
 * clock may be a moment older than what it measures; that is an age of zero. */
static void append_seconds(struct buf *out, const char *name, struct label label, int64_t us)
{
    us = us > 0 ? us : 0;
    begin_sample(out, name, label, no_label);
    buf_appendf(out, "%" PRId64 ".%06d\n", us / US_PER_S, (int)(us % US_PER_S));
}

static struct label check_label(const struct check_result *check)
{
    return (struct label){"check", check->name};
}

static void append_build_info(struct buf *out, const char *name, const struct facts *facts)
{
    (void)facts;
    append_int(out, name, (struct label){"version", HEALTH_VERSION}, no_label, 1);
}

static void append_healthy(struct buf *out, const char *name, const struct facts *facts)
{
    append_int(out, name, no_label, no_label, facts->verdict->status == HEALTH_HEALTHY);
}

static void append_status(struct buf *out, const char *name, const struct facts *facts)
{
    for (int i = 0; i < HEALTH_STATUS_COUNT; i++) {
        struct label status = {"status", health_status_name((enum health_status)i)};
        append_int(out, name, status, no_label, facts->verdict->status == (enum health_status)i);
    }
}

/* Unknown until a probe has finished. */
static void append_snapshot_age(struct buf *out, const char *name, const struct facts *facts)
{
    if (!facts->snapshot->starting)
        append_seconds(out, name, no_label, (facts->now_ns - facts->snapshot->taken_ns) / NS_PER_US);
}

/* Whether the snapshot says how the database is now. */
static bool database_is_known(const struct facts *facts)
{
    return !facts->snapshot->starting && !facts->verdict->is_stale;
}

static bool database_is_up(const struct facts *facts)
{
    return database_is_known(facts) && facts->snapshot->database.reason == REASON_NONE;
}

static void append_database_up(struct buf *out, const char *name, const struct facts *facts)
{
    if (database_is_known(facts))
        append_int(out, name, no_label, no_label, database_is_up(facts));
}

static void append_in_recovery(struct buf *out, const char *name, const struct facts *facts)
{
    if (database_is_up(facts) && facts->snapshot->database.has_in_recovery)
        append_int(out, name, no_label, no_label, facts->snapshot->database.in_recovery);
}

/* An old duration would look like a present one. */
static void append_connect(struct buf *out, const char *name, const struct facts *facts)
{
    if (database_is_up(facts) && facts->snapshot->database.connect_us >= 0)
        append_seconds(out, name, no_label, facts->snapshot->database.connect_us);
}

static void append_round_trip(struct buf *out, const char *name, const struct facts *facts)
{
    if (database_is_up(facts) && facts->snapshot->database.round_trip_us >= 0)
        append_seconds(out, name, no_label, facts->snapshot->database.round_trip_us);
}

static void append_reconnects(struct buf *out, const char *name, const struct facts *facts)
{
    append_int(out, name, no_label, no_label, facts->snapshot->database.reconnects);
}

/* Whether there is a current result of the check. */
static bool check_is_known(const struct facts *facts, const struct check_result *check)
{
    return facts->verdict->counts_known && (check->has_value || check->reason != REASON_NONE);
}

/* As `failing` and `warnings` show it: a check that counts is not ok before its rise. */
static void append_check_ok(struct buf *out, const char *name, const struct facts *facts)
{
    for (size_t i = 0; i < facts->snapshot->check_count; i++) {
        const struct check_result *check = &facts->snapshot->checks[i];
        struct label severity = {"severity", check->severity == CHECK_WARN ? "warn" : "fail"};
        bool is_ok = check->reason == REASON_NONE && !verdict_check_counts(facts->snapshot, NULL, i);
        if (check_is_known(facts, check))
            append_int(out, name, check_label(check), severity, is_ok);
    }
}

static void append_check_value(struct buf *out, const char *name, const struct facts *facts)
{
    for (size_t i = 0; i < facts->snapshot->check_count; i++) {
        const struct check_result *check = &facts->snapshot->checks[i];
        if (check_is_known(facts, check) && check->has_value)
            append_int(out, name, check_label(check), no_label, check->value);
    }
}

/* A series for each pair would be thousands, most of them zero. So it begins with the first failure. */
static void append_check_failures(struct buf *out, const char *name, const struct facts *facts)
{
    for (size_t i = 0; i < facts->snapshot->check_count; i++) {
        const struct check_result *check = &facts->snapshot->checks[i];
        for (int reason = 0; reason < REASON_COUNT; reason++)
            if (check->failures[reason] > 0)
                append_total(out, name, check_label(check),
                             (struct label){"reason", reason_name((enum reason)reason)},
                             check->failures[reason]);
    }
}

/* 0: nothing was measured, because the server never ended the query. */
static void append_check_duration(struct buf *out, const char *name, const struct facts *facts)
{
    for (size_t i = 0; i < facts->snapshot->check_count; i++) {
        const struct check_result *check = &facts->snapshot->checks[i];
        if (check_is_known(facts, check) && check->duration_us > 0)
            append_seconds(out, name, check_label(check), check->duration_us);
    }
}

static void append_check_age(struct buf *out, const char *name, const struct facts *facts)
{
    for (size_t i = 0; i < facts->snapshot->check_count; i++) {
        const struct check_result *check = &facts->snapshot->checks[i];
        if (check->checked_ns != 0)
            append_seconds(out, name, check_label(check), (facts->now_ns - check->checked_ns) / NS_PER_US);
    }
}

static void append_transitions(struct buf *out, const char *name, const struct facts *facts)
{
    for (int i = 0; i < HEALTH_STATUS_COUNT; i++) {
        struct label to = {"to", health_status_name((enum health_status)i)};
        append_total(out, name, to, no_label, facts->transitions->totals[i]);
    }
}

static void append_requests(struct buf *out, const char *name, const struct facts *facts)
{
    char code[16];
    for (size_t i = 0; i < facts->request_count; i++) {
        const struct request_count *count = &facts->requests[i];
        snprintf(code, sizeof code, "%d", count->code);
        append_total(out, name, (struct label){"route", count->route}, (struct label){"code", code},
                     count->total);
    }
}

static void append_connections(struct buf *out, const char *name, const struct facts *facts)
{
    append_int(out, name, no_label, no_label, facts->process->connections);
}

static void append_cpu(struct buf *out, const char *name, const struct facts *facts)
{
    append_seconds(out, name, no_label, facts->process->usage.cpu_ns / NS_PER_US);
}

/* A negative number is unknown. */
static void append_known(struct buf *out, const char *name, int64_t value)
{
    if (value >= 0)
        append_int(out, name, no_label, no_label, value);
}

static void append_rss(struct buf *out, const char *name, const struct facts *facts)
{
    append_known(out, name, facts->process->usage.rss_bytes);
}

static void append_open_fds(struct buf *out, const char *name, const struct facts *facts)
{
    append_known(out, name, facts->process->usage.open_fds);
}

static void append_max_fds(struct buf *out, const char *name, const struct facts *facts)
{
    append_known(out, name, facts->process->usage.max_fds);
}

static void append_start_time(struct buf *out, const char *name, const struct facts *facts)
{
    append_seconds(out, name, no_label, facts->process->started_wall_ms * (US_PER_S / MS_PER_S));
}

static const struct family families[] = {
    {"health_api_build_info", "gauge", "The version of health-api. The value is always 1.",
     append_build_info},
    {"health_api_healthy", "gauge", "1 if the status is healthy, else 0.", append_healthy},
    {"health_api_status", "gauge", "1 for the present status, 0 for the others.", append_status},
    {"health_api_snapshot_age_seconds", "gauge", "Time since the last answer of the database.",
     append_snapshot_age},
    {"health_api_database_up", "gauge", "1 if the database answers, 0 if it fails.", append_database_up},
    {"health_api_database_in_recovery", "gauge", "1 if the server is a standby, else 0.", append_in_recovery},
    {"health_api_database_connect_seconds", "gauge", "Duration of the last login.", append_connect},
    {"health_api_database_round_trip_seconds", "gauge", "Duration of the last ping.", append_round_trip},
    {"health_api_database_reconnects_total", "counter", "Sessions lost while the database did not fail.",
     append_reconnects},
    {"health_api_check_ok", "gauge", "1 if the check passes, 0 if it fails.", append_check_ok},
    {"health_api_check_value", "gauge", "The count that the check has returned.", append_check_value},
    {"health_api_check_failures_total", "counter", "Failed runs of the check, by reason.",
     append_check_failures},
    {"health_api_check_duration_seconds", "gauge", "Duration of the last run of the check.",
     append_check_duration},
    {"health_api_check_age_seconds", "gauge", "Time since the last run of the check.", append_check_age},
    {"health_api_transitions_total", "counter", "Changes of the status or its reason, by the new status.",
     append_transitions},
    {"health_api_http_requests_total", "counter", "Answered requests, by route and status code.",
     append_requests},
    {"health_api_connections", "gauge", "Open FastCGI connections.", append_connections},
    {"process_cpu_seconds_total", "counter", "CPU time of the process, user and system.", append_cpu},
    {"process_resident_memory_bytes", "gauge", "Resident memory of the process.", append_rss},
    {"process_open_fds", "gauge", "Open file descriptors.", append_open_fds},
    {"process_max_fds", "gauge", "Limit of open file descriptors.", append_max_fds},
    {"process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.",
     append_start_time},
};

void metrics_render(const struct facts *facts, struct buf *out)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        const struct family *family = &families[i];
        buf_appendf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name,
                    family->type);
        family->append(out, family->name, facts);
    }
}
