/* The settings: one table says how each is read, checked, printed and explained. Main thread; owns nothing,
 * the strings stay in the environment. */
#include "cgi/config.h"

#include "common/quantity.h"
#include "common/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#define PREFIX "HEALTH_"

/* The least HEALTH_FD_LIMIT: room for one connection. */
#define FD_LIMIT_MIN (CONFIG_BASE_FDS + 1)

/* No setting's name is longer. */
#define NAME_MAX_LEN 40

enum kind {
    KIND_TEXT,
    KIND_LISTEN,
    KIND_DURATION, /* ms */
    KIND_COUNT,
    KIND_MODE, /* octal */
    KIND_LEVEL,
    KIND_FD_LIMIT, /* a count whose default and maximum come from RLIMIT_NOFILE */
};

struct option {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *fallback;      /* parsed like a given value; NULL: the field stays NULL or is computed */
    const char *fallback_help; /* what --help shows instead of fallback */
    int64_t min;
    int64_t max;
    const char *meaning;
};

#define FIELD(member) offsetof(struct config, member)

static const struct option options[] = {
    {"HEALTH_LISTEN", KIND_LISTEN, FIELD(listen), NULL, "inherited", 0, 0,
     "unix:/PATH or tcp:ADDR:PORT, TCP on loopback only; else see above"},
    {"HEALTH_SOCKET_MODE", KIND_MODE, FIELD(socket_mode), "0660", NULL, 0, 0777,
     "permissions of the socket that HEALTH_LISTEN creates, octal"},
    {"HEALTH_SOCKET_GROUP", KIND_TEXT, FIELD(socket_group), NULL, "none", 0, 0,
     "group of that socket; unset: the process's own"},
    {"HEALTH_CHECKS", KIND_TEXT, FIELD(checks_path), "/etc/health-api/checks.sql", NULL, 0, 0,
     "file with the checks; SIGHUP reads it again"},
    {"HEALTH_INTERVAL", KIND_DURATION, FIELD(interval_ms), "2s", NULL, 100, HOUR_MS,
     "time from one probe of the database to the next"},
    {"HEALTH_CONNECT_TIMEOUT", KIND_DURATION, FIELD(connect_timeout_ms), "1s", NULL, 10, 5 * MINUTE_MS,
     "limit for connecting to the database"},
    {"HEALTH_QUERY_TIMEOUT", KIND_DURATION, FIELD(query_timeout_ms), "800ms", NULL, 10, 5 * MINUTE_MS,
     "limit for each check that has no timeout of its own"},
    {"HEALTH_RECONNECT_EVERY", KIND_DURATION, FIELD(reconnect_every_ms), "10s", NULL, 100, 24 * HOUR_MS,
     "time between fresh connections: an old one hides a hung postmaster"},
    {"HEALTH_STALE_AFTER", KIND_DURATION, FIELD(stale_after_ms), "6s", NULL, 100, 24 * HOUR_MS,
     "age at which a result counts no more; above interval + both timeouts"},
    {"HEALTH_FALL", KIND_COUNT, FIELD(fall), "1", NULL, 1, 100,
     "failed probes in a row before the status is degraded"},
    {"HEALTH_RISE", KIND_COUNT, FIELD(rise), "1", NULL, 1, 100,
     "good probes in a row before the status is healthy again"},
    {"HEALTH_DRAIN", KIND_DURATION, FIELD(drain_ms), "0s", NULL, 0, 5 * MINUTE_MS,
     "how long after SIGTERM to answer 503 draining before closing"},
    {"HEALTH_STOP_TIMEOUT", KIND_DURATION, FIELD(stop_timeout_ms), "3s", NULL, 500, 5 * MINUTE_MS,
     "the process is gone this long after draining, whatever hangs"},
    {"HEALTH_FD_LIMIT", KIND_FD_LIMIT, FIELD(fd_limit), NULL, "80% of the limit", FD_LIMIT_MIN, 0,
     "open descriptors (of RLIMIT_NOFILE) past which to answer 503 and stop"},
    {"HEALTH_MAX_CONNECTIONS", KIND_COUNT, FIELD(max_connections), "256", NULL, 1, 65536,
     "FastCGI connections at a time; past it the longest idle one makes room"},
    {"HEALTH_IDLE_TIMEOUT", KIND_DURATION, FIELD(idle_timeout_ms), "75s", NULL, 100, 24 * HOUR_MS,
     "idle FastCGI connections are closed after this"},
    {"HEALTH_LOG_LEVEL", KIND_LEVEL, FIELD(log_level), "info", NULL, 0, 0,
     "error, warn, notice, info or debug"},
};

