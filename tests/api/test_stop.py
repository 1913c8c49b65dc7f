"""SIGTERM while something hangs: the process always ends within HEALTH_STOP_TIMEOUT after the drain."""
import contextlib
import fcntl
import os
import signal
import struct
import termios
import time

import pytest
from harness import backend as program
from harness.fastcgi import Connection, request
from harness.freeze import Frozen, prober, threads
from harness.wait import wait_until

from .test_connections import MANY
from .test_process import silent_server

STOP_TIMEOUT_S = 2
# The alarm is exact to microseconds. The rest of this time is for a busy machine, and for ThreadSanitizer, which sleeps a
# second at exit (atexit_sleep_ms).
SLACK_S = 3.0 if program.SANITIZED else 1.0
ENDED = "ended by the alarm: the stop took longer than HEALTH_STOP_TIMEOUT"


def start(start_backend, **settings):
    backend = start_backend(HEALTH_STOP_TIMEOUT=f"{STOP_TIMEOUT_S}s", **settings)
    backend.wait_status("healthy")
    return backend


def assert_gone_in_time(backend, began, code, drain_s=0.0):
    assert backend.process.wait(20) == code
    assert time.monotonic() - began < drain_s + STOP_TIMEOUT_S + SLACK_S


def test_sigterm_ends_the_program_with_0_in_time(backend):
    began = time.monotonic()
    assert backend.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 3


def test_a_draining_program_sends_503_but_is_alive_and_then_exits(start_backend):
    backend = start_backend(HEALTH_DRAIN="3s")
    backend.wait_status("healthy")
    began = time.monotonic()
    backend.process.send_signal(signal.SIGTERM)
    document = backend.wait_status("draining", 3)
    assert document["failing"] == [{"check": "process", "reason": "draining"}]
    assert backend.ask("/api/health/live").status == 200
    assert backend.process.wait(10) == 0
    assert 3 <= time.monotonic() - began < 3 + 1 + SLACK_S


@pytest.mark.parametrize("drain", ["0s", "500ms"])
def test_requests_under_way_are_answered(start_backend, drain):
    """One request is whole when the signal comes, and half of another one has come."""
    bytes_of_one = request("/api/health/live")

    def both_are_answered(number):
        backend = start_backend(place=str(number), HEALTH_DRAIN=drain)
        backend.wait_status("healthy")
        with Connection(backend.address) as whole, Connection(backend.address) as half:
            assert whole.ask().status == half.ask().status == 200
            backend.process.send_signal(signal.SIGSTOP)
            whole.send(bytes_of_one)
            half.send(bytes_of_one[:20])
            backend.process.send_signal(signal.SIGTERM)
            backend.process.send_signal(signal.SIGCONT)
            assert whole.receive().status == 200
            with contextlib.suppress(OSError, EOFError):
                half.send(bytes_of_one[20:])
                assert half.receive().status == 200
                assert backend.process.wait(5) == 0
                return True
        return False
    # Without a drain the program waits for 250 ms. The test itself may have to wait for a processor.
    assert any(both_are_answered(number) for number in range(5))


def test_a_second_sigterm_ends_the_program_at_once(start_backend):
    backend = start_backend(HEALTH_DRAIN="1m")
    backend.wait_status("healthy")
    backend.process.send_signal(signal.SIGTERM)
    backend.wait_status("draining", 3)
    backend.process.send_signal(signal.SIGTERM)
    assert backend.process.wait(3) == 0


def test_sigterm_ends_the_program_in_time_with_a_silent_database(start_backend, directory):
    with silent_server(directory):
        backend = start_backend(PGHOST=directory, HEALTH_CONNECT_TIMEOUT="3s", HEALTH_STALE_AFTER="10s")
        began = time.monotonic()
        assert backend.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_each_stop_signal_ends_the_program_normally(start_backend, sig):
    backend = start_backend()
    backend.wait_status("healthy")
    backend.process.send_signal(sig)
    assert backend.process.wait(3) == 0
    assert not os.path.exists(backend.socket)
    assert backend.events("stop requested")[0]["from_pid"] == str(os.getpid())


def test_sigterm_closes_the_session_properly(start_backend, cluster):
    backend = start_backend()
    backend.wait_status("healthy")
    pids = cluster.probes()
    assert backend.stop() == 0
    wait_until(lambda: not set(pids) & set(cluster.probes()), 2, "its session is gone")


def test_sigterm_ends_the_program_in_time_with_peers_of_every_kind(start_backend):
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


def test_a_draining_program_answers_new_connections_and_never_sends_200(start_backend):
    backend = start_backend(HEALTH_DRAIN="1m")
    backend.wait_status("healthy")
    with Connection(backend.address) as kept:
        assert kept.ask().status == 200
        backend.process.send_signal(signal.SIGTERM)
        wait_until(lambda: kept.ask().status == 503, 5, "draining on a kept connection")
        for method in ("GET", "HEAD", "OPTIONS"):
            assert backend.ask(method=method).status == 503
        assert backend.document("/api/status")["process"]["state"] == "draining"
    backend.process.send_signal(signal.SIGTERM)
    assert backend.process.wait(5) == 0


def test_the_dead_mans_switch_ends_a_stuck_loop(start_backend):
    backend = start_backend()
    backend.wait_status("healthy")
    with Frozen(threads(backend.pid)[0]):
        began = time.monotonic()
        assert backend.process.wait(15) == 1
        assert 7 < time.monotonic() - began < 13
    assert "the event loop is stuck" in backend.log()


