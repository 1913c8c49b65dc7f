"""nginx -> health-api -> PostgreSQL, end to end."""
import json

import pytest
from harness.backend import SANITIZED
from harness.cluster import FEW_COUNTS
from harness.fastcgi import Connection
from harness.wait import wait_until

NOTHING = dict.fromkeys(FEW_COUNTS)


def test_the_five_counts_arrive_through_nginx(start_backend, nginx, own_cluster):
    """Those of sql/sample.sql, as its first lines say."""
    own_cluster.execute("TRUNCATE entities RESTART IDENTITY CASCADE")
    own_cluster.load("sample.sql")
    start_backend(HEALTH_QUERY_TIMEOUT="3s", HEALTH_STALE_AFTER="10s", **own_cluster.environment()).wait_status("healthy")
    answer = nginx.ask()
    assert answer.status == 200
    document = json.loads(answer.body)
    assert list(document) == ["status", "time", "version", "uptime_seconds", "counts", "failing", "warnings"]
    assert document["status"] == "healthy"
    assert document["counts"] == {
        "hypotheses": 1171, "analyses": 398, "entities": 49251, "edges": 714201, "debates": 607}
    assert document["failing"] == [] and document["warnings"] == []


def test_a_stopped_postgresql_is_503_at_once_and_200_after_its_start(backend, nginx, cluster):
    pid = backend.pid
    cluster.stop("immediate")
    try:
        wait_until(lambda: nginx.ask().status == 503, 0.5, "503 after the stop")
        document = json.loads(nginx.ask().body)
        assert document["status"] == "degraded"
        assert [entry["check"] for entry in document["failing"]] == ["database"]
        assert document["failing"][0]["reason"] in ("unreachable", "restarting")
        assert document["counts"] == NOTHING
    finally:
        cluster.start()
    wait_until(lambda: nginx.ask().status == 200, 3, "200 after the start")
    assert json.loads(nginx.ask().body)["counts"] == FEW_COUNTS
    assert backend.pid == pid and backend.process.poll() is None


def test_a_renamed_table_makes_only_its_own_count_null(backend, nginx, cluster):
    cluster.execute("ALTER TABLE debates RENAME TO debates_away")
    try:
        document = backend.wait_failing(("debates", "schema"), deadline_s=3.5)
        assert document["counts"] == {**FEW_COUNTS, "debates": None}
        assert nginx.ask().status == 503
    finally:
        cluster.execute("ALTER TABLE debates_away RENAME TO debates")
    assert backend.wait_status("healthy")["counts"] == FEW_COUNTS


def test_a_killed_backend_is_503_json_from_nginx(backend, nginx):
    backend.process.kill()
    backend.process.wait()
    for method in ("GET", "HEAD", "POST"):
        answer = nginx.ask(method=method)
        assert answer.status == 503
        assert answer.headers["X-Health-Source"] == "nginx"
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
    assert json.loads(nginx.ask().body) == {
        "status": "degraded", "failing": [{"check": "backend", "reason": "unreachable"}]}


def test_a_terminated_session_stays_200_and_counts_as_a_reconnect(backend, cluster):
    before = backend.document("/api/status")["database"]["reconnects"]
    cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'health-api'")

    def reconnected():
        document = backend.document("/api/status")
        assert document["status"] == "healthy"
        return document["database"]["reconnects"] == before + 1
    wait_until(reconnected, 5, "one reconnect")
    assert not [line for line in backend.events("status changed") if line["to"] == "degraded"]


@pytest.mark.long
def test_ten_thousand_requests_and_a_hundred_stops_leak_nothing(backend, cluster):
    with Connection(backend.address) as connection:
        for _ in range(2000):  # the allocator reaches its steady state
            connection.ask()
    fds, rss = backend.fds_at_rest(), backend.rss_kib()
    with Connection(backend.address) as connection:
        for _ in range(10000):
            assert connection.ask().status == 200
    for _ in range(10000):
        assert backend.ask().status == 200
    for _ in range(20 if SANITIZED else 100):
        cluster.stop("immediate")
        wait_until(lambda: backend.ask().status == 503, 10, "503")
        cluster.start()
        wait_until(lambda: backend.ask().status == 200, 20, "200")
    assert backend.fds_at_rest() == fds
    if not SANITIZED:
        assert backend.rss_kib() - rss <= 1024
