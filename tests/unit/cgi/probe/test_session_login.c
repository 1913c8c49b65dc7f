/* cgi/probe/session: from session_open to the answer of the login, over a scripted libpq. */
#include "tests/unit/cgi/probe/session_fixture.h"

#define DEADLINE AFTER_MS(CONNECT_TIMEOUT_MS)

/* The first bytes of a server: Authentication, length 8. */
static const char auth_request[] = {'R', 0, 0, 0, 8};

static void expect_connecting(short events, int64_t now_ns)
{
    expect_nothing(SESSION_ASKED, now_ns);
    expect_wait(script_socket(), events, DEADLINE);
    script_expect_done();
}

static void expect_let_in(int64_t now_ns)
{
    expect_answer(QUESTION_LOGIN, REASON_NONE, now_ns);
    assert_true(answer.by_server);
}

/* Expects an end that no server has sent: our limit, or a peer that is not PostgreSQL. */
static void expect_failure(enum reason reason, int64_t now_ns)
{
    expect_end(QUESTION_LOGIN, reason, "", now_ns);
    assert_false(answer.refused);
}

static void a_session_that_libpq_calls_ok_is_idle(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, CONNECTED);
    open_session();
    assert_int_equal(session_state(session), SESSION_ASKED);
    assert_int_equal(session_question(session), QUESTION_LOGIN);
    assert_true(session_asked_ns(session) == T0);
    expect_let_in(AFTER_MS(3));
    assert_true(answer.took_ns == 3 * NS_PER_MS);
    assert_false(answer.has_count);
}

static void libpq_gets_our_name_and_puts_sqlstates_into_its_messages(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED);
    open_session();
    assert_string_equal(script_option("fallback_application_name"), "health-api");
    assert_int_equal(script_verbosity(), PQERRORS_VERBOSE);
}

static void gss_encryption_is_off_unless_the_user_chose_it(void **state)
{
    (void)state;
    unsetenv("PGGSSENCMODE");
    session_init();
    assert_string_equal(getenv("PGGSSENCMODE"), "disable");
    setenv("PGGSSENCMODE", "prefer", 1);
    session_init();
    assert_string_equal(getenv("PGGSSENCMODE"), "prefer");
    unsetenv("PGGSSENCMODE");
}

static void libpq_is_not_polled_before_the_socket_is_writable(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED);
    open_session();
    peer_stalls();
    expect_connecting(POLLOUT, T0);
    expect_connecting(POLLOUT, AFTER_MS(1));
    peer_reads();
    EXPECT_CALLS(CONNECTED);
    expect_let_in(AFTER_MS(2));
}

static void the_wait_is_for_the_events_that_libpq_wants(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_session();
    expect_connecting(POLLIN, T0);
    expect_connecting(POLLIN, T0); /* nothing to read, so no PQconnectPoll */
    peer_stalls();
    peer_sends(auth_request, sizeof auth_request);
    EXPECT_CALLS(POLL_WRITING);
    expect_connecting(POLLOUT, T0);
    peer_reads();
    EXPECT_CALLS(POLL_READING);
    expect_connecting(POLLIN, T0);
    peer_sends_bytes(1);
    EXPECT_CALLS(CONNECTED);
    expect_let_in(T0);
}

static void one_step_polls_for_as_long_as_the_socket_is_ready(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_WRITING, POLL_WRITING, POLL_WRITING, CONNECTED);
    open_session();
    expect_let_in(T0);
}

static void the_peer_was_heard_when_its_bytes_came(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_session();
    assert_true(session_heard_ns(session) == T0);
    expect_connecting(POLLIN, AFTER_MS(1)); /* connected, but there is no byte yet */
    assert_true(session_heard_ns(session) == T0);
    peer_sends(auth_request, sizeof auth_request);
    EXPECT_CALLS(POLL_READING);
    expect_connecting(POLLIN, AFTER_MS(2));
    assert_true(session_heard_ns(session) == AFTER_MS(2));
    expect_connecting(POLLIN, AFTER_MS(3));
    assert_true(session_heard_ns(session) == AFTER_MS(2));
    peer_sends_bytes(1);
    EXPECT_CALLS(CONNECTED);
    expect_let_in(AFTER_MS(4));
    assert_true(session_heard_ns(session) == AFTER_MS(4));
}

