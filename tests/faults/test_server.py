"""A real PostgreSQL that stops, hangs, crashes, locks and refuses."""
import contextlib
import os
import signal
import socket

import psycopg2
import pytest
from harness.backend import SANITIZED
from harness.wait import hold_for, wait_until

from .conftest import assert_quick

INTERVAL = 2.0  # the default, for which the promises are made
LATER = INTERVAL + 1.5
REPEATS = 5  # for bounds of a fifth of a second


@pytest.fixture
def healthy(start_backend, own_cluster):
    backend = start_backend(**own_cluster.environment())
    backend.wait_status("healthy")
    return backend


@pytest.mark.parametrize("stop_signal", [signal.SIGQUIT, signal.SIGINT], ids=["immediate", "fast"])
def test_stopped(healthy, own_cluster, fault, stop_signal):
    for _ in range(REPEATS):
        pid = own_cluster.postmaster_pid
        fault.injected()
        os.kill(pid, stop_signal)
        fault.expect(healthy, 0.2, ("database", "unreachable"), ("database", "restarting"), once=False)
        own_cluster.wait_gone(pid)
        own_cluster.start()
        fault.healed(healthy, 3)
    fault.judge()


def test_a_smart_shutdown_does_not_wait_for_our_session(start_backend, own_cluster, fault):
    """SIGTERM to the postmaster: it refuses logins, and ends only when the last client has left by itself."""
    backend = start_backend(**own_cluster.environment(HEALTH_RECONNECT_EVERY="2s"))
    backend.wait_status("healthy")
    pid = own_cluster.postmaster_pid
    fault.injected()
    os.kill(pid, signal.SIGTERM)
    fault.expect(backend, 2 + 0.5, ("database", "restarting"), ("database", "unreachable"))
    own_cluster.wait_gone(pid)
    own_cluster.start()
    fault.healed(backend, 3)


def test_a_smart_shutdown_waits_for_others_without_our_session(start_backend, own_cluster, checks_file):
    """A check that is under way is asked to its end. The sessions of others go on, and ours does not come back."""
    backend = start_backend(HEALTH_CHECKS=checks_file("-- check: slow\nSELECT 4711 FROM pg_sleep(4);\n"),
                            HEALTH_QUERY_TIMEOUT="6s", HEALTH_STALE_AFTER="20s", HEALTH_MAX_LOAD=100,
                            **own_cluster.environment(HEALTH_RECONNECT_EVERY="1s"))
    backend.wait_status("healthy")
    pid = own_cluster.postmaster_pid
    client = own_cluster.connect()
    client.autocommit = True

    def sessions(condition):
        with client.cursor() as cursor:
            cursor.execute(f"SELECT pid FROM pg_stat_activity WHERE application_name = 'health-api' {condition}")
            return cursor.fetchall()
    try:
        wait_until(lambda: sessions("AND state = 'active' AND query LIKE '%4711%'"), 15, "a session that runs the check")
        os.kill(pid, signal.SIGTERM)
        backend.wait_failing(("database", "restarting"))
        wait_until(lambda: not sessions(""), 10, "our session has ended")
        hold_for(lambda: not sessions("") and backend.ask().status == 503, 2, "no session of ours, and 503")
    finally:
        client.close()
    own_cluster.wait_gone(pid)
    assert "terminating" not in "".join(own_cluster.log_lines()), "the check was not asked to its end"
    assert backend.events("session ended")[-1]["sqlstate"] == "57P03"


def test_killed_with_kill_9(healthy, own_cluster, fault):
    pid = own_cluster.postmaster_pid
    fault.injected()
    os.kill(pid, signal.SIGKILL)
    # Its children end when they notice. Until then only a new login shows the fault.
    fault.expect(healthy, LATER + 10, ("database", "unreachable"))
    own_cluster.wait_gone(pid)
    wait_until(own_cluster.has_no_children, 20, "no child of the killed server is left")
    own_cluster.start()
    fault.healed(healthy, 3)


