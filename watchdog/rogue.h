/* Who holds the listener without belonging to the unit. Main thread; reads /proc, takes some ms. */
#ifndef WATCHDOG_ROGUE_H
#define WATCHDOG_ROGUE_H

#include "common/address.h"
#include "common/buf.h"
#include "common/holder.h"
#include "watchdog/unit.h"

#include <stdbool.h>
#include <stddef.h>

#define ROGUE_MAX HOLDER_MAX

/* So many are named one by one in a report, the rest by their number. */
#define ROGUES_NAMED 5

struct rogue {
    struct holder holder;
    char cgroup[512];
    bool
        is_holder; /* it has the very socket open; false: SO_PEERCRED names it, the socket has another name */
    char owner[320]; /* to whom it belongs, who may start it again, so that it is named and never evicted:
                        "nginx.service", a container; "": to nobody, as far as systemd says */
};

struct rogue_list {
    struct rogue items[ROGUE_MAX]; /* the oldest first */
    size_t count;
    bool more; /* there are more than ROGUE_MAX */
    bool own;  /* the unit's own processes hold it, too */
    bool
        unseen; /* not all who hold it can be seen: /proc hides them from us, or the kernel cannot be asked */
    bool hidden; /* a socket is at the path, and our own sandbox hides it */
};

/* Appends where systemd keeps the processes of a unit that runs: its control group or, while it has none, the
 * one that it gets in its slice (systemd.slice(5): each dash in a slice's name is a level). init: the control
 * group of pid 1, "/init.scope", in some containers below another one. Pure. */
void rogue_home_of(const struct unit_status *unit, const char *init, struct buf *out);

/* To whom the processes of a control group belong: the first service or scope in it, such as "docker.service"
 * of "/system.slice/docker.service/x", "user@0.service" of all below a user's manager; the group itself when
 * it is nothing of systemd's, such as "/docker/0123". Pure. False: to nobody: a slice, or the session of
 * somebody who is logged in, whose commands nobody starts again. */
__attribute__((warn_unused_result)) bool rogue_owner_of(const char *cgroup, char *out, size_t out_size);

/* All processes that have the listener open, without those of the unit, without pid 1 (systemd holds the
 * sockets of socket units), its children that are not yet what they are going to be, and without this
 * process. Of a Unix path only who answers there counts: connect(2) tells, and when nobody accepts the names
 * that sockets were bound to. A process that belongs to another unit has an owner unless systemd says that
 * this unit is down. */
void rogue_find(const struct address *listener, const struct unit_status *unit, struct rogue_list *out);

/* "pid 123 (user root) since 2026-01-31T12:00:00.123Z: python3 rogue.py" and what is known of its control
 * group. */
void rogue_describe(const struct rogue *rogue, char *out, size_t out_size);

#endif