static void the_hosts_are_passed_with_their_addresses(void **state)
{
    (void)state;
    const struct hosts hosts = {
        .count = 2, .items = {{.name = "b", .address = "10.0.0.2", .port = "2"}, {.name = "/run"}}};
    EXPECT_CALLS(STARTED);
    session = session_open(&hosts, CONNECT_TIMEOUT_MS, T0);
    assert_string_equal(script_option("host"), "b,/run");
    assert_string_equal(script_option("hostaddr"), "10.0.0.2,");
    assert_string_equal(script_option("port"), "2,");
    assert_null(script_option("user"));
}

static void without_hosts_libpq_uses_its_defaults(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED);
    open_session();
    assert_null(script_option("host"));
    assert_null(script_option("hostaddr"));
    assert_null(script_option("port"));
}

/* The options from the environment and the service file. */
static const PQconninfoOption defaults[] = {
    {.keyword = "user", .val = "health_api"},
    {.keyword = "host", .val = "a,b"},
    {.keyword = "hostaddr", .val = ",10.0.0.2"},
    {.keyword = "port", .val = "1,2"},
    {.keyword = NULL},
};

static void the_hosts_are_those_that_libpq_would_use(void **state)
{
    (void)state;
    struct hosts hosts;
    EXPECT_CALLS(DEFAULTS(defaults), DEFAULTS_HAS_NO_MEMORY);
    session_hosts(&hosts);
    assert_int_equal(hosts.count, 2);
    assert_string_equal(hosts.items[0].name, "a");
    assert_string_equal(hosts.items[0].address, "");
    assert_string_equal(hosts.items[0].port, "1");
    assert_string_equal(hosts.items[1].name, "b");
    assert_string_equal(hosts.items[1].address, "10.0.0.2");
    assert_string_equal(hosts.items[1].port, "2");
    session_hosts(&hosts);
    assert_int_equal(hosts.count, 0);
}

static void session_server_names_the_server_that_let_us_in(void **state)
{
    (void)state;
    struct database_server server;
    EXPECT_CALLS(STARTED, CONNECTED);
    open_session();
    expect_let_in(T0);
    session_server(session, &server);
    assert_int_equal(server.version, 150000);
    assert_string_equal(server.host, "db.example");
    assert_string_equal(server.address, "10.0.0.1");
    assert_string_equal(server.port, "5432");
    assert_string_equal(server.database, "knowledge");
    assert_string_equal(server.user, "");
}

static void a_session_without_a_socket_times_out(void **state)
{
    (void)state;
    struct pq_step polled = POLL_READING;
    polled.no_socket = true;
    EXPECT_CALLS(STARTED);
    script_expect(&polled, 1);
    open_session();
    expect_nothing(SESSION_ASKED, T0);
    expect_wait(-1, POLLIN, DEADLINE);
    expect_failure(REASON_CONNECT_TIMEOUT, DEADLINE);
}

static void a_connection_without_memory_is_internal(void **state)
{
    (void)state;
    EXPECT_CALLS(START_HAS_NO_MEMORY);
    open_session();
    assert_int_equal(session_state(session), SESSION_OVER);
    expect_failure(REASON_INTERNAL, T0);
}

/* Some messages of libpq when it gives up; test_errors has all of them. */
static const struct {
    const char *message;
    bool needs_password;
    enum reason reason;
    const char *sqlstate;
    bool refused;
} give_ups[] = {
    {"connection to server at \"::1\" failed: Connection refused\n\tIs the server running?\n", false,
     REASON_UNREACHABLE, "", true},
    {"could not translate host name \"db\" to address: Temporary failure\n", false, REASON_UNREACHABLE, "",
     false},
    {LOST, false, REASON_UNREACHABLE, "", false},
    {"connection to server failed: FATAL:  53300: sorry, too many clients already\nLOCATION:  a, b.c:1\n",
     false, REASON_SATURATED, "53300", false},
    {"FATAL:  28P01: wrong\n", true, REASON_ACCESS, "28P01", false}, /* wrong, and not missing */
    {"fe_sendauth: no password supplied\n", true, REASON_ACCESS, "", false},
    {"expected authentication request from server, but received H\n", false, REASON_MALFORMED, "", false},
};

static void expect_give_up(size_t i)
{
    size_t first_line_len = strcspn(give_ups[i].message, "\n");
    expect_end(QUESTION_LOGIN, give_ups[i].reason, give_ups[i].sqlstate, T0);
    assert_int_equal(answer.refused, give_ups[i].refused);
    assert_int_equal(answer.by_server, give_ups[i].sqlstate[0] != '\0');
    assert_int_equal(strlen(answer.detail), first_line_len);
    assert_memory_equal(answer.detail, give_ups[i].message, first_line_len);
}

