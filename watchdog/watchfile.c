/* Reads the watch file: a line is "KEY VALUE" or "core|aux PATH [OPTION VALUE]...". Two tables say what there
 * is. Any thread; owns nothing but what it returns. */
#include "watchdog/watchfile.h"

#include "common/buf.h"
#include "common/quantity.h"
#include "common/version.h"

#include <ctype.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* How much of a word an error shows. */
#define QUOTE_MAX 60

enum kind {
    KIND_TEXT, /* to the end of the line */
    KIND_PATH, /* absolute */
    KIND_URL,  /* fills unix_path too */
    KIND_UNIT,
    KIND_LISTENER,
    KIND_PROTOCOL,
    KIND_CODES,
    KIND_DURATION,
    KIND_COUNT,
    KIND_SWITCH,
};

struct key {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *fallback; /* parsed as if it stood in the file; NULL: none */
    int64_t min;
    int64_t max;
    const char *meaning;
};

#define FIELD(member) offsetof(struct watch, member)

static const struct key keys[] = {
    {"base_url", KIND_URL, FIELD(base_url), NULL, 0, 0,
     "http://HOST[:PORT][/PREFIX], https://..., or unix:/PATH"},
    {"host", KIND_TEXT, FIELD(host), NULL, 0, 0, "Host header, for a virtual host; unset: as in base_url"},
    {"ca_file", KIND_PATH, FIELD(ca_file), NULL, 0, 0, "certificates to trust (PEM); unset: the system's"},
    {"user_agent", KIND_TEXT, FIELD(user_agent), "health-watch/" HEALTH_VERSION, 0, 0, "User-Agent header"},
    {"unit", KIND_UNIT, FIELD(unit), NULL, 0, 0, "service to recover; unset: only look and report"},
    {"listener", KIND_LISTENER, FIELD(listener), NULL, 0, 0,
     "socket that must be the unit's: unix:/PATH or tcp:ADDRESS:PORT"},
    {"listener_protocol", KIND_PROTOCOL, FIELD(protocol), NULL, 0, 0,
     "how it is asked before a kill, fastcgi or http; unset: not asked"},
    {"state_file", KIND_PATH, FIELD(state_file), NULL, 0, 0,
     "memory of recoveries; unset: /var/lib/health-watch/UNIT.state"},
    {"codes", KIND_CODES, FIELD(codes), "200-299", 0, 0, "accepted status codes of routes that name none"},
    {"tries", KIND_COUNT, FIELD(tries), "3", 1, 10, "requests to a route that does not answer"},
    {"retry_wait", KIND_DURATION, FIELD(retry_wait_ms), "1s", 0, MINUTE_MS, "time between them"},
    {"connect_timeout", KIND_DURATION, FIELD(connect_timeout_ms), "1s", 10, MINUTE_MS,
     "limit for name resolution, connecting and TLS"},
    {"timeout", KIND_DURATION, FIELD(timeout_ms), "2s", 10, 5 * MINUTE_MS,
     "limit for a whole request of routes that name none"},
    {"concurrency", KIND_COUNT, FIELD(concurrency), "8", 1, 64, "requests at a time"},
    {"budget", KIND_COUNT, FIELD(budget), "3", 0, 60, "recoveries in any hour; past it only report"},
    {"start_grace", KIND_DURATION, FIELD(start_grace_ms), "20s", 0, HOUR_MS,
     "a unit that has started less long ago is left alone"},
    {"cooldown", KIND_DURATION, FIELD(cooldown_ms), "1m", 0, HOUR_MS,
     "least time from one recovery to the next"},
    {"restart_wait", KIND_DURATION, FIELD(restart_wait_ms), "30s", 1000, 10 * MINUTE_MS,
     "how long a recovery waits for an answer"},
    {"evict_rogue", KIND_SWITCH, FIELD(evict_rogue), "no", 0, 0,
     "yes: end a foreign process that holds the listener"},
};

#define KEY_COUNT (sizeof keys / sizeof keys[0])

struct parser {
    const char *file;
    int line;
    char *at;            /* rest of the line */
    int seen[KEY_COUNT]; /* line where the key stands, 0: nowhere */
    struct watch *watch;
    struct error *err;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct parser *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_vset_at(p->err, p->file, p->line, format, args);
    va_end(args);
    return false;
}

static bool fail_value(struct parser *p, const char *what, const char *value, const char *expected)
{
    return fail(p, "%s '%.*s%s': expected %s", what, QUOTE_MAX, value, strlen(value) > QUOTE_MAX ? "..." : "",
                expected);
}

