/* The verdict: status and reason now, judged from the snapshot, the clock and the state of this process.
 * Also the list of transitions. Pure; main thread. */
#ifndef ANSWER_VERDICT_H
#define ANSWER_VERDICT_H

#include "cgi/answer/selection.h"
#include "cgi/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum health_status {
    HEALTH_STARTING,
    HEALTH_HEALTHY,
    HEALTH_DEGRADED,
    HEALTH_DRAINING,
};

#define HEALTH_STATUS_COUNT (HEALTH_DRAINING + 1)

/* "starting", "healthy", "degraded", "draining" */
const char *health_status_name(enum health_status status);

/* What this process uses. */
struct process_usage {
    int64_t open_fds;  /* -1 unknown */
    int64_t max_fds;   /* the soft RLIMIT_NOFILE */
    int64_t rss_bytes; /* -1 unknown */
    int64_t cpu_ns;    /* CPU time of all its threads since it began */
};

/* What the server knows of its own process. */
struct process_facts {
    /* Why the process itself is not healthy: REASON_DRAINING, REASON_FD_LIMIT (more descriptors than
     * HEALTH_FD_LIMIT are open), REASON_INTERNAL (it knows nothing of any check); else REASON_NONE. */
    enum reason reason;
    int64_t draining_since_wall_ms; /* 0: it is not draining */
    const char *drain_file;         /* drains this process while it exists; NULL: there is none */
    const char *drain_error;        /* why nobody can tell whether it exists; "" or NULL: one can */
    struct process_usage usage;
    int64_t started_wall_ms; /* when it began. Later steps of the wall clock do not move it */
    int64_t connections;
    const char *checks_error; /* why the last reload was refused; "" or NULL: it was not */
};

struct verdict {
    enum health_status status;
    enum reason reason;          /* REASON_NONE when healthy */
    char check[CHECK_NAME_SIZE]; /* what the reason is about; "" when healthy */
    bool is_stale;               /* the snapshot is too old to count */
    bool counts_known;           /* false: every count is null */
};

/* Judges in this order: the process, a snapshot older than stale_after_ns (even while no probe has ever
 * finished), no probe yet, the result of the probe. Leaves out what the selection does not name. A check that
 * it names counts whatever its severity. */
struct verdict verdict_judge(const struct snapshot *snapshot, const struct process_facts *process,
                             const struct selection *selection, int64_t now_ns, int64_t stale_after_ns);

/* Whether check number i of the snapshot is down, and this makes the verdict degraded. */
bool verdict_check_counts(const struct snapshot *snapshot, const struct selection *selection, size_t i);

/* Writes one line for the service manager: "healthy", or "degraded: edges: corrupt". */
void verdict_describe(const struct verdict *verdict, char *out, size_t out_size);

/* Whether two verdicts have the same status, reason and check. */
bool verdict_equal(const struct verdict *a, const struct verdict *b);

struct transition {
    int64_t wall_ms;
    enum health_status from;
    enum health_status to;
    enum reason reason;
    char check[CHECK_NAME_SIZE];
};

#define TRANSITIONS_MAX 50

struct transitions {
    struct transition items[TRANSITIONS_MAX]; /* a ring */
    size_t total; /* how many were ever recorded; the newest is items[(total - 1) % MAX] */
    uint64_t totals[HEALTH_STATUS_COUNT]; /* and how many of these led to each status */
};

/* Records the change from one verdict to the next. */
void transitions_add(struct transitions *list, const struct verdict *from, const struct verdict *to,
                     int64_t wall_ms);

/* The i-th newest transition (0 is the newest), or NULL after the oldest one that is kept. */
const struct transition *transitions_get(const struct transitions *list, size_t i);

#endif
