"""What health-api notices, and does not notice, through PgBouncer in each pooling mode (docs/postgresql.md)."""
import contextlib
import os
import signal
import threading

import psycopg2
import pytest
from harness.backend import SANITIZED
from harness.cluster import PASSWORD
from harness.pgbouncer import PgBouncer
from harness.wait import hold_for, wait_until

# These run the same code as test_topologies.py, which also runs under the sanitizers.
pytestmark = pytest.mark.skipif(SANITIZED, reason="is about PgBouncer and about time")

ONE = "-- check: debates\nSELECT count(*) FROM debates;\n"
RECONNECT, CONNECT_TIMEOUT, HEARTBEAT = 2.0, 1.5, 0.25
LOADED = 1.0  # what a machine with other work adds
HUNG = ("database", "hung")


@pytest.fixture(params=["session", "transaction", "statement"])
def bouncer(request, own_cluster, directory):
    with PgBouncer(os.path.join(directory, "bouncer"), own_cluster, request.param) as started:
        yield started


def start_with_a_slow_check(start_backend, checks_file, bouncer):
    slow = "-- check: slow\n-- every: 1m\n-- timeout: 5s\nSELECT 1 FROM pg_sleep(3);\n"
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), **bouncer.environment())
    backend.wait_status("healthy")
    checks_file(ONE + slow)
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: backend.events("checks reloaded"), 10, "the reload")
    return backend


@pytest.fixture
def healthy(start_backend, checks_file, bouncer):
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), HEALTH_RECONNECT_EVERY=f"{RECONNECT:.0f}s", **bouncer.environment())
    backend.wait_status("healthy")
    return backend


def connect(bouncer):
    connection = psycopg2.connect(host=bouncer.directory, port=6432, user="health_api", password=PASSWORD,
                                  dbname="knowledge", connect_timeout=5)
    connection.autocommit = True
    return connection


def test_a_frozen_server_behind_pgbouncer_is_hung(healthy, own_cluster, bouncer, fault):
    """PgBouncer still accepts each login. Each such session waits there, and uses one of max_client_conn."""
    own_cluster.signal_all(signal.SIGSTOP)
    logins = bouncer.logins()
    try:
        fault.injected()
        fault.expect(healthy, HEARTBEAT + CONNECT_TIMEOUT + LOADED, HUNG)
        connect(bouncer).close()
        hold_for(lambda: healthy.ask().status == 503, RECONNECT + 1, "503 although logins succeed")
        assert healthy.document()["failing"] == [{"check": "database", "reason": "hung"}]
        assert bouncer.logins() - logins <= 8  # one early, then one each HEALTH_RECONNECT_EVERY; max_client_conn is 20
    finally:
        own_cluster.signal_all(signal.SIGCONT)
    fault.healed(healthy, 5)


def test_a_server_that_stays_frozen_reaches_its_fall(start_backend, checks_file, own_cluster, directory, fault):
    """Each login succeeds, but none shows that the server answers."""
    with PgBouncer(os.path.join(directory, "fall"), own_cluster, "transaction") as bouncer:
        backend = start_backend(HEALTH_CHECKS=checks_file(ONE), HEALTH_INTERVAL="1s", HEALTH_FALL=3, HEALTH_STALE_AFTER="20s",
                                **bouncer.environment())
        backend.wait_status("healthy")
        own_cluster.signal_all(signal.SIGSTOP)
        try:
            fault.injected()
            fault.expect(backend, HEARTBEAT + CONNECT_TIMEOUT + 2 * 1 + LOADED, HUNG)
        finally:
            own_cluster.signal_all(signal.SIGCONT)