/* The next word of the line, ended with a NUL; NULL at its end. */
static char *next_word(struct parser *p)
{
    char *word = p->at + strspn(p->at, " \t");
    if (*word == '\0')
        return NULL;
    p->at = word + strcspn(word, " \t");
    if (*p->at != '\0')
        *p->at++ = '\0';
    return word;
}

static void *field_of(struct watch *watch, const struct key *key)
{
    return (char *)watch + key->offset;
}

static void set_text(struct watch *watch, const struct key *key, const char *value)
{
    char *copy = mem_strdup(value);
    memcpy(field_of(watch, key), &copy, sizeof copy);
}

static bool set_number(struct parser *p, const struct key *key, const char *value)
{
    int64_t number;
    char low[32];
    char high[32];
    bool is_duration = key->kind == KIND_DURATION;
    bool ok = is_duration ? quantity_parse_duration(value, &number) : quantity_parse_count(value, &number);
    if (ok && number >= key->min && number <= key->max) {
        memcpy(field_of(p->watch, key), &number, sizeof number);
        return true;
    }
    if (is_duration) {
        quantity_format_duration(key->min, low, sizeof low);
        quantity_format_duration(key->max, high, sizeof high);
        snprintf(p->err->text, sizeof p->err->text, "a duration with its unit (800ms, 2s, 1m) from %s to %s",
                 low, high);
    } else {
        snprintf(p->err->text, sizeof p->err->text, "a number from %" PRId64 " to %" PRId64, key->min,
                 key->max);
    }
    char expected[96];
    snprintf(expected, sizeof expected, "%.95s", p->err->text);
    return fail_value(p, key->name, value, expected);
}

static bool set_switch(struct parser *p, const struct key *key, const char *value)
{
    bool on = strcmp(value, "yes") == 0;
    if (!on && strcmp(value, "no") != 0)
        return fail_value(p, key->name, value, "yes or no");
    memcpy(field_of(p->watch, key), &on, sizeof on);
    return true;
}

static bool set_url(struct parser *p, const struct key *key, const char *value)
{
    char *url = value_parse_url(value, &p->watch->unix_path);
    if (url == NULL)
        return fail_value(
            p, key->name, value,
            "http://HOST[:PORT][/PREFIX], https://HOST..., or unix:/PATH, without user, ? and #");
    memcpy(field_of(p->watch, key), &url, sizeof url);
    return true;
}

static bool set_unit(struct parser *p, const struct key *key, const char *value)
{
    char unit[256];
    if (!value_parse_unit(value, unit, sizeof unit))
        return fail_value(p, key->name, value, "the name of a .service unit");
    set_text(p->watch, key, unit);
    return true;
}

static bool set_listener(struct parser *p, const struct key *key, const char *value)
{
    if (address_parse(value, &p->watch->socket) != NULL)
        return fail_value(
            p, key->name, value,
            "unix:/PATH or tcp:ADDRESS:PORT with a numeric address ([::1] for IPv6, * for any)");
    set_text(p->watch, key, value);
    return true;
}

static bool set_protocol(struct parser *p, const struct key *key, const char *value)
{
    enum watch_protocol protocol = strcmp(value, "fastcgi") == 0 ? WATCH_FASTCGI
                                   : strcmp(value, "http") == 0  ? WATCH_HTTP
                                                                 : WATCH_NOT_ASKED;
    memcpy(field_of(p->watch, key), &protocol, sizeof protocol);
    return protocol != WATCH_NOT_ASKED || fail_value(p, key->name, value, "fastcgi or http");
}

static bool set_key(struct parser *p, const struct key *key, const char *value)
{
    switch (key->kind) {
    case KIND_PATH:
        if (value[0] != '/')
            return fail_value(p, key->name, value, "an absolute path");
        set_text(p->watch, key, value);
        return true;
    case KIND_TEXT: set_text(p->watch, key, value); return true;
    case KIND_URL: return set_url(p, key, value);
    case KIND_UNIT: return set_unit(p, key, value);
    case KIND_LISTENER: return set_listener(p, key, value);
    case KIND_PROTOCOL: return set_protocol(p, key, value);
    case KIND_CODES:
        return value_parse_codes(value, &p->watch->codes) ||
               fail_value(p, key->name, value, "status codes such as 200, 200-399 or 200,302,503");
    case KIND_SWITCH: return set_switch(p, key, value);
    case KIND_DURATION:
    case KIND_COUNT: break;
    }
    return set_number(p, key, value);
}

