"""make uninstall, on a machine of its own."""
import os

import pytest
from harness.machine import SOURCE

from .conftest import Service, install


@pytest.fixture
def other_machine():
    booted = Service()
    try:
        booted.boot()
        install(booted)
        yield booted
    finally:
        booted.shut_down()


def files(machine):
    return set(machine.shell("find /usr/local /etc/health-api /etc/systemd/system ! -type d 2>/dev/null | sort",
                             check=False).splitlines())


def test_uninstall_stops_and_removes_all_but_changed_configuration(other_machine):
    installed = files(other_machine)
    assert "/usr/local/bin/health-api" in installed
    pid = other_machine.main_pid()
    text = other_machine.shell(f"make -C {SOURCE} uninstall")
    assert not os.path.exists(other_machine.path(f"/proc/{pid}"))
    left = {path for path in files(other_machine) if "health" in path}
    assert left == {"/etc/health-api/environment"}  # it has the password that the README's commands have added
    assert "kept /etc/health-api/environment" in text
    assert other_machine.show("health-api.service", "LoadState")["LoadState"] == "not-found"
    other_machine.shell(f"make -C {SOURCE} install && systemctl enable --now health-api.socket health-api.service")
    other_machine.wait_status("healthy")
    assert files(other_machine) == installed
