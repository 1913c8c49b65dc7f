/* The table of faults and promises; constant data. */
#include "tests/sim/faults.h"

/* A ping is due within a heartbeat, and gets no answer for HEALTH_HUNG_AFTER. */
#define SILENT_SERVER                                                                                        \
    {                                                                                                        \
        .heartbeat = 1, .hung_after = 1, .round_trip = 4, .ms = 150                                          \
    }
#define NEXT_LOGIN_FAILS                                                                                     \
    {                                                                                                        \
        .reconnect_every = 1, .round_trip = 20, .ms = 150                                                    \
    }
#define NEXT_LOGIN_HANGS                                                                                     \
    {                                                                                                        \
        .reconnect_every = 1, .connect_timeout = 1, .round_trip = 20, .ms = 150                              \
    }
#define SESSION_IS_LOST                                                                                      \
    {                                                                                                        \
        .connect_timeout = 1, .round_trip = 20, .ms = 400                                                    \
    }
#define LOGIN_SUCCEEDS                                                                                       \
    {                                                                                                        \
        .connect_timeout = 2, .interval = 1, .check_time = 1, .round_trip = 30, .ms = 2700                   \
    }
#define NEXT_ADDRESS_ANSWERS                                                                                 \
    {                                                                                                        \
        .heartbeat = 1, .connect_timeout = 2, .interval = 1, .check_time = 1, .round_trip = 30, .ms = 700    \
    }
#define LOCKED_OUT_WAITS                                                                                     \
    {                                                                                                        \
        .connect_timeout = 2, .interval = 1, .check_time = 1, .round_trip = 30, .ms = 11500                  \
    }
#define CHECK_IS_DUE                                                                                         \
    {                                                                                                        \
        .every = 1, .interval = 1, .query_timeout = 1, .check_time = 1, .load = 1, .round_trip = 40,         \
        .ms = 600                                                                                            \
    }
#define STAYS_STUCK                                                                                          \
    {                                                                                                        \
        .every = 1, .interval = 3, .query_timeout = 2, .check_time = 1, .load = 1, .round_trip = 60,         \
        .ms = 9500                                                                                           \
    }
#define FAILED_IS_DUE                                                                                        \
    {                                                                                                        \
        .interval = 2, .query_timeout = 5, .check_time = 1, .load = 1, .round_trip = 40, .ms = 600           \
    }

#define BACKED_OFF                                                                                           \
    {                                                                                                        \
        .ms = 690000                                                                                         \
    }

#define NEVER                                                                                                \
    {                                                                                                        \
        .reasons = ""                                                                                        \
    }
#define NOT(why)                                                                                             \
    {                                                                                                        \
        .off = (why), .reasons = ""                                                                          \
    }
#define ONLY_STALE                                                                                           \
    {                                                                                                        \
        .may_fail = true, .cleared = {.interval = 1, .check_time = 1, .round_trip = 20, .ms = 600},          \
        .reasons = " stale "                                                                                 \
    }
#define FAILS(n, c, words)                                                                                   \
    {                                                                                                        \
        .may_fail = true, .must_fail = true, .noticed = n, .cleared = c, .reasons = " " words " "            \
    }
#define MAY(c, words)                                                                                        \
    {                                                                                                        \
        .may_fail = true, .cleared = c, .reasons = " " words " "                                             \
    }
#define FOR_A_WHILE(c, words)                                                                                \
    {                                                                                                        \
        .may_fail = true, .is_brief = true, .cleared = c, .reasons = " " words " "                           \
    }
#define HUNG "hung connect_timeout stale"

