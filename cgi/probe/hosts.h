/* The servers that a login may try, one after the other, as libpq takes them. Pure. */
#ifndef PROBE_HOSTS_H
#define PROBE_HOSTS_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* A name with more addresses is cut: a login has to try each of them within its limit. */
#define HOSTS_MAX 16

struct host {
    char name[256];   /* of the server, or the directory of its socket; "": libpq's default */
    char address[64]; /* "": none is needed, or the name was not looked up */
    char port[8];     /* "": libpq's default */
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

/* Takes over what a lookup has found. Those that were known keep their order, and stay where fresh has their
 * name without an address, which is one that could not be looked up. */
void hosts_update(struct hosts *hosts, const struct hosts *fresh);

/* The first entry becomes the last. */
void hosts_rotate(struct hosts *hosts);

/* Appends a list for libpq: of the names, addresses or ports. */
void hosts_join_names(const struct hosts *hosts, struct buf *out);
void hosts_join_addresses(const struct hosts *hosts, struct buf *out);
void hosts_join_ports(const struct hosts *hosts, struct buf *out);

#endif
