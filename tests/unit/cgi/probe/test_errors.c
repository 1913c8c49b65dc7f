/* cgi/probe/errors: what the bytes and texts of a PostgreSQL peer mean. */
#include "tests/unit/unit.h"

#include "cgi/probe/errors.h"

#include <string.h>

#define COUNT_OF(rows) (sizeof(rows) / sizeof((rows)[0]))

static void the_first_bytes_distinguish_postgresql_from_other_peers(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        bool plausible;
        enum errors_stage stage;
    } cases[] = {
        {"S", 1, true, ERRORS_SETTLED},
        {"G", 1, true, ERRORS_SETTLED},
        {"N", 1, true, ERRORS_UNKNOWN},
        {"R\0\0\0\x08", 5, true, ERRORS_SETTLED},
        {"R\0\0", 3, true, ERRORS_SETTLED},
        {"R\0\0\0\x07", 5, false, ERRORS_SETTLED},
        {"R\0\0\x75\x30", 5, true, ERRORS_SETTLED}, /* 30000 */
        {"R\0\0\x75\x31", 5, false, ERRORS_SETTLED},
        {"E\0\0\0\x64", 5, true, ERRORS_SETTLED},
        {"v\0\0\0\x0c", 5, true, ERRORS_SETTLED},
        {"R\0\0\0\0", 5, false, ERRORS_SETTLED}, /* version 2: no length, AuthenticationOk */
        {"EFATA", 5, false, ERRORS_SETTLED},     /* version 2: no length, a text */
        {"Ecoul", 5, true, ERRORS_SETTLED},      /* version 2: a postmaster that cannot fork */
        {"Rcoul", 5, false, ERRORS_SETTLED},
        {"HTTP/", 5, false, ERRORS_UNKNOWN},
        {"\x15\x03\x01\0\x02", 5, false, ERRORS_UNKNOWN}, /* a TLS alert */
        {"\0", 1, false, ERRORS_UNKNOWN},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        enum errors_stage stage = ERRORS_UNKNOWN;
        bool plausible =
            errors_judge_first_bytes((const unsigned char *)cases[i].bytes, cases[i].len, &stage);
        if (plausible != cases[i].plausible || stage != cases[i].stage)
            fail_msg("case %zu: plausible %d, stage %d", i, plausible, (int)stage);
    }
}

/* libpq's message after a failed login, and what it means. */
struct login_case {
    const char *message;
    const char *reason;
    const char *sqlstate;
    bool refused;
};

static void expect_login(const struct login_case *expected, bool needs_password)
{
    struct errors_login why = errors_of_login(expected->message, needs_password);
    if (strcmp(reason_name(why.reason), expected->reason) != 0 ||
        strcmp(why.sqlstate, expected->sqlstate) != 0 || why.refused != expected->refused)
        fail_msg("%s: %s, sqlstate '%s', refused %d", expected->message, reason_name(why.reason),
                 why.sqlstate, why.refused);
}

static void expect_logins(const struct login_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        expect_login(&cases[i], false);
}

#define TCP   "connection to server at \"10.0.0.1\", port 5432 failed: "
#define LOCAL "connection to server on socket \"/run/postgresql/.s.PGSQL.5432\" failed: "

static void a_servers_sqlstate_is_the_reason(void **state)
{
    (void)state;
    static const struct login_case cases[] = {
        {TCP "FATAL:  53300: sorry, too many clients already\nLOCATION:  InitProcess, proc.c:343\n",
         "saturated", "53300", false},
        {TCP "FATAL:  28P01: password authentication failed for user \"x\"\nLOCATION:  auth_failed, "
             "auth.c:338\n",
         "access", "28P01", false},
        {TCP "FATAL:  28000: no pg_hba.conf entry for host \"10.0.0.2\", SSL encryption\n", "access", "28000",
         false},
        {LOCAL "FATAL:  3D000: database \"x\" does not exist\n", "access", "3D000", false},
        {LOCAL "FATAL:  57P03: the database system is starting up\n", "restarting", "57P03", false},
        {LOCAL "FATAL:  53200: out of memory\n", "resources", "53200", false},
        {LOCAL "FATAL:  XX001: invalid page\n", "corrupt", "XX001", false},
        {LOCAL "FATAL:  55000: database \"x\" is not currently accepting connections\n", "access", "55000",
         false},
        {"FATAL:  57P03", "restarting", "57P03", false}, /* of verbosity PQERRORS_SQLSTATE */
    };
    expect_logins(cases, COUNT_OF(cases));
}

