"""The program itself is stopped, killed or cut off, and nginx answers in its place."""
import os
import signal
import time

import pytest
from api.test_service import Manager
from harness import backend as program
from harness.hungfs import HungFilesystem
from harness.wait import hold_for, wait_until

from .conftest import SLOWER

HUNG, GONE = ("backend", "hung"), ("backend", "unreachable")
READ_TIMEOUT = 1.0  # fastcgi_read_timeout
AT_ONCE = 0.5
# At the exit the leak checker stops all threads. It waits for ever for one that hangs in the kernel.
LEAK_CHECKED = b"__asan_init" in open(program.PROGRAM, "rb").read()


def test_the_program_stopped(backend, nginx, fault):
    for _ in range(3):
        backend.process.send_signal(signal.SIGSTOP)
        fault.injected()
        fault.expect(nginx, READ_TIMEOUT + AT_ONCE, HUNG, once=False)
        backend.process.send_signal(signal.SIGCONT)
        backend.wait_status("healthy")
        fault.healed(nginx, 1)
    fault.judge()


def test_the_program_killed(backend, nginx, fault):
    fault.injected()
    backend.process.kill()
    fault.expect(nginx, AT_ONCE, GONE)
    hold_for(lambda: nginx.ask().status == 503, 0.5, "503 while it is gone")
    backend.start()
    backend.wait_status("healthy")
    fault.healed(nginx, 1)


def test_the_programs_socket_unlinked(backend, start_backend, nginx, fault):
    """nginx must keep no connection here, because it would still get a response through one."""
    os.unlink(backend.socket)
    fault.injected()
    fault.expect(nginx, AT_ONCE, GONE)
    start_backend().wait_status("healthy")
    fault.healed(nginx, 1)


@pytest.fixture
def hung(directory):
    """A file system that hangs on each access."""
    try:
        filesystem = HungFilesystem(f"{directory}/hung")
    except OSError as error:
        pytest.skip(f"mounting a FUSE file system: {error}")
    yield filesystem
    filesystem.release()


def point(link, target):
    """Atomically makes link a symbolic link to target."""
    os.symlink(target, link + ".new")
    os.rename(link + ".new", link)


def test_a_reload_from_a_hung_file_system_delays_no_response(start_backend, directory, checks_file, hung):
    path, link = checks_file("-- check: one\nSELECT 1;\n"), f"{directory}/link.sql"
    point(link, path)
    manager = Manager(f"{directory}/notify")
    backend = start_backend(HEALTH_CHECKS=link, HEALTH_INTERVAL="200ms", NOTIFY_SOCKET=manager.path)
    backend.wait_status("healthy")
    manager.wait_for("READY=1")
    manager.messages.clear()
    point(link, f"{hung.path}/checks.sql")
    backend.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    hold_for(lambda: not manager.has("READY=1"), 2, "the reload goes on")
    answers = []

    def reported():
        answers.append(backend.ask().status)
        return backend.events("reload delayed")
    wait_until(reported, 15, "the error in the log")
    manager.wait_for("READY=1")
    assert set(answers) == {200}
    assert "not read within" in backend.document("/api/status")["config"]["checks_error"]
    hold_for(lambda: len(backend.events("reload delayed")) == 1 and backend.ask().status == 200, 2.5, "one line")
    # The next reload leaves the hung read alone, and reads the file that is there now.
    checks_file("-- check: one\nSELECT 1;\n-- check: two\nSELECT 2;\n")
    point(link, path)
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: backend.document()["counts"] == {"one": 1, "two": 2}, 10, "the new check")
    assert not backend.document("/api/status")["config"]["checks_error"]
    hung.release()
    hold_for(lambda: backend.document()["counts"] == {"one": 1, "two": 2}, 1, "the hung reading changes nothing")


