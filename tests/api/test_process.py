"""Command line, signals, exit codes, CGI."""
import json
import os
import signal
import socket
import time

import pytest
from harness import backend as program
from harness.cluster import FEW_EDGES
from harness.webserver import FcgiWrap, Lighttpd
from harness.wait import hold_for, wait_until

from harness.backend import CHECKS


def settings(cluster, **changes):
    return {**cluster.environment(), "HEALTH_CHECKS": CHECKS, **changes}


def test_help_names_every_setting_of_the_readme():
    done = program.run("--help")
    assert done.returncode == 0
    for name in ("LISTEN", "SOCKET_MODE", "SOCKET_GROUP", "CHECKS", "INTERVAL", "CONNECT_TIMEOUT", "QUERY_TIMEOUT",
                 "RECONNECT_EVERY", "STALE_AFTER", "FALL", "RISE", "DRAIN", "STOP_TIMEOUT", "FD_LIMIT",
                 "MAX_CONNECTIONS", "IDLE_TIMEOUT", "LOG_LEVEL"):
        assert f"HEALTH_{name} " in done.stdout


def test_version_and_unknown_options():
    assert program.run("--version").stdout.startswith("health-api 0.")
    for arguments in (("--nothing",), ("--once", "more"), ("x",)):
        done = program.run(*arguments)
        assert done.returncode == 64
        assert "expected" in done.stderr


def test_once_prints_the_document_and_exits_with_the_status(cluster):
    done = program.run("--once", **settings(cluster))
    assert done.returncode == 0
    assert json.loads(done.stdout)["counts"]["edges"] == FEW_EDGES
    done = program.run("--once", **settings(cluster, PGPORT=1))
    assert done.returncode == 1
    assert json.loads(done.stdout)["failing"] == [{"check": "database", "reason": "unreachable"}]


def test_check_config_reports_what_is_wrong(cluster):
    assert program.run("--check-config", **settings(cluster)).returncode == 0
    for name, value in (("HEALTH_INTERVAL", "2"), ("HEALTH_INTERVAL", "two seconds"), ("HEALTH_QUERY_TIMEOUT", "-1s"),
                        ("HEALTH_DRAIN", "6m"), ("HEALTH_STALE_AFTER", "2s"), ("HEALTH_SOCKET_MODE", "999"),
                        ("HEALTH_FALL", "0"), ("HEALTH_LOG_LEVEL", "loud"), ("HEALTH_CHECKS", "/no/such/file"),
                        ("HEALTH_CHECKS", "/")):
        done = program.run("--check-config", **settings(cluster, **{name: value}))
        assert done.returncode == 78, (name, value)
        assert name in done.stderr and value in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_an_unreadable_checks_file_exits_78(checks_file, cluster):
    path = checks_file("x" * (2 << 20))
    done = program.run("--check-config", **settings(cluster, HEALTH_CHECKS=path))
    assert done.returncode == 78 and path in done.stderr


def test_an_unknown_setting_warns_with_its_name_and_serves(start_backend):
    backend = start_backend(HEALTH_INTERVALL="5s", HEALTH_PORT="tcp://10.0.0.1:80")
    backend.wait_status("healthy")
    warned = {line["name"] for line in backend.events("unknown setting ignored")}
    assert {"HEALTH_INTERVALL", "HEALTH_PORT"} <= warned and "HEALTH_INTERVAL" not in warned