static void the_servers_language_does_not_matter(void **state)
{
    (void)state;
    /* Severities and messages from the message catalogues of PostgreSQL 15. */
    static const struct login_case cases[] = {
        {TCP "\u0412\u0410\u0416\u041d\u041e:  28P01: \u043f\u043e\u043b\u044c\u0437\u043e\u0432\u0430\n",
         "access", "28P01", false},
        {TCP "\u81f4\u547d\u9519\u8bef:  53300: \u5ba2\u6237\n", "saturated", "53300", false},
        {TCP "FATALE:  57P03: il sistema di database si sta avviando\n", "restarting", "57P03", false},
        {TCP "FATAL:  53300: tut mir leid, schon zu viele Verbindungen\nORT:  InitProcess, proc.c:343\n",
         "saturated", "53300", false},
    };
    expect_logins(cases, COUNT_OF(cases));
}

static void text_that_only_looks_like_a_sqlstate_is_ignored(void **state)
{
    (void)state;
    static const struct login_case cases[] = {
        {TCP "FATAL:  password authentication failed\n", "unreachable", "", false},
        {TCP "FATAL:  533001: too long\n", "unreachable", "", false},
        {TCP "FATAL:  5330: too short\n", "unreachable", "", false},
        {TCP "FATAL: 53300: one blank\n", "unreachable", "", false},
        {TCP "FATAL:  5330a: lower case\n", "unreachable", "", false},
        {"", "unreachable", "", false},
    };
    expect_logins(cases, COUNT_OF(cases));
}

static void the_last_sqlstate_of_several_hosts_decides(void **state)
{
    (void)state;
    static const struct login_case cases[] = {
        {TCP "FATAL:  57P03: starting\n" TCP "FATAL:  28P01: no\n", "access", "28P01", false},
        {TCP "FATAL:  57P03: starting\n" TCP "Connection refused\n", "restarting", "57P03", false},
        {TCP "Connection refused\n" TCP "FATAL:  57P03: starting\n", "restarting", "57P03", false},
        {TCP "Connection refused\n" TCP "No route to host\n", "unreachable", "", true},
    };
    expect_logins(cases, COUNT_OF(cases));
}

static void only_a_missing_listener_is_a_refusal(void **state)
{
    (void)state;
    static const struct login_case cases[] = {
        {TCP "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?\n",
         "unreachable", "", true},
        {LOCAL "No such file or directory\n\tIs the server running locally and accepting connections?\n",
         "unreachable", "", true},
        {LOCAL "Permission denied\n", "unreachable", "", false},
        {TCP "No route to host\n", "unreachable", "", false},
        {TCP "Network is unreachable\n", "unreachable", "", false},
        {"could not translate host name \"db\" to address: Temporary failure in name resolution\n",
         "unreachable", "", false},
        {TCP "server closed the connection unexpectedly\n", "unreachable", "", false},
        {TCP "could not receive data from server: Connection reset by peer\n", "unreachable", "", false},
        {TCP "SSL SYSCALL error: Connection reset by peer\n", "unreachable", "", false},
        {TCP "SSL SYSCALL error: EOF detected\n", "unreachable", "", false},
    };
    expect_logins(cases, COUNT_OF(cases));
}

static void a_missing_password_differs_from_a_wrong_one(void **state)
{
    (void)state;
    expect_login(&(struct login_case){TCP "fe_sendauth: no password supplied\n", "access", "", false}, true);
    expect_login(
        &(struct login_case){TCP "FATAL:  28P01: password authentication failed\n", "access", "28P01", false},
        true);
    expect_login(&(struct login_case){TCP "FATAL:  53300: too many clients\n", "saturated", "53300", false},
                 true);
}

static void a_postmaster_that_cannot_fork_lacks_resources(void **state)
{
    (void)state;
    expect_login(&(struct login_case){TCP "could not fork new process for connection: Resource temporarily "
                                          "unavailable\n",
                                      "resources", "", false},
                 false);
}

