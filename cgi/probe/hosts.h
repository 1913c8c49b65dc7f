/* The servers that a login tries one after the other, in the form that libpq takes. Pure. */
#ifndef PROBE_HOSTS_H
#define PROBE_HOSTS_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Further addresses are left out, because a login has to try each one within its limit. */
#define HOSTS_MAX 16

struct host {
    char name[256];     /* of the server, or the directory of its socket; "": libpq's default */
    char address[64];   /* "": the name needs none, or was not looked up */
    char port[8];       /* "": libpq's default */
    int64_t late_until; /* a login timed out here; until this time (ns) the others are tried first */
};

struct hosts {
    size_t count;
    struct host items[HOSTS_MAX];
};

/* Reads libpq's comma-separated lists; NULL or "" means that a list is not set. *out is empty if no host is
 * named, or if libpq would reject the lists: then libpq itself reports the error. */
void hosts_parse(const char *names, const char *addresses, const char *ports, struct hosts *out);

/* True: the resolver has to look up the name, which is neither an address nor a directory. */
bool host_is_name(const struct host *host);

/* Appends one entry. False: there is no room. */
bool hosts_add(struct hosts *hosts, const struct host *host);

/* Replaces *hosts with what a lookup has found, in its order, but puts those that are late at now_ns last. A
 * name without an address could not be looked up, and keeps its old addresses. */
void hosts_update(struct hosts *hosts, const struct hosts *fresh, int64_t now_ns);

/* Marks the first entry as late, and moves it to the end. */
void hosts_demote(struct hosts *hosts, int64_t late_until);

/* Append to *out the list of names, addresses or ports for libpq. */
void hosts_join_names(const struct hosts *hosts, struct buf *out);
void hosts_join_addresses(const struct hosts *hosts, struct buf *out);
void hosts_join_ports(const struct hosts *hosts, struct buf *out);

#endif
