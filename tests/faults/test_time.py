"""Clocks that jump, a process that slept, the load on the database."""
import glob
import os
import signal
import time

import psycopg2
import pytest
from harness.backend import SANITIZED
from harness.cluster import PASSWORD
from harness.fastcgi import Connection
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
    with open(offset, "w", encoding="ascii") as file:
        file.write(jump)
    wait_until(lambda: backend.document()["time"][:10] != today, 10, "the program sees the other day")
    hold_for(lambda: backend.ask().status == 200, 5, "200 after the jump")
    assert [line["to"] for line in backend.events("status changed")] == ["healthy"]


def test_a_process_that_slept_says_stale_first(start_backend):
    """As a machine does that was suspended: longer than HEALTH_STALE_AFTER, shorter than the alarm."""
    backend = start_backend()
    backend.wait_status("healthy")
    with Connection(backend.address) as connection:
        assert connection.ask().status == 200
        backend.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped > 6.5, 10, "6.5 s have passed")
        backend.process.send_signal(signal.SIGCONT)
        backend.wait_status("healthy", 5)
    changes = [(line["to"], line["reason"]) for line in backend.events("status changed")]
    assert changes[:3] == [("healthy", "none"), ("degraded", "stale"), ("healthy", "none")]


def test_a_process_that_slept_longer_than_the_alarm_lives_on(start_backend):
    """The alarm of the dead-man's switch has run out meanwhile; its handler sees that the whole process stood still."""
    backend = start_backend()
    backend.wait_status("healthy")
    backend.process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    wait_until(lambda: time.monotonic() - stopped > 12.5, 20, "12.5 s have passed")
    backend.process.send_signal(signal.SIGCONT)
    backend.wait_status("healthy", 5)
    assert backend.process.poll() is None


def test_the_load_on_the_database_does_not_follow_the_request_rate(start_backend, own_cluster):
    backend = start_backend(**own_cluster.environment(HEALTH_INTERVAL="500ms"))
    backend.wait_status("healthy")

    def measure(busy):
        """Statements, transactions and rows read in the database over five seconds, and requests answered."""
        before, asked, began = own_cluster.work(), 0, time.monotonic()
        with Connection(backend.address) as connection:
            def turn():
                nonlocal asked
                if busy:
                    for _ in range(50):
                        asked += connection.ask().status == 200
                return True
            while time.monotonic() - began < 5:
                hold_for(turn, 0.05)
        return [after - start for after, start in zip(own_cluster.work(), before)], asked
    (idle_statements, idle_transactions, idle_rows), _ = measure(busy=False)
    (busy_statements, busy_transactions, busy_rows), asked = measure(busy=True)
    assert asked > 1000
    assert abs(idle_statements - busy_statements) <= 2 * 11  # ten rounds of eleven; one more or less at either end
    # Ten rounds of six transactions; these statistics arrive up to a second late.
    assert 40 <= idle_transactions <= 85 and 40 <= busy_transactions <= 85
    assert 0.7 <= busy_rows / idle_rows <= 1.4
    assert len(own_cluster.probes()) <= 2


def test_a_check_longer_than_its_interval_never_overlaps_itself(start_backend, own_cluster, checks_file):
    backend = start_backend(HEALTH_INTERVAL="200ms", HEALTH_RECONNECT_EVERY="1s", HEALTH_CHECKS=checks_file(
        "-- check: slow\nSELECT 1 FROM pg_sleep(0.6);\n"), **own_cluster.environment())
    backend.wait_status("healthy")

    def at_most_one():
        ((running,),) = own_cluster.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'health-api' AND state = 'active'"
            " AND query LIKE '%pg_sleep%'")
        return running <= 1
    hold_for(at_most_one, 4, "one run at a time")
    assert backend.ask().status == 200


def test_a_count_takes_one_process_of_the_server(cluster):
    plans = []
    for user in ("postgres", "health_api"):
        connection = psycopg2.connect(host=cluster.directory, dbname=cluster.database, user=user, password=PASSWORD)
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (COSTS OFF) SELECT count(*) FROM edges")
            plans.append("\n".join(line for line, in cursor))
        connection.close()
    assert "Gather" in plans[0] and "Gather" not in plans[1]
