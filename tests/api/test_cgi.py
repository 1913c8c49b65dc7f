"""One request as a CGI program (RFC 3875): it gets the same response as over FastCGI, from a probe of its own."""
import json
import os
import socket
import subprocess
import time

import pytest
from harness.backend import CHECKS
from harness import backend as program
from harness import process
from harness.cluster import FEW_EDGES
from harness.fastcgi import Connection, Response
from harness.wait import wait_until

HEADERS = {"Status", "Content-Type", "Content-Length", "Cache-Control", "X-Content-Type-Options", "X-Health-Source"}


@pytest.fixture
def cgi(cluster):
    """Runs one request. Returns the response and how many seconds it took."""
    def answer(path="/api/health", method="GET", arguments=(), body=b"", code=0, **settings):
        env = program.environment(**{
            **cluster.environment(), "HEALTH_CHECKS": CHECKS, "GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": method,
            "SCRIPT_NAME": path, "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1", **settings})
        began = time.monotonic()
        done = subprocess.run([program.PROGRAM, *arguments], env=env, input=body, capture_output=True, timeout=30,
                              check=False)
        assert not program.REPORTS.search(done.stderr.decode()), done.stderr.decode()
        assert done.returncode == code, done.stderr.decode()
        return Response(done.stdout, path, method), time.monotonic() - began
    return answer


@pytest.fixture
def cgi_process(cluster):
    """Starts the program with one socket as its stdin and stdout. The body is in it before. Yields the other end."""
    children = []

    def start(body=b"", **settings):
        env = program.environment(**{
            **cluster.environment(), "HEALTH_CHECKS": CHECKS, "GATEWAY_INTERFACE": "CGI/1.1",
            "SCRIPT_NAME": "/api/health", **settings})
        ours, theirs = socket.socketpair()
        ours.settimeout(15)
        ours.sendall(body)
        with theirs:
            children.append(subprocess.Popen([program.PROGRAM], env=env, stdin=theirs, stdout=theirs))
        return ours
    yield start
    for child in children:
        assert child.wait(15) == 0


