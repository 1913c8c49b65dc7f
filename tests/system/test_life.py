"""Restart, kill, reload, drain and watchdog, each under a constant stream of requests through nginx."""
import contextlib
import os
import signal
import time

import pytest
from harness.freeze import Frozen, threads
from harness.wait import hold_for, wait_until

from .conftest import ANSWERED_WITHIN_S, NGINX_WAITS_S

WORKERS = 16  # of stream.py: as many requests as can be under way


def assert_all_answered(results, sources=("backend",), statuses=(200,)):
    strange = [answer for answer in results if "error" in answer or answer["source"] not in sources
               or answer["status"] not in statuses or answer["took"] > ANSWERED_WITHIN_S]
    assert not strange, f"{len(strange)} of {len(results)}: {strange[:5]}"


@pytest.mark.parametrize("command", ["restart", "reload"])
def test_systemctl_loses_no_request_and_shows_no_fault(machine, command):
    """On a busy machine the first probe may take longer than 300 ms; then the status is `starting`. If systemd needs more
    than a second for a restart, nginx answers the requests of that time itself."""
    slow = []
    with machine.stream(per_second=200) as stream:
        for _ in range(5):
            began = time.time()
            machine.run("systemctl", command, "health-api.service")
            if command == "restart" and time.time() - began > NGINX_WAITS_S:
                slow.append((began, time.time()))
            stream.wait_for_more(50)
    assert len(stream.results) > 200
    starting = [answer for answer in stream.results if answer.get("says") == "starting" and command == "restart"]
    assert_all_answered(starting, statuses=(503,))
    late = [answer for answer in stream.results if answer.get("source") == "nginx" and answer["took"] >= NGINX_WAITS_S
            and any(began <= answer["at"] <= ended for began, ended in slow)]
    assert_all_answered(late, sources=("nginx",), statuses=(503,))
    assert_all_answered([answer for answer in stream.results if answer not in starting and answer not in late])


def test_a_reload_of_nginx_loses_no_request(machine):
    with machine.stream(per_second=200) as stream:
        machine.run("systemctl", "reload", "nginx.service")
        stream.wait_for_more(100)
    assert_all_answered(stream.results)


def test_a_killed_service_is_started_again_and_each_request_is_answered(machine):
    with machine.stream() as stream:
        for _ in range(3):
            before = machine.main_pid()
            machine.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", "health-api.service")
            wait_until(lambda: machine.main_pid() not in (0, before), 10, "a new main process")  # noqa: B023
            stream.wait_for_more(50)
    assert_all_answered(stream.results, ("backend", "nginx"), (200, 503))
    of_nginx = [answer for answer in stream.results if answer["source"] == "nginx"]
    at_once = [answer for answer in of_nginx if answer["took"] < 1]
    assert len(at_once) <= 3 * WORKERS  # the requests that it had when it was killed
    # RestartSec= and the wait for the first probe take 600 ms together, less than nginx's timeout of 1 s. On a slow
    # machine systemd itself may need up to 0.5 s more, at 50 requests per second.
    assert len(of_nginx) - len(at_once) <= 3 * 50 * 0.5


def seconds_between(machine, first, second):
    """Between two changes of the service's state, by systemd's clock. If systemd needs longer than nginx waits, nginx
    answers the requests of that time itself."""
    names = [f"{name}TimestampMonotonic" for name in (first, second)]
    shown = machine.show("health-api.service", *names)
    return (int(shown[names[1]]) - int(shown[names[0]])) / 1e6


def test_the_first_request_starts_a_service_that_was_stopped(machine):
    machine.run("systemctl", "stop", "health-api.service")
    assert machine.main_pid() == 0
    status, source, document = machine.ask()
    machine.wait_status("healthy", 10)
    if source == "nginx":
        assert status == 503 and seconds_between(machine, "InactiveExit", "ActiveEnter") > NGINX_WAITS_S - 0.3
    else:
        assert status == 200 or document["status"] == "starting"


