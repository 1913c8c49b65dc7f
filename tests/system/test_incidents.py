"""The three incidents that led to this program, each as it happened."""
import json
import os
import signal
import subprocess
import time

import pytest
from harness.machine import numbers_of
from harness.wait import hold_for, wait_until

from .conftest import NGINX_TAKES_S, documented_commands
from .watching import site_command

OWN_SOCKET = os.path.join(os.path.dirname(__file__), "..", "..", "systemd", "health-api.service.d", "own-socket.conf")
SOCKET = "/run/health-api/health-api.sock"
ROGUE = "exec env PGHOST=127.0.0.1 PGPORT=1 HEALTH_LISTEN={} /usr/local/bin/health-api"


# Connects without a request, like a health check of the port.
CONNECT = """
import socket, sys
for _ in range(8):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
"""


def start_rogue(machine, listen):
    """Starts a health-api as if by hand."""
    return subprocess.Popen(machine.command("sh", "-c", ROGUE.format(listen)), stderr=subprocess.DEVNULL)


def pids_of(rogue):
    """Returns the pid of nsenter's child on this machine, and its pid on the machine under test."""
    with open(f"/proc/{rogue.pid}/task/{rogue.pid}/children", encoding="ascii") as file:
        pid = int(file.read())
    return pid, int(numbers_of(pid)[-1])


def end_rogue(rogue):
    if rogue.poll() is None:
        os.kill(pids_of(rogue)[0], signal.SIGTERM)
    rogue.wait(10)


def test_the_first_command_of_the_runbook_says_what_fails(machine):
    machine.run("systemctl", "stop", "postgresql@15-main.service")
    try:
        wait_until(lambda: machine.ask()[:2] == (503, "backend"), 10, "503")
        document = json.loads(machine.shell(documented_commands("first")))
        assert document["failing"][0]["check"] == "database" and document["transitions"][0]["to"] == "degraded"
    finally:
        machine.run("systemctl", "start", "postgresql@15-main.service")
    machine.wait_status("healthy")


def test_the_site_does_not_show_the_status(machine):
    text = machine.run("curl", "-s", "http://127.0.0.1/api/status").stdout
    assert json.loads(text)["status"] == 403 and "http://127.0.0.1:8078/api/status" in text


@pytest.mark.parametrize("kind", ["path", "port"])
def test_incident_1_a_rogue_process_holds_the_path_or_port(machine, kind):
    """The unit failed for ever with "address already in use", and its log did not say who held the address."""
    listen = f"unix:{SOCKET}" if kind == "path" else "tcp:127.0.0.1:9001"
    settings = open(OWN_SOCKET, encoding="utf-8").read()
    if kind == "port":
        settings += f"\nEnvironment=HEALTH_LISTEN={listen} HEALTH_SOCKET_GROUP=\n"
    with machine.changed(settings, socket=False):
        wait_until(lambda: machine.status_text() == "healthy", 15, "healthy on its own socket")
        with open(machine.path(f"/proc/{machine.main_pid()}/status"), encoding="ascii") as file:
            assert "CapPrm:\t0000000000000000" in file.read()
        machine.run("systemctl", "stop", "health-api.service")
        end = machine.journal_end()
        rogue = start_rogue(machine, listen)
        try:
            wait_until(lambda: "9001" in machine.run("ss", "-Hltn").stdout if kind == "port"
                       else os.path.exists(machine.path(SOCKET)), 10, "the rogue listens")
            machine.run("systemctl", "start", "--no-block", "health-api.service")
            wait_until(lambda: "held by pid" in machine.status_text(), 10, "the holder in the unit's status")
            holder = f"held by pid {pids_of(rogue)[1]} (user root): /usr/local/bin/health-api"

            def is_shown():
                """The status is there between two starts, and not during one."""
                text = machine.run("systemctl", "status", "health-api.service", check=False).stdout
                return any("Status:" in line and holder in line for line in text.splitlines())
            wait_until(is_shown, 10, "the holder in systemctl status")
            assert any("start failed" in line and holder in line for line in machine.journal(since=end).splitlines())
            hold_for(lambda: rogue.poll() is None, 2, "the rogue is left alone")
        finally:
            end_rogue(rogue)
        gone_s = time.clock_gettime(time.CLOCK_MONOTONIC)
        wait_until(lambda: machine.status_text() == "healthy", 10, "healthy once the rogue is gone")
        shown = machine.show("health-api.service", "RestartUSec", "ExecMainStartTimestampMonotonic")
        assert shown["RestartUSec"] == "300ms"
        # The next start comes after RestartSec=, and not after the ten seconds of a start with a bad setting. The rest is
        # time that the program and systemd need on a slow machine.
        assert int(shown["ExecMainStartTimestampMonotonic"]) / 1e6 - gone_s < 5


