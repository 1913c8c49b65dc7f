"""When health-watch recovers a unit and when it does not, with a systemctl that records its calls, or fails. tests/system/
has the tests with a real systemd."""
import ctypes
import fcntl
import glob
import os
import re
import signal
import time

import pytest

from harness import watchdog as w
from harness.process import end
from harness.wait import hold_for, wait_until
from harness.webserver import free_port

PR_SET_CHILD_SUBREAPER = 36

RESTARTED = {"pid": 4243, "started_s_ago": 0}

# A control group without any process of the tests: then health-watch takes the server at base_url for a proxy.
PROXIED = "/system.slice/site.service"


@pytest.fixture
def hung(site, systemctl):
    """A site that hangs until systemctl has killed its unit, which systemd then restarts."""
    killed = os.path.join(systemctl.directory, "killed")
    systemctl.on("kill", 'touch "$dir/killed"', says=RESTARTED)
    site.default = lambda s, c, r: w.reply(c) if os.path.exists(killed) else w.hangs(s, c, r)
    return site


def test_a_hung_unit_is_killed_and_answers_again(dog, hung, systemctl):
    dog.write(hung.url, "core /live", "aux /page", unit="site")
    done = dog.run()
    assert done.code == 1, done  # even a recovery that succeeded is a warning
    assert systemctl.orders() == ["kill"]
    assert "kill --no-ask-password --kill-whom=main --signal=SIGKILL -- site.service" in systemctl.calls()
    assert done.lines[0].startswith("core /live: no complete response within 700 ms (") and done.tries >= 3
    assert "recovery: done after " in done.out
    assert "kill main process 4242 of site.service with SIGKILL; site.service runs as pid 4243 and answers" in done.out
    assert done.summary == "2 OK, 0 timeout/unreachable, 0 rate-limited, 0 HTTP error"
    assert 'event="recovery"' in done.err and 'event="recovered"' in done.err
    assert dog.run().code == 0
    assert systemctl.orders() == ["kill"]


def test_the_report_of_a_recovery_as_json(dog, hung):
    dog.write(hung.url, "core /live", unit="site")
    document = dog.run("--json").document
    assert document["status"] == "warning" and document["exit_code"] == 1
    assert document["recovery"]["action"] == "kill" and document["recovery"]["ok"] is True
    assert document["routes"][0]["verdict"] == "ok"
    assert document["routes_before"][0]["verdict"] == "timeout"
    assert document["routes_before"][0]["dead_tries"] == 3


def test_several_dead_routes_lead_to_one_recovery(dog, hung, systemctl):
    dog.write(hung.url, *[f"core /{n}" for n in range(6)], unit="site")
    assert dog.run().code == 1
    assert systemctl.orders() == ["kill"]


def test_slow_aux_pages_do_not_delay_a_recovery(dog, hung, systemctl):
    dog.write(hung.url, *[f"aux /{n} timeout 20s" for n in range(12)], "core /live", unit="site", concurrency="4")
    done = dog.run()
    assert done.code == 1, done
    assert systemctl.orders() == ["kill"]
    assert done.seconds < 15


def test_a_dry_run_reports_the_recovery_and_does_nothing(dog, hung, systemctl):
    dog.write(hung.url, "core /live", unit="site")
    done = dog.run("--dry-run")
    assert done.code == 2
    assert "recovery: dry run, would now kill main process 4242 of site.service" in done.out
    assert systemctl.orders() == [] and not os.path.exists(dog.state) and not os.path.exists(dog.state + ".lock")


@pytest.mark.parametrize("behaviour,code", [
    (w.answers("503 Degraded", b'{"status":"degraded"}'), 2), (w.answers("500 Oops"), 2), (w.answers("404 No"), 2),
    (w.answers("429 Slow down"), 1), (w.endless_headers, 2), (w.no_http, 2), (w.cut_short, 2),
    (w.answers("403 No", headers=["X-Health-Source: nginx"]), 2),
    (w.answers("503 No", headers=["X-Health-Source: backend"]), 2),
    # a server that accepts a connection and closes it may only be overloaded
    (w.closes, 2), (w.resets, 2),
    # without a proxy these responses are the backend's own
    (w.answers("502 Bad Gateway"), 2), (w.answers("504 Gateway Timeout"), 2),
    (w.answers("503 No", w.DOWN["hung"], ["X-Health-Source: nginx"]), 2),
], ids=range(14))
def test_a_response_of_any_kind_is_no_reason_to_kill(dog, site, systemctl, behaviour, code):
    site.behaviours["/live"] = behaviour
    dog.write(site.url, "core /live", unit="site")
    assert dog.run().code == code
    assert systemctl.orders() == []