def test_a_drain_is_503_and_alive_and_then_the_successor_answers(machine):
    # TimeoutStopSec= is shorter than the drain on purpose: the program asks systemd for the time that it needs.
    with machine.changed("TimeoutStopSec=3s", "HEALTH_DRAIN=10s\n"):
        machine.wait_status("healthy")
        end = machine.journal_end()
        began = time.monotonic()
        with machine.stream() as stream:
            machine.run("systemctl", "restart", "--no-block", "health-api.service")
            machine.wait_status("draining", 10)
            assert machine.ask("/api/health/live")[0] == 200
            assert machine.status_text() == "draining: process: draining"
            machine.wait_status("healthy", 30)
        assert time.monotonic() - began >= 10
        is_slow = seconds_between(machine, "InactiveEnter", "ActiveEnter") > NGINX_WAITS_S - 0.3
        assert_all_answered(stream.results, ("backend", "nginx") if is_slow else ("backend",), (200, 503))
        # The successor is `starting` if its first probe takes longer than 300 ms.
        says = {answer["says"] for answer in stream.results if answer["source"] == "backend"}
        assert says - {"starting"} == {"healthy", "draining"}
        assert "exit_code=0" in machine.journal(since=end) and "Killing" not in machine.journal(since=end)


@pytest.mark.parametrize("fault", ["stuck name resolution", "hung database"])
def test_it_ends_in_time_whatever_hangs(machine, fault):
    """From SIGTERM to the exit, by systemd's clock, it takes at most HEALTH_STOP_TIMEOUT."""
    environment = "PGHOST=db.example\n" if fault == "stuck name resolution" else ""
    # A name server that never answers; 192.0.2.0/24 is reserved for documentation (RFC 5737).
    machine.shell("""
        ip address add 192.0.2.9/32 dev lo
        iptables -A INPUT -d 192.0.2.9 -j DROP
        cp /etc/resolv.conf /run/resolv.conf.old
        echo nameserver 192.0.2.9 >/etc/resolv.conf""")
    postmaster = machine.host_pid(int(machine.shell("head -n 1 /var/lib/postgresql/15/main/postmaster.pid")))
    try:
        with machine.changed(environment=environment):
            wait_until(lambda: machine.main_pid() != 0, 10, "a main process")
            if fault == "hung database":
                machine.wait_status("healthy")
                os.kill(postmaster, signal.SIGSTOP)
            wait_until(lambda: machine.ask()[2]["status"] == "degraded", 20, "degraded")
            reasons = ["unreachable"] if fault == "stuck name resolution" else ["connect_timeout"]
            assert [entry["reason"] for entry in machine.ask()[2]["failing"]] == reasons
            machine.run("systemctl", "stop", "health-api.socket", "health-api.service")
            shown = machine.show("health-api.service", "Result", "ActiveExitTimestampMonotonic",
                                 "InactiveEnterTimestampMonotonic")
            took_us = int(shown["InactiveEnterTimestampMonotonic"]) - int(shown["ActiveExitTimestampMonotonic"])
            assert 0 < took_us < 3_000_000 and shown["Result"] == "success"
            os.kill(postmaster, signal.SIGCONT)
    finally:
        os.kill(postmaster, signal.SIGCONT)
        machine.shell("""
            cat /run/resolv.conf.old >/etc/resolv.conf
            iptables -F INPUT
            ip address del 192.0.2.9/32 dev lo""")


def test_a_stuck_event_loop_is_ended_by_the_watchdog_of_systemd(machine):
    with machine.changed("WatchdogSec=2s"):
        machine.wait_status("healthy")
        before, end = machine.main_pid(), machine.journal_end()
        pid = machine.host_pid(before)
        with machine.stream() as stream:
            with Frozen(threads(pid)[0]) as frozen:
                wait_until(lambda: "Watchdog timeout" in machine.journal(since=end), 10, "the watchdog's line")
                frozen.reap()
            machine.wait_status("healthy")
            assert machine.main_pid() != before
        assert_all_answered(stream.results, ("backend", "nginx"), (200, 503))


@contextlib.contextmanager
def contents(machine, path, text, mode=0o644):
    """Gives the file this text until the block ends."""
    with open(machine.path(path), encoding="utf-8") as file:
        old = file.read()
    machine.write(path, text.format(old=old), mode)
    try:
        yield
    finally:
        machine.write(path, old, mode)


