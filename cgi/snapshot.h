/* What is known, as plain data: the wall between the half that knows PostgreSQL and the half that
 * knows FastCGI. Written by the prober thread, immutable once published, read by the main thread. */
#ifndef CGI_SNAPSHOT_H
#define CGI_SNAPSHOT_H

#include "cgi/checks.h"
#include "cgi/reason.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Descriptors held for good: the eventfd that wakes the loop. */
#define SNAPSHOT_FDS 1

/* The state of one check. Durations are of the CLOCK_BOOTTIME kind, *_wall_ms are for print; 0 is never. */
struct check_result {
    char name[CHECK_NAME_SIZE];
    enum check_severity severity;
    enum reason reason;      /* REASON_NONE: its last run passed */
    bool down;               /* it fails, after its fall and rise */
    enum reason down_reason; /* while it is down: why, also while its rise is awaited */
    bool has_value;          /* false: the value is not known now; an old one is never shown as current */
    int64_t value;
    int64_t duration_us;
    int64_t checked_wall_ms;
    int64_t checked_ns; /* clock_now_ns; when the question was sent */
    int64_t period_ms;  /* from its last question but one to the last; 0 unknown */
    bool has_last_ok;
    int64_t last_ok_value;
    int64_t last_ok_wall_ms;
};

/* Whether the system of a peer that does not answer has acknowledged what was sent (TCP_INFO, tcp(7)): then
 * its machine and the network are there, and its PostgreSQL is what hangs. */
enum evidence {
    EVIDENCE_NONE, /* there is no silence, or over a Unix socket */
    EVIDENCE_ACKNOWLEDGED,
    EVIDENCE_UNACKNOWLEDGED,
};

/* The server that answers. "" is unknown, as the address is where host is the directory of a Unix socket. */
struct database_server {
    int version; /* as libpq has it, 150004 for 15.4; 0 unknown */
    char host[256];
    char address[64];
    char port[8];
    char database[64];
    char user[64];
};

/* Where the next login is tried, one after the other. */
#define SNAPSHOT_ADDRESSES_MAX 16
struct addresses {
    size_t count;
    char items[SNAPSHOT_ADDRESSES_MAX][96]; /* 10.0.0.1:5432, [::1]:5432, or a directory; cut */
};

/* Of the names of servers. */
struct lookup_result {
    bool is_used;    /* false: there is no name to look up */
    char error[200]; /* of the last; "": none. The addresses of the last good one stay in use */
    int64_t took_us; /* the last good one; -1: none yet */
    int64_t ok_wall_ms;
};

/* The database as a whole. */
struct database_result {
    enum reason reason; /* REASON_NONE: connected and answering; else every check's value is unknown */
    bool down;          /* as for a check */
    enum reason down_reason;
    bool has_in_recovery;
    bool in_recovery;
    int64_t connected_wall_ms; /* of the session that answers; 0: the database fails */
    int64_t connect_us;        /* duration of the last successful connect; -1 none yet */
    int64_t round_trip_us;     /* duration of the last successful round trip; -1 none yet */
    int64_t consecutive_failures;
    enum evidence evidence;        /* while it fails by a silence */
    struct database_server server; /* the last that let us in */
    struct addresses addresses;
    struct lookup_result lookup;
    int64_t reconnects; /* connections that were lost or broken while the database did not fail */
};

struct snapshot {
    atomic_uint references; /* snapshot.c only */
    int64_t taken_ns;       /* clock_now_ns; when the last question that was answered was sent */
    int64_t taken_wall_ms;
    int64_t vouched_ns; /* of a database that is down: when the prober last found nothing else */
    bool starting;      /* not every check has been asked once */
    bool degraded;      /* the database is down, or a check of severity fail is */
    /* While degraded: the first of them, and why. */
    char cause_check[CHECK_NAME_SIZE];
    enum reason cause;
    struct database_result database;
    size_t check_count;
    struct check_result checks[];
};

/* The name `failing` has for the database as a whole. */
#define SNAPSHOT_DATABASE "database"

/* A zeroed snapshot with one reference, to be filled and published or released. */
struct snapshot *snapshot_new(size_t check_count);
void snapshot_release(const struct snapshot *snapshot); /* NULL is fine */

/* The place where the newest snapshot stands. */
struct snapshot_slot;

/* Starts with a snapshot in state `starting`. NULL when the system has no descriptor left (errno). */
struct snapshot_slot *snapshot_slot_new(void);
void snapshot_slot_free(struct snapshot_slot *slot);

/* Takes over the caller's reference, replaces the newest and wakes the reader. Any thread. */
void snapshot_publish(struct snapshot_slot *slot, struct snapshot *snapshot);

/* The newest, with a reference for the caller (snapshot_release). Any thread. */
const struct snapshot *snapshot_acquire(struct snapshot_slot *slot);

/* An eventfd that is readable after a publish; the reader drains it. Owned by the slot. */
int snapshot_slot_event_fd(const struct snapshot_slot *slot);

#endif
