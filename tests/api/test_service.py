"""What the service manager, the journal and the kernel see: notifications, log lines, descriptors, signals."""
import json
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import time

import pytest
from harness.backend import CHECKS
from harness import backend as program
from harness import process
from harness.fastcgi import Connection, request
from harness.freeze import Frozen, prober
from harness.wait import hold_for, wait_until

LINE = re.compile(r'time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z '
                  r'level=(error|warn|notice|info|debug) event="[^"]+"( .*)?')


class Manager:
    """The socket of a service manager. It collects what the program sends to NOTIFY_SOCKET."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.setblocking(False)
        self.messages = []

    def has(self, text):
        while True:
            try:
                self.messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return any(text in message for message in self.messages)

    def wait_for(self, text):
        wait_until(lambda: self.has(text), 10, f"{text!r} sent to the service manager")


@pytest.fixture
def manager(directory):
    server = Manager(f"{directory}/notify")
    yield server
    server.socket.close()


def test_the_manager_gets_ready_status_and_stopping(start_backend, manager):
    backend = start_backend(wait=False, NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="5000000")
    manager.wait_for("READY=1")
    assert backend.ask().status == 200  # the first request succeeds, without a wait
    manager.wait_for("STATUS=healthy")
    manager.wait_for("WATCHDOG=1")
    assert not manager.has("STOPPING=1")
    assert backend.stop() == 0
    manager.wait_for("STOPPING=1")


def test_ready_waits_for_the_first_probe_and_a_failing_database_is_ready_too(start_backend, manager, directory):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{directory}/.s.PGSQL.5432")
        silent.listen(50)
        # Longer than a start may hold its first requests.
        backend = start_backend(NOTIFY_SOCKET=manager.path, PGHOST=directory, HEALTH_CONNECT_TIMEOUT="2500ms")
        assert backend.document()["status"] == "starting"
        manager.wait_for("EXTEND_TIMEOUT_USEC=")
        assert not manager.has("READY=1")
        backend.wait_failing(("database", "connect_timeout"))
        manager.wait_for("READY=1")
        manager.wait_for("STATUS=degraded: database: connect_timeout")


def test_a_program_that_stops_before_the_first_probe_never_sends_ready(start_backend, manager, directory):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{directory}/.s.PGSQL.5432")
        silent.listen(50)
        backend = start_backend(NOTIFY_SOCKET=manager.path, PGHOST=directory, HEALTH_CONNECT_TIMEOUT="1500ms",
                                HEALTH_DRAIN="2s")
        backend.process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert backend.process.wait(10) == 0
    assert not manager.has("READY=1")


def test_ready_is_sent_again_to_a_manager_that_had_no_room(start_backend, manager):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        fillers = []
        with pytest.raises(BlockingIOError):
            while True:
                fillers.append(filler.sendto(b"x", manager.path))
    backend = start_backend(NOTIFY_SOCKET=manager.path)
    backend.wait_status("healthy")
    assert {manager.socket.recv(4096) for _ in fillers} == {b"x"}
    manager.wait_for("READY=1\nSTATUS=healthy")


@pytest.mark.parametrize("settings, error", [
    ({"HEALTH_INTERVAL": "2"}, "HEALTH_INTERVAL='2': expected a duration"),
    ({"HEALTH_LISTEN": "unix:/nowhere/at/all.sock"}, "/nowhere/at"),
])
def test_a_start_with_a_bad_setting_is_reported_and_is_no_flood(start_backend, manager, settings, error):
    """The manager restarts the program for ever. Each start reports the error, and there is only one start in ten
    seconds."""
    began = time.monotonic()
    backend = start_backend(wait=False, NOTIFY_SOCKET=manager.path, **settings)
    manager.wait_for(f"STATUS={error}" if "INTERVAL" in error else error)
    assert backend.process.wait(30) == 78
    assert 9 < time.monotonic() - began < 30
    assert len([line for line in backend.log().splitlines() if "level=error" in line]) == 1


def test_a_start_with_a_bad_setting_ends_at_once_on_a_signal(start_backend, manager):
    backend = start_backend(wait=False, NOTIFY_SOCKET=manager.path, HEALTH_LISTEN="unix:/nowhere/at/all.sock")
    manager.wait_for("STATUS=")
    began = time.monotonic()
    backend.process.send_signal(signal.SIGTERM)
    assert backend.process.wait(10) == 0
    assert time.monotonic() - began < 5


def test_the_manager_gets_reloading_and_ready(start_backend, manager, checks_file):
    path = checks_file("-- check: a\nSELECT 1;\n")
    backend = start_backend(NOTIFY_SOCKET=manager.path, HEALTH_CHECKS=path)
    manager.wait_for("READY=1")
    manager.messages.clear()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    backend.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1\nMONOTONIC_USEC=")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    message = next(message for message in manager.messages if "RELOADING=1" in message)
    assert before <= int(message.split("MONOTONIC_USEC=")[1].split()[0]) <= after
    manager.wait_for("READY=1")


def test_a_manager_that_does_not_read_blocks_nothing(start_backend, manager):
    backend = start_backend(NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="5000000")
    backend.wait_status("healthy")
    filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    filler.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            filler.sendto(b"x", manager.path)
    filler.close()
    uptime = backend.document("/api/health/live")["uptime_seconds"]
    wait_until(lambda: backend.document("/api/health/live")["uptime_seconds"] > uptime + 1, 5, "the loop goes on")
    assert backend.stop() == 0


def test_every_log_line_is_logfmt(start_backend):
    backend = start_backend(HEALTH_LOG_LEVEL="debug", HEALTH_UNKNOWN="x", PGDATABASE='a "b"\n\x1b[31m\\=\u00e9')
    backend.wait_status("degraded")
    backend.ask()
    assert backend.stop() == 0
    lines = backend.log().splitlines()
    assert len(lines) >= 4
    for line in lines:
        assert LINE.fullmatch(line), line
        assert all("=" in part for part in shlex.split(line)), line
        assert line.isprintable() and line.isascii()


def test_a_transition_is_logged_once_and_not_with_each_probe(start_backend, checks_file):
    backend = start_backend(HEALTH_INTERVAL="100ms", HEALTH_CHECKS=checks_file("-- check: bad\nSELECT 1/0;\n"))
    backend.wait_failing(("bad", "query_error"))
    first = backend.document()["time"]
    wait_until(lambda: backend.document()["time"] > first, 5, "another probe")
    hold_for(lambda: len(backend.events("check failed")) == 1, 1, "one line")
    assert len(backend.events("status changed")) == 1
    assert backend.events("check failed")[0]["sqlstate"] == "22012"


def test_ticks_count_the_time_in_suspend(backend):
    """CLOCK_BOOTTIME is number 7 in clock_gettime(2). After a night in suspend the program judges the verdict again at
    once."""
    clocks = []
    for fd in os.listdir(f"/proc/{backend.pid}/fdinfo"):
        with open(f"/proc/{backend.pid}/fdinfo/{fd}", encoding="ascii") as info:
            clocks += re.findall(r"^clockid: (\d+)", info.read(), re.MULTILINE)
    assert clocks == ["7"]


def test_a_healthy_program_is_silent(start_backend):
    backend = start_backend(HEALTH_INTERVAL="500ms", HEALTH_RECONNECT_EVERY="300ms", HEALTH_MAX_LOAD=100)
    backend.wait_status("healthy")
    log = backend.log()
    for path in ("/api/health", "/nowhere", "/api/status"):
        backend.ask(path)
    hold_for(lambda: backend.log() == log, 1.5, "nothing is logged while nothing changes")


@pytest.mark.parametrize("level, first", [("error", []), ("warn", ["warn"])])
def test_lines_above_the_log_level_are_dropped(start_backend, level, first):
    backend = start_backend(HEALTH_LOG_LEVEL=level, PGPORT=1)
    backend.wait_status("degraded")
    assert backend.stop() == 0
    assert sorted({shlex.split(line)[1].partition("=")[2] for line in backend.log().splitlines()}) == first


def spawn(cluster, directory, stderr, **settings):
    env = program.environment(**{**cluster.environment(), "HEALTH_CHECKS": CHECKS,
                                 "HEALTH_LISTEN": f"unix:{directory}/health-api.sock", **settings})
    return subprocess.Popen([program.PROGRAM], env=env, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                            start_new_session=True)


def ask(path, route="/api/health"):
    try:
        with Connection(path) as connection:
            return connection.ask(route).status
    except OSError:
        return None


def test_lines_for_the_journal_begin_with_their_priority_and_have_no_time(cluster, directory):
    with open(f"{directory}/journal.log", "wb") as log:
        stat = os.fstat(log.fileno())
        child = spawn(cluster, directory, log, JOURNAL_STREAM=f"{stat.st_dev}:{stat.st_ino}")
    try:
        wait_until(lambda: ask(f"{directory}/health-api.sock") == 200, 10, "healthy")
    finally:
        assert process.end(child) == 0
    with open(f"{directory}/journal.log", encoding="ascii") as log:
        lines = log.read().splitlines()
    assert lines and all(re.match(r"<[3-7]>level=", line) for line in lines), lines
    assert lines[0].startswith("<5>level=notice")


def test_a_full_log_pipe_blocks_nothing(cluster, directory):
    reader, writer = os.pipe()
    socket_path = f"{directory}/health-api.sock"
    child = spawn(cluster, directory, writer, HEALTH_LOG_LEVEL="debug")
    os.close(writer)
    try:
        wait_until(lambda: ask(socket_path) == 200, 10, "healthy")
        for _ in range(2000):  # each writes a line; the pipe holds 64 KiB
            assert ask(socket_path) == 200
        assert os.read(reader, 4096)
    finally:
        assert process.end(child) == 0
        os.close(reader)


def test_a_log_without_a_reader_does_not_end_the_program(cluster, directory):
    reader, writer = os.pipe()
    socket_path = f"{directory}/health-api.sock"
    child = spawn(cluster, directory, writer, HEALTH_LOG_LEVEL="debug")
    os.close(writer)
    os.close(reader)
    try:
        wait_until(lambda: ask(socket_path) == 200, 10, "healthy")
        assert ask(socket_path) == 200
    finally:
        assert process.end(child) == 0


def test_too_many_descriptors_are_logged_by_kind_and_end_the_program_with_1(start_backend):
    """The descriptors are no connections: the parent process forgot to close its own."""
    extra = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
    try:
        backend = start_backend(wait=False, HEALTH_FD_LIMIT=40, HEALTH_DRAIN="5m", popen={"pass_fds": extra})
    finally:
        for fd in extra:
            os.close(fd)
    # There is no drain: the process would leak on, and answer 503, until a new one replaces it.
    assert backend.process.wait(6) == 1
    assert backend.events("status changed")[-1]["reason"] == "fd_limit"
    line = backend.events("descriptor limit exceeded")[0]
    assert int(line["open_fds"]) > 40 and re.search(r"device=4\d", line["kinds"])


def test_a_start_holds_its_first_requests_for_300_ms_at_most(start_backend, directory):
    """nginx waits for a second, and that includes the restart. Here the database gives no answer at all."""
    def held_for(number):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{directory}/inherited-{number}")
            listener.listen()
            with Connection(f"{directory}/inherited-{number}") as waiting:
                waiting.send(request())
                began = time.monotonic()
                start_backend(wait=False, place=str(number), HEALTH_LISTEN=None, PGHOST=directory, popen={"stdin": listener})
                answer = waiting.receive()
                assert (answer.status, json.loads(answer.body)["status"]) == (503, "starting")
                return time.monotonic() - began

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{directory}/.s.PGSQL.5432")
        silent.listen()
        assert any(0.3 <= held_for(number) < 0.3 + (1.2 if program.SANITIZED else 0.6) for number in range(5))


def test_connections_alone_never_reach_the_descriptor_limit(start_backend):
    backend = start_backend(HEALTH_FD_LIMIT=24)
    backend.wait_status("healthy")
    held = [Connection(backend.address) for _ in range(60)]
    uptime = backend.document()["uptime_seconds"]
    wait_until(lambda: backend.document()["uptime_seconds"] > uptime + 2, 10, "two ticks that counted descriptors")
    assert backend.document()["status"] == "healthy"
    assert len(held) == 60


def test_twenty_one_descriptors_are_enough(start_backend, manager):
    backend = start_backend(popen={"wrapper": ["prlimit", "--nofile=21"]}, NOTIFY_SOCKET=manager.path,
                            HEALTH_RECONNECT_EVERY="1s")
    backend.wait_status("healthy")
    began = time.monotonic()
    wait_until(lambda: backend.ask().status != 200 or time.monotonic() - began > 4, 20, "three reconnects")
    assert backend.document()["status"] == "healthy"
    assert not backend.events("descriptor limit exceeded")


def test_the_program_goes_on_serving_without_a_free_descriptor(cluster, directory, start_backend):
    """EMFILE: a connection makes room for a new one. A probe without a descriptor is an answer, not a crash."""
    backend = start_backend(HEALTH_INTERVAL="200ms")
    backend.wait_status("healthy")
    used = max(int(fd) for fd in os.listdir(f"/proc/{backend.pid}/fd"))
    resource.prlimit(backend.pid, resource.RLIMIT_NOFILE, (used + 4, used + 4))
    held = [Connection(backend.address) for _ in range(50)]
    assert backend.ask("/api/health/live").status == 200
    for connection in held:
        connection.socket.close()
    wait_until(lambda: backend.ask().status == 200, 10, "healthy again")


def test_a_reload_while_no_descriptor_is_free_loses_no_request(start_backend, directory):
    """The same before the first probe has finished: the listener is paused, and SIGHUP must not pause it until then."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{directory}/.s.PGSQL.5432")
    listener.listen()
    backend = start_backend(PGHOST=directory, HEALTH_CONNECT_TIMEOUT="20s", HEALTH_STALE_AFTER="60s")
    assert backend.document()["status"] == "starting"
    backend.fds_at_rest()  # the connection of that request has ended
    used = {int(fd) for fd in os.listdir(f"/proc/{backend.pid}/fd")}
    first_free = min(set(range(len(used) + 1)) - used)
    resource.prlimit(backend.pid, resource.RLIMIT_NOFILE, (first_free, 4096))
    with Connection(backend.address) as waiting:
        wait_until(lambda: backend.events("accept failed"), 10, "it cannot accept")
        backend.process.send_signal(signal.SIGHUP)
        wait_until(lambda: backend.events("reload refused"), 10, "the reload, without a descriptor")
        resource.prlimit(backend.pid, resource.RLIMIT_NOFILE, (4096, 4096))
        waiting.send(request())
        began = time.monotonic()
        assert waiting.receive().status == 503
        assert time.monotonic() - began < 10  # a tick takes a second, the first probe 20
    listener.close()


