"""health-watch with a real systemd: it recovers a hung backend, reports and evicts a rogue, and leaves alone a unit that only
seems to be ill."""
import json
import os
import signal
import subprocess
import time

import pytest
from harness.wait import wait_until

from .watching import (
    CONF,
    OWN_SITE,
    TIMER,
    UNIT,
    answers,
    drop_in,
    installed_file,
    rogue,
    run_the_unit,
    service,
    shipped_file,
    shipped_with,
    start_in_vain,
    watch,
)


def test_a_healthy_site_is_exit_0(guarded):
    code, text = watch(guarded)
    assert (code, text) == (0, "2 OK, 0 timeout/unreachable, 0 rate-limited, 0 HTTP error\n")


def test_the_units_are_clean_and_the_timer_runs_every_30_seconds(guarded):
    done = guarded.run("systemd-analyze", "verify", "/usr/local/lib/systemd/system/health-watch.service",
                       "/usr/local/lib/systemd/system/health-watch.timer", check=False)
    assert done.returncode == 0 and "health-watch" not in done.stdout + done.stderr
    assert "OnCalendar=*-*-* *:*:00/30 " in guarded.show("health-watch.timer", "TimersCalendar")["TimersCalendar"]


def test_a_hung_health_api_is_found_by_the_timer_killed_and_answers_again(guarded):
    """It takes one period of the timer and ten seconds at most, without the help of WatchdogSec=."""
    conf = shipped_with(guarded, start_grace="0s")
    with guarded.changed("WatchdogSec=0"), installed_file(guarded, conf):
        guarded.wait_status("healthy")
        before, end = guarded.main_pid(), guarded.journal_end(UNIT)
        guarded.run("systemctl", "start", TIMER)
        os.kill(guarded.host_pid(before), signal.SIGSTOP)
        began = time.monotonic()
        guarded.wait_status("healthy", 80)
        assert time.monotonic() - began < 30 + 20  # ten, and the same for a busy machine
        assert guarded.main_pid() not in (0, before)
        wait_until(lambda: "recovered" in guarded.journal(UNIT, end), 20, "the report")
        journal = guarded.journal(UNIT, end)
        assert f"kill main process {before} of health-api.service" in journal
        wait_until(lambda: guarded.show(UNIT, "ActiveState")["ActiveState"] == "inactive", 20,
                   "the run ends without a failure")


def test_a_backend_that_accepts_and_hangs_on_every_route_is_recovered(site):
    before = site.main_pid("site.service")
    site.shell("touch /run/hang")
    # Removes the file when the process has exited, since the next process would hang as well.
    remover = subprocess.Popen(site.command("sh", "-c", f"while [ -d /proc/{before} ]; do sleep 0.05; done; rm /run/hang"))
    began = time.monotonic()
    code, text = watch(site, conf=OWN_SITE + "core / liveness\ncore /graph\n")
    assert remover.wait(20) == 0
    assert time.monotonic() - began < 10  # in service, a period of the timer comes before this
    assert code == 1, text
    assert f"kill main process {before} of site.service" in text and "recovery" in text
    assert answers(site) and site.main_pid("site.service") not in (0, before)


def systemctl_status(machine):
    return machine.run("systemctl", "status", UNIT, check=False).stdout


def test_a_run_without_a_problem_leaves_at_most_one_line_in_the_journal(guarded):
    # systemd forgets a unit, and its status, if nothing refers to it. The timer would start more runs.
    refers = f"[Unit]\nAfter={UNIT}\n[Service]\nExecStart=/bin/sleep infinity\n"
    with service(guarded, refers, name="refers.service"):
        code, journal = run_the_unit(guarded, shipped_file(guarded))
        assert code == 0 and len(journal.splitlines()) <= 1, journal
        assert 'Status: "ok: 2 OK, 0 timeout/unreachable' in systemctl_status(guarded)


@pytest.fixture
def paged(guarded):
    """A machine on which the timer runs health-watch each second, and each failed run adds a line to /run/pages."""
    guarded.write(f"/run/systemd/system/{UNIT}.d/page.conf", "[Unit]\nOnFailure=page.service\n")
    guarded.write("/run/systemd/system/page.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo paged >>/run/pages'\n")
    guarded.write("/run/systemd/system/health-watch.timer.d/often.conf", "[Timer]\nOnCalendar=*:*:*\n")
    guarded.run("systemctl", "daemon-reload")
    yield guarded
    guarded.shell(f"systemctl stop health-watch.timer {UNIT}; systemctl reset-failed {UNIT} || true; rm -rf /run/pages "
                  f"/run/systemd/system/{UNIT}.d /run/systemd/system/health-watch.timer.d /run/systemd/system/page.service; "
                  "systemctl daemon-reload")


