/* common/log and common/clock. */
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* stderr is a pipe during a test. */
static int saved_stderr;
static int reader;

static int capture_stderr(void **state)
{
    (void)state;
    int fds[2];
    if (pipe(fds) != 0)
        return -1;
    reader = fds[0];
    fcntl(reader, F_SETFL, O_NONBLOCK);
    saved_stderr = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    unsetenv("JOURNAL_STREAM");
    log_init(LOG_LEVEL_INFO);
    return 0;
}

static int release_stderr(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(reader);
    return 0;
}

/* Returns what was written since the last call. */
static const char *written(void)
{
    static char text[65536];
    ssize_t n = read(reader, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* What comes after the time, which differs from run to run. */
static const char *written_behind_time(void)
{
    const char *line = written();
    const char *level = strstr(line, " level=");
    return level != NULL ? level + 1 : line;
}

static void fill_pipe(void)
{
    static const char block[4096];
    fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
    while (write(STDERR_FILENO, block, sizeof block) > 0) {
    }
    fcntl(STDERR_FILENO, F_SETFL, 0);
}

static void drain_pipe(void)
{
    char block[4096];
    while (read(reader, block, sizeof block) > 0) {
    }
}

static void writes_one_logfmt_line_per_event(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_WARN, "lost it", LOG_STR("path", "/run/x"), LOG_INT("fd", -3));
    regex_t form;
    const char *pattern = "^time=20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z "
                          "level=warn event=\"lost it\" path=/run/x fd=-3\n$";
    assert_int_equal(regcomp(&form, pattern, REG_EXTENDED | REG_NOSUB), 0);
    assert_int_equal(regexec(&form, written(), 0, NULL, 0), 0);
    regfree(&form);
}

static void values_are_quoted_and_escaped_where_needed(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *printed;
    } rows[] = {
        {"plain-1.2:/x", "plain-1.2:/x"},
        {"", "\"\""},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"say \"x\"", "\"say \\\"x\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"x\nlevel=info event=\"forged\"", "\"x\\nlevel=info event=\\\"forged\\\"\""},
        {"\t\r", "\"\\t\\r\""},
        {"\x1b[31m", "\"\\x1b[31m\""},
        {"\x7f", "\"\\x7f\""},
        {"caf\xc3\xa9", "\"caf\\xc3\\xa9\""},
        {"\xff\x9b", "\"\\xff\\x9b\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char expected[128];
        log_event(LOG_LEVEL_INFO, "e", LOG_STR("k", rows[i].value));
        snprintf(expected, sizeof expected, "level=info event=\"e\" k=%s\n", rows[i].printed);
        assert_string_equal(written_behind_time(), expected);
    }
}

static void a_null_text_is_an_empty_value(void **state)
{
    (void)state;
    const char *nothing = NULL;
    log_event(LOG_LEVEL_INFO, "e", LOG_STR("k", nothing));
    assert_string_equal(written_behind_time(), "level=info event=\"e\" k=\"\"\n");
}

static void prints_the_extreme_numbers(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_INFO, "e", LOG_INT("min", INT64_MIN), LOG_INT("max", INT64_MAX));
    assert_string_equal(written_behind_time(),
                        "level=info event=\"e\" min=-9223372036854775808 max=9223372036854775807\n");
}

static void lines_above_the_level_are_not_written(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_DEBUG, "hidden", LOG_INT("n", 1));
    assert_string_equal(written(), "");
    log_init(LOG_LEVEL_ERROR);
    log_event(LOG_LEVEL_WARN, "hidden", LOG_INT("n", 1));
    assert_string_equal(written(), "");
    log_event(LOG_LEVEL_ERROR, "shown", LOG_INT("n", 1));
    assert_string_equal(written_behind_time(), "level=error event=\"shown\" n=1\n");
}

static void the_journal_gets_a_priority_and_no_time(void **state)
{
    (void)state;
    struct stat st;
    char stream[64];
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_init(LOG_LEVEL_INFO);
    log_event(LOG_LEVEL_ERROR, "e", LOG_INT("n", 1));
    assert_string_equal(written(), "<3>level=error event=\"e\" n=1\n");
    log_event(LOG_LEVEL_INFO, "e", LOG_INT("n", 1));
    assert_string_equal(written(), "<6>level=info event=\"e\" n=1\n");
}

static void an_inherited_journal_variable_of_another_stream_is_ignored(void **state)
{
    (void)state;
    setenv("JOURNAL_STREAM", "1:1", 1);
    log_init(LOG_LEVEL_INFO);
    log_event(LOG_LEVEL_INFO, "e", LOG_INT("n", 1));
    assert_memory_equal(written(), "time=", 5);
}

