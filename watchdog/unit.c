/* Runs systemctl and parses what it prints, and reads the CPU pressure of a unit. Main thread; owns nothing.
 */
#include "watchdog/unit.h"

#include "common/clock.h"
#include "common/quantity.h"
#include "watchdog/command.h"

#include <stdio.h>
#include <string.h>

static const char properties[] = "Id,LoadState,ActiveState,SubState,Result,MainPID,NRestarts,"
                                 "NeedDaemonReload,ControlGroup,Slice,UnitFileState,"
                                 "Restart,RestartPreventExitStatus,SuccessExitStatus,Job,"
                                 "ActiveEnterTimestampMonotonic,ExecMainStartTimestampMonotonic,"
                                 "InactiveExitTimestampMonotonic";

bool unit_get(const char *text, const char *name, char *out, size_t out_size)
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

/* A missing property counts as 0, since not all kinds of units have it; so does an empty one, such as Job=
 * when there is no job. */
static bool get_number(const char *text, const char *name, int64_t *out)
{
    char value[32];
    *out = 0;
    if (!unit_get(text, name, value, sizeof value) || value[0] == '\0')
        return true;
    return quantity_parse_count(value, out);
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
    /* Later versions of systemd add "auto-restart-queued" and "failed-before-auto-restart". */
    if (strstr(sub, "auto-restart") != NULL)
        return UNIT_RESTARTING;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strcmp(active, states[i].word) == 0)
            return states[i].state;
    return UNIT_ODD;
}

/* Whether systemd restarts the unit after a SIGKILL. Follows the table of Restart= in systemd.service(5): its
 * row "unclean signal", or "clean exit" if SuccessExitStatus= lists the signal. prevent:
 * RestartPreventExitStatus=. Both properties name a signal without SIG. */
static bool restarts_after_kill(const char *restart, const char *prevent, const char *success)
{
    static const char *const words[] = {"always", "on-failure", "on-abnormal", "on-abort"};
    if (strstr(prevent, "KILL") != NULL)
        return false;
    if (strstr(success, "KILL") != NULL)
        return strcmp(restart, "always") == 0 || strcmp(restart, "on-success") == 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(restart, words[i]) == 0)
            return true;
    return false;
}

/* Takes the latest of three times: a unit that is starting may have no main process yet. */
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
    char load[32] = "";
    char reload[8] = "no";
    char restart[32] = "no";
    char prevent[256] = "";
    char success[256] = "";
    const struct {
        const char *name;
        char *out;
        size_t out_size;
        bool is_required;
    } texts[] = {
        {"Id", out->id, sizeof out->id, true},
        {"LoadState", load, sizeof load, true},
        {"ActiveState", out->active, sizeof out->active, true},
        {"SubState", out->sub, sizeof out->sub, true},
        {"Result", out->result, sizeof out->result, false},
        {"ControlGroup", out->control_group, sizeof out->control_group, false},
        {"Slice", out->slice, sizeof out->slice, false},
        {"UnitFileState", out->file, sizeof out->file, false},
        {"NeedDaemonReload", reload, sizeof reload, false},
        {"Restart", restart, sizeof restart, false},
        {"RestartPreventExitStatus", prevent, sizeof prevent, false},
        {"SuccessExitStatus", success, sizeof success, false},
    };
    int64_t pid = 0;
    int64_t job = 0;
    const char *bad = NULL;
    *out = (struct unit_status){0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && bad == NULL; i++)
        if (!unit_get(text, texts[i].name, texts[i].out, texts[i].out_size) && texts[i].is_required)
            bad = texts[i].name;
    if (bad == NULL && (!get_number(text, "MainPID", &pid) || pid > INT32_MAX))
        bad = "MainPID";
    if (bad == NULL && !get_number(text, "NRestarts", &out->restarts))
        bad = "NRestarts";
    if (bad == NULL && !get_number(text, "Job", &job))
        bad = "Job";
    if (bad == NULL && !get_started(text, now_us, out))
        bad = "a timestamp";
    if (bad != NULL) {
        error_set(err, "systemctl show: %s is missing or malformed", bad);
        return false;
    }
    out->restarts_itself = restarts_after_kill(restart, prevent, success);
    out->load = parse_load(load);
    out->state = parse_state(out->active, out->sub);
    out->main_pid = (pid_t)pid;
    out->job = job;
    out->needs_reload = strcmp(reload, "yes") == 0;
    return true;
}