@contextlib.contextmanager
def frozen(cluster):
    os.kill(cluster.postmaster_pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(cluster.postmaster_pid, signal.SIGCONT)


@contextlib.contextmanager
def no_login(cluster):
    cluster.execute("ALTER ROLE health_api NOLOGIN")
    try:
        yield
    finally:
        cluster.execute("ALTER ROLE health_api LOGIN")


@pytest.mark.parametrize("fault", [frozen, no_login])
def test_a_server_that_lets_nobody_in_is_not_noticed_behind_pgbouncer(healthy, own_cluster, bouncer, fault):
    """PgBouncer answers the logins, and its server connections still work. But it closes that of a session that ends
    during a question, as ours does now and then when a new one replaces it, and then it needs another one."""
    if bouncer.pool_mode == "session":
        pytest.skip("a session that ends takes its server connection with it")

    def stays_healthy():
        closed = bouncer.closed_servers()
        with fault(own_cluster):
            hold_for(lambda: healthy.ask().status == 200 or bouncer.closed_servers() > closed,
                     RECONNECT + CONNECT_TIMEOUT + 1, "200 over a reconnect")
        healthy.wait_status("healthy", 20)
        return bouncer.closed_servers() == closed
    assert any(stays_healthy() for _ in range(5))


def test_a_paused_pgbouncer_is_hung(healthy, bouncer, fault):
    """With session pooling our session is served until it ends, and the next one waits."""
    last_session_s = RECONNECT if bouncer.pool_mode == "session" else 0
    os.kill(bouncer.child.pid, signal.SIGUSR1)  # PAUSE
    fault.injected()
    fault.expect(healthy, last_session_s + HEARTBEAT + CONNECT_TIMEOUT + LOADED, HUNG)
    hold_for(lambda: healthy.ask().status == 503, 2, "503 while it pauses")
    os.kill(bouncer.child.pid, signal.SIGUSR2)  # RESUME
    fault.healed(healthy, 5)


@pytest.fixture
def pool_taken(bouncer):
    """Another client holds the pool's only server connection for a while. With session pooling the client gets it when
    our session ends."""
    other = connect(bouncer)
    taken = threading.Event()

    def query(seconds):
        cursor = other.cursor()
        cursor.execute("SELECT 1")
        taken.set()
        cursor.execute(f"SELECT pg_sleep({seconds})")
        other.close()

    def take(seconds):
        thread = threading.Thread(target=query, args=(seconds,))
        thread.start()
        assert taken.wait(2 * RECONNECT)
        return thread
    return take


def test_a_pool_that_makes_us_wait_is_hung(healthy, pool_taken, fault):
    """The pool does no new work, even if the server is well."""
    other = pool_taken(4)
    fault.injected()
    fault.expect(healthy, HEARTBEAT + CONNECT_TIMEOUT + LOADED, HUNG)
    other.join()
    fault.healed(healthy, 2)


def test_a_pool_that_makes_us_wait_for_less_is_healthy(start_backend, checks_file, bouncer, pool_taken):
    """The wait is longer than HEALTH_HUNG_AFTER, but PgBouncer accepted a newcomer half of that time ago."""
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), HEALTH_RECONNECT_EVERY=f"{RECONNECT:.0f}s", HEALTH_HUNG_AFTER="2s",
                            HEALTH_CONNECT_TIMEOUT="4s", HEALTH_STALE_AFTER="10s", **bouncer.environment())
    backend.wait_status("healthy")
    other = pool_taken(2.3)
    hold_for(lambda: backend.ask().status == 200, 4, "200")
    other.join()


def test_a_slow_check_in_a_pool_of_one_leaves_no_connection_for_pings(start_backend, checks_file, bouncer):
    backend = start_with_a_slow_check(start_backend, checks_file, bouncer)
    backend.wait_failing(HUNG, deadline_s=4)


def test_a_slow_check_in_a_pool_of_two_is_no_outage(start_backend, checks_file, own_cluster, bouncer, directory):
    with PgBouncer(os.path.join(directory, "two"), own_cluster, bouncer.pool_mode, pool_size=2) as two:
        backend = start_with_a_slow_check(start_backend, checks_file, two)
        hold_for(lambda: backend.ask().status == 200, 4, "200 while the check runs")
        wait_until(lambda: backend.document()["counts"]["slow"] == 1, 5, "its count")