static void refusals_of_tls_and_kerberos_are_access(void **state)
{
    (void)state;
    static const struct login_case cases[] = {
        {TCP "SSL error: certificate verify failed\n", "access", "", false},
        {TCP "SSL error: sslv3 alert certificate expired\n", "access", "", false},
        {TCP "SSL error: tlsv1 alert unknown ca\n", "access", "", false},
        {TCP "SSL error: unsupported protocol\n", "access", "", false},
        {TCP "server certificate for \"a\" does not match host name \"b\"\n", "access", "", false},
        {TCP "root certificate file \"/root.crt\" does not exist\n", "access", "", false},
        {TCP "server does not support SSL, but SSL was required\n", "access", "", false},
        {"connection to server at \"certificate-db\" (::1), port 5432 failed: Connection refused\n",
         "unreachable", "", true},
        {TCP "could not initiate GSSAPI security context: No Kerberos credentials available\n", "access", "",
         false},
        {TCP "GSSAPI encryption required but it is not supported over a local socket\n", "access", "", false},
    };
    expect_logins(cases, COUNT_OF(cases));
}

/* OpenSSL 3 reports a protocol error, but it is an error of the connection. */
static void a_peer_that_goes_away_during_the_tls_handshake_is_unreachable(void **state)
{
    (void)state;
    expect_login(
        &(struct login_case){TCP "SSL error: unexpected eof while reading\n", "unreachable", "", false},
        false);
}

static void a_server_that_our_settings_do_not_allow_is_access(void **state)
{
    (void)state;
    static const struct login_case cases[] = {
        {TCP "authentication method requirement \"scram-sha-256\" failed: server requested a hashed "
             "password\n",
         "access", "", false},
        {TCP "channel binding required but not supported by server's authentication request\n", "access", "",
         false},
    };
    expect_logins(cases, COUNT_OF(cases));
}

static void the_text_decides_for_the_one_sqlstate_of_pgbouncer(void **state)
{
    (void)state;
    static const struct login_case cases[] = {
        {TCP "FATAL:  08P01: no more connections allowed (max_client_conn)\n", "saturated", "08P01", false},
        {TCP "FATAL:  08P01: password authentication failed\n", "access", "08P01", false},
        {TCP "FATAL:  08P01: SASL authentication failed\n", "access", "08P01", false},
        {TCP "FATAL:  08P01: no such database: x\n", "access", "08P01", false},
        {TCP "FATAL:  08P01: no such user: x\n", "access", "08P01", false},
        {TCP "FATAL:  08P01: auth failed\n", "access", "08P01", false},
        {TCP "FATAL:  08P01: server login has been failing, try again later (server_login_retry)\n",
         "unreachable", "08P01", false},
        {TCP "FATAL:  08P01: pgbouncer cannot connect to server\n", "unreachable", "08P01", false},
        {TCP "FATAL:  08P01: query_wait_timeout\n", "unreachable", "08P01", false},
    };
    expect_logins(cases, COUNT_OF(cases));
}

static void a_broken_protocol_differs_from_a_broken_connection(void **state)
{
    (void)state;
    static const char *const violations[] = {
        "lost synchronization with server: got message type \"H\", length 1414549295\n",
        "expected authentication request from server, but received H\n",
        "received invalid response to SSL negotiation: H\n",
        "received unencrypted data after SSL response\n",
        "authentication method 99 not supported\n",
        "message contents do not agree with length in message type \"D\"\n",
        "unexpected field count in \"D\" message\n",
        "server sent data (\"D\" message) without prior row description (\"T\" message)\n",
    };
    static const char *const others[] = {
        "server closed the connection unexpectedly\n\tThis probably means the server terminated\n",
        "could not receive data from server: Connection reset by peer\n",
        "Connection refused\n\tIs the server running on that host?\n",
        "",
    };
    for (size_t i = 0; i < COUNT_OF(violations); i++) {
        assert_true(errors_is_violation(violations[i]));
        expect_login(&(struct login_case){violations[i], "malformed", "", false}, false);
    }
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_false(errors_is_violation(others[i]));
}

