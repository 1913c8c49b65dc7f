/* Everything known of the database and its checks at one moment, as plain data: the wall between the half
 * that knows PostgreSQL and the half that knows FastCGI. The prober thread fills a snapshot and publishes it;
 * then it is immutable, and the main thread reads it. */
#ifndef CGI_SNAPSHOT_H
#define CGI_SNAPSHOT_H

#include "cgi/checks.h"
#include "cgi/reason.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many descriptors the slot holds: the eventfd that wakes the loop. */
#define SNAPSHOT_FDS 1

/* The state of one check. *_ns are times of CLOCK_BOOTTIME; *_wall_ms are only printed, and 0 means never. */
struct check_result {
    char name[CHECK_NAME_SIZE];
    enum check_severity severity;
    enum reason reason;      /* of its last run; REASON_NONE: it passed */
    bool down;               /* it counts as failed, after fall and rise */
    enum reason down_reason; /* why it is down, until enough successes have followed (rise) */
    bool has_value;          /* false: the value is unknown now; an old one never counts as current */
    int64_t value;
    int64_t duration_us;
    int64_t checked_wall_ms;
    int64_t checked_ns; /* when the question was sent */
    int64_t period_ms;  /* time between its last two questions; 0: unknown */
    bool has_last_ok;
    int64_t last_ok_value;
    int64_t last_ok_wall_ms;
    /* How many of its results had each reason. They begin at 0 when a reload changes the check. */
    uint64_t failures[REASON_COUNT];
};

/* Whether the kernel of a silent peer has acknowledged our bytes (TCP_INFO, tcp(7)). If it has, the machine
 * and the network work, and PostgreSQL hangs. */
enum evidence {
    EVIDENCE_NONE, /* the peer is not silent, or the socket is a Unix socket */
    EVIDENCE_ACKNOWLEDGED,
    EVIDENCE_UNACKNOWLEDGED,
};

/* The server that answers. "" means unknown: a Unix socket has no address, and host is its directory. */
struct database_server {
    int version; /* libpq's number, 150004 for 15.4; 0: unknown */
    char host[256];
    char address[64];
    char port[8];
    char database[64];
    char user[64];
};

/* The addresses that the next login tries, in this order. */
#define SNAPSHOT_ADDRESSES_MAX 16
struct addresses {
    size_t count;
    char items[SNAPSHOT_ADDRESSES_MAX][96]; /* 10.0.0.1:5432, [::1]:5432, or a directory; may be cut */
};

/* How the lookups of the servers' names went. */
struct lookup_result {
    bool is_used;    /* false: there is no name to look up */
    char error[200]; /* of the last lookup; "": it succeeded. Otherwise the old addresses stay in use */
    int64_t took_us; /* duration of the last successful lookup; -1: there was none */
    int64_t ok_wall_ms;
};

/* The database as a whole. */
struct database_result {
    enum reason reason; /* REASON_NONE: it answers; else the value of every check is unknown */
    bool down;          /* it counts as failed, after fall and rise */
    enum reason down_reason;
    bool has_in_recovery;
    bool in_recovery;
    int64_t connected_wall_ms; /* when the present session logged in; 0: the database fails */
    int64_t connect_us;        /* duration of the last successful login; -1: there was none */
    int64_t round_trip_us;     /* duration of the last successful round trip; -1: there was none */
    int64_t consecutive_failures;
    enum evidence evidence;        /* while the server is silent */
    struct database_server server; /* of the last successful login */
    struct addresses addresses;
    struct lookup_result lookup;
    int64_t reconnects; /* sessions lost or broken while the database did not fail */
};

struct snapshot {
    atomic_uint references; /* snapshot.c only */
    int64_t taken_ns;       /* when the last answered question was sent */
    int64_t taken_wall_ms;
    int64_t vouched_ns; /* when this snapshot was made: its age while the database is down */
    bool starting;      /* some check has never been asked */
    struct database_result database;
    size_t check_count;
    struct check_result checks[];
};

/* How the list `failing` names the database as a whole. */
#define SNAPSHOT_DATABASE "database"

/* Returns a zeroed snapshot with one reference. The caller fills it, then publishes or releases it. */
struct snapshot *snapshot_new(size_t check_count);
void snapshot_release(const struct snapshot *snapshot); /* NULL is fine */

/* Whether the database or a check of severity fail is down. */
bool snapshot_is_degraded(const struct snapshot *snapshot);

/* Holds the newest snapshot. */
struct snapshot_slot;

/* The slot begins with a snapshot that has `starting` set. NULL: no descriptor is left (errno). */
struct snapshot_slot *snapshot_slot_new(void);
void snapshot_slot_free(struct snapshot_slot *slot);

/* Takes over the caller's reference, makes this snapshot the newest, and wakes the reader. Any thread. */
void snapshot_publish(struct snapshot_slot *slot, struct snapshot *snapshot);

/* Returns the newest snapshot with a reference for the caller (snapshot_release). Any thread. */
const struct snapshot *snapshot_acquire(struct snapshot_slot *slot);

/* An eventfd that is readable after a publish; the reader drains it. Owned by the slot. */
int snapshot_slot_event_fd(const struct snapshot_slot *slot);

#endif