def test_a_reload_and_a_stop_at_the_same_time_both_happen(start_backend, checks_file):
    path = checks_file("-- check: one\nSELECT 1;\n")
    backend = start_backend(HEALTH_CHECKS=path, HEALTH_DRAIN="5s")
    backend.wait_status("healthy")
    checks_file("-- check: one\nSELECT 1;\n-- check: two\nSELECT 2;\n")
    with Frozen(backend.pid):
        backend.process.send_signal(signal.SIGHUP)
        backend.process.send_signal(signal.SIGTERM)
    backend.wait_status("draining")
    wait_until(lambda: backend.events("checks reloaded"), 4, "the reload")
    assert backend.stop() == 0


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        return sum("INJECTED" in line for line in file)


@pytest.mark.skipif(program.SANITIZED, reason="a leak checker does not work under strace")
@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOMEM", "EPERM", "EINVAL"])
def test_a_failing_accept_does_not_make_the_loop_spin_or_end(start_backend, directory, error):
    backend = start_backend()
    backend.wait_status("healthy")
    trace = os.path.join(directory, "trace")
    strace = subprocess.Popen(["strace", "-f", "-o", trace, "-e", "trace=accept4", "-e", f"inject=accept4:error={error}",
                               "-p", str(backend.pid)], stderr=subprocess.PIPE, text=True)
    try:
        assert "attached" in strace.stderr.readline()
        with Connection(backend.address) as waiting:
            waiting.send(request())
            wait_until(lambda: backend.events("accept failed"), 10, "the log line")
            cpu_before, tries_before = process.cpu_s(backend.pid), lines_of(trace)
            hold_for(lambda: backend.process.poll() is None, 5, "it lives")
            assert 3 <= lines_of(trace) - tries_before <= 8  # one try per second
            assert process.cpu_s(backend.pid) - cpu_before < 1
            strace.terminate()
            assert waiting.receive().status == 200
    finally:
        strace.kill()
        strace.communicate()
    assert len(backend.events("accept failed")) == 1
    assert int(backend.events("accept recovered")[0]["failed_tries"]) >= 5


