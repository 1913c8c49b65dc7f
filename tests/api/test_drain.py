"""The drain by hand: while a file exists, the program answers 503 `draining`, whatever else happens."""
import os
import shutil
import signal
import socket
import statistics
import time

import pytest
from clients.service import AS_SYSTEMD
from harness.backend import SANITIZED
from harness.fastcgi import Connection, request
from harness.freeze import threads
from harness.wait import hold_for, wait_until

from .test_service import Manager

# The promise is one second. Under a sanitizer everything takes several times as long.
WITHIN_S = 1.0 * (2 if SANITIZED else 1)
DRAINING = [{"check": "process", "reason": "draining"}]


def touch(path):
    with open(path, "w", encoding="ascii"):
        pass


def process_of(backend):
    return backend.document("/api/status")["process"]


@pytest.fixture
def drain(directory):
    """The default file."""
    return f"{directory}/drain"


@pytest.fixture
def manager(directory):
    server = Manager(f"{directory}/notify")
    yield server
    server.socket.close()


def test_the_file_takes_the_node_out_and_in_within_a_second(backend, nginx, drain):
    times = []

    def timed(action, status):
        began = time.monotonic()
        action(drain)
        wait_until(lambda: nginx.ask().status == status, 10, f"status {status}")
        times.append(time.monotonic() - began)
    for _ in range(3):
        timed(touch, 503)
        for method in ("GET", "HEAD", "OPTIONS"):
            assert nginx.ask(method=method).status == 503
        answer = nginx.ask()
        assert (answer.headers["X-Health-Source"], answer.headers["Retry-After"]) == ("backend", "2")
        assert nginx.ask("/api/health/live").status == 200
        assert backend.document()["failing"] == DRAINING
        timed(os.unlink, 200)
    assert statistics.median(times) <= WITHIN_S, times


