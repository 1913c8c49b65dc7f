"""The command line and the settings. An error about a setting is one line with its name, its value and what was expected."""
import json
import os
import socket
import subprocess
import time

import pytest
from harness.backend import CHECKS
from harness import backend as program
from harness.wait import hold_for, wait_until

BAD = [
    ("HEALTH_INTERVAL", "2", "duration"),
    ("HEALTH_INTERVAL", "0s", "100ms"),
    ("HEALTH_INTERVAL", "2 s", "duration"),
    ("HEALTH_INTERVAL", "-2s", "duration"),
    ("HEALTH_INTERVAL", "2S", "duration"),
    ("HEALTH_INTERVAL", "1.5s", "duration"),
    ("HEALTH_INTERVAL", "99999999999999999999s", "duration"),
    ("HEALTH_INTERVAL", "9223372036854775807h", "duration"),
    ("HEALTH_CONNECT_TIMEOUT", "never", "duration"),
    ("HEALTH_QUERY_TIMEOUT", "800", "duration"),
    ("HEALTH_RECONNECT_EVERY", "0s", "duration"),
    ("HEALTH_STALE_AFTER", "3s", "HEALTH_INTERVAL"),
    ("HEALTH_FALL", "0", "1"),
    ("HEALTH_FALL", "1x", "number"),
    ("HEALTH_RISE", "-1", "number"),
    ("HEALTH_DRAIN", "301s", "5m"),
    ("HEALTH_DRAIN_FILE", "drain", "the absolute path of a file, or off"),
    ("HEALTH_STOP_TIMEOUT", "0s", "duration"),
    ("HEALTH_STOP_TIMEOUT", "499ms", "500ms"),
    ("HEALTH_FD_LIMIT", "1", "number"),
    ("HEALTH_FD_LIMIT", "99999999", "RLIMIT_NOFILE"),
    ("HEALTH_MAX_CONNECTIONS", "0", "number"),
    ("HEALTH_IDLE_TIMEOUT", "soon", "duration"),
    ("HEALTH_LOG_LEVEL", "LOUD", "debug"),
    ("HEALTH_SOCKET_MODE", "0888", "octal"),
    ("HEALTH_SOCKET_MODE", "07777", "octal"),
    ("HEALTH_LISTEN", "9000", "unix:"),
    ("HEALTH_LISTEN", "unix:relative.sock", "unix:/PATH"),
    ("HEALTH_LISTEN", "unix:/" + "x" * 120, "unix:/PATH"),
    ("HEALTH_CHECKS", "/no/such/file", "No such file"),
    ("HEALTH_CHECKS", "/dev/null", "regular"),
]


@pytest.mark.parametrize("name, value, expected", BAD, ids=[f"{name}={value[:20]}" for name, value, _ in BAD])
def test_a_bad_setting_exits_78_with_one_line_of_name_value_and_expectation(name, value, expected):
    for arguments in (("--check-config",), ("--once",), ()):
        settings = {"HEALTH_CHECKS": CHECKS, "HEALTH_LISTEN": "unix:/no/such/socket", name: value}
        done = program.run(*arguments, **settings)
        assert done.returncode == 78
        lines = done.stderr.splitlines()
        assert len(lines) == 1
        assert name in lines[0] and value[:60] in lines[0] and expected in lines[0], lines[0]


@pytest.mark.parametrize("name, value, expected", [
    ("HEALTH_LISTEN", "tcp:0.0.0.0:9000", "loopback"),
    ("HEALTH_LISTEN", "tcp:127.0.0.1:99999", "tcp:ADDR:PORT"),
    ("HEALTH_LISTEN", "tcp:example.org:9000", "numeric address"),
    ("HEALTH_SOCKET_GROUP", "no-such-group", "name of a group"),
])
def test_check_config_refuses_what_the_start_refuses(directory, name, value, expected):
    for arguments in (("--check-config",), ()):
        done = program.run(*arguments, **{"HEALTH_CHECKS": CHECKS, "HEALTH_LISTEN": f"unix:{directory}/s", name: value})
        assert done.returncode == 78
        assert name in done.stderr and value in done.stderr and expected in done.stderr, done.stderr