@pytest.mark.parametrize("behaviour,cgroup", [
    (w.hangs, "/"), (w.drips, "/"),
    # the server is not in the unit's control group, so it counts as a proxy
    (w.times_out, PROXIED), (w.answers("503 No", w.DOWN["hung"], ["X-Health-Source: nginx"]), PROXIED),
], ids=range(4))
def test_silence_and_a_proxy_that_reports_silence_are_reasons_to_kill(dog, site, systemctl, behaviour, cgroup):
    systemctl.says(cgroup=cgroup)
    site.behaviours["/live"] = behaviour
    dog.write(site.url, "core /live", unit="site", restart_wait="1s")
    done = dog.run()
    assert done.code == 2
    assert systemctl.orders() == ["kill"]
    assert "recovery: FAILED after " in done.out and "no answer within 1 s" in done.out


def test_one_answered_try_saves_the_unit(dog, site, systemctl):
    def third_answers(server, connection, request):
        (w.answers("503 Busy") if len(server.asked("/live")) == 3 else w.hangs)(server, connection, request)
    site.behaviours["/live"] = third_answers
    dog.write(site.url, "core /live", unit="site")
    assert dog.run().code == 2
    assert systemctl.orders() == []


def test_only_a_liveness_route_is_a_reason_to_kill(dog, site, systemctl):
    site.behaviours.update({"/slow": w.hangs, "/page": w.hangs})
    dog.write(site.url, "core /live liveness", "core /slow", "aux /page", unit="site")
    assert dog.run().code == 2
    dog.write(site.url, "core /live liveness", "aux /slow", "aux /page", unit="site")
    assert dog.run().code == 1
    assert systemctl.orders() == []


@pytest.mark.parametrize("says,words", [
    ({"active": "inactive", "sub": "dead", "pid": 0}, "was stopped or never started"),
    ({"active": "deactivating", "sub": "stop-sigterm"}, "is being stopped"),
    ({"active": "activating", "sub": "auto-restart", "pid": 0, "restarts": 57, "result": "exit-code"},
     "restart loop: systemd has restarted it 57 times"),
    ({"active": "activating", "sub": "start-pre", "pid": 0}, "is being started (start-pre)"),
    ({"active": "activating", "sub": "start"}, "is being started (start): left to its TimeoutStartSec="),
    ({"job": "77"}, "systemd has a job for site.service"),
    ({"load": "masked", "active": "inactive", "sub": "dead", "pid": 0}, "is masked"),
    ({"started_s_ago": 3, "restarts": 5}, "start grace"),
    ({"active": "maintenance", "sub": "cleaning"}, "in the state maintenance"),
], ids=["stopped", "stopping", "loop", "start-pre", "start", "job", "masked", "grace", "odd"])
def test_a_unit_that_must_be_left_alone(dog, systemctl, says, words):
    port = free_port()
    systemctl.says(**says)
    dog.write(f"http://127.0.0.1:{port}", "core /live", unit="site", listener=f"tcp:127.0.0.1:{port}")
    done = dog.run()
    assert done.code == 2
    assert words in done.out
    assert systemctl.orders() == []


def test_a_429_does_not_end_a_recovery(dog, hung, systemctl):
    """nginx answers 429 without asking the backend, which still hangs."""
    recovered = os.path.join(systemctl.directory, "recovered")

    def limits(site, connection, request):
        if len(site.asked("/live")) > 5:
            with open(recovered, "w", encoding="ascii"):
                w.reply(connection)
        elif len(site.asked("/live")) > 3:
            w.reply(connection, "429 Too Many Requests")
        else:
            w.hangs(site, connection, request)
    hung.default = limits
    dog.write(hung.url, "core /live", unit="site")
    done = dog.run()
    assert done.code == 1, done
    assert "recovery: done after " in done.out
    assert os.path.exists(recovered) and len(hung.asked("/live")) == 7


