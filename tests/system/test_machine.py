"""The machine of the tests leaves nothing behind."""
import os
import signal

import pytest
from harness.machine import Machine
from harness.wait import wait_until


@pytest.mark.parametrize("end", ["in order", "killed"])
def test_a_machine_leaves_no_process_mount_file_or_cgroup(end):
    machine = Machine()
    try:
        machine.boot()
        inside = machine.host_pid(1)
        if end == "killed":
            os.kill(machine.runner.pid, signal.SIGKILL)
            wait_until(lambda: not os.path.exists(f"/proc/{inside}"), 20, "its first process is gone")
    finally:
        machine.shut_down()
    assert not os.path.exists(f"/proc/{inside}")
    assert machine.directory not in open("/proc/mounts", encoding="utf-8").read()
    assert not os.path.exists(machine.directory)
    assert not any(os.path.exists(cgroup) for cgroup in machine.cgroups)


def test_what_this_machine_has_enabled_does_not_run_in_it():
    """An Apache on port 80, say, of which nginx could not start."""
    machine = Machine()
    try:
        machine.boot()
        assert machine.run("systemctl", "list-unit-files", "--state=enabled", "--no-legend", check=False).stdout == ""
        assert os.listdir(machine.path("/etc/systemd/system")) == []
    finally:
        machine.shut_down()


def test_a_setup_that_fails_shows_what_the_unit_has_said(fresh_machine):
    """The second start of the unit has nothing to say. systemctl status would show its lines alone, and on a busy machine
    it would leave out the first line of the first start, too."""
    fresh_machine.write("/run/systemd/system/broken.service",
                        "[Service]\nType=oneshot\nRuntimeDirectory=broken\nRuntimeDirectoryPreserve=yes\n"
                        "ExecStart=/bin/sh -c 'cd /run/broken; mkdir said && echo port $$((79 + 1)) is taken; exit 1'\n")
    try:
        fresh_machine.run("systemctl", "start", "broken.service", check=False)
        with pytest.raises(AssertionError, match="port 80 is taken"):
            fresh_machine.run("systemctl", "start", "broken.service")
    finally:
        fresh_machine.run("systemctl", "reset-failed", "broken.service")
        fresh_machine.run("rm", "-r", "/run/broken")
        os.unlink(fresh_machine.path("/run/systemd/system/broken.service"))
        fresh_machine.run("systemctl", "daemon-reload")
