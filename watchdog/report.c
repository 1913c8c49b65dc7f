/* Prints into a buffer, as watchdog/report.h promises. Main thread; no state. */
#include "watchdog/report.h"

#include "common/clock.h"
#include "common/version.h"
#include "watchdog/json.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

void report_note(struct report *report, const char *about, const char *format, ...)
{
    va_list args;
    if (report->note_count == REPORT_MAX_NOTES)
        return;
    struct report_note *note = &report->notes[report->note_count++];
    note->about = about;
    va_start(args, format);
    vsnprintf(note->text, sizeof note->text, format, args);
    va_end(args);
}

void report_summary(const struct judge_counts *counts, struct buf *out)
{
    buf_appendf(out, "%zu OK, %zu timeout/unreachable, %zu rate-limited, %zu HTTP error",
                counts->of[JUDGE_OK], counts->of[JUDGE_TIMEOUT], counts->of[JUDGE_LIMITED],
                counts->of[JUDGE_ERROR]);
    if (counts->of[JUDGE_UNKNOWN] > 0)
        buf_appendf(out, ", %zu unknown", counts->of[JUDGE_UNKNOWN]);
}

static int64_t ms_of(const struct judge_route *judged)
{
    return (judged->time_us + 500) / 1000;
}

static void append_route(const struct watch_route *route, const struct judge_route *judged, struct buf *out)
{
    buf_appendf(out, "%s %s: ", watchfile_class_name(route->class), route->path);
    if (judged->tries == 0)
        buf_append_str(out, "not asked\n");
    else if (judged->last.verdict == JUDGE_OK)
        buf_appendf(out, "ok, %d in %" PRId64 " ms, %d %s\n", judged->code, ms_of(judged), judged->tries,
                    judged->tries == 1 ? "try" : "tries");
    else
        buf_appendf(out, "%s (%d %s, %" PRId64 " ms)\n", judged->last.why, judged->tries,
                    judged->tries == 1 ? "try" : "tries", ms_of(judged));
}

static void append_routes(const struct watch *watch, const struct survey *survey, bool verbose,
                          bool only_final, struct buf *out)
{
    for (size_t i = 0; i < watch->route_count; i++) {
        const struct judge_route *judged = &survey->routes[i];
        bool is_fine = judged->tries > 0 && judged->last.verdict == JUDGE_OK;
        if (only_final ? judged->is_final && !is_fine : verbose || !is_fine)
            append_route(&watch->routes[i], judged, out);
    }
}

static void append_lines(const struct report *report, bool verbose, struct buf *out)
{
    if (report->before != NULL)
        append_routes(report->watch, report->before, false, true, out);
    for (size_t i = 0; i < report->note_count; i++)
        buf_appendf(out, "%s: %s\n", report->notes[i].about, report->notes[i].text);
    append_routes(report->watch, report->survey, verbose, false, out);
}

void report_text(const struct report *report, bool verbose, struct buf *out)
{
    append_lines(report, verbose, out);
    report_summary(&report->counts, out);
    buf_append(out, "\n", 1);
}

/* A label in quotes, where a quote is doubled; "=" and "|" are no part of one. */
static void append_label(const char *path, struct buf *out)
{
    buf_append(out, " '", 2);
    for (const char *c = path; *c != '\0'; c++)
        buf_append_str(out, *c == '\'' ? "''" : *c == '=' || *c == '|' ? "_" : (char[]){*c, '\0'});
    buf_append(out, "'", 1);
}

void report_nagios(const struct report *report, struct buf *out)
{
    struct buf lines = {0};
    const char *level = judge_level_name(report->level);
    buf_append_str(out, "HEALTH ");
    for (const char *c = level; *c != '\0'; c++)
        buf_append_str(out, (char[]){(char)toupper((unsigned char)*c), '\0'});
    buf_append_str(out, " - ");
    report_summary(&report->counts, out);
    /* A bar would begin the performance data. */
    if (report->note_count > 0)
        buf_appendf(out, "; %s: %s", report->notes[0].about, report->notes[0].text);
    for (size_t i = 0; i < out->len; i++)
        if (out->data[i] == '|')
            out->data[i] = '/';
    buf_appendf(out, " | ok=%zu timeout=%zu rate_limited=%zu http_error=%zu unknown=%zu",
                report->counts.of[JUDGE_OK], report->counts.of[JUDGE_TIMEOUT],
                report->counts.of[JUDGE_LIMITED], report->counts.of[JUDGE_ERROR],
                report->counts.of[JUDGE_UNKNOWN]);
    for (size_t i = 0; i < report->watch->route_count; i++) {
        const struct judge_route *judged = &report->survey->routes[i];
        if (judged->tries == 0)
            continue;
        append_label(report->watch->routes[i].path, out);
        buf_appendf(out, "=%" PRId64 ".%06" PRId64 "s;;;0", judged->time_us / 1000000,
                    judged->time_us % 1000000);
    }
    buf_append(out, "\n", 1);
    append_lines(report, false, &lines);
    for (size_t i = 0; i < lines.len; i++)
        if (lines.data[i] == '|')
            lines.data[i] = '/';
    buf_append(out, lines.data != NULL ? lines.data : "", lines.len);
    buf_free(&lines);
}