def test_a_critical_run_pages_and_is_not_logged_as_a_failed_start(paged):
    failure = "core /nowhere: 404, not an accepted code"
    before = paged.journal_end(UNIT)
    with installed_file(paged, "base_url http://127.0.0.1:80\ncore /nowhere\n"):
        paged.run("systemctl", "start", "health-watch.timer")
        wait_until(lambda: paged.shell("cat /run/pages", check=False).count("paged") >= 2, 20, "a page for each of two runs")
        paged.run("systemctl", "stop", "health-watch.timer")
        wait_until(lambda: paged.show(UNIT, "ActiveState")["ActiveState"] == "failed", 20, "the end of the last run")
    journal = paged.journal(UNIT, before)
    assert journal.count(failure) >= 2 and "INVALIDARGUMENT" not in journal and "Failed to start" not in journal, journal
    assert failure in paged.run("journalctl", "--unit", UNIT, "--priority=err", "--output=cat").stdout
    assert f'Status: "critical: {failure}' in systemctl_status(paged)
    assert UNIT in paged.run("systemctl", "--failed").stdout


def test_a_bad_file_is_named_in_the_journal_and_by_systemctl_status(guarded):
    code, journal = run_the_unit(guarded, "nonsense\n")
    assert code != 0 and f"{CONF}:1: key 'nonsense'" in journal and len(journal.splitlines()) == 2, journal
    assert f'Status: "unknown: health-watch: {CONF}:1: key ' in systemctl_status(guarded)
    guarded.run("systemctl", "reset-failed", UNIT)


@pytest.fixture
def in_restart_loop(site):
    """A site whose port a rogue holds: the machine, the rogue's process, and the rogue's pid in the machine."""
    site.run("systemctl", "stop", "site.service")
    with rogue(site) as (process, pid):
        start_in_vain(site)
        yield site, process, pid


def test_a_rogue_on_the_port_of_a_unit_in_a_restart_loop_is_reported(in_restart_loop):
    site, process, pid = in_restart_loop
    code, text = watch(site, conf=OWN_SITE + "core / liveness\n")
    assert code == 2, text
    assert f"pid {pid} (user nobody)" in text and "site.py 8000" in text
    assert process.poll() is None


@pytest.mark.parametrize("run,expected", [(lambda machine, conf: watch(machine, conf=conf), 1), (run_the_unit, 0)],
                         ids=["by hand", "by the unit as installed"])
def test_a_rogue_on_the_port_is_evicted(in_restart_loop, run, expected):
    site, process, pid = in_restart_loop
    began = time.monotonic()
    code, text = run(site, OWN_SITE + "core / liveness\nevict_rogue yes\n")
    assert time.monotonic() - began < 10
    assert code == expected, text
    assert f"pid {pid} (user nobody)" in text and "site.py 8000" in text
    assert process.wait(10) is not None
    assert site.show("site.service", "ActiveState")["ActiveState"] == "active"
    assert answers(site)


def test_after_130_rapid_requests_429_is_no_failure(guarded):
    """It is a warning if the liveness route is limited, because a 429 does not show whether the backend lives."""
    guarded.write("/etc/nginx/conf.d/limited.conf", """
        limit_req_zone $server_name zone=limited:1m rate=1r/m;
        server { listen 8429; server_name limited; limit_req zone=limited burst=3 nodelay; limit_req_status 429;
                 location = /unlimited { return 200 "fine"; }
                 location / { try_files /none @fine; } location @fine { return 200 "fine"; } }""")
    guarded.run("systemctl", "reload", "nginx.service")
    before = guarded.main_pid()
    wait_until(lambda: "429" in guarded.shell("for i in $(seq 130); do curl -s -o /dev/null -w '%{http_code} ' "
                                              "http://127.0.0.1:8429/; done", check=False), 20, "nginx answers 429")
    conf = "base_url http://127.0.0.1:8429\nunit health-api.service\nstart_grace 0s\ncore /graph\naux /gaps\ncore {} liveness\n"
    code, text = watch(guarded, conf=conf.format("/"))
    assert (code, text.splitlines()[-1]) == (1, "0 OK, 0 timeout/unreachable, 3 rate-limited, 0 HTTP error")
    assert "recovery" not in text
    code, text = watch(guarded, conf=conf.format("/unlimited"))
    assert (code, text.splitlines()[-1]) == (0, "1 OK, 0 timeout/unreachable, 2 rate-limited, 0 HTTP error")
    assert guarded.main_pid() == before


def test_two_aux_pages_that_take_20_s_are_a_warning(site):
    before = site.main_pid("site.service")
    code, text = watch(site, conf=OWN_SITE + "core / liveness\naux /slow/1\naux /slow/2\n")
    assert code == 1, text
    assert text.splitlines()[-1] == "1 OK, 2 timeout/unreachable, 0 rate-limited, 0 HTTP error"
    assert site.main_pid("site.service") == before


def test_a_database_that_is_down_is_critical_and_nothing_is_killed(guarded):
    before = guarded.main_pid()
    guarded.run("systemctl", "stop", "postgresql@15-main.service")
    try:
        wait_until(lambda: guarded.ask()[0] == 503, 10, "503")
        code, text = watch(guarded, conf=shipped_with(guarded, start_grace="0s"))
        assert code == 2 and "/api/health" in text and "recovery" not in text, text
        assert guarded.main_pid() == before
    finally:
        guarded.run("systemctl", "start", "postgresql@15-main.service")
    guarded.wait_status("healthy")