@pytest.mark.parametrize("period_s", [2, 3, 10])
def test_postmaster_hung(start_backend, own_cluster, fault, period_s):
    backend = start_backend(**own_cluster.environment(HEALTH_RECONNECT_EVERY=f"{period_s}s"))
    backend.wait_status("healthy")
    os.kill(own_cluster.postmaster_pid, signal.SIGSTOP)
    try:
        fault.injected()
        # A program that had to wait for a processor gives the login its whole limit again, once.
        fault.expect(backend, period_s + 2 * 1.5 + 0.5, ("database", "connect_timeout"))
        assert_quick(backend)
        hold_for(lambda: backend.ask().status == 503, 2, "503 while it hangs")
    finally:
        os.kill(own_cluster.postmaster_pid, signal.SIGCONT)
    fault.healed(backend, 4)


def test_our_server_process_hung(start_backend, own_cluster):
    """Only our server process hangs: a new session shows that the server is well. Its start may take a while."""
    healthy = start_backend(HEALTH_HUNG_AFTER="2s", HEALTH_CONNECT_TIMEOUT="3s", HEALTH_STALE_AFTER="10s",
                            **own_cluster.environment())
    healthy.wait_status("healthy")
    (pid,) = wait_until(own_cluster.probes, 5, "our session")
    os.kill(pid, signal.SIGSTOP)
    try:
        hold_for(lambda: healthy.ask().status == 200, 5, "200 while that process hangs")
        assert [other for other in own_cluster.probes() if other != pid]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert [line["to"] for line in healthy.events("status changed")] == ["healthy"]


def test_the_whole_server_hung(healthy, own_cluster, fault, timed):
    timed = timed(healthy)
    own_cluster.signal_all(signal.SIGSTOP)
    try:
        fault.injected()
        fault.expect(timed, 3, ("database", "hung"))
        hold_for(lambda: timed.ask().status == 503, 3, "503 while it lasts")
    finally:
        own_cluster.signal_all(signal.SIGCONT)
    fault.healed(timed, 4)
    timed.judge()


def test_only_our_connection_terminated(healthy, own_cluster):
    for expected in (1, 2, 3):
        own_cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE application_name = 'health-api'")
        wait_until(lambda: healthy.document("/api/status")["database"]["reconnects"] == expected, 5, "a reconnect")
        hold_for(lambda: healthy.document("/api/status")["database"]["reconnects"] == expected, 0.5, "one, not more")
    assert [line["to"] for line in healthy.events("status changed")] == ["healthy"]


def test_our_connection_terminated_while_it_runs_a_check(start_backend, own_cluster, checks_file):
    """An operator terminated it, so the check is not to blame."""
    backend = start_backend(HEALTH_CHECKS=checks_file("-- check: slow\nSELECT 4711 FROM pg_sleep(0.4);\n"),
                            HEALTH_MAX_LOAD=50, HEALTH_QUERY_TIMEOUT="3s", HEALTH_STALE_AFTER="10s", **own_cluster.environment())
    backend.wait_status("healthy")
    at_work = ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'health-api'"
               " AND state = 'active' AND query LIKE '%4711%'")
    wait_until(lambda: own_cluster.execute(at_work), 15, "a session that runs the check")
    wait_until(lambda: backend.document("/api/status")["database"]["reconnects"] == 1, 5, "a reconnect")
    hold_for(lambda: backend.ask().status == 200, 3, "200 all the time")
    assert [line["to"] for line in backend.events("status changed")] == ["healthy"]


def test_a_check_that_kills_its_server_process_is_to_blame_and_backs_off(start_backend, own_cluster, checks_file):
    """After each such crash the server ends all sessions, and recovers."""
    backend = start_backend(HEALTH_CHECKS=checks_file(
        "-- check: good\nSELECT 1;\n-- check: killer\n-- severity: warn\nSELECT 4711 FROM pg_sleep(0.5);\n"),
        HEALTH_QUERY_TIMEOUT="3s", HEALTH_STALE_AFTER="10s", **own_cluster.environment())
    backend.wait_status("healthy")
    crashes = set()

    def kill():
        """Always true, even if the server recovers and has no process to kill."""
        with contextlib.suppress(psycopg2.Error, ProcessLookupError):
            for pid, in own_cluster.execute("SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%4711%'"
                                            " AND pid <> pg_backend_pid()"):
                os.kill(pid, signal.SIGKILL)
                crashes.add(pid)
        return True
    wait_until(lambda: kill() and crashes, 15, "the first crash")
    hold_for(kill, 20)
    assert len(crashes) <= 5, "the check does not back off"
    backend.wait_status("healthy")


