/* Parses the lines of a watch file, "KEY VALUE" or "core|aux PATH [OPTION VALUE]...". Two tables list the
 * keys and the options. Any thread; owns nothing but what it returns. */
#include "watchdog/watchfile.h"

#include "common/buf.h"
#include "common/quantity.h"
#include "common/setting.h"
#include "common/version.h"

#include <ctype.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The longest quote of a word in an error. */
#define QUOTE_MAX 60

static const char *check_url(const char *text)
{
    const char *unix_path;
    char *url = value_parse_url(text, &unix_path);
    bool is_good = url != NULL;
    free(url);
    return is_good ? NULL
                   : "http://HOST[:PORT][/PREFIX], https://HOST..., or unix:/PATH, without user, ? and #";
}

static const char *check_path(const char *text)
{
    return text[0] == '/' ? NULL : "an absolute path";
}

static const char *check_unit(const char *text)
{
    char name[VALUE_UNIT_SIZE];
    return value_parse_unit(text, name) ? NULL : "the name of a .service unit";
}

static const char *check_listener(const char *text)
{
    struct address address;
    return address_parse(text, &address) == NULL
               ? NULL
               : "unix:/PATH or tcp:ADDRESS:PORT with a numeric address ([::1] for IPv6, * for any)";
}

static const char *check_codes(const char *text)
{
    struct value_codes codes;
    return value_parse_codes(text, &codes) ? NULL : "status codes such as 200, 200-399 or 200,302,503";
}

static const char *const protocol_words[] = {[WATCH_FASTCGI] = "fastcgi", [WATCH_HTTP] = "http"};
static const char *const switch_words[] = {"no", "yes"};

#define FIELD(member) offsetof(struct watch, member)

/* A text without a check function extends to the end of its line; any other value is one word. */
static const struct setting keys[] = {
    {"base_url", SETTING_TEXT, FIELD(url),
     .meaning = "http://HOST[:PORT][/PREFIX], https://..., or unix:/PATH", .check = check_url},
    {"host", SETTING_TEXT, FIELD(host), .meaning = "Host header, for a virtual host; unset: from base_url"},
    {"ca_file", SETTING_TEXT, FIELD(ca_file), .meaning = "trusted certificates (PEM); unset: the system's",
     .check = check_path},
    {"user_agent", SETTING_TEXT, FIELD(user_agent), "health-watch/" HEALTH_VERSION,
     .meaning = "User-Agent header"},
    {"unit", SETTING_TEXT, FIELD(service), .meaning = "service to recover; unset: only report",
     .check = check_unit},
    {"listener", SETTING_TEXT, FIELD(listener),
     .meaning = "socket of the unit: unix:/PATH or tcp:ADDRESS:PORT", .check = check_listener},
    {"listener_protocol", SETTING_WORD, FIELD(protocol), NULL, WATCH_FASTCGI, WATCH_HTTP,
     "ask the listener before a kill, with fastcgi or http; unset: do not ask", .words = protocol_words},
    {"state_file", SETTING_TEXT, FIELD(state_file),
     .meaning = "record of recoveries; unset: /var/lib/health-watch/UNIT.state", .check = check_path},
    {"codes", SETTING_TEXT, FIELD(codes), "200-299",
     .meaning = "accepted status codes for routes without codes", .check = check_codes},
    {"tries", SETTING_COUNT, FIELD(tries), "3", 1, 10, .meaning = "tries of a route that does not answer"},
    {"retry_wait", SETTING_DURATION, FIELD(retry_wait_ms), "1s", 0, MINUTE_MS,
     .meaning = "pause between two tries"},
    {"connect_timeout", SETTING_DURATION, FIELD(connect_timeout_ms), "1s", 10, MINUTE_MS,
     .meaning = "limit for name resolution, connecting and TLS"},
    {"timeout", SETTING_DURATION, FIELD(timeout_ms), "2s", 10, 5 * MINUTE_MS,
     .meaning = "limit for a complete request, for routes without timeout"},
    {"concurrency", SETTING_COUNT, FIELD(concurrency), "8", 1, 64, .meaning = "requests at the same time"},
    {"budget", SETTING_COUNT, FIELD(budget), "3", 0, 60,
     .meaning = "recoveries per hour; after that only report"},
    {"start_grace", SETTING_DURATION, FIELD(start_grace_ms), "20s", 0, HOUR_MS,
     .meaning = "leave a unit alone for this long after its start"},
    {"cooldown", SETTING_DURATION, FIELD(cooldown_ms), "1m", 0, HOUR_MS,
     .meaning = "shortest time from one recovery to the next"},
    {"restart_wait", SETTING_DURATION, FIELD(restart_wait_ms), "30s", 1000, 10 * MINUTE_MS,
     .meaning = "how long a recovery waits for an answer"},
    {"evict_rogue", SETTING_WORD, FIELD(evict_rogue), "no", 0, 1,
     "yes: end a process outside the unit that holds the listener", .words = switch_words},
};

