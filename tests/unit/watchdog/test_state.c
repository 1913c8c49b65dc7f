/* The ages of recoveries across reboots and clock jumps, the state file, and its lock. */
#include "tests/unit/unit.h"

#include "watchdog/state.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOOT_A "aaaaaaaa-0000-0000-0000-000000000000"
#define BOOT_B "bbbbbbbb-0000-0000-0000-000000000000"

static struct state_time at(const char *boot, int64_t boot_ms, int64_t wall_ms)
{
    struct state_time t = {.boot_ms = boot_ms, .wall_ms = wall_ms, .up_ms = boot_ms};
    snprintf(t.boot_id, sizeof t.boot_id, "%s", boot);
    return t;
}

/* In a container boot_id and the boot clock are the host's. */
static struct state_time in_container(struct state_time t, int64_t up_ms)
{
    t.up_ms = up_ms;
    return t;
}

static void an_age_is_right_across_reboots_and_clock_jumps(void **state)
{
    (void)state;
    const struct {
        const char *what;
        struct state_time then, now;
        int64_t age_ms;
    } rows[] = {
        {"same boot", at(BOOT_A, 1000, 5000), at(BOOT_A, 61000, 65000), MINUTE_MS},
        {"same boot, clock set back a day", at(BOOT_A, 1000, 24 * HOUR_MS), at(BOOT_A, 61000, 0), MINUTE_MS},
        {"same boot, clock set forward a day", at(BOOT_A, 1000, 0), at(BOOT_A, 61000, 24 * HOUR_MS),
         MINUTE_MS},
        {"rebooted", at(BOOT_A, 900000, 0), at(BOOT_B, 30000, 5 * MINUTE_MS), 5 * MINUTE_MS},
        {"rebooted, clock set back", at(BOOT_A, 900000, HOUR_MS), at(BOOT_B, 30000, 0), 30000},
        {"rebooted, clock set back, up for 2 h", at(BOOT_A, 9000, HOUR_MS), at(BOOT_B, 2 * HOUR_MS, 0),
         2 * HOUR_MS},
        {"the boot clock of another container", at(BOOT_A, 61000, 0), at(BOOT_A, 1000, 50 * MINUTE_MS),
         50 * MINUTE_MS},
        {"the same, clock set back", at(BOOT_A, 61000, HOUR_MS), at(BOOT_A, 1000, 0), 1000},
        {"a container on a host that has been up for a month", at(BOOT_A, 9000, 0),
         in_container(at(BOOT_B, 720 * HOUR_MS, 10 * MINUTE_MS), 5 * MINUTE_MS), 10 * MINUTE_MS},
        {"a container that was started again", at(BOOT_A, 700 * HOUR_MS, 0),
         in_container(at(BOOT_A, 700 * HOUR_MS + 50 * MINUTE_MS, 50 * MINUTE_MS), MINUTE_MS), 50 * MINUTE_MS},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (state_age_ms(&rows[i].then, &rows[i].now) != rows[i].age_ms)
            fail_msg("%s: %lld", rows[i].what, (long long)state_age_ms(&rows[i].then, &rows[i].now));
}

static void the_budget_has_room_again_when_a_recovery_leaves_the_window(void **state)
{
    (void)state;
    struct state s = {0};
    struct state_time now = at(BOOT_A, 0, 0);
    assert_int_equal(state_last_age_ms(&s, &now), INT64_MAX);
    assert_int_equal(state_wait_ms(&s, &now, 1), 0);
    assert_int_equal(state_wait_ms(&s, &now, 0), INT64_MAX);
    for (int i = 0; i < 3; i++) {
        now = at(BOOT_A, i * 10 * MINUTE_MS, 0);
        assert_int_equal(state_wait_ms(&s, &now, 3), 0);
        state_add(&s, &now);
    }
    now = at(BOOT_A, 25 * MINUTE_MS, 0);
    assert_int_equal(state_count_recent(&s, &now, false), 3);
    assert_int_equal(state_last_age_ms(&s, &now), 5 * MINUTE_MS);
    assert_int_equal(state_wait_ms(&s, &now, 3), 35 * MINUTE_MS);
    assert_int_equal(state_wait_ms(&s, &now, 1), 55 * MINUTE_MS); /* a smaller budget than before */
    assert_int_equal(state_wait_ms(&s, &now, 4), 0);
    now = at(BOOT_A, 60 * MINUTE_MS, 0);
    assert_int_equal(state_wait_ms(&s, &now, 3), 0);
    state_add(&s, &now);
    assert_int_equal(s.count, 3);
}

static void a_full_state_drops_its_oldest_recovery(void **state)
{
    (void)state;
    struct state s = {0};
    for (int i = 0; i < STATE_MAX + 5; i++) {
        struct state_time now = at(BOOT_A, i, 0);
        state_add(&s, &now);
    }
    assert_int_equal(s.count, STATE_MAX);
    assert_int_equal(s.recoveries[0].when.boot_ms, 5);
}

static void a_state_survives_conversion_to_text_and_back(void **state)
{
    (void)state;
    struct state in = {0};
    struct state out;
    struct buf text = {0};
    struct state_time first = at(BOOT_A, 1, 2);
    struct state_time second = at("unknown", 1000, -5);
    state_add(&in, &first);
    state_add(&in, &second);
    state_set_helped(&in, true);
    state_format(&in, &text);
    assert_true(state_parse(text.data, text.len, &out));
    assert_int_equal(out.count, 2);
    assert_string_equal(out.recoveries[0].when.boot_id, BOOT_A);
    assert_int_equal(out.recoveries[1].when.wall_ms, -5);
    assert_false(out.recoveries[0].helped);
    assert_true(out.recoveries[1].helped);
    /* a text that is cut anywhere is damaged */
    for (size_t len = 0; len < text.len; len++) {
        if (state_parse(text.data, len, &out))
            fail_msg("the first %zu bytes were accepted", len);
        assert_int_equal(out.count, 0);
    }
    buf_append_str(&text, "x");
    assert_false(state_parse(text.data, text.len, &out));
    buf_free(&text);
}

static void a_damaged_text_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "garbage\n",
        "health-watch state 3 recoveries 0\n",
        "health-watch state 0 recoveries 0\n",
        "health-watch state 2 recoveries 1\n" BOOT_A " 1 5\n",
        "health-watch state 2 recoveries 1\n" BOOT_A " 1 5 other\n",
        "health-watch state 1 recoveries 1\n" BOOT_A " 1 5 helped\n",
        "health-watch state 1 recoveries 65\n",
        "health-watch state 1 recoveries 99999999999999999999\n",
        "health-watch state 1 recoveries -1\n",
        "health-watch state 1 recoveries 1\n" BOOT_A " x 5\n",
        "health-watch state 1 recoveries 1\n" BOOT_A " -1 5\n",
        "health-watch state 1 recoveries 1\n" BOOT_A " 1\n",
        "health-watch state 1 recoveries 0\n\n",
        "health-watch  state 1 recoveries 0\n",
    };
    struct state out;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (state_parse(texts[i], strlen(texts[i]), &out))
            fail_msg("accepted: %s", texts[i]);
}

