/* systemctl and what it prints. Main thread; no state. */
#include "watchdog/unit.h"

#include "common/quantity.h"
#include "watchdog/command.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char properties[] =
    "--property=Id,LoadState,ActiveState,SubState,Result,MainPID,NRestarts,"
    "NeedDaemonReload,ControlGroup,Slice,UnitFileState,"
    "Restart,RestartPreventExitStatus,Job,ActiveEnterTimestampMonotonic,ExecMainStartTimestampMonotonic,"
    "InactiveExitTimestampMonotonic";

/* The value of a line "NAME=value"; false when it is missing or does not fit. */
static bool get(const char *text, const char *name, char *out, size_t out_size)
{
    size_t name_len = strlen(name);
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (len > name_len && memcmp(line, name, name_len) == 0 && line[name_len] == '=') {
            size_t value_len = len - name_len - 1;
            if (value_len >= out_size)
                return false;
            memcpy(out, line + name_len + 1, value_len);
            out[value_len] = '\0';
            return true;
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

/* A property that other kinds of units do not have counts as 0, and so does an empty one: Job= without a job.
 */
static bool get_number(const char *text, const char *name, int64_t *out)
{
    char value[32];
    const char *rest;
    *out = 0;
    if (!get(text, name, value, sizeof value) || value[0] == '\0')
        return true;
    return quantity_parse_digits(value, 10, out, &rest) && *rest == '\0';
}

static enum unit_load parse_load(const char *word)
{
    if (strcmp(word, "loaded") == 0)
        return UNIT_LOADED;
    if (strcmp(word, "not-found") == 0)
        return UNIT_NOT_FOUND;
    return strcmp(word, "masked") == 0 ? UNIT_MASKED : UNIT_BAD;
}

static enum unit_state parse_state(const char *active, const char *sub)
{
    static const struct {
        const char *word;
        enum unit_state state;
    } states[] = {
        {"inactive", UNIT_INACTIVE},     {"failed", UNIT_FAILED},      {"active", UNIT_RUNNING},
        {"reloading", UNIT_RUNNING},     {"refreshing", UNIT_RUNNING}, {"activating", UNIT_STARTING},
        {"deactivating", UNIT_STOPPING},
    };
    /* Later versions add "auto-restart-queued" and "failed-before-auto-restart". */
    if (strstr(sub, "auto-restart") != NULL)
        return UNIT_RESTARTING;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strcmp(active, states[i].word) == 0)
            return states[i].state;
    return UNIT_ODD;
}

/* The table of Restart= in systemd.service(5), column "unclean signal"; prevent: RestartPreventExitStatus=,
 * in which signals have their names without SIG. */
static bool restarts_after_kill(const char *restart, const char *prevent)
{
    static const char *const words[] = {"always", "on-failure", "on-abnormal", "on-abort"};
    if (strstr(prevent, "KILL") != NULL)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(restart, words[i]) == 0)
            return true;
    return false;
}

/* When the latest of its starts was: of the process; of the unit, for one that is starting and has no process
 * yet. */
static bool get_started(const char *text, int64_t now_us, struct unit_status *out)
{
    static const char *const names[] = {"ActiveEnterTimestampMonotonic", "ExecMainStartTimestampMonotonic",
                                        "InactiveExitTimestampMonotonic"};
    int64_t latest_us = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int64_t us;
        if (!get_number(text, names[i], &us))
            return false;
        latest_us = us > latest_us ? us : latest_us;
    }
    out->start_us = latest_us;
    out->started_ms = latest_us == 0 ? INT64_MAX : latest_us > now_us ? 0 : (now_us - latest_us) / 1000;
    return true;
}

