/* cgi/config: the table of settings, their values, errors, and unknown names. */
#include "cgi/config.h"

#include "cgi/probe/prober.h"
#include "cgi/serve/listen.h"
#include "cgi/serve/process.h"
#include "cgi/serve/server.h"
#include "cgi/snapshot.h"
#include "common/descriptor.h"
#include "common/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FD_SOFT_LIMIT 1024

#define BASE_FDS 19

/* Each module says how many descriptors it holds; a new one changes what HEALTH_FD_LIMIT may be. */
_Static_assert(STANDARD_FDS + NOTIFY_FDS + SNAPSHOT_FDS + PROBER_FDS + LISTEN_FDS + PROCESS_FDS +
                       SERVER_FDS ==
                   BASE_FDS,
               "the sum in cgi/main.c");

/* Loads these variables; each may be NULL. */
static bool load(struct config *config, struct error *err, const char *a, const char *b, const char *c)
{
    char *vars[] = {(char *)(uintptr_t)a, (char *)(uintptr_t)b, (char *)(uintptr_t)c, NULL};
    err->text[0] = '\0';
    return config_load(vars, FD_SOFT_LIMIT, BASE_FDS, config, err);
}

static void an_empty_environment_gives_the_defaults(void **state)
{
    (void)state;
    struct config c;
    struct error err;
    assert_true(load(&c, &err, NULL, NULL, NULL));
    assert_null(c.listen);
    assert_null(c.socket_group);
    assert_int_equal(c.socket_mode, 0660);
    assert_string_equal(c.checks_path, "/etc/health-api/checks.sql");
    assert_int_equal(c.interval_ms, 2000);
    assert_int_equal(c.connect_timeout_ms, 1500);
    assert_int_equal(c.query_timeout_ms, 800);
    assert_int_equal(c.reconnect_every_ms, 4000);
    assert_int_equal(c.stale_after_ms, 6000);
    assert_int_equal(c.heartbeat_ms, 250);
    assert_int_equal(c.hung_after_ms, 800);
    assert_int_equal(c.max_load, 2);
    assert_int_equal(c.fall, 1);
    assert_int_equal(c.rise, 1);
    assert_int_equal(c.drain_ms, 0);
    assert_null(c.drain_file);
    assert_int_equal(c.stop_timeout_ms, 3000);
    assert_int_equal(c.fd_limit, 819);
    assert_int_equal(c.max_connections, 256);
    assert_int_equal(c.idle_timeout_ms, 75000);
    assert_int_equal(c.log_level, LOG_LEVEL_INFO);
}

/* Returns the value that config_get has for a setting. */
static const char *effective(const struct config *config, const char *wanted)
{
    static char value[256];
    const char *name;
    for (size_t i = 0; config_get(config, i, &name, value, sizeof value); i++)
        if (strcmp(name, wanted) == 0)
            return value;
    return "(no such setting)";
}

