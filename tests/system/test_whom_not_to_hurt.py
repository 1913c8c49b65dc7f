"""health-watch with a real systemd, in situations where a kill would do harm: the fault is that of a proxy, of the sandbox or
of another service, or an operator is at work."""
import contextlib
import os
import re
import signal
import subprocess

import pytest
from harness.machine import children_of
from harness.wait import wait_until

from .watching import (
    OWN_SITE,
    QUICK,
    UNIT,
    answers,
    drop_in,
    rogue,
    run_the_unit,
    service,
    shipped_with,
    site_command,
    site_unit,
    start_in_vain,
    watch,
)

HEALTH_SOCKET = "/run/health-api/health-api.sock"
LIVE = "core / liveness\n"
PROTOCOLS = pytest.mark.parametrize("protocol", ["fastcgi", None], ids=["listener_protocol fastcgi", "no listener_protocol"])


@contextlib.contextmanager
def untouched(machine, unit):
    """Checks that the unit has the same process afterwards."""
    before = machine.main_pid(unit)
    assert before != 0
    yield
    assert machine.main_pid(unit) == before


# The fault is that of a proxy.


@PROTOCOLS
def test_if_nginx_hangs_the_backend_is_not_killed(guarded, protocol):
    guarded.run("systemctl", "kill", "--kill-whom=all", "--signal=SIGSTOP", "nginx.service")
    try:
        with untouched(guarded, "health-api.service"):
            code, text = watch(guarded, conf=shipped_with(guarded, start_grace="0s", listener_protocol=protocol))
    finally:
        guarded.run("systemctl", "kill", "--kill-whom=all", "--signal=SIGCONT", "nginx.service")
    assert code == 2 and "core /api/health/live: no complete response within 1000 ms" in text, text
    assert (f"health-api.service answers at unix:{HEALTH_SOCKET}, so the fault is in front of it: left alone" if protocol else
            "health-api.service accepts connections, but without 'listener_protocol' health-watch cannot tell whether it answers") in text


@PROTOCOLS
def test_if_nginx_may_not_open_the_socket_the_backend_is_not_killed(guarded, protocol):
    # Without the restart nginx would use connections that it made before.
    guarded.shell(f"chown root:root {HEALTH_SOCKET}; chmod 600 {HEALTH_SOCKET}; systemctl restart nginx.service")
    try:
        assert guarded.ask() == (503, "nginx", {"status": "degraded", "failing": [{"check": "backend", "reason": "unreachable"}]})
        with untouched(guarded, "health-api.service"):
            code, text = watch(guarded, conf=shipped_with(guarded, start_grace="0s", listener_protocol=protocol))
    finally:
        guarded.shell(f"chown health-api:www-data {HEALTH_SOCKET}; chmod 660 {HEALTH_SOCKET}")
        guarded.wait_status("healthy")
    assert code == 2 and "core /api/health/live: 503 from nginx, the proxy cannot reach the backend" in text, text
    assert (f"health-api.service answers at unix:{HEALTH_SOCKET}, so the fault is in front of it: left alone" if protocol else
            "health-api.service accepts connections, but without 'listener_protocol' health-watch cannot tell whether it answers") in text


# The fault is that of the sandbox of health-watch.service.


@pytest.mark.parametrize("listener", ["", "listener unix:{}\n"], ids=["base_url", "base_url and listener"])
@pytest.mark.parametrize("path,property_", [("/tmp/app.sock", "PrivateTmp"), ("/root/app.sock", "ProtectHome")])
def test_a_socket_that_only_the_sandbox_hides_is_no_reason_to_kill(guarded, path, property_, listener):
    conf = f"base_url unix:{path}\n{QUICK}{LIVE}{listener.format(path)}"
    with service(guarded, site_unit(path)):
        wait_until(lambda: answers(guarded, url="http://localhost", options=["--unix-socket", path]), 20, "the site answers")
        with untouched(guarded, "site.service"):
            code, journal = run_the_unit(guarded, conf)
            assert code == 3 and "core /: failed on this machine: " in journal and "kill" not in journal, journal
            code, text = watch(guarded, "--check-config", conf=conf)
            assert code == 1 and f"warning: base_url {path} is hidden from {UNIT} by {property_}=" in text, text
            assert (f"warning: listener {path} is hidden" in text) == bool(listener)
            with drop_in(guarded, UNIT, f"[Service]\n{property_}=no\n"):
                code, journal = run_the_unit(guarded, conf)
                assert code == 0, journal
                assert "is hidden" not in watch(guarded, "--check-config", conf=conf)[1]


