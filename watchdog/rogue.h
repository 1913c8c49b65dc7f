/* Finds the processes that hold the listener but do not belong to the unit. Main thread; reads /proc, which
 * takes some ms, and may ask systemd. */
#ifndef WATCHDOG_ROGUE_H
#define WATCHDOG_ROGUE_H

#include "common/address.h"
#include "common/buf.h"
#include "common/holder.h"
#include "watchdog/unit.h"

#include <stdbool.h>
#include <stddef.h>

#define ROGUE_MAX HOLDER_MAX

/* A report names this many rogues and counts the rest. */
#define ROGUES_NAMED 5

struct rogue {
    struct holder holder;
    char cgroup[512];
    bool is_holder;  /* it has this very socket open; false: only SO_PEERCRED names it */
    char owner[320]; /* the unit or container that it belongs to, such as "nginx.service"; that may start it
                        again, so the rogue is only reported and never evicted; "": it has no owner */
};

struct rogue_list {
    struct rogue items[ROGUE_MAX]; /* the oldest first */
    size_t count;
    bool more;   /* there are more than ROGUE_MAX */
    bool own;    /* processes of the unit hold the listener, too */
    bool unseen; /* there may be other holders: /proc hides processes from this user, or the kernel failed */
    bool hidden; /* the socket exists, but the sandbox of this program hides its path */
};

/* Appends the control group of a unit. A unit that does not run has none; then it is the one that the unit
 * will get in its slice (systemd.slice(5): each dash in the name of a slice is a level). init: the control
 * group of pid 1, which is "/init.scope", and in some containers has a prefix. Pure. */
void rogue_home_of(const struct unit_status *unit, const char *init, struct buf *out);

/* Finds the owner of the processes of a control group: the first service or scope in its path, such as
 * "docker.service" in "/system.slice/docker.service/x", or "user@0.service" for all processes of that user's
 * manager. A group that is not systemd's, such as "/docker/0123", is its own owner. False: there is no owner,
 * because the group is a slice or the login session of a user, and nothing starts its processes again. Pure.
 */
__attribute__((warn_unused_result)) bool rogue_owner_of(const char *cgroup, char *out, size_t out_size);

/* Finds all processes that have the listener open, except for those of the unit, this process, pid 1 (systemd
 * holds the sockets of socket units), and a child of pid 1 that has not yet become the program of its unit.
 * Several sockets can be bound to one Unix path; only the one that connect(2) reaches counts, or, if it
 * accepts no connection, all with that name. A process of another unit has an owner unless systemd reports
 * that this unit is down. */
void rogue_find(const struct address *listener, const struct unit_status *unit, struct rogue_list *out);

/* Writes "pid 123 (user root) since 2026-01-31T12:00:00.123Z: python3 rogue.py, in CONTROL-GROUP". */
void rogue_describe(const struct rogue *rogue, char *out, size_t out_size);

#endif