@pytest.fixture
def silent(directory):
    """PGHOST of a server that accepts connections and never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/.s.PGSQL.5432")
        listener.listen(50)
        yield directory


@pytest.mark.parametrize("path", ["/api/health", "/api/status", "/api/health/live", "/api/metrics"])
def test_each_route_and_method_answers_as_over_fastcgi(cgi, backend, path):
    for method in ("GET", "HEAD", "OPTIONS", "POST"):
        answer, direct = cgi(path, method)[0], backend.ask(path, method=method)
        assert answer.status == direct.status
        assert set(answer.headers) == set(direct.headers)
        assert {name: answer.headers[name] for name in HEADERS - {"Content-Length"}} == {
            name: direct.headers[name] for name in HEADERS - {"Content-Length"}}
        assert bool(answer.body) == bool(direct.body)
        if answer.body and path != "/api/metrics":
            assert list(json.loads(answer.body)) == list(json.loads(direct.body))
        if answer.body:
            assert int(answer.headers["Content-Length"]) == len(answer.body)


def test_errors_are_the_documented_ones(cgi):
    assert cgi("/nowhere")[0].status == 404
    assert cgi(QUERY_STRING="%zz")[0].status == 400
    assert cgi(method="")[0].status == 400
    assert cgi("/api/nowhere", PATH_INFO="/api/health/live")[0].status == 200
    assert cgi("/api", PATH_INFO="/health")[0].status == 200  # ScriptAlias /api splits the path


@pytest.mark.parametrize("argument", ["--help", "--version", "--ask", "--once", "--check-config", "x", ""])
def test_a_query_that_the_server_passes_as_an_argument_is_not_an_option(cgi, argument):
    """RFC 3875, 4.4: Apache turns /api/health?--help into a command line argument."""
    answer, _ = cgi(arguments=(argument,), QUERY_STRING=argument)
    assert answer.status == 200
    assert json.loads(answer.body)["status"] == "healthy"


def test_the_response_does_not_wait_for_the_body(cgi):
    assert cgi(method="POST", body=b"x" * 100000, CONTENT_LENGTH="100000")[0].status == 405
    assert cgi(body=b"x" * 10, CONTENT_LENGTH="100000")[0].status == 200


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("length", [10, 9000, 150000])
def test_the_body_is_read_so_that_the_client_gets_no_reset(cgi_process, length, is_chunked):
    """Apache's mod_cgid uses one Unix socket. Unread data at the exit of the program would reset it. A chunked body has no
    length: Apache passes on its content, and then the end of the stream."""
    announced = {"HTTP_TRANSFER_ENCODING": "chunked"} if is_chunked else {"CONTENT_LENGTH": length}
    with cgi_process(b"x" * length, REQUEST_METHOD="POST", **announced) as server:
        if is_chunked:
            server.shutdown(socket.SHUT_WR)
        received = b""
        while more := server.recv(65536):
            received += more
        assert Response(received).status == 405


def test_the_program_gives_up_a_body_that_does_not_come(cgi_process):
    with cgi_process(CONTENT_LENGTH=100000, REQUEST_METHOD="POST") as server:
        server.sendall(b"x" * 10)
        assert Response(server.recv(65536)).status == 405
        began = time.monotonic()
        assert server.recv(1) == b""
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("length", ["", "x", "-1", "0", "99999999999999999999999"])
def test_a_strange_content_length_is_not_an_error(cgi, length):
    answer, took = cgi(path="/api/health/live", CONTENT_LENGTH=length)
    assert answer.status == 200 and took < 2


@pytest.mark.parametrize("change, reason", [({"PGPORT": "1"}, "unreachable"), ({"PGPASSWORD": "wrong"}, "access")])
def test_a_stopped_database_is_503_and_the_program_does_not_crash(cgi, change, reason):
    answer, took = cgi(**change)
    assert answer.status == 503
    assert set(answer.headers) == HEADERS | {"Retry-After"}
    document = json.loads(answer.body)
    assert document["failing"] == [{"check": "database", "reason": reason}]
    assert set(document["counts"].values()) == {None}
    assert took < 2


def test_a_silent_database_costs_the_connect_timeout(cgi, silent):
    answer, took = cgi(PGHOST=silent, HEALTH_CONNECT_TIMEOUT="300ms")
    assert (answer.status, json.loads(answer.body)["failing"][0]["reason"]) == (503, "connect_timeout")
    assert 0.3 <= took < 2.5  # a wait that ends 100 ms late restarts the limit, once


def test_a_slow_check_costs_the_timeouts_and_the_others_count(cgi, checks_file):
    path = checks_file("-- check: quick\nSELECT 7;\n-- check: slow\nSELECT 1 FROM pg_sleep(20);\n"
                       "-- check: slow_too\nSELECT 1 FROM pg_sleep(20);\n")
    answer, took = cgi(HEALTH_CHECKS=path, HEALTH_CONNECT_TIMEOUT="1s", HEALTH_QUERY_TIMEOUT="1s")
    document = json.loads(answer.body)
    assert document["counts"] == {"quick": 7, "slow": None, "slow_too": None}
    assert {entry["reason"] for entry in document["failing"]} == {"query_timeout"}
    assert took < 1 + 1 + (2 if program.SANITIZED else 1)  # plus time for a busy machine


def test_a_route_that_needs_no_database_does_not_wait_for_it(cgi, silent):
    for path, method, status in (("/api/health/live", "GET", 200), ("/nowhere", "GET", 404)):
        answer, took = cgi(path, method, PGHOST=silent, HEALTH_CONNECT_TIMEOUT="5s", HEALTH_STALE_AFTER="20s")
        assert answer.status == status
        assert took < 2


def test_it_drains_while_the_file_of_a_setting_exists(cgi, directory):
    """Without the setting there is no file, because there is no socket for it to be beside of."""
    drain = f"{directory}/drain"
    for setting in (drain, "off", None):
        assert cgi(HEALTH_DRAIN_FILE=setting)[0].status == 200
    with open(drain, "w", encoding="ascii"):
        pass
    answer, _ = cgi(HEALTH_DRAIN_FILE=drain)
    document = json.loads(answer.body)
    assert (answer.status, document["status"]) == (503, "draining")
    assert document["failing"] == [{"check": "process", "reason": "draining"}] and document["counts"]["edges"] > 0
    process_facts = json.loads(cgi("/api/status", HEALTH_DRAIN_FILE=drain)[0].body)["process"]
    assert (process_facts["state"], process_facts["drain_file"]) == ("draining", drain)
    assert process_facts["draining_since"]
    assert cgi("/api/health/live", HEALTH_DRAIN_FILE=drain)[0].status == 200
    assert cgi()[0].status == 200
    assert json.loads(cgi("/api/status")[0].body)["process"]["drain_file"] is None


def test_once_asks_about_the_database_and_not_about_the_node(cluster, directory):
    with open(f"{directory}/drain", "w", encoding="ascii"):
        pass
    done = program.run("--once", **cluster.environment(HEALTH_CHECKS=CHECKS, HEALTH_DRAIN_FILE=f"{directory}/drain"))
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "healthy")


def test_the_program_serves_a_listening_fd_0_even_with_gateway_interface_set(start_backend, directory):
    path = f"{directory}/spawned.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        backend = start_backend(wait=False, HEALTH_LISTEN=None, GATEWAY_INTERFACE="CGI/1.1", REQUEST_METHOD="GET",
                                SCRIPT_NAME="/api/health", popen={"stdin": listener})
        backend.address = path
        wait_until(backend.accepts, 10, "accepts on fd 0")
        assert backend.wait_status("healthy")["counts"]["edges"] == FEW_EDGES


def test_spawn_fcgi_can_start_it(cluster, directory):
    path = f"{directory}/spawn.sock"
    env = program.environment(**cluster.environment(), HEALTH_CHECKS=CHECKS)
    child = process.start(["/usr/bin/spawn-fcgi", "-n", "-s", path, "--", program.PROGRAM], env=env,
                          log=f"{directory}/spawn.log") if os.path.exists("/usr/bin/spawn-fcgi") else None
    if child is None:
        pytest.skip("spawn-fcgi is not installed")

    def answers():
        try:
            with Connection(path) as connection:
                return connection.ask().status == 200
        except OSError:
            return False
    try:
        wait_until(answers, 10, "answers under spawn-fcgi")
    finally:
        assert process.end(child) == 0
