/* Parsing what systemctl show of systemd 252 prints, and running commands that misbehave. */
#include "tests/unit/unit.h"

#include "common/clock.h"
#include "watchdog/command.h"
#include "watchdog/unit.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define NOW_US INT64_C(1000000000)

static const char running[] =
    "Id=site.service\nLoadState=loaded\nActiveState=active\nSubState=running\nResult=success\n"
    "MainPID=4242\nNRestarts=7\nNeedDaemonReload=yes\n"
    "ControlGroup=/system.slice/site.service\nSlice=system.slice\nRestart=on-failure\nJob=12\n"
    "UnitFileState=disabled\nInactiveExitTimestampMonotonic=900000000\nActiveEnterTimestampMonotonic="
    "940000000\n"
    "ExecMainStartTimestampMonotonic=900000100\n";

static void reads_a_running_unit(void **state)
{
    (void)state;
    struct unit_status s;
    struct error err;
    assert_true(unit_parse(running, NOW_US, &s, &err));
    assert_int_equal(s.load, UNIT_LOADED);
    assert_int_equal(s.state, UNIT_RUNNING);
    assert_string_equal(s.id, "site.service");
    assert_string_equal(s.sub, "running");
    assert_int_equal(s.main_pid, 4242);
    assert_int_equal(s.restarts, 7);
    assert_true(s.needs_reload);
    assert_true(s.restarts_itself);
    assert_int_equal(s.job, 12);
    assert_string_equal(s.control_group, "/system.slice/site.service");
    assert_string_equal(s.slice, "system.slice");
    assert_int_equal(s.started_ms, 60000);
    assert_int_equal(s.start_us, 940000000);
    assert_string_equal(s.file, "disabled");
}

static void reads_the_cpu_pressure(void **state)
{
    (void)state;
    assert_int_equal(unit_parse_pressure("some avg10=99.00 avg60=2.00 avg300=0.45 total=5069314\n"
                                         "full avg10=47.31 avg60=0.00 avg300=0.00 total=0\n",
                                         "full"),
                     47);
    assert_int_equal(unit_parse_pressure("some avg10=99.00 avg60=2.00\nfull avg10=1.00\n", "some"), 99);
    assert_int_equal(unit_parse_pressure("some avg10=99.00 avg60=2.00 avg300=0.45 total=5069314\n", "full"),
                     0);
    assert_int_equal(unit_parse_pressure("", "full"), 0);
    assert_int_equal(unit_parse_pressure("full avg10=x", "full"), 0);
}

static void an_empty_job_property_means_no_job(void **state)
{
    (void)state;
    struct unit_status s;
    struct error err;
    assert_true(
        unit_parse("Id=a.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=1\nJob=\n",
                   NOW_US, &s, &err));
    assert_int_equal(s.job, 0);
    assert_false(s.restarts_itself);
}

static void reads_every_state(void **state)
{
    (void)state;
    static const struct {
        const char *load, *active, *sub;
        enum unit_load expected_load;
        enum unit_state expected;
    } rows[] = {
        {"loaded", "active", "exited", UNIT_LOADED, UNIT_RUNNING},
        {"loaded", "reloading", "reload", UNIT_LOADED, UNIT_RUNNING},
        {"loaded", "activating", "start", UNIT_LOADED, UNIT_STARTING},
        {"loaded", "activating", "start-pre", UNIT_LOADED, UNIT_STARTING},
        {"loaded", "activating", "auto-restart", UNIT_LOADED, UNIT_RESTARTING},
        {"loaded", "failed", "failed-before-auto-restart", UNIT_LOADED, UNIT_RESTARTING},
        {"loaded", "deactivating", "stop-sigterm", UNIT_LOADED, UNIT_STOPPING},
        {"loaded", "inactive", "dead", UNIT_LOADED, UNIT_INACTIVE},
        {"loaded", "failed", "failed", UNIT_LOADED, UNIT_FAILED},
        {"loaded", "maintenance", "cleaning", UNIT_LOADED, UNIT_ODD},
        {"masked", "inactive", "dead", UNIT_MASKED, UNIT_INACTIVE},
        {"not-found", "inactive", "dead", UNIT_NOT_FOUND, UNIT_INACTIVE},
        {"bad-setting", "inactive", "dead", UNIT_BAD, UNIT_INACTIVE},
        {"error", "inactive", "dead", UNIT_BAD, UNIT_INACTIVE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf text = {0};
        struct unit_status s;
        struct error err;
        buf_appendf(&text, "Id=a.service\nLoadState=%s\nActiveState=%s\nSubState=%s\n", rows[i].load,
                    rows[i].active, rows[i].sub);
        assert_true(unit_parse(text.data, NOW_US, &s, &err));
        if (s.load != rows[i].expected_load || s.state != rows[i].expected)
            fail_msg("%s %s %s: %d %d", rows[i].load, rows[i].active, rows[i].sub, (int)s.load, (int)s.state);
        assert_int_equal(s.main_pid, 0);
        assert_int_equal(s.started_ms, INT64_MAX);
        buf_free(&text);
    }
}

static void malformed_output_is_an_error(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "hello",
        "Id=a\nLoadState=loaded\nActiveState=active\n",
        "Id=a\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=x\n",
        "Id=a\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=99999999999\n",
        "Id=a\nLoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=-1\n",
        "Id=a\nLoadState=loaded\nActiveState=active\nSubState=running\nExecMainStartTimestampMonotonic=1s\n",
        "Id=a\nLoadState=loaded\nActiveState=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nSubState=running\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct unit_status s;
        struct error err = {0};
        if (unit_parse(texts[i], NOW_US, &s, &err))
            fail_msg("accepted: %s", texts[i]);
        assert_true(err.text[0] != '\0');
    }
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* Runs /bin/sh -c script, and checks that it leaves no child and no open descriptor. */
static enum command_status run_script(const char *script, int64_t timeout_ms, struct buf *out,
                                      struct error *err)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    int before = open_descriptors();
    enum command_status status = command_run(argv, timeout_ms, out, err);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    return status;
}

