"""Rare cases of the listening socket: modes, groups, strange files, other families, several sources."""
import grp
import contextlib
import os
import signal
import socket
import stat
import sys

import pytest
from harness.backend import CHECKS
from harness import backend as program
from harness import process
from harness.fastcgi import Connection, request
from harness.wait import wait_until
from harness.webserver import free_port


def settings(cluster, **changes):
    return {**cluster.environment(), "HEALTH_CHECKS": CHECKS, **changes}


@pytest.mark.parametrize("mode", ["0600", "0666", "0777", "0"])
def test_the_socket_has_the_set_mode_whatever_the_umask(start_backend, mode):
    before = os.umask(0o077)
    try:
        backend = start_backend(HEALTH_SOCKET_MODE=mode, wait=os.geteuid() == 0)
    finally:
        os.umask(before)
    wait_until(lambda: os.path.exists(backend.socket), 5, "the socket")
    assert stat.S_IMODE(os.stat(backend.socket).st_mode) == int(mode, 8)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to any group")
def test_the_socket_has_the_set_group(start_backend):
    backend = start_backend(HEALTH_SOCKET_GROUP="nogroup")
    assert grp.getgrgid(os.stat(backend.socket).st_gid).gr_name == "nogroup"


def test_an_unknown_group_exits_78_and_leaves_no_socket(cluster, directory):
    path = f"{directory}/s"
    done = program.run(**settings(cluster, HEALTH_LISTEN=f"unix:{path}", HEALTH_SOCKET_GROUP="no-such-group"))
    assert done.returncode == 78
    assert "HEALTH_SOCKET_GROUP='no-such-group'" in done.stderr
    assert not os.path.exists(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/null", path),
                                  lambda path: os.symlink("/no/such", path)],
                         ids=["fifo", "directory", "link", "dangling link"])
def test_any_other_file_at_the_path_is_left_alone(cluster, directory, make):
    path = f"{directory}/health-api.sock"
    make(path)
    before = os.lstat(path)
    done = program.run(**settings(cluster, HEALTH_LISTEN=f"unix:{path}"))
    assert done.returncode == 78
    assert path in done.stderr and "expected" in done.stderr
    assert (os.lstat(path).st_ino, os.lstat(path).st_mode) == (before.st_ino, before.st_mode)


def test_a_live_holder_is_named_with_its_command_and_keeps_its_socket(cluster, directory):
    path = f"{directory}/health-api.sock"
    code = f"import socket,time; s=socket.socket(1); s.bind({path!r}); s.listen(9); time.sleep(600)  # rogue"
    holder = process.start([sys.executable, "-c", code])
    try:
        def listens():
            with socket.socket(socket.AF_UNIX) as client:
                return client.connect_ex(path) == 0
        wait_until(listens, 10, "the rogue listens")
        inode = os.stat(path).st_ino
        done = program.run(**settings(cluster, HEALTH_LISTEN=f"unix:{path}"))
        assert done.returncode == 69
        assert f"pid {holder.pid}" in done.stderr and "import socket" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert os.stat(path).st_ino == inode
    finally:
        process.end(holder)


def test_a_busy_tcp_port_exits_69_and_names_the_holder(cluster):
    code = "import socket,sys,time; s=socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
    port = free_port()
    holder = process.start([sys.executable, "-c", code, str(port)])
    try:
        def listens():
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0
        wait_until(listens, 10, "the rogue listens")
        done = program.run(**settings(cluster, HEALTH_LISTEN=f"tcp:127.0.0.1:{port}"))
        assert done.returncode == 69
        assert f"pid {holder.pid}" in done.stderr and "python3" in done.stderr
    finally:
        process.end(holder)


def test_a_port_is_free_at_once_after_a_stop(start_backend):
    port = free_port()
    for _ in range(3):
        backend = start_backend(wait=False, HEALTH_LISTEN=f"tcp:127.0.0.1:{port}")
        backend.address = ("127.0.0.1", port)
        wait_until(backend.accepts, 10, "accepts on TCP")
        with Connection(backend.address) as kept:
            kept.ask("/api/health/live")
            assert backend.stop() == 0


def test_the_program_serves_the_ipv6_loopback(start_backend):
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        port = probe.getsockname()[1]
    start_backend(wait=False, HEALTH_LISTEN=f"tcp:[::1]:{port}")

    def accepts():
        with socket.socket(socket.AF_INET6) as client:
            return client.connect_ex(("::1", port)) == 0
    wait_until(accepts, 10, "accepts on ::1")


def test_an_inherited_socket_beyond_loopback_is_refused(cluster):
    with socket.create_server(("0.0.0.0", 0)) as listener:
        child = process.start([program.PROGRAM], stdin=listener, env=program.environment(**settings(cluster)))
        assert child.wait(10) == 78


def test_health_listen_wins_over_an_inherited_socket(start_backend, directory):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/inherited")
        listener.listen(4)
        backend = start_backend(popen={"stdin": listener})
        assert backend.ask("/api/health/live").status == 200
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{directory}/inherited")
            listener.settimeout(5)
            listener.accept()[0].close()  # no other process has accepted it


