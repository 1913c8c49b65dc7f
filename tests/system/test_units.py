"""The README's installation, the units, and what systemd shows about them."""
import contextlib
import json
import os
import re

import pytest
from harness.cluster import FEW_EDGES, ROOT
from harness.wait import wait_until

from .conftest import documented_commands

DROP_INS = os.path.join(ROOT, "systemd", "health-api.service.d")
UNITS = "/usr/local/lib/systemd/system"


def test_the_commands_of_the_readme_start_the_service(machine, installation):
    assert "Active: active (running)" in installation
    assert "Status: \"" in installation and machine.status_text() == "healthy"
    status, source, document = machine.ask()
    assert (status, source) == (200, "backend")
    assert document["counts"]["edges"] == FEW_EDGES
    shown = machine.show("health-api.socket", "ActiveState", "Triggers", "NConnections")
    assert shown["ActiveState"] == "active"


def test_the_command_of_the_runbook_shows_the_services_own_view(machine):
    document = json.loads(machine.shell(documented_commands("once")))
    assert document["status"] == "healthy"
    assert document["counts"]["edges"] == FEW_EDGES


def test_the_command_of_the_runbook_leaves_no_failed_unit_when_the_database_is_down(machine):
    machine.run("systemctl", "stop", "postgresql@15-main.service")
    try:
        document = json.loads(machine.shell(documented_commands("once"), check=False))
        assert [entry["check"] for entry in document["failing"]] == ["database"]
        wait_until(lambda: machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "run-*.service").stdout == "",
                   10, "no unit is left")
    finally:
        machine.run("systemctl", "start", "postgresql@15-main.service")
    machine.wait_status("healthy")


def test_ask_shows_the_answer_of_the_service_to_the_users_of_its_socket(machine):
    document = json.loads(machine.shell(documented_commands("ask")))
    assert document["status"] == "healthy" and document["transitions"]

    def ask_as(user):
        return machine.run("runuser", "-u", user, "--", "/usr/local/bin/health-api", "--ask", check=False)
    assert [ask_as(user).returncode for user in ("root", "health-api", "www-data")] == [0, 0, 0]
    denied = ask_as("nobody")
    assert denied.returncode == 69 and denied.stdout == ""
    assert "user nobody may not connect: the socket is that of user health-api and group www-data, mode 0660" in denied.stderr


def test_ask_names_the_environment_file_if_the_service_is_stopped_and_its_command_asks_as_the_service(machine):
    machine.run("systemctl", "stop", "health-api.socket", "health-api.service")
    try:
        stopped = machine.run("/usr/local/bin/health-api", "--ask", check=False)
        assert stopped.returncode == 69
        assert "there is no socket" in stopped.stderr and "/etc/health-api/environment was not read" in stopped.stderr
    finally:
        machine.run("systemctl", "start", "health-api.socket", "health-api.service")
    machine.wait_status("healthy")
    assert json.loads(machine.shell(stopped.stderr.splitlines()[-1]))["status"] == "healthy"


def commands_of(drop_in, heading):
    """What the head of a drop-in has below these words, as this machine has it."""
    with open(f"{DROP_INS}/{drop_in}", encoding="utf-8") as file:
        found = re.search(rf"^# {heading}.*:\n((?:#   .*\n)+)", file.read(), re.M)
    return re.sub("^#   ", "", found[1], flags=re.M).replace("PREFIX", "/usr/local")


@contextlib.contextmanager
def drop_in_as_its_head_says(machine, name):
    """Installs it and goes back: after that the service and its socket are as before."""
    def state():
        return (machine.shell("stat -c '%n %A %U:%G' /run/health-api /run/health-api/*; cat /etc/health-api/environment"),
                machine.show("health-api.socket", "ActiveState", "LoadState"), machine.shell("find /etc/systemd/system ! -type d"))
    # Another test may have left the directory as it is without systemd's socket.
    machine.shell("systemctl stop health-api.socket health-api && rm -rf /run/health-api && systemctl start health-api.socket health-api")
    before = state()
    machine.shell(commands_of(name, "Install it"))
    try:
        yield
    finally:
        machine.shell(commands_of(name, "Go back"))
    machine.wait_status("healthy")
    assert state() == before


def test_the_units_are_clean(machine):
    # Not every machine has man(1). test_uninstall.py shows that the pages are installed.
    done = machine.run("systemd-analyze", "verify", "--man=no", f"{UNITS}/health-api.service",
                       f"{UNITS}/health-api.socket", check=False)
    assert done.returncode == 0
    assert "health-api" not in done.stdout + done.stderr


