/* Renders a report as text, or as JSON with json-c. Main thread; owns nothing. */
#include "watchdog/report.h"

#include "common/clock.h"
#include "common/text.h"
#include "common/version.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void report_add(struct report *report, const char *about, const char *format, ...)
{
    va_list args;
    if (report->finding_count == REPORT_MAX_FINDINGS)
        return;
    struct report_finding *finding = &report->findings[report->finding_count++];
    finding->about = about;
    va_start(args, format);
    vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
    text_clean(finding->text); /* the cut may split a UTF-8 character */
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
    int asked = judged->tries + judged->signs[JUDGE_STARVED];
    buf_appendf(out, "%s %s: ", watchfile_class_name(route->class), route->path);
    if (asked == 0)
        buf_append_str(out, "not requested\n");
    else if (judged->last.outcome == JUDGE_OK)
        buf_appendf(out, "ok, %d in %" PRId64 " ms, %d %s\n", judged->code, ms_of(judged), asked,
                    asked == 1 ? "try" : "tries");
    else
        buf_appendf(out, "%s (%d %s, %" PRId64 " ms)\n", judged->last.why, asked,
                    asked == 1 ? "try" : "tries", ms_of(judged));
}

static void append_routes(const struct watch *watch, const struct survey *survey, bool verbose,
                          bool only_final, struct buf *out)
{
    for (size_t i = 0; i < watch->route_count; i++) {
        const struct judge_route *judged = &survey->routes[i];
        bool is_fine = judged->last.outcome == JUDGE_OK;
        if (only_final ? judged->is_final && !is_fine : verbose || !is_fine)
            append_route(&watch->routes[i], judged, out);
    }
}

void report_text(const struct report *report, bool verbose, struct buf *out)
{
    if (report->before != NULL)
        append_routes(report->watch, report->before, false, true, out);
    else
        append_routes(report->watch, report->survey, verbose, false, out);
    for (size_t i = 0; i < report->finding_count; i++)
        buf_appendf(out, "%s: %s\n", report->findings[i].about, report->findings[i].text);
    if (report->before != NULL)
        append_routes(report->watch, report->survey, verbose, false, out);
    report_summary(&report->counts, out);
    buf_append(out, "\n", 1);
}

static void add_text(struct json_object *to, const char *key, const char *text)
{
    char *copy = mem_strdup(text);
    text_clean(copy);
    json_object_object_add(to, key, json_object_new_string(copy));
    free(copy);
}

static void add_number(struct json_object *to, const char *key, int64_t number)
{
    json_object_object_add(to, key, json_object_new_int64(number));
}

static void add_bool(struct json_object *to, const char *key, bool yes)
{
    json_object_object_add(to, key, json_object_new_boolean(yes));
}

static struct json_object *route_object(const struct watch_route *route, const struct judge_route *judged)
{
    struct json_object *out = json_object_new_object();
    add_text(out, "path", route->path);
    add_text(out, "class", watchfile_class_name(route->class));
    add_bool(out, "liveness", route->liveness);
    add_text(out, "verdict", judge_outcome_name(judged->last.outcome));
    add_text(out, "why",
             judged->tries + judged->signs[JUDGE_STARVED] > 0 ? judged->last.why : "not requested");
    add_number(out, "code", judged->code);
    add_number(out, "tries", judged->tries);
    add_number(out, "dead_tries", judge_dead_tries(judged));
    add_number(out, "starved_tries", judged->signs[JUDGE_STARVED]);
    add_number(out, "time_us", judged->time_us);
    return out;
}

/* Returns NULL, which json-c prints as null, without a survey. */
static struct json_object *routes_array(const struct watch *watch, const struct survey *survey)
{
    struct json_object *out = survey != NULL ? json_object_new_array() : NULL;
    for (size_t i = 0; survey != NULL && i < watch->route_count; i++)
        json_object_array_add(out, route_object(&watch->routes[i], &survey->routes[i]));
    return out;
}

static struct json_object *rogues_array(const struct rogue_list *rogues)
{
    struct json_object *out = json_object_new_array();
    for (size_t i = 0; i < rogues->count; i++) {
        const struct rogue *rogue = &rogues->items[i];
        struct json_object *item = json_object_new_object();
        char since[CLOCK_ISO_SIZE];
        clock_format_iso(holder_start_wall_ms(rogue->holder.start_ticks), since);
        add_number(item, "pid", rogue->holder.pid);
        add_text(item, "user", rogue->holder.user);
        add_text(item, "command", rogue->holder.command_line);
        add_text(item, "since", since);
        add_text(item, "cgroup", rogue->cgroup);
        json_object_array_add(out, item);
    }
    return out;
}

static struct json_object *recovery_object(const struct recovery *recovery)
{
    if (recovery->action == POLICY_NOTHING)
        return NULL;
    struct json_object *out = json_object_new_object();
    add_text(out, "action", recover_action_name(recovery->action));
    add_bool(out, "ok", recovery->ok);
    add_number(out, "took_ms", recovery->took_ms);
    add_text(out, "text", recovery->text);
    return out;
}

static struct json_object *summary_object(const struct judge_counts *counts)
{
    struct json_object *out = json_object_new_object();
    for (int outcome = 0; outcome < JUDGE_OUTCOMES; outcome++)
        add_number(out, judge_outcome_name((enum judge_outcome)outcome), (int64_t)counts->of[outcome]);
    return out;
}

static struct json_object *notes_array(const struct report *report)
{
    struct json_object *out = json_object_new_array();
    for (size_t i = 0; i < report->finding_count; i++) {
        struct json_object *note = json_object_new_object();
        add_text(note, "about", report->findings[i].about);
        add_text(note, "text", report->findings[i].text);
        json_object_array_add(out, note);
    }
    return out;
}

void report_json(const struct report *report, struct buf *out)
{
    struct json_object *document = json_object_new_object();
    char now[CLOCK_ISO_SIZE];
    clock_format_iso(clock_wall_ms(), now);
    add_text(document, "status", judge_level_name(report->level));
    add_number(document, "exit_code", report->level);
    add_text(document, "version", HEALTH_VERSION);
    add_text(document, "time", now);
    json_object_object_add(document, "summary", summary_object(&report->counts));
    add_number(document, "took_ms", report->survey->took_ms);
    json_object_object_add(document, "routes", routes_array(report->watch, report->survey));
    json_object_object_add(document, "routes_before", routes_array(report->watch, report->before));
    json_object_object_add(document, "rogues", rogues_array(report->rogues));
    json_object_object_add(document, "recovery", recovery_object(report->recovery));
    json_object_object_add(document, "notes", notes_array(report));
    buf_append_str(out, json_object_to_json_string_ext(document, JSON_C_TO_STRING_PLAIN |
                                                                     JSON_C_TO_STRING_NOSLASHESCAPE));
    buf_append(out, "\n", 1);
    json_object_put(document);
}
