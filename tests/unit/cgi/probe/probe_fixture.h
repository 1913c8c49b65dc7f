/* What the tests of cgi/probe share: one probe over the scripted libpq, from its opening to its end. */
#ifndef TESTS_UNIT_PROBE_FIXTURE_H
#define TESTS_UNIT_PROBE_FIXTURE_H

#include "tests/unit/unit.h"

#include "cgi/probe/probe.h"
#include "common/clock.h"
#include "tests/unit/cgi/probe/scripted_libpq.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 1000
#define QUERY_TIMEOUT_MS   800

/* Any time at all. */
#define T0           (INT64_C(77) * NS_PER_S)
#define AFTER_MS(ms) (T0 + (ms)*NS_PER_MS)

#define LOST "server closed the connection unexpectedly\n\tThis probably means ...\n"

#define PING "SELECT pg_is_in_recovery()"
#define SETTINGS_13                                                                                          \
    "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true), "               \
    "set_config('transaction_read_only', 'on', true)"
#define SETTINGS                                                                                             \
    SETTINGS_13 ", set_config('client_connection_check_interval', "                                          \
                "CASE WHEN version() LIKE '%linux%' THEN '500ms' ELSE '0' END, true)"

enum type { BOOL = 16, INT8 = 20, TEXT = 25 };

/* What a server answers when all is well. */
#define PING_ANSWER     ROW(BOOL, "f"), NO_MORE, SYNCED
#define SETTINGS_ANSWER ROW(TEXT, "800ms"), NO_MORE
#define COUNT_ANSWER(n) SETTINGS_ANSWER, ROW(INT8, n), NO_MORE, SYNCED

static const struct probe_options options = {
    .connect_timeout_ms = CONNECT_TIMEOUT_MS,
    .query_timeout_ms = QUERY_TIMEOUT_MS,
};

static struct probe *probe;
static struct probe_wait wait_for; /* as the last step said */

static inline int begin_test(void **state)
{
    (void)state;
    script_begin();
    unsetenv("PGGSSENCMODE");
    probe = NULL;
    return 0;
}

static inline int end_test(void **state)
{
    (void)state;
    probe_close(probe);
    probe = NULL;
    script_end();
    return 0;
}

#define scripted(f) cmocka_unit_test_setup_teardown(f, begin_test, end_test)

static inline void open_probe(void)
{
    probe_close(probe);
    probe = probe_open(&options, T0);
}

static inline void expect_step(enum probe_state state, int64_t now_ns)
{
    assert_int_equal(probe_step(probe, now_ns, &wait_for), state);
    assert_int_equal(probe_state(probe), state);
}

/* What a socket takes in one portion. */
#define PORTION 65536

/* The peer sends len bytes, libpq reads them, and the state stays. */
static inline void flood(size_t len, enum probe_state state)
{
    for (size_t sent = 0; sent < len; sent += PORTION) {
        peer_sends_bytes(PORTION);
        EXPECT_CALLS(CONSUMED);
        expect_step(state, T0);
    }
}

static inline void expect_wait(int fd, short events, int64_t deadline_ns)
{
    assert_int_equal(wait_for.fd, fd);
    assert_int_equal(wait_for.events, events);
    assert_int_equal(wait_for.deadline_ns, deadline_ns);
}

/* Behind the step that failed: why, and that nothing is waited for or done any more. */
static inline const struct probe_failure *expect_failure(enum reason reason, const char *sqlstate)
{
    const struct probe_failure *failure = probe_failure(probe);
    expect_step(PROBE_FAILED, T0);
    expect_wait(-1, 0, CLOCK_NEVER);
    assert_string_equal(reason_name(failure->reason), reason_name(reason));
    assert_string_equal(failure->sqlstate, sqlstate);
    script_expect_done();
    return failure;
}

/* The database as a whole is at fault, and a fresh connection would not tell more. */
static inline void expect_fault(enum reason reason, const char *sqlstate)
{
    const struct probe_failure *failure = expect_failure(reason, sqlstate);
    assert_false(failure->lost);
    assert_false(failure->checks_only);
    assert_false(failure->refused);
}

/* The peer ended an established connection. */
static inline void expect_lost(enum reason reason, const char *sqlstate)
{
    const struct probe_failure *failure = expect_failure(reason, sqlstate);
    assert_true(failure->lost);
    assert_false(failure->checks_only);
    assert_false(failure->refused);
}

/* A probe that is connected and idle. */
static inline void connect_probe(void)
{
    EXPECT_CALLS(STARTED, CONNECTED);
    open_probe();
    expect_step(PROBE_IDLE, T0);
}

static inline void start_round_until(const struct check *const *checks, size_t count,
                                     int64_t round_deadline_ns)
{
    EXPECT_CALLS(SENT(PING, NULL), SYNC_SENT);
    for (size_t i = 0; i < count; i++)
        EXPECT_CALLS(SENT(SETTINGS, "800ms"), SENT(checks[i]->sql, NULL), SYNC_SENT);
    EXPECT_CALLS(FLUSHED);
    probe_start_round(probe, checks, count, round_deadline_ns, T0);
    expect_step(PROBE_ROUND, T0);
}

static inline void start_round(const struct check *const *checks, size_t count)
{
    start_round_until(checks, count, CLOCK_NEVER);
}

/* Bytes arrive and are looked at. */
static inline void expect_answered(enum probe_state state, int64_t now_ns)
{
    peer_sends_bytes(1);
    expect_step(state, now_ns);
}

#endif
