/* Parses listening addresses. */
#include "common/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

_Static_assert(sizeof((struct sockaddr_un *)0)->sun_path == 108, "unix(7); a text below says so");

bool address_is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_UNIX)
        return true;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
    return false;
}

/* "127.0.0.1:9000", "[::1]:9000", "localhost:9000" */
static bool parse_tcp(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    char *end = NULL;

    *out = (struct sockaddr_storage){0};
    if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof host)
        return false;
    long port = strtol(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || port < 1 || port > 65535)
        return false;
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    size_t host_len = strlen(host);
    if (host[0] == '[' && host[host_len - 1] == ']') {
        host[host_len - 1] = '\0';
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((in_port_t)port);
        *len = sizeof *in6;
        return inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1;
    }
    in->sin_family = AF_INET;
    in->sin_port = htons((in_port_t)port);
    *len = sizeof *in;
    return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &in->sin_addr) == 1;
}

static bool parse_unix(const char *path, struct sockaddr_storage *out, socklen_t *len)
{
    struct sockaddr_un *un = (struct sockaddr_un *)out;

    *out = (struct sockaddr_storage){.ss_family = AF_UNIX};
    *len = sizeof *un;
    if (path[0] != '/' || strlen(path) >= sizeof un->sun_path)
        return false;
    snprintf(un->sun_path, sizeof un->sun_path, "%s", path);
    return true;
}

const char *address_parse(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, out, len) ? NULL : "unix:/PATH, an absolute path of at most 107 bytes";
    if (strncmp(text, "tcp:", 4) != 0)
        return "unix:/PATH or tcp:ADDR:PORT";
    if (!parse_tcp(text + 4, out, len))
        return "tcp:ADDR:PORT with a numeric address, such as tcp:127.0.0.1:9000";
    if (!address_is_loopback(out))
        return "a loopback address (127.0.0.0/8, [::1]): FastCGI has no authentication";
    return NULL;
}