static void a_login_that_fails_at_once_has_its_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof give_ups / sizeof give_ups[0]; i++) {
        struct pq_step step = START_FAILS(give_ups[i].message);
        step.needs_password = give_ups[i].needs_password;
        script_expect(&step, 1);
        open_session();
        assert_int_equal(session_state(session), SESSION_OVER);
        expect_give_up(i);
    }
}

static void a_poll_that_fails_has_its_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof give_ups / sizeof give_ups[0]; i++) {
        struct pq_step step = POLL_FAILS(give_ups[i].message);
        step.needs_password = give_ups[i].needs_password;
        EXPECT_CALLS(STARTED, POLL_READING);
        script_expect(&step, 1);
        open_session();
        expect_nothing(SESSION_ASKED, T0);
        peer_sends(auth_request, sizeof auth_request);
        expect_give_up(i);
    }
}

static void a_detail_that_is_too_long_is_cut(void **state)
{
    (void)state;
    char message[1000];
    memset(message, 'x', sizeof message - 1);
    message[sizeof message - 1] = '\0';
    EXPECT_CALLS(START_FAILS(message));
    open_session();
    expect_failure(REASON_UNREACHABLE, T0);
    assert_int_equal(strlen(answer.detail), sizeof answer.detail - 1);
}

static void a_peer_that_closes_without_a_byte_is_left_to_libpq(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING, POLL_FAILS(LOST));
    open_session();
    expect_nothing(SESSION_ASKED, T0);
    peer_closes();
    expect_failure(REASON_UNREACHABLE, T0);
}

static void the_timeout_is_exactly_at_the_deadline(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_session();
    expect_connecting(POLLIN, T0);
    expect_connecting(POLLIN, DEADLINE - 1);
    expect_failure(REASON_CONNECT_TIMEOUT, DEADLINE);
    assert_false(answer.by_server);
}

static void a_login_that_makes_progress_gets_more_time(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING, POLL_READING);
    open_session();
    expect_nothing(SESSION_ASKED, T0);
    peer_sends(auth_request, sizeof auth_request);
    expect_connecting(POLLIN, DEADLINE - 1);
    int64_t quarter_ns = CONNECT_TIMEOUT_MS * NS_PER_MS / 4;
    expect_nothing(SESSION_ASKED, DEADLINE);
    expect_nothing(SESSION_ASKED, DEADLINE + quarter_ns);
    expect_failure(REASON_CONNECT_TIMEOUT, DEADLINE + 2 * quarter_ns);
}

static void our_own_stall_gives_the_whole_limit_again_once(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_session();
    expect_connecting(POLLIN, T0);
    session_extend(session, 0, AFTER_MS(900));
    expect_nothing(SESSION_ASKED, DEADLINE);
    expect_wait(script_socket(), POLLIN, DEADLINE + 900 * NS_PER_MS);
    session_extend(session, 0, AFTER_MS(1800));
    expect_nothing(SESSION_ASKED, DEADLINE + 900 * NS_PER_MS - 1);
    expect_failure(REASON_CONNECT_TIMEOUT, DEADLINE + 900 * NS_PER_MS);
}

static void an_answer_that_arrives_by_the_deadline_still_counts(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_session();
    expect_connecting(POLLIN, T0);
    peer_sends(auth_request, sizeof auth_request);
    EXPECT_CALLS(CONNECTED);
    expect_let_in(DEADLINE);
}

/* Expects that the session is over before libpq reads any of these bytes. */
static void expect_no_postgresql(const char *bytes, size_t len)
{
    EXPECT_CALLS(STARTED, POLL_READING);
    open_session();
    expect_connecting(POLLIN, T0);
    peer_sends(bytes, len);
    expect_failure(REASON_MALFORMED, T0);
    assert_int_equal(script_bytes_read(), 0);
}

static void first_bytes_of_another_protocol_never_reach_libpq(void **state)
{
    (void)state;
    expect_no_postgresql("HTTP/1.1 400 Bad Request", 24);
    expect_no_postgresql("R\x30\0\0\0", 5); /* with an absurd length */
}

static void only_the_first_bytes_are_judged(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING, POLL_READING, POLL_READING, CONNECTED);
    open_session();
    expect_nothing(SESSION_ASKED, T0);
    peer_sends("R", 1); /* a server that sends byte by byte */
    expect_nothing(SESSION_ASKED, T0);
    peer_sends("\0\0\0\x08", 4);
    expect_nothing(SESSION_ASKED, T0);
    peer_sends("Z", 1);
    expect_let_in(T0);
    assert_int_equal(script_bytes_read(), 6); /* judged and left to libpq */
}

