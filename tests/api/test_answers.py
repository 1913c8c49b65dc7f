"""Every response in full: the exact headers, the exact keys, the same status for each method. The tests send raw FastCGI
to a healthy and to a degraded program."""
import json
import re
import tempfile
import time

import pytest
from harness.backend import CHECKS
from harness.backend import Backend
from harness.fastcgi import STDOUT, Connection, request
from harness.wait import hold_for, wait_until

ROUTES = ["/api/health", "/api/status", "/api/health/live", "/api/metrics"]
ALWAYS_200 = ("/api/health/live", "/api/metrics")
COMMON = {"Status", "Content-Type", "Content-Length", "Cache-Control", "X-Content-Type-Options", "X-Health-Source"}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOWHERE = {"PGHOST": "/nowhere/at-all", "PGUSER": "mallory", "PGDATABASE": "hidden_db", "PGPASSWORD": "hunter2!"}


@pytest.fixture(scope="module", params=["healthy", "degraded"])
def either(request, base, cluster):
    """A program in each of the two states, with the status that its responses must have. The tests only send it requests."""
    directory = tempfile.mkdtemp(dir=base)
    connection = NOWHERE if request.param == "degraded" else {}
    backend = Backend(directory, HEALTH_CHECKS=CHECKS, **{**cluster.environment(), **connection})
    backend.start()
    backend.expected = 200 if request.param == "healthy" else 503
    try:
        backend.wait_status(request.param)
        yield backend
    finally:
        assert backend.stop() == 0


def expected_status(backend, path):
    return 200 if path in ALWAYS_200 else backend.expected


@pytest.mark.parametrize("path", ROUTES)
def test_get_head_and_options_have_the_same_status_in_either_state(either, path):
    answers = {method: either.ask(path, method=method) for method in ("GET", "HEAD", "OPTIONS")}
    assert {answer.status for answer in answers.values()} == {expected_status(either, path)}
    assert answers["HEAD"].body == answers["OPTIONS"].body == b""
    assert answers["OPTIONS"].headers["Content-Length"] == "0"
    assert answers["OPTIONS"].headers["Allow"] == "GET, HEAD, OPTIONS"
    assert "Allow" not in answers["GET"].headers


@pytest.mark.parametrize("path", ROUTES)
def test_head_has_the_content_length_of_get(either, path):
    def same():  # a number in the document may get another digit between the two requests
        get, head = either.ask(path), either.ask(path, method="HEAD")
        assert int(get.headers["Content-Length"]) == len(get.body)
        return head.headers["Content-Length"] == get.headers["Content-Length"]
    wait_until(same, 5, "HEAD and GET name the same length")


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_the_headers_are_the_documented_ones_and_no_others(either, path, method):
    answer = either.ask(path, method=method)
    expected = COMMON | ({"Retry-After"} if answer.status == 503 else set())
    assert set(answer.headers) == expected | ({"Allow"} if method == "OPTIONS" else set())
    assert answer.headers["Content-Type"] == ("text/plain; version=0.0.4; charset=utf-8" if path == "/api/metrics"
                                              else "application/json")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Health-Source"] == "backend"
    assert re.fullmatch(r"[1-9]\d*", answer.headers.get("Retry-After", "1"))


def test_no_header_comes_twice_and_the_status_comes_first(either):
    for method in ("GET", "HEAD", "OPTIONS", "POST"):
        with Connection(either.address) as connection:
            connection.send(request("/api/health", method=method, keep=False))
            raw = b""
            while more := connection.socket.recv(65536):
                raw += more
        assert raw[1] == STDOUT
        head = raw[8:].split(b"\r\n\r\n")[0].decode("ascii")
        names = [line.split(":")[0].lower() for line in head.split("\r\n")]
        assert names[0] == "status"
        assert len(names) == len(set(names)), head


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "GETS", "G", "HEAD "])
def test_any_other_method_is_405_problem_json_with_allow(either, method):
    for path in ROUTES:
        answer = either.ask(path, method=method)
        assert answer.status == 405
        assert set(answer.headers) == COMMON | {"Allow"}
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
        assert_is_problem(answer, 405)