/* "status=healthy" */
static bool set_json(struct parser *p, struct watch_route *route, const char *value)
{
    const char *equals = strchr(value, '=');
    if (equals == NULL || equals == value || route->json_key != NULL)
        return fail_value(p, "json", value, "KEY=VALUE such as status=healthy, once");
    route->json_key = mem_strdup(value);
    route->json_key[equals - value] = '\0';
    route->json_value = mem_strdup(equals + 1);
    return true;
}

static bool set_route_option(struct parser *p, struct watch_route *route, const char *option,
                             const char *value)
{
    if (strcmp(option, "codes") == 0)
        return (route->codes.count == 0 && value_parse_codes(value, &route->codes)) ||
               fail_value(p, option, value, "once, status codes such as 200, 200-399 or 200,302,503");
    if (strcmp(option, "timeout") == 0)
        return (route->timeout_ms == 0 && quantity_parse_duration(value, &route->timeout_ms) &&
                route->timeout_ms >= 10 && route->timeout_ms <= 5 * MINUTE_MS) ||
               fail_value(p, option, value, "once, a duration with its unit from 10ms to 5m");
    if (strcmp(option, "json") == 0)
        return set_json(p, route, value);
    return fail_value(p, "option", option, "codes, timeout, json, liveness or follow");
}

static bool take_route_options(struct parser *p, struct watch_route *route)
{
    for (char *option = next_word(p); option != NULL; option = next_word(p)) {
        if (strcmp(option, "liveness") == 0) {
            route->liveness = true;
        } else if (strcmp(option, "follow") == 0) {
            route->follow = true;
        } else {
            const char *value = next_word(p);
            if (!set_route_option(p, route, option, value != NULL ? value : ""))
                return false;
        }
    }
    if (route->liveness && route->class == WATCH_AUX)
        return fail(p, "'%.*s' is aux: expected liveness at core routes only", QUOTE_MAX, route->path);
    return true;
}

static bool take_route(struct parser *p, enum watch_class class)
{
    struct watch *watch = p->watch;
    const char *path = next_word(p);
    if (path == NULL || path[0] != '/' || strchr(path, '#') != NULL)
        return fail_value(p, "path", path != NULL ? path : "", "one that begins with / and has no #");
    for (size_t i = 0; i < watch->route_count; i++)
        if (strcmp(watch->routes[i].path, path) == 0)
            return fail(p, "path '%.*s' stands already in line %d", QUOTE_MAX, path, watch->routes[i].line);
    if (watch->route_count == WATCHFILE_MAX_ROUTES)
        return fail(p, "path '%.*s': expected at most %d routes", QUOTE_MAX, path, WATCHFILE_MAX_ROUTES);
    struct watch_route *route = &watch->routes[watch->route_count++];
    *route = (struct watch_route){.class = class, .path = mem_strdup(path), .line = p->line};
    return take_route_options(p, route);
}

static bool take_key(struct parser *p, const char *name)
{
    size_t i = 0;
    while (i < KEY_COUNT && strcmp(keys[i].name, name) != 0)
        i++;
    if (i == KEY_COUNT)
        return fail_value(p, "key", name, "core, aux or one of the keys that --help lists");
    if (p->seen[i] != 0)
        return fail(p, "%s stands already in line %d", name, p->seen[i]);
    p->seen[i] = p->line;
    const char *value = keys[i].kind == KIND_TEXT ? p->at + strspn(p->at, " \t") : next_word(p);
    if (value == NULL || *value == '\0')
        return fail(p, "%s: expected a value", name);
    if (keys[i].kind != KIND_TEXT && next_word(p) != NULL)
        return fail(p, "%s: expected one value", name);
    return set_key(p, &keys[i], value);
}

