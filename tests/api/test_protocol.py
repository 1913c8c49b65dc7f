"""More of the FastCGI protocol than one small request at a time: bodies, long parameters, management records, a second
request on the connection, an abort. FastCGI Specification 1.0."""
import contextlib
import json
import signal
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.fastcgi import (ABORT_REQUEST, CANT_MPX_CONN, END_REQUEST, GET_VALUES, GET_VALUES_RESULT, PARAMS,
                             REQUEST_COMPLETE, STDIN, UNKNOWN_ROLE, UNKNOWN_TYPE, Connection, begin, pairs, record,
                             request)
from harness.wait import hold_for, wait_until

PARAMS_OF_POST = pairs({"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/api/health"})
MAX_PARAMS = 65535


def head_of_post(request_id=1, keep=True):
    """All records of a request but its body."""
    return begin(request_id, keep=keep) + record(PARAMS, PARAMS_OF_POST, request_id) + record(PARAMS, b"", request_id)


def body_records(body, request_id=1):
    pieces = [body[at:at + 60000] for at in range(0, len(body), 60000)]
    return b"".join(record(STDIN, piece, request_id) for piece in pieces)


def ended(status):
    return struct.pack(">IB3x", 0, status)


@pytest.mark.parametrize("length", [1, 9000, 1 << 20])
def test_after_a_body_the_connection_takes_the_next_request(backend, length):
    """A web server that pools connections may have sent the next request already."""
    with Connection(backend.address) as connection:
        for _ in range(3):
            connection.send(head_of_post() + body_records(b"x" * length) + record(STDIN))
            assert connection.receive().status == 405
            assert connection.ask().status == 200


def test_a_body_that_looks_like_a_request_is_not_one(backend):
    with Connection(backend.address) as connection:
        connection.send(head_of_post() + body_records(request("/nowhere") * 300) + record(STDIN))
        assert connection.receive().status == 405
        assert connection.ask().status == 200
    assert "404" not in backend.document("/api/status")["process"]["requests_total"].get("other", {})


def test_a_request_is_answered_before_its_slow_body_ends_and_the_rest_is_ignored(backend):
    with Connection(backend.address) as connection:
        began = time.monotonic()
        connection.send(head_of_post() + record(STDIN, b"x" * 1000)[:500])
        assert connection.receive().status == 405
        assert 0.09 < time.monotonic() - began < 0.9
        connection.send(record(STDIN, b"x" * 1000)[500:] + record(STDIN, b"x" * 10) + record(STDIN))
        assert connection.ask().status == 200


def test_a_slow_body_without_keep_conn_can_be_sent_to_its_end(backend):
    with Connection(backend.address) as connection:
        connection.send(head_of_post(keep=False))
        assert connection.receive().status == 405
        for _ in range(50):  # raises no EPIPE and no ECONNRESET
            connection.send(record(STDIN, b"x" * 1000))
        connection.send(record(STDIN))
        assert connection.socket.recv(1) == b""


@pytest.mark.parametrize("length", [16384, 30000, 60000, MAX_PARAMS])
def test_parameters_of_up_to_64_kib_are_answered(backend, length):
    with Connection(backend.address) as connection:
        query = "x" * (length - len(pairs({"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/api/health"})) - 1 - 4 - 12)
        sent = request(query=query)
        assert struct.unpack(">H", sent[20:22])[0] == length
        connection.send(sent)
        assert connection.receive().status == 200
        assert connection.ask().status == 200


@pytest.mark.parametrize("count, size", [(1, MAX_PARAMS), (9, 8190), (100, 8190), (1, 4 << 20)])
def test_longer_parameters_are_answered_with_431(backend, count, size):
    """Apache passes on up to a hundred headers of 8190 bytes. It turns a reset into a 503, which would mean that the host
    is ill."""
    content = PARAMS_OF_POST + pairs({f"HTTP_X_{number}": "x" * size for number in range(count)})
    records = b"".join(record(PARAMS, content[at:at + 65535]) for at in range(0, len(content), 65535))
    with Connection(backend.address) as connection:
        connection.send(begin() + records + record(PARAMS) + record(STDIN, b"x") + record(STDIN))
        answer = connection.receive()
        assert answer.status == json.loads(answer.body)["status"] == 431
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert connection.ask().status == 200
    assert backend.document("/api/status")["process"]["requests_total"]["other"]["431"] == 1
    assert backend.events("requests rejected")[0]["last_reason"] == "parameters of more than 65535 bytes"


def test_rejects_are_logged_at_once_and_then_counted_once_a_minute(backend):
    for _ in range(20):
        with Connection(backend.address) as hostile:
            hostile.send(b"GET / HTTP/1.1\r\n\r\n")
            wait_until(hostile.is_closed, 2, "closed")
    lines = backend.events("requests rejected")
    assert [(line["level"], line["count"], line["last_reason"]) for line in lines] == [
        ("notice", "1", "not version 1 of the protocol")]
    backend.stop()
    assert [line["count"] for line in backend.events("requests rejected")] == ["1", "19"]


