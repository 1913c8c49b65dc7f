/* cgi/probe: from probe_open to IDLE, over a scripted libpq. */
#include "tests/unit/cgi/probe/probe_fixture.h"

#define DEADLINE AFTER_MS(CONNECT_TIMEOUT_MS)

/* The first bytes of a server: Authentication, length 8. */
static const char auth_request[] = {'R', 0, 0, 0, 8};

static void expect_connecting(short events, int64_t now_ns)
{
    expect_step(PROBE_CONNECTING, now_ns);
    expect_wait(script_socket(), events, DEADLINE);
    script_expect_done();
}

static void a_connection_that_libpq_calls_ok_is_idle(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, CONNECTED);
    open_probe();
    assert_int_equal(probe_state(probe), PROBE_CONNECTING);
    assert_int_equal(probe_facts(probe)->server_version, 0);
    expect_step(PROBE_IDLE, AFTER_MS(3));
    expect_wait(script_socket(), POLLIN, CLOCK_NEVER);
    assert_int_equal(probe_facts(probe)->server_version, 150000);
    assert_int_equal(probe_facts(probe)->connect_us, 3000);
    assert_int_equal(probe_facts(probe)->round_trip_us, -1);
}

static void libpq_is_told_our_name_and_sqlstates_in_its_messages(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED);
    open_probe();
    assert_string_equal(script_option("fallback_application_name"), "health-api");
    assert_int_equal(script_verbosity(), PQERRORS_VERBOSE);
}

static void gss_encryption_is_off_unless_the_user_chose_it(void **state)
{
    (void)state;
    unsetenv("PGGSSENCMODE");
    probe_init();
    assert_string_equal(getenv("PGGSSENCMODE"), "disable");
    setenv("PGGSSENCMODE", "prefer", 1);
    probe_init();
    assert_string_equal(getenv("PGGSSENCMODE"), "prefer");
    unsetenv("PGGSSENCMODE");
}

static void libpq_is_not_polled_before_the_socket_is_writable(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED);
    open_probe();
    peer_stalls();
    expect_connecting(POLLOUT, T0);
    expect_connecting(POLLOUT, AFTER_MS(1));
    peer_reads();
    EXPECT_CALLS(CONNECTED);
    expect_step(PROBE_IDLE, AFTER_MS(2));
}

static void the_wait_is_for_what_libpq_wants_read_then_write(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_probe();
    expect_connecting(POLLIN, T0);
    expect_connecting(POLLIN, T0); /* nothing to read: not polled */
    peer_stalls();
    peer_sends(auth_request, sizeof auth_request);
    EXPECT_CALLS(POLL_WRITING);
    expect_connecting(POLLOUT, T0);
    peer_reads();
    EXPECT_CALLS(POLL_READING);
    expect_connecting(POLLIN, T0);
    peer_sends_bytes(1);
    EXPECT_CALLS(CONNECTED);
    expect_step(PROBE_IDLE, T0);
}

static void one_step_polls_for_as_long_as_the_socket_is_ready(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_WRITING, POLL_WRITING, POLL_WRITING, CONNECTED);
    open_probe();
    expect_step(PROBE_IDLE, T0);
}

/* What the environment says of hosts, each with its place in the list. */
static const PQconninfoOption hosts[] = {
    {.keyword = "user", .val = "health_api"},
    {.keyword = "host", .val = "a,b,c"},
    {.keyword = "hostaddr"},
    {.keyword = "port", .val = "1,2,3"},
    {.keyword = NULL},
};

static void open_probe_from_host(size_t first_host)
{
    struct probe_options from_host = options;
    from_host.first_host = first_host;
    probe = probe_open(&from_host, T0);
}

static void an_attempt_after_a_host_that_let_us_wait_begins_with_the_next(void **state)
{
    (void)state;
    EXPECT_CALLS(DEFAULTS(hosts), STARTED);
    open_probe_from_host(1);
    assert_string_equal(script_option("host"), "b,c,a");
    assert_string_equal(script_option("port"), "2,3,1");
    assert_null(script_option("hostaddr"));
    assert_null(script_option("user"));
}

static void without_memory_for_the_defaults_libpqs_own_order_stands(void **state)
{
    (void)state;
    EXPECT_CALLS(DEFAULTS_HAS_NO_MEMORY, STARTED, CONNECTED);
    open_probe_from_host(1);
    assert_null(script_option("host"));
    assert_string_equal(script_option("fallback_application_name"), "health-api");
    expect_step(PROBE_IDLE, T0);
}

static void a_connection_without_a_socket_times_out(void **state)
{
    (void)state;
    struct pq_step polled = POLL_READING;
    polled.no_socket = true;
    EXPECT_CALLS(STARTED);
    script_expect(&polled, 1);
    open_probe();
    expect_step(PROBE_CONNECTING, T0);
    expect_wait(-1, POLLIN, DEADLINE);
    expect_step(PROBE_FAILED, DEADLINE);
    expect_fault(REASON_CONNECT_TIMEOUT, "");
}