#define KEY_COUNT (sizeof keys / sizeof keys[0])

/* The options of a route. json, liveness and follow are not here: json sets two fields, the others have no
 * value. */
static const struct setting options[] = {
    {"codes", SETTING_TEXT, offsetof(struct watch_route, codes_text), .check = check_codes},
    {"timeout", SETTING_DURATION, offsetof(struct watch_route, timeout_ms), .min = 10, .max = 5 * MINUTE_MS},
};

#define OPTION_COUNT (sizeof options / sizeof options[0])

struct parser {
    const char *file;
    int line;
    char *at;             /* rest of the line */
    int lines[KEY_COUNT]; /* the line of each key; 0: not seen yet */
    struct watch *watch;
    struct error *err;
};

__attribute__((format(printf, 2, 3))) static bool bad_line(struct parser *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_vset_at(p->err, p->file, p->line, format, args);
    va_end(args);
    return false;
}

static bool bad_value(struct parser *p, const char *what, const char *value, const char *expected)
{
    return bad_line(p, "%s '%.*s%s': expected %s", what, QUOTE_MAX, value,
                    strlen(value) > QUOTE_MAX ? "..." : "", expected);
}

/* Returns the next word of the line, terminated with a NUL; NULL at the end of the line. */
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

/* value is such as "status=healthy". */
static bool set_json(struct parser *p, struct watch_route *route, char *value)
{
    char *equals = strchr(value, '=');
    if (equals == NULL || equals == value || route->json_key != NULL)
        return bad_value(p, "json", value, "KEY=VALUE such as status=healthy, once");
    *equals = '\0';
    route->json_key = value;
    route->json_value = equals + 1;
    return true;
}

/* seen: one bit for each option that the route has already. */
static bool set_option(struct parser *p, struct watch_route *route, const char *name, char *value,
                       unsigned *seen)
{
    const struct setting *option = setting_find(options, OPTION_COUNT, name, strlen(name));
    struct error expected = {0};
    if (strcmp(name, "json") == 0)
        return set_json(p, route, value);
    if (option == NULL)
        return bad_value(p, "option", name, "codes, timeout, json, liveness or follow");
    unsigned bit = 1U << (option - options);
    if ((*seen & bit) != 0)
        return bad_value(p, name, value, "once");
    *seen |= bit;
    return setting_set(option, value, route, &expected) || bad_value(p, name, value, expected.text);
}

static bool take_route_options(struct parser *p, struct watch_route *route)
{
    unsigned seen = 0;
    for (char *option = next_word(p); option != NULL; option = next_word(p)) {
        if (strcmp(option, "liveness") == 0) {
            route->liveness = true;
        } else if (strcmp(option, "follow") == 0) {
            route->follow = true;
        } else {
            char *value = next_word(p);
            /* Without a value, p->at points to the empty end of the line. */
            if (!set_option(p, route, option, value != NULL ? value : p->at, &seen))
                return false;
        }
    }
    if (route->liveness && route->class == WATCH_AUX)
        return bad_line(p, "'%.*s' is aux: expected liveness at core routes only", QUOTE_MAX, route->path);
    return true;
}

static bool take_route(struct parser *p, enum watch_class class)
{
    struct watch *watch = p->watch;
    const char *path = next_word(p);
    if (path == NULL || path[0] != '/' || strchr(path, '#') != NULL)
        return bad_value(p, "path", path != NULL ? path : "", "one that begins with / and has no #");
    for (size_t i = 0; i < watch->route_count; i++)
        if (strcmp(watch->routes[i].path, path) == 0)
            return bad_line(p, "path '%.*s' is already in line %d", QUOTE_MAX, path, watch->routes[i].line);
    if (watch->route_count == WATCHFILE_MAX_ROUTES)
        return bad_line(p, "path '%.*s': expected at most %d routes", QUOTE_MAX, path, WATCHFILE_MAX_ROUTES);
    struct watch_route *route = &watch->routes[watch->route_count++];
    *route = (struct watch_route){.class = class, .path = path, .line = p->line};
    return take_route_options(p, route);
}

