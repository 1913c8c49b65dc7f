"""FastCGI peers that are slow, early, late, many, or do not read; and documents larger than any buffer."""
import json
import socket
import struct
import time

from harness.fastcgi import END_REQUEST, PARAMS, STDIN, STDOUT, Connection, begin, record, request
from harness.wait import hold_for, wait_until
from harness.webserver import free_port

MANY = "".join(f"-- check: {'x' * 55}_{number:03}\nSELECT {number};\n" for number in range(256))


def seconds_until_closed(connection, deadline_s=5.0):
    began = time.monotonic()
    wait_until(connection.is_closed, deadline_s, "the connection is closed")
    return time.monotonic() - began


def test_a_slow_peer_has_a_second_from_the_first_byte_of_its_request(backend):
    with Connection(backend.address) as drip:
        began = time.monotonic()
        sent = iter(request())

        def next_byte_is_refused():
            try:
                drip.send(bytes([next(sent)]))
            except OSError:
                return True
            return drip.is_closed()
        wait_until(next_byte_is_refused, 5, "a dripping peer is dropped", interval_s=0.1)
        assert 0.9 < time.monotonic() - began < 3
    assert backend.events("requests rejected")[0]["last_reason"] == "not whole within a second"


def test_each_request_of_a_connection_has_its_own_second(backend):
    with Connection(backend.address) as connection:
        wait_until(lambda: backend.document("/api/health/live")["uptime_seconds"] >= 1, 5, "a second has passed")
        for _ in range(2):
            data = request()
            connection.send(data[:40])
            hold_for(lambda: not connection.is_closed(), 0.5, "half a second is not too long")
            connection.send(data[40:])
            assert connection.receive().status == 200
        connection.send(request()[:8])
        assert 0.9 < seconds_until_closed(connection) < 3


def test_an_idle_connection_is_not_half_a_request(backend):
    with Connection(backend.address) as silent:
        hold_for(lambda: not silent.is_closed(), 1.6, "it may stay")
        assert silent.ask().status == 200


def test_a_request_in_two_parts_is_answered_wherever_the_cut_is(backend):
    data = request(query="a=b", keep=True)
    with Connection(backend.address) as connection:
        for cut in range(1, len(data)):
            connection.send(data[:cut])
            connection.send(data[cut:])
            assert connection.receive().status == 200


def test_a_request_with_each_record_split_is_answered(backend):
    """PARAMS and STDIN are streams: a sender may cut them into any records, and pad them."""
    whole = request(body=b"x" * 100)
    params = whole[24:24 + struct.unpack(">H", whole[20:22])[0]]
    pieces = b"".join(record(PARAMS, params[i:i + 3], padding=i % 8) for i in range(0, len(params), 3))
    with Connection(backend.address) as connection:
        connection.send(begin() + pieces + record(PARAMS))
        connection.send(record(STDIN, b"x" * 50) + record(STDIN, b"y" * 50, padding=6) + record(STDIN))
        assert connection.receive().status == 200


def test_the_response_has_the_id_of_the_request(backend):
    with Connection(backend.address) as connection:
        for request_id in (1, 2, 255, 256, 65535):
            connection.send(request(request_id=request_id))
            kind = None
            while kind != END_REQUEST:
                kind, answered, content = connection.receive_record()
                assert answered == request_id
                assert kind != STDOUT or not content or content.startswith(b"Status: 200 ")
            assert content == b"\0" * 8  # application status 0, FCGI_REQUEST_COMPLETE


def test_a_peer_that_has_shut_down_its_writing_still_gets_its_response(backend):
    with Connection(backend.address) as connection:
        connection.send(request())
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.receive().status == 200
        seconds_until_closed(connection, 2)


def test_without_keep_conn_the_connection_is_closed_after_the_answer(backend):
    with Connection(backend.address) as connection:
        connection.send(request(keep=False))
        assert connection.receive().status == 200
        seconds_until_closed(connection, 2)


