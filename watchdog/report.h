/* What is printed: lines for people, or one JSON document. Main thread. */
#ifndef WATCHDOG_REPORT_H
#define WATCHDOG_REPORT_H

#include "common/buf.h"
#include "watchdog/recover.h"
#include "watchdog/rogue.h"
#include "watchdog/survey.h"

#include <stdbool.h>

#define REPORT_MAX_FINDINGS 16

struct report_finding {
    const char *about; /* "unit", "rogue", "listener", "timer", "recovery", "state": a literal */
    char text[640];
};

struct report {
    const struct watch *watch;
    const struct survey *before;     /* what led to a recovery; NULL when there was none */
    const struct survey *survey;     /* the last look */
    const struct rogue_list *rogues; /* of the first look */
    const struct recovery *recovery;
    enum judge_level level;
    struct judge_counts counts;
    size_t finding_count;
    struct report_finding findings[REPORT_MAX_FINDINGS];
};

/* Adds a line; past REPORT_MAX_FINDINGS it is dropped. */
__attribute__((format(printf, 3, 4))) void report_add(struct report *report, const char *about,
                                                      const char *format, ...);

/* "21 OK, 0 timeout/unreachable, 0 rate-limited, 0 HTTP error"; what is unknown is added when there is any.
 */
void report_summary(const struct judge_counts *counts, struct buf *out);

/* A line for each route that is not fine (verbose: for each), the notes, the summary: the first line says
 * what is wrong, which is what a monitoring plugin shows. */
void report_text(const struct report *report, bool verbose, struct buf *out);

/* One document, described in health-watch(8). */
void report_json(const struct report *report, struct buf *out);

#endif
