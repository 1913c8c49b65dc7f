/* The fixture of the tests of cgi/probe/ledger: a ledger with three checks, answers to book, and the log. */
#ifndef TESTS_UNIT_LEDGER_FIXTURE_H
#define TESTS_UNIT_LEDGER_FIXTURE_H

#include "tests/unit/unit.h"

#include "cgi/probe/ledger.h"
#include "common/clock.h"
#include "common/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Later than now, because a new ledger begins with the present time. */
#define T0           (INT64_C(1000000000) * NS_PER_S)
#define AFTER_MS(ms) (T0 + (ms)*NS_PER_MS)
#define AFTER_S(s)   (T0 + (s)*NS_PER_S)
#define TOOK_NS      NS_PER_MS

enum { NODES, EDGES, RARE, CHECK_COUNT };

static struct check items[CHECK_COUNT] = {
    [NODES] = {.name = "nodes", .sql = "SELECT 1", .max = INT64_MAX},
    [EDGES] = {.name = "edges", .sql = "SELECT 2", .max = INT64_MAX, .severity = CHECK_WARN},
    [RARE] = {.name = "rare", .sql = "SELECT 3", .max = INT64_MAX, .every_ms = 60000},
};
static const struct checks checks = {.items = items, .count = CHECK_COUNT};

static struct config config;
static struct ledger *ledger;
static int saved_stderr;
static int log_fd;

/* Makes a new ledger with the first checks of the table. */
static inline void renew_ledger(size_t check_count)
{
    ledger_free(ledger);
    ledger = ledger_new(&config, &(const struct checks){.items = items, .count = check_count});
}

static inline int begin_test(void **state)
{
    (void)state;
    int fds[2];
    if (pipe2(fds, O_NONBLOCK) != 0)
        return -1;
    log_fd = fds[0];
    saved_stderr = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    unsetenv("JOURNAL_STREAM");
    log_init(LOG_LEVEL_INFO);
    srandom(1);
    config = (struct config){.interval_ms = 2000, .heartbeat_ms = 250, .max_load = 2, .fall = 1, .rise = 1};
    renew_ledger(CHECK_COUNT);
    return 0;
}

static inline int end_test(void **state)
{
    (void)state;
    ledger_free(ledger);
    ledger = NULL;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(log_fd);
    return 0;
}

#define with_ledger(f) cmocka_unit_test_setup_teardown(f, begin_test, end_test)

/* Expects these log lines since the last call; the times at their beginning are ignored. */
static inline void expect_log(const char *const *lines, size_t count)
{
    char text[16384];
    ssize_t len = read(log_fd, text, sizeof text - 1);
    char *line = text;

    text[len > 0 ? len : 0] = '\0';
    for (size_t i = 0; i < count; i++) {
        char *end = strchr(line, '\n');
        char *after_time = strchr(line, ' ');
        if (end == NULL || after_time == NULL) {
            fail_msg("there is no line: %s", lines[i]);
            return;
        }
        *end = '\0';
        assert_string_equal(after_time + 1, lines[i]);
        line = end + 1;
    }
    assert_string_equal(line, "");
}

#define EXPECT_LOG(...)                                                                                      \
    expect_log((const char *const[]){__VA_ARGS__},                                                           \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))
#define EXPECT_NO_LOG()          expect_log(NULL, 0)
#define LINE(level, event, rest) "level=" level " event=\"" event "\" " rest

/* Answers to a question that was sent at sent_ns. */
static inline struct answer good_answer(enum question question, int64_t sent_ns)
{
    return (struct answer){.question = question, .by_server = true, .sent_ns = sent_ns, .took_ns = TOOK_NS};
}

static inline struct answer bad_answer(enum question question, enum reason reason, const char *sqlstate,
                                       int64_t sent_ns)
{
    struct answer a = good_answer(question, sent_ns);
    a.reason = reason;
    snprintf(a.sqlstate, sizeof a.sqlstate, "%s", sqlstate);
    snprintf(a.detail, sizeof a.detail, "what the server said");
    return a;
}

static inline void book_took(size_t check, enum reason reason, int64_t took_ns, int64_t sent_ns)
{
    struct answer a = bad_answer(QUESTION_CHECK, reason, "", sent_ns);
    a.took_ns = took_ns;
    a.has_count = reason == REASON_NONE;
    a.count = 7;
    ledger_book_check(ledger, check, &a, sent_ns);
}

static inline void pass_check(size_t check, int64_t now_ns)
{
    book_took(check, REASON_NONE, TOOK_NS, now_ns);
}

static inline void fail_check_as(size_t check, enum reason reason, const char *sqlstate, int64_t now_ns)
{
    struct answer a = bad_answer(QUESTION_CHECK, reason, sqlstate, now_ns);
    ledger_book_check(ledger, check, &a, now_ns);
}

static inline void fail_check(size_t check, int64_t now_ns)
{
    fail_check_as(check, REASON_SCHEMA, "42P01", now_ns);
}

static inline void login_at(const char *host, int64_t now_ns)
{
    struct answer a = good_answer(QUESTION_LOGIN, now_ns);
    a.took_ns = 3 * NS_PER_MS;
    struct database_server server = {.version = 150004,
                                     .address = "10.0.0.1",
                                     .port = "5432",
                                     .database = "knowledge",
                                     .user = "health_api"};
    snprintf(server.host, sizeof server.host, "%s", host);
    ledger_book_login(ledger, &a, &server, now_ns);
}

static inline void login(int64_t now_ns)
{
    login_at("db", now_ns);
}

static inline void fail_login(enum reason reason, const char *sqlstate, int64_t now_ns)
{
    struct answer a = bad_answer(QUESTION_LOGIN, reason, sqlstate, now_ns);
    ledger_book_login(ledger, &a, NULL, now_ns);
}

static inline void ping(int64_t now_ns)
{
    struct answer a = good_answer(QUESTION_PING, now_ns);
    ledger_book_ping(ledger, &a, now_ns);
}

static inline void fail_ping(enum reason reason, int64_t now_ns)
{
    struct answer a = bad_answer(QUESTION_PING, reason, "", now_ns);
    a.by_server = reason != REASON_HUNG;
    ledger_book_ping(ledger, &a, now_ns);
}

static inline void pass_all(int64_t now_ns)
{
    for (size_t i = 0; i < CHECK_COUNT; i++)
        pass_check(i, now_ns);
}

/* Books good answers to everything, and publishes them. */
static inline void start_healthy(int64_t now_ns)
{
    login(now_ns);
    ping(now_ns);
    pass_all(now_ns);
    snapshot_release(ledger_snapshot(ledger, T0));
}

static inline void expect_healthy(void)
{
    struct snapshot *s = ledger_snapshot(ledger, T0);
    assert_false(s->starting);
    assert_false(snapshot_is_degraded(s));
    snapshot_release(s);
}

/* cause_check is the first that is down. */
static inline void expect_degraded(const char *cause_check, enum reason cause)
{
    struct snapshot *s = ledger_snapshot(ledger, T0);
    const char *check = SNAPSHOT_DATABASE;
    enum reason reason = s->database.down_reason;
    for (size_t i = s->check_count; i-- > 0 && !s->database.down;) {
        if (s->checks[i].down && s->checks[i].severity == CHECK_FAIL) {
            check = s->checks[i].name;
            reason = s->checks[i].down_reason;
        }
    }
    assert_false(s->starting);
    assert_true(snapshot_is_degraded(s));
    assert_string_equal(check, cause_check);
    assert_string_equal(reason_name(reason), reason_name(cause));
    snapshot_release(s);
}

#endif