@pytest.mark.skipif(SANITIZED, reason="is about what the server does for half a minute")
def test_a_check_that_ignores_cancellation_fails_alone(start_backend, own_cluster, checks_file):
    """libpq inside dblink waits only for a silent remote server. It notices neither a cancel nor the loss of its
    client."""
    own_cluster.execute("CREATE EXTENSION dblink")
    with socket.socket() as remote:
        remote.bind(("127.0.0.1", 0))
        remote.listen(64)
        backend = start_backend(HEALTH_CHECKS=checks_file(
            "-- check: good\nSELECT count(*) FROM debates;\n-- check: remote\n-- severity: warn\nSELECT count(*) FROM "
            f"dblink('host=127.0.0.1 port={remote.getsockname()[1]} dbname=x user=x password=x', 'SELECT 1') t(n int);\n"),
            **own_cluster.environment())
        backend.wait_status("healthy")
        wait_until(lambda: backend.document()["warnings"] == [{"check": "remote", "reason": "query_timeout"}], 10,
                   "the warning")
        most = 0

        def is_well():
            nonlocal most
            document = backend.document()
            most = max(most, len(own_cluster.probes()))
            return document["status"] == "healthy" and document["counts"]["good"] == 200
        hold_for(is_well, 20, "200 with the other count")
        assert most <= 3, f"{most} server processes, expected two sessions and one orphan"
        assert len(backend.events("check backed off")) == 1
    # The remote server is gone, so the orphan ends.
    wait_until(lambda: len(own_cluster.probes()) <= 2, 10, "the orphan is gone")


def test_a_dropped_table_shows_beside_forty_slow_checks(start_backend, own_cluster, checks_file, fault):
    slow = "".join(f"-- check: slow{n}\nSELECT 1 FROM pg_sleep(0.04);\n" for n in range(40))
    backend = start_backend(HEALTH_CHECKS=checks_file("-- check: debates\nSELECT count(*) FROM debates;\n" + slow),
                            **own_cluster.environment())
    backend.wait_status("healthy")
    fault.injected()
    own_cluster.execute("DROP TABLE debates")
    fault.expect(backend, 2 * INTERVAL + 40 * 0.04 + 1, ("debates", "schema"))


def test_crashed_and_recovering(healthy, nginx, own_cluster, fault):
    """The server recovers only when all its processes have ended. A stopped process delays that, so the test can see
    the 503."""
    for _ in range(REPEATS):
        victim, held = own_cluster.connect(), own_cluster.connect()
        os.kill(held.info.backend_pid, signal.SIGSTOP)
        try:
            fault.injected()
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            fault.expect(nginx, 0.2, ("database", "restarting"), once=False)
            hold_for(lambda: nginx.ask().status == 503, 1, "503 until it has recovered")
        finally:
            os.kill(held.info.backend_pid, signal.SIGCONT)
        wait_until(own_cluster.accepts, 20, "recovered")
        fault.healed(nginx, 3)
        victim.close()
        held.close()
    fault.judge()


def test_a_table_locked(healthy, own_cluster, fault, timed):
    timed = timed(healthy)
    connection = own_cluster.connect()
    connection.autocommit = False
    connection.cursor().execute("LOCK TABLE edges IN ACCESS EXCLUSIVE MODE")
    fault.injected()
    fault.expect(timed, LATER, ("edges", "query_timeout"))
    hold_for(lambda: timed.ask().status == 503, 2, "503 while it is locked")
    timed.judge()
    wait_until(lambda: healthy.document()["counts"]["debates"] == 200, 5, "the other checks count")
    connection.close()
    fault.healed(healthy)


def test_a_table_dropped(healthy, own_cluster, fault):
    own_cluster.execute("DROP TABLE debates")
    fault.injected()
    document = fault.expect(healthy, LATER, ("debates", "schema"))
    assert document["counts"]["edges"] == 4999
    own_cluster.execute("CREATE TABLE debates (id bigint); GRANT SELECT ON debates TO health_api")
    fault.healed(healthy)


def test_a_value_of_the_wrong_type(start_backend, own_cluster, checks_file, fault):
    own_cluster.execute("CREATE TABLE stock AS SELECT 12 AS amount; GRANT SELECT ON stock TO health_api")
    backend = start_backend(HEALTH_CHECKS=checks_file(
        "-- check: stock\nSELECT amount FROM stock;\n-- check: debates\nSELECT count(*) FROM debates;\n"),
        **own_cluster.environment())
    assert backend.wait_status("healthy")["counts"] == {"stock": 12, "debates": 200}
    own_cluster.execute("ALTER TABLE stock ALTER amount TYPE text")
    fault.injected()
    document = fault.expect(backend, LATER, ("stock", "malformed"))
    assert document["counts"]["debates"] == 200
    own_cluster.execute("ALTER TABLE stock ALTER amount TYPE bigint USING amount::bigint")
    fault.healed(backend)


