"""SIGTERM, the drain and the alarm: it is gone in time, whatever hangs."""
import array
import fcntl
import os
import select
import signal
import termios
import time

import pytest
from harness.backend import SANITIZED
from harness.fastcgi import Connection, request
from harness.freeze import Frozen, threads
from harness.wait import wait_until

from .test_connections import MANY
from .test_process import silent_server

# For a machine that is busy with other things; ThreadSanitizer keeps a signal until the thread's next call.
SLOW_S = 5.0 if SANITIZED else 1.0


def test_sigterm_ends_it_with_0_in_time(backend):
    began = time.monotonic()
    assert backend.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 3


def test_while_draining_503_but_alive_then_gone(start_backend):
    backend = start_backend(HEALTH_DRAIN="1s")
    backend.wait_status("healthy")
    backend.process.send_signal(signal.SIGTERM)
    document = backend.wait_status("draining", 3)
    assert document["failing"] == [{"check": "process", "reason": "draining"}]
    assert backend.ask("/api/health/live").status == 200
    assert backend.process.wait(5) == 0


def test_a_second_sigterm_ends_it_at_once(start_backend):
    backend = start_backend(HEALTH_DRAIN="1m")
    backend.wait_status("healthy")
    backend.process.send_signal(signal.SIGTERM)
    backend.wait_status("draining", 3)
    backend.process.send_signal(signal.SIGTERM)
    assert backend.process.wait(3) == 0


def test_sigterm_with_a_silent_database_ends_it_in_time(start_backend, directory):
    with silent_server(directory):
        backend = start_backend(PGHOST=directory, HEALTH_CONNECT_TIMEOUT="3s", HEALTH_STALE_AFTER="10s")
        began = time.monotonic()
        assert backend.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_and_sigint_end_it_in_order(start_backend, sig):
    backend = start_backend()
    backend.wait_status("healthy")
    backend.process.send_signal(sig)
    assert backend.process.wait(3) == 0
    assert not os.path.exists(backend.socket)
    assert backend.events("stopping")[0]["from_pid"] == str(os.getpid())


def test_sigterm_says_goodbye_to_the_database(start_backend, cluster):
    backend = start_backend()
    backend.wait_status("healthy")
    pids = cluster.probes()
    assert backend.stop() == 0
    wait_until(lambda: not set(pids) & set(cluster.probes()), 2, "its session is gone")


def test_sigterm_with_peers_of_every_kind_ends_it_in_time(start_backend):
    backend = start_backend()
    backend.wait_status("healthy")
    held = [Connection(backend.address) for _ in range(30)]
    for number, connection in enumerate(held):
        if number % 3 == 0:
            connection.ask()
        elif number % 3 == 1:
            connection.send(b"\x01\x01")
    began = time.monotonic()
    assert backend.stop() == 0
    assert time.monotonic() - began < 3


def test_while_draining_new_connections_are_answered_and_a_success_is_never_told(start_backend):
    backend = start_backend(HEALTH_DRAIN="1s")
    backend.wait_status("healthy")
    with Connection(backend.address) as kept:
        assert kept.ask().status == 200
        backend.process.send_signal(signal.SIGTERM)
        wait_until(lambda: kept.ask().status == 503, 0.9, "draining on a kept connection")
        for method in ("GET", "HEAD", "OPTIONS"):
            assert backend.ask(method=method).status == 503
        assert backend.document("/api/status")["process"]["state"] == "draining"
    assert backend.process.wait(5) == 0


def test_a_stuck_loop_is_ended_by_the_dead_mans_switch(start_backend):
    backend = start_backend()
    backend.wait_status("healthy")
    with Frozen(threads(backend.pid)[0]):
        began = time.monotonic()
        assert backend.process.wait(15) == 1
        assert 7 < time.monotonic() - began < 13
    assert "the event loop is stuck" in backend.log()


def test_the_end_does_not_wait_for_a_stuck_prober(start_backend):
    backend = start_backend()
    backend.wait_status("healthy")
    with Frozen(threads(backend.pid)[-1]) as prober:
        backend.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        prober.reap()
        assert backend.process.wait(5) == 0
        assert time.monotonic() - began < 3
    assert not os.path.exists(backend.socket)


def test_a_loop_that_is_stuck_while_it_stops_is_ended_by_the_alarm_of_the_stop(start_backend):
    backend = start_backend(HEALTH_DRAIN="2s", HEALTH_STOP_TIMEOUT="1s")
    backend.wait_status("healthy")
    began = time.monotonic()
    backend.process.send_signal(signal.SIGTERM)
    backend.wait_status("draining", 2)
    with Frozen(threads(backend.pid)[0]):
        assert backend.process.wait(10) == 1
        assert 2 + 1 - 0.1 < time.monotonic() - began < 2 + 1 + SLOW_S
    assert "the stop took longer than HEALTH_STOP_TIMEOUT" in backend.log()


def unread(connection):
    count = array.array("i", [0])
    fcntl.ioctl(connection.socket, termios.FIONREAD, count)
    return count[0]


def ask_without_reading(connection):
    """False when the answer found no room, and the connection was closed for it."""
    before = unread(connection)
    try:
        connection.send(request("/api/status"))
    except BrokenPipeError:
        return False
    poll = select.poll()
    poll.register(connection.socket, 0)  # POLLHUP only
    wait_until(lambda: unread(connection) > before + 40000 or poll.poll(0), 10, "an answer, or the end")
    return not poll.poll(0)


def test_peers_that_do_not_read_do_not_hold_up_the_end(start_backend, checks_file):
    """Their sockets have no room for one more answer, and each has one more request waiting when SIGTERM comes."""
    backend = start_backend(HEALTH_CHECKS=checks_file(MANY))
    backend.wait_status("healthy")
    with Connection(backend.address) as first:
        room = 0
        while ask_without_reading(first):
            room += 1
    assert 0 < room < 20
    deaf = [Connection(backend.address) for _ in range(20)]
    for connection in deaf:
        assert all(ask_without_reading(connection) for _ in range(room))
    backend.process.send_signal(signal.SIGSTOP)
    for connection in deaf:
        connection.send(request("/api/status"))
    began = time.monotonic()
    backend.process.send_signal(signal.SIGTERM)
    backend.process.send_signal(signal.SIGCONT)
    assert backend.process.wait(10) == 0
    assert time.monotonic() - began < 3
