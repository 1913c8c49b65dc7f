/* What a client asks to be judged by: the parameters only= of its query string. Pure; main thread. */
#ifndef ANSWER_SELECTION_H
#define ANSWER_SELECTION_H

#include "cgi/snapshot.h"

#include <stdbool.h>

/* The name of this process itself, also in `failing` (draining, fd_limit). */
#define SELECTION_PROCESS "process"

/* Where a function takes a pointer to a selection, NULL means everything. */
struct selection {
    bool process;
    bool database;           /* the database as a whole, or one of its checks: they need it */
    bool checks[CHECKS_MAX]; /* in the order of the snapshot */
};

/* More parameters only= than this must repeat themselves. The limit bounds the work of a request: each name
 * is compared with that of each check. */
#define SELECTION_MAX (CHECKS_MAX + 2)

/* In the order of precedence: a query string with more than one error has the last of these. */
enum selection_result {
    SELECTION_ABSENT,    /* there is no only=: the client asks about everything */
    SELECTION_MADE,      /* *out is filled */
    SELECTION_UNKNOWN,   /* an only= whose name is neither a check of the snapshot nor database nor process */
    SELECTION_TOO_MANY,  /* more than SELECTION_MAX times only= */
    SELECTION_EMPTY,     /* an only= without a name */
    SELECTION_MALFORMED, /* not a query string (RFC 3986, 2.1 and 3.4), or one with control characters */
};

/* Reads a whole query string. Ignores parameters that it does not know. */
enum selection_result selection_read(const char *query, const struct snapshot *snapshot,
                                     struct selection *out);

#endif