def test_the_exit_does_not_wait_for_a_stuck_prober(start_backend):
    backend = start_backend()
    backend.wait_status("healthy")
    with Frozen(prober(backend.pid)) as frozen:
        backend.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        frozen.reap()
        assert backend.process.wait(5) == 0
        assert time.monotonic() - began < 3
    assert not os.path.exists(backend.socket)


def test_the_final_alarm_ends_a_loop_that_gets_stuck_in_the_drain(start_backend):
    backend = start(start_backend, HEALTH_DRAIN="3s")
    backend.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    backend.wait_status("draining", 2)
    with Frozen(threads(backend.pid)[0]):
        assert_gone_in_time(backend, began, 1, drain_s=3)
    assert time.monotonic() - began > 3 + STOP_TIMEOUT_S - SLACK_S
    assert ENDED in backend.log()


def test_a_loop_that_gets_stuck_in_a_long_drain_ends_before_the_end_of_the_drain(start_backend):
    backend = start(start_backend, HEALTH_DRAIN="5m")
    backend.process.send_signal(signal.SIGTERM)
    backend.wait_status("draining", 3)
    with Frozen(threads(backend.pid)[0]):
        assert backend.process.wait(15) == 1
    assert "ended by the alarm: the event loop is stuck" in backend.log()


def test_a_stopped_process_with_a_pending_sigterm_ends_once_it_runs_again(start_backend):
    """The final alarm is never postponed, unlike the other alarms of a process that was stopped."""
    backend = start(start_backend, HEALTH_DRAIN="3s")
    backend.process.send_signal(signal.SIGTERM)
    backend.wait_status("draining", 2)
    backend.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        wait_until(lambda: time.monotonic() - began > 3 + STOP_TIMEOUT_S + 1.5, 15, "the time of the alarm has passed")
    finally:
        backend.process.send_signal(signal.SIGCONT)
    assert backend.process.wait(2 * SLACK_S) == 1
    assert ENDED in backend.log()


def unread_bytes(connection):
    count = fcntl.ioctl(connection.socket, termios.FIONREAD, struct.pack("i", 0))
    return struct.unpack("i", count)[0]


def deaf_peer(backend, document_len):
    """A connection with two unread responses of 75 KB and no room for a third one: a socket takes 208 KiB by default, its
    bookkeeping included."""
    connection = Connection(backend.address)
    for number in (1, 2):
        connection.send(request("/api/status"))
        wait_until(lambda: unread_bytes(connection) >= number * document_len, 5, "an answer")  # noqa: B023
    return connection


def test_unread_responses_do_not_delay_the_exit(start_backend, checks_file):
    """The requests and SIGTERM come at the same time, and no response fits into its socket."""
    backend = start(start_backend, HEALTH_CHECKS=checks_file(MANY))
    document_len = len(backend.ask("/api/status").body)
    deaf = [deaf_peer(backend, document_len) for _ in range(20)]
    backend.process.send_signal(signal.SIGSTOP)
    for connection in deaf:
        connection.send(request("/api/status"))
    backend.process.send_signal(signal.SIGTERM)
    backend.process.send_signal(signal.SIGCONT)
    assert_gone_in_time(backend, time.monotonic(), 0)
    for connection in deaf:
        with connection:
            assert [connection.receive().status for _ in range(2)] == [200, 200]
            with pytest.raises(EOFError):
                connection.receive()


def test_a_hung_database_does_not_delay_the_exit(start_backend, own_cluster):
    """The server process of our session hangs in the middle of a query. So does the postmaster, which would have to
    accept the next session."""
    backend = start(start_backend, **own_cluster.environment())
    hung = [*own_cluster.probes(), own_cluster.postmaster_pid]
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    try:
        backend.wait_status("degraded")
        backend.process.send_signal(signal.SIGTERM)
        assert_gone_in_time(backend, time.monotonic(), 0)
    finally:
        for pid in hung:
            os.kill(pid, signal.SIGCONT)


def test_a_second_sigterm_ends_the_program_at_once_while_the_prober_hangs(start_backend):
    backend = start(start_backend, HEALTH_DRAIN="1m")
    with Frozen(prober(backend.pid)) as frozen:
        backend.process.send_signal(signal.SIGTERM)
        backend.wait_status("draining", 3)
        backend.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        frozen.reap()
        assert_gone_in_time(backend, began, 0)


@pytest.mark.skipif(program.SANITIZED, reason="a leak checker does not work under strace")
def test_an_exit_that_hangs_after_a_second_sigterm_ends_before_the_end_of_the_drain(start_backend):
    """The removal of the socket hangs, as on a lost file system."""
    strace = ["strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=unlink", "-e", "inject=unlink:delay_enter=6s"]
    backend = start(start_backend, HEALTH_DRAIN="1m", popen={"wrapper": strace})
    backend.process.send_signal(signal.SIGTERM)
    backend.wait_status("draining", 3)
    backend.process.send_signal(signal.SIGTERM)
    wait_until(lambda: ENDED in backend.log(), STOP_TIMEOUT_S + SLACK_S, "the alarm")
    assert backend.process.wait(10) == 1  # strace keeps it until the delay has passed
