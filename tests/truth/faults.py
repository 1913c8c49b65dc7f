"""The faults. Each one is a generator. It causes the fault and yields the time of its begin; then it ends the fault and
yields the time of its end. If it is closed in between, it also ends the fault.

Unless a comment says otherwise, it takes each time before the act, so that no measured time is too short."""
import os
import signal
import time

from harness.wait import wait_until

from .firewall import Dropping

READY = "database system is ready to accept connections"


def _state(pid):
    """Returns the process state of proc(5); T: it is stopped."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0]


def server_frozen(stage):
    server = stage.cluster
    began = time.monotonic()
    try:
        os.kill(server.postmaster_pid, signal.SIGSTOP)  # from now on no new process starts
        server.signal_all(signal.SIGSTOP)
        wait_until(lambda: all(_state(pid) == "T" for pid in server.processes()), 5, "the server is stopped")
        yield began
    finally:
        ended = time.monotonic()
        server.signal_all(signal.SIGCONT)
    yield ended


def server_frozen_busy(stage):
    with stage.busy():
        yield from server_frozen(stage)


def postmaster_frozen(stage):
    pid = stage.cluster.postmaster_pid
    began = time.monotonic()
    try:
        os.kill(pid, signal.SIGSTOP)
        yield began
    finally:
        ended = time.monotonic()
        os.kill(pid, signal.SIGCONT)
    yield ended


def login_refused(stage):
    began = time.monotonic()
    try:
        stage.let_in("reject")
        yield began
    finally:
        ended = time.monotonic()
        stage.let_in()
    yield ended


def no_connection_left(stage):
    sessions, began = stage.use_up_connections()
    try:
        yield began
    finally:
        ended = time.monotonic()
        for session in sessions:
            session.close()
    yield ended


def server_stopped(stage):
    server = stage.cluster
    pid = server.postmaster_pid
    began = time.monotonic()
    os.kill(pid, signal.SIGQUIT)  # pg_ctl stop -m immediate
    try:
        yield began
    finally:
        server.wait_gone(pid)
        log_end = stage.log_end()
        server.start(wait=False)
        ended = stage.wait_logged(READY, log_end)
    yield ended


def black_hole(stage):
    with Dropping(stage.port):
        began = time.monotonic()  # after iptables(8), which takes tens of milliseconds and changes the kernel's rules last
        yield began
        ended = time.monotonic()
    yield ended


def table_dropped(stage):
    with stage.superuser() as execute:
        began = time.monotonic()
        execute("DROP TABLE debates")
        try:
            yield began
        finally:
            ended = time.monotonic()
            execute("CREATE TABLE debates AS TABLE spare_debates; GRANT SELECT ON debates TO health_api")
    yield ended


def table_locked(stage):
    with stage.superuser() as execute:
        began = time.monotonic()
        execute("BEGIN; LOCK TABLE debates IN ACCESS EXCLUSIVE MODE")
        try:
            yield began
        finally:
            ended = time.monotonic()
            execute("ROLLBACK")
    yield ended


def table_too_small(stage):
    with stage.superuser() as execute:
        began = time.monotonic()
        execute("DELETE FROM debates WHERE position = 'for'")
        try:
            yield began
        finally:
            ended = time.monotonic()
            execute("INSERT INTO debates OVERRIDING SYSTEM VALUE TABLE spare_debates EXCEPT TABLE debates")
    yield ended


def server_crashed(stage):
    """Kills the server process of another client, as the kernel does when memory is short. The server ends all sessions
    and recovers by itself. The fault begins when the postmaster notices, because until then everything works."""
    with stage.superuser() as execute:
        pid = execute("SELECT pg_backend_pid()")[0][0]
        log_end = stage.log_end()
        os.kill(pid, signal.SIGKILL)
        yield stage.wait_logged("was terminated by signal 9", log_end)
        yield stage.wait_logged(READY, log_end)