static enum unit_answer run_systemctl(const char *const argv[], struct buf *out, struct error *err)
{
    switch (command_run(argv, UNIT_TIMEOUT_MS, out, err)) {
    case COMMAND_OK: return UNIT_OK;
    case COMMAND_MISSING:
    case COMMAND_TIMEOUT: return UNIT_SILENT;
    case COMMAND_FAILED: break;
    }
    return UNIT_REFUSED;
}

enum unit_answer unit_show_properties(const char *unit, const char *names, struct buf *out, struct error *err)
{
    const char *const argv[] = {"systemctl", "show", "--no-pager", "--property", names, "--", unit, NULL};
    enum unit_answer answer = run_systemctl(argv, out, err);
    buf_append(out, "", 0);
    if (answer != UNIT_OK || strlen(out->data) == out->len)
        return answer;
    error_set(err, "systemctl show: NUL byte in the output");
    return UNIT_REFUSED;
}

enum unit_answer unit_show(const char *unit, struct unit_status *out, struct error *err)
{
    struct buf text = {0};
    enum unit_answer answer = unit_show_properties(unit, properties, &text, err);
    if (answer == UNIT_OK && !unit_parse(text.data, clock_monotonic_us(), out, err))
        answer = UNIT_REFUSED;
    buf_free(&text);
    return answer;
}

int unit_parse_pressure(const char *text, const char *line)
{
    int per_cent = 0;
    const char *at = strstr(text, line);
    return at != NULL && sscanf(at + strlen(line), " avg10=%d", &per_cent) == 1 ? per_cent : 0;
}

static int read_pressure(const char *path, const char *line)
{
    struct buf text = {0};
    struct error err = {0};
    int per_cent = buf_read_file(&text, path, 4096, &err) ? unit_parse_pressure(text.data, line) : 0;
    buf_free(&text);
    return per_cent;
}

int unit_cpu_pressure(const struct unit_status *unit)
{
    /* The mount points of cgroup v2, alone and in the hybrid setup: file-hierarchy(7). */
    static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    char path[600];
    int full = 0;
    int some = read_pressure("/proc/pressure/cpu", "some");
    for (size_t i = 0; i < 2 && full == 0; i++) {
        snprintf(path, sizeof path, "%s%s/cpu.pressure", mounts[i], unit->control_group);
        full = read_pressure(path, "full");
    }
    return full < some ? full : some;
}

enum unit_answer unit_order(enum unit_order order, const char *unit, struct error *err)
{
    static const char *const words[][3] = {
        [UNIT_KILL_MAIN] = {"kill", "--kill-whom=main", "--signal=SIGKILL"},
        [UNIT_KILL_ALL] = {"kill", "--kill-whom=all", "--signal=SIGKILL"},
        [UNIT_RESET] = {"reset-failed"},
        [UNIT_START] = {"start", "--no-block"},
        [UNIT_RESTART] = {"restart", "--no-block"},
    };
    const char *argv[8] = {"systemctl", words[order][0], "--no-ask-password"};
    struct buf out = {0};
    size_t n = 3;
    for (size_t i = 1; i < 3; i++)
        if (words[order][i] != NULL)
            argv[n++] = words[order][i];
    argv[n++] = "--";
    argv[n] = unit;
    enum unit_answer answer = run_systemctl(argv, &out, err);
    buf_free(&out);
    return answer;
}
