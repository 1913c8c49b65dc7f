"""How the program gets the listening socket, and names the process that has it."""
import os
import signal
import socket
import stat
import subprocess
import sys

from harness import backend as program
from harness import process
from harness.fastcgi import Connection
from harness.wait import wait_until
from harness.webserver import free_port


def settings(cluster, directory, **changes):
    from harness.backend import CHECKS
    return {**cluster.environment(), "HEALTH_CHECKS": CHECKS,
            "HEALTH_LISTEN": f"unix:{directory}/health-api.sock", **changes}


def test_a_unix_socket_has_mode_0660_by_default(start_backend):
    backend = start_backend(HEALTH_SOCKET_MODE=None)
    assert stat.S_IMODE(os.stat(backend.socket).st_mode) == 0o660


def test_the_socket_is_removed_at_exit(start_backend):
    backend = start_backend()
    assert backend.stop() == 0
    assert not os.path.exists(backend.socket)


def test_another_socket_at_the_same_path_is_not_removed_at_exit(start_backend):
    backend = start_backend()
    os.unlink(backend.socket)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(backend.socket)
        assert backend.stop() == 0
        assert os.path.exists(backend.socket)


def test_a_live_path_exits_69_and_names_the_holder(backend, cluster, directory):
    done = program.run(**settings(cluster, directory))
    assert done.returncode == 69
    assert f"pid {backend.pid}" in done.stderr and "health-api" in done.stderr and "user " in done.stderr
    assert backend.ask().status == 200


def test_a_holder_that_hangs_with_a_full_backlog_is_named_too(cluster, directory):
    path = f"{directory}/health-api.sock"
    code = f"import socket,time; s=socket.socket(1); s.bind({path!r}); s.listen(0); time.sleep(600)"
    holder = process.start([sys.executable, "-c", code])
    clients = []
    try:
        def is_full():
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            clients.append(client)
            try:
                client.connect(path)
            except BlockingIOError:
                return True
            except OSError:
                pass
            return False
        wait_until(is_full, 10, "the backlog is full")
        done = program.run(**settings(cluster, directory))
        assert done.returncode == 69
        assert f"pid {holder.pid}" in done.stderr
    finally:
        for client in clients:
            client.close()
        process.end(holder)


def test_a_stale_socket_is_replaced(start_backend, directory):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{directory}/health-api.sock")
    assert start_backend().ask("/api/health/live").status == 200


def test_a_file_that_is_not_a_socket_is_left_alone(cluster, directory):
    path = f"{directory}/health-api.sock"
    with open(path, "w", encoding="ascii") as file:
        file.write("precious")
    done = program.run(**settings(cluster, directory))
    assert done.returncode == 78
    assert "HEALTH_LISTEN" in done.stderr and path in done.stderr
    with open(path, encoding="ascii") as file:
        assert file.read() == "precious"


def test_a_tcp_port_on_loopback_serves_and_a_second_program_names_the_first(start_backend, cluster, directory):
    port = free_port()
    backend = start_backend(wait=False, HEALTH_LISTEN=f"tcp:127.0.0.1:{port}")
    backend.address = ("127.0.0.1", port)
    wait_until(backend.accepts, 10, "accepts on TCP")
    assert backend.ask("/api/health/live").status == 200
    done = program.run(**settings(cluster, directory, HEALTH_LISTEN=f"tcp:127.0.0.1:{port}"))
    assert done.returncode == 69
    assert f"pid {backend.pid}" in done.stderr


def test_tcp_beyond_loopback_is_refused(cluster, directory):
    for address in ("0.0.0.0:9000", "10.0.0.1:9000", "[::]:9000", "example.org:9000", "127.0.0.1:0", "127.0.0.1"):
        done = program.run(**settings(cluster, directory, HEALTH_LISTEN=f"tcp:{address}"))
        assert done.returncode == 78, address
        assert f"tcp:{address}" in done.stderr and "expected" in done.stderr


def test_the_program_serves_a_listening_fd_0_and_leaves_it_open_for_its_owner(start_backend, directory):
    path = f"{directory}/own.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        backend = start_backend(wait=False, HEALTH_LISTEN=None, popen={"stdin": listener})
        backend.address = path
        wait_until(backend.accepts, 10, "accepts on fd 0")
        assert backend.ask("/api/health/live").status == 200
        assert backend.stop() == 0
        assert os.path.exists(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)  # the listener was not shut down
            listener.accept()[0].close()


ACTIVATE = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen(16)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], [sys.argv[2]])
"""


def test_the_program_serves_a_socket_from_systemd(cluster, directory):
    path = f"{directory}/activated.sock"
    child = process.start([sys.executable, "-c", ACTIVATE, path, program.PROGRAM],
                          env=program.environment(**settings(cluster, directory, HEALTH_LISTEN=None)),
                          log=f"{directory}/activated.log")
    try:
        def answers():
            try:
                with Connection(path) as connection:
                    return connection.ask("/api/health/live").status == 200
            except OSError:
                return False
        wait_until(answers, 10, "answers on systemd's socket")
    finally:
        assert process.end(child) == 0
    assert os.path.exists(path)


def test_an_unusable_socket_directory_exits_78(cluster, directory):
    done = program.run(**settings(cluster, directory, HEALTH_LISTEN=f"unix:{directory}/missing/health-api.sock"))
    assert done.returncode == 78
    assert "HEALTH_LISTEN" in done.stderr and "missing" in done.stderr and "expected" in done.stderr


def test_an_unwritable_socket_directory_exits_78(cluster, directory, checks_file):
    argv = [process.copy_for_anyone(program.PROGRAM, directory)]
    checks = checks_file("-- check: one\nSELECT 1;\n")
    if os.geteuid() == 0:
        argv = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *argv]
    else:
        os.chmod(directory, 0o555)
    env = program.environment(**settings(cluster, directory, HEALTH_CHECKS=checks))
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
                          check=False)
    os.chmod(directory, 0o755)
    assert done.returncode == 78
    assert "HEALTH_LISTEN" in done.stderr and "Permission denied" in done.stderr


def test_sigterm_during_start_up_ends_the_program(start_backend):
    backend = start_backend(wait=False)
    backend.process.send_signal(signal.SIGTERM)
    assert backend.process.wait(5) in (0, -signal.SIGTERM)