def test_peers_that_leave_before_the_response_do_not_harm_others(backend):
    fds = backend.fds()
    with Connection(backend.address) as bystander:
        for number in range(500):
            hasty = Connection(backend.address)
            hasty.send(request("/api/status") if number % 2 else request()[:20])
            if number % 3 == 0:  # a reset instead of a normal close
                hasty.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            hasty.socket.close()
        assert bystander.ask().status == 200
    wait_until(lambda: backend.fds() <= fds, 5, f"{fds} descriptors as before")


def test_half_requests_cannot_lock_out_others_at_the_limit(start_backend):
    backend = start_backend(HEALTH_MAX_CONNECTIONS=8)
    backend.wait_status("healthy")
    half = [Connection(backend.address) for _ in range(8)]
    for connection in half:
        connection.send(request()[:30])
    asked = time.monotonic()
    assert backend.ask().status == 200
    assert time.monotonic() - asked < 0.5
    assert sum(connection.is_closed() for connection in half) <= 2


def test_a_storm_of_connections_leaves_no_descriptor_open(start_backend):
    backend = start_backend(HEALTH_MAX_CONNECTIONS=32, HEALTH_RECONNECT_EVERY="1h")
    backend.wait_status("healthy")
    fds = backend.fds_at_rest()

    def connect():
        try:
            return Connection(backend.address)
        except BlockingIOError:  # the backlog is full at the moment
            return None
    storm = [wait_until(connect, 5, "room in the backlog") for _ in range(1000)]
    with wait_until(connect, 5, "room in the backlog") as one_more:
        assert one_more.ask().status == 200
    assert backend.fds() <= fds + 32
    for connection in storm:
        connection.socket.close()
    wait_until(lambda: backend.fds() <= fds, 5, f"{fds} descriptors as before")


def test_a_peer_that_does_not_read_a_large_document_is_dropped_and_others_are_answered(start_backend, checks_file):
    backend = start_backend(HEALTH_CHECKS=checks_file(MANY))
    backend.wait_status("healthy")
    with Connection(backend.address) as deaf, Connection(backend.address) as bystander:
        def refused():
            try:
                deaf.socket.setblocking(False)
                deaf.socket.send(request("/api/status"))
                return False
            except BlockingIOError:
                return False
            except OSError:
                return True

        def is_dropped():
            assert bystander.ask().status == 200
            return refused()
        wait_until(is_dropped, 10, "the peer that does not read is dropped")


def test_a_large_document_arrives_whole_over_unix_tcp_and_nginx(start_backend, checks_file, nginx):
    backend = start_backend(HEALTH_CHECKS=checks_file(MANY))
    backend.wait_status("healthy")
    document = backend.document("/api/status")
    assert len(json.dumps(document)) > 40000 and len(document["checks"]) == 256
    assert [entry["value"] for entry in document["checks"].values()] == list(range(256))
    with Connection(backend.address) as connection:
        for _ in range(20):
            assert json.loads(connection.ask("/api/status").body)["status"] == "healthy"
    answers = [nginx.ask("/api/status") for _ in range(5)]
    assert {(answer.status, answer.headers["X-Health-Source"]) for answer in answers} == {(200, "backend")}
    assert len(json.loads(answers[-1].body)["checks"]) == 256
    backend.stop()

    port = free_port()
    backend = start_backend(wait=False, HEALTH_CHECKS=checks_file(MANY), HEALTH_LISTEN=f"tcp:127.0.0.1:{port}")
    backend.address = ("127.0.0.1", port)
    wait_until(backend.accepts, 10, "accepts on TCP")
    backend.wait_status("healthy")
    for _ in range(20):  # a new connection has small buffers
        assert len(backend.document("/api/status")["checks"]) == 256


def test_a_busy_program_responds_quickly_and_loses_no_request(backend):
    connections = [Connection(backend.address) for _ in range(100)]
    for _ in range(5):
        for connection in connections:
            connection.send(request())
        for connection in connections:
            assert connection.receive().status == 200
    totals = backend.document("/api/status")["process"]["requests_total"]
    assert totals["/api/health"]["200"] >= 500