@pytest.mark.parametrize("unit,shipped", [
    ("health-api.socket", {"SocketUser": "health-api", "SocketGroup": "www-data", "SocketMode": "0660", "FlushPending": "no",
                           "StartLimitIntervalUSec": "0", "TriggerLimitIntervalUSec": "0", "Backlog": "511"}),
    ("health-api.service", {"Type": "notify", "WatchdogUSec": "10s", "Restart": "always", "RestartUSec": "300ms",
                            "StartLimitIntervalUSec": "0", "TimeoutStopUSec": "10s", "MemoryMax": str(64 << 20),
                            "TasksMax": "16", "LimitNOFILE": "1024", "User": "health-api"}),
    ("health-watch.service", {"Type": "exec", "SuccessExitStatus": "1", "StartLimitIntervalUSec": "0", "TasksMax": "64",
                              "RuntimeMaxUSec": "5min"}),
    ("health-watch.timer", {"AccuracyUSec": "1s", "Persistent": "yes"}),
])
def test_the_shipped_units_have_the_promised_settings(machine, unit, shipped):
    assert machine.show(unit, *shipped) == shipped


def test_the_sandbox_without_a_drop_in(machine):
    assert exposure(machine) <= 1.1


def exposure(machine):
    text = machine.run("systemd-analyze", "security", "health-api.service").stdout
    return float(re.search(r"Overall exposure level for health-api.service: (\S+)", text).group(1))


def test_the_sandbox_with_a_database_over_tcp(machine):
    with drop_in_as_its_head_says(machine, "database-tcp.conf"):
        machine.wait_status("healthy")
        assert exposure(machine) <= 1.0


def test_the_sandbox_with_a_database_on_its_unix_socket_and_no_password(machine):
    """The head of the drop-in after the README's commands: their PGHOST=127.0.0.1 is out of reach in this sandbox."""
    pg_hba, pg_ident = machine.shell("ls /etc/postgresql/*/main/pg_hba.conf /etc/postgresql/*/main/pg_ident.conf").split()
    machine.shell(f"""
        cp {pg_hba} /run/pg_hba
        {{ echo 'local knowledge health_api peer map=health'; cat /run/pg_hba; }} >{pg_hba}
        echo 'health health-api health_api' >>{pg_ident}
        systemctl reload postgresql""")
    try:
        with drop_in_as_its_head_says(machine, "database-unix.conf"):
            machine.wait_status("healthy")
            assert exposure(machine) <= 0.5
            assert json.loads(machine.shell(documented_commands("once")))["status"] == "healthy"
    finally:
        machine.shell(f"cp /run/pg_hba {pg_hba} && systemctl reload postgresql")


def test_a_socket_of_its_own_and_back_to_that_of_systemd(machine):
    """Nothing said how: the socket stayed masked."""
    with drop_in_as_its_head_says(machine, "own-socket.conf"):
        for _ in range(2):
            machine.wait_status("healthy")
            assert machine.show("health-api.socket", "ActiveState", "SubState") == {"ActiveState": "inactive", "SubState": "dead"}
            machine.run("systemctl", "enable", "--now", "health-api.socket", "health-api.service")  # once more, by the README
            machine.run("systemctl", "restart", "health-api.service")
        assert exposure(machine) <= 2.2


def test_back_from_a_socket_of_its_own_where_0_1_0_had_that_of_systemd_masked(machine):
    with drop_in_as_its_head_says(machine, "own-socket.conf"):
        machine.run("systemctl", "mask", "health-api.socket")
        machine.run("systemctl", "restart", "health-api.service")
        machine.wait_status("healthy")


def test_limits_hold_with_room(machine):
    pid = machine.host_pid(machine.main_pid())
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines())
    assert int(status["VmHWM"].split()[0]) < 16 * 1024  # kB, of MemoryMax=64M
    assert int(status["Threads"]) == 3
    assert status["CapEff"].strip("0") == "" and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


def test_systemctl_status_follows_the_database(machine):
    assert machine.status_text() == "healthy"
    machine.run("systemctl", "stop", "postgresql@15-main.service")
    wait_until(lambda: machine.status_text().startswith("degraded: database: "), 10, "the status text")
    machine.run("systemctl", "start", "postgresql@15-main.service")
    wait_until(lambda: machine.status_text() == "healthy", 10, "the status text")


def test_a_broken_database_does_not_keep_the_unit_from_starting(machine):
    with machine.changed(environment="PGPORT=1\n"):
        wait_until(lambda: machine.show("health-api.service", "ActiveState")["ActiveState"] == "active", 20, "active")
        wait_until(lambda: machine.status_text() == "degraded: database: unreachable", 10, "the status text")