#define OPTION_COUNT (sizeof options / sizeof options[0])

static int64_t get_number(const struct config *config, const struct option *option)
{
    int64_t value;
    memcpy(&value, (const char *)config + option->offset, sizeof value);
    return value;
}

static const char *get_text(const struct config *config, const struct option *option)
{
    const char *value;
    memcpy(&value, (const char *)config + option->offset, sizeof value);
    return value;
}

static void set_number(struct config *config, const struct option *option, int64_t value)
{
    memcpy((char *)config + option->offset, &value, sizeof value);
}

static void set_text(struct config *config, const struct option *option, const char *value)
{
    memcpy((char *)config + option->offset, &value, sizeof value);
}

static bool kind_is_text(enum kind kind)
{
    return kind == KIND_TEXT || kind == KIND_LISTEN;
}

const char *config_parse_listen(const char *text, struct address *out)
{
    const char *expected = address_parse(text, out);
    if (expected == NULL && !address_is_loopback(out))
        expected = "a loopback address (127.0.0.0/8, [::1]): FastCGI has no authentication";
    return expected;
}

/* NULL: it is one. */
static const char *expected_address(const char *text)
{
    struct address address;
    return config_parse_listen(text, &address);
}

static bool parse_number(const struct option *option, const char *text, int64_t *out)
{
    const char *rest;
    enum log_level level;
    switch (option->kind) {
    case KIND_DURATION: return quantity_parse_duration(text, out);
    case KIND_COUNT:
    case KIND_FD_LIMIT: return quantity_parse_digits(text, 10, out, &rest) && *rest == '\0';
    case KIND_MODE: return quantity_parse_digits(text, 8, out, &rest) && *rest == '\0';
    case KIND_LEVEL:
        if (!log_level_parse(text, &level))
            return false;
        *out = level;
        return true;
    case KIND_TEXT:
    case KIND_LISTEN: break;
    }
    return false;
}

static bool in_range(const struct option *option, int64_t value, int64_t max)
{
    return option->kind == KIND_LEVEL || (value >= option->min && value <= max);
}

/* What a value of this option must look like, for the error of the one that does not. */
static void describe_expected(const struct option *option, const char *value, int64_t max, char *out,
                              size_t out_size)
{
    char low[32];
    char high[32];
    switch (option->kind) {
    case KIND_DURATION:
        quantity_format_duration(option->min, low, sizeof low);
        quantity_format_duration(max, high, sizeof high);
        snprintf(out, out_size, "a duration with its unit (800ms, 2s, 1m, 1h) from %s to %s", low, high);
        break;
    case KIND_COUNT:
        snprintf(out, out_size, "a number from %" PRId64 " to %" PRId64, option->min, max);
        break;
    case KIND_FD_LIMIT:
        snprintf(out, out_size, "a number from %" PRId64 " to %" PRId64 ", below RLIMIT_NOFILE", option->min,
                 max);
        break;
    case KIND_MODE: snprintf(out, out_size, "an octal mode from 0 to %04" PRIo64, (uint64_t)max); break;
    case KIND_LEVEL: snprintf(out, out_size, "%s", option->meaning); break;
    case KIND_LISTEN: snprintf(out, out_size, "%s", expected_address(value)); break;
    case KIND_TEXT: out[0] = '\0'; break;
    }
}

/* max: of this process, which is option->max or follows from RLIMIT_NOFILE. */
static bool set_option(struct config *config, const struct option *option, const char *value, int64_t max,
                       struct error *err)
{
    int64_t number;
    if (option->kind == KIND_TEXT || (option->kind == KIND_LISTEN && expected_address(value) == NULL)) {
        set_text(config, option, value);
        return true;
    }
    if (option->kind != KIND_LISTEN && parse_number(option, value, &number) &&
        in_range(option, number, max)) {
        set_number(config, option, number);
        return true;
    }
    char expected[128];
    describe_expected(option, value, max, expected, sizeof expected);
    error_set(err, "%s='%.60s%s': expected %s", option->name, value, strlen(value) > 60 ? "..." : "",
              expected);
    text_clean(err->text);
    return false;
}

/* The value of the first "NAME=value" in vars, as getenv(3) would find it; NULL when absent or empty. */
static const char *find_value(char *const *vars, const char *name)
{
    size_t len = strlen(name);
    for (; *vars != NULL; vars++)
        if (strncmp(*vars, name, len) == 0 && (*vars)[len] == '=')
            return (*vars)[len + 1] != '\0' ? *vars + len + 1 : NULL;
    return NULL;
}

