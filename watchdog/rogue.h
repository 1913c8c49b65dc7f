/* Who holds the listener without belonging to the unit. Main thread; reads /proc, takes some ms. */
#ifndef WATCHDOG_ROGUE_H
#define WATCHDOG_ROGUE_H

#include "common/buf.h"
#include "common/holder.h"
#include "watchdog/unit.h"
#include "watchdog/watchfile.h"

#include <stdbool.h>
#include <stddef.h>

#define ROGUE_MAX HOLDER_MAX

/* So many are named one by one in a report, the rest by their number. */
#define ROGUES_TOLD 5

struct rogue {
    struct holder holder;
    char cgroup[512];
    bool
        is_holder; /* it has the very socket open; false: SO_PEERCRED names it, the socket has another name */
    char service[256]; /* the other service whose main process it or its parent is, "" for none: that one
                          would be started again, so it is named and never evicted */
};

struct rogue_list {
    struct rogue items[ROGUE_MAX]; /* the oldest first */
    size_t count;
    bool listening; /* somebody else than these listens: the unit, systemd for it, or who is not seen */
    bool unseen;    /* the listener is held by somebody whom /proc does not show to us */
};

/* Whether a process in cgroup is one of those in control_group or below. Pure. */
bool rogue_belongs(const char *cgroup, const char *control_group);

/* Appends where systemd keeps the processes of a unit that runs: its control group or, while it has none, the
 * one that it gets in its slice (systemd.slice(5): each dash in a slice's name is a level). init: the control
 * group of pid 1,
 * "/init.scope", in some containers below another one. Pure. */
void rogue_home_of(const struct unit_status *unit, const char *init, struct buf *out);

/* The first part of a control group that names a service: "user@0.service" of "/user.slice/user@0.service/a".
 * Pure. False: none. */
__attribute__((warn_unused_result)) bool rogue_service_of(const char *cgroup, char *out, size_t out_size);

/* All processes that have the listener open, without those of the unit, without pid 1 (systemd holds the
 * sockets of socket units), its children that are not yet what they are going to be, and without this
 * process. Of a Unix path only who answers there counts: connect(2) tells, and when nobody accepts the names
 * in /proc/net/unix. */
void rogue_find(const struct watch_listener *listener, const struct unit_status *unit,
                struct rogue_list *out);

/* "pid 123 (user root) since 2026-01-31T12:00:00.123Z: python3 rogue.py" and what is known of its control
 * group. */
void rogue_describe(const struct rogue *rogue, char *out, size_t out_size);

#endif