static void config_get_returns_each_setting_as_read(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"HEALTH_LISTEN", "unix:/tmp/x.sock", "unix:/tmp/x.sock"},
        {"HEALTH_LISTEN", "tcp:127.0.0.1:9000", "tcp:127.0.0.1:9000"},
        {"HEALTH_LISTEN", "tcp:[::1]:9000", "tcp:[::1]:9000"},
        {"HEALTH_SOCKET_MODE", "600", "0600"},
        {"HEALTH_SOCKET_MODE", "0", "0000"},
        {"HEALTH_SOCKET_GROUP", "www-data", "www-data"},
        {"HEALTH_CHECKS", "/tmp/c.sql", "/tmp/c.sql"},
        {"HEALTH_INTERVAL", "100ms", "100ms"},
        {"HEALTH_CONNECT_TIMEOUT", "2s", "2s"},
        {"HEALTH_QUERY_TIMEOUT", "1500ms", "1500ms"},
        {"HEALTH_RECONNECT_EVERY", "60s", "1m"},
        {"HEALTH_STALE_AFTER", "3600s", "1h"},
        {"HEALTH_HEARTBEAT", "0s", "0s"},
        {"HEALTH_HEARTBEAT", "60s", "1m"},
        {"HEALTH_HUNG_AFTER", "100ms", "100ms"},
        {"HEALTH_MAX_LOAD", "100", "100"},
        {"HEALTH_FALL", "100", "100"},
        {"HEALTH_RISE", "3", "3"},
        {"HEALTH_DRAIN", "5m", "5m"},
        {"HEALTH_DRAIN_FILE", "/run/x/drain", "/run/x/drain"},
        {"HEALTH_DRAIN_FILE", "off", "off"},
        {"HEALTH_STOP_TIMEOUT", "90s", "90s"},
        {"HEALTH_FD_LIMIT", "20", "20"},
        {"HEALTH_FD_LIMIT", "1023", "1023"},
        {"HEALTH_MAX_CONNECTIONS", "800", "800"},
        {"HEALTH_IDLE_TIMEOUT", "24h", "24h"},
        {"HEALTH_LOG_LEVEL", "error", "error"},
        {"HEALTH_LOG_LEVEL", "warn", "warn"},
        {"HEALTH_LOG_LEVEL", "notice", "notice"},
        {"HEALTH_LOG_LEVEL", "info", "info"},
        {"HEALTH_LOG_LEVEL", "debug", "debug"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        struct error err;
        char var[128];
        snprintf(var, sizeof var, "%s=%s", rows[i][0], rows[i][1]);
        if (!load(&c, &err, var, NULL, NULL))
            fail_msg("%s: %s", var, err.text);
        if (strcmp(effective(&c, rows[i][0]), rows[i][2]) != 0)
            fail_msg("%s: got %s, expected %s", var, effective(&c, rows[i][0]), rows[i][2]);
    }
}

static void a_bad_value_is_an_error_with_name_value_and_expectation(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"HEALTH_INTERVAL=2", "HEALTH_INTERVAL='2': expected a duration"},
        {"HEALTH_INTERVAL=99ms", "from 100ms to 1h"},
        {"HEALTH_INTERVAL=61m", "HEALTH_INTERVAL='61m'"},
        {"HEALTH_DRAIN=301s", "from 0s to 5m"},
        {"HEALTH_DRAIN_FILE=drain",
         "HEALTH_DRAIN_FILE='drain': expected the absolute path of a file, or off"},
        {"HEALTH_DRAIN_FILE=/run/",
         "HEALTH_DRAIN_FILE='/run/': expected the absolute path of a file, or off"},
        {"HEALTH_DRAIN_FILE=OFF", "expected the absolute path of a file, or off"},
        {"HEALTH_HEARTBEAT=61s", "from 0s to 1m"},
        {"HEALTH_HUNG_AFTER=99ms", "from 100ms to 1m"},
        {"HEALTH_MAX_LOAD=0", "from 1 to 100"},
        {"HEALTH_MAX_LOAD=101", "from 1 to 100"},
        {"HEALTH_SOCKET_MODE=0888", "HEALTH_SOCKET_MODE='0888': expected an octal mode from 0 to 0777"},
        {"HEALTH_SOCKET_MODE=1777", "octal"},
        {"HEALTH_SOCKET_MODE=rw", "octal"},
        {"HEALTH_FALL=0", "HEALTH_FALL='0': expected a number from 1 to 100"},
        {"HEALTH_FALL=-1", "from 1 to 100"},
        {"HEALTH_FALL= 1", "from 1 to 100"},
        {"HEALTH_RISE=101", "from 1 to 100"},
        {"HEALTH_RISE=99999999999999999999", "from 1 to 100"},
        {"HEALTH_MAX_CONNECTIONS=65537", "from 1 to 65536"},
        {"HEALTH_MAX_CONNECTIONS=1e3", "from 1 to 65536"},
        {"HEALTH_FD_LIMIT=19", "from 20 to 1023"},
        {"HEALTH_FD_LIMIT=1024", "RLIMIT_NOFILE"},
        {"HEALTH_LOG_LEVEL=verbose",
         "HEALTH_LOG_LEVEL='verbose': expected error, warn, notice, info or debug"},
        {"HEALTH_LOG_LEVEL=INFO", "expected error, warn, notice, info or debug"},
        {"HEALTH_LOG_LEVEL=infos", "expected error, warn, notice, info or debug"},
        {"HEALTH_LISTEN=/run/x.sock", "HEALTH_LISTEN='/run/x.sock': expected unix:/PATH"},
        {"HEALTH_LISTEN=unix:x.sock", "absolute path"},
        {"HEALTH_LISTEN=tcp:9000", "tcp:ADDR:PORT"},
        {"HEALTH_LISTEN=tcp:0.0.0.0:9000",
         "HEALTH_LISTEN='tcp:0.0.0.0:9000': expected a loopback address (127.0.0.0/8, [::1]): FastCGI has no "
         "authentication"},
        {"HEALTH_LISTEN=tcp:192.168.1.1:9000", "a loopback address"},
        {"HEALTH_LISTEN=tcp:128.0.0.1:9000", "a loopback address"},
        {"HEALTH_LISTEN=tcp:*:9000", "a loopback address"},
        {"HEALTH_LISTEN=tcp:[::]:9000", "a loopback address"},
        {"HEALTH_LISTEN=tcp:[fe80::1]:9000", "a loopback address"},
        {"HEALTH_LISTEN=tcp:[::ffff:8.8.8.8]:9000", "a loopback address"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        struct error err;
        if (load(&c, &err, rows[i][0], NULL, NULL))
            fail_msg("%s is accepted", rows[i][0]);
        if (strstr(err.text, rows[i][1]) == NULL)
            fail_msg("%s: \"%s\" does not contain \"%s\"", rows[i][0], err.text, rows[i][1]);
    }
}

