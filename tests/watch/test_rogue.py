"""Rogues: real processes that hold the port or socket of the service but do not belong to its unit."""
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from harness import process as children
from harness import watchdog as w
from harness.cgroup import Cgroup
from harness.wait import wait_until
from harness.webserver import free_port

LISTEN = """
import os, signal, socket, sys, time
address, polite, workers = sys.argv[1], sys.argv[2] == "polite", int(sys.argv[3])
if not polite:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if address.startswith("/"):
    s = socket.socket(socket.AF_UNIX)
    s.bind(address)
else:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", int(address)))
s.listen(16)
for _ in range(workers):
    if os.fork() == 0:
        break
while True:
    c, _ = s.accept()
    try:
        c.recv(65536)
        c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nhi")
    except OSError:
        pass
    c.close()
"""

# The first process of a pid namespace listens, forks itself, and starts another program; both inherit the listener.
FIRST = """
import os, socket, subprocess, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(16)
fork = os.fork()
if fork == 0:
    time.sleep(60)
other = subprocess.Popen(["sleep", "60"], pass_fds=[s.fileno()])
out = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, text=True).stdout
print(fork, other.pid, out)
"""

LOOP = {"active": "activating", "sub": "auto-restart", "pid": 0, "restarts": 99, "result": "exit-code", "cgroup": ""}


