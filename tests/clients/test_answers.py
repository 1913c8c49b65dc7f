"""Each route, method and body through each web server: clients get the program's own response, whatever the database
does."""
import json

import pytest
from harness import contract, exposition

from . import servers

FOLLOWS_DATABASE = ("/api/health", "/api/health?only=database", "/api/status")
ROUTES = (*FOLLOWS_DATABASE, "/api/health?only=process", "/api/health/live", "/api/metrics")
BODIES = {"small": b"name=value", "9000 bytes": b"x" * 9000, "200 KB": b"x" * 200_000}
REQUESTS = [("GET", b""), ("HEAD", b""), ("OPTIONS", b""), *(("POST", body) for body in BODIES.values())]


def each_front(names=servers.ALL):
    """Each web server starts once: one process runs all of its tests."""
    return pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names])


def expected_status(state, route, method):
    if method == "POST":
        return 405
    return 503 if state == "down" and route in FOLLOWS_DATABASE else 200


def faults_of(answer, method, status):
    """What is wrong with the response."""
    if answer.status != status:
        yield f"{answer.status} instead of {status}: {answer.body[:100]!r}"
    elif answer.headers.get("x-health-source") != "backend" or answer.headers.get("cache-control") != "no-store":
        yield f"not the program's headers: {answer.headers}"
    elif method in ("HEAD", "OPTIONS"):
        if answer.body:
            yield f"a body: {answer.body[:100]!r}"
    elif answer.headers.get("content-type") == contract.CONTENT_TYPES["metrics"]:
        yield from exposition.faults_of(answer.body.decode(), contract.words_of_labels())
    elif "status" not in json.loads(answer.body):
        yield f"not the program's JSON: {answer.body[:100]!r}"


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("state", ["up", "down"])
@each_front()
def test_each_method_gets_the_answer_of_the_program(front, name, state, route):
    faults = []
    for method, body in REQUESTS:
        try:
            answer = front(name).ask_site(state, method, route, body)
            faults += [f"{method} {len(body)}: {fault}" for fault in
                       faults_of(answer, method, expected_status(state, route, method))]
        except (OSError, EOFError, ValueError) as error:
            faults.append(f"{method} {len(body)}: {error!r}")
    assert not faults, "\n".join(faults)


@each_front()
def test_no_header_makes_a_client_an_operator(front, name):
    server = front(name)
    for headers in ((), (("AUDIENCE", "operator"),), (("Audience", "operator"), ("audience", "operator")),
                    (("Proxy-Audience", "operator"), ("Http-Audience", "operator"), ("X-Audience", "operator"))):
        answer = server.ask_site("bare", "GET", "/api/health?AUDIENCE=operator", headers=headers)
        assert (answer.status, answer.body) == (200, b'{"status":"healthy"}\n'), headers
        answer = server.ask_site("bare", "GET", "/api/health?only=edges", headers=headers)
        assert answer.status == 404, headers
