"""The production snippets in a real nginx. They work in any server block, and whatever the program does."""
import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.fastcgi import END_REQUEST, STDIN, STDOUT, record
from harness.wait import wait_until
from harness.webserver import Nginx

ROUTES = ("/api/health", "/api/health/live", "/api/status", "/api/metrics")


def down(reason):
    return {"status": "degraded", "failing": [{"check": "backend", "reason": reason}]}


def assert_nginx_says(nginx, reason, routes=ROUTES, at_once=12):
    """nginx answers in place of the backend, on each route and for each method that it has. Returns how many seconds the
    quickest answer took: the others may have waited for a processor."""
    requests = [(path, method) for path in routes for method in ("GET", "HEAD", "OPTIONS")]

    def timed(request):
        began = time.monotonic()
        return nginx.ask(*request), time.monotonic() - began
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(timed, requests))
    for (path, method), (answer, _) in zip(requests, answers):
        assert (answer.status, answer.headers["X-Health-Source"]) == (503, "nginx"), (path, method)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert re.fullmatch(r"\d+", answer.headers["Retry-After"])
        assert int(answer.headers["Content-Length"]) == len(json.dumps(down(reason), separators=(",", ":"))) + 1
        assert answer.body == b"" if method == "HEAD" else json.loads(answer.body) == down(reason), (path, method)
    return min(took for _, took in answers)


@pytest.fixture
def start_nginx(directory):
    """Starts an nginx with the shipped configuration, in which a test may replace some text of nginx.conf."""
    servers = []

    def start(*changes):
        servers.append(Nginx(directory))
        servers[-1].configure()
        for old, new in changes:
            servers[-1].change("nginx.conf", old, new)
        return servers[-1].start_configured()
    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def silent(directory):
    """A backend that accepts connections of nginx and never responds."""
    path = os.path.join(directory, "health-api.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        os.chmod(path, 0o666)
        listener.listen(64)
        listener.settimeout(10)
        yield listener


@contextlib.contextmanager
def serving(listener, serve):
    """Calls serve(connection) for each connection, and then closes it, until the block ends."""
    ended = threading.Event()
    listener.settimeout(0.1)

    def work():
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                with connection:
                    serve(connection)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)
        assert not thread.is_alive()


def error_log(directory):
    with open(os.path.join(directory, "nginx-error.log"), encoding="utf-8") as log:
        return log.read()


def test_a_503_of_the_program_passes_unchanged(start_backend, nginx):
    backend = start_backend(PGPORT=1)
    backend.wait_status("degraded")
    answer, direct = nginx.ask(), backend.ask()
    assert answer.status == direct.status == 503
    assert answer.headers["X-Health-Source"] == "backend"
    assert json.loads(answer.body)["failing"] == [{"check": "database", "reason": "unreachable"}]
    for name in ("Content-Type", "Content-Length", "Cache-Control", "X-Content-Type-Options", "Retry-After"):
        assert answer.headers[name] == direct.headers[name]
    assert "Status" not in answer.headers


def test_no_header_comes_twice_from_either_source(backend, nginx):
    def names(data):
        return [line.split(b":")[0].lower() for line in data.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    data = b"GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for source in (b"backend", b"nginx"):
        answer = nginx.send_raw(data)
        assert b"X-Health-Source: " + source in answer
        assert len(names(answer)) == len(set(names(answer))), answer
        backend.process.kill()
        backend.process.wait()


def test_a_missing_socket_is_unreachable_at_once(nginx):
    assert assert_nginx_says(nginx, "unreachable", routes=(*ROUTES, "/api/health?x=1")) < 0.9  # of the timeout, 1 s


def test_a_socket_that_nobody_listens_on_is_unreachable(nginx, directory):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.join(directory, "health-api.sock"))
        os.chmod(os.path.join(directory, "health-api.sock"), 0o666)
        assert_nginx_says(nginx, "unreachable")


def test_a_socket_that_nginx_may_not_open_is_unreachable(silent, nginx, directory):
    os.chmod(os.path.join(directory, "health-api.sock"), 0)  # this even stops the owner, because the workers are not root
    assert_nginx_says(nginx, "unreachable")
    assert "failed (13: Permission denied)" in error_log(directory)