def test_get_values_returns_the_requested_values(start_backend):
    backend = start_backend(HEALTH_MAX_CONNECTIONS=77)
    asked = pairs({"FCGI_MPXS_CONNS": "", "FCGI_MAX_CONNS": "", "OTHER": "x" * 200, "FCGI_MAX_REQS": ""})
    told = pairs({"FCGI_MPXS_CONNS": "0", "FCGI_MAX_CONNS": "77", "FCGI_MAX_REQS": "77"})
    with Connection(backend.address) as connection:
        for _ in range(2):
            connection.send(record(GET_VALUES, asked, request_id=0, padding=3))
            assert connection.receive_record() == (GET_VALUES_RESULT, 0, told)
            connection.send(record(GET_VALUES, b"", request_id=0) + request("/api/health/live"))
            assert connection.receive_record() == (GET_VALUES_RESULT, 0, b"")
            assert connection.receive().status == 200


@pytest.mark.parametrize("kind", [10, 11, 12, 255])
def test_a_management_record_of_another_type_is_answered_as_unknown(backend, kind):
    with Connection(backend.address) as connection:
        connection.send(record(kind, b"x" * 1000, request_id=0))
        assert connection.receive_record() == (UNKNOWN_TYPE, 0, bytes([kind]) + b"\0" * 7)
        assert connection.ask().status == 200


def test_management_records_may_come_within_a_request(backend):
    whole = request()
    with Connection(backend.address) as connection:
        connection.send(whole[:16] + record(GET_VALUES, b"", request_id=0) + whole[16:])
        assert connection.receive_record() == (GET_VALUES_RESULT, 0, b"")
        assert connection.receive().status == 200


def test_a_second_request_at_the_same_time_is_refused(backend):
    first, second = request(request_id=1), request("/nowhere", request_id=2)
    with Connection(backend.address) as connection:
        connection.send(first[:16] + second + first[16:])
        assert connection.receive_record() == (END_REQUEST, 2, ended(CANT_MPX_CONN))
        assert connection.receive().status == 200
        assert connection.ask(request_id=2).status == 200


def test_requests_sent_at_once_are_answered_in_their_order(backend):
    with Connection(backend.address) as connection:
        connection.send(request("/api/health/live") + request("/nowhere") + request(request_id=3))
        assert [connection.receive().status for _ in range(3)] == [200, 404, 200]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("sent", [begin, head_of_post, lambda keep: head_of_post(keep=keep) + record(STDIN, b"x")])
def test_an_aborted_request_is_over(backend, sent, keep):
    with Connection(backend.address) as connection:
        connection.send(sent(keep=keep) + record(ABORT_REQUEST))
        assert connection.receive_record() == (END_REQUEST, 1, ended(REQUEST_COMPLETE))
        if keep:
            connection.send(record(ABORT_REQUEST) + record(STDIN))  # the request is over, so the program ignores this
            assert connection.ask().status == 200
        else:
            wait_until(connection.is_closed, 2, "closed")


@pytest.mark.parametrize("role", [0, 2, 3, 257])
def test_a_role_other_than_responder_is_refused(backend, role):
    with Connection(backend.address) as connection:
        connection.send(begin(role=role) + record(PARAMS) + record(STDIN))
        assert connection.receive_record() == (END_REQUEST, 1, ended(UNKNOWN_ROLE))
        assert connection.ask().status == 200


def test_records_without_a_request_are_ignored(backend):
    with Connection(backend.address) as connection:
        connection.send(b"".join(record(kind, b"x" * 100, request_id=9, padding=7) for kind in (2, 3, 4, 5, 8, 99)))
        assert connection.ask().status == 200


def test_few_connections_make_requests_wait_and_lose_none(start_backend, nginx):
    """A connection whose request has not been read yet is not idle."""
    backend = start_backend(HEALTH_MAX_CONNECTIONS=4)
    backend.wait_status("healthy")
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: nginx.ask(), range(400)))
    assert [answer.body for answer in answers if answer.headers["X-Health-Source"] != "backend"] == []
    assert {answer.status for answer in answers} == {200}


def test_busy_connections_at_the_limit_make_the_next_one_wait_and_are_logged_once(start_backend):
    backend = start_backend(HEALTH_MAX_CONNECTIONS=2)
    backend.wait_status("healthy")
    backend.process.send_signal(signal.SIGSTOP)  # so that all have come before the first is answered
    with Connection(backend.address) as one, Connection(backend.address) as other:
        for connection in (one, other):
            connection.send(head_of_post() + record(STDIN, b"x" * 10))
        with Connection(backend.address) as third:
            third.send(request())
            backend.process.send_signal(signal.SIGCONT)
            assert [connection.receive().status for connection in (one, other, third)] == [405, 405, 200]
    line, = backend.events("connection limit reached")
    assert (line["level"], line["max"]) == ("notice", "2")