@pytest.fixture
def start_rogue(directory):
    started, groups = [], []

    def start(address, manner="polite", workers=0, unit=None):
        """unit: the name of the rogue's control group."""
        argv = [sys.executable, "-c", LISTEN, str(address), manner, str(workers)]
        if unit:
            groups.append(Cgroup(unit, directory))
            argv = groups[-1].command(argv)
        rogue = children.start(argv, log=os.path.join(directory, "rogue.log"))
        started.append(rogue)

        def accepts():
            with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as probe:
                return probe.connect_ex(address if isinstance(address, str) else ("127.0.0.1", address)) == 0
        wait_until(accepts, 10, "the rogue listens")
        return rogue
    yield start
    for rogue in started:
        try:
            os.killpg(rogue.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        rogue.wait()
    for group in groups:
        group.remove()


needs_cgroups = pytest.mark.skipif(os.geteuid() != 0, reason="a control group needs root")


@pytest.fixture(params=["tcp", "unix"])
def address(request, directory):
    """Where the service listens: base_url, the listener of the watch file, and the address for socket calls."""
    if request.param == "tcp":
        port = free_port()
        return f"http://127.0.0.1:{port}", f"tcp:127.0.0.1:{port}", port
    path = os.path.join(directory, "service.sock")
    return f"unix:{path}", f"unix:{path}", path


def test_a_rogue_is_named_and_left_alone_by_default(dog, systemctl, start_rogue, address):
    base_url, listener, at = address
    rogue = start_rogue(at)
    systemctl.says(**LOOP)
    dog.write(base_url, "core /", unit="site", listener=listener)
    done = dog.run()
    assert done.code == 2, done
    assert re.search(rf"rogue: a process that does not belong to site.service holds {re.escape(listener)}: "
                     rf"pid {rogue.pid} \(user \w+\) since \d{{4}}-\d\d-\d\dT[\d:.]+Z: \S*python3 .*, in /", done.out), done
    assert "recovery: evict_rogue is no: the rogue is left alone" in done.out
    assert done.summary.startswith("1 OK")  # the site seems to work
    assert rogue.poll() is None and systemctl.orders() == []
    document = dog.run("--json").document
    assert [entry["pid"] for entry in document["rogues"]] == [rogue.pid]


@pytest.mark.parametrize("manner,workers", [("polite", 0), ("deaf", 0), ("polite", 2), ("deaf", 2), ("polite", 80)])
def test_a_rogue_is_evicted_and_the_unit_comes_back(dog, systemctl, start_rogue, start_site, address, manner, workers):
    base_url, listener, at = address
    rogue = start_rogue(at, manner, workers)
    systemctl.says(**LOOP)
    systemctl.on("restart", 'touch "$dir/up"', says={"pid": 4243, "started_s_ago": 0})
    up = os.path.join(systemctl.directory, "up")

    def systemd():
        wait_until(lambda: os.path.exists(up), 30, "the restart is ordered")
        if isinstance(at, str):
            os.unlink(at)
            start_site(at)
        else:
            start_site(port=at)
    manager = threading.Thread(target=systemd, daemon=True)
    manager.start()
    dog.write(base_url, "core /", unit="site", listener=listener, evict_rogue="yes")
    done = dog.run()
    assert done.code == 1, done
    assert rogue.wait(10) == (-signal.SIGTERM if manner == "polite" else -signal.SIGKILL)
    assert f"evict pid {rogue.pid}" in done.out
    assert (workers < 5) == ("more" not in done.out), "the report names a few rogues and counts the rest"
    assert "site.service runs as pid 4243 and answers" in done.out
    assert systemctl.orders() == ["restart"]
    assert done.seconds < 10
    manager.join(10)


def test_a_unit_that_starts_by_itself_after_the_eviction_is_not_restarted(dog, systemctl, start_rogue, start_site, address):
    """systemd is faster: it restarts the unit while the rogue exits."""
    base_url, listener, at = address
    rogue = start_rogue(at)
    systemctl.says(**LOOP)

    def systemd():
        rogue.wait(30)
        # A moment later than a real restart, since this process is not in the unit's control group and would count as a rogue.
        wait_until(lambda: os.path.exists(os.path.join(systemctl.directory, "asked")), 30, "the look after the eviction")
        if isinstance(at, str):
            os.unlink(at)
            start_site(at)
        else:
            start_site(port=at)
        systemctl.says(pid=4243, started_s_ago=0)
        systemctl.write("up", "")
    manager = threading.Thread(target=systemd, daemon=True)
    # After the rogue's exit systemctl answers only when the unit has started.
    systemctl.on("show", f"grep -q '^State:.[^Z]' /proc/{rogue.pid}/status 2>/dev/null || "
                         '{ touch "$dir/asked"; until [ -e "$dir/up" ]; do sleep 0.02; done; }')
    manager.start()
    dog.write(base_url, "core /", unit="site", listener=listener, evict_rogue="yes")
    done = dog.run()
    manager.join(10)
    assert done.code == 1, done
    assert systemctl.orders() == []


def test_a_dry_run_reports_the_eviction_and_does_nothing(dog, systemctl, start_rogue, address):
    base_url, listener, at = address
    rogue = start_rogue(at)
    systemctl.says(**LOOP)
    dog.write(base_url, "core /", unit="site", listener=listener, evict_rogue="yes")
    done = dog.run("--dry-run")
    assert done.code == 2
    assert "recovery: dry run, would now evict the rogue and make sure that site.service runs" in done.out
    assert rogue.poll() is None and systemctl.orders() == []


def test_the_unit_s_own_process_is_no_rogue(dog, systemctl, start_rogue, address):
    base_url, listener, at = address
    rogue = start_rogue(at)
    systemctl.says(cgroup="/", pid=rogue.pid)
    dog.write(base_url, "core /", unit="site", listener=listener, evict_rogue="yes")
    done = dog.run()
    assert (done.code, rogue.poll()) == (0, None), done


def test_a_fork_of_systemd_that_has_not_yet_executed_its_program_is_no_rogue(dog, directory):
    """It still holds the sockets of pid 1, and is not in the control group of its unit yet."""
    if os.geteuid() != 0:
        pytest.skip("needs root to be pid 1 of a namespace")
    path = os.path.join(directory, "service.sock")
    dog.systemctl.says(cgroup="/system.slice/site.service")
    dog.write("http://127.0.0.1:9", "core /", unit="site", listener=f"unix:{path}", tries=1)
    done = subprocess.run(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", FIRST, path,
                           w.PROGRAM, "--dry-run", dog.file], env=dog.environment(), text=True, stdout=subprocess.PIPE,
                          timeout=60, check=True)
    fork, other, out = done.stdout.split(" ", 2)
    assert f"pid {other} (user root)" in out
    assert f"pid {fork} " not in out


def test_a_listener_without_a_holder_is_no_rogue(dog, site, systemctl, address):
    dog.write(site.url, "core /", unit="site", listener=address[1], evict_rogue="yes")
    assert dog.run().code == 0


def test_a_wildcard_listener_includes_every_address(dog, systemctl, start_rogue):
    port = free_port()
    rogue = start_rogue(port)
    systemctl.says(**LOOP)
    dog.write(f"http://127.0.0.1:{port}", "core /", unit="site", listener=f"tcp:*:{port}")
    assert f"pid {rogue.pid} " in dog.run().out