def test_a_stop_by_somebody_else_ends_a_recovery(dog, site, systemctl):
    """health-watch does not start again what an operator stops."""
    site.default = w.hangs
    systemctl.on("kill", "", says={"active": "deactivating", "sub": "stop-sigterm", "pid": 0, "job": "77"})
    dog.write(site.url, "core /live", unit="site")
    dog_runs = dog.start()
    wait_until(lambda: systemctl.orders() == ["kill"], 15, "the kill is ordered")
    looks = len(systemctl.calls())
    wait_until(lambda: len(systemctl.calls()) > looks + 2, 15, "health-watch has seen the job")
    systemctl.says(active="inactive", sub="dead", pid=0)
    out, _ = dog_runs.communicate(timeout=60)
    assert dog_runs.returncode == 2
    assert "somebody else stopped site.service, or it exited cleanly: left alone" in out
    assert systemctl.orders() == ["kill"]


def test_a_unit_that_is_stopped_between_two_looks_stays_stopped(dog, site, systemctl):
    """After the kill systemd shows the unit as failed. health-watch resets that, so that the next run does not start it."""
    site.default = w.hangs
    systemctl.says(restart="always")
    systemctl.on("kill", "", says={"active": "failed", "sub": "failed", "result": "signal", "pid": 0, "restart": "always"})
    dog.write(site.url, "core /live", unit="site")
    done = dog.run()
    assert done.code == 2
    assert "somebody else stopped site.service, or it exited cleanly: left alone" in done.out
    assert systemctl.orders() == ["kill", "reset-failed"]


def test_a_failed_unit_is_started(dog, site, systemctl):
    started = os.path.join(systemctl.directory, "started")
    systemctl.says(active="failed", sub="failed", result="start-limit-hit", pid=0)
    systemctl.on("start", 'touch "$dir/started"', says=RESTARTED)
    site.default = lambda s, c, r: w.reply(c, *(["200 OK"] if os.path.exists(started) else ["502 Bad Gateway"]))
    dog.write(site.url, "core /live", unit="site")
    done = dog.run()
    assert done.code == 1, done
    assert systemctl.orders() == ["reset-failed", "start"]
    assert "start --no-ask-password --no-block -- site.service" in systemctl.calls()


def test_a_unit_that_stays_down_after_the_kill_is_started(dog, site, systemctl):
    started = os.path.join(systemctl.directory, "started")
    systemctl.on("kill", "", says={"active": "failed", "sub": "failed", "result": "signal", "pid": 0})
    systemctl.on("start", 'touch "$dir/started"', says=RESTARTED)
    site.default = lambda s, c, r: w.reply(c) if os.path.exists(started) else w.hangs(s, c, r)
    dog.write(site.url, "core /live", unit="site")
    done = dog.run()
    assert done.code == 1, done
    assert systemctl.orders() == ["kill", "reset-failed", "start"]


def test_all_processes_of_a_unit_that_does_not_stop_are_killed(dog, site, systemctl):
    """The main process has exited, but its children ignore SIGTERM: systemd would wait for TimeoutStopSec=."""
    gone = os.path.join(systemctl.directory, "gone")
    systemctl.on("kill", 'case "$*" in *=all*) touch "$dir/gone"; cp "$dir/all" "$dir/show" ;; '
                         '*) cp "$dir/main" "$dir/show" ;; esac')
    systemctl.write("main", systemctl.status(active="deactivating", sub="stop-sigterm", pid=0))
    systemctl.write("all", systemctl.status(**RESTARTED))
    site.default = lambda s, c, r: w.reply(c) if os.path.exists(gone) else w.hangs(s, c, r)
    dog.write(site.url, "core /live", unit="site")
    done = dog.run()
    assert done.code == 1, done
    assert "it does not stop: kill all its processes" in done.out
    assert systemctl.orders() == ["kill", "kill"]


def test_a_long_restart_pause_is_cut_short(dog, site, systemctl):
    """With RestartSec=5min a start job would stay queued for 5 minutes."""
    up = os.path.join(systemctl.directory, "up")
    systemctl.on("kill", "", says={"active": "activating", "sub": "auto-restart", "pid": 0})
    systemctl.on("restart", 'touch "$dir/up"', says=RESTARTED)
    site.default = lambda s, c, r: w.reply(c) if os.path.exists(up) else w.hangs(s, c, r)
    dog.write(site.url, "core /live", unit="site")
    assert dog.run().code == 1
    assert systemctl.orders() == ["kill", "restart"]