def test_a_socket_whose_queue_is_full_is_unreachable_at_once(directory, nginx):
    """So it is when a program hangs for long: the kernel takes no more connections for it."""
    path = os.path.join(directory, "health-api.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(path)
        os.chmod(path, 0o666)
        listener.listen(0)  # one waits, no more
        waiting.connect(path)
        assert assert_nginx_says(nginx, "unreachable") < 0.9
    assert "failed (11: Resource temporarily unavailable)" in error_log(directory)


def test_a_program_that_ends_before_its_answer_is_unreachable(silent, nginx, directory):
    with serving(silent, lambda connection: None):
        assert_nginx_says(nginx, "unreachable")
    assert re.search("upstream prematurely closed connection|Connection reset by peer", error_log(directory))


def test_a_program_that_accepts_and_never_answers_is_hung_after_the_timeout(silent, nginx):
    assert 1 <= assert_nginx_says(nginx, "hung") < 1.9


def test_nginx_without_a_free_connection_reports_its_own_failure(silent, start_nginx, directory):
    """The worker has three connections: one listens, one belongs to the master, one to the client."""
    nginx = start_nginx(("worker_connections 1024;", "worker_connections 3;"))
    assert_nginx_says(nginx, "nginx", at_once=1)
    assert "3 worker_connections are not enough while connecting to upstream" in error_log(directory)


def test_nginx_with_a_failed_auth_request_reports_its_own_failure(silent, start_nginx, directory):
    """This concerns only the routes of operators: the public ones make no auth_request."""
    nginx = start_nginx(("    server {\n", "    server {\n"
                         "        auth_request /auth;\n"
                         "        location = /auth { internal; proxy_pass http://127.0.0.1:1; }\n"))
    assert_nginx_says(nginx, "nginx", routes=["/api/status", "/api/metrics"])
    assert "auth request unexpected status: 502" in error_log(directory)


def test_an_unlinked_socket_is_503_on_new_connections_until_a_restart(start_backend, nginx):
    first = start_backend()
    first.wait_status("healthy")
    os.unlink(first.socket)
    assert nginx.ask().headers["X-Health-Source"] == "nginx"
    second = start_backend()
    second.wait_status("healthy")
    assert nginx.ask().status == 200
    first.stop()
    assert nginx.ask().status == 200  # the first program did not remove the second one's socket


def test_a_stopped_program_is_503_within_the_timeouts_for_each_of_many(backend, nginx):
    backend.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        connections = [nginx.connect() for _ in range(20)]
        for connection in connections:
            connection.request("GET", "/api/health")
        answers = [connection.getresponse() for connection in connections]
        assert {(answer.status, answer.headers["X-Health-Source"]) for answer in answers} == {(503, "nginx")}
        assert all(json.loads(answer.read()) == down("hung") for answer in answers)
        assert time.monotonic() - began < 3
        for connection in connections:
            connection.close()
    finally:
        backend.process.send_signal(signal.SIGCONT)
    wait_until(lambda: nginx.ask().status == 200, 3, "200 as soon as it runs again")


def test_a_connection_limit_of_the_site_causes_no_429_while_the_program_hangs(silent, start_nginx):
    """limit_conn of a server counts all hanging requests of an address, and those of a load balancer come from one
    address."""
    nginx = start_nginx(("    server {\n", "    limit_conn_zone $binary_remote_addr zone=site:1m;\n    server {\n"
                         "        limit_conn site 1;\n"
                         "        location = /slow { fastcgi_pass health_api; }\n"))
    slow = nginx.connect()
    slow.request("GET", "/slow")
    hanging, _ = silent.accept()
    with hanging:
        assert nginx.ask("/slow").status == 503  # the site's limit has an effect
        assert_nginx_says(nginx, "hung")
        os.unlink(silent.getsockname())
        assert_nginx_says(nginx, "unreachable")
    slow.close()


def test_visitors_do_not_push_the_checks_of_a_load_balancer_into_429(backend, nginx):
    """Visitors may share the load balancer's address, and that may be a public one. The load balancer takes a 429 for a
    failure of the machine. While the program hangs each request waits, so a limit on requests under way would count more
    and more of them."""
    visitor = {"headers": {"X-Forwarded-For": "192.0.2.1"}}
    assert {nginx.ask(path, **visitor).status for path in ("/api/health", "/api/health/live") * 100} == {200}
    backend.process.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(lambda _: nginx.ask(**visitor), range(100)))
        assert {answer.status for answer in answers} == {503}
    finally:
        backend.process.send_signal(signal.SIGCONT)


def test_a_restart_of_the_program_loses_no_request_after_it(start_backend, nginx):
    """nginx must not send a request into a kept connection that the old process has closed."""
    for _ in range(5):
        backend = start_backend()
        backend.wait_status("healthy")
        connection = nginx.connect()
        for _ in range(10):
            connection.request("GET", "/api/health")
            answer = connection.getresponse()
            answer.read()
            assert (answer.status, answer.headers["X-Health-Source"]) == (200, "backend")
        connection.close()
        assert backend.stop() == 0


