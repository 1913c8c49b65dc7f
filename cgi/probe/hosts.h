/* The servers that a login may try, one after the other, as libpq takes them. Pure. */
#ifndef PROBE_HOSTS_H
#define PROBE_HOSTS_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A name with more addresses is cut: a login has to try each of them within its limit. */
#define HOSTS_MAX 16

struct host {
    char name[256];     /* of the server, or the directory of its socket; "": libpq's default */
    char address[64];   /* "": none is needed, or the name was not looked up */
    char port[8];       /* "": libpq's default */
    int64_t late_until; /* it let a login wait, and is tried after those that did not; in ns */
};

struct hosts {
    size_t count;
    struct host items[HOSTS_MAX];
};

/* Reads libpq's comma-separated lists; NULL or "" is one that is not set. *out stays empty where no host is
 * named, and where the lists are not what libpq takes: then libpq itself is to say so. */
void hosts_parse(const char *names, const char *addresses, const char *ports, struct hosts *out);

/* Whether its name is one for the resolver: no address, and no directory. */
bool host_is_name(const struct host *host);

/* Appends one entry; false: there is no room. */
bool hosts_add(struct hosts *hosts, const struct host *host);

/* Takes over what a lookup has found, in its order, those that are late at now_ns last. A name without an
 * address, which is one that could not be looked up, keeps the addresses that it had. */
void hosts_update(struct hosts *hosts, const struct hosts *fresh, int64_t now_ns);

/* The first entry is late, and becomes the last. */
void hosts_demote(struct hosts *hosts, int64_t late_until);

/* Appends a list for libpq: of the names, addresses or ports. */
void hosts_join_names(const struct hosts *hosts, struct buf *out);
void hosts_join_addresses(const struct hosts *hosts, struct buf *out);
void hosts_join_ports(const struct hosts *hosts, struct buf *out);

#endif
