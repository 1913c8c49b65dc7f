/* What the ledger knows of one check: its result, when it is due, and how far it backs off. Prober thread. */
#ifndef PROBE_ENTRY_H
#define PROBE_ENTRY_H

#include "cgi/checks.h"
#include "cgi/config.h"
#include "cgi/probe/session.h"
#include "cgi/probe/streak.h"
#include "cgi/snapshot.h"

#include <stdbool.h>
#include <stdint.h>

/* A new one is {0}. Other files may read it, and set is_asked and is_suspect. */
struct entry {
    struct check_result result;
    struct streak streak;
    int64_t every_ns; /* 0: the interval */
    int64_t fall;     /* 0: HEALTH_FALL */
    int64_t rise;     /* 0: HEALTH_RISE */
    int64_t due_ns;
    int64_t rested_ns; /* HEALTH_MAX_LOAD allows the next run from then on */
    int64_t took_ns;
    int64_t usual_work_ns; /* a moving average */
    int64_t distance_ns;   /* how long it backs off; 0: the server ended its last query itself */
    int64_t orphan_pid;    /* the server process that may still work on it; 0: none */
    int64_t seen_ns;       /* when the orphan was first seen working; 0: never */
    bool is_asked;
    int losses;   /* how many times in a row its session was lost while the server worked on the check */
    int overruns; /* how many times in a row the server did not end its query within the limit */
    enum reason logged; /* what the log last said of it; an outage of the database does not change this */
    bool is_suspect;    /* the next ping decides whether it is to blame */
    bool is_slowed;
    bool was_cancelled; /* a conflict ended its last query: it is asked once more before that counts */
};

/* Makes this the entry of the check. What it knows stays: a reload has not changed the query. The check is
 * due now if its period has changed. */
void entry_set_check(struct entry *entry, const struct check *check);

/* Whether it usually answers within half a heartbeat. */
bool entry_is_quick(const struct entry *entry, const struct config *config);

/* Whether the status waits for its count. It does not wait for slow checks and checks that back off, except
 * for suspects, which the next ping decides on. */
bool entry_is_awaited(const struct entry *entry);

/* These three are the ledger's functions of the same names, for this entry. */
bool entry_book_orphan(struct entry *entry, const struct config *config, bool is_there, int64_t now_ns);
bool entry_note_lost(struct entry *entry, const struct answer *answer, int64_t backend_pid);
void entry_suspect(struct entry *entry, const struct config *config, int64_t backend_pid, int64_t now_ns);

enum entry_news {
    ENTRY_NOTHING, /* the answer does not count, and the check is due again */
    ENTRY_NEWS,
    ENTRY_CHANGE, /* something to publish at once */
};

/* Books an answer. round_trip_ns: how much of its time the network takes. */
enum entry_news entry_book(struct entry *entry, const struct config *config, const struct answer *answer,
                           int64_t round_trip_ns, int64_t now_ns);

/* The database fails: the value is unknown, and the check is due when the database works again. A check that
 * backs off keeps its reason and its time, and a slow one rests. */
void entry_forget(struct entry *entry);

#endif
