/* The fixture of the tests of cgi/probe/session: one session over the scripted libpq. */
#ifndef TESTS_UNIT_SESSION_FIXTURE_H
#define TESTS_UNIT_SESSION_FIXTURE_H

#include "tests/unit/unit.h"

#include "cgi/probe/session.h"
#include "common/clock.h"
#include "tests/unit/cgi/probe/scripted_libpq.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 1000
#define QUERY_TIMEOUT_MS   800

/* Any time will do. */
#define T0           (INT64_C(77) * NS_PER_S)
#define AFTER_MS(ms) (T0 + (ms)*NS_PER_MS)

#define LOST "server closed the connection unexpectedly\n\tThis probably means ...\n"

#define RECOVERY "SELECT pg_is_in_recovery()"
#define ORPHAN                                                                                               \
    "SELECT count(*) FROM pg_stat_activity "                                                                 \
    "WHERE pid = $1::int AND state <> 'idle' AND pid <> pg_backend_pid()"
#define SETTINGS_13                                                                                          \
    "SELECT pg_backend_pid(), set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, "    \
    "true), set_config('transaction_read_only', 'on', true)"
#define SETTINGS                                                                                             \
    SETTINGS_13 ", set_config('client_connection_check_interval', "                                          \
                "CASE WHEN version() LIKE '%linux%' THEN '500ms' ELSE '0' END, true)"

enum type { BOOL = 16, INT8 = 20, INT4 = 23, TEXT = 25 };

/* What the session sends for a check, and what a server answers without an error. */
#define CHECK_SENT(sql, limit) SENT(SETTINGS, limit), FLUSH_REQUESTED, SENT(sql, NULL), SYNC_SENT, FLUSHED
#define RECOVERY_ANSWER        ROW(BOOL, "f"), NO_MORE, SYNCED
#define SETTINGS_ANSWER                                                                                      \
    RESULT(.status = PGRES_TUPLES_OK, .rows = 1, .columns = 5, .type = INT4, .value = "4711"), NO_MORE
#define COUNT_ANSWER(n) SETTINGS_ANSWER, ROW(INT8, n), NO_MORE, SYNCED

static struct session *session;
static struct answer answer; /* the last answer */

static inline int begin_test(void **state)
{
    (void)state;
    script_begin();
    unsetenv("PGGSSENCMODE");
    session = NULL;
    return 0;
}

static inline void close_session(void)
{
    session_close(session);
    session = NULL;
}

static inline int end_test(void **state)
{
    (void)state;
    close_session();
    script_end();
    return 0;
}

#define scripted(f) cmocka_unit_test_setup_teardown(f, begin_test, end_test)

static inline void open_session(void)
{
    session_close(session);
    session = session_open(&(struct hosts){0}, CONNECT_TIMEOUT_MS, T0);
}

/* Expects a step without an answer. */
static inline void expect_nothing(enum session_state state, int64_t now_ns)
{
    assert_false(session_step(session, now_ns, &answer));
    assert_int_equal(session_state(session), state);
}

static inline void expect_wait(int fd, short events, int64_t deadline_ns)
{
    struct pollfd pfd;
    assert_true(session_wait(session, &pfd) == deadline_ns);
    assert_int_equal(pfd.fd, fd);
    assert_int_equal(pfd.events, events);
}

/* Expects a step with an answer to this question and with this reason; the session continues. */
static inline void expect_answer(enum question question, enum reason reason, int64_t now_ns)
{
    assert_true(session_step(session, now_ns, &answer));
    assert_string_equal(reason_name(answer.reason), reason_name(reason));
    assert_int_equal(answer.question, question);
    assert_int_equal(session_question(session), question);
    assert_true(answer.took_ns == now_ns - answer.sent_ns);
    assert_false(answer.ends_session);
    assert_int_equal(session_state(session), SESSION_IDLE);
    expect_wait(script_socket(), POLLIN, CLOCK_NEVER);
    expect_nothing(SESSION_IDLE, now_ns); /* session_step returns it only once */
    script_expect_done();
}

/* Expects a step with the last answer; after it the session waits for nothing. */
static inline void expect_end(enum question question, enum reason reason, const char *sqlstate,
                              int64_t now_ns)
{
    assert_true(session_step(session, now_ns, &answer));
    assert_string_equal(reason_name(answer.reason), reason_name(reason));
    assert_int_equal(answer.question, question);
    assert_string_equal(answer.sqlstate, sqlstate);
    assert_true(answer.ends_session);
    assert_false(answer.has_count);
    assert_true(answer.took_ns == now_ns - answer.sent_ns);
    expect_nothing(SESSION_OVER, now_ns + 3600 * NS_PER_S);
    expect_wait(-1, 0, CLOCK_NEVER);
    script_expect_done();
}

/* How much a socket takes at once. */
#define PORTION 65536

/* The peer sends len bytes, libpq reads them, and the state does not change. */
static inline void flood(size_t len, enum session_state state)
{
    for (size_t sent = 0; sent < len; sent += PORTION) {
        peer_sends_bytes(PORTION);
        EXPECT_CALLS(CONSUMED);
        expect_nothing(state, T0);
    }
}

/* Opens a session and logs in, so that it is idle. */
static inline void let_in(void)
{
    EXPECT_CALLS(STARTED, CONNECTED);
    open_session();
    expect_answer(QUESTION_LOGIN, REASON_NONE, T0);
}

/* Bytes arrive, libpq parses them, and there is no answer yet. */
static inline void expect_nothing_yet(enum session_state state, int64_t now_ns)
{
    peer_sends_bytes(1);
    expect_nothing(state, now_ns);
}

#endif