def test_a_hung_rogue_is_evicted_too(dog, systemctl, start_rogue, address):
    """It accepts no connection any more: its backlog is full, and every try times out."""
    base_url, listener, at = address
    rogue = start_rogue(at)
    rogue.send_signal(signal.SIGSTOP)
    systemctl.says(**LOOP)
    dog.write(base_url, "core /", unit="site", listener=listener, evict_rogue="yes", restart_wait="1s")
    done = dog.run()
    assert f"evict pid {rogue.pid}" in done.out, done
    assert rogue.wait(10) == -signal.SIGKILL


def test_an_eviction_counts_against_the_budget(dog, systemctl, start_rogue, address):
    base_url, listener, at = address
    systemctl.says(**LOOP)
    dog.write(base_url, "core /", unit="site", listener=listener, evict_rogue="yes", budget="1", restart_wait="1s")
    start_rogue(at)
    assert dog.run().code == 2
    if isinstance(at, str):
        os.unlink(at)
    rogue = start_rogue(at)
    done = dog.run()
    assert "RECOVERY BUDGET SPENT" in done.out
    assert rogue.poll() is None


def test_a_rogue_at_the_listener_of_a_stopped_unit_is_left_alone(dog, systemctl, start_rogue, address):
    """Somebody has stopped the unit and runs the program by hand."""
    base_url, listener, at = address
    rogue = start_rogue(at)
    systemctl.says(active="inactive", sub="dead", pid=0, cgroup="")
    dog.write(base_url, "core /", unit="site", listener=listener, evict_rogue="yes")
    done = dog.run()
    assert done.code == 2
    assert "was stopped or never started" in done.out
    assert rogue.poll() is None and systemctl.orders() == []


def test_a_unit_is_not_killed_for_the_silence_of_a_rogue(dog, systemctl, start_rogue, address):
    base_url, listener, at = address
    rogue = start_rogue(at)
    rogue.send_signal(signal.SIGSTOP)
    systemctl.says(cgroup="/system.slice/site.service")
    dog.write(base_url, "core /", unit="site", listener=listener)
    done = dog.run()
    assert done.code == 2
    assert "evict_rogue is no: the rogue is left alone" in done.out
    assert systemctl.orders() == []


