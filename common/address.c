/* Parses the addresses of sockets. Any thread; no state. */
#include "common/address.h"

#include "common/quantity.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

_Static_assert(sizeof((struct sockaddr_un *)0)->sun_path == 108, "unix(7); an error text has it, too");

static bool parse_tcp(const char *text, struct address *out)
{
    char host[64];
    int64_t port;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host || !quantity_parse_count(colon + 1, &port) ||
        port < 1 || port > UINT16_MAX)
        return false;
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    size_t host_len = strlen(host);
    if (host[0] == '[' && host[host_len - 1] == ']') {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->socket;
        host[host_len - 1] = '\0';
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((in_port_t)port);
        out->len = sizeof *in6;
        return inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)&out->socket;
    in->sin_family = AF_INET;
    in->sin_port = htons((in_port_t)port);
    out->len = sizeof *in;
    const char *ip = strcmp(host, "localhost") == 0 ? "127.0.0.1" : strcmp(host, "*") == 0 ? "0.0.0.0" : host;
    return inet_pton(AF_INET, ip, &in->sin_addr) == 1;
}

static bool parse_unix(const char *path, struct address *out)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&out->socket;
    if (path[0] != '/' || strlen(path) >= sizeof un->sun_path)
        return false;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, strlen(path));
    out->len = sizeof *un;
    return true;
}

const char *address_parse(const char *text, struct address *out)
{
    const char *expected = NULL;
    *out = (struct address){0};
    if (strncmp(text, "unix:", 5) == 0)
        expected = parse_unix(text + 5, out) ? NULL : "unix:/PATH, an absolute path of at most 107 bytes";
    else if (strncmp(text, "tcp:", 4) != 0)
        expected = "unix:/PATH or tcp:ADDR:PORT";
    else if (!parse_tcp(text + 4, out))
        expected = "tcp:ADDR:PORT with a numeric address, such as tcp:127.0.0.1:9000";
    if (expected != NULL)
        *out = (struct address){0};
    return expected;
}

bool address_is_loopback(const struct address *address)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address->socket;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->socket;
    switch (address->socket.ss_family) {
    case AF_UNIX: return true;
    case AF_INET: return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    case AF_INET6: return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    default: return false;
    }
}