static void no_memory_for_a_connection_is_internal(void **state)
{
    (void)state;
    EXPECT_CALLS(START_HAS_NO_MEMORY);
    open_probe();
    expect_fault(REASON_INTERNAL, "");
}

/* What libpq says when it gives up, and what it means. */
static const struct {
    const char *message;
    bool needs_password;
    enum reason reason;
    const char *sqlstate;
    bool refused;
} give_ups[] = {
    {"connection to server on socket \"/x\" failed: No such file or directory\n", false, REASON_UNREACHABLE,
     "", true},
    {"connection to server at \"::1\" failed: Connection refused\n", false, REASON_UNREACHABLE, "", true},
    {"could not translate host name \"db\" to address: Temporary failure\n", false, REASON_UNREACHABLE, "",
     false},
    {LOST, false, REASON_UNREACHABLE, "", false},
    {"connection to server failed: FATAL:  53300\n", false, REASON_SATURATED, "53300", false},
    {"connection to server failed: FATAL:  57P03\n", false, REASON_RESTARTING, "57P03", false},
    {"connection to server failed: FATAL:  3D000\n", false, REASON_ACCESS, "3D000", false},
    {"FATAL:  28P01\n", true, REASON_ACCESS, "28P01", false}, /* a wrong password is no missing one */
    {"fe_sendauth: no password supplied\n", true, REASON_ACCESS, "", false},
    {"expected authentication request from server, but received H\n", false, REASON_MALFORMED, "", false},
    /* Several hosts: the last one that said something decides. */
    {"\"a\" failed: Connection refused\n\"b\" failed: FATAL:  57P03\n", false, REASON_RESTARTING, "57P03",
     false},
};

static void expect_give_up(size_t i)
{
    const struct probe_failure *failure = expect_failure(give_ups[i].reason, give_ups[i].sqlstate);
    size_t first_line_len = strcspn(give_ups[i].message, "\n");
    assert_int_equal(failure->refused, give_ups[i].refused);
    assert_int_equal(strlen(failure->detail), first_line_len);
    assert_memory_equal(failure->detail, give_ups[i].message, first_line_len);
    assert_false(failure->lost);
    assert_false(failure->checks_only);
}

static void a_start_that_fails_at_once_tells_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof give_ups / sizeof give_ups[0]; i++) {
        struct pq_step step = START_FAILS(give_ups[i].message);
        step.needs_password = give_ups[i].needs_password;
        script_expect(&step, 1);
        open_probe();
        assert_int_equal(probe_state(probe), PROBE_FAILED);
        expect_give_up(i);
    }
}

static void a_poll_that_fails_tells_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof give_ups / sizeof give_ups[0]; i++) {
        struct pq_step step = POLL_FAILS(give_ups[i].message);
        step.needs_password = give_ups[i].needs_password;
        EXPECT_CALLS(STARTED, POLL_READING);
        script_expect(&step, 1);
        open_probe();
        expect_step(PROBE_CONNECTING, T0);
        peer_sends(auth_request, sizeof auth_request);
        expect_step(PROBE_FAILED, T0);
        expect_give_up(i);
    }
}

static void a_peer_that_closes_without_a_byte_is_left_to_libpq(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING, POLL_FAILS(LOST));
    open_probe();
    expect_step(PROBE_CONNECTING, T0);
    peer_closes();
    expect_step(PROBE_FAILED, T0);
    expect_fault(REASON_UNREACHABLE, "");
}

static void the_timeout_is_exactly_at_the_deadline(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_probe();
    expect_connecting(POLLIN, T0);
    expect_connecting(POLLIN, DEADLINE - 1);
    expect_step(PROBE_FAILED, DEADLINE);
    expect_fault(REASON_CONNECT_TIMEOUT, "");
}

static void progress_does_not_move_the_deadline(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING, POLL_READING);
    open_probe();
    expect_step(PROBE_CONNECTING, T0);
    peer_sends(auth_request, sizeof auth_request);
    expect_connecting(POLLIN, DEADLINE - 1);
    expect_step(PROBE_FAILED, DEADLINE);
    expect_fault(REASON_CONNECT_TIMEOUT, "");
}

static void what_is_there_at_the_deadline_still_counts(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_probe();
    expect_connecting(POLLIN, T0);
    peer_sends(auth_request, sizeof auth_request);
    EXPECT_CALLS(CONNECTED);
    expect_step(PROBE_IDLE, DEADLINE);
}