static void the_file_of_0_1_0_is_read(void **state)
{
    (void)state;
    static const char text[] = "health-watch state 1 recoveries 2\n" BOOT_A " 1 5\n" BOOT_B " 7 -1\n";
    struct state out;
    assert_true(state_parse(text, strlen(text), &out));
    assert_int_equal(out.count, 2);
    assert_false(out.recoveries[1].helped);
    assert_int_equal(out.recoveries[1].when.boot_ms, 7);
}

static void recoveries_that_did_not_help_are_counted_and_the_last_one_can_be_removed(void **state)
{
    (void)state;
    struct state s = {0};
    for (int i = 0; i < 3; i++) {
        struct state_time now = at(BOOT_A, i * MINUTE_MS, 0);
        state_add(&s, &now);
        state_set_helped(&s, i != 1);
    }
    struct state_time now = at(BOOT_A, 60 * MINUTE_MS, 0);
    assert_int_equal(state_count_recent(&s, &now, false), 2); /* the first has left the window */
    assert_int_equal(state_count_recent(&s, &now, true), 1);
    state_drop_last(&s);
    assert_int_equal(state_count_recent(&s, &now, false), 1);
    assert_int_equal(state_last_age_ms(&s, &now), 59 * MINUTE_MS);
}

static char dir[32];
static char path[64];

static int begin_test(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/health-state-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/new/x.state", dir);
    return 0;
}

