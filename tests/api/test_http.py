"""The HTTP interface: routes, methods, headers, errors."""
import json

import pytest
from harness.cluster import FEW_EDGES, PASSWORD
from harness.fastcgi import Connection
from harness.wait import wait_until

ROUTES = ["/api/health", "/api/status", "/api/health/live"]


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_has_the_documented_headers(backend, nginx, path):
    answer = nginx.ask(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Health-Source"] == "backend"


@pytest.mark.parametrize("path", ROUTES)
def test_head_and_options_agree_with_get(backend, nginx, path):
    get, head, options = (nginx.ask(path, method) for method in ("GET", "HEAD", "OPTIONS"))
    assert get.status == head.status == options.status == 200
    assert head.body == options.body == b""
    if path != "/api/status":  # its numbers change with each request
        assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert options.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND"])
def test_other_methods_are_405_with_allow(backend, nginx, method):
    answer = nginx.ask(method=method, body=b"x" * 1000)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.body)["status"] == 405


def test_unknown_paths_are_404_and_broken_queries_400(backend, nginx):
    for path, status in (("/api/health/nothing", 404), ("/api/health/", 404), ("/api/health?%zz", 400),
                         ("/api/health?a=%00", 400), ("/api/health?a=b&t=%20", 200)):
        answer = nginx.ask(path)
        assert (path, answer.status) == (path, status)
        if status != 200:
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.headers["X-Health-Source"] == "backend"
            assert json.loads(answer.body)["status"] == status


def test_path_info_wins_when_it_is_not_empty(backend):
    assert backend.ask("/api/nothing", PATH_INFO="/api/health/live").status == 200
    assert backend.ask("/api/health", PATH_INFO="").status == 200
    assert backend.ask("/api/health", PATH_INFO="/nothing").status == 404


def test_a_503_has_retry_after(start_backend, nginx):
    backend = start_backend(PGPORT=1)
    backend.wait_failing(("database", "unreachable"))
    for path in ("/api/health", "/api/status"):
        answer = nginx.ask(path)
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "2"
        assert answer.headers["X-Health-Source"] == "backend"
    assert nginx.ask("/api/health/live").status == 200


def test_status_has_every_documented_part(backend, cluster):
    document = backend.document("/api/status")
    assert set(document) >= {"status", "database", "checks", "process", "snapshot", "transitions", "config"}
    assert set(document["database"]) >= {"server_version", "in_recovery", "connected_since", "connect_ms",
                                         "round_trip_ms", "consecutive_failures", "reconnects"}
    assert document["database"]["in_recovery"] is False
    assert document["database"]["round_trip_ms"] > 0
    edges = document["checks"]["edges"]
    assert set(edges) == {"value", "reason", "severity", "duration_ms", "checked_at", "age_ms", "period_ms",
                          "last_ok"}
    assert edges["value"] == edges["last_ok"]["value"] == FEW_EDGES
    assert set(document["process"]) == {"pid", "state", "open_fds", "max_fds", "rss_bytes", "connections",
                                        "requests_total", "draining_since", "drain_file", "drain_error"}
    assert document["process"]["pid"] == backend.pid
    assert document["process"]["connections"] == 1
    assert document["process"]["requests_total"]["/api/health"]["200"] >= 1
    assert 0 <= document["snapshot"]["age_ms"] < document["snapshot"]["stale_after_ms"] == 6000
    assert document["transitions"][0]["to"] == "healthy"
    assert document["config"]["HEALTH_INTERVAL"] == "2s"


def test_no_response_reveals_the_database(start_backend, checks_file, cluster):
    backend = start_backend(HEALTH_CHECKS=checks_file("-- check: bad\nSELECT count(*) FROM secret_table;\n"))
    backend.wait_failing(("bad", "schema"))
    for path in ROUTES:
        body = backend.ask(path).body.decode()
        # The status, for operators only, names the server.
        who = () if path == "/api/status" else ("health_api", cluster.directory)
        for word in (*who, "secret_table", "does not exist", "42P01", PASSWORD):
            assert word not in body
    assert "secret_table" in backend.log()


def test_nginx_never_sends_html_on_these_routes(backend, nginx):
    long_query = "/api/health?" + "a" * 9000
    assert nginx.ask(long_query).status == 414
    assert nginx.ask(headers={"X-Long": "a" * 40000}).status == 431
    assert nginx.ask(method="TRACE").status == 405
    for answer in (nginx.ask(long_query), nginx.ask(headers={"X-Long": "a" * 40000}), nginx.ask(method="TRACE"),
                   nginx.ask(method="POST", body=b"x" * 2000000)):
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["X-Health-Source"] == "nginx"
        assert json.loads(answer.body)["status"] == answer.status
    chunked = b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n"
    for status, raw in ((b" 400 ", b"GET /api/health HTTP/1.1\r\n\r\n"),  # no Host
                        (b" 400 ", b"POST /api/health HTTP/1.1\r\n" + chunked),
                        (b" 501 ", b"POST /api/health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
                        (b" 505 ", b"GET /api/health HTTP/3.0\r\nHost: a\r\n\r\n")):
        answer = nginx.send_raw(raw)
        assert status in answer.split(b"\r\n")[0] and b"html" not in answer and b"no-store" in answer


def test_the_rest_of_the_site_keeps_the_error_pages_of_nginx(backend, nginx):
    for status, raw in ((b" 404 ", b"GET /elsewhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                        (b" 400 ", b"GET /elsewhere HTTP/1.1\r\n\r\n"),
                        (b" 405 ", b"TRACE /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n"),
                        (b" 414 ", b"GET /elsewhere?" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")):
        answer = nginx.send_raw(raw)
        assert status in answer.split(b"\r\n")[0] and b"<html>" in answer and b"X-Health-Source" not in answer


def test_a_hung_backend_is_503_json_from_nginx(backend, nginx):
    import signal
    backend.process.send_signal(signal.SIGSTOP)
    try:
        answer = nginx.ask()
        assert answer.status == 503
        assert answer.headers["X-Health-Source"] == "nginx"
        assert json.loads(answer.body)["failing"] == [{"check": "backend", "reason": "hung"}]
    finally:
        backend.process.send_signal(signal.SIGCONT)
    wait_until(lambda: nginx.ask().status == 200, 10, "200 again")


def test_keep_alive_through_nginx_uses_few_connections(backend, nginx):
    connection = nginx.connect()
    for _ in range(200):
        connection.request("GET", "/api/health")
        assert connection.getresponse().read()
    connection.close()
    assert backend.document("/api/status")["process"]["connections"] <= 3


def test_the_same_connection_answers_many_requests(backend):
    with Connection(backend.address) as connection:
        for path in ROUTES * 20:
            assert connection.ask(path).status == 200
