/* Reads, merges, orders and writes the lists of hosts, addresses and ports of a libpq connection string. Runs
 * on the prober thread or in an errand; owns nothing. */
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

/* Copies the entry at *list and moves *list to the next. A list that is not set has only empty entries.
 * False: the entry is too long. */
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
    /* A single port applies to all hosts. */
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

static bool has_same_name(const struct host *host, const struct host *other)
{
    return strcmp(host->name, other->name) == 0 && strcmp(host->port, other->port) == 0;
}

static const struct host *find(const struct hosts *hosts, const struct host *host)
{
    for (size_t i = 0; i < hosts->count; i++) {
        const struct host *other = &hosts->items[i];
        if (has_same_name(other, host) && strcmp(other->address, host->address) == 0)
            return other;
    }
    return NULL;
}

/* Keeps the order of fresh, and what was known of each host. */
static void merge(struct hosts *out, const struct hosts *before, const struct hosts *fresh)
{
    for (size_t i = 0; i < fresh->count; i++) {
        const struct host *host = &fresh->items[i];
        const struct host *known = find(before, host);
        if (!host_is_name(host))
            (void)hosts_add(out, known != NULL ? known : host);
        for (size_t k = 0; host_is_name(host) && k < before->count; k++)
            if (has_same_name(&before->items[k], host))
                (void)hosts_add(out, &before->items[k]);
    }
}

/* Insertion sort: it keeps the order of hosts that are equally late. */
static void sort_by_lateness(struct hosts *hosts, int64_t now_ns)
{
    for (size_t i = 0; i < hosts->count; i++) {
        struct host host = hosts->items[i];
        size_t at = i;
        if (host.late_until <= now_ns)
            host.late_until = 0;
        for (; at > 0 && hosts->items[at - 1].late_until > host.late_until; at--)
            hosts->items[at] = hosts->items[at - 1];
        hosts->items[at] = host;
    }
}

void hosts_update(struct hosts *hosts, const struct hosts *fresh, int64_t now_ns)
{
    struct hosts before = *hosts;
    hosts->count = 0;
    merge(hosts, &before, fresh);
    sort_by_lateness(hosts, now_ns);
}

void hosts_demote(struct hosts *hosts, int64_t late_until)
{
    if (hosts->count == 0)
        return;
    struct host first = hosts->items[0];
    first.late_until = late_until;
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