static void an_error_shows_no_control_characters_and_cuts_the_value(void **state)
{
    (void)state;
    struct config c;
    struct error err;
    char var[1000] = "HEALTH_FALL=\x1b[31m\n";
    assert_false(load(&c, &err, var, NULL, NULL));
    assert_non_null(strstr(err.text, "'?[31m?'"));
    memset(var + strlen(var), 'x', sizeof var - strlen(var) - 1);
    assert_false(load(&c, &err, var, NULL, NULL));
    assert_non_null(strstr(err.text, "xxx...': expected a number"));
}

static void an_empty_value_counts_as_unset(void **state)
{
    (void)state;
    struct config c;
    struct error err;
    assert_true(load(&c, &err, "HEALTH_LISTEN=", "HEALTH_INTERVAL=", "HEALTH_SOCKET_GROUP="));
    assert_null(c.listen);
    assert_null(c.socket_group);
    assert_int_equal(c.interval_ms, 2000);
}

static void the_first_of_two_values_counts_as_in_getenv(void **state)
{
    (void)state;
    struct config c;
    struct error err;
    assert_true(load(&c, &err, "HEALTH_FALL=2", "HEALTH_FALL=3", NULL));
    assert_int_equal(c.fall, 2);
}

static void stale_after_must_exceed_what_a_probe_may_take(void **state)
{
    (void)state;
    struct config c;
    struct error err;
    assert_true(load(&c, &err, "HEALTH_STALE_AFTER=4301ms", NULL, NULL));
    assert_false(load(&c, &err, "HEALTH_STALE_AFTER=4300ms", NULL, NULL));
    assert_string_equal(err.text, "HEALTH_STALE_AFTER='4300ms': expected more than HEALTH_INTERVAL 2s + "
                                  "HEALTH_CONNECT_TIMEOUT 1500ms + HEALTH_QUERY_TIMEOUT 800ms = 4300ms");
    assert_false(
        load(&c, &err, "HEALTH_INTERVAL=1h", "HEALTH_CONNECT_TIMEOUT=5m", "HEALTH_QUERY_TIMEOUT=5m"));
    assert_non_null(strstr(err.text, "= 70m"));
    assert_true(load(&c, &err, "HEALTH_INTERVAL=1h", "HEALTH_STALE_AFTER=2h", NULL));
}

