"""FastCGI peers that misbehave: the program closes their connection, and the others do not notice."""
import statistics
import struct
import time

import pytest
from harness.fastcgi import BEGIN_REQUEST, GET_VALUES, PARAMS, STDIN, Connection, begin, pairs, record, request
from harness.wait import wait_until

GOOD_PARAMS = pairs({"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/api/health"})


def test_half_requests_on_fifty_connections_delay_no_other_and_are_dropped_after_a_second(backend):
    half = [Connection(backend.address) for _ in range(50)]
    began = time.monotonic()
    for connection in half:
        connection.send(request()[:30])
    took = []
    while time.monotonic() - began < 0.5:
        asked = time.monotonic()
        assert backend.ask().status == 200
        took.append(time.monotonic() - asked)
    assert statistics.median(took) < 0.1  # a program that waits for one of them would need up to a second
    closed = any(connection.is_closed() for connection in half)
    assert not closed or time.monotonic() - began > 0.9
    wait_until(lambda: all(connection.is_closed() for connection in half), 3, "every half request is dropped")
    assert 0.9 < time.monotonic() - began < 3


@pytest.mark.parametrize("data", [
    b"GET / HTTP/1.1\r\n\r\n",
    record(BEGIN_REQUEST, struct.pack(">HB5x", 1, 1), version=2),
    begin(request_id=0),
    record(GET_VALUES, b"x" * 2000, request_id=0),
    record(GET_VALUES, b"\x04\x7fNAME", request_id=0),
    begin() + begin(),
    begin() + record(99, b"x"),
    begin() + record(STDIN),
    begin() + record(PARAMS, b"\xff\xff\xff\xff\xff\xff\xff\xff") + record(PARAMS),
    begin() + record(PARAMS, b"\x04\x7fNAME") + record(PARAMS) + record(STDIN),
    begin() + record(PARAMS, GOOD_PARAMS) + record(PARAMS) + record(PARAMS),
    record(BEGIN_REQUEST, b"\0\1\0"),
], ids=["http", "version", "id_zero", "long_values", "values_past_the_end", "two_begins", "unknown_type", "no_params",
        "huge_length", "pair_past_the_end", "params_twice", "short_begin"])
def test_a_malformed_record_closes_only_its_connection(backend, data):
    with Connection(backend.address) as bystander, Connection(backend.address) as hostile:
        assert bystander.ask().status == 200
        hostile.send(data)
        wait_until(hostile.is_closed, 0.9, "closed at once")
        assert bystander.ask().status == 200


def test_a_request_that_comes_in_small_pieces_is_answered(backend):
    with Connection(backend.address) as connection:
        for byte in request():
            connection.send(bytes([byte]))
        assert connection.receive().status == 200


def test_the_longest_idle_connection_makes_room_at_the_limit(start_backend):
    backend = start_backend(HEALTH_MAX_CONNECTIONS=8)
    idle = []
    for _ in range(8):
        idle.append(Connection(backend.address))
        idle[-1].ask("/api/health/live")
    with Connection(backend.address) as one_more:
        assert one_more.ask("/api/health/live").status == 200
        wait_until(idle[0].is_closed, 2, "the longest idle connection is closed")
        assert not any(connection.is_closed() for connection in idle[1:])


def test_an_idle_connection_is_closed_after_the_idle_timeout(start_backend):
    backend = start_backend(HEALTH_IDLE_TIMEOUT="1s")
    with Connection(backend.address) as connection:
        connection.ask("/api/health/live")
        assert not connection.is_closed()
        wait_until(connection.is_closed, 5, "closed when idle")


def test_a_peer_that_does_not_read_is_dropped_and_delays_no_other(backend):
    def was_dropped():
        try:
            silent.send(request("/api/status"))
        except ConnectionError:
            return True
        assert backend.ask("/api/health/live").status == 200  # and it answered the last request before that
        return False
    with Connection(backend.address) as silent:
        wait_until(was_dropped, 10, "the peer is dropped when its responses fill the socket")
    assert backend.ask().status == 200
