"""The drain by hand under a real systemd: the file outlives every restart, with each shipped way to get the socket."""
import contextlib

import pytest
from harness.wait import wait_until

from .conftest import documented_commands
from .test_units import commands_of, drop_in_as_its_head_says

DEFAULT = "/run/health-api/drain"
UNITS = ("health-api.socket", "health-api.service")


@contextlib.contextmanager
def drained(machine, file=DEFAULT):
    """Takes the node out, and takes it in again at the end."""
    machine.shell(documented_commands("drain").replace(DEFAULT, file))
    try:
        machine.wait_status("draining", 5)
        yield
    finally:
        machine.shell(documented_commands("undrain").replace(DEFAULT, file))
    machine.wait_status("healthy")


def since(machine):
    return machine.ask("/api/status")[2]["process"]["draining_since"]


def order(machine, *words):
    """Gives systemctl an order that starts a new process. Returns when that one answers."""
    before = machine.main_pid()
    machine.run("systemctl", *words)
    wait_until(lambda: machine.main_pid() not in (0, before), 20, "a new process")
    wait_until(lambda: machine.ask()[1] == "backend", 20, "its answer")


@pytest.mark.parametrize("variant", ["as installed", "own-socket.conf", "a file of its own"])
def test_no_restart_ends_a_drain(machine, variant):
    with contextlib.ExitStack() as stack:
        file = DEFAULT
        if variant == "own-socket.conf":
            stack.enter_context(drop_in_as_its_head_says(machine, variant))
        if variant == "a file of its own":
            file = "/run/maintenance"
            stack.enter_context(machine.changed(environment=f"HEALTH_DRAIN_FILE={file}\n"))
        machine.wait_status("healthy")
        # It is gone after a reboot.
        assert machine.shell(f"stat --file-system --format=%T $(dirname {file})") == "tmpfs\n"
        stack.enter_context(drained(machine, file))
        began = since(machine)
        with machine.stream() as stream:
            order(machine, "restart", "health-api.service")
            order(machine, "kill", "--kill-whom=main", "--signal=SIGKILL", "health-api.service")
            machine.run("systemctl", "stop", *UNITS)
            order(machine, "start", *UNITS if variant != "own-socket.conf" else UNITS[1:])
            assert since(machine) == began
            stream.wait_for_more(10)
        assert {answer["status"] for answer in stream.results} == {503}
        assert {answer["says"] for answer in stream.results if answer["source"] == "backend"} == {"draining"}
        assert machine.ask("/api/health/live")[0] == 200
        assert machine.status_text() == "draining: process: draining"
        assert machine.show("health-api.service", "ActiveState") == {"ActiveState": "active"}


def test_a_change_of_the_socket_and_back_does_not_end_a_drain(machine):
    with drained(machine):
        for heading in ("Install it", "Go back"):
            machine.shell(commands_of("own-socket.conf", heading))
            wait_until(lambda: machine.ask()[1] == "backend", 20, f"an answer after '{heading}'")
            assert machine.ask()[2]["status"] == "draining"


def test_only_root_can_take_the_node_out(machine):
    for user in ("health-api", "www-data", "nobody"):
        assert machine.run("runuser", "-u", user, "--", "touch", DEFAULT, check=False).returncode != 0, user
    assert machine.ask()[2]["status"] == "healthy"