static int64_t min3(int64_t a, int64_t b, int64_t c)
{
    int64_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein's distance without regard to case; b is a setting's name or part of one. */
static size_t edit_distance(const char *a, size_t a_len, const char *b)
{
    int64_t row[NAME_MAX_LEN + 1];
    size_t b_len = strlen(b);
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (int64_t)j;
    for (size_t i = 1; i <= a_len; i++) {
        int64_t diagonal = row[0];
        row[0] = (int64_t)i;
        for (size_t j = 1; j <= b_len; j++) {
            int64_t above = row[j];
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + !same);
            diagonal = above;
        }
    }
    return (size_t)row[b_len];
}

/* The known name that this one may be meant to be. The common prefix says nothing, so it does not count. */
static const char *nearest_name(const char *name, size_t name_len)
{
    const char *nearest = NULL;
    size_t part_len = name_len - strlen(PREFIX);
    size_t least = 4;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t distance = edit_distance(name + strlen(PREFIX), part_len, options[i].name + strlen(PREFIX));
        if (distance < least && distance * 2 < part_len) {
            least = distance;
            nearest = options[i].name;
        }
    }
    return nearest;
}

static bool is_known(const char *name, size_t name_len)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strlen(options[i].name) == name_len && memcmp(options[i].name, name, name_len) == 0)
            return true;
    return false;
}

static void report_unknown(char *const *vars, config_unknown_fn *unknown)
{
    for (; *vars != NULL; vars++) {
        size_t name_len = strcspn(*vars, "=");
        if (strncmp(*vars, PREFIX, strlen(PREFIX)) != 0 || is_known(*vars, name_len))
            continue;
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)(name_len < sizeof name ? name_len : sizeof name), *vars);
        unknown(name, nearest_name(*vars, name_len));
    }
}

/* Between two results lie an interval and a probe that may use up both its limits: an age below that would
 * call a working prober stale. */
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

bool config_load(char *const *environ_vars, int64_t fd_soft_limit, config_unknown_fn *unknown,
                 struct config *out, struct error *err)
{
    *out = (struct config){0};
    if (fd_soft_limit <= 0)
        fd_soft_limit = INT64_MAX; /* RLIM_INFINITY as a signed number */
    if (fd_soft_limit <= FD_LIMIT_MIN) {
        error_set(err, "RLIMIT_NOFILE is %" PRId64 ", expected at least %d", fd_soft_limit, FD_LIMIT_MIN + 1);
        return false;
    }
    int64_t fd_default = fd_soft_limit / 5 * 4 + fd_soft_limit % 5 * 4 / 5;
    out->fd_limit = fd_default > FD_LIMIT_MIN ? fd_default : FD_LIMIT_MIN;

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *value = find_value(environ_vars, options[i].name);
        int64_t max = options[i].kind == KIND_FD_LIMIT ? fd_soft_limit - 1 : options[i].max;
        if (value == NULL)
            value = options[i].fallback;
        if (value != NULL && !set_option(out, &options[i], value, max, err))
            return false;
    }
    if (out->max_connections > out->fd_limit - CONFIG_BASE_FDS)
        out->max_connections = out->fd_limit - CONFIG_BASE_FDS; /* peers alone must not make us stop */
    if (unknown != NULL)
        report_unknown(environ_vars, unknown);
    return check_stale_after(out, err);
}

void config_print_help(FILE *out)
{
    size_t name_width = 0;
    size_t default_width = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < OPTION_COUNT; i++) {
            const struct option *o = &options[i];
            const char *shown = o->fallback_help != NULL ? o->fallback_help : o->fallback;
            if (pass == 1) {
                fprintf(out, "  %-*s  %-*s  %s\n", (int)name_width, o->name, (int)default_width, shown,
                        o->meaning);
                continue;
            }
            name_width = strlen(o->name) > name_width ? strlen(o->name) : name_width;
            default_width = strlen(shown) > default_width ? strlen(shown) : default_width;
        }
    }
}

bool config_get(const struct config *config, size_t i, const char **name, char *value, size_t value_size)
{
    if (i >= OPTION_COUNT)
        return false;
    const struct option *option = &options[i];
    *name = option->name;
    if (kind_is_text(option->kind)) {
        const char *text = get_text(config, option);
        snprintf(value, value_size, "%s", text != NULL ? text : "");
        return true;
    }
    int64_t number = get_number(config, option);
    switch (option->kind) {
    case KIND_DURATION: quantity_format_duration(number, value, value_size); break;
    case KIND_MODE: snprintf(value, value_size, "%04" PRIo64, (uint64_t)number); break;
    case KIND_LEVEL: snprintf(value, value_size, "%s", log_level_name((enum log_level)number)); break;
    default: snprintf(value, value_size, "%" PRId64, number); break;
    }
    return true;
}