def test_status_and_log_say_since_when_and_which_file(backend, drain):
    process = process_of(backend)
    assert (process["state"], process["draining_since"], process["drain_file"]) == ("serving", None, drain)
    assert process["drain_error"] is None
    touch(drain)
    created_ms = os.lstat(drain).st_ctime_ns // 10**6
    assert backend.wait_status("draining")["counts"]["edges"] > 0
    process = process_of(backend)
    assert (process["state"], process["drain_file"]) == ("draining", drain)
    since = process["draining_since"]
    assert since == time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(created_ms // 1000)) + f"{created_ms % 1000:03}Z"
    assert [(line["file"], line["since"]) for line in backend.events("drain begun")] == [(drain, since)]
    os.unlink(drain)
    backend.wait_status("healthy")
    assert process_of(backend)["draining_since"] is None
    assert [(line["file"], line["since"]) for line in backend.events("drain ended")] == [(drain, since)]
    assert [line["to"] for line in backend.events("status changed")] == ["healthy", "draining", "healthy"]


@pytest.mark.parametrize("state, settings, after", [
    ("healthy", {}, "healthy"),
    ("down", {"PGPORT": "1"}, "degraded"),
    ("silent", {"HEALTH_CONNECT_TIMEOUT": "20s", "HEALTH_STALE_AFTER": "60s"}, "starting")])
def test_a_start_with_the_file_is_a_normal_start_without_one_200(start_backend, manager, directory, drain, state,
                                                                 settings, after):
    """The first request waits in the socket before the program starts."""
    touch(drain)
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as listener:
        if state == "silent":
            silent.bind(f"{directory}/.s.PGSQL.5432")
            silent.listen(50)
            settings = {**settings, "PGHOST": directory}
        listener.bind(f"{directory}/inherited")
        listener.listen()
        with Connection(f"{directory}/inherited") as kept:
            kept.send(request())
            backend = start_backend(wait=False, HEALTH_LISTEN=None, NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="5000000",
                                    popen={"stdin": listener}, **settings)
            backend.address = f"{directory}/inherited"
            assert kept.receive().status == 503
            manager.wait_for("READY=1\nSTATUS=draining: process: draining")
            manager.wait_for("WATCHDOG=1")
            hold_for(lambda: kept.ask().status == 503 and backend.document()["status"] == "draining", 0.7, "draining")
        failing = backend.document()["failing"]
        assert failing[0] == DRAINING[0] and len(failing) == (2 if state == "down" else 1)
        assert len(backend.events("drain begun")) == 1
        os.unlink(drain)
        backend.wait_status(after)
        assert backend.stop() == 0  # before its listener closes


@pytest.mark.skipif(SANITIZED, reason="a leak checker does not work under strace")
def test_a_start_waits_for_a_slow_look(start_backend, drain):
    """Longer than a start may hold its first requests for the first probe, and shorter than the second after which a
    start goes on without the look."""
    touch(drain)
    strace = ["strace", "-D", "-f", "-o", "/dev/null", "-P", drain, "-e", "trace=newfstatat", "-e",
              "inject=newfstatat:delay_enter=450ms"]
    backend = start_backend(popen={"wrapper": strace})
    assert backend.document()["status"] == "draining"
    assert [line["to"] for line in backend.events("status changed")] == ["draining"]


def test_no_restart_during_a_drain_shows_a_200_or_forgets_since_when(backend, drain):
    touch(drain)
    backend.wait_status("draining")
    since = process_of(backend)["draining_since"]
    for _ in range(3):
        assert backend.stop() == 0
        backend.start()
        assert backend.ask().status == 503
        process = process_of(backend)
        assert (process["state"], process["draining_since"]) == ("draining", since)
    os.unlink(drain)
    backend.wait_status("healthy")


@pytest.mark.parametrize("make", [os.mkdir, lambda path: os.symlink("/nowhere/at/all", path), os.mkfifo])
def test_it_does_not_matter_what_kind_of_file_it_is(backend, drain, make):
    make(drain)
    assert backend.wait_status("draining", 3)["failing"] == DRAINING


def listen(address):
    """A listening socket, which the program inherits."""
    if address is None:
        return socket.create_server(("127.0.0.1", 0))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    return listener


@pytest.mark.parametrize("wrapper", [AS_SYSTEMD, ()], ids=["systemd", "fd 0"])
@pytest.mark.parametrize("kind, setting", [
    ("unix", None), ("tcp", None), ("abstract", None), ("for everybody", None),
    ("unix", "off"), ("unix", "maintenance"), ("tcp", "maintenance")])
def test_the_default_is_beside_a_unix_socket_from_wherever_it_comes(start_backend, directory, kind, setting, wrapper):
    os.mkdir(f"{directory}/open")
    os.chmod(f"{directory}/open", 0o1777)
    for path in ("drain", "open/drain", "maintenance"):
        touch(f"{directory}/{path}")
    address = {"unix": f"{directory}/s", "tcp": None, "abstract": f"\0{directory}/s",
               "for everybody": f"{directory}/open/s"}[kind]
    expected = f"{directory}/drain" if kind == "unix" and setting is None else None
    if setting == "maintenance":
        setting = expected = f"{directory}/maintenance"
    with listen(address) as listener:
        backend = start_backend(wait=False, HEALTH_LISTEN=None, HEALTH_DRAIN_FILE=setting,
                                popen={"stdin": listener, "wrapper": wrapper})
        backend.address = listener.getsockname()
        if isinstance(backend.address, bytes):
            backend.address = "\0" + backend.address[1:].decode()
        backend.wait_status("draining" if expected else "healthy")
        assert process_of(backend)["drain_file"] == expected
        assert backend.stop() == 0  # before its listener closes


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run the program as another user")
def test_a_directory_that_the_program_may_not_enter_changes_nothing_and_is_logged_once(start_backend, directory):
    closed = f"{directory}/closed"
    os.mkdir(closed, 0o700)
    touch(f"{closed}/drain")
    shutil.chown(directory, "nobody")
    backend = start_backend(HEALTH_DRAIN_FILE=f"{closed}/drain", popen={"user": "nobody"})
    backend.wait_status("healthy")

    def failures():
        return [(line["error"], line["state"]) for line in backend.events("drain lookup failed")]
    assert failures() == [("Permission denied", "serving")]
    assert process_of(backend)["drain_error"] == "Permission denied"
    hold_for(lambda: len(failures()) == 1 and backend.ask().status == 200, 1.5, "no drain, and one line")
    os.chmod(closed, 0o755)
    backend.wait_status("draining", 3)
    wait_until(lambda: backend.events("drain lookup recovered"), 5, "the log line")
    assert process_of(backend)["drain_error"] is None
    os.chmod(closed, 0o700)
    hold_for(lambda: backend.ask().status == 503, 1.5, "still draining: nobody knows better")
    wait_until(lambda: process_of(backend)["drain_error"] == "Permission denied", 3, "the error again")
    os.chmod(closed, 0o755)
    os.unlink(f"{closed}/drain")
    backend.wait_status("healthy", 3)


@pytest.mark.parametrize("seconds", [0, 4])
def test_a_stop_signal_during_a_drain_by_hand(start_backend, drain, seconds):
    """HEALTH_DRAIN begins with the signal. Until the exit each answer is 503, also when the file goes meanwhile."""
    backend = start_backend(HEALTH_DRAIN=f"{seconds}s")
    touch(drain)
    backend.wait_status("draining")
    since = process_of(backend)["draining_since"]
    with Connection(backend.address) as kept:
        assert kept.ask().status == 503
        began = time.monotonic()
        backend.process.send_signal(signal.SIGTERM)
        if seconds:
            wait_until(lambda: backend.events("stop requested"), 5, "the signal")
            assert process_of(backend)["draining_since"] == since
            os.unlink(drain)
            wait_until(lambda: backend.events("drain ended"), 5, "the file has gone")
            assert kept.ask().status == 503
        assert backend.process.wait(10) == 0
    assert time.monotonic() - began >= seconds


def test_a_reload_during_a_drain_is_a_reload(start_backend, manager, checks_file, drain):
    path = checks_file("-- check: one\nSELECT 1;\n")
    backend = start_backend(NOTIFY_SOCKET=manager.path, HEALTH_CHECKS=path)
    touch(drain)
    backend.wait_status("draining")
    manager.wait_for("STATUS=draining: process: draining")
    manager.messages.clear()
    checks_file("-- check: two\nSELECT 2;\n")
    backend.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    wait_until(lambda: backend.document()["counts"] == {"two": 2}, 5, "the new check")
    assert backend.ask().status == 503
    os.unlink(drain)
    backend.wait_status("healthy")


def test_many_drains_leave_no_descriptor_and_no_thread(backend, drain):
    def usage():
        return backend.fds_at_rest(), len(threads(backend.pid))
    before = usage()
    for _ in range(5):
        touch(drain)
        backend.wait_status("draining")
        os.unlink(drain)
        backend.wait_status("healthy")
    wait_until(lambda: usage() == before, 5, f"{before} as before")