static void sqlstate_and_message_give_the_reason_of_a_failed_query(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate, *message, *reason;
    } cases[] = {
        {"42P01", "relation \"x\" does not exist", "schema"},
        {"42501", "permission denied for table x", "access"},
        {"57014", "canceling statement due to statement timeout", "query_timeout"},
        {"XX001", "invalid page in block 0 of relation base/5/16384", "corrupt"},
        {"40001", "canceling statement due to conflict with recovery", "query_error"},
        {"55000", "materialized view has not been populated", "query_error"},
        {"08P01", "bind message supplies 0 parameters, but prepared statement requires 1", "query_error"},
        {"08006", "could not connect to the remote server", "unreachable"},
        /* The missing file belongs to an extension or to the data directory. */
        {"58P01", "could not access file \"$libdir/postgis-3\": No such file or directory", "schema"},
        {"58P01", "could not access file \"postgis-3\": No such file or directory", "schema"},
        {"58P01", "konnte nicht auf Datei \u201e$libdir/x\u201c zugreifen", "schema"},
        {"58P01", "could not open file \"base/5/16384\": No such file or directory", "corrupt"},
        {"58P01", "could not open file \"global/1262\": No such file or directory", "corrupt"},
        {"58P01", "could not open file \"pg_tblspc/1/PG_15/5/1\": No such file or directory", "corrupt"},
        {"58P01", "could not open file \"pg_wal/000000010000000000000001\": No such file", "corrupt"},
        {"58P01", "could not access status of transaction 1234", "corrupt"}, /* pg_xact, in the detail */
        {"58P01", "konnte auf den Status von Transaktion 1234 nicht zugreifen", "corrupt"},
        {"58P01", "", "corrupt"},
        {"58030", "could not read block 0 in file \"base/5/16384\": Input/output error", "corrupt"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *reason = reason_name(errors_of_query(cases[i].sqlstate, cases[i].message));
        if (strcmp(reason, cases[i].reason) != 0)
            fail_msg("%s: %s: %s", cases[i].sqlstate, cases[i].message, reason);
    }
}

static void a_count_is_a_non_negative_64_bit_integer_of_an_integer_type(void **state)
{
    (void)state;
    enum { INT8 = 20, TEXT = 25, NUMERIC = 1700 };
    static const struct {
        unsigned int type;
        const char *text;
        size_t len;
        bool ok;
        int64_t value;
    } cases[] = {
        {INT8, "0", 1, true, 0},
        {INT8, "9223372036854775807", 19, true, INT64_MAX},
        {21, "7", 1, true, 7},
        {23, "7", 1, true, 7},
        {26, "7", 1, true, 7},
        {NUMERIC, "714201", 6, true, 714201},
        {NUMERIC, "9223372036854775808", 19, false, 0},
        {NUMERIC, "1.0", 3, false, 0},
        {NUMERIC, "NaN", 3, false, 0},
        {INT8, "-1", 2, false, 0},
        {INT8, "1\0002", 3, false, 0},
        {INT8, "", 0, false, 0},
        {INT8, " 1", 2, false, 0},
        {TEXT, "12", 2, false, 0},
        {16, "1", 1, false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int64_t value = 0;
        assert_int_equal(errors_parse_count(cases[i].type, cases[i].text, cases[i].len, &value), cases[i].ok);
        assert_true(value == cases[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_bytes_distinguish_postgresql_from_other_peers),
        cmocka_unit_test(a_servers_sqlstate_is_the_reason),
        cmocka_unit_test(the_servers_language_does_not_matter),
        cmocka_unit_test(text_that_only_looks_like_a_sqlstate_is_ignored),
        cmocka_unit_test(the_last_sqlstate_of_several_hosts_decides),
        cmocka_unit_test(only_a_missing_listener_is_a_refusal),
        cmocka_unit_test(a_missing_password_differs_from_a_wrong_one),
        cmocka_unit_test(a_postmaster_that_cannot_fork_lacks_resources),
        cmocka_unit_test(refusals_of_tls_and_kerberos_are_access),
        cmocka_unit_test(a_peer_that_goes_away_during_the_tls_handshake_is_unreachable),
        cmocka_unit_test(a_server_that_our_settings_do_not_allow_is_access),
        cmocka_unit_test(the_text_decides_for_the_one_sqlstate_of_pgbouncer),
        cmocka_unit_test(a_broken_protocol_differs_from_a_broken_connection),
        cmocka_unit_test(sqlstate_and_message_give_the_reason_of_a_failed_query),
        cmocka_unit_test(a_count_is_a_non_negative_64_bit_integer_of_an_integer_type),
    };
    return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
