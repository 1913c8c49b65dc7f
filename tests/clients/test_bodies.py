"""A body that comes slowly or in chunks: its own request gets a response, and no other client waits for it."""
import contextlib
import json
import statistics
import time

import pytest
from harness.wait import hold_for

from . import httpclient, servers
from .test_answers import each_front

BODY = b"x" * 20_000
SLOW_CLIENTS = 3


@each_front(servers.HTTP)
def test_a_body_that_stalls_for_two_seconds_harms_no_other_client(front, name):
    port = front(name).ports["up"]
    times_s = []

    def others_are_answered():
        began = time.monotonic()
        answer = kept.ask("GET", "/api/health")
        times_s.append(time.monotonic() - began)
        return answer.status == 200 and answer.headers["x-health-source"] == "backend"

    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(httpclient.Connection(port))
        slow = [stack.enter_context(httpclient.Connection(port)) for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            connection.send(httpclient.head_of("POST", "/api/health", len(BODY)) + BODY[:len(BODY) // 2])
        # The slow clients go on only after this. A client that has to wait for them fails here.
        hold_for(others_are_answered, 2, "the GETs of another client")
        if name in servers.FASTCGI:  # a CGI program has to start and to ask the database first
            assert statistics.median(times_s) < 0.5
        for connection in slow:
            if not connection.has_answer():  # else the response has come early, and the web server may have closed
                connection.send(BODY[len(BODY) // 2:])
            answer = connection.receive()
            assert (answer.status, answer.headers.get("x-health-source")) == (405, "backend"), answer


@pytest.mark.parametrize("length", [10, 9000, 60_000])
@each_front(servers.HTTP)
def test_a_chunked_body_costs_no_response(front, name, length):
    """HAProxy 2.6 itself answers 400 to a chunked body that is longer than its buffer of 64 KiB."""
    with httpclient.Connection(front(name).ports["up"]) as connection:
        for _ in range(3):
            connection.send(httpclient.head_of("POST", "/api/health", headers=[("Transfer-Encoding", "chunked")])
                            + b"%x\r\n%b\r\n0\r\n\r\n" % (length, b"x" * length))
            answer = connection.receive()
            assert (answer.status, answer.headers.get("x-health-source")) == (405, "backend"), answer
            assert json.loads(answer.body)["status"] == 405