def assert_is_problem(answer, status):
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    problem = json.loads(answer.body)
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status


@pytest.mark.parametrize("path", [
    "", "*", "/", "/api", "/api/", "/api/health/", "/api/healthz", "/api/health/live/", "/API/HEALTH", "/metrics", "/api/metrics/",
    "/api/health/../status", "//api/health", "/api/health%2Flive", "x" * 4000])
def test_any_other_path_is_404_problem_json(either, path):
    for method in ("GET", "POST", "OPTIONS"):
        answer = either.ask(path, method=method)
        assert answer.status == 404
        assert set(answer.headers) == COMMON
        assert_is_problem(answer, 404)
    answer = either.ask(path, method="HEAD")
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("query", [
    "%", "%z", "%zz", "a=%4", "a=%0a", "a=%0D%0aSet-Cookie:x", "a=%00", "a=%7f", "a=\x01",
    "a=\n", "a=\t", "a= b", "a=\x7f", "a=\xe9", "%%", "a=%4g"])
def test_a_malformed_query_is_400_problem_json(either, query):
    for path in ROUTES:
        answer = either.ask(path, query=query)
        assert answer.status == 400
        assert set(answer.headers) == COMMON
        assert_is_problem(answer, 400)


@pytest.mark.parametrize("query", [
    "", "a", "a=b", "a=b&c=d", "t=1700000000", "a=%20b", "a=%C3%A9", "?", "/", "&&", "=", "a=b+c;d",
    "a=%25zz", "x" * 2000])
def test_a_harmless_query_changes_nothing(either, query):
    for path in ROUTES:
        assert either.ask(path, query=query).status == expected_status(either, path)


@pytest.mark.parametrize("path, query, status", [("/nowhere", "", 404), ("/api/health", "%zz", 400)])
def test_head_of_an_error_has_its_length_and_no_body(either, path, query, status):
    get, head = (either.ask(path, method=method, query=query) for method in ("GET", "HEAD"))
    assert get.status == head.status == status
    assert head.body == b""
    assert head.headers == get.headers