bool unit_parse(const char *text, int64_t now_us, struct unit_status *out, struct error *err)
{
    char load[32];
    char reload[8] = "no";
    char restart[32] = "no";
    char prevent[256] = "";
    char file_state[32] = "";
    int64_t pid = 0;
    int64_t job = 0;
    const char *bad = NULL;
    *out = (struct unit_status){0};
    if (!get(text, "Id", out->id, sizeof out->id))
        bad = "Id";
    else if (!get(text, "LoadState", load, sizeof load))
        bad = "LoadState";
    else if (!get(text, "ActiveState", out->active, sizeof out->active))
        bad = "ActiveState";
    else if (!get(text, "SubState", out->sub, sizeof out->sub))
        bad = "SubState";
    else if (!get_number(text, "MainPID", &pid) || pid > INT32_MAX)
        bad = "MainPID";
    else if (!get_number(text, "NRestarts", &out->restarts))
        bad = "NRestarts";
    else if (!get_number(text, "Job", &job))
        bad = "Job";
    else if (!get_started(text, now_us, out))
        bad = "a timestamp";
    if (bad != NULL) {
        error_set(err, "systemctl show: %s is missing or strange", bad);
        return false;
    }
    if (!get(text, "Result", out->result, sizeof out->result))
        out->result[0] = '\0';
    if (!get(text, "ControlGroup", out->control_group, sizeof out->control_group))
        out->control_group[0] = '\0';
    if (!get(text, "Slice", out->slice, sizeof out->slice))
        out->slice[0] = '\0';
    (void)!get(text, "NeedDaemonReload", reload, sizeof reload);
    (void)!get(text, "Restart", restart, sizeof restart);
    (void)!get(text, "RestartPreventExitStatus", prevent, sizeof prevent);
    (void)!get(text, "UnitFileState", file_state, sizeof file_state);
    out->is_disabled = strcmp(file_state, "disabled") == 0;
    out->restarts_itself = restarts_after_kill(restart, prevent);
    out->load = parse_load(load);
    out->state = parse_state(out->active, out->sub);
    out->main_pid = (pid_t)pid;
    out->has_job = job > 0;
    out->needs_reload = strcmp(reload, "yes") == 0;
    return true;
}

static enum unit_answer run(const char *const argv[], struct buf *out, struct error *err)
{
    switch (command_run(argv, UNIT_TIMEOUT_MS, out, err)) {
    case COMMAND_OK: return UNIT_OK;
    case COMMAND_MISSING:
    case COMMAND_TIMEOUT: return UNIT_SILENT;
    case COMMAND_FAILED: break;
    }
    return UNIT_REFUSED;
}

static enum unit_answer order(const char *const argv[], struct error *err)
{
    struct buf out = {0};
    enum unit_answer answer = run(argv, &out, err);
    buf_free(&out);
    return answer;
}

enum unit_answer unit_show(const char *unit, struct unit_status *out, struct error *err)
{
    const char *const argv[] = {"systemctl", "show", "--no-pager", properties, "--", unit, NULL};
    struct buf text = {0};
    struct timespec now;
    enum unit_answer answer = run(argv, &text, err);
    clock_gettime(CLOCK_MONOTONIC, &now); /* systemd's own clock for its time stamps */
    buf_append(&text, "", 0);
    if (answer == UNIT_OK && strlen(text.data) != text.len) {
        error_set(err, "systemctl show: NUL byte in its answer");
        answer = UNIT_REFUSED;
    }
    if (answer == UNIT_OK &&
        !unit_parse(text.data, (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000, out, err))
        answer = UNIT_REFUSED;
    buf_free(&text);
    return answer;
}

enum unit_answer unit_property(const char *unit, const char *name, struct buf *out, struct error *err)
{
    const char *const argv[] = {"systemctl", "show", "--no-pager", "--value", "--property",
                                name,        "--",   unit,         NULL};
    enum unit_answer answer = run(argv, out, err);
    buf_append(out, "", 0);
    return answer;
}

int unit_parse_pressure(const char *text)
{
    int per_cent = 0;
    const char *full = strstr(text, "full avg10=");
    return full != NULL && sscanf(full, "full avg10=%d", &per_cent) == 1 ? per_cent : 0;
}

int unit_cpu_pressure(const struct unit_status *unit)
{
    struct buf text = {0};
    struct error err = {0};
    char path[600];
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.pressure", unit->control_group);
    int per_cent =
        buf_read_file(&text, path, 4096, &err) && text.data != NULL ? unit_parse_pressure(text.data) : 0;
    buf_free(&text);
    return per_cent;
}

enum unit_answer unit_kill_main(const char *unit, struct error *err)
{
    const char *const argv[] = {
        "systemctl", "kill", "--no-ask-password", "--kill-whom=main", "--signal=SIGKILL", "--", unit, NULL};
    return order(argv, err);
}

enum unit_answer unit_kill_all(const char *unit, struct error *err)
{
    const char *const argv[] = {
        "systemctl", "kill", "--no-ask-password", "--kill-whom=all", "--signal=SIGKILL", "--", unit, NULL};
    return order(argv, err);
}

enum unit_answer unit_reset(const char *unit, struct error *err)
{
    const char *const argv[] = {"systemctl", "reset-failed", "--no-ask-password", "--", unit, NULL};
    return order(argv, err);
}

enum unit_answer unit_start(const char *unit, struct error *err)
{
    const char *const argv[] = {"systemctl", "start", "--no-ask-password", "--no-block", "--", unit, NULL};
    (void)!unit_reset(unit, err); /* it may not have failed; the start decides */
    return order(argv, err);
}

enum unit_answer unit_restart(const char *unit, struct error *err)
{
    const char *const argv[] = {"systemctl", "restart", "--no-ask-password", "--no-block", "--", unit, NULL};
    return order(argv, err);
}