static void the_first_message_after_a_declined_tls_is_still_judged(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING, POLL_READING);
    open_session();
    expect_nothing(SESSION_ASKED, T0);
    peer_sends("N", 1);
    expect_nothing(SESSION_ASKED, T0);
    peer_sends("HTTP/", 5);
    expect_failure(REASON_MALFORMED, T0);
}

static void the_next_host_has_its_own_socket_and_its_own_first_bytes(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_session();
    expect_connecting(POLLIN, T0);
    int first_socket = script_socket();
    peer_sends(auth_request, sizeof auth_request);
    EXPECT_CALLS(POLL_NEXT_HOST, POLL_READING);
    expect_connecting(POLLIN, T0);
    assert_int_not_equal(script_socket(), first_socket);
    peer_sends("HTTP/", 5);
    expect_failure(REASON_MALFORMED, T0);
}

static void a_login_may_use_the_byte_budget_and_no_byte_more(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_READING);
    open_session();
    expect_connecting(POLLIN, T0);
    for (size_t sent = 0; sent < SESSION_BYTE_BUDGET; sent += PORTION) {
        peer_sends_bytes(PORTION);
        EXPECT_CALLS(POLL_READING);
        expect_connecting(POLLIN, T0);
    }
    peer_sends_bytes(1);
    expect_failure(REASON_MALFORMED, T0);
    assert_int_equal(script_bytes_read(), SESSION_BYTE_BUDGET);
}

static void a_session_that_cannot_be_nonblocking_or_pipelined_is_internal(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED, POLL_OK, {.call = PQ_SET_NONBLOCKING, .returns = -1, .error = "no"});
    open_session();
    expect_failure(REASON_INTERNAL, T0);
    assert_string_equal(answer.detail, "no");
    EXPECT_CALLS(STARTED, POLL_OK, NONBLOCKING, {.call = PQ_ENTER_PIPELINE, .returns = 0, .error = "no"});
    open_session();
    expect_failure(REASON_INTERNAL, T0);
    assert_string_equal(answer.detail, "no");
}

static void a_session_can_be_closed_while_it_logs_in(void **state)
{
    (void)state;
    EXPECT_CALLS(STARTED);
    open_session();
    close_session();
    session_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scripted(a_session_that_libpq_calls_ok_is_idle),
        scripted(libpq_gets_our_name_and_puts_sqlstates_into_its_messages),
        cmocka_unit_test(gss_encryption_is_off_unless_the_user_chose_it),
        scripted(libpq_is_not_polled_before_the_socket_is_writable),
        scripted(the_wait_is_for_the_events_that_libpq_wants),
        scripted(one_step_polls_for_as_long_as_the_socket_is_ready),
        scripted(the_peer_was_heard_when_its_bytes_came),
        scripted(the_hosts_are_passed_with_their_addresses),
        scripted(without_hosts_libpq_uses_its_defaults),
        scripted(the_hosts_are_those_that_libpq_would_use),
        scripted(session_server_names_the_server_that_let_us_in),
        scripted(a_session_without_a_socket_times_out),
        scripted(a_connection_without_memory_is_internal),
        scripted(a_login_that_fails_at_once_has_its_reason),
        scripted(a_poll_that_fails_has_its_reason),
        scripted(a_detail_that_is_too_long_is_cut),
        scripted(a_peer_that_closes_without_a_byte_is_left_to_libpq),
        scripted(the_timeout_is_exactly_at_the_deadline),
        scripted(a_login_that_makes_progress_gets_more_time),
        scripted(our_own_stall_gives_the_whole_limit_again_once),
        scripted(an_answer_that_arrives_by_the_deadline_still_counts),
        scripted(first_bytes_of_another_protocol_never_reach_libpq),
        scripted(only_the_first_bytes_are_judged),
        scripted(the_first_message_after_a_declined_tls_is_still_judged),
        scripted(the_next_host_has_its_own_socket_and_its_own_first_bytes),
        scripted(a_login_may_use_the_byte_budget_and_no_byte_more),
        scripted(a_session_that_cannot_be_nonblocking_or_pipelined_is_internal),
        scripted(a_session_can_be_closed_while_it_logs_in),
    };
    return cmocka_run_group_tests_name("session: login", tests, NULL, NULL);
}