static int end_test(void **state)
{
    (void)state;
    static const char *const names[] = {"new/x.state", "new/x.state.new", "new/x.state.lock"};
    char name[96];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(name, sizeof name, "%s/%s", dir, names[i]);
        unlink(name);
    }
    snprintf(name, sizeof name, "%s/new", dir);
    rmdir(name);
    return rmdir(dir);
}

static void the_file_can_be_saved_although_a_killed_run_left_its_temporary_file(void **state)
{
    (void)state;
    struct state s;
    struct state_time now;
    struct error err;
    char leftover[96];
    assert_true(state_load(path, &s, &err));
    assert_int_equal(s.count, 0);
    assert_false(state_save(path, &s, &err)); /* there is no directory */
    int lock;
    assert_int_equal(state_lock(path, 0, &lock, &err), STATE_LOCKED); /* creates the directory */
    snprintf(leftover, sizeof leftover, "%s.new", path);
    int fd = open(leftover, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    state_now(&now);
    state_add(&s, &now);
    assert_true(state_save(path, &s, &err));
    assert_int_equal(access(leftover, F_OK), -1);
    assert_true(state_load(path, &s, &err));
    assert_int_equal(s.count, 1);
    state_now(&now);
    assert_in_range(state_last_age_ms(&s, &now), 0, 10000);
    close(lock);
}

static void a_damaged_file_gives_an_empty_state_and_an_error(void **state)
{
    (void)state;
    struct state s = {.count = 3};
    struct error err;
    int lock;
    assert_int_equal(state_lock(path, 0, &lock, &err), STATE_LOCKED);
    close(lock);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs("health-watch state 1 recoveries 3\nxx", file);
    fclose(file);
    assert_false(state_load(path, &s, &err));
    assert_int_equal(s.count, 0);
    assert_non_null(strstr(err.text, "damaged"));
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(state_load(path, &s, &err));
    assert_int_equal(rmdir(path), 0);
}

static void only_one_run_at_a_time(void **state)
{
    (void)state;
    struct error err;
    int first;
    int second;
    assert_int_equal(state_lock(path, 0, &first, &err), STATE_LOCKED);
    assert_int_equal(state_lock(path, 0, &second, &err), STATE_TAKEN);
    assert_int_equal(second, -1);
    assert_non_null(strstr(err.text, "another run"));
    int release[2];
    assert_int_equal(pipe2(release, O_CLOEXEC), 0);
    pid_t child = fork(); /* shares the lock until it closes its copy */
    assert_true(child >= 0);
    if (child == 0) {
        char byte;
        close(release[1]);
        _exit(read(release[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(first);
    close(release[0]);
    assert_int_equal(state_lock(path, 60, &second, &err), STATE_TAKEN);
    close(release[1]);
    assert_int_equal(state_lock(path, 10000, &second, &err), STATE_LOCKED); /* waits until the child exits */
    close(second);
    waitpid(child, NULL, 0);
}

static void a_lock_that_cannot_be_created_is_not_taken_for_another_run(void **state)
{
    (void)state;
    struct error err;
    int lock;
    assert_int_equal(state_lock("/proc/none/state", 0, &lock, &err), STATE_NO_LOCK);
    assert_int_equal(lock, -1);
    assert_non_null(strstr(err.text, "/proc/none/state.lock: "));
}

#define with_directory(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_age_is_right_across_reboots_and_clock_jumps),
        cmocka_unit_test(the_budget_has_room_again_when_a_recovery_leaves_the_window),
        cmocka_unit_test(a_full_state_drops_its_oldest_recovery),
        cmocka_unit_test(a_state_survives_conversion_to_text_and_back),
        cmocka_unit_test(a_damaged_text_is_refused),
        with_directory(the_file_can_be_saved_although_a_killed_run_left_its_temporary_file),
        with_directory(a_damaged_file_gives_an_empty_state_and_an_error),
        with_directory(only_one_run_at_a_time),
        cmocka_unit_test(the_file_of_0_1_0_is_read),
        cmocka_unit_test(recoveries_that_did_not_help_are_counted_and_the_last_one_can_be_removed),
        cmocka_unit_test(a_lock_that_cannot_be_created_is_not_taken_for_another_run),
    };
    return cmocka_run_group_tests_name("watch_state", tests, NULL, NULL);
}
