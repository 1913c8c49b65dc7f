/* Prints the report of a run, as lines for people or as one JSON document. Main thread. */
#ifndef WATCHDOG_REPORT_H
#define WATCHDOG_REPORT_H

#include "common/buf.h"
#include "watchdog/recover.h"
#include "watchdog/rogue.h"
#include "watchdog/survey.h"

#include <stdbool.h>

#define REPORT_MAX_FINDINGS 16

struct report_finding {
    const char *about; /* "unit", "rogue", "listener", "timer", "recovery" or "state", a literal */
    char text[640];
};

struct report {
    const struct watch *watch;
    const struct survey *before;     /* the look that led to a recovery; NULL: there was no recovery */
    const struct survey *survey;     /* the last look */
    const struct rogue_list *rogues; /* of the first look */
    const struct recovery *recovery;
    enum judge_level level;
    struct judge_counts counts;
    size_t finding_count;
    struct report_finding findings[REPORT_MAX_FINDINGS];
};

/* Adds a finding; drops it if there are REPORT_MAX_FINDINGS already. */
__attribute__((format(printf, 3, 4))) void report_add(struct report *report, const char *about,
                                                      const char *format, ...);

/* Appends "21 OK, 0 timeout/unreachable, 0 rate-limited, 0 HTTP error", and the number of unknown routes if
 * there are any. */
void report_summary(const struct judge_counts *counts, struct buf *out);

/* Appends a line for each route that is not ok (verbose: for every route), the findings, and the summary. So
 * the first line says what is wrong: monitoring systems show only that line of a plugin. */
void report_text(const struct report *report, bool verbose, struct buf *out);

/* Appends the document that health-watch(8) describes. */
void report_json(const struct report *report, struct buf *out);

#endif
