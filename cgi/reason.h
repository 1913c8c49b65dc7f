/* Why something failed: the fixed words that a response may carry. Pure; any thread. */
#ifndef CGI_REASON_H
#define CGI_REASON_H

enum reason {
    REASON_NONE = 0,
    REASON_UNREACHABLE,
    REASON_CONNECT_TIMEOUT,
    REASON_QUERY_TIMEOUT,
    REASON_HUNG,
    REASON_ACCESS,
    REASON_SCHEMA,
    REASON_SATURATED,
    REASON_RESOURCES,
    REASON_RESTARTING,
    REASON_CORRUPT,
    REASON_MALFORMED,
    REASON_QUERY_ERROR,
    REASON_OUT_OF_RANGE,
    REASON_STALE,
    REASON_STARTING,
    REASON_DRAINING,
    REASON_FD_LIMIT,
    REASON_INTERNAL,
    REASON_COUNT
};

/* Returns the word of the HTTP contract, a string literal; "none" for REASON_NONE. */
const char *reason_name(enum reason reason);

/* Maps a five-character SQLSTATE (PostgreSQL manual, appendix A) to a reason. NULL and "" mean unreachable:
 * libpq has no SQLSTATE when no server answered. */
enum reason reason_from_sqlstate(const char *sqlstate);

#endif
