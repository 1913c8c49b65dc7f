/* The table of settings, and the rules that concern more than one of them. Runs on the main thread; owns
 * nothing: the strings stay in the environment. */
#include "cgi/config.h"

#include "common/clock.h"
#include "common/quantity.h"
#include "common/setting.h"
#include "common/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "HEALTH_"

/* The unit that `make install` installs reads this file. */
#define ENVIRONMENT_FILE "/etc/health-api/environment"

#define FIELD(member) offsetof(struct config, member)

static const char *check_listen(const char *text)
{
    struct address address;
    return config_parse_listen(text, &address);
}

static const char *const public_view_names[] = {[PUBLIC_FULL] = "full", [PUBLIC_BARE] = "bare"};

static const char *check_drain_file(const char *text)
{
    bool is_file = text[0] == '/' && text[strlen(text) - 1] != '/';
    return is_file || strcmp(text, CONFIG_DRAIN_OFF) == 0
               ? NULL
               : "the absolute path of a file, or " CONFIG_DRAIN_OFF;
}

static const struct setting settings[] = {
    {"HEALTH_LISTEN", SETTING_TEXT, FIELD(listen), NULL, 0, 0,
     "unix:/PATH or tcp:ADDR:PORT, TCP on loopback only; unset: see above", .fallback_help = "inherited",
     .check = check_listen},
    {"HEALTH_SOCKET_MODE", SETTING_MODE, FIELD(socket_mode), "0660", 0, 0777,
     .meaning = "permissions of the socket that HEALTH_LISTEN creates, octal"},
    {"HEALTH_SOCKET_GROUP", SETTING_TEXT, FIELD(socket_group), NULL, 0, 0,
     "group of that socket; unset: the group of the process", .fallback_help = "none"},
    {"HEALTH_CHECKS", SETTING_TEXT, FIELD(checks_path), "/etc/health-api/checks.sql",
     .meaning = "file with the checks; SIGHUP makes the program read it again"},
    {"HEALTH_INTERVAL", SETTING_DURATION, FIELD(interval_ms), "2s", 100, HOUR_MS,
     .meaning = "time from one question for a count to the next"},
    {"HEALTH_CONNECT_TIMEOUT", SETTING_DURATION, FIELD(connect_timeout_ms), "1500ms", 10, 5 * MINUTE_MS,
     .meaning = "limit for connecting to the database"},
    {"HEALTH_QUERY_TIMEOUT", SETTING_DURATION, FIELD(query_timeout_ms), "800ms", 10, 5 * MINUTE_MS,
     .meaning = "limit for each check that has no timeout of its own"},
    {"HEALTH_RECONNECT_EVERY", SETTING_DURATION, FIELD(reconnect_every_ms), "4s", 100, 24 * HOUR_MS,
     .meaning = "time between new sessions: an old session hides a hung postmaster"},
    {"HEALTH_STALE_AFTER", SETTING_DURATION, FIELD(stale_after_ms), "6s", 100, 24 * HOUR_MS,
     .meaning = "age at which a result no longer counts; above interval + both timeouts"},
    {"HEALTH_HEARTBEAT", SETTING_DURATION, FIELD(heartbeat_ms), "250ms", 0, MINUTE_MS,
     .meaning = "time between pings of an idle session; 0s: one ping per interval"},
    {"HEALTH_HUNG_AFTER", SETTING_DURATION, FIELD(hung_after_ms), "800ms", 100, MINUTE_MS,
     .meaning = "a server that gives no sign of life for this long is hung"},
    {"HEALTH_MAX_LOAD", SETTING_COUNT, FIELD(max_load), "2", 1, 100,
     .meaning = "per cent of the server's time that each check may take"},
    {"HEALTH_FALL", SETTING_COUNT, FIELD(fall), "1", 1, 100,
     .meaning = "failures in a row before a check or the database counts as failed"},
    {"HEALTH_RISE", SETTING_COUNT, FIELD(rise), "1", 1, 100,
     .meaning = "successes in a row before it counts as healthy again"},
    {"HEALTH_DRAIN", SETTING_DURATION, FIELD(drain_ms), "0s", 0, 5 * MINUTE_MS,
     .meaning = "how long to answer 503 draining after SIGTERM before closing"},
    {"HEALTH_DRAIN_FILE", SETTING_TEXT, FIELD(drain_file), NULL, 0, 0,
     "while this file exists: 503 draining; unset: a file named drain; or off",
     .fallback_help = "beside the socket", .check = check_drain_file},
    {"HEALTH_STOP_TIMEOUT", SETTING_DURATION, FIELD(stop_timeout_ms), "3s", 500, 5 * MINUTE_MS,
     .meaning = "the process ends at most this long after the drain, even if it hangs"},
    {"HEALTH_FD_LIMIT", SETTING_COUNT, FIELD(fd_limit), NULL, 0, 0, /* config_load sets this range */
     "exit 1 with more open descriptors than this; the limit is RLIMIT_NOFILE",
     .fallback_help = "80% of the limit", .note = ", below RLIMIT_NOFILE"},
    {"HEALTH_MAX_CONNECTIONS", SETTING_COUNT, FIELD(max_connections), "256", 1, 65536,
     .meaning = "FastCGI connections at a time; at the limit the longest idle one is closed"},
    {"HEALTH_IDLE_TIMEOUT", SETTING_DURATION, FIELD(idle_timeout_ms), "75s", 100, 24 * HOUR_MS,
     .meaning = "how long a FastCGI connection may be idle before it is closed"},
    {"HEALTH_PUBLIC", SETTING_WORD, FIELD(public_view), "full", PUBLIC_FULL, PUBLIC_BARE,
     "full; bare: strangers see the status and nothing else", .words = public_view_names},
    {"HEALTH_LOG_LEVEL", SETTING_WORD, FIELD(log_level), "info", LOG_LEVEL_ERROR, LOG_LEVEL_DEBUG,
     "error, warn, notice, info or debug", .words = log_level_names},
};