def test_health_watch_gives_up_a_unit_that_exits_after_every_start(dog, systemctl):
    systemctl.says(active="failed", sub="failed", result="exit-code", pid=0)
    dog.write(f"http://127.0.0.1:{free_port()}", "core /live", unit="site", restart_wait="30s")
    done = dog.run()
    assert done.code == 2
    assert "site.service exits after every start (exit-code)" in done.out
    assert systemctl.orders() == ["reset-failed", "start"] * 2
    assert done.seconds < 15


def test_in_a_crash_loop_recoveries_stop_when_the_budget_is_spent(dog, site, systemctl):
    site.default = w.hangs
    dog.write(site.url, "core /live", unit="site", restart_wait="1s", budget="2", timeout="200ms")
    assert [dog.run().code for _ in range(2)] == [2, 2]
    done = dog.run()
    assert done.code == 2
    assert "RECOVERY BUDGET SPENT: 2 recoveries in the last hour, 2 of them did not help; the next is possible in " in done.out
    assert systemctl.orders() == ["kill", "kill"]


def test_there_is_no_recovery_within_the_cooldown(dog, site, systemctl):
    site.default = w.hangs
    dog.write(site.url, "core /live", unit="site", restart_wait="1s", cooldown="1h", timeout="200ms")
    dog.run()
    done = dog.run()
    assert "cooldown of 3600 s" in done.out
    assert systemctl.orders() == ["kill"]


@pytest.mark.parametrize("content", [b"garbage", b"", b"health-watch state 1 recoveries 3\nhalf", b"\0" * 100,
                                     b"x" * 100000], ids=["garbage", "empty", "cut", "zeros", "huge"])
def test_a_damaged_state_is_ignored_with_a_warning(dog, hung, systemctl, content):
    with open(dog.state, "wb") as file:
        file.write(content)
    dog.write(hung.url, "core /live", unit="site")
    done = dog.run()
    assert done.code == 1
    assert "state: health-watch forgets earlier recoveries: " in done.out
    assert systemctl.orders() == ["kill"]
    with open(dog.state, "rb") as file:
        assert file.read().startswith(b"health-watch state 2 recoveries 1\n")


def test_without_a_writable_state_file_there_is_no_recovery(dog, hung, systemctl, directory):
    """The disk is full. Without a state file health-watch would repeat the recovery in every run."""
    small = os.path.join(directory, "small")
    os.mkdir(small)
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=4k,nr_inodes=3 none {small}") != 0:
        pytest.skip("needs a file system of its own")
    try:
        with open(os.path.join(small, "full"), "wb") as full:
            full.write(b"x" * 4096)
        dog.write(hung.url, "core /live", unit="site", state_file=os.path.join(small, "state"))
        done = dog.run()
        assert done.code == 2
        assert "not attempted, because the state file cannot be written" in done.out
        assert systemctl.orders() == []
    finally:
        os.system(f"umount {small}")


def test_two_runs_never_overlap(dog, site, systemctl):
    site.default = w.hangs
    dog.write(site.url, "core /live", unit="site", timeout="3s", tries="1", restart_wait="1s")
    first = dog.start()
    wait_until(lambda: site.asked("/live"), 10, "the first run has sent its request")
    second = dog.start()
    hold_for(lambda: len(site.asked("/live")) == 1, 1.5, "only one run sends requests")
    outs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [2, 2], outs
    # the second run waited for the first, and then made its own recovery
    assert systemctl.orders() == ["kill", "kill"]


@pytest.mark.parametrize("now", [{"pid": 4243, "started_s_ago": 3600}, {"pid": 4242, "started_s_ago": 50},
                                 {"active": "deactivating", "sub": "stop-sigterm"}, {"job": "7"}],
                         ids=["another pid", "the same pid again", "being stopped", "restart ordered"])
def test_a_unit_that_an_operator_restarts_before_the_order_is_not_killed(dog, site, systemctl, now):
    """health-watch asks systemd again right before the order, and does not count a recovery that it did not attempt."""
    site.default = w.hangs
    systemctl.write("later", systemctl.status(**now))
    systemctl.on("show", 'case "$*" in *site.service) [ -e "$dir/asked" ] && cp "$dir/later" "$dir/show"; touch "$dir/asked" ;; esac')
    dog.write(site.url, "core /live", unit="site", timeout="200ms")
    done = dog.run()
    assert done.code == 2
    assert "recovery: not attempted: site.service has changed since it was judged" in done.out
    assert systemctl.orders() == []
    with open(dog.state, encoding="ascii") as file:
        assert file.read() == "health-watch state 2 recoveries 0\n"