def test_locks_on_every_table_are_reported_at_once_and_stay_fresh(healthy, own_cluster):
    connection = own_cluster.connect()
    connection.autocommit = False
    connection.cursor().execute("LOCK TABLE entities, edges, hypotheses, analyses, debates IN ACCESS EXCLUSIVE MODE")
    wait_until(lambda: len(healthy.document()["failing"]) == 5, 15, "all five fail")
    hold_for(lambda: "stale" not in str(healthy.document()["failing"]), 8, "fresh snapshots")
    connection.close()
    healthy.wait_status("healthy", 10)


def test_a_slow_query_is_ended_on_the_server_too(start_backend, own_cluster, checks_file, fault, timed):
    own_cluster.execute("CREATE TABLE pace AS SELECT 0::float AS seconds; GRANT SELECT ON pace TO health_api")
    backend = start_backend(HEALTH_CHECKS=checks_file(
        "-- check: slow\nSELECT 4711 FROM pg_sleep((SELECT seconds FROM pace));\n"), **own_cluster.environment())
    backend.wait_status("healthy")
    timed = timed(backend)
    own_cluster.execute("UPDATE pace SET seconds = 60")
    fault.injected()
    fault.expect(timed, LATER, ("slow", "query_timeout"))
    hold_for(lambda: timed.ask().status == 503, 2, "503 while it is slow")
    timed.judge()
    own_cluster.execute("UPDATE pace SET seconds = 0")
    fault.healed(backend)
    own_cluster.execute("UPDATE pace SET seconds = 60")
    running = ("SELECT pid FROM pg_stat_activity WHERE query LIKE '%4711%' AND state = 'active'"
               " AND pid <> pg_backend_pid()")
    wait_until(lambda: own_cluster.execute(running), 5, "it runs")
    assert backend.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not own_cluster.execute(running), 3, "the orphan is gone")


@pytest.mark.parametrize("statement", ["SELECT 4711 FROM pg_sleep(60)", "SELECT 4711 + count(*) FROM edges"],
                         ids=["slow", "locked"])
def test_an_orphan_with_a_long_timeout_also_ends(start_backend, own_cluster, checks_file, statement):
    """client_connection_check_interval ends it, long before its own timeout."""
    if own_cluster.major_version < 14:
        pytest.skip("PostgreSQL 13 has no client_connection_check_interval")
    connection = own_cluster.connect()
    connection.autocommit = False
    connection.cursor().execute("LOCK TABLE edges IN ACCESS EXCLUSIVE MODE")
    backend = start_backend(HEALTH_CHECKS=checks_file(f"-- check: long\n-- timeout: 30s\n{statement};\n"),
                            **own_cluster.environment(HEALTH_STALE_AFTER="60s"))
    running = ("SELECT pid FROM pg_stat_activity WHERE query LIKE '%4711%' AND state = 'active'"
               " AND pid <> pg_backend_pid()")
    wait_until(lambda: own_cluster.execute(running), 5, "it runs")
    assert backend.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not own_cluster.execute(running), 3, "the orphan is gone")
    connection.close()


def test_a_temporary_file_over_its_limit_is_resources(start_backend, own_cluster, checks_file, fault):
    own_cluster.execute("ALTER ROLE health_api SET temp_file_limit = '64kB'; ALTER ROLE health_api SET work_mem = '64kB'")
    backend = start_backend(HEALTH_CHECKS=checks_file(
        "-- check: sorted\nSELECT count(*) FROM (SELECT n FROM generate_series(1, 20000) n ORDER BY -n) AS s;\n"),
        **own_cluster.environment(HEALTH_RECONNECT_EVERY="1s"))
    wait_until(lambda: backend.document()["status"] != "starting", 15, "the first probe has finished")
    fault.injected()
    fault.expect(backend, LATER, ("sorted", "resources"))
    own_cluster.execute("ALTER ROLE health_api SET temp_file_limit = -1")
    fault.healed(backend)
