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