@pytest.mark.parametrize("sig", [signal.SIGPIPE, signal.SIGHUP])
def test_other_signals_do_not_end_the_program(start_backend, sig):
    backend = start_backend()
    backend.wait_status("healthy")
    for _ in range(20):
        backend.process.send_signal(sig)
    hold_for(lambda: backend.ask().status == 200, 0.5, "it serves on")


BRIEF = {"HEALTH_INTERVAL": "100ms", "HEALTH_CONNECT_TIMEOUT": "300ms", "HEALTH_QUERY_TIMEOUT": "300ms",
         "HEALTH_STALE_AFTER": "900ms"}


def test_a_stuck_prober_makes_the_status_stale_until_it_runs_again(start_backend):
    backend = start_backend(**BRIEF)
    backend.wait_status("healthy")
    with Frozen(prober(backend.pid)):
        began = time.monotonic()
        document = backend.wait_failing(("database", "stale"), deadline_s=5)
        assert time.monotonic() - began < 2
        assert document["status"] == "degraded"
        assert set(document["counts"].values()) == {None}
        assert backend.ask().status == 503
        assert backend.ask("/api/health/live").status == 200
        status = backend.document("/api/status")
        assert status["snapshot"]["age_ms"] >= status["snapshot"]["stale_after_ms"] == 900
        assert {check["value"] for check in status["checks"].values()} == {None}
    backend.wait_status("healthy", 3)


def test_a_database_that_went_away_while_the_program_was_stopped_is_no_outdated_200(start_backend, directory, cluster):
    """A request waits in the socket while the whole process is stopped for longer than HEALTH_STALE_AFTER."""
    gate = f"{directory}/.s.PGSQL.5432"
    os.symlink(f"{cluster.directory}/.s.PGSQL.5432", gate)
    backend = start_backend(PGHOST=directory, **BRIEF)
    backend.wait_status("healthy")
    with Connection(backend.address) as connection:
        assert connection.ask().status == 200
        backend.process.send_signal(signal.SIGSTOP)
        try:
            os.unlink(gate)
            cluster.terminate_probes()
            stopped = time.monotonic()
            wait_until(lambda: time.monotonic() - stopped > 1.2, 5, "HEALTH_STALE_AFTER has passed")
            connection.send(request())
        finally:
            backend.process.send_signal(signal.SIGCONT)
        assert connection.receive().status == 503
    backend.wait_failing(("database", "unreachable"))