def test_if_the_sandbox_prevents_a_state_file_this_is_reported_and_nothing_is_killed(site):
    conf = OWN_SITE + LIVE + "state_file /srv/watch.state\n"
    site.shell("touch /run/hang")
    with untouched(site, "site.service"):
        code, journal = run_the_unit(site, conf)
    assert code == 2 and "core /: no complete response within 1000 ms" in journal, journal
    assert "state: cannot take the lock, so health-watch recovers nothing: /srv/watch.state.lock: Read-only file system" in journal
    code, text = watch(site, "--check-config", conf=conf)
    assert code == 1 and f"warning: state_file /srv/watch.state cannot be written by {UNIT} (ProtectSystem=strict)" in text, text
    with drop_in(site, UNIT, "[Service]\nReadWritePaths=-/srv/watch.state\n"):  # the lock is another file
        assert "cannot be written" in watch(site, "--check-config", conf=conf)[1]
        assert "recovers nothing" in run_the_unit(site, conf)[1]
    with drop_in(site, UNIT, "[Service]\nReadWritePaths=/srv\n"):
        assert "state_file" not in watch(site, "--check-config", conf=conf)[1]
        site.shell("rm /run/hang")
        code, journal = run_the_unit(site, conf)
        assert code == 0 and "Read-only" not in journal, journal
    site.shell("rm -f /srv/watch.state*")


# The service is still starting, or has already been restarted.


def test_a_service_that_takes_minutes_to_start_is_not_killed(guarded):
    guarded.shell("touch /run/hang")
    slow = site_unit("8000", "Type=notify\nTimeoutStartSec=5min")
    with service(guarded, slow, start=("start", "--no-block")):
        wait_until(lambda: guarded.run("ss", "-Hltn", "sport = :8000").stdout, 20, "the site listens")
        with untouched(guarded, "site.service"):
            code, text = watch(guarded, conf=OWN_SITE + LIVE)
        assert guarded.show("site.service", "ActiveState", "SubState") == {"ActiveState": "activating", "SubState": "start"}
    assert code == 2 and "site.service is being started (start): left to its TimeoutStartSec=" in text, text


def test_a_restart_by_an_operator_between_the_look_and_the_order_is_not_followed_by_a_kill(site):
    """After three tries health-watch asks systemd, and then the listener, for which it makes the fourth connection."""
    site.shell("touch /run/hang")
    before, end = site.main_pid("site.service"), site.journal_end("site.service")
    connections = "ss -Htn state established state close-wait 'sport = :8000' | wc -l"
    operator = subprocess.Popen(site.command("sh", "-c", f"until [ $({connections}) -ge 4 ]; do sleep 0.02; done; "
                                             "systemctl restart site.service"))
    try:
        conf = OWN_SITE + LIVE.replace("\n", " timeout 3s\n") + "listener_protocol http\n"
        code, text = watch(site, conf=conf)
        assert operator.wait(20) == 0
    finally:
        operator.kill()
    expected = f"recovery: not attempted: site.service has changed since it was judged, it was active as pid {before}"
    assert code == 2 and expected in text, text
    shown = site.show("site.service", "MainPID", "NRestarts", "ActiveState")
    assert shown["ActiveState"] == "active" and shown["NRestarts"] == "0" and int(shown["MainPID"]) not in (0, before), shown
    assert "KILL" not in site.journal("site.service", end)


# Another process holds the port.


def holder_of_port(machine):
    """The pid, in the machine, of the process that holds port 8000."""
    return int(re.search(r"pid=(\d+)", machine.run("ss", "-Hltnp", "sport = :8000").stdout).group(1))


