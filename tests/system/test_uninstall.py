"""`make install` and `make uninstall`, on separate machines."""
import os

import pytest
from harness.machine import SOURCE

from .conftest import Service, install, prepare

PRINTABLE = "".join(map(chr, range(0x20, 0x7f)))
# Where an installation could leave something, without what others write there meanwhile: logs, caches, PostgreSQL's data,
# and what systemd notes of the units that run.
PLACES = "/etc /opt /srv /usr /var /run"
OF_OTHERS = ["/opt/health-api-source", "/var/lib/systemd/timers", "/var/log", "/var/cache", "/var/tmp", "/var/lib/postgresql", "/run/systemd", "/run/log"]

# A first count took 680 ms on a busy machine. Past HEALTH_QUERY_TIMEOUT it fails, and is asked again half a minute later.
HEALTHY_WITHIN_S = 90


@pytest.fixture
def bare_machine():
    booted = Service()
    try:
        booted.boot()
        booted.shell("rm -rf /var/lib/health-watch")  # a run on the real machine may have left something there
        prepare(booted)
        yield booted
    finally:
        booted.shut_down()


@pytest.fixture
def other_machine(bare_machine):
    install(bare_machine)
    return bare_machine


def files(machine):
    """Returns all files of this project, except those that docs/nginx.md tells the administrator to copy for nginx."""
    return set(machine.shell("find /usr/local /etc /var/lib /run/health-api /run/systemd ! -type d 2>/dev/null | grep -E 'health-(api|watch)' "
                             "| grep -v ^/etc/nginx/", check=False).splitlines())


def listing(machine):
    """Of the file system: each path with its type, mode and owner."""
    pruned = " -o ".join(f"-path {path}" for path in OF_OTHERS)
    text = machine.shell(rf"find {PLACES} -xdev \( {pruned} \) -prune -o -printf '%p %y %m %U:%G\n'")
    assert len(text.splitlines()) > 10000
    return set(text.splitlines())


def of_systemd(machine):
    """The project's units as systemd has them in memory, and their links and masks."""
    return (machine.shell("systemctl list-units --all --plain --no-legend 'health-*'")
            + machine.shell("find /etc/systemd /run/systemd/system -name '*health-*'"))


def test_the_readmes_commands_keep_every_byte_of_a_password_and_uninstall_leaves_what_the_readme_names(bare_machine):
    """`pa%ss\\w` arrived as `pasw`; directories, failed units and the socket's directory stayed."""
    bare_machine.write("/run/password", PRINTABLE + " \n")
    before = listing(bare_machine)
    install(bare_machine, "/run/password")
    bare_machine.wait_status("healthy", HEALTHY_WITHIN_S)
    commands = f"make -C {SOURCE} install && systemctl restart health-api"  # as the README says of an update
    bare_machine.shell(commands)
    bare_machine.wait_status("healthy", HEALTHY_WITHIN_S)
    install(bare_machine, "/run/password")  # nor does it hurt to begin again
    bare_machine.shell("systemctl restart health-api")
    bare_machine.wait_status("healthy", HEALTHY_WITHIN_S)
    bare_machine.shell("systemctl enable --now health-watch.timer && systemctl start --wait health-watch.service", check=False)
    bare_machine.shell(f"make -C {SOURCE} uninstall")
    user = bare_machine.shell("id -u health-api").strip() + ":" + bare_machine.shell("id -g health-api").strip()
    assert listing(bare_machine) - before == {
        "/etc/health-api d 755 0:0", "/etc/health-api/environment f 600 0:0", f"/etc/health-api/pgpass f 600 {user}"}
    assert before - listing(bare_machine) == set()
    assert of_systemd(bare_machine) == ""


def test_a_password_that_is_made_up_again_changes_nothing(other_machine):
    """The role keeps its own: the README's commands again, with another one, must not take the service out."""
    other_machine.wait_status("healthy", HEALTHY_WITHIN_S)
    install(other_machine)
    other_machine.shell("systemctl restart health-api")
    other_machine.wait_status("healthy", HEALTHY_WITHIN_S)


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
    # The README's commands have added the address of the database and the password.
    assert files(other_machine) == {"/etc/health-api/environment", "/etc/health-api/pgpass"}
    assert "kept /etc/health-api/environment" in text and "kept /etc/health-api/pgpass" in text
    assert other_machine.show("health-api.service", "LoadState")["LoadState"] == "not-found"
    other_machine.shell(f"make -C {SOURCE} install && systemctl enable --now health-api.socket health-api.service")
    other_machine.wait_status("healthy", HEALTHY_WITHIN_S)
    assert files(other_machine) == installed


def test_uninstall_leaves_no_failed_unit_and_no_mask_of_the_socket(other_machine):
    """Version 0.1.0 asked for a masked socket with own-socket.conf. After the next installation `systemctl enable` failed."""
    other_machine.run("systemctl", "stop", "health-api.socket", "health-api.service")
    other_machine.run("systemctl", "start", "--wait", "health-watch.service", check=False)
    assert other_machine.show("health-watch.service", "ActiveState")["ActiveState"] == "failed"
    other_machine.run("systemctl", "mask", "--now", "health-api.socket")
    other_machine.run("systemctl", "mask", "health-watch.timer")  # no instructions ask for this one: it stays
    other_machine.shell(f"make -C {SOURCE} uninstall")
    assert of_systemd(other_machine) == "/etc/systemd/system/health-watch.timer\n"
    install(other_machine)
    other_machine.wait_status("healthy", HEALTHY_WITHIN_S)
    assert other_machine.show("health-api.socket", "ActiveState")["ActiveState"] == "active"


def test_an_update_replaces_and_removes_unchanged_files(other_machine):
    """git pull brings new files. `make install` replaces an old one if it is still as it was shipped."""
    other_machine.shell(f"""cp -a {SOURCE} /opt/newer; cd /opt/newer
        for file in sql/checks.sql watchdog/watch.conf systemd/environment systemd/pgpass; do echo '# new' >>$file; done
        sed -i 's/# new/-- new/' sql/checks.sql""")
    text = other_machine.shell("make -C /opt/newer install")
    for name in ("environment", "pgpass"):
        assert f"kept /etc/health-api/{name}: it is not the one that was shipped" in text
        assert "# new" not in other_machine.shell(f"cat /etc/health-api/{name}")
    assert "-- new" in other_machine.shell("cat /etc/health-api/checks.sql")
    assert "# new" in other_machine.shell("cat /etc/health-watch/watch.conf")
    other_machine.shell(f"make -C {SOURCE} uninstall")
    assert files(other_machine) == {"/etc/health-api/environment", "/etc/health-api/pgpass"}