def refused_reload(machine):
    """Reloads, which must fail and change nothing. Returns what the journal says about it."""
    end, pid = machine.journal_end(), machine.main_pid()
    assert machine.run("systemctl", "reload", "health-api.service", check=False).returncode != 0
    hold_for(lambda: machine.ask()[0] == 200 and machine.main_pid() == pid, 1, "the service as it was")
    return machine.journal(since=end)


CHECKS, ENVIRONMENT = "/etc/health-api/checks.sql", "/etc/health-api/environment"


def test_a_reload_with_a_broken_checks_file_fails_and_changes_nothing(machine):
    with contents(machine, CHECKS, "-- check: one\n"):
        assert f"{CHECKS}:1:" in refused_reload(machine)
        end = machine.journal_end()
        machine.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGHUP", "health-api.service")
        wait_until(lambda: f"{CHECKS}:1" in (machine.ask("/api/status")[2].get("config", {}).get("checks_error") or ""), 5,
                   "the error in /api/status after a SIGHUP without the unit's check")
        assert "reload refused" in machine.journal(since=end)
        hold_for(lambda: machine.ask()[0] == 200, 1, "200 with the old checks")
    with contents(machine, CHECKS, "{old}-- check: one\nSELECT 1;\n"):
        end = machine.journal_end()
        machine.run("systemctl", "reload", "health-api.service")
        wait_until(lambda: machine.ask()[2]["counts"].get("one") == 1, 5, "the new check")
        assert f'event="checks reloaded" checks={len(machine.ask()[2]["counts"])}' in machine.journal(since=end)
    machine.run("systemctl", "reload", "health-api.service")


def test_a_reload_with_a_bad_setting_fails_and_names_it(machine):
    """Only the next start reads the settings, and that may be months away."""
    with contents(machine, ENVIRONMENT, "{old}\nHEALTH_INTERVAL=2\n", 0o600):
        assert "HEALTH_INTERVAL='2': expected a duration" in refused_reload(machine)
        by_hand = machine.run("/usr/local/bin/health-api", "--check-config")
        assert by_hand.stdout.startswith("configuration ok") and f"{ENVIRONMENT} was not read" in by_hand.stderr
        command = by_hand.stderr.splitlines()[-1]
        as_the_service = machine.run("bash", "-c", command, check=False)
        assert as_the_service.returncode == 78 and "HEALTH_INTERVAL='2'" in as_the_service.stderr + as_the_service.stdout
    machine.run("systemctl", "reload", "health-api.service")
    assert machine.shell("systemctl list-units --failed --plain --no-legend") == ""


def test_a_reload_needs_no_kill_of_procps(machine):
    end = machine.journal_end()
    machine.shell("mv /bin/kill /bin/kill.away")
    try:
        machine.run("systemctl", "reload", "health-api.service")
        wait_until(lambda: "checks reloaded" in machine.journal(since=end), 5, "the reload")
    finally:
        machine.shell("mv /bin/kill.away /bin/kill")


def test_a_restart_with_a_bad_setting_shows_the_error_and_does_not_flood_the_log(machine):
    end = machine.journal_end()
    with contents(machine, ENVIRONMENT, "{old}\nHEALTH_INTERVAL=2\n", 0o600):
        machine.run("systemctl", "restart", "--no-block", "health-api.service")
        wait_until(lambda: machine.status_text().startswith("HEALTH_INTERVAL='2': expected"), 10, "the error in the unit's status")
        assert "HEALTH_INTERVAL='2'" in machine.run("systemctl", "status", "health-api.service", check=False).stdout
        wait_until(lambda: machine.journal(since=end).count("configuration refused") == 2, 20, "the next start")
        # For each start one line of the program and a few of systemd's own.
        assert len(machine.journal(since=end).splitlines()) < 20
    began = time.monotonic()
    machine.run("systemctl", "restart", "health-api.service")
    machine.wait_status("healthy")
    assert time.monotonic() - began < 8  # a stop does not wait for the ten seconds


def test_systemd_has_never_given_up_the_unit(machine):
    shown = machine.show("health-api.service", "ActiveState", "Result")
    assert shown == {"ActiveState": "active", "Result": "success"}