static bool take_key(struct parser *p, const char *name)
{
    const struct setting *key = setting_find(keys, KEY_COUNT, name, strlen(name));
    struct error expected = {0};
    if (key == NULL)
        return bad_value(p, "key", name, "core, aux or one of the keys that --help lists");
    int *line = &p->lines[key - keys];
    if (*line != 0)
        return bad_line(p, "%s is already set in line %d", name, *line);
    *line = p->line;
    bool is_free = key->kind == SETTING_TEXT && key->check == NULL;
    const char *value = is_free ? p->at + strspn(p->at, " \t") : next_word(p);
    if (value == NULL || *value == '\0')
        return bad_line(p, "%s: expected a value", name);
    if (!is_free && next_word(p) != NULL)
        return bad_line(p, "%s: expected one value", name);
    return setting_set(key, value, p->watch, &expected) || bad_value(p, name, value, expected.text);
}

/* Cuts off a comment, which starts with a # at the beginning of a word, and white space at the end. */
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
            return bad_line(p, "byte 0x%02x, expected printable ASCII outside comments",
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
        return bad_line(p, "NUL byte, expected text");
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

/* Fills and checks what depends on more than one line. */
static bool complete_watch(struct parser *p)
{
    struct watch *watch = p->watch;
    char unit[VALUE_UNIT_SIZE];
    size_t core = 0;
    size_t marked = 0;
    for (size_t i = 0; i < watch->route_count; i++) {
        struct watch_route *route = &watch->routes[i];
        core += route->class == WATCH_CORE;
        marked += route->liveness;
        (void)!value_parse_codes(route->codes_text != NULL ? route->codes_text : watch->codes, &route->codes);
        if (route->timeout_ms == 0)
            route->timeout_ms = watch->timeout_ms;
    }
    for (size_t i = 0; i < watch->route_count && marked == 0; i++)
        watch->routes[i].liveness = watch->routes[i].class == WATCH_CORE;
    if (watch->url == NULL)
        return bad_line(p, "no base_url, expected one");
    if (core == 0)
        return bad_line(p, "no core route, expected at least one");
    if (watch->listener != NULL && watch->service == NULL)
        return bad_line(p, "a listener without a unit, expected the unit that it must belong to");
    if (watch->protocol != WATCH_NOT_ASKED && watch->listener == NULL)
        return bad_line(p, "a listener_protocol without a listener, expected the listener that speaks it");
    /* The following values were checked when their lines were parsed. */
    watch->base_url = value_parse_url(watch->url, &watch->unix_path);
    watch->base = value_address_of(watch->base_url, watch->unix_path);
    if (watch->service != NULL && value_parse_unit(watch->service, unit))
        watch->unit = mem_strdup(unit);
    if (watch->listener != NULL)
        (void)!address_parse(watch->listener, &watch->socket);
    return true;
}

bool watchfile_parse(const char *text, size_t len, const char *file, struct watch *out, struct error *err)
{
    *out = (struct watch){.text = mem_calloc(len + 1, 1),
                          .routes = mem_calloc(WATCHFILE_MAX_ROUTES, sizeof(struct watch_route))};
    struct parser p = {.file = file, .watch = out, .err = err};
    if (len > 0)
        memcpy(out->text, text, len);
    setting_set_fallbacks(keys, KEY_COUNT, out);
    bool ok = take_lines(&p, out->text, len) && complete_watch(&p);
    if (!ok)
        watchfile_free(out);
    return ok;
}

void watchfile_free(struct watch *watch)
{
    free(watch->text);
    free(watch->base_url);
    free(watch->unit);
    free(watch->routes);
    *watch = (struct watch){0};
}

/* Whether the listener is the wildcard address of the family and port of base_url. */
static bool is_any_of_base(const struct watch *watch)
{
    struct address any = {.socket.ss_family = watch->base.socket.ss_family};
    /* sockaddr_in6 has the port at the same offset. */
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
    setting_print(keys, KEY_COUNT, out);
}
