/* Words of the watch file, as watchdog/value.h promises. Any thread; no state. */
#include "watchdog/value.h"

#include "common/buf.h"
#include "common/quantity.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/* systemd, src/basic/unit-name.h: UNIT_NAME_MAX. */
#define UNIT_NAME_MAX 255

#define SUFFIX ".service"

static bool parse_range(const char *text, int *first, int *last, const char **rest)
{
    int64_t low;
    int64_t high;
    if (!quantity_parse_digits(text, 10, &low, rest))
        return false;
    high = low;
    if (**rest == '-' && !quantity_parse_digits(*rest + 1, 10, &high, rest))
        return false;
    if (low < 100 || high > 599 || low > high)
        return false;
    *first = (int)low;
    *last = (int)high;
    return true;
}

bool value_parse_codes(const char *text, struct value_codes *out)
{
    out->count = 0;
    for (;;) {
        if (out->count == VALUE_MAX_RANGES ||
            !parse_range(text, &out->ranges[out->count].first, &out->ranges[out->count].last, &text))
            return false;
        out->count++;
        if (*text == '\0')
            return true;
        if (*text++ != ',')
            return false;
    }
}

bool value_codes_contain(const struct value_codes *codes, int code)
{
    for (size_t i = 0; i < codes->count; i++)
        if (code >= codes->ranges[i].first && code <= codes->ranges[i].last)
            return true;
    return false;
}

static bool parse_port(const char *text, size_t len, uint16_t *out)
{
    int64_t port = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        port = port * 10 + (text[i] - '0');
    }
    *out = (uint16_t)port;
    return port > 0 && port <= UINT16_MAX;
}

/* HOST or HOST:PORT, where HOST is a name, an IPv4 address or an IPv6 one in brackets. */
static bool is_authority(const char *text, size_t len)
{
    uint16_t port;
    size_t host_len = 0;
    if (len > 0 && *text == '[') {
        while (host_len < len && (isxdigit((unsigned char)text[host_len]) || strchr("[:.", text[host_len])))
            host_len++;
        if (host_len == len || text[host_len++] != ']')
            return false;
    } else {
        while (host_len < len && (isalnum((unsigned char)text[host_len]) || strchr("-._", text[host_len])))
            host_len++;
    }
    if (host_len == 0)
        return false;
    return host_len == len ||
           (text[host_len] == ':' && parse_port(text + host_len + 1, len - host_len - 1, &port));
}

char *value_parse_url(const char *text, char **unix_path)
{
    if (strncmp(text, "unix:", 5) == 0) {
        const char *path = text + 5;
        if (*path != '/' || strlen(path) >= sizeof((struct sockaddr_un){0}.sun_path))
            return NULL;
        *unix_path = mem_strdup(path);
        return mem_strdup("http://localhost");
    }
    const char *authority = strncmp(text, "http://", 7) == 0    ? text + 7
                            : strncmp(text, "https://", 8) == 0 ? text + 8
                                                                : NULL;
    if (authority == NULL || strpbrk(text, "?#@") != NULL ||
        !is_authority(authority, strcspn(authority, "/")))
        return NULL;
    char *url = mem_strdup(text);
    size_t len = strlen(url);
    while (url[len - 1] == '/')
        url[--len] = '\0';
    return url;
}

bool value_parse_unit(const char *text, char *out, size_t out_size)
{
    size_t len = strlen(text);
    const char *dot = strrchr(text, '.');
    bool has_suffix = len > strlen(SUFFIX) && strcmp(text + len - strlen(SUFFIX), SUFFIX) == 0;
    static const char *const kinds[] = {".socket", ".timer",     ".target", ".mount",  ".path",
                                        ".slice",  ".automount", ".swap",   ".device", ".scope"};
    if (*text == '\0' || *text == '-' || *text == '.')
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (dot != NULL && strcmp(dot, kinds[i]) == 0)
            return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && strchr(":-_.\\@", text[i]) == NULL)
            return false;
    int written = snprintf(out, out_size, "%s%s", text, has_suffix ? "" : SUFFIX);
    return written <= UNIT_NAME_MAX && (size_t)written < out_size && strstr(out, "@" SUFFIX) == NULL;
}

static bool parse_tcp(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
    const char *colon = strrchr(text, ':');
    char host[64];
    uint16_t port;
    if (colon == NULL || (size_t)(colon - text) >= sizeof host ||
        !parse_port(colon + 1, strlen(colon + 1), &port))
        return false;
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    size_t host_len = strlen(host);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (host[0] == '[' && host[host_len - 1] == ']') {
        host[host_len - 1] = '\0';
        memcpy(out, &in6, sizeof in6);
        *len = sizeof in6;
        return inet_pton(AF_INET6, host + 1, &((struct sockaddr_in6 *)out)->sin6_addr) == 1;
    }
    memcpy(out, &in, sizeof in);
    *len = sizeof in;
    return strcmp(host, "*") == 0 || inet_pton(AF_INET, host, &((struct sockaddr_in *)out)->sin_addr) == 1;
}

bool value_parse_listener(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memset(out, 0, sizeof *out);
    if (strncmp(text, "tcp:", 4) == 0)
        return parse_tcp(text + 4, out, len);
    size_t path_len = strncmp(text, "unix:/", 6) == 0 ? strlen(text + 5) : 0;
    if (path_len == 0 || path_len >= sizeof un.sun_path)
        return false;
    memcpy(un.sun_path, text + 5, path_len);
    memcpy(out, &un, sizeof un);
    *len = sizeof un;
    return true;
}

socklen_t value_parse_base(const char *url, const char *unix_path, struct sockaddr_storage *out)
{
    struct buf text = {0};
    socklen_t len = 0;
    const char *host = strstr(url, "://") + 3;
    int host_len = (int)strcspn(host, "/");
    bool has_port = memchr(host, ':', (size_t)host_len) != NULL && host[host_len - 1] != ']';
    if (unix_path != NULL)
        buf_appendf(&text, "unix:%s", unix_path);
    else if (strncmp(host, "localhost", 9) == 0 && (host_len == 9 || host[9] == ':'))
        buf_appendf(&text, "tcp:127.0.0.1%.*s", host_len - 9, host + 9);
    else
        buf_appendf(&text, "tcp:%.*s", host_len, host);
    if (unix_path == NULL && !has_port)
        buf_append_str(&text, strncmp(url, "https:", 6) == 0 ? ":443" : ":80");
    if (!value_parse_listener(text.data, out, &len))
        len = 0;
    buf_free(&text);
    return len;
}