static void the_output_of_a_command_is_returned(void **state)
{
    (void)state;
    struct buf out = {0};
    struct error err;
    assert_int_equal(run_script("echo out; echo err >&2", 10000, &out, &err), COMMAND_OK);
    assert_string_equal(out.data, "out\n");
    buf_free(&out);
}

static void an_error_quotes_the_last_line_of_a_failed_command(void **state)
{
    (void)state;
    struct buf out = {0};
    struct error err;
    assert_int_equal(
        run_script("echo first >&2; printf 'the \\033reason\\n\\n' >&2; exit 4", 10000, &out, &err),
        COMMAND_FAILED);
    assert_string_equal(err.text, "sh exited with code 4: the ?reason");
    assert_int_equal(run_script("kill -9 $$", 10000, &out, &err), COMMAND_FAILED);
    assert_string_equal(err.text, "sh was killed by signal 9");
    const char *const missing[] = {"health-watch-no-such-program", NULL};
    assert_int_equal(command_run(missing, 1000, &out, &err), COMMAND_MISSING);
    buf_free(&out);
}

static void a_command_that_hangs_is_killed_with_its_children(void **state)
{
    (void)state;
    static const char *const scripts[] = {
        "sleep 1000",    "sleep 1000 & sleep 1000",   "trap '' TERM; while :; do :; done",
        "kill -STOP $$", "exec >&- 2>&-; sleep 1000", "yes"};
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        struct buf out = {0};
        struct error err;
        int64_t began_ns = clock_now_ns();
        assert_int_equal(run_script(scripts[i], 200, &out, &err), COMMAND_TIMEOUT);
        assert_in_range((clock_now_ns() - began_ns) / NS_PER_MS, 200, 5000);
        assert_in_range(out.len, 0, COMMAND_MAX_OUTPUT);
        buf_free(&out);
    }
}

static void processes_that_a_command_leaves_behind_do_not_delay_it(void **state)
{
    (void)state;
    struct buf out = {0};
    struct error err;
    int64_t began_ns = clock_now_ns();
    assert_int_equal(run_script("sleep 3 & echo done", 20000, &out, &err), COMMAND_OK);
    assert_in_range((clock_now_ns() - began_ns) / NS_PER_MS, 0, 2500);
    assert_string_equal(out.data, "done\n");
    buf_free(&out);
}

static void endless_output_is_cut(void **state)
{
    (void)state;
    struct buf out = {0};
    struct error err;
    assert_int_equal(run_script("head -c 3000000 /dev/zero", 20000, &out, &err), COMMAND_OK);
    assert_int_equal(out.len, COMMAND_MAX_OUTPUT);
    buf_free(&out);
}

static void a_missing_systemctl_counts_as_silent(void **state)
{
    (void)state;
    struct unit_status s;
    struct error err;
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    assert_int_equal(unit_show("a.service", &s, &err), UNIT_SILENT);
    setenv("PATH", path, 1);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_running_unit),
        cmocka_unit_test(reads_the_cpu_pressure),
        cmocka_unit_test(an_empty_job_property_means_no_job),
        cmocka_unit_test(reads_every_state),
        cmocka_unit_test(malformed_output_is_an_error),
        cmocka_unit_test(the_output_of_a_command_is_returned),
        cmocka_unit_test(an_error_quotes_the_last_line_of_a_failed_command),
        cmocka_unit_test(a_command_that_hangs_is_killed_with_its_children),
        cmocka_unit_test(processes_that_a_command_leaves_behind_do_not_delay_it),
        cmocka_unit_test(endless_output_is_cut),
        cmocka_unit_test(a_missing_systemctl_counts_as_silent),
    };
    return cmocka_run_group_tests_name("watch_unit", tests, NULL, NULL);
}