@pytest.fixture
def at_the_port(site):
    """A site whose port is held by a child of another service; the main process of that service is a shell that holds no port.
    Yields the machine and the pid of the child."""
    site.run("systemctl", "stop", "site.service")
    other = f"[Service]\nKillMode=process\nExecStart=/bin/sh -c '{site_command('8000', '/run/none')} & wait'\n"
    with service(site, other, "other.service"):
        wait_until(lambda: answers(site), 20, "the other service answers")
        start_in_vain(site)
        yield site, holder_of_port(site)


def test_a_child_of_another_service_at_the_port_is_named_and_not_evicted(at_the_port):
    site, pid = at_the_port
    assert site.main_pid("other.service") not in (0, pid)
    code, text = watch(site, conf=OWN_SITE + LIVE + "evict_rogue yes\n")
    assert code == 2 and re.search(rf"not belong to site.service holds \S+: pid {pid} \(user root\) .* in \S*/other.service", text), text
    assert "the rogue belongs to other.service: left alone; stop that, or correct 'listener'" in text
    assert holder_of_port(site) == pid and site.main_pid("other.service") != 0


def test_a_process_that_a_stopped_service_left_behind_is_evicted(at_the_port):
    site, pid = at_the_port
    site.run("systemctl", "stop", "other.service")
    assert site.show("other.service", "ActiveState")["ActiveState"] == "inactive" and holder_of_port(site) == pid
    with open(site.path(f"/proc/{pid}/cgroup"), encoding="utf-8") as file:
        assert file.read().endswith("/other.service\n")
    code, text = watch(site, conf=OWN_SITE + LIVE + "evict_rogue yes\n")
    assert code == 1 and f"evict pid {pid}" in text, text
    assert not os.path.exists(site.path(f"/proc/{pid}"))
    assert site.show("site.service", "ActiveState")["ActiveState"] == "active" and answers(site)


def test_a_command_in_a_scope_of_its_own_at_the_port_is_named_and_not_evicted(site):
    """The command is a job that somebody has given to systemd with systemd-run --scope."""
    site.run("systemctl", "stop", "site.service")
    with rogue(site, "systemd-run", "--scope", "--quiet", "--unit=job.scope") as (process, pid):
        assert site.show("job.scope", "ActiveState")["ActiveState"] == "active"
        start_in_vain(site)
        code, text = watch(site, conf=OWN_SITE + LIVE + "evict_rogue yes\n")
        assert code == 2 and re.search(rf"pid {pid} \(user nobody\) .* in \S*/job.scope", text), text
        assert "the rogue belongs to job.scope: left alone; stop that, or correct 'listener'" in text
        assert process.poll() is None


def test_a_process_of_another_container_at_the_port_is_named_and_not_evicted(site):
    """The systemd of the machine does not know a process that nsenter starts."""
    site.run("systemctl", "stop", "site.service")
    foreign = subprocess.Popen(site.command(*site_command("8000", "/run/none").split()))
    try:
        wait_until(lambda: answers(site), 20, "the process of the other container answers")
        start_in_vain(site)
        code, text = watch(site, conf=OWN_SITE + LIVE + "evict_rogue yes\n")
        assert code == 2 and f"pid {holder_of_port(site)} (user root)" in text, text
        assert "the rogue belongs to /../..: left alone; stop that, or correct 'listener'" in text
        assert foreign.poll() is None
    finally:
        for pid in children_of(foreign.pid):
            os.kill(int(pid), signal.SIGKILL)
        foreign.wait(10)


def test_a_server_on_the_same_port_of_ipv6_only_is_no_rogue(site):
    bystander = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *site_command("[::]:8000", "/run/none").split()]
    with site.by_hand(*bystander) as (process, _, _), untouched(site, "site.service"):
        wait_until(lambda: answers(site, url="http://[::1]:8000"), 20, "the IPv6 server answers")
        code, text = watch(site, conf=OWN_SITE + LIVE + "evict_rogue yes\n")
        assert (code, text) == (0, "1 OK, 0 timeout/unreachable, 0 rate-limited, 0 HTTP error\n")
        assert process.poll() is None
