/* The status that is answered now: the snapshot, the clock and the state of this process in one judgement,
 * and the list of its changes. Pure; main thread. */
#ifndef ANSWER_VERDICT_H
#define ANSWER_VERDICT_H

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

/* "starting", "healthy", "degraded", "draining" */
const char *health_status_name(enum health_status status);

/* The name `failing` has for this process itself (draining, fd_limit). */
#define VERDICT_PROCESS "process"

/* What this process takes. */
struct process_usage {
    int64_t open_fds;  /* -1 unknown */
    int64_t max_fds;   /* the soft RLIMIT_NOFILE */
    int64_t rss_bytes; /* -1 unknown */
};

/* What the server knows of its own process. */
struct process_facts {
    bool draining;
    bool fd_limit; /* HEALTH_FD_LIMIT is passed */
    struct process_usage usage;
    int64_t connections;
    const char *checks_error; /* why the last reload was refused; "" when it was not */
};

struct verdict {
    enum health_status status;
    enum reason reason;          /* REASON_NONE when healthy */
    char check[CHECK_NAME_SIZE]; /* what it is about; "" when healthy */
    bool counts_known;           /* false: every count is null */
};

/* In this order: draining, fd_limit, snapshot older than stale_after_ns (that no probe has ever finished is
 * then no excuse), no probe yet, what the probe found. */
struct verdict verdict_judge(const struct snapshot *snapshot, const struct process_facts *process,
                             int64_t now_ns, int64_t stale_after_ns);

/* Degraded for a reason of this process itself, nothing known of the database. */
struct verdict verdict_of_process(enum reason reason);

/* "healthy", or "degraded: edges: corrupt": one line for the service manager. */
void verdict_describe(const struct verdict *verdict, char *out, size_t out_size);

/* Whether two verdicts are the same answer (status, reason, check). */
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
    size_t total;                             /* ever recorded; the newest is items[(total - 1) % MAX] */
};

/* Records the change from one verdict to the next. */
void transitions_add(struct transitions *list, const struct verdict *from, const struct verdict *to,
                     int64_t wall_ms);

/* The i-th newest (0 is the newest), NULL past the last kept. */
const struct transition *transitions_get(const struct transitions *list, size_t i);

#endif