def test_nginx_down_is_critical_and_the_backend_is_left_alone(guarded):
    before = guarded.main_pid()
    guarded.run("systemctl", "stop", "nginx.service")
    try:
        code, text = watch(guarded, conf=shipped_with(guarded, start_grace="0s"))
        assert code == 2 and "health-api.service answers at unix:/run/health-api/health-api.sock, so the fault is in front of it: left alone" in text, text
        assert guarded.main_pid() == before
    finally:
        guarded.run("systemctl", "start", "nginx.service")
    guarded.wait_status("healthy")


def test_a_unit_that_an_operator_stops_during_a_recovery_stays_stopped(site):
    """Somebody stops the unit while its ExecStopPost= still runs after the kill."""
    site.shell("rm -f /run/go /run/stopping")
    slow = "[Service]\nExecStopPost=/bin/sh -c 'touch /run/stopping; until [ -e /run/go ]; do sleep 0.05; done'\n"
    with drop_in(site, "site.service", slow):
        site.shell("touch /run/hang")
        operator = subprocess.Popen(site.command("sh", "-c", "until [ -e /run/stopping ]; do sleep 0.05; done; "
                                                 "systemctl stop --no-block site.service; touch /run/go"))
        try:
            code, text = watch(site, conf=OWN_SITE + "core / liveness\n")
            assert operator.wait(20) == 0
            assert code == 2 and "somebody else stopped site.service, or it exited cleanly: left alone" in text, text
            code, text = watch(site, conf=OWN_SITE + "core / liveness\n")
            assert code == 2 and "was stopped or never started: left alone" in text, text
            assert site.main_pid("site.service") == 0
        finally:
            operator.kill()
            site.shell("touch /run/go; systemctl stop site.service; rm -f /run/go /run/stopping")


def test_in_a_crash_loop_recoveries_stop_at_the_budget(site):
    """The site hangs again after each recovery."""
    site.shell("touch /run/hang")
    conf = OWN_SITE + "restart_wait 3s\nbudget 2\ncore / liveness\n"
    for _ in range(2):
        code, text = watch(site, conf=conf)
        assert code == 2 and "recovery" in text and "kill main process" in text
    before = site.main_pid("site.service")
    code, text = watch(site, conf=conf)
    assert code == 2 and "BUDGET SPENT" in text
    assert site.main_pid("site.service") == before


def test_a_dry_run_reports_what_a_run_would_do(site):
    before = site.main_pid("site.service")
    site.shell("touch /run/hang")
    code, text = watch(site, "--dry-run", conf=OWN_SITE + "core / liveness\n")
    assert code == 2 and f"dry run, would now kill main process {before} of site.service" in text
    assert site.main_pid("site.service") == before


def test_a_unit_that_somebody_has_stopped_stays_stopped(site):
    site.run("systemctl", "stop", "site.service")
    code, text = watch(site, conf=OWN_SITE + "core / liveness\n")
    assert code == 2 and "was stopped" in text
    assert site.main_pid("site.service") == 0


def test_check_config_warns_of_units_that_need_a_reload(guarded):
    guarded.run("systemctl", "enable", "--now", TIMER)
    code, text = watch(guarded, "--check-config")
    assert code == 0, text
    guarded.shell("touch -d 'now + 1 minute' /usr/local/lib/systemd/system/health-watch.timer")
    code, text = watch(guarded, "--check-config")
    assert code == 1 and "health-watch.timer has changed on disk" in text
    guarded.shell("touch /usr/local/lib/systemd/system/health-watch.timer && systemctl daemon-reload")


def warning_of_the_timer(state):
    return f"health-watch.timer {state}"


def test_a_timer_that_does_not_run_or_is_not_enabled_is_a_warning(guarded):
    for command, state in (("disable --now", "is not active"), ("enable", "is not active"),
                           ("disable", "is not active"), ("start", "is not enabled: it will not start at the next boot")):
        guarded.run("systemctl", *command.split(), TIMER)
        for option in ("--check-config", "--dry-run"):
            code, text = watch(guarded, option)
            assert code == 1 and warning_of_the_timer(state) in text, (command, text)
    guarded.run("systemctl", "enable", TIMER)
    for option in ("--check-config", "--dry-run"):
        code, text = watch(guarded, option)
        assert code == 0 and "timer" not in text, text


def test_json(guarded):
    code, text = watch(guarded, "--json")
    assert code == 0 and json.loads(text)["status"]


def test_the_old_option_nagios_prints_the_report_and_a_hint(guarded):
    report = watch(guarded)[1]
    code, text = watch(guarded, "--nagios")
    assert code == 0 and text.startswith(report) and text[len(report):].startswith("health-watch: --nagios was removed"), text
