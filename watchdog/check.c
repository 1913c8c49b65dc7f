/* Checks a watch file against the installed units: whether the unit exists, whether the timer runs, and
 * whether the sandbox of health-watch.service can reach each path. Main thread; owns nothing. */
#include "watchdog/check.h"

#include "watchdog/state.h"
#include "watchdog/unit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SERVICE "health-watch.service"
#define TIMER   "health-watch.timer"

/* The properties that decide which paths the service can see and write. */
#define SANDBOX "PrivateTmp,ProtectHome,ProtectSystem,StateDirectory,ReadWritePaths"

/* Prints a warning and counts it. */
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
        printf("note: cannot ask systemd about %s: %s\n", unit, err.text);
    else if (must_exist && status.load != UNIT_LOADED)
        warn(warnings, "%s %s", unit,
             status.load == UNIT_MASKED      ? "is masked: health-watch will never recover it"
             : status.load == UNIT_NOT_FOUND ? "does not exist"
                                             : "cannot be loaded");
    else if (status.needs_reload)
        warn(warnings, "%s has changed on disk since systemd read it: run systemctl daemon-reload", unit);
}

enum check_timer check_timer(char *out, size_t out_size)
{
    struct unit_status timer;
    struct error err = {0};
    if (unit_show(TIMER, &timer, &err) != UNIT_OK)
        return CHECK_TIMER_RUNS;
    const char *why = timer.load == UNIT_NOT_FOUND                                  ? "is not installed"
                      : timer.load == UNIT_MASKED                                   ? "is masked"
                      : timer.load != UNIT_LOADED                                   ? "cannot be loaded"
                      : timer.state != UNIT_RUNNING                                 ? "is not active"
                      : timer.file[0] != '\0' && strcmp(timer.file, "enabled") != 0 ? "is not enabled"
                                                                                    : NULL;
    if (why == NULL)
        return CHECK_TIMER_RUNS;
    snprintf(out, out_size, TIMER " %s: %s", why,
             timer.load == UNIT_LOADED && timer.state == UNIT_RUNNING
                 ? "it will not start at the next boot"
                 : "health-watch runs only if something else starts it");
    return timer.load == UNIT_NOT_FOUND ? CHECK_TIMER_NONE : CHECK_TIMER_IDLE;
}

/* Whether path is directory or below it. */
static bool is_below(const char *path, const char *directory, size_t len)
{
    while (len > 1 && directory[len - 1] == '/')
        len--;
    return len > 0 && strncmp(path, directory, len) == 0 &&
           (path[len] == '/' || path[len] == '\0' || len == 1);
}

/* Whether the property is on. If systemd does not answer, it counts as on, as in the shipped unit file. */
static bool is_on(const char *shown, const char *property)
{
    char value[256];
    return !unit_get(shown, property, value, sizeof value) ||
           (strcmp(value, "no") != 0 && strcmp(value, "read-only") != 0);
}

static const char *hidden_by(const char *shown, const char *path)
{
    static const struct {
        const char *directory, *property;
    } rows[] = {{"/tmp", "PrivateTmp"},
                {"/var/tmp", "PrivateTmp"},
                {"/home", "ProtectHome"},
                {"/root", "ProtectHome"},
                {"/run/user", "ProtectHome"}};
    for (size_t i = 0; path != NULL && i < sizeof rows / sizeof rows[0]; i++)
        if (is_below(path, rows[i].directory, strlen(rows[i].directory)) && is_on(shown, rows[i].property))
            return rows[i].property;
    return NULL;
}

static void check_path(int *warnings, const char *shown, const char *key, const char *path)
{
    const char *property = hidden_by(shown, path);
    if (property != NULL)
        warn(warnings, "%s %s is hidden from " SERVICE " by %s=: use another path, or set %s=no in a drop-in",
             key, path, property, property);
}

/* Whether path is below one of the directories that the property lists; each of them is below prefix. A "-"
 * or "+" before a directory is not part of its name (systemd.exec(5)). */
static bool has_directory(const char *shown, const char *property, const char *prefix, const char *path)
{
    char words[4096];
    char directory[4200];
    char *rest = NULL;
    if (!unit_get(shown, property, words, sizeof words))
        return false;
    for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        snprintf(directory, sizeof directory, "%s%s", prefix, word + strspn(word, "-+"));
        if (is_below(path, directory, strlen(directory)))
            return true;
    }
    return false;
}

static void check_state(int *warnings, const char *shown, const struct watch *watch)
{
    char path[4096];
    char strict[32] = "strict";
    char directory[4096]; /* the program creates the lock and the next version of the file there */
    (void)!unit_get(shown, "ProtectSystem", strict, sizeof strict);
    state_path(watch->state_file, watch->unit, path, sizeof path);
    snprintf(directory, sizeof directory, "%.*s", (int)(strrchr(path, '/') - path), path);
    check_path(warnings, shown, "state_file", path);
    if (watch->state_file != NULL && hidden_by(shown, path) == NULL && strcmp(strict, "strict") == 0 &&
        !has_directory(shown, "StateDirectory", "/var/lib/", directory) &&
        !has_directory(shown, "ReadWritePaths", "", directory))
        warn(warnings,
             "state_file %s cannot be written by " SERVICE
             " (ProtectSystem=strict), so health-watch recovers nothing: "
             "add its directory to ReadWritePaths= in a drop-in",
             path);
    else if (geteuid() == 0 && !state_can_write(path))
        warn(warnings, "state_file %s: %s, so health-watch recovers nothing", path, strerror(errno));
}

enum judge_level check_config(const char *file, const struct watch *watch)
{
    char why[200];
    struct buf shown = {0};
    struct error err = {0};
    int warnings = 0;
    size_t core = 0;
    const char *listener = watch->listener;
    for (size_t i = 0; i < watch->route_count; i++)
        core += watch->routes[i].class == WATCH_CORE;
    printf("%s: ok, %zu routes, %zu of them core, recovers %s\n", file, watch->route_count, core,
           watch->unit != NULL ? watch->unit : "nothing");
    buf_append(&shown, "", 0);
    if (unit_show_properties(SERVICE, SANDBOX, &shown, &err) != UNIT_OK)
        buf_reset(&shown); /* then the values of the shipped unit file count */
    check_path(&warnings, shown.data, "base_url", watch->unix_path);
    check_path(&warnings, shown.data, "listener",
               listener != NULL && strncmp(listener, "unix:", 5) == 0 ? listener + 5 : NULL);
    check_path(&warnings, shown.data, "ca_file", watch->ca_file);
    if (watch->unit != NULL) {
        check_unit(&warnings, watch->unit, true);
        check_state(&warnings, shown.data, watch);
        if (check_timer(why, sizeof why) != CHECK_TIMER_RUNS)
            warn(&warnings, "%s", why);
        if (!watchfile_is_direct(watch) && watch->socket.len != 0 && watch->protocol == WATCH_NOT_ASKED)
            printf("note: without listener_protocol health-watch kills %s behind a proxy only if the proxy "
                   "reports that it hangs, or if nothing accepts connections at its listener\n",
                   watch->unit);
    }
    check_unit(&warnings, TIMER, false);
    check_unit(&warnings, SERVICE, false);
    buf_free(&shown);
    return warnings > 0 ? JUDGE_WARNING : JUDGE_FINE;
}