static void append_key(struct buf *out, const char *key)
{
    buf_appendf(out, "\"%s\":", key);
}

static void append_text(struct buf *out, const char *key, const char *text)
{
    append_key(out, key);
    json_append_string(out, text);
}

static void append_json_route(const struct watch_route *route, const struct judge_route *judged,
                              struct buf *out)
{
    enum judge_verdict verdict = judged->tries > 0 ? judged->last.verdict : JUDGE_UNKNOWN;
    buf_append_str(out, "{");
    append_text(out, "path", route->path);
    buf_append_str(out, ",");
    append_text(out, "class", watchfile_class_name(route->class));
    buf_appendf(out, ",\"liveness\":%s,", route->liveness ? "true" : "false");
    append_text(out, "verdict", judge_verdict_name(verdict));
    buf_append_str(out, ",");
    append_text(out, "why", judged->tries > 0 ? judged->last.why : "not asked");
    buf_appendf(out, ",\"code\":%d,\"tries\":%d,\"dead_tries\":%d,\"time_us\":%" PRId64 "}", judged->code,
                judged->tries, judged->dead_tries, judged->time_us);
}

static void append_json_routes(const struct watch *watch, const struct survey *survey, const char *key,
                               struct buf *out)
{
    append_key(out, key);
    if (survey == NULL) {
        buf_append_str(out, "null");
        return;
    }
    buf_append_str(out, "[");
    for (size_t i = 0; i < watch->route_count; i++) {
        buf_append_str(out, i > 0 ? "," : "");
        append_json_route(&watch->routes[i], &survey->routes[i], out);
    }
    buf_append_str(out, "]");
}

static void append_json_rogues(const struct rogue_list *rogues, struct buf *out)
{
    buf_append_str(out, "\"rogues\":[");
    for (size_t i = 0; i < rogues->count; i++) {
        const struct rogue *rogue = &rogues->items[i];
        char since[CLOCK_ISO_SIZE];
        clock_format_iso(holder_start_wall_ms(rogue->holder.start_ticks), since);
        buf_appendf(out, "%s{\"pid\":%d,", i > 0 ? "," : "", (int)rogue->holder.pid);
        append_text(out, "user", rogue->holder.user);
        buf_append_str(out, ",");
        append_text(out, "command", rogue->holder.command_line);
        buf_append_str(out, ",");
        append_text(out, "since", since);
        buf_append_str(out, ",");
        append_text(out, "cgroup", rogue->cgroup);
        buf_append_str(out, "}");
    }
    buf_append_str(out, "]");
}

static void append_json_recovery(const struct recovery *recovery, struct buf *out)
{
    append_key(out, "recovery");
    if (recovery->action == POLICY_NOTHING) {
        buf_append_str(out, "null");
        return;
    }
    buf_append_str(out, "{");
    append_text(out, "action", recover_action_name(recovery->action));
    buf_appendf(out, ",\"ok\":%s,\"took_ms\":%" PRId64 ",", recovery->ok ? "true" : "false",
                recovery->took_ms);
    append_text(out, "text", recovery->text);
    buf_append_str(out, "}");
}

void report_json(const struct report *report, struct buf *out)
{
    char now[CLOCK_ISO_SIZE];
    clock_format_iso(clock_wall_ms(), now);
    buf_append_str(out, "{");
    append_text(out, "status", judge_level_name(report->level));
    buf_appendf(out, ",\"exit_code\":%d,\"version\":\"" HEALTH_VERSION "\",\"time\":\"%s\",\"summary\":{",
                (int)report->level, now);
    for (int verdict = 0; verdict < JUDGE_VERDICTS; verdict++)
        buf_appendf(out, "%s\"%s\":%zu", verdict > 0 ? "," : "",
                    judge_verdict_name((enum judge_verdict)verdict), report->counts.of[verdict]);
    buf_appendf(out, "},\"took_ms\":%" PRId64 ",", report->survey->took_ms);
    append_json_routes(report->watch, report->survey, "routes", out);
    buf_append_str(out, ",");
    append_json_routes(report->watch, report->before, "routes_before", out);
    buf_append_str(out, ",");
    append_json_rogues(report->rogues, out);
    buf_append_str(out, ",");
    append_json_recovery(report->recovery, out);
    buf_append_str(out, ",\"notes\":[");
    for (size_t i = 0; i < report->note_count; i++) {
        buf_append_str(out, i > 0 ? ",{" : "{");
        append_text(out, "about", report->notes[i].about);
        buf_append_str(out, ",");
        append_text(out, "text", report->notes[i].text);
        buf_append_str(out, "}");
    }
    buf_append_str(out, "]}\n");
}
