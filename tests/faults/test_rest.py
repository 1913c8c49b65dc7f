"""What a server notices of health-api while everything works; docs/postgresql.md explains it."""
import os
import re
import statistics

import pytest
from harness.backend import SANITIZED
from harness.wait import hold_for, wait_until

pytestmark = pytest.mark.skipif(SANITIZED, reason="is about what the server notices")

ONE = "-- check: debates\nSELECT count(*) FROM debates;\n"
QUIET = {"HEALTH_HEARTBEAT": "0s", "HEALTH_INTERVAL": "5m", "HEALTH_STALE_AFTER": "10m", "HEALTH_RECONNECT_EVERY": "1h"}


def sessions(cluster):
    """The sessions of health-api, and since when each is idle."""
    return cluster.execute("SELECT pid, state_change FROM pg_stat_activity WHERE application_name = 'health-api'")


def test_the_server_sees_heartbeats_as_activity(start_backend, checks_file, own_cluster):
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), **own_cluster.environment(HEALTH_INTERVAL="5m",
                            HEALTH_STALE_AFTER="10m", HEALTH_RECONNECT_EVERY="1h"))
    backend.wait_status("healthy")
    for _ in range(3):
        seen = sessions(own_cluster)
        wait_until(lambda seen=seen: sessions(own_cluster) != seen, 1.5, "a ping")


def test_without_heartbeats_nothing_happens_between_two_intervals(start_backend, checks_file, own_cluster):
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), **own_cluster.environment(**QUIET))
    backend.wait_status("healthy")
    hold_for(lambda: True, 0.5)  # until the questions of the start are over
    seen = sessions(own_cluster)
    assert len(seen) == 1
    hold_for(lambda: sessions(own_cluster) == seen, 4, "an idle session")
    assert backend.ask().status == 200


def test_a_login_follows_at_once_when_the_server_ends_the_session(start_backend, checks_file, own_cluster):
    """So health-api wakes a server that goes to sleep when it is idle."""
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), **own_cluster.environment(**QUIET))
    backend.wait_status("healthy")
    (before,) = own_cluster.probes()
    own_cluster.terminate_probes()
    wait_until(lambda: set(own_cluster.probes()) - {before}, 2, "another session")


def test_the_server_logs_three_lines_for_a_login_and_one_for_its_end(start_backend, checks_file, own_cluster):
    for name, value in (("log_connections", "on"), ("log_disconnections", "on"), ("log_statement", "'none'")):
        own_cluster.execute(f"ALTER SYSTEM SET {name} = {value}")
    own_cluster.execute("SELECT pg_reload_conf()")
    per_login = 3 if own_cluster.major_version >= 14 else 2  # 14 and later also log the authentication
    hold_for(lambda: True, 0.5)  # until the last of these lines is written
    begin = os.path.getsize(own_cluster.log)
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), HEALTH_INTERVAL="300ms",
                            **own_cluster.environment(HEALTH_RECONNECT_EVERY="500ms"))
    backend.wait_status("healthy")

    def lines_of_ended_sessions():
        """How many lines each session has that has ended."""
        assert backend.ask().status == 200
        with open(own_cluster.log, encoding="utf-8") as log:
            log.seek(begin)
            lines = log.read().rpartition("\n")[0].splitlines()
        pids = [re.search(r"\[(\d+)\]", line)[1] for line in lines if "disconnection" in line and "user=health_api" in line]
        return [sum(f"[{pid}]" in line for line in lines) for pid in pids]
    counts = wait_until(lambda: len(found := lines_of_ended_sessions()) >= 6 and found, 20, "six sessions have ended")
    # A session that ends while the server answers its ping has more: the server cannot send that.
    assert statistics.median(counts) == per_login + 1, counts