static void a_long_value_is_cut_and_the_line_stays_well_formed(void **state)
{
    (void)state;
    char value[5000];
    /* Each length of the start moves the cut: into the value, its escapes, its quotes, or the next
     * field. */
    for (size_t len = 1900; len < 2100; len++) {
        memset(value, 'x', len);
        value[len] = '\0';
        log_event(LOG_LEVEL_INFO, "e", LOG_STR("long", value), LOG_STR("next", "\n\x01 \""),
                  LOG_INT("n", 123456));
        const char *line = written();
        size_t line_len = strlen(line);
        assert_true(line_len <= 2048);
        assert_int_equal(line[line_len - 1], '\n');
        assert_null(memchr(line, '\n', line_len - 1));
        assert_true(strstr(line, " n=123456\n") != NULL || strstr(line, "...") != NULL);
    }
}

static void a_cut_quoted_value_ends_with_dots_and_a_quote(void **state)
{
    (void)state;
    char value[3000];
    memset(value, '\n', sizeof value);
    value[sizeof value - 1] = '\0';
    log_event(LOG_LEVEL_INFO, "e", LOG_STR("k", value));
    const char *line = written();
    size_t len = strlen(line);
    assert_true(len > 2040 && len <= 2048);
    assert_string_equal(line + len - 7, "\\n...\"\n");
}

static void a_full_pipe_drops_lines_and_the_next_line_reports_how_many(void **state)
{
    (void)state;
    fill_pipe();
    alarm(5); /* the alarm ends a test whose log blocks */
    for (int i = 0; i < 3; i++)
        log_event(LOG_LEVEL_INFO, "lost", LOG_INT("n", i));
    alarm(0);
    drain_pipe();
    log_event(LOG_LEVEL_INFO, "back", LOG_INT("n", 3));
    assert_string_equal(written_behind_time(), "level=info event=\"back\" dropped=3 n=3\n");
    log_event(LOG_LEVEL_INFO, "on", LOG_INT("n", 4));
    assert_string_equal(written_behind_time(), "level=info event=\"on\" n=4\n");
}

static void last_words_are_one_line_at_level_error(void **state)
{
    (void)state;
    struct stat st;
    char stream[64];
    log_last_words("it is over");
    assert_string_equal(written(), "level=error event=\"it is over\"\n");
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_init(LOG_LEVEL_INFO);
    log_last_words("it is over");
    assert_string_equal(written(), "<3>level=error event=\"it is over\"\n");
}

static void last_words_do_not_wait_for_a_full_pipe(void **state)
{
    (void)state;
    fill_pipe();
    alarm(5);
    log_last_words("nobody reads");
    alarm(0);
}

static void a_reader_that_is_gone_causes_no_signal(void **state)
{
    (void)state;
    int fds[2];
    int ours = dup(STDERR_FILENO);
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    close(fds[0]);
    close(fds[1]);
    signal(SIGPIPE, SIG_DFL);
    log_event(LOG_LEVEL_INFO, "nobody reads", LOG_INT("n", 1));
    dup2(ours, STDERR_FILENO);
    close(ours);
    log_event(LOG_LEVEL_INFO, "back", LOG_INT("n", 2));
    assert_string_equal(written_behind_time(), "level=info event=\"back\" dropped=1 n=2\n");
}

static void a_closed_stderr_is_harmless(void **state)
{
    (void)state;
    int ours = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    log_event(LOG_LEVEL_INFO, "nobody reads", LOG_INT("n", 1));
    dup2(ours, STDERR_FILENO);
    close(ours);
    log_event(LOG_LEVEL_INFO, "back", LOG_INT("n", 2));
    assert_string_equal(written_behind_time(), "level=info event=\"back\" dropped=1 n=2\n");
}

static void a_failed_write_is_counted_and_keeps_errno(void **state)
{
    (void)state;
    int ours = dup(STDERR_FILENO);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    dup2(full, STDERR_FILENO);
    close(full);
    errno = ENOTDIR;
    log_event(LOG_LEVEL_INFO, "no space", LOG_INT("n", 1));
    int after = errno;
    dup2(ours, STDERR_FILENO);
    close(ours);
    assert_int_equal(after, ENOTDIR);
    log_event(LOG_LEVEL_INFO, "back", LOG_INT("n", 2));
    assert_string_equal(written_behind_time(), "level=info event=\"back\" dropped=1 n=2\n");
}

#define THREADS 4
#define LINES   100

static void *write_lines(void *name)
{
    for (int i = 0; i < LINES; i++)
        log_event(LOG_LEVEL_INFO, "thread", LOG_STR("name", name), LOG_INT("end", 1));
    return NULL;
}