/* Cuts off a remark, which begins with a # at the start of a word, and white space at the end. */
static void strip_line(char *line)
{
    char *end = line + strlen(line);
    for (char *c = line; *c != '\0'; c++) {
        if (*c == '#' && (c == line || c[-1] == ' ' || c[-1] == '\t')) {
            end = c;
            break;
        }
    }
    while (end > line && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
        end--;
    *end = '\0';
}

static bool take_line(struct parser *p, char *line)
{
    strip_line(line);
    for (const char *c = line; *c != '\0'; c++) {
        if (*c != '\t' && !isprint((unsigned char)*c))
            return fail(p, "byte 0x%02x, expected printable ASCII outside remarks",
                        (unsigned)(unsigned char)*c);
    }
    p->at = line;
    const char *word = next_word(p);
    if (word == NULL)
        return true;
    if (strcmp(word, "core") == 0)
        return take_route(p, WATCH_CORE);
    if (strcmp(word, "aux") == 0)
        return take_route(p, WATCH_AUX);
    return take_key(p, word);
}

static bool take_lines(struct parser *p, char *text, size_t len)
{
    if (memchr(text, '\0', len) != NULL)
        return fail(p, "NUL byte, expected text");
    while (text != NULL) {
        char *newline = strchr(text, '\n');
        if (newline != NULL)
            *newline = '\0';
        p->line++;
        if (!take_line(p, text))
            return false;
        text = newline != NULL ? newline + 1 : NULL;
    }
    return true;
}

static bool set_fallbacks(struct parser *p)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (p->seen[i] == 0 && keys[i].fallback != NULL && !set_key(p, &keys[i], keys[i].fallback))
            return false;
    return true;
}

/* What needs the whole file. */
static bool finish(struct parser *p)
{
    struct watch *watch = p->watch;
    size_t core = 0;
    size_t marked = 0;
    if (!set_fallbacks(p))
        return false;
    for (size_t i = 0; i < watch->route_count; i++) {
        struct watch_route *route = &watch->routes[i];
        core += route->class == WATCH_CORE;
        marked += route->liveness;
        if (route->codes.count == 0)
            route->codes = watch->codes;
        if (route->timeout_ms == 0)
            route->timeout_ms = watch->timeout_ms;
    }
    for (size_t i = 0; i < watch->route_count && marked == 0; i++)
        watch->routes[i].liveness = watch->routes[i].class == WATCH_CORE;
    if (watch->base_url == NULL)
        return fail(p, "no base_url, expected one");
    if (core == 0)
        return fail(p, "no core route, expected at least one");
    if (watch->socket.len != 0 && watch->unit == NULL)
        return fail(p, "a listener without a unit, expected the unit that it must belong to");
    if (watch->protocol != WATCH_NOT_ASKED && watch->socket.len == 0)
        return fail(p, "a listener_protocol without a listener, expected the listener that speaks it");
    watch->base = value_address_of(watch->base_url, watch->unix_path);
    return true;
}

bool watchfile_parse(const char *text, size_t len, const char *file, struct watch *out, struct error *err)
{
    *out = (struct watch){.routes = mem_calloc(WATCHFILE_MAX_ROUTES, sizeof(struct watch_route))};
    struct parser p = {.file = file, .watch = out, .err = err};
    char *copy = mem_calloc(len + 1, 1);
    if (len > 0)
        memcpy(copy, text, len);
    bool ok = take_lines(&p, copy, len) && finish(&p);
    free(copy);
    if (!ok)
        watchfile_free(out);
    return ok;
}

void watchfile_free(struct watch *watch)
{
    for (size_t i = 0; i < watch->route_count; i++) {
        free(watch->routes[i].path);
        free(watch->routes[i].json_key);
        free(watch->routes[i].json_value);
    }
    free(watch->routes);
    free(watch->base_url);
    free(watch->unix_path);
    free(watch->host);
    free(watch->ca_file);
    free(watch->user_agent);
    free(watch->unit);
    free(watch->listener);
    free(watch->state_file);
    *watch = (struct watch){0};
}

/* Whether the listener is the wildcard address of the same family and port. */
static bool is_any_of_base(const struct watch *watch)
{
    struct address any = {.socket.ss_family = watch->base.socket.ss_family};
    /* IPv6 has its port at the same place. */
    ((struct sockaddr_in *)&any.socket)->sin_port =
        ((const struct sockaddr_in *)&watch->base.socket)->sin_port;
    return any.socket.ss_family != AF_UNIX &&
           memcmp(&any.socket, &watch->socket.socket, sizeof any.socket) == 0;
}

bool watchfile_is_direct(const struct watch *watch)
{
    return watch->base.len != 0 && watch->socket.len != 0 &&
           (memcmp(&watch->base.socket, &watch->socket.socket, sizeof watch->base.socket) == 0 ||
            (address_is_loopback(&watch->base) && is_any_of_base(watch)));
}

const char *watchfile_class_name(enum watch_class class)
{
    return class == WATCH_CORE ? "core" : "aux";
}

void watchfile_print_keys(FILE *out)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const char *fallback = keys[i].fallback != NULL ? keys[i].fallback : "-";
        fprintf(out, "  %-17s %-18s %s\n", keys[i].name, fallback, keys[i].meaning);
    }
}