static void first_bytes_of_another_protocol_never_reach_libpq(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_probe();
    expect_step(PROBE_CONNECTING, T0);
    peer_sends("HTTP/1.1 400 Bad Request", 24);
    expect_step(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void a_first_message_of_absurd_length_never_reaches_libpq(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_probe();
    expect_step(PROBE_CONNECTING, T0);
    peer_sends("R\x30\0\0\0", 5);
    expect_step(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void only_the_first_bytes_are_judged(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING, POLL_READING, POLL_READING, CONNECTED);
    open_probe();
    expect_step(PROBE_CONNECTING, T0);
    peer_sends("R", 1); /* a server whose bytes drip */
    expect_step(PROBE_CONNECTING, T0);
    peer_sends("\0\0\0\x08", 4);
    expect_step(PROBE_CONNECTING, T0);
    peer_sends("Z", 1);
    expect_step(PROBE_IDLE, T0);
    assert_int_equal(script_bytes_read(), 6); /* judged and left to libpq */
}

static void after_a_no_to_tls_the_first_message_is_still_judged(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING, POLL_READING);
    open_probe();
    expect_step(PROBE_CONNECTING, T0);
    peer_sends("N", 1);
    expect_step(PROBE_CONNECTING, T0);
    peer_sends("HTTP/", 5);
    expect_step(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void the_next_host_has_its_own_socket_and_its_own_first_bytes(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_probe();
    expect_connecting(POLLIN, T0);
    int first_socket = script_socket();
    peer_sends(auth_request, sizeof auth_request);
    EXPECT_CALLS(POLL_NEXT_HOST, POLL_READING);
    expect_connecting(POLLIN, T0);
    assert_int_not_equal(script_socket(), first_socket);
    peer_sends("HTTP/", 5);
    expect_step(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void connecting_may_use_the_byte_budget_and_no_byte_more(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_probe();
    expect_step(PROBE_CONNECTING, T0);
    for (size_t sent = 0; sent < PROBE_BYTE_BUDGET; sent += PORTION) {
        peer_sends_bytes(PORTION);
        EXPECT_CALLS(POLL_READING);
        expect_connecting(POLLIN, T0);
    }
    peer_sends_bytes(1);
    expect_step(PROBE_FAILED, T0);
    expect_fault(REASON_MALFORMED, "");
}

static void a_connection_that_cannot_be_nonblocking_is_internal(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_OK, {.call = PQ_SET_NONBLOCKING, .returns = -1, .error = "no"});
    open_probe();
    expect_step(PROBE_FAILED, T0);
    assert_string_equal(probe_failure(probe)->detail, "no");
    expect_fault(REASON_INTERNAL, "");
}

static void a_connection_without_pipeline_mode_is_internal(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_OK, NONBLOCKING, {.call = PQ_ENTER_PIPELINE, .returns = 0, .error = "no"});
    open_probe();
    expect_step(PROBE_FAILED, T0);
    assert_string_equal(probe_failure(probe)->detail, "no");
    expect_fault(REASON_INTERNAL, "");
}

static void a_probe_can_be_closed_while_it_connects(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_probe();
    expect_step(PROBE_CONNECTING, T0);
    probe_close(probe);
    probe = NULL;
    probe_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scripted(a_connection_that_libpq_calls_ok_is_idle),
        scripted(libpq_is_told_our_name_and_sqlstates_in_its_messages),
        cmocka_unit_test(gss_encryption_is_off_unless_the_user_chose_it),
        scripted(libpq_is_not_polled_before_the_socket_is_writable),
        scripted(the_wait_is_for_what_libpq_wants_read_then_write),
        scripted(one_step_polls_for_as_long_as_the_socket_is_ready),
        scripted(an_attempt_after_a_host_that_let_us_wait_begins_with_the_next),
        scripted(without_memory_for_the_defaults_libpqs_own_order_stands),
        scripted(a_connection_without_a_socket_times_out),
        scripted(no_memory_for_a_connection_is_internal),
        scripted(a_start_that_fails_at_once_tells_why),
        scripted(a_poll_that_fails_tells_why),
        scripted(a_peer_that_closes_without_a_byte_is_left_to_libpq),
        scripted(the_timeout_is_exactly_at_the_deadline),
        scripted(progress_does_not_move_the_deadline),
        scripted(what_is_there_at_the_deadline_still_counts),
        scripted(first_bytes_of_another_protocol_never_reach_libpq),
        scripted(a_first_message_of_absurd_length_never_reaches_libpq),
        scripted(only_the_first_bytes_are_judged),
        scripted(after_a_no_to_tls_the_first_message_is_still_judged),
        scripted(the_next_host_has_its_own_socket_and_its_own_first_bytes),
        scripted(connecting_may_use_the_byte_budget_and_no_byte_more),
        scripted(a_connection_that_cannot_be_nonblocking_is_internal),
        scripted(a_connection_without_pipeline_mode_is_internal),
        scripted(a_probe_can_be_closed_while_it_connects),
    };
    return cmocka_run_group_tests_name("probe: connecting", tests, NULL, NULL);
}