static void threads_do_not_mix_their_lines(void **state)
{
    (void)state;
    static char names[THREADS][8] = {"aaaaaa", "bbbbbb", "cccccc", "dddddd"};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char text[65536];
    strcpy(text, written());
    int lines = 0;
    char *rest;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char name = '?';
        assert_int_equal(strlen(line), strlen("time=2026-01-31T12:00:00.123Z level=info event=\"thread\" "
                                              "name=aaaaaa end=1"));
        assert_int_equal(sscanf(strstr(line, "name="), "name=%c", &name), 1);
        assert_true(name >= 'a' && name < 'a' + THREADS);
        lines++;
    }
    assert_int_equal(lines, THREADS * LINES);
}

static void levels_have_names(void **state)
{
    (void)state;
    static const char *const names[] = {"error", "warn", "notice", "info", "debug"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_string_equal(log_level_names[LOG_LEVEL_ERROR + i], names[i]);
    assert_int_equal(LOG_LEVEL_ERROR + 4, LOG_LEVEL_DEBUG);
}

static void the_clock_is_boottime(void **state)
{
    (void)state;
    struct timespec boot;
    int64_t before = clock_now_ns();
    clock_gettime(CLOCK_BOOTTIME, &boot);
    int64_t between = boot.tv_sec * NS_PER_S + boot.tv_nsec;
    assert_true(before <= between);
    assert_true(between <= clock_now_ns());
}

static void the_wall_clock_counts_from_1970(void **state)
{
    (void)state;
    int64_t before = (int64_t)time(NULL);
    int64_t now = clock_wall_ms();
    assert_true(now / MS_PER_S >= before - 1);
    assert_true(now / MS_PER_S <= (int64_t)time(NULL) + 1);
}

static void poll_timeouts_round_up_and_saturate(void **state)
{
    (void)state;
    static const struct {
        int64_t deadline_ns;
        int64_t now_ns;
        int timeout_ms;
    } rows[] = {
        {CLOCK_NEVER, 0, -1},
        {CLOCK_NEVER, INT64_MAX, -1},
        {1000, 1000, 0},
        {999, 1000, 0},
        {0, INT64_MAX, 0},
        {1001, 1000, 1},
        {NS_PER_MS, 0, 1},
        {NS_PER_MS + 1, 0, 2},
        {5 * NS_PER_S, 0, 5000},
        {INT64_MAX - 1, 0, INT_MAX},
        {INT64_MAX - 1, -1000, INT_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(clock_poll_timeout_ms(rows[i].deadline_ns, rows[i].now_ns), rows[i].timeout_ms);
}

static void iso_times_have_milliseconds_and_utc(void **state)
{
    (void)state;
    static const struct {
        int64_t wall_ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {INT64_C(1769860800123), "2026-01-31T12:00:00.123Z"},
        {INT64_C(1709251199999), "2024-02-29T23:59:59.999Z"},
        {INT64_C(4102444800005), "2100-01-01T00:00:00.005Z"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
    };
    setenv("TZ", "Asia/Tokyo", 1);
    tzset();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[CLOCK_ISO_SIZE];
        clock_format_iso(rows[i].wall_ms, text);
        assert_string_equal(text, rows[i].text);
    }
    unsetenv("TZ");
}

#define test_captured(function) cmocka_unit_test_setup_teardown(function, capture_stderr, release_stderr)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_captured(writes_one_logfmt_line_per_event),
        test_captured(values_are_quoted_and_escaped_where_needed),
        test_captured(a_null_text_is_an_empty_value),
        test_captured(prints_the_extreme_numbers),
        test_captured(lines_above_the_level_are_not_written),
        test_captured(the_journal_gets_a_priority_and_no_time),
        test_captured(an_inherited_journal_variable_of_another_stream_is_ignored),
        test_captured(a_long_value_is_cut_and_the_line_stays_well_formed),
        test_captured(a_cut_quoted_value_ends_with_dots_and_a_quote),
        test_captured(a_full_pipe_drops_lines_and_the_next_line_reports_how_many),
        test_captured(last_words_are_one_line_at_level_error),
        test_captured(last_words_do_not_wait_for_a_full_pipe),
        test_captured(a_reader_that_is_gone_causes_no_signal),
        test_captured(a_closed_stderr_is_harmless),
        test_captured(a_failed_write_is_counted_and_keeps_errno),
        test_captured(threads_do_not_mix_their_lines),
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test(the_clock_is_boottime),
        cmocka_unit_test(the_wall_clock_counts_from_1970),
        cmocka_unit_test(poll_timeouts_round_up_and_saturate),
        cmocka_unit_test(iso_times_have_milliseconds_and_utc),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
