/* Lists of hosts, addresses and ports as in a libpq connection string. */
#include "cgi/probe/hosts.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static bool is_empty(const char *list)
{
    return list == NULL || list[0] == '\0';
}

static size_t count_entries(const char *list)
{
    size_t count = 1;
    for (const char *c = list; *c != '\0'; c++)
        count += *c == ',' ? 1 : 0;
    return count;
}

/* Copies the entry at *list and moves on to the next; false: it is too long. NULL or "" has empty ones. */
static bool take_entry(const char **list, char *out, size_t size)
{
    if (is_empty(*list)) {
        out[0] = '\0';
        return true;
    }
    size_t len = strcspn(*list, ",");
    int written = snprintf(out, size, "%.*s", (int)len, *list);
    *list += len;
    *list += **list == ',';
    return (size_t)written < size;
}

void hosts_parse(const char *names, const char *addresses, const char *ports, struct hosts *out)
{
    *out = (struct hosts){0};
    if (is_empty(names) && is_empty(addresses))
        return;
    size_t count = count_entries(is_empty(names) ? addresses : names);
    bool fits =
        count <= HOSTS_MAX && (is_empty(names) || is_empty(addresses) || count_entries(addresses) == count);
    /* A single port is the port of all. */
    bool has_one_port = !is_empty(ports) && strchr(ports, ',') == NULL;
    fits = fits && (is_empty(ports) || has_one_port || count_entries(ports) == count);
    for (size_t i = 0; fits && i < count; i++) {
        struct host *host = &out->items[i];
        const char *port = ports;
        fits = take_entry(&names, host->name, sizeof host->name) &&
               take_entry(&addresses, host->address, sizeof host->address) &&
               take_entry(has_one_port ? &port : &ports, host->port, sizeof host->port);
    }
    out->count = fits ? count : 0;
}

bool host_is_name(const struct host *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    const char *name = host->name;
    bool is_directory = name[0] == '/' || name[0] == '@'; /* @: an abstract Unix socket */
    return host->address[0] == '\0' && name[0] != '\0' && !is_directory &&
           inet_pton(AF_INET, name, address) != 1 && inet_pton(AF_INET6, name, address) != 1;
}

bool hosts_add(struct hosts *hosts, const struct host *host)
{
    if (hosts->count == HOSTS_MAX)
        return false;
    hosts->items[hosts->count++] = *host;
    return true;
}

static bool has(const struct hosts *hosts, const struct host *host, bool with_address)
{
    for (size_t i = 0; i < hosts->count; i++) {
        const struct host *other = &hosts->items[i];
        if (strcmp(other->name, host->name) == 0 && strcmp(other->port, host->port) == 0 &&
            strcmp(other->address, with_address ? host->address : "") == 0)
            return true;
    }
    return false;
}

void hosts_update(struct hosts *hosts, const struct hosts *fresh)
{
    struct hosts before = *hosts;
    hosts->count = 0;
    for (size_t i = 0; i < before.count; i++)
        if (has(fresh, &before.items[i], true) || has(fresh, &before.items[i], false))
            (void)hosts_add(hosts, &before.items[i]);
    for (size_t i = 0; i < fresh->count; i++)
        if (!host_is_name(&fresh->items[i]) && !has(&before, &fresh->items[i], true))
            (void)hosts_add(hosts, &fresh->items[i]);
}

void hosts_rotate(struct hosts *hosts)
{
    if (hosts->count < 2)
        return;
    struct host first = hosts->items[0];
    memmove(&hosts->items[0], &hosts->items[1], (hosts->count - 1) * sizeof hosts->items[0]);
    hosts->items[hosts->count - 1] = first;
}

static void join(const struct hosts *hosts, size_t offset, struct buf *out)
{
    for (size_t i = 0; i < hosts->count; i++) {
        buf_append_str(out, i > 0 ? "," : "");
        buf_append_str(out, (const char *)&hosts->items[i] + offset);
    }
}

void hosts_join_names(const struct hosts *hosts, struct buf *out)
{
    join(hosts, offsetof(struct host, name), out);
}

void hosts_join_addresses(const struct hosts *hosts, struct buf *out)
{
    join(hosts, offsetof(struct host, address), out);
}

void hosts_join_ports(const struct hosts *hosts, struct buf *out)
{
    join(hosts, offsetof(struct host, port), out);
}