def silent_server(directory):
    """A server that accepts connections for PostgreSQL and never answers."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{directory}/.s.PGSQL.5432")
    listener.listen(50)
    return listener


def test_the_status_is_starting_until_the_first_probe_and_then_connect_timeout(start_backend, directory):
    with silent_server(directory):
        backend = start_backend(PGHOST=directory, HEALTH_CONNECT_TIMEOUT="2500ms")
        document = backend.document()
        assert document["status"] == "starting"
        assert document["failing"] == [{"check": "database", "reason": "starting"}]
        assert set(document["counts"].values()) == {None} and len(document["counts"]) == 5
        assert backend.ask().status == 503
        assert backend.ask("/api/health/live").status == 200
        backend.wait_failing(("database", "connect_timeout"), deadline_s=5)


def test_a_process_that_was_stopped_never_sends_an_outdated_200(start_backend):
    backend = start_backend(HEALTH_INTERVAL="200ms", HEALTH_CONNECT_TIMEOUT="300ms", HEALTH_QUERY_TIMEOUT="300ms",
                            HEALTH_STALE_AFTER="1s")
    backend.wait_status("healthy")
    backend.process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        wait_until(lambda: time.monotonic() - stopped > 1.3, 5, "older than HEALTH_STALE_AFTER")
    finally:
        backend.process.send_signal(signal.SIGCONT)
    wait_until(lambda: [line for line in backend.events("status changed")
                        if line["to"] == "degraded" and line["reason"] == "stale"], 5, "stale came first")
    backend.wait_status("healthy", 5)


def test_sighup_reloads_the_checks_and_a_bad_file_keeps_the_old_ones(start_backend, checks_file):
    path = checks_file("-- check: one\nSELECT 1;\n")
    backend = start_backend(HEALTH_CHECKS=path, HEALTH_INTERVAL="200ms")
    backend.wait_status("healthy")
    checks_file("-- check: one\n-- min: 1\nSELECT 1;\n-- check: two\nSELECT 2;\n")
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: backend.document()["counts"] == {"one": 1, "two": 2}, 5, "the new check")
    (line,) = backend.events("checks reloaded")
    assert line["checks"] == "2"
    checks_file("-- check: one\n")
    backend.process.send_signal(signal.SIGHUP)

    def refused():
        return backend.document("/api/status")["config"]["checks_error"]
    assert path in wait_until(refused, 5, "the refusal in /api/status")
    hold_for(lambda: backend.document()["counts"] == {"one": 1, "two": 2}, 0.5, "the old checks")
    before = backend.fds_at_rest()
    for _ in range(20):
        refusals = len(backend.events("reload refused"))
        backend.process.send_signal(signal.SIGHUP)
        wait_until(lambda refusals=refusals: len(backend.events("reload refused")) > refusals, 5, "one more refusal")
    assert backend.fds_at_rest() == before


def test_a_path_that_is_not_utf_8_still_makes_valid_json(start_backend, directory):
    path = os.fsencode(directory) + b"/\xff\xe2\x82\xac\xc3\xa4\xed\xa0\x80.sql"
    with open(path, "w", encoding="utf-8") as file:
        file.write("-- check: one\nSELECT 1;\n")
    backend = start_backend(HEALTH_CHECKS=os.fsdecode(path))
    backend.wait_status("healthy")
    shown = backend.document("/api/status")["config"]["HEALTH_CHECKS"]
    assert shown == f"{directory}/?\u20ac\u00e4???.sql"


def test_permanent_errors_are_logged_once(start_backend):
    backend = start_backend(PGPASSWORD="wrong")
    backend.wait_failing(("database", "access"))

    def tried_again():
        return backend.document("/api/status")["database"]["consecutive_failures"] >= 2
    wait_until(tried_again, 20, "a second attempt, after ten seconds")
    assert len(backend.events("database failed")) == 1
    assert backend.events("database failed")[0]["sqlstate"] == "28P01"


@pytest.mark.parametrize("server", [FcgiWrap, Lighttpd])
def test_the_same_binary_answers_as_a_cgi_program(server, cluster, directory):
    environment = program.environment(**settings(cluster))
    web = server(directory)
    try:
        web.start(program.PROGRAM, environment)
        answer = web.ask()
        assert answer.status == 200
        assert json.loads(answer.body)["counts"]["edges"] == FEW_EDGES
        assert answer.headers["X-Health-Source"] == "backend"
        head = web.ask(method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert web.ask(method="DELETE").status == 405
        assert web.ask("/api/status").status == 200
    finally:
        web.stop()


@pytest.mark.parametrize("server", [FcgiWrap, Lighttpd])
def test_a_cgi_program_with_a_silent_database_sends_503_within_the_timeouts(server, cluster, directory):
    with silent_server(directory):
        environment = program.environment(**settings(cluster, PGHOST=directory))
        web = server(directory)
        try:
            web.start(program.PROGRAM, environment)
            began = time.monotonic()
            answer = web.ask()
            assert time.monotonic() - began < 1.8 + 1  # both timeouts, and a second to start on a slow machine
            assert answer.status == 503
            assert json.loads(answer.body)["failing"] == [{"check": "database", "reason": "connect_timeout"}]
        finally:
            web.stop()


def test_a_cgi_program_with_a_wrong_setting_sends_a_503_in_json(cluster):
    done = program.run(GATEWAY_INTERFACE="CGI/1.1", REQUEST_METHOD="GET", SCRIPT_NAME="/api/health",
                       **settings(cluster, HEALTH_INTERVAL="never"))
    head, _, body = done.stdout.partition("\n\n")  # Python's text mode turns CR LF into LF
    assert head.splitlines()[0] == "Status: 503 Service Unavailable"
    assert "Retry-After: 1" in head.splitlines()
    assert json.loads(body)["failing"] == [{"check": "process", "reason": "internal"}]
    assert done.returncode == 78 and "HEALTH_INTERVAL" in done.stderr