def test_the_health_document_has_these_keys_and_kinds(either):
    document = either.document()
    assert list(document) == ["status", "time", "version", "uptime_seconds", "counts", "failing", "warnings"]
    assert ISO.fullmatch(document["time"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", document["version"])
    assert isinstance(document["uptime_seconds"], int)
    assert list(document["counts"]) == ["hypotheses", "analyses", "entities", "edges", "debates"]
    healthy = either.expected == 200
    assert all(isinstance(count, int if healthy else type(None)) for count in document["counts"].values())
    assert document["failing"] == ([] if healthy else [{"check": "database", "reason": "unreachable"}])
    assert document["warnings"] == []


def test_the_live_document_is_alive_in_either_state(either):
    document = either.document("/api/health/live")
    assert list(document) == ["status", "version", "uptime_seconds"]
    assert document["status"] == "alive"


def test_the_status_document_adds_these_keys(either):
    document = either.document("/api/status")
    health = ["status", "time", "version", "uptime_seconds", "counts", "failing", "warnings"]
    assert list(document) == health + ["database", "checks", "process", "snapshot", "transitions", "config"]
    assert set(document["database"]) == {"reason", "server_version", "in_recovery", "connected_since", "connect_ms",
                                         "round_trip_ms", "consecutive_failures", "reconnects", "evidence", "server",
                                         "addresses", "resolver"}
    assert set(document["checks"]) == set(document["counts"])
    for check in document["checks"].values():
        assert set(check) == {"value", "reason", "severity", "duration_ms", "checked_at", "age_ms", "period_ms",
                              "last_ok"}
    assert set(document["process"]) == {"pid", "state", "draining_since", "drain_file", "drain_error",
                                        "open_fds", "max_fds", "rss_bytes", "connections", "requests_total"}
    assert set(document["snapshot"]) == {"age_ms", "stale_after_ms"}
    for transition in document["transitions"]:
        assert set(transition) == {"time", "from", "to", "check", "reason"}
        assert ISO.fullmatch(transition["time"])


def test_time_is_the_time_of_the_snapshot_and_not_of_the_request(start_backend):
    backend = start_backend(HEALTH_INTERVAL="1h", HEALTH_STALE_AFTER="3h", HEALTH_RECONNECT_EVERY="3h", HEALTH_HEARTBEAT="0s")
    first = backend.wait_status("healthy")["time"]
    wait_until(lambda: backend.document("/api/status")["snapshot"]["age_ms"] > 500, 5, "the snapshot gets older")
    assert backend.document()["time"] == first


def test_time_moves_on_with_each_interval(start_backend):
    backend = start_backend(HEALTH_INTERVAL="200ms")
    first = backend.wait_status("healthy")["time"]
    wait_until(lambda: backend.document()["time"] > first, 3, "a newer snapshot")


def test_the_uptime_counts_seconds(backend):
    began = time.monotonic()
    first = backend.document("/api/health/live")["uptime_seconds"]
    wait_until(lambda: backend.document("/api/health/live")["uptime_seconds"] >= first + 2, 5, "two seconds more")
    assert backend.document()["uptime_seconds"] - first < time.monotonic() - began + 1


def test_a_failed_login_reveals_neither_host_nor_user(start_backend):
    backend = start_backend(**NOWHERE)
    backend.wait_status("degraded")
    for path in [*ROUTES, "/nowhere/at-all", "/api/health?%zz"]:
        for method in ("GET", "HEAD", "OPTIONS", "POST"):
            answer = backend.ask(path.split("?")[0], method=method, query=path.partition("?")[2])
            text = answer.body.decode() + str(answer.headers)
            # The status, for operators only, shows the addresses of the next login.
            where = () if path == "/api/status" else (NOWHERE["PGHOST"], "at-all")
            who = (value for name, value in NOWHERE.items() if name != "PGHOST")
            for word in (*where, *who, "No such file", "server on socket"):
                assert word not in text
    assert "/nowhere/at-all" in backend.log()
    assert "hunter2!" not in backend.log()


@pytest.mark.parametrize("change, reason", [({"PGPASSWORD": "wrong"}, "access"), ({"PGUSER": "nobody_knows"}, "access"),
                                            ({"PGDATABASE": "nowhere"}, "access"), ({"PGPORT": "1"}, "unreachable"),
                                            ({"PGHOST": "/no/such"}, "unreachable"),
                                            ({"PGHOST": "no-such-host.invalid"}, "unreachable")])
def test_a_login_that_always_fails_has_its_reason_and_leaks_nothing(start_backend, change, reason):
    backend = start_backend(HEALTH_INTERVAL="200ms", **change)
    document = backend.wait_failing(("database", reason))
    assert set(document["counts"].values()) == {None}
    fds = backend.fds()

    def failures():
        return backend.document("/api/status")["database"]["consecutive_failures"]
    attempts = 2 if "PGPASSWORD" in change or "PGUSER" in change else 3  # a refused role has to wait for 10 s
    wait_until(lambda: failures() >= attempts, 15, "some attempts")
    wait_until(lambda: backend.fds() <= fds + 1, 3, f"{fds} descriptors as before")
    for word in ("nobody_knows", "nowhere", "no-such-host", "wrong"):
        assert word not in json.dumps(backend.document())
    for word in ("nobody_knows", "nowhere", "wrong"):
        assert word not in json.dumps(backend.document("/api/status"))


def test_a_failure_and_a_recovery_are_two_transitions_with_the_newest_first(start_backend, cluster, checks_file):
    backend = start_backend(HEALTH_INTERVAL="200ms", HEALTH_CHECKS=checks_file(
        "-- check: later\nSELECT count(*) FROM not_yet;\n"))
    backend.wait_failing(("later", "schema"))
    cluster.execute("CREATE TABLE not_yet (i int); GRANT SELECT ON not_yet TO health_api")
    try:
        backend.wait_status("healthy")
        document = backend.document("/api/status")
        told = [(entry["from"], entry["to"], entry["check"], entry["reason"]) for entry in document["transitions"]]
        assert told == [("degraded", "healthy", None, None), ("starting", "degraded", "later", "schema")]
        assert document["transitions"][0]["time"] >= document["transitions"][1]["time"]
        assert document["checks"]["later"]["last_ok"]["value"] == 0
    finally:
        cluster.execute("DROP TABLE not_yet")
    backend.wait_failing(("later", "schema"))
    check = backend.document("/api/status")["checks"]["later"]
    assert check["value"] is None and check["reason"] == "schema"
    assert check["last_ok"]["value"] == 0 and ISO.fullmatch(check["last_ok"]["time"])


def test_requests_are_counted_by_route_and_code(backend):
    for path, kwargs in [("/api/health/live", {}), ("/api/health/live", {"method": "HEAD"}),
                         ("/api/health/live", {"method": "POST"}), ("/api/health/live", {"query": "%"}),
                         ("/nowhere", {}), ("/elsewhere", {"method": "DELETE"})]:
        backend.ask(path, **kwargs)
    totals = backend.document("/api/status")["process"]["requests_total"]
    assert totals["/api/health/live"] == {"200": 2, "400": 1, "405": 1}
    assert totals["other"] == {"404": 2}


def test_the_process_numbers_agree_with_the_kernel(start_backend):
    backend = start_backend()
    backend.wait_status("healthy")
    with open(f"/proc/{backend.pid}/limits", encoding="ascii") as limits:
        limit = int(re.search(r"Max open files\s+(\d+)", limits.read()).group(1))

    def agree():
        process = backend.document("/api/status")["process"]
        assert process["max_fds"] == limit
        assert process["state"] == "serving"
        # the program counts once a second, and the connection of this request comes and goes
        return abs(process["open_fds"] - backend.fds()) <= 2 and abs(
            process["rss_bytes"] - backend.rss_kib() * 1024) < 2 << 20
    wait_until(agree, 5, "the numbers agree with /proc")


def test_connections_are_counted(backend):
    held = [Connection(backend.address) for _ in range(5)]
    for connection in held:
        connection.ask("/api/health/live")
    assert backend.document("/api/status")["process"]["connections"] == 6
    for connection in held:
        connection.__exit__()
    wait_until(lambda: backend.document("/api/status")["process"]["connections"] == 1, 5, "only the asking one")


def test_descriptors_and_connections_are_counted_at_the_same_moment(start_backend):
    backend = start_backend(HEALTH_RECONNECT_EVERY="1h")

    def others():
        process = backend.document("/api/status")["process"]
        return process["open_fds"] - process["connections"]
    wait_until(lambda: backend.document()["uptime_seconds"] >= 2, 10, "a tick that has counted all that it opens")
    before = others()
    connections = [Connection(backend.address) for _ in range(20)]
    for connection in connections:
        connection.ask()
        assert others() == before
    for connection in connections:
        connection.__exit__()
        assert others() == before


def test_a_healthy_service_stays_healthy_through_new_sessions(start_backend):
    backend = start_backend(HEALTH_INTERVAL="100ms", HEALTH_RECONNECT_EVERY="100ms")
    backend.wait_status("healthy")
    hold_for(lambda: backend.ask().status == 200, 2, "200 all the time")
    assert not [line for line in backend.events("status changed") if line["to"] == "degraded"]