#define ROWS (sizeof settings / sizeof settings[0])

const char *config_parse_listen(const char *text, struct address *out)
{
    const char *expected = address_parse(text, out);
    if (expected == NULL && !address_is_loopback(out))
        expected = "a loopback address (127.0.0.0/8, [::1]): FastCGI has no authentication";
    return expected;
}

/* Returns the value of the first "NAME=value" in vars, like getenv(3), but NULL for an empty one. */
static const char *find_value(char *const *vars, const char *name)
{
    size_t len = strlen(name);
    for (; *vars != NULL; vars++)
        if (strncmp(*vars, name, len) == 0 && (*vars)[len] == '=')
            return (*vars)[len + 1] != '\0' ? *vars + len + 1 : NULL;
    return NULL;
}

/* From one result to the next there is an interval and a probe that may use up both of its timeouts. With a
 * smaller age, a working prober would be stale. */
static bool check_stale_after(const struct config *c, struct error *err)
{
    int64_t least = c->interval_ms + c->connect_timeout_ms + c->query_timeout_ms;
    if (c->stale_after_ms > least)
        return true;
    const int64_t values[] = {c->stale_after_ms, c->interval_ms, c->connect_timeout_ms, c->query_timeout_ms,
                              least};
    char text[5][32];
    for (size_t i = 0; i < 5; i++)
        quantity_format_duration(values[i], text[i], sizeof text[i]);
    error_set(err,
              "HEALTH_STALE_AFTER='%s': expected more than HEALTH_INTERVAL %s + HEALTH_CONNECT_TIMEOUT %s + "
              "HEALTH_QUERY_TIMEOUT %s = %s",
              text[0], text[1], text[2], text[3], text[4]);
    return false;
}

/* Stores the value that vars have for this row, if any. False: err names the value. */
static bool load_row(const struct setting *row, char *const *vars, struct config *out, struct error *err)
{
    struct error expected = {0};
    const char *value = find_value(vars, row->name);
    if (value == NULL || setting_set(row, value, out, &expected))
        return true;
    error_set(err, "%s='%.60s%s': expected %s", row->name, value, strlen(value) > 60 ? "..." : "",
              expected.text);
    text_clean(err->text);
    return false;
}

int64_t config_heartbeat_ns(const struct config *config)
{
    return (config->heartbeat_ms > 0 ? config->heartbeat_ms : config->interval_ms) * NS_PER_MS;
}

bool config_load_listen(char *const *environ_vars, const char **out, struct error *err)
{
    struct config config = {0};
    const struct setting *row = setting_find(settings, ROWS, "HEALTH_LISTEN", strlen("HEALTH_LISTEN"));
    bool ok = load_row(row, environ_vars, &config, err);
    *out = config.listen;
    return ok;
}

bool config_load(char *const *environ_vars, int64_t fd_soft_limit, int base_fds, struct config *out,
                 struct error *err)
{
    int64_t fd_min = base_fds + 1; /* room for one connection */
    *out = (struct config){0};
    if (fd_soft_limit <= 0)
        fd_soft_limit = INT64_MAX; /* RLIM_INFINITY as a signed number */
    if (fd_soft_limit <= fd_min) {
        error_set(err, "RLIMIT_NOFILE is %" PRId64 ", expected at least %" PRId64, fd_soft_limit, fd_min + 1);
        return false;
    }
    int64_t fd_default = fd_soft_limit / 5 * 4 + fd_soft_limit % 5 * 4 / 5;
    out->fd_limit = fd_default > fd_min ? fd_default : fd_min;
    setting_set_fallbacks(settings, ROWS, out);
    for (size_t i = 0; i < ROWS; i++) {
        struct setting row = settings[i];
        if (row.offset == FIELD(fd_limit)) {
            row.min = fd_min;
            row.max = fd_soft_limit - 1;
        }
        if (!load_row(&row, environ_vars, out, err))
            return false;
    }
    if (out->max_connections > out->fd_limit - base_fds)
        out->max_connections = out->fd_limit - base_fds; /* peers alone must not end the process */
    return check_stale_after(out, err);
}

bool config_next_unknown(char *const **vars, char *out, size_t out_size)
{
    while (**vars != NULL) {
        const char *var = *(*vars)++;
        size_t len = strcspn(var, "=");
        if (strncmp(var, PREFIX, strlen(PREFIX)) == 0 && setting_find(settings, ROWS, var, len) == NULL) {
            snprintf(out, out_size, "%.*s", (int)(len < out_size ? len : out_size), var);
            return true;
        }
    }
    return false;
}

void config_print_unread_file(const char *purpose, const char *option, FILE *out)
{
    bool is_in_a_unit = getenv("INVOCATION_ID") != NULL; /* systemd.exec(5) */
    if (is_in_a_unit || (access(ENVIRONMENT_FILE, F_OK) != 0 && errno != EACCES))
        return;
    fprintf(out,
            "health-api: " ENVIRONMENT_FILE " was not read: only systemd reads it, for the service.\n"
            "To %s, run:\n"
            "  systemd-run --pipe --wait --collect -q -p User=health-api -p EnvironmentFile=" ENVIRONMENT_FILE
            " health-api %s\n",
            purpose, option);
}

void config_print_help(FILE *out)
{
    setting_print(settings, ROWS, out);
}

bool config_get(const struct config *config, size_t i, const char **name, char *value, size_t value_size)
{
    if (i >= ROWS)
        return false;
    *name = settings[i].name;
    setting_format(&settings[i], config, value, value_size);
    return true;
}