def test_a_group_with_many_members_is_found(directory):
    """Runs the program in a mount namespace with such an /etc/group."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with open(f"{directory}/group", "w", encoding="ascii") as file:
        file.write("many:x:4711:" + ",".join(f"member{n}" for n in range(500)) + "\n")
    done = subprocess.run(["unshare", "--mount", "sh", "-c", f'mount --bind {directory}/group /etc/group && exec "$@"', "sh",
                           program.PROGRAM, "--check-config"], text=True, capture_output=True, timeout=30, check=False,
                          env=program.environment(HEALTH_CHECKS=CHECKS, HEALTH_SOCKET_GROUP="many"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("value", ["2s\nlevel=error event=\"forged\"", "\x1b[31mred", "\r", "\u202e", "x" * 5000])
def test_a_strange_value_cannot_forge_a_line_or_control_a_terminal(value):
    done = program.run("--check-config", HEALTH_CHECKS=CHECKS, HEALTH_INTERVAL=value)
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.strip().isprintable() and done.stderr.isascii()


def test_an_empty_value_is_the_default():
    empty = {"HEALTH_INTERVAL": "", "HEALTH_LISTEN": "", "HEALTH_SOCKET_GROUP": ""}
    done = program.run("--check-config", HEALTH_CHECKS=CHECKS, **empty)
    assert done.returncode == 0
    assert done.stderr == ""


def test_check_config_needs_neither_database_nor_socket(backend):
    done = program.run("--check-config", HEALTH_CHECKS=CHECKS, PGHOST="/no/such",
                       HEALTH_LISTEN=f"unix:{backend.socket}")
    assert done.returncode == 0
    assert "5 checks" in done.stdout


@pytest.mark.parametrize("arguments, unexpected", [
    (("--Once",), "--Once"), (("-h",), "-h"), (("--check-config", "x"), "x"),
    (("",), ""), (("x", "y"), "x"), (("x", "--once"), "x"), (("--once", "?", "x"), "x"), (("--once", "--once"), "--once"), (("--help", "x", "y"), "x"), (("--ask", "/x", "/y"), "/y"),
    (("--ask=/x",), "--ask=/x")])
def test_an_unknown_argument_exits_64_and_names_the_known_ones(arguments, unexpected):
    done = program.run(*arguments, HEALTH_CHECKS=CHECKS)
    assert done.returncode == 64
    assert done.stderr == (f"health-api: unexpected argument '{unexpected}', expected "
                           "health-api [--ask [PATH?QUERY] | --once [?QUERY] | --check-config | --version | --help]\n")
    assert done.stdout == ""


@pytest.mark.parametrize("name, default", [
    ("HEALTH_INTERVAL", "2s"), ("HEALTH_CONNECT_TIMEOUT", "1500ms"), ("HEALTH_QUERY_TIMEOUT", "800ms"),
    ("HEALTH_RECONNECT_EVERY", "4s"), ("HEALTH_STALE_AFTER", "6s"), ("HEALTH_SOCKET_MODE", "0660"),
    ("HEALTH_CHECKS", "/etc/health-api/checks.sql"), ("HEALTH_MAX_CONNECTIONS", "256"),
    ("HEALTH_IDLE_TIMEOUT", "75s"), ("HEALTH_STOP_TIMEOUT", "3s"), ("HEALTH_DRAIN", "0s"), ("HEALTH_FALL", "1")])
def test_help_shows_the_documented_defaults(name, default):
    lines = [line.split() for line in program.run("--help").stdout.splitlines() if line.strip().startswith(name)]
    assert lines[0][:2] == [name, default]


def test_help_shows_the_default_listener():
    assert "unix:/run/health-api/health-api.sock" in program.run("--help").stdout


def test_help_names_the_exit_codes():
    text = program.run("--help").stdout
    assert all(code in text for code in ("64", "69", "78"))


@pytest.mark.parametrize("redirection, code", [(">/dev/full", 1), (">&-", 1), ("<&- 2>&-", 0)])
def test_once_fails_when_it_cannot_write_its_document(cluster, redirection, code):
    done = subprocess.run(["sh", "-c", f'exec "$0" --once {redirection}', program.PROGRAM], timeout=30, check=False,
                          capture_output=True, env=program.environment(**cluster.environment(), HEALTH_CHECKS=CHECKS))
    assert done.returncode == code
    assert (done.stdout != b"") == (code == 0)


def test_once_against_a_silent_server_ends_within_the_timeouts(directory):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{directory}/.s.PGSQL.5432")
        silent.listen(5)
        began = time.monotonic()
        done = program.run("--once", HEALTH_CHECKS=CHECKS, PGHOST=directory, HEALTH_CONNECT_TIMEOUT="400ms")
        assert 0.4 <= time.monotonic() - began < 2
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["failing"] == [{"check": "database", "reason": "connect_timeout"}]


def test_once_with_a_warning_is_healthy(cluster, checks_file):
    path = checks_file("-- check: a\n-- severity: warn\nSELECT 1/0;\n")
    done = program.run("--once", HEALTH_CHECKS=path, **cluster.environment())
    assert done.returncode == 0
    assert json.loads(done.stdout)["warnings"] == [{"check": "a", "reason": "query_error"}]


def test_once_and_the_server_give_the_same_document(cluster, backend):
    once = json.loads(program.run("--once", HEALTH_CHECKS=CHECKS, **cluster.environment()).stdout)
    served = backend.document()
    assert list(once) == list(served)
    assert once["counts"] == served["counts"]


def test_a_checks_file_that_blocks_is_refused_at_once(directory):
    os.mkfifo(f"{directory}/fifo")
    done = program.run("--check-config", HEALTH_CHECKS=f"{directory}/fifo")
    assert done.returncode == 78
    assert "regular" in done.stderr


@pytest.mark.parametrize("replace", [lambda path: os.unlink(path), lambda path: (os.unlink(path), os.mkfifo(path)),
                                     lambda path: (os.unlink(path), os.mkdir(path)),
                                     lambda path: open(path, "w", encoding="ascii").close(),
                                     lambda path: open(path, "wb").write(b"-- check: a\nSELECT '\xff';\n")],
                         ids=["removed", "fifo", "directory", "empty", "no text"])
def test_a_reload_of_a_bad_checks_file_keeps_the_old_checks_and_the_loop(start_backend, checks_file, replace):
    path = checks_file("-- check: one\nSELECT 1;\n")
    backend = start_backend(HEALTH_CHECKS=path, HEALTH_INTERVAL="200ms")
    backend.wait_status("healthy")
    replace(path)
    backend.process.send_signal(1)
    wait_until(lambda: backend.events("reload refused"), 5, "the refusal is logged")
    assert backend.document("/api/status")["config"]["checks_error"]
    hold_for(lambda: backend.document()["counts"] == {"one": 1} and backend.ask().status == 200, 0.5, "the old checks")


def test_a_reload_can_change_remove_and_rename_checks(start_backend, checks_file):
    path = checks_file("-- check: one\nSELECT 1;\n-- check: two\n-- every: 1h\nSELECT 2;\n")
    backend = start_backend(HEALTH_CHECKS=path, HEALTH_INTERVAL="200ms")
    backend.wait_status("healthy")
    checks_file("-- check: two\n-- every: 1h\nSELECT 22;\n-- check: three\nSELECT 1/0;\n")
    backend.process.send_signal(1)
    document = backend.wait_failing(("three", "query_error"))
    assert document["counts"] == {"two": 22, "three": None}
    assert list(backend.document("/api/status")["checks"]) == ["two", "three"]