@pytest.mark.parametrize("sent", [0, 20])
def test_a_client_that_has_just_connected_keeps_its_place(start_backend, sent):
    """It may have to wait for a processor before it writes the rest of its request."""
    backend = start_backend(HEALTH_MAX_CONNECTIONS=1)
    backend.fds_at_rest()  # the connection with which the harness waited for the start has ended

    def both_are_answered():
        with Connection(backend.address) as first, Connection(backend.address) as second:
            with contextlib.suppress(OSError, EOFError):
                first.send(request("/api/health/live", keep=False)[:sent])
                second.send(request("/api/health/live", keep=False))
                wait_until(lambda: first.is_closed() or backend.events("connection limit reached"), 5, "the second one waits",
                           interval_s=0.01)
                first.send(request("/api/health/live", keep=False)[sent:])
                return first.receive().status == second.receive().status == 200
            return False
    # The program waits for 100 ms. The test itself may have to wait for a processor.
    assert any(both_are_answered() for _ in range(5))


def test_a_full_program_without_a_waiting_client_logs_nothing(start_backend):
    backend = start_backend(HEALTH_MAX_CONNECTIONS=3)
    backend.wait_status("healthy")
    with Connection(backend.address) as one, Connection(backend.address) as two, Connection(backend.address) as three:
        for connection in (one, two, three):
            connection.send(head_of_post() + record(STDIN, b"x"))
        assert [connection.receive().status for connection in (one, two, three)] == [405] * 3
    assert not backend.events("connection limit reached")


def test_a_connection_with_a_late_request_makes_room_before_an_idle_one(start_backend):
    backend = start_backend(HEALTH_MAX_CONNECTIONS=2)
    backend.wait_status("healthy")
    with Connection(backend.address) as silent, Connection(backend.address) as kept:
        assert kept.ask().status == 200
        hold_for(lambda: not silent.is_closed(), 0.3, "there is room")
        with Connection(backend.address) as newcomer:
            assert newcomer.ask().status == kept.ask().status == 200
        assert silent.is_closed()


def test_an_abort_that_began_before_an_early_response_ends_no_later_request(backend):
    abort = record(ABORT_REQUEST, padding=8)
    with Connection(backend.address) as connection:
        connection.send(head_of_post() + abort[:12])
        assert connection.receive().status == 405
        connection.send(abort[12:])
        assert connection.ask().status == 200  # and not an END_REQUEST of the request that was over


def test_a_peer_that_sends_many_requests_at_once_does_not_hold_up_others(backend):
    """The loop serves other peers before it has served everything that one peer has sent."""
    def live_requests(document):
        return json.loads(document.body)["process"]["requests_total"].get("/api/health/live", {}).get("200", 0)

    def others_get_in_between():
        before = live_requests(backend.ask("/api/status"))
        with contextlib.ExitStack() as stack:
            greedy = [stack.enter_context(Connection(backend.address)) for _ in range(40)]
            polite = stack.enter_context(Connection(backend.address))
            backend.process.send_signal(signal.SIGSTOP)
            for connection in greedy:
                connection.send(request("/api/health/live") * 100)
            polite.send(request("/api/status"))
            backend.process.send_signal(signal.SIGCONT)
            polite.receive()
            return live_requests(polite.ask("/api/status")) - before < 40 * 100
    # The test's own client may have to wait for a processor.
    assert any(others_get_in_between() for _ in range(5))


def test_data_that_came_while_the_program_was_stopped_is_in_time(backend):
    """The second half of a request comes within the second. It is not the peer's fault that the program reads it later."""
    whole = request()
    for _ in range(3):
        with Connection(backend.address) as connection:
            connection.send(whole[:20])
            hold_for(lambda: backend.ask().status == 200, 0.1, "it has read the first half")  # noqa: B023
            backend.process.send_signal(signal.SIGSTOP)
            connection.send(whole[20:])
            hold_for(lambda: not connection.is_closed(), 1.2, "a stopped program closes nothing")  # noqa: B023
            backend.process.send_signal(signal.SIGCONT)
            assert connection.receive().status == 200


def test_a_request_on_an_idle_connection_is_answered_when_another_needs_room(start_backend):
    """The request and the new connection come while the program is stopped, so it sees both at once."""
    backend = start_backend(HEALTH_MAX_CONNECTIONS=2)
    backend.wait_status("healthy")
    for _ in range(20):
        with Connection(backend.address) as kept, Connection(backend.address) as idle:
            assert kept.ask().status == idle.ask().status == 200
            backend.process.send_signal(signal.SIGSTOP)
            with Connection(backend.address) as newcomer:
                newcomer.send(request())
                kept.send(request())
                backend.process.send_signal(signal.SIGCONT)
                assert kept.receive().status == newcomer.receive().status == 200


def test_a_peer_that_stops_in_the_middle_of_a_request_costs_no_processor_time(backend):
    """After half a request the peer shuts down its writing. The loop must not spin on that."""
    with Connection(backend.address) as connection:
        connection.send(head_of_post(keep=False))
        connection.socket.shutdown(1)
        hold_for(lambda: backend.ask().status == 200, 0.3, "it serves on")
        wait_until(connection.is_closed, 2, "closed")