@pytest.mark.parametrize("after_s, expected", [(0, ("backend", 2)), (0.5, ("nginx", 1))])
def test_a_request_that_meets_the_end_of_a_kept_connection_is_sent_again_but_not_late(silent, nginx, after_s, expected):
    """nginx cannot know that the program is about to end. The next program must get the request, not the client a 503. A
    second attempt that began later than after 200 ms would make the client wait for two seconds."""
    alive = (b"Content-Type: application/json\r\nX-Health-Source: backend\r\n\r\n"
             b'{"status":"alive","version":"0.3.0","uptime_seconds":1}\n')
    made = []

    def receive(connection):
        request = b""
        while not request.endswith(record(STDIN)):
            request += connection.recv(65536)

    def serve(connection):
        made.append(connection)
        receive(connection)
        connection.sendall(record(STDOUT, alive) + record(STDOUT) + record(END_REQUEST, bytes(8)))
        if len(made) == 1:
            receive(connection)
            time.sleep(after_s)

    def who_answers_over_how_many():
        """The second request comes over the kept connection of the first, which then ends without an answer."""
        made.clear()
        assert nginx.ask("/api/health/live").headers["X-Health-Source"] == "backend"
        return nginx.ask("/api/health/live").headers["X-Health-Source"], len(made)
    with serving(silent, serve):
        # The peer itself may have to wait for a processor for longer than 200 ms.
        assert any(who_answers_over_how_many() == expected for _ in range(5))


def test_many_failures_do_not_make_nginx_skip_the_program(start_backend, nginx):
    for _ in range(30):
        assert nginx.ask().status == 503
    backend = start_backend()
    backend.wait_status("healthy")
    assert nginx.ask().status == 200


def test_the_access_log_has_no_line_for_a_probe_that_went_well(start_backend, nginx, directory):
    backend = start_backend()
    backend.wait_status("healthy")
    for path in ROUTES:
        assert nginx.ask(path).status == 200
    assert nginx.ask("/api/health/nowhere").status == 404
    path = f"{directory}/nginx-access.log"
    wait_until(lambda: os.path.exists(path) and os.path.getsize(path), 5, "a line in the access log")
    with open(path, encoding="ascii") as log:
        lines = log.read().splitlines()
    assert len(lines) == 1 and " 404 " in lines[0]


def test_nginx_sends_only_what_the_program_reads(backend, nginx):
    """A request with 30 KiB of headers and a body is twice what the program takes. nginx passes it on as a small one."""
    headers = {f"X-Padding-{number}": "x" * 4000 for number in range(7)}
    assert nginx.ask(headers={**headers, "Cookie": "a=" + "b" * 2000}).status == 200
    assert nginx.ask(body=b"x" * 8000).status == 200


def test_the_rest_of_the_site_is_not_touched(backend, nginx):
    for path in ("/api", "/api/", "/api/healthy", "/api/status/x", "/api/metrics/", "/metrics"):
        answer = nginx.ask(path)
        assert answer.status == 404 and b"<html" in answer.body
        assert answer.headers.get("X-Health-Source") is None


def test_paths_that_nginx_normalises_reach_the_same_routes(backend, nginx):
    for path in ("/api/./health", "//api//health", "/api/x/../health", "/api/%68ealth"):
        assert nginx.ask(path).status == 200
    for path in ("/api/health/%00", "/api/health/%zz", "/api/health/%ff", "/api/health/a%20b"):
        answer = nginx.ask(path)
        assert answer.status in (400, 404)
        assert answer.headers["Content-Type"] in ("application/problem+json", "application/json"), (path, answer.body)


def test_old_and_odd_http_is_answered_in_json(backend, nginx):
    old = nginx.send_raw(b"GET /api/health HTTP/1.0\r\n\r\n")
    assert old.startswith(b"HTTP/1.1 200 ") and b"X-Health-Source: backend" in old
    for data in (b"GET /api/health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
                 b"GET /api/health HTTP/1.1\r\nHost: x\r\nIf-Match: \"x\"\r\nRange: bytes=5-\r\n"
                 b"Connection: close\r\n\r\n",
                 b"GET /api/health HTTP/1.1\r\nHost: x\r\nExpect: x\r\nConnection: close\r\n\r\n",
                 b"GET http://y/api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                 b"GET /api/health HTTP/1.1\r\nHost: x y\r\n\r\n",
                 b"get /api/health HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"GET /api/health HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"):
        answer = nginx.send_raw(data)
        assert b"<html" not in answer.lower(), (data, answer)


@pytest.mark.parametrize("line, status", [(b"GET /api/health HTTP/9.9\r\nHost: x", 505),
                                          (b"GET /api/health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x", 501)])
def test_a_version_or_a_coding_that_nginx_does_not_know_is_refused_in_json(backend, nginx, line, status):
    answer = nginx.send_raw(line + b"\r\nConnection: close\r\n\r\n")
    assert f" {status} ".encode() in answer.split(b"\r\n")[0]
    assert b"<html" not in answer.lower()
    assert b"Content-Type: application/problem+json" in answer