def test_a_unit_is_not_killed_if_systemd_does_not_answer_right_before_the_order(dog, site, systemctl):
    site.default = w.hangs
    systemctl.on("show", 'case "$*" in *site.service) [ -e "$dir/asked" ] && exit 1; touch "$dir/asked" ;; esac')
    dog.write(site.url, "core /live", unit="site", timeout="200ms")
    done = dog.run()
    assert done.code == 2
    assert "recovery: not attempted, because systemd does not report the state of site.service" in done.out
    assert systemctl.orders() == []


def test_a_unit_that_was_started_after_the_first_try_is_not_killed(dog, site, systemctl):
    site.default = w.hangs
    dog.write(site.url, "core /live", unit="site", start_grace="0s")
    run = dog.start()
    wait_until(lambda: site.asked("/live"), 20, "the first try")
    systemctl.says(started_s_ago=0)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "after the first try: left alone" in out
    assert systemctl.orders() == []


def test_health_watch_works_if_its_parent_ignores_sigchld(dog, hung, systemctl):
    dog.write(hung.url, "core /live", unit="site")
    done = dog.run(preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert done.code == 1, done
    assert systemctl.orders() == ["kill"]


def test_if_the_lock_cannot_be_created_it_reports_and_does_not_act(dog, site, systemctl):
    """For example on a read-only root, or if the sandbox of the service does not allow writing the state_file."""
    dog.write(site.url, "core /live", unit="site", state_file="/nowhere/at/all/state")
    done = dog.run()
    assert (done.code, len(site.asked("/live"))) == (3, 1), done
    assert "state: cannot take the lock, so health-watch recovers nothing: /nowhere/at/all/state.lock: " in done.out
    site.default = w.hangs
    done = dog.run()
    assert done.code == 2 and "core /live: no complete response" in done.lines[0], done
    assert "recovery: not attempted without the lock, would now kill main process 4242" in done.out
    assert systemctl.orders() == []
    if os.geteuid() == 0:
        done = dog.run("--check-config")
        assert done.code == 1 and "warning: state_file /nowhere/at/all/state: No such file or directory, so health-watch recovers nothing" in done.out


def test_a_timer_that_does_not_run_is_a_warning(dog, site, systemctl):
    """Neither --dry-run nor --check-config guards anything, so both warn."""
    dog.write(site.url, "core /live", unit="site")
    for says, words in (({"active": "inactive", "sub": "dead"}, "is not active: health-watch runs only if something else starts it"), ({"load": "masked", "active": "inactive"}, "is masked: health-watch runs only if something else starts it"),
                        ({"file_state": "disabled"}, "is not enabled: it will not start at the next boot"),
                        ({"file_state": "enabled-runtime"}, "is not enabled: it will not start at the next boot")):
        systemctl.says("health-watch.timer", **says)
        done = dog.run("--dry-run")
        assert done.code == 1 and f"timer: health-watch.timer {words}" in done.out, done
        done = dog.run("--check-config")
        assert done.code == 1 and f"warning: health-watch.timer {words}" in done.out
        assert dog.run().code == 0  # this run guards the unit itself
    systemctl.says("health-watch.timer", load="not-found", active="inactive")  # then something else runs the program
    assert dog.run("--dry-run").code == 0 and "warning: health-watch.timer is not installed" in dog.run("--check-config").out
    systemctl.says("health-watch.timer")
    assert dog.run("--dry-run").code == 0 and dog.run("--check-config").code == 0


def test_a_spent_budget_reports_how_many_recoveries_did_not_help(dog, hung, systemctl):
    dog.write(hung.url, "core /live", unit="site", budget="2", timeout="200ms", restart_wait="1s")
    assert dog.run().code == 1  # recovered
    hung.default = w.hangs
    systemctl.on("kill", "")
    systemctl.says()
    assert dog.run().code == 2  # the second recovery fails
    assert "RECOVERY BUDGET SPENT: 2 recoveries in the last hour, 1 of them did not help" in dog.run().out


def sandbox(systemctl, **properties):
    """Sets the properties that systemctl shows of health-watch.service."""
    lines = "".join(f"{name}={value}\n" for name, value in properties.items())
    systemctl.write("sandbox", lines)
    systemctl.write("on-show", 'case "$*" in *PrivateTmp,*) cat "$dir/sandbox"; exit 0 ;; esac\n')


@pytest.mark.parametrize("path,off", [("/tmp/app.sock", "PrivateTmp"), ("/var/tmp/app.sock", "PrivateTmp"), ("/home/app/app.sock", "ProtectHome"),
                                      ("/root/app.sock", "ProtectHome"), ("/run/user/0/app.sock", "ProtectHome")])
def test_check_config_warns_of_paths_that_the_sandbox_hides(dog, systemctl, path, off):
    sandbox(systemctl, PrivateTmp="yes", ProtectHome="tmpfs", ProtectSystem="strict", StateDirectory="health-watch")
    dog.write(f"unix:{path}", "core /live", unit="site", listener=f"unix:{path}", ca_file=path, state_file="/var/lib/health-watch/x.state")
    done = dog.run("--check-config")
    assert done.code == 1
    for key in ("base_url", "listener", "ca_file"):
        assert f"warning: {key} {path} is hidden from health-watch.service by {off}=" in done.out
    sandbox(systemctl, **{"PrivateTmp": "yes", "ProtectHome": "yes", off: "no"})  # a drop-in
    assert "is hidden" not in dog.run("--check-config").out


def test_check_config_warns_of_a_state_file_that_the_service_cannot_write(dog, site, systemctl, directory):
    dog.write(site.url, "core /live", unit="site", state_file=f"{directory}/state")
    shipped = {"PrivateTmp": "no", "ProtectHome": "no", "ProtectSystem": "strict", "StateDirectory": "health-watch"}
    sandbox(systemctl, **shipped, ReadWritePaths="-/srv/a")
    done = dog.run("--check-config")
    assert done.code == 1 and f"warning: state_file {directory}/state cannot be written by health-watch.service" in done.out
    sandbox(systemctl, **shipped, ReadWritePaths=f"/srv/a -{directory}")
    assert dog.run("--check-config").code == 0
    assert os.listdir(directory).count("state.lock") == 0, "--check-config creates no file"


def test_a_lock_that_stays_taken_is_exit_3(dog, site, systemctl):
    dog.write(site.url, "core /live", unit="site")
    with open(dog.state + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = dog.run()
        assert done.code == 3
        assert "another run holds the lock" in done.out
        assert site.requests == []
        assert dog.run("--dry-run").code == 0  # needs no lock


def test_a_run_that_is_killed_during_a_recovery_has_counted_it(dog, site, systemctl):
    site.default = w.hangs
    systemctl.on("kill", 'echo $$ >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid"; exec sleep 60')
    dog.write(site.url, "core /live", unit="site", budget="1", timeout="200ms")
    process = dog.start(start_new_session=True)
    pid_file = os.path.join(systemctl.directory, "pid")
    wait_until(lambda: os.path.exists(pid_file), 15, "the kill is ordered")
    end(process, 9)
    with open(pid_file, encoding="ascii") as file:
        os.kill(int(file.read()), signal.SIGKILL)  # the fake systemctl has outlived the run
    done = dog.run()
    assert "RECOVERY BUDGET SPENT: 1" in done.out
    assert systemctl.orders() == ["kill"]


def test_a_missing_unit_is_exit_3(dog, site, systemctl):
    systemctl.says(load="not-found", active="inactive", sub="dead", pid=0)
    dog.write(site.url, "core /live", unit="sight")
    done = dog.run()
    assert done.code == 3
    assert "unit: sight.service does not exist" in done.out
    site.default = w.answers("502 Bad Gateway")
    assert dog.run().code == 2  # an outage is worse than a missing unit
    assert systemctl.orders() == []


def test_no_systemctl_is_exit_3(dog, site):
    dog.write(site.url, "core /live", unit="site")
    dog.systemctl.directory = dog.directory
    environment = {**dog.environment(), "PATH": dog.directory}
    dog.environment = lambda: environment
    done = dog.run()
    assert done.code == 3
    assert "cannot ask systemd about site.service: systemctl: No such file or directory" in done.out


@pytest.mark.parametrize("script,words", [
    ("sleep 1000", "did not exit within 5000 ms"), ("echo 'Failed to connect to bus: Host is down' >&2; exit 1",
                                              "exited with code 1: Failed to connect to bus: Host is down"),
    ("echo garbage; exit 0", "is missing or malformed"), ("head -c 1000000 /dev/zero; exit 0", "NUL byte"),
    ("kill -9 $$", "was killed by signal 9"), ("yes LoadState=loaded; exit 0", "did not exit within"),
], ids=["hangs", "fails", "garbage", "zeros", "dies", "floods"])
def test_there_is_no_recovery_if_systemctl_fails(dog, site, systemctl, script, words):
    systemctl.write("on-show", script + "\n")
    dog.write(site.url, "core /live", unit="site")
    done = dog.run()
    assert done.code == 3
    assert words in done.out
    site.default = w.answers("502 Bad Gateway")
    done = dog.run()
    assert done.code == 2, done
    assert systemctl.orders() == []


def test_a_slow_systemctl_does_not_prevent_a_recovery(dog, hung, systemctl):
    systemctl.write("on-show", "sleep 1\n")
    dog.write(hung.url, "core /live", unit="site")
    assert dog.run().code == 1
    assert systemctl.orders() == ["kill"]


def test_after_a_refused_kill_the_recovery_goes_on(dog, hung, systemctl):
    """The process exits between the last look and the order."""
    systemctl.on("kill", 'touch "$dir/killed"; echo "Failed to kill unit: No main process to kill" >&2; exit 1',
                 says=RESTARTED)
    dog.write(hung.url, "core /live", unit="site")
    done = dog.run()
    assert done.code == 1
    assert "No main process to kill; site.service runs as pid 4243 and answers" in done.out


def test_a_kill_that_hangs_fails_the_recovery(dog, site, systemctl):
    site.default = w.hangs
    systemctl.write("on-kill", "sleep 1000\n")
    dog.write(site.url, "core /live", unit="site", timeout="200ms")
    done = dog.run()
    assert done.code == 2
    failed = re.search(r"recovery: FAILED after ([\d.]+)", done.out)
    assert 5 <= float(failed[1]) < 10 and "did not exit within 5000 ms" in done.out


def test_a_unit_that_is_down_while_its_routes_answer_is_a_warning(dog, site, systemctl):
    """In the incident with the port conflict the site seemed to work, but no deploy took effect."""
    systemctl.says(active="activating", sub="auto-restart", pid=0, restarts=312, result="exit-code")
    dog.write(site.url, "core /live", unit="site")
    done = dog.run()
    assert done.code == 1
    assert "unit: site.service is activating (auto-restart, 312 restarts), yet its routes answer: find out what serves them" in done.out
    assert systemctl.orders() == []


def children_of_ours():
    """All children of this process, with the orphans that it has adopted as a subreaper."""
    lists = (open(path, encoding="ascii").read() for path in glob.glob("/proc/self/task/*/children"))
    return {pid for text in lists for pid in text.split()}


def test_no_process_is_left(dog, hung, systemctl):
    """A process that systemctl leaves behind would be an orphan."""
    subreaper = ctypes.CDLL(None).prctl
    before = children_of_ours()
    dog.write(hung.url, "core /live", unit="site")
    subreaper(PR_SET_CHILD_SUBREAPER, 1)
    try:
        process = dog.start()
        process.communicate(timeout=60)
        assert systemctl.orders() == ["kill"]
        assert children_of_ours() <= before
    finally:
        subreaper(PR_SET_CHILD_SUBREAPER, 0)


def test_check_config_compares_loaded_units_with_their_files(dog, site, systemctl):
    dog.write(site.url, "core /live", unit="site")
    systemctl.says()
    systemctl.says("health-watch.timer", reload="yes")
    systemctl.says("health-watch.service")
    done = dog.run("--check-config")
    assert done.code == 1
    assert done.lines[0] == f"{dog.file}: ok, 1 routes, 1 of them core, recovers site.service"
    assert done.lines[1:] == ["warning: health-watch.timer has changed on disk since systemd read it: "
                              "run systemctl daemon-reload"]
    systemctl.says("health-watch.timer")
    assert dog.run("--check-config").code == 0
    systemctl.says(reload="yes")
    assert "warning: site.service has changed on disk" in dog.run("--check-config").out
    systemctl.says(load="not-found")
    assert "warning: site.service does not exist" in dog.run("--check-config").out
    assert site.requests == [] and systemctl.orders() == []