def test_a_user_who_cannot_see_all_processes_is_told_so(dog, systemctl, start_rogue):
    """An unprivileged monitoring user runs --dry-run as a plugin."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    port = free_port()
    start_rogue(port)
    dog.write(f"http://127.0.0.1:{port}", "core /", unit="site", listener=f"tcp:127.0.0.1:{port}")
    os.chmod(systemctl.directory, 0o777)
    done = dog.run("--dry-run", user=65534, group=65534, extra_groups=[])
    assert done.code == 0, done
    assert f"rogue: cannot tell which processes hold tcp:127.0.0.1:{port}: this user cannot see all of them" in done.out


@needs_cgroups
@pytest.mark.parametrize("unit,says,evicted", [
    ("other.service", {"pid": 1}, False),  # a child of its main process, such as docker-proxy of dockerd
    ("other.service", {"active": "activating", "sub": "auto-restart", "pid": 0}, False),
    ("other.service", {"active": "inactive", "sub": "dead", "pid": 0}, True),  # KillMode=process has left it behind
    ("other.service", {"active": "failed", "sub": "failed", "pid": 0}, True),
    ("other.service", {"load": "not-found", "active": "inactive", "sub": "dead", "pid": 0}, False),  # it belongs to another systemd
    ("docker-0123.scope", {"pid": 0}, False),
    ("session-7.scope", {"pid": 0}, True),  # a user who is logged in has started it
    ("no-unit-at-all", {"pid": 0}, False),  # it belongs to a container without systemd
], ids=["child", "restarting", "stopped", "failed", "unknown", "container", "session", "foreign"])
def test_a_process_of_another_unit_is_not_evicted_unless_that_unit_is_down(dog, systemctl, start_rogue, address, unit, says, evicted):
    base_url, listener, at = address
    rogue = start_rogue(at, unit=unit)
    systemctl.says(**LOOP)
    systemctl.says(unit, **says)
    dog.write(base_url, "core /", unit="site", listener=listener, evict_rogue="yes", restart_wait="1s")
    done = dog.run()
    assert done.code == 2, done
    if evicted:
        assert rogue.wait(10) == -signal.SIGTERM
        assert f"evict pid {rogue.pid}" in done.out
    else:
        assert rogue.poll() is None and systemctl.orders() == []
        assert f"pid {rogue.pid} " in done.out
        assert re.search(rf"recovery: the rogue belongs to \S*{unit}: left alone; stop that, or correct 'listener'", done.out), done


@needs_cgroups
def test_if_one_rogue_must_stay_none_is_evicted(dog, systemctl, start_rogue):
    """A process that may be evicted shares the socket with one of another service: to evict only one would not help."""
    port = free_port()
    own = start_rogue(port, workers=1)
    worker = wait_until(lambda: children.of(own.pid), 20, "its worker")[0]
    group = Cgroup("other.service", dog.directory)
    group.enter(worker)
    systemctl.says(**LOOP)
    systemctl.says("other.service", pid=1)
    dog.write(f"http://127.0.0.1:{port}", "core /", unit="site", listener=f"tcp:127.0.0.1:{port}", evict_rogue="yes")
    done = dog.run()
    Cgroup.leave(worker)
    group.remove()
    assert done.code == 2 and "the rogue belongs to other.service" in done.out, done
    assert own.poll() is None and systemctl.orders() == []


@needs_cgroups
@pytest.mark.parametrize("fails", ["exit 1", "sleep 60", "echo garbage; exit 0"], ids=["fails", "hangs", "garbage"])
def test_nothing_is_evicted_if_systemd_does_not_answer_about_its_unit(dog, systemctl, start_rogue, fails):
    port = free_port()
    rogue = start_rogue(port, workers=2, unit="other.service")
    systemctl.says(**LOOP)
    systemctl.on("show", f'case "$*" in *other.service) {fails} ;; esac')
    dog.write(f"http://127.0.0.1:{port}", "core /", unit="site", listener=f"tcp:127.0.0.1:{port}", evict_rogue="yes")
    done = dog.run()
    assert done.code == 2, done
    assert "recovery: the rogue belongs to other.service (" in done.out
    assert rogue.poll() is None and systemctl.orders() == []
    assert done.seconds < 15, "health-watch asks systemd once for all processes of a unit"


def test_an_ipv6_only_socket_on_the_same_port_is_no_rogue(dog, site, systemctl):
    """The socket of nginx's "listen [::]:N" is IPV6_V6ONLY: it never gets a packet for 127.0.0.1:N."""
    systemctl.says(cgroup="/system.slice/site.service")
    port = free_port()
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", port))
        other.listen(5)
        dog.write(site.url, "core /", unit="site", listener=f"tcp:127.0.0.1:{port}", evict_rogue="yes")
        done = dog.run()
        assert (done.code, systemctl.orders()) == (0, []), done
        other.close()
    with socket.socket(socket.AF_INET6) as dual:
        dual.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        dual.bind(("::", port))
        dual.listen(5)
        assert f"pid {os.getpid()} " in dog.run("--dry-run").out


@needs_cgroups
def test_a_rogue_is_found_among_more_processes_than_the_program_lists(dog, systemctl, start_rogue):
    """A prefork server of the unit has 80 processes; one process outside the unit holds the socket too."""
    port = free_port()
    server = start_rogue(port, workers=80, unit="site.service")
    wait_until(lambda: len(children.of(server.pid)) == 80, 20, "its workers")
    with open(f"/proc/{server.pid}/cgroup", encoding="ascii") as file:
        cgroup = next(line.strip().split(":", 2)[2] for line in file if line.strip().endswith("/site.service"))
    systemctl.says(cgroup=cgroup, pid=server.pid)
    dog.write(f"http://127.0.0.1:{port}", "core /", unit="site", listener=f"tcp:127.0.0.1:{port}")
    done = dog.run()
    assert (done.code, done.lines[:-1]) == (0, []), done
    foreign = children.of(server.pid)[-1]
    Cgroup.leave(foreign)
    done = dog.run()
    assert done.code == 2
    assert f"pid {foreign} " in done.out and "cannot tell" not in done.out
    systemctl.says(cgroup="/system.slice/site.service")  # now none of them belongs to the unit
    assert "rogue: 59 more processes hold it, and others that were not counted" in dog.run().out
