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
        booted.shell("rm -rf /var/lib/health-watch")  # a run on this machine itself may have left something there
        install(booted)
        yield booted
    finally:
        booted.shut_down()


def files(machine):
    """Whatever there is of this project, but for what docs/nginx.md lets the administrator copy for nginx."""
    return set(machine.shell("find /usr/local /etc /var/lib /run/health-api /run/systemd ! -type d 2>/dev/null | grep -E 'health-(api|watch)' "
                             "| grep -v ^/etc/nginx/", check=False).splitlines())


def test_uninstall_stops_and_removes_all_but_changed_configuration(other_machine):
    installed = files(other_machine)
    assert {"/usr/local/bin/health-api", "/usr/local/share/man/man8/health-api.8",
            "/usr/local/share/doc/health-api/docs/runbook.md",
            "/usr/local/share/doc/health-api/docs/schema/status.json"} <= installed
    other_machine.shell("systemctl enable --now health-watch.timer && systemctl start --wait health-watch.service", check=False)
    assert {"/var/lib/health-watch/health-api.service.state.lock", "/var/lib/systemd/timers/stamp-health-watch.timer"} \
        <= files(other_machine)
    pid = other_machine.main_pid()
    text = other_machine.shell(f"make -C {SOURCE} uninstall")
    assert not os.path.exists(other_machine.path(f"/proc/{pid}"))
    assert files(other_machine) == {"/etc/health-api/environment"}  # it has the password that the README's commands added
    assert "kept /etc/health-api/environment" in text
    assert other_machine.show("health-api.service", "LoadState")["LoadState"] == "not-found"
    other_machine.shell(f"make -C {SOURCE} install && systemctl enable --now health-api.socket health-api.service")
    other_machine.wait_status("healthy")
    assert files(other_machine) == installed


def test_an_update_replaces_and_removes_what_nobody_has_changed(other_machine):
    """git pull brings new files; what was shipped before and is as it was is nobody's work."""
    other_machine.shell(f"""cp -a {SOURCE} /opt/newer; cd /opt/newer
        for file in sql/checks.sql watchdog/watch.conf systemd/environment; do echo '# new' >>$file; done
        sed -i 's/# new/-- new/' sql/checks.sql""")
    text = other_machine.shell("make -C /opt/newer install")
    assert "kept /etc/health-api/environment: it is not the one that was shipped" in text
    assert "# new" not in other_machine.shell("cat /etc/health-api/environment")
    assert "-- new" in other_machine.shell("cat /etc/health-api/checks.sql")
    assert "# new" in other_machine.shell("cat /etc/health-watch/watch.conf")
    other_machine.shell(f"make -C {SOURCE} uninstall")
    assert files(other_machine) == {"/etc/health-api/environment"}