const struct fault_row fault_rows[FAULT_COUNT] = {
    [FAULT_FREEZE_SERVER] = {"server frozen", 10, 100, 20000, FAILS(SILENT_SERVER, LOGIN_SUCCEEDS, HUNG)},
    [FAULT_SILENCE] = {"network silent", 10, 100, 20000, FAILS(SILENT_SERVER, LOGIN_SUCCEEDS, HUNG)},
    [FAULT_FREEZE_POSTMASTER] = {"postmaster frozen", 8, 100, 40000,
                                 FAILS(NEXT_LOGIN_HANGS, LOGIN_SUCCEEDS, "connect_timeout hung")},
    [FAULT_STOP] = {"server stopped", 5, 100, 20000,
                    FAILS(SESSION_IS_LOST, LOGIN_SUCCEEDS, "unreachable restarting")},
    [FAULT_RESTART] = {"server restarts", 5, 100, 20000,
                       FAILS(SESSION_IS_LOST, LOGIN_SUCCEEDS, "restarting unreachable")},
    [FAULT_SHUTDOWN] = {"smart shutdown", 5, 100, 40000,
                        FAILS(NEXT_LOGIN_FAILS, LOGIN_SUCCEEDS, "restarting")},
    [FAULT_SOFT_STOP] = {"soft stop", 5, 100, 40000, FAILS(NEXT_LOGIN_FAILS, LOGIN_SUCCEEDS, "unreachable")},
    [FAULT_FULL] = {"no connection left", 6, 100, 40000,
                    FAILS(NEXT_LOGIN_FAILS, LOGIN_SUCCEEDS, "saturated")},
    [FAULT_REJECT] = {"login rejected", 6, 100, 40000, FAILS(NEXT_LOGIN_FAILS, LOCKED_OUT_WAITS, "access")},
    [FAULT_NO_FORK] = {"server cannot fork", 6, 100, 40000,
                       FAILS(NEXT_LOGIN_FAILS, LOGIN_SUCCEEDS, "resources unreachable")},
    [FAULT_RECOVERY] = {"crash recovery", 0, 0, 0,
                        FAILS(SESSION_IS_LOST, LOGIN_SUCCEEDS, "restarting unreachable")},
    [FAULT_RESET] = {"connections reset", 5, 0, 0, NEVER},
    [FAULT_LOST_PACKET] = {"packet lost", 5, 0, 0, NEVER},
    [FAULT_LOST_SYN] = {"SYN lost", 5, 0, 0, NEVER},
    [FAULT_SILENT_ADDRESS] = {"address silent", 5, 1000, 60000, FOR_A_WHILE(NEXT_ADDRESS_ANSWERS, HUNG)},
    [FAULT_FREEZE_SESSION] = {"one server process frozen", 5, 100, 5000, NEVER},
    [FAULT_TERMINATE_SESSION] = {"session terminated", 5, 0, 0, NEVER},
    [FAULT_RESOLVER_DEAD] = {"resolver dead", 5, 1000, 60000, NEVER},
    [FAULT_RESOLVER_SLOW] = {"resolver slow", 5, 1000, 60000, NEVER},
    [FAULT_STALL] = {"own stall", 5, 50, 25000, ONLY_STALE},
    [FAULT_STALL_AT_CLOCK] = {"own stall in mid-work", 5, 50, 25000, ONLY_STALE},
    [FAULT_SUSPEND] = {"machine suspended", 2, 1000, 60000, ONLY_STALE},
    [FAULT_WALL_JUMP] = {"wall clock jumps", 2, 0, 0, NEVER},
    [FAULT_RELOAD] = {"checks reloaded", 4, 0, 0, NEVER},
    [FAULT_CHECK_SLOW] = {"check slow", 5, 1000, 60000, NEVER},
    [FAULT_CHECK_LOCKED] = {"check waits for a lock", 8, 3000, 60000,
                            FAILS(CHECK_IS_DUE, FAILED_IS_DUE, "query_timeout")},
    [FAULT_CHECK_STUBBORN] = {"check ignores cancellation", 6, 3000, 60000,
                              FAILS(STAYS_STUCK, BACKED_OFF, "query_timeout")},
    [FAULT_CHECK_CRASHES] = {"check crashes the server", 3, 10000, 120000,
                             FAILS(CHECK_IS_DUE, BACKED_OFF, "restarting unreachable")},
    [FAULT_CHECK_DROPPED] = {"table dropped", 5, 3000, 60000, FAILS(CHECK_IS_DUE, FAILED_IS_DUE, "schema")},
    [FAULT_CHECK_CORRUPT] = {"table corrupt", 4, 3000, 60000, FAILS(CHECK_IS_DUE, FAILED_IS_DUE, "corrupt")},
    [FAULT_CHECK_RANGE] = {"count out of range", 4, 3000, 60000,
                           FAILS(CHECK_IS_DUE, FAILED_IS_DUE, "out_of_range")},
    [FAULT_CHECK_MALFORMED] = {"check returns no row", 3, 3000, 60000,
                               FAILS(CHECK_IS_DUE, FAILED_IS_DUE, "malformed")},
};

/* The load limits are off: the program cannot know the work of an orphan, or of a check lost in an outage. */
static const struct limits limits = {
    .fall_damps = true,
    .orphans = 1,
    .sessions = 2,
    .crashes_in_10_minutes = 20,
};

const struct limits *faults_limits(void)
{
    return &limits;
}