def test_sockets_that_systemd_passed_to_another_process_are_not_taken(start_backend):
    backend = start_backend(LISTEN_PID=1, LISTEN_FDS=1, LISTEN_FDNAMES="x")
    assert backend.ask("/api/health/live").status == 200


@pytest.mark.skipif(os.path.exists("/run/health-api"), reason="the default's directory exists here")
def test_an_error_without_any_socket_names_the_default_path(cluster):
    done = program.run(**settings(cluster))
    assert done.returncode == 78
    assert "unix:/run/health-api/health-api.sock" in done.stderr and "default" in done.stderr


def test_a_fd_3_that_is_not_a_socket_is_refused(cluster):
    code = ("import os,sys; os.dup2(os.open('/dev/null', 0), 3); os.environ.update(LISTEN_PID=str(os.getpid()),"
            " LISTEN_FDS='1'); os.execv(sys.argv[1], sys.argv[1:])")
    child = process.start([sys.executable, "-c", code, program.PROGRAM], env=program.environment(**settings(cluster)))
    assert child.wait(10) == 78


def test_the_successor_answers_what_waits_in_the_backlog(directory, cluster):
    """systemd keeps the socket open between two runs. A request that comes in between must not be lost."""
    path = f"{directory}/kept.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        env = program.environment(**settings(cluster))
        for _ in range(3):
            with Connection(path) as early:
                child = process.start([program.PROGRAM], env=env, stdin=listener, log=f"{directory}/run.log")
                assert early.ask("/api/health/live").status == 200
                assert process.end(child) == 0


def test_the_program_serves_when_it_starts_with_closed_standard_descriptors(start_backend, cluster, directory):
    path = f"{directory}/closed.sock"
    env = program.environment(**settings(cluster, HEALTH_LISTEN=f"unix:{path}"))
    code = "import os,sys; os.closerange(0, 3); os.execv(sys.argv[1], sys.argv[1:])"
    child = process.start([sys.executable, "-c", code, program.PROGRAM], env=env)

    def answers():
        try:
            with Connection(path) as connection:
                return connection.ask().status == 200
        except OSError:
            return False
    try:
        wait_until(answers, 10, "it serves")
        for fd in ("0", "1", "2"):
            assert os.readlink(f"/proc/{child.pid}/fd/{fd}") == "/dev/null"
    finally:
        assert process.end(child) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a capability away")
def test_a_granted_capability_stays(start_backend, cluster, directory):
    """`make run` below /root needs this: the capability lets the user of PostgreSQL pass through /root."""
    private = f"{directory}/private"
    os.mkdir(private, 0o700)
    os.symlink(f"{cluster.directory}/.s.PGSQL.5432", f"{private}/.s.PGSQL.5432")
    os.chmod(directory, 0o777)
    capable = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=+dac_override",
               "--ambient-caps=+dac_override"]
    backend = start_backend(popen={"wrapper": capable}, PGHOST=private)
    backend.wait_status("healthy")


@pytest.mark.parametrize("how", [socket.SHUT_RDWR, socket.SHUT_RD], ids=["both ways", "for reading"])
@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_the_program_ends_at_once_when_another_process_shuts_down_its_socket(start_backend, directory, family, how):
    """shutdown(2) affects all processes that share the socket: no client can connect any more, and systemd's copy is
    dead, too."""
    listener = socket.create_server(("127.0.0.1", 0)) if family == "tcp" else socket.socket(socket.AF_UNIX)
    with listener:
        if family == "unix":
            listener.bind(f"{directory}/inherited")
            listener.listen(16)
        backend = start_backend(wait=False, HEALTH_LISTEN=None, HEALTH_DRAIN="5m", popen={"stdin": listener})
        backend.address = listener.getsockname()
        backend.wait_status("healthy")
        listener.shutdown(how)
        assert backend.process.wait(5) == 1
    line, = backend.events("listening socket shut down")
    assert line["level"] == "error" and line["listen"] == "fd 0" and "health-api.socket" in line["remedy"]


def test_the_last_requests_are_answered_when_a_supervisor_stops_the_program_and_shuts_down_the_socket(start_backend, directory):
    def gets_its_response(place):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{directory}/{place}.sock")
            listener.listen(16)
            backend = start_backend(wait=False, place=place, HEALTH_LISTEN=None, popen={"stdin": listener})
            backend.address = listener.getsockname()
            backend.wait_status("healthy")
            with Connection(backend.address) as half:
                whole = request("/api/health/live")
                half.send(whole[:20])
                for _ in range(2):  # it has read the first half by then
                    assert backend.ask().status == 200
                backend.process.send_signal(signal.SIGTERM)
                wait_until(lambda: backend.events("stop requested"), 5, "the stop has begun", interval_s=0.001)
                listener.shutdown(socket.SHUT_RDWR)
                wait_until(lambda: backend.events("listening socket shut down") or backend.process.poll() is not None, 5,
                           "it knows", interval_s=0.001)
                with contextlib.suppress(OSError, EOFError):
                    half.send(whole[20:])
                    return half.receive().status == 200
        return False
    # The program waits for 250 ms. The test itself may have to wait for a processor.
    assert any(gets_its_response(place) for place in "abcde")
