/* Parses status codes, URLs and unit names. Any thread; owns nothing. */
#include "watchdog/value.h"

#include "common/buf.h"
#include "common/quantity.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

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

/* Whether text is HOST or HOST:PORT, where HOST is a name, an IPv4 address, or an IPv6 address in brackets.
 */
static bool is_authority(const char *text, size_t len)
{
    int64_t port;
    const char *rest;
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
           (text[host_len] == ':' && quantity_parse_digits(text + host_len + 1, 10, &port, &rest) &&
            rest == text + len && port > 0 && port <= UINT16_MAX);
}

char *value_parse_url(const char *text, const char **unix_path)
{
    *unix_path = NULL;
    if (strncmp(text, "unix:", 5) == 0) {
        struct address address;
        if (address_parse(text, &address) != NULL)
            return NULL;
        *unix_path = text + 5;
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

bool value_parse_unit(const char *text, char out[static VALUE_UNIT_SIZE])
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
    int written = snprintf(out, VALUE_UNIT_SIZE, "%s%s", text, has_suffix ? "" : SUFFIX);
    return written < VALUE_UNIT_SIZE && strstr(out, "@" SUFFIX) == NULL;
}

struct address value_address_of(const char *url, const char *unix_path)
{
    struct buf text = {0};
    struct address out;
    const char *host = strstr(url, "://") + 3;
    int host_len = (int)strcspn(host, "/");
    bool has_port = memchr(host, ':', (size_t)host_len) != NULL && host[host_len - 1] != ']';
    const char *port = has_port ? "" : strncmp(url, "https:", 6) == 0 ? ":443" : ":80";
    if (unix_path != NULL)
        buf_appendf(&text, "unix:%s", unix_path);
    else
        buf_appendf(&text, "tcp:%.*s%s", host_len, host, port);
    (void)!address_parse(text.data, &out);
    buf_free(&text);
    return out;
}
