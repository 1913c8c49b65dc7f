/* Looks at the watch file as the installed units will use it. Main thread; no state. */
#include "watchdog/check.h"

#include "watchdog/state.h"
#include "watchdog/unit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SERVICE "health-watch.service"
#define TIMER   "health-watch.timer"

/* Counts itself. */
__attribute__((format(printf, 2, 3))) static void warn(int *warnings, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("warning: ", stdout);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    ++*warnings;
}

static void check_unit(int *warnings, const char *unit, bool must_exist)
{
    struct unit_status status;
    struct error err = {0};
    enum unit_answer answer = unit_show(unit, &status, &err);
    if (answer != UNIT_OK)
        printf("note: cannot ask systemd for %s: %s\n", unit, err.text);
    else if (must_exist && status.load != UNIT_LOADED)
        warn(warnings, "%s %s", unit,
             status.load == UNIT_MASKED      ? "is masked: it will never be recovered"
             : status.load == UNIT_NOT_FOUND ? "does not exist"
                                             : "cannot be loaded");
    else if (status.needs_reload)
        warn(warnings, "%s has changed on disk since systemd read it: run systemctl daemon-reload", unit);
}

bool check_timer(char *out, size_t out_size)
{
    struct unit_status timer;
    struct error err = {0};
    const char *why = NULL;
    if (unit_show(TIMER, &timer, &err) != UNIT_OK)
        return true;
    if (timer.load != UNIT_LOADED)
        why = "is not there";
    else if (timer.state != UNIT_RUNNING)
        why = "is not active";
    else if (timer.is_disabled)
        why = "is disabled: it ends with this boot";
    if (why != NULL)
        snprintf(out, out_size, "no timer runs this program, " TIMER " %s: systemctl enable --now " TIMER,
                 why);
    return why == NULL;
}

/* Whether path is directory or below it. */
static bool is_below(const char *path, const char *directory, size_t len)
{
    while (len > 1 && directory[len - 1] == '/')
        len--;
    return len > 0 && strncmp(path, directory, len) == 0 &&
           (path[len] == '/' || path[len] == '\0' || len == 1);
}

/* Whether the service's property is that word; for one that is not installed, or not known, the shipped
 * unit's. */
static bool service_has(const char *property, const char *word)
{
    struct buf value = {0};
    struct error err = {0};
    bool known = unit_property(SERVICE, property, &value, &err) == UNIT_OK && value.len > 1;
    bool has = !known || (value.len == strlen(word) + 1 && strncmp(value.data, word, strlen(word)) == 0);
    buf_free(&value);
    return has;
}

static const char *hidden_by(const char *path)
{
    static const struct {
        const char *directory, *property;
    } rows[] = {{"/tmp", "PrivateTmp"},
                {"/var/tmp", "PrivateTmp"},
                {"/home", "ProtectHome"},
                {"/root", "ProtectHome"},
                {"/run/user", "ProtectHome"}};
    for (size_t i = 0; path != NULL && i < sizeof rows / sizeof rows[0]; i++)
        if (is_below(path, rows[i].directory, strlen(rows[i].directory)) &&
            service_has(rows[i].property, "yes"))
            return rows[i].property;
    return NULL;
}

static void check_path(int *warnings, const char *key, const char *path)
{
    const char *property = hidden_by(path);
    if (property != NULL)
        warn(warnings, "%s %s is hidden from " SERVICE " by %s=: use another path, or set %s=no in a drop-in",
             key, path, property, property);
}

/* Whether one of the words, directories that may begin with a dash (systemd.exec(5)), has path; before each
 * of them stands prefix. */
static bool any_has(const char *words, const char *prefix, const char *path)
{
    char directory[4096];
    for (const char *at = words + strspn(words, " \n"); *at != '\0'; at += strspn(at, " \n")) {
        size_t len = strcspn(at, " \n");
        const char *name = at + strspn(at, "-+");
        snprintf(directory, sizeof directory, "%s%.*s", prefix, (int)(at + len - name), name);
        if (is_below(path, directory, strlen(directory)))
            return true;
        at += len;
    }
    return false;
}

static bool service_writes(const char *property, const char *prefix, const char *path)
{
    struct buf words = {0};
    struct error err = {0};
    bool yes = unit_property(SERVICE, property, &words, &err) == UNIT_OK && any_has(words.data, prefix, path);
    buf_free(&words);
    return yes;
}

static void check_state(int *warnings, const struct watch *watch)
{
    char path[4096];
    struct error err = {0};
    int lock = -1;
    state_path(watch->state_file, watch->unit, path, sizeof path);
    check_path(warnings, "state_file", path);
    if (watch->state_file != NULL && service_has("ProtectSystem", "strict") &&
        !service_writes("StateDirectory", "/var/lib/", path) && !service_writes("ReadWritePaths", "", path))
        warn(warnings,
             "state_file %s cannot be written by " SERVICE
             " (ProtectSystem=strict), which then recovers nothing: "
             "add its directory to ReadWritePaths= in a drop-in",
             path);
    else if (geteuid() == 0 && state_lock(path, 0, &lock, &err) == STATE_NO_LOCK)
        warn(warnings, "%s: nothing would be recovered", err.text);
    if (lock >= 0)
        close(lock);
}

enum judge_level check_config(const char *file, const struct watch *watch)
{
    char why[200];
    int warnings = 0;
    size_t core = 0;
    const char *listener = watch->listener;
    for (size_t i = 0; i < watch->route_count; i++)
        core += watch->routes[i].class == WATCH_CORE;
    printf("%s: ok, %zu routes, %zu of them core, recovers %s\n", file, watch->route_count, core,
           watch->unit != NULL ? watch->unit : "nothing");
    check_path(&warnings, "base_url", watch->unix_path);
    check_path(&warnings, "listener",
               listener != NULL && strncmp(listener, "unix:", 5) == 0 ? listener + 5 : NULL);
    check_path(&warnings, "ca_file", watch->ca_file);
    if (watch->unit != NULL) {
        check_unit(&warnings, watch->unit, true);
        check_state(&warnings, watch);
        if (!check_timer(why, sizeof why))
            warn(&warnings, "%s", why);
        if (!watchfile_is_direct(watch) && watch->socket.len != 0 && watch->protocol == WATCH_NOT_ASKED)
            printf("note: without listener_protocol %s is only killed behind a proxy when the proxy says "
                   "that it "
                   "hangs, or nobody accepts at its listener\n",
                   watch->unit);
    }
    check_unit(&warnings, TIMER, false);
    check_unit(&warnings, SERVICE, false);
    return warnings > 0 ? JUDGE_WARNING : JUDGE_FINE;
}