def test_a_file_system_that_answers_late_is_read_all_the_same(start_backend, directory, checks_file, hung):
    link = f"{directory}/link.sql"
    point(link, checks_file("-- check: one\nSELECT 1;\n"))
    backend = start_backend(HEALTH_CHECKS=link, HEALTH_INTERVAL="200ms")
    backend.wait_status("healthy")
    point(link, f"{hung.path}/checks.sql")
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: backend.events("reload delayed"), 15, "it is late")
    hung.release()
    wait_until(lambda: backend.events("reload refused"), 10, "what became of it")


def test_a_stop_during_a_reload_that_hangs_is_clean(start_backend, directory, checks_file, hung):
    link = f"{directory}/link.sql"
    point(link, checks_file("-- check: one\nSELECT 1;\n"))
    backend = start_backend(HEALTH_CHECKS=link)
    backend.wait_status("healthy")
    point(link, f"{hung.path}/checks.sql")
    tasks = f"/proc/{backend.process.pid}/task"
    before = len(os.listdir(tasks))
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(os.listdir(tasks)) > before, 10, "the thread that reads")
    if LEAK_CHECKED:
        hung.release()
    assert backend.stop() == 0


@pytest.fixture
def watched(directory):
    """The directory of a drain file, and a link to it that a test may turn elsewhere."""
    os.mkdir(f"{directory}/real")
    point(f"{directory}/link", f"{directory}/real")
    return f"{directory}/real", f"{directory}/link"


def touch(path):
    with open(path, "w", encoding="ascii"):
        pass


@pytest.mark.parametrize("status, code", [("draining", 503), ("healthy", 200)])
def test_a_hung_file_system_of_the_drain_file_changes_and_delays_no_response(start_backend, directory, hung, watched,
                                                                            status, code):
    real, link = watched
    if status == "draining":
        touch(f"{real}/drain")
    manager = Manager(f"{directory}/notify")
    backend = start_backend(HEALTH_DRAIN_FILE=f"{link}/drain", NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="5000000")
    backend.wait_status(status)
    point(link, hung.path)
    answers = []

    def reported():
        began = time.monotonic()
        answers.append((backend.ask().status, time.monotonic() - began < 1))
        return backend.events("drain lookup failed")
    (line,) = wait_until(reported, 20, "the log line")
    assert line["error"].startswith("no answer") and line["state"] == ("draining" if code == 503 else "serving")
    assert backend.document("/api/status")["process"]["drain_error"] == line["error"]
    manager.messages.clear()
    hold_for(lambda: reported() == [line], 1.5, "one line")
    assert set(answers) == {(code, True)}
    manager.wait_for("WATCHDOG=1")
    # The file system answers again: from now on the file counts.
    point(link, real)
    hung.release()
    if status == "draining":
        os.unlink(f"{real}/drain")
    else:
        touch(f"{real}/drain")
    wait_until(lambda: backend.ask().status != code, 5, "what the file says now")
    wait_until(lambda: backend.events("drain lookup recovered"), 5, "the log line")


def test_a_start_does_not_wait_for_a_hung_file_system_of_the_drain_file(start_backend, hung):
    """A node that nobody can look for the file of is in service."""
    began = time.monotonic()
    backend = start_backend(HEALTH_DRAIN_FILE=f"{hung.path}/drain")
    backend.wait_status("healthy")
    assert time.monotonic() - began < 3 * SLOWER
    assert [line["state"] for line in backend.events("drain lookup failed")] == ["serving"]
    if LEAK_CHECKED:
        hung.release()
    began = time.monotonic()
    assert backend.stop() == 0
    assert time.monotonic() - began < 3 * SLOWER


def test_a_drain_file_that_a_file_system_shows_late_counts(start_backend, hung, watched):
    real, link = watched
    point(link, hung.path)
    backend = start_backend(HEALTH_DRAIN_FILE=f"{link}/drain")
    backend.wait_status("healthy")
    touch(f"{real}/drain")
    point(link, real)
    hung.release()
    backend.wait_status("draining", 5)