static void the_fd_limit_follows_the_process_limit(void **state)
{
    (void)state;
    static const struct {
        int64_t soft_limit;
        int64_t fd_limit;
    } rows[] = {{1024, 819},
                {65536, 52428},
                {25, 20},
                {24, 20},
                {21, 20},
                {0, INT64_MAX / 5 * 4 + 1},
                {-1, INT64_MAX / 5 * 4 + 1},
                {INT64_MAX, INT64_MAX / 5 * 4 + 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        struct error err;
        char *no_vars[] = {NULL};
        assert_true(config_load(no_vars, rows[i].soft_limit, BASE_FDS, &c, &err));
        assert_int_equal(c.fd_limit, rows[i].fd_limit);
    }
}

static void too_few_descriptors_are_an_error(void **state)
{
    (void)state;
    struct config c;
    struct error err;
    char *no_vars[] = {NULL};
    assert_false(config_load(no_vars, 20, BASE_FDS, &c, &err));
    assert_string_equal(err.text, "RLIMIT_NOFILE is 20, expected at least 21");
}

static void connections_are_cut_to_what_the_fd_limit_leaves(void **state)
{
    (void)state;
    struct config c;
    struct error err;
    char *no_vars[] = {NULL};
    assert_true(config_load(no_vars, 21, BASE_FDS, &c, &err));
    assert_int_equal(c.max_connections, 1);
    assert_true(load(&c, &err, "HEALTH_FD_LIMIT=40", NULL, NULL));
    assert_int_equal(c.max_connections, 40 - BASE_FDS);
    assert_true(load(&c, &err, "HEALTH_FD_LIMIT=40", "HEALTH_MAX_CONNECTIONS=3", NULL));
    assert_int_equal(c.max_connections, 3);
}

static void the_address_alone_is_found_whatever_the_other_values_are(void **state)
{
    (void)state;
    static const struct {
        const char *variable, *listen;
        bool ok;
    } rows[] = {
        {"HEALTH_LISTEN=unix:/s", "unix:/s", true},
        {"HEALTH_LISTEN=tcp:[::1]:1", "tcp:[::1]:1", true},
        {"HEALTH_LISTEN=", NULL, true},
        {"HEALTH_LISTEN_=unix:/s", NULL, true},
        {"HEALTH_LISTEN=/s", NULL, false},
        {"HEALTH_LISTEN=tcp:10.0.0.1:1", NULL, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *vars[] = {(char *)"HEALTH_INTERVAL=x", (char *)(uintptr_t)rows[i].variable,
                        (char *)"HEALTH_FD_LIMIT=x", NULL};
        const char *listen = "unset";
        struct error err = {0};
        assert_int_equal(config_load_listen(vars, &listen, &err), rows[i].ok);
        assert_int_equal(listen != NULL, rows[i].listen != NULL);
        if (listen != NULL)
            assert_string_equal(listen, rows[i].listen);
        assert_int_equal(strstr(err.text, "HEALTH_LISTEN='") != NULL, !rows[i].ok);
    }
}

static void every_unknown_name_is_found(void **state)
{
    (void)state;
    char *const vars[] = {
        (char[]){"PATH=/bin"},
        (char[]){"HEALTH_INTERVALL=2s"},
        (char[]){"HEALTH_INTERVAL_MS=2"},
        (char[]){"HEALTH_INTERVAL=2s"},
        (char[]){"HEALTH_interval=2s"},
        (char[]){"HEALTH_CHECK="},
        (char[]){"HOME_HEALTH_X=1"},
        (char[]){"HEALTH_="},
        (char[]){"HEALTH_LISTEN"},
        (char[]){"HEALTH_X"},
        (char[]){"HEALTH_PORT=tcp://10.0.0.1:80"},
        NULL,
    };
    static const char *const expected[] = {
        "HEALTH_INTERVALL", "HEALTH_INTERVAL_MS", "HEALTH_interval", "HEALTH_CHECK",
        "HEALTH_",          "HEALTH_X",           "HEALTH_PORT"};
    char *const *at = vars;
    char name[128];
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(config_next_unknown(&at, name, sizeof name));
        assert_string_equal(name, expected[i]);
    }
    assert_false(config_next_unknown(&at, name, sizeof name));
}

static void a_huge_unknown_name_is_cut(void **state)
{
    (void)state;
    char var[5000];
    char name[128];
    memset(var, 'A', sizeof var);
    memcpy(var, "HEALTH_", 7);
    var[sizeof var - 1] = '\0';
    char *const vars[] = {var, NULL};
    char *const *at = vars;
    assert_true(config_next_unknown(&at, name, sizeof name));
    assert_int_equal(strlen(name), 127);
    assert_memory_equal(name, var, 127);
    assert_false(config_next_unknown(&at, name, sizeof name));
}

/* Returns what config_print_help prints; the caller frees it. */
static char *help_text(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    config_print_help(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void help_has_one_aligned_line_for_each_setting(void **state)
{
    (void)state;
    struct config c;
    struct error err;
    char value[256];
    const char *name;
    size_t i = 0;
    size_t default_column = 0;
    assert_true(load(&c, &err, NULL, NULL, NULL));
    char *text = help_text();
    char *rest;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest), i++) {
        assert_true(config_get(&c, i, &name, value, sizeof value));
        assert_memory_equal(line, "  ", 2);
        assert_memory_equal(line + 2, name, strlen(name));
        size_t column = 2 + strlen(name);
        column += strspn(line + column, " ");
        if (default_column == 0)
            default_column = column;
        assert_int_equal(column, default_column);
    }
    assert_false(config_get(&c, i, &name, value, sizeof value));
    assert_int_equal(i, 22);
    free(text);
}

static void help_shows_the_defaults(void **state)
{
    (void)state;
    static const char *const wanted[] = {"0660 ",      "/etc/health-api/checks.sql ",
                                         "2s ",        "800ms ",
                                         "4s ",        "75s ",
                                         "256 ",       "80% of the limit ",
                                         "inherited ", "beside the socket "};
    char *text = help_text();
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (strstr(text, wanted[i]) == NULL)
            fail_msg("no '%s' in:\n%s", wanted[i], text);
    free(text);
}

static void unset_strings_are_empty(void **state)
{
    (void)state;
    struct config c;
    struct error err;
    assert_true(load(&c, &err, NULL, NULL, NULL));
    assert_string_equal(effective(&c, "HEALTH_LISTEN"), "");
    assert_string_equal(effective(&c, "HEALTH_SOCKET_GROUP"), "");
    assert_string_equal(effective(&c, "HEALTH_DRAIN"), "0s");
    assert_string_equal(effective(&c, "HEALTH_DRAIN_FILE"), "");
    assert_string_equal(effective(&c, "HEALTH_QUERY_TIMEOUT"), "800ms");
    assert_string_equal(effective(&c, "HEALTH_SOCKET_MODE"), "0660");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_environment_gives_the_defaults),
        cmocka_unit_test(config_get_returns_each_setting_as_read),
        cmocka_unit_test(a_bad_value_is_an_error_with_name_value_and_expectation),
        cmocka_unit_test(an_error_shows_no_control_characters_and_cuts_the_value),
        cmocka_unit_test(an_empty_value_counts_as_unset),
        cmocka_unit_test(the_first_of_two_values_counts_as_in_getenv),
        cmocka_unit_test(stale_after_must_exceed_what_a_probe_may_take),
        cmocka_unit_test(the_fd_limit_follows_the_process_limit),
        cmocka_unit_test(too_few_descriptors_are_an_error),
        cmocka_unit_test(connections_are_cut_to_what_the_fd_limit_leaves),
        cmocka_unit_test(the_address_alone_is_found_whatever_the_other_values_are),
        cmocka_unit_test(every_unknown_name_is_found),
        cmocka_unit_test(a_huge_unknown_name_is_cut),
        cmocka_unit_test(help_has_one_aligned_line_for_each_setting),
        cmocka_unit_test(help_shows_the_defaults),
        cmocka_unit_test(unset_strings_are_empty),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