def test_incident_1_a_process_on_the_same_port_of_ipv6_is_not_named_as_the_holder(machine):
    """That process is older, and does not disturb the service."""
    settings = open(OWN_SOCKET, encoding="utf-8").read() + "\nEnvironment=HEALTH_LISTEN=tcp:127.0.0.1:9001 HEALTH_SOCKET_GROUP=\n"

    def listening():
        return len(machine.run("ss", "-Hltn", "sport = :9001").stdout.splitlines())
    with machine.by_hand(*site_command("[::]:9001").split()):
        wait_until(lambda: listening() == 1, 10, "the other one listens")
        with machine.changed(settings, socket=False):
            wait_until(lambda: machine.status_text() == "healthy", 15, "healthy beside the other one")
            machine.run("systemctl", "stop", "health-api.service")
            rogue = start_rogue(machine, "tcp:127.0.0.1:9001")
            try:
                wait_until(lambda: listening() == 2, 10, "the rogue listens")
                machine.run("systemctl", "start", "--no-block", "health-api.service")
                holder = f"held by pid {pids_of(rogue)[1]} (user root): /usr/local/bin/health-api"
                # The status is there between two starts, and not during one.
                told = wait_until(lambda: next((text for text in [machine.status_text()] if "held by" in text), None), 10,
                                  "a holder in the unit's status")
                assert holder in told
            finally:
                end_rogue(rogue)


def test_incident_1_with_socket_activation_the_conflict_cannot_happen(machine):
    rogue = start_rogue(machine, f"unix:{SOCKET}")
    assert rogue.wait(10) == 69
    assert machine.ask()[0] == 200
    # Even after another process has replaced the socket, the next start of the socket unit restores it.
    machine.run("rm", SOCKET)
    rogue = start_rogue(machine, f"unix:{SOCKET}")
    try:
        wait_until(lambda: os.path.exists(machine.path(SOCKET)), 10, "the rogue listens")
        machine.run("systemctl", "stop", "health-api.service")
        machine.run("systemctl", "restart", "health-api.socket")
        machine.run("systemctl", "start", "health-api.service")
        machine.wait_status("healthy")
        assert machine.main_pid() != 0
    finally:
        end_rogue(rogue)
    assert machine.ask()[:2] == (200, "backend")


def test_incident_2_a_hung_backend_that_accepts_connections_is_not_a_200(machine):
    """The port accepted, every request timed out, and the health route answered 200 for hours."""
    machine.wait_status("healthy")
    before, end = machine.main_pid(), machine.journal_end()
    os.kill(machine.host_pid(before), signal.SIGSTOP)
    began, asked_before = time.monotonic(), len(machine.request_times())
    status, source, document = machine.ask()
    assert (status, source) == (503, "nginx")
    wait_until(lambda: len(machine.request_times()) > asked_before, 5, "the request in nginx's log")
    assert machine.request_times()[asked_before] < NGINX_TAKES_S
    assert document["failing"] == [{"check": "backend", "reason": "hung"}]
    machine.wait_status("healthy", 30)
    # The shipped WatchdogSec= of the unit ends it without help. Its last ping was up to a second before.
    assert 10 - 1.5 < time.monotonic() - began < 10 + 5
    assert machine.main_pid() not in (0, before)
    assert "Watchdog timeout (limit 10s)" in machine.journal(since=end)


def test_incident_3_a_descriptor_leak_ends_the_whole_process_and_systemd_starts_it_again(machine):
    """The SIGTERM at the limit stopped the workers but not the process, which was never replaced."""
    library = "/run/leak.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", machine.path(library),
                    os.path.join(os.path.dirname(__file__), "leak.c"), "-ldl"], check=True)
    with machine.changed(f"Environment=LD_PRELOAD={library}", "HEALTH_FD_LIMIT=60\nHEALTH_MAX_CONNECTIONS=16\n"):
        machine.wait_status("healthy")
        before, end = machine.main_pid(), machine.journal_end()
        with machine.stream(per_second=100) as stream:

            def leak_until_replaced():
                machine.run("/usr/bin/python3", "-c", CONNECT, SOCKET)
                return machine.main_pid() not in (0, before)
            wait_until(leak_until_replaced, 30, "another main process")
            machine.wait_status("healthy")
        assert not os.path.exists(machine.path(f"/proc/{before}"))
        journal = machine.journal(since=end)
        line = next(line for line in journal.splitlines() if "descriptor limit exceeded" in line)
        assert "socket=" in line and "limit=60" in line
        strange = [answer for answer in stream.results if "error" in answer or answer["status"] not in (200, 503)]
        assert not strange
