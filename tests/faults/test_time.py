"""Clocks that jump, a process that was suspended, and the load on the database."""
import glob
import json
import os
import signal
import time

import psycopg2
import pytest
from harness import exposition
from harness.backend import SANITIZED
from harness.cluster import PASSWORD
from harness.fastcgi import Connection, request
from harness.wait import hold_for, wait_until


@pytest.mark.parametrize("jump", ["+1d", "-1d"])
def test_a_jump_of_the_wall_clock_changes_no_status(start_backend, directory, jump):
    libraries = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not libraries or SANITIZED:
        pytest.skip("needs libfaketime, and no sanitizer's runtime before it")
    offset = os.path.join(directory, "offset")
    with open(offset, "w", encoding="ascii") as file:
        file.write("+0")
    backend = start_backend(LD_PRELOAD=libraries[0], FAKETIME_TIMESTAMP_FILE=offset, FAKETIME_NO_CACHE=1,
                            FAKETIME_DONT_FAKE_MONOTONIC=1, DONT_FAKE_MONOTONIC=1)
    backend.wait_status("healthy")
    today = backend.document()["time"][:10]

    def started():
        return exposition.parse(backend.ask("/api/metrics").body.decode())["process_start_time_seconds"]
    before = started()
    with open(offset, "w", encoding="ascii") as file:
        file.write(jump)
    wait_until(lambda: backend.document()["time"][:10] != today, 10, "the program sees the other day")
    hold_for(lambda: backend.ask().status == 200, 5, "200 after the jump")
    assert [line["to"] for line in backend.events("status changed")] == ["healthy"]
    assert started() == before  # another start time would look like a restart


@pytest.mark.long
def test_a_process_that_was_suspended_first_answers_stale_and_goes_on(start_backend, own_cluster):
    """The stop is longer than HEALTH_STALE_AFTER and than the alarm of the dead-man's switch, as when a machine is
    suspended. The alarm's handler sees that the whole process did not run. Two requests wait when the process wakes: one
    on a known connection, one on a connection that it has not accepted yet. The server stands still until both are answered:
    otherwise the program may have a new result before it answers."""
    backend = start_backend(**own_cluster.environment())
    backend.wait_status("healthy")
    with Connection(backend.address) as kept, Connection(backend.address) as new:
        assert kept.ask().status == 200
        backend.process.send_signal(signal.SIGSTOP)
        hold_for(lambda: True, 30)
        kept.send(request())
        new.send(request())
        own_cluster.signal_all(signal.SIGSTOP)
        backend.process.send_signal(signal.SIGCONT)
        try:
            responses = [connection.receive() for connection in (kept, new)]
        finally:
            own_cluster.signal_all(signal.SIGCONT)
    for response in responses:
        assert response.status == 503
        assert json.loads(response.body)["failing"] == [{"check": "database", "reason": "stale"}]
    backend.wait_status("healthy", 5)
    assert backend.process.poll() is None


@pytest.mark.long
def test_a_stop_as_long_as_the_alarm_is_not_taken_for_a_stuck_loop(start_backend):
    """The alarm is due within the last second of the stop, and is delivered right after it."""
    backend = start_backend()
    backend.wait_status("healthy")
    backend.process.send_signal(signal.SIGSTOP)
    hold_for(lambda: True, 10)
    backend.process.send_signal(signal.SIGCONT)
    hold_for(lambda: backend.process.poll() is None, 3, "the process still runs")
    assert backend.ask().status == 200


class Samples:
    """Reads the sessions of health-api in pg_stat_activity again and again, over one session to another database."""

    def __init__(self, cluster):
        self.connection = cluster.connect("postgres")
        self.cursor = self.connection.cursor()
        self.connections, self.sleeping = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def take(self):
        self.cursor.execute("SELECT count(*), count(*) FILTER (WHERE state = 'active' AND query LIKE '%pg_sleep%')"
                            " FROM pg_stat_activity WHERE application_name = 'health-api'")
        connections, sleeping = self.cursor.fetchone()
        self.connections.append(connections)
        self.sleeping.append(sleeping)

    def judge_connections(self):
        """Two sessions while a newcomer logs in; none for a moment, if the old one ends before the next one begins."""
        assert max(self.connections) <= 2
        assert self.connections.count(1) >= 0.9 * len(self.connections), self.connections


def test_the_load_on_the_database_does_not_follow_the_request_rate(start_backend, own_cluster):
    backend = start_backend(**own_cluster.environment(HEALTH_INTERVAL="500ms", HEALTH_RECONNECT_EVERY="2s"))
    backend.wait_status("healthy")

    def measure(busy):
        """Returns what the database did in five seconds (statements, transactions, rows read), and the requests
        answered."""
        before, asked, began = own_cluster.work(), 0, time.monotonic()
        with Connection(backend.address) as connection, Samples(own_cluster) as samples:
            def turn():
                nonlocal asked
                samples.take()
                if busy:
                    for _ in range(50):
                        asked += connection.ask().status == 200
                return True
            while time.monotonic() - began < 5:
                hold_for(turn, 0.05)
        samples.judge_connections()
        return [after - start for after, start in zip(own_cluster.work(), before)], asked
    (idle_statements, idle_transactions, idle_rows), _ = measure(busy=False)
    (busy_statements, busy_transactions, busy_rows), asked = measure(busy=True)
    assert asked > 300
    assert abs(idle_statements - busy_statements) <= 2 * 11  # ten rounds of eleven statements, plus or minus one round at either end
    # Ten rounds of six transactions. These statistics come up to a second late, so the test sees eight to twelve.
    assert 40 <= idle_transactions <= 85 and 40 <= busy_transactions <= 85
    assert 0.6 <= busy_rows / idle_rows <= 1.6


def test_a_check_longer_than_its_interval_never_overlaps_itself(start_backend, own_cluster, checks_file):
    backend = start_backend(HEALTH_INTERVAL="200ms", HEALTH_RECONNECT_EVERY="1s", HEALTH_QUERY_TIMEOUT="3s", HEALTH_STALE_AFTER="10s",
                            HEALTH_CHECKS=checks_file("-- check: slow\nSELECT 1 FROM pg_sleep(0.6);\n"),
                            **own_cluster.environment())
    backend.wait_status("healthy")
    with Samples(own_cluster) as samples:
        hold_for(lambda: samples.take() is None, 8)
    assert max(samples.connections) <= 3  # two sessions, and one that is just ending
    assert max(samples.sleeping) == 1
    assert samples.sleeping.count(1) > 0.4 * len(samples.sleeping)  # about half of the time, so these were samples of the check
    assert backend.ask().status == 200


def test_a_count_takes_one_process_of_the_server(cluster):
    plans = []
    for user in ("postgres", "health_api"):
        connection = psycopg2.connect(host=cluster.directory, dbname=cluster.database, user=user, password=PASSWORD)
        with connection.cursor() as cursor:
            cursor.execute("SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0")
            cursor.execute("EXPLAIN (COSTS OFF) SELECT count(*) FROM edges")
            plans.append("\n".join(line for line, in cursor))
        connection.close()
    assert "Gather" in plans[0] and "Gather" not in plans[1]
