"""One machine with a real systemd for all system tests, with PostgreSQL and nginx from their packages, and health-api
installed as the README says."""
import contextlib
import glob
import json
import os
import re
import signal
import subprocess

import pytest
from harness import contract
from harness.cluster import FEW_ROWS, ROOT
from harness.machine import SOURCE, Machine, why_not
from harness.site import INSTALLED, copy_commands
from harness.wait import wait_until

from . import watching

RESULTS = "/run/stream.json"
REQUEST_TIMES = "/run/request_times"
# How long nginx waits for an answer: fastcgi_read_timeout.
NGINX_WAITS_S = 1
# How long a request may take by nginx's clock, on a busy machine: not for two answers that do not come.
NGINX_TAKES_S = 2 * NGINX_WAITS_S - 0.1
# How long a request may take by the client's clock, on a busy machine.
ANSWERED_WITHIN_S = NGINX_TAKES_S + 0.3
DROP_INS = "/run/systemd/system/health-api.service.d"
# What the README's block makes up a password with.
MADE_UP = "head -c 18 /dev/urandom | base64"


# The tests of a group share a machine; each of the slowest files has its own.
GROUPS = {"test_incidents": "test_incidents", "test_soak": "test_soak", "test_uninstall": "test_uninstall", "test_watch": "test_watch",
          "test_whom_not_to_hurt": "test_whom_not_to_hurt"}


@pytest.hookimpl(tryfirst=True)  # it must run before xdist reads the groups
def pytest_collection_modifyitems(items):
    reason = why_not()
    for item in items:
        if os.path.dirname(item.path) == os.path.dirname(__file__):
            item.add_marker(pytest.mark.xdist_group(GROUPS.get(item.path.stem, "test_machine")))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def documented_commands(name):
    """Returns the one block of this name in README.md and docs/, for root and a database named knowledge."""
    found = []
    for path in [os.path.join(ROOT, "README.md"), *glob.glob(os.path.join(ROOT, "docs", "*.md"))]:
        with open(path, encoding="utf-8") as file:
            found += re.findall(rf"<!-- tests/system runs this block: {name} -->\n```sh\n(.*?)```", file.read(), re.S)
    assert len(found) == 1, f"README.md and docs/ have {len(found)} blocks named '{name}', expected one"
    block = found[0].replace("sudo -u postgres", "runuser -u postgres --").replace("sudo ", "")
    return block.replace("yourdb", "knowledge")


def whole_lines(path):
    """Reads the complete lines of a file that grows: Python's own iterator would take half a line for a line."""
    with open(path, encoding="utf-8") as file:
        return file.read().rpartition("\n")[0].splitlines()


class Stream:
    """Sends requests through nginx, by default 50 per second, until the block ends."""

    def __init__(self, machine, path="/api/health", per_second=50):
        self.machine = machine
        argv = ["/usr/bin/python3", f"{SOURCE}/tests/system/stream.py", f"http://127.0.0.1{path}", str(per_second), RESULTS]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(machine.path(RESULTS))  # those are the answers of the stream before
        self.process = subprocess.Popen(machine.command(*argv), stdin=subprocess.DEVNULL)
        self.results = []
        self.slowest_in_nginx = None
        self.logged_before = len(machine.request_times())
        wait_until(self.read, 10, "the first answer")

    def read(self):
        """Returns the answers so far."""
        try:
            lines = whole_lines(self.machine.path(RESULTS))
        except FileNotFoundError:
            return []
        self.results = [json.loads(line) for line in lines]
        return self.results

    def wait_for_more(self, count, deadline_s=20):
        """Waits until count more answers have come."""
        have = len(self.read())
        wait_until(lambda: len(self.read()) >= have + count, deadline_s, f"{count} more answers")

    def end(self):
        # nsenter does not forward signals, so its child gets this one.
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            for pid in file.read().split():
                os.kill(int(pid), signal.SIGTERM)
        assert self.process.wait(30) == 0
        self.read()
        self.slowest_in_nginx = max(self.machine.request_times()[self.logged_before:])
        assert self.slowest_in_nginx < NGINX_TAKES_S


class Service(Machine):
    """The machine with health-api installed, and methods for the tests."""

    def ask(self, path="/api/health"):
        """Sends one request through nginx, for /api/status to the operators' port. Returns status, X-Health-Source and
        document."""
        port = 8078 if path == "/api/status" else 80
        text = self.run("curl", "-s", "-i", "--max-time", "10", f"http://127.0.0.1:{port}{path}").stdout
        head, _, body = text.partition("\n\n")
        source = re.search(r"(?im)^x-health-source: (\S+)", head)
        status, source = int(head.split()[1]), source and source.group(1)
        contract.notes.add(source, status, body.encode(), path, "GET")
        return status, source, json.loads(body)

    def request_times(self):
        """Returns the time of every request so far, in seconds, as nginx measured it."""
        return [float(line) for line in whole_lines(self.path(REQUEST_TIMES))]

    def wait_status(self, status, deadline_s=20):
        return wait_until(lambda: self.ask()[2]["status"] == status, deadline_s, f"status {status}")

    def status_text(self):
        return self.show("health-api.service", "StatusText")["StatusText"]

    def invocation(self):
        """Returns systemd's invocation ID, which changes with every start of the service."""
        return self.show("health-api.service", "InvocationID")["InvocationID"]

    @contextlib.contextmanager
    def stream(self, **options):
        running = Stream(self, **options)
        try:
            yield running
        finally:
            running.end()

    @contextlib.contextmanager
    def changed(self, text="", environment="", socket=True):
        """Runs the service with a drop-in and more settings; afterwards restores it as installed."""
        settings = open(self.path("/etc/health-api/environment"), encoding="utf-8").read()
        try:
            self.write(f"{DROP_INS}/test.conf", "[Service]\n" + text + "\n")
            self.write("/etc/health-api/environment", settings + environment, 0o600)
            self.run("systemctl", "daemon-reload")
            if not socket:
                self.run("systemctl", "stop", "health-api.socket", "health-api.service")
                self.run("systemctl", "mask", "--runtime", "health-api.socket")
            before = self.invocation()
            self.run("systemctl", "restart", "--no-block", "health-api.service")
            # Until then the old service answers, and the unit shows its status.
            wait_until(lambda: self.invocation() != before, 30, "a start with the drop-in")
            yield self
        finally:
            os.unlink(self.path(f"{DROP_INS}/test.conf"))
            self.write("/etc/health-api/environment", settings, 0o600)
            if not socket:
                self.run("systemctl", "stop", "health-api.service")
                self.run("systemctl", "unmask", "--runtime", "health-api.socket")
            self.run("systemctl", "daemon-reload")
            self.run("systemctl", "start", "health-api.socket")
            self.run("systemctl", "restart", "health-api.service")
            self.wait_status("healthy")


def prepare(machine):
    """What the README takes for granted: PostgreSQL with the database, and nginx."""
    # Tests restart it more often than five times in ten seconds, which systemd allows by default.
    machine.write("/run/systemd/system/postgresql@15-main.service.d/test.conf", "[Unit]\nStartLimitIntervalSec=0\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "postgresql.service", "nginx.service", timeout_s=120)
    machine.shell(copy_commands().replace(INSTALLED, f"{SOURCE}/nginx"))
    machine.shell("""
        runuser -u postgres -- createdb knowledge
        { cat SOURCE/sql/schema.sql; echo "FEW_ROWS;"; } |
            runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1 -d knowledge >/dev/null
        rm -rf /etc/nginx/sites-enabled/* /etc/health-api
        echo "log_format request_times '\\$request_time';" >/etc/nginx/conf.d/0-request_times.conf
        echo 'access_log REQUEST_TIMES request_times;' >>/etc/nginx/health-api.plain
        printf 'server { listen 80; access_log REQUEST_TIMES request_times; include health-api.conf; }\\n' \\
            >/etc/nginx/sites-enabled/health-api
        systemctl reload nginx""".replace("SOURCE", SOURCE).replace("FEW_ROWS", FEW_ROWS).replace("REQUEST_TIMES", REQUEST_TIMES), timeout_s=120)


def install(machine, password=None):
    """By the README's commands, and what they have printed; a file has the password, else it is made up there."""
    commands = documented_commands("install")
    if password:
        assert commands.count(MADE_UP) == 1
        commands = commands.replace(MADE_UP, f"cat {password}")
    return machine.shell(f"cd {SOURCE}\n{commands}", timeout_s=120)


@pytest.fixture(scope="session")
def fresh_machine():
    booted = Service()
    try:
        booted.boot()
        yield booted
    finally:
        booted.shut_down()


@pytest.fixture(scope="session")
def installation(fresh_machine):
    """Returns the output of the README's installation commands."""
    prepare(fresh_machine)
    return install(fresh_machine)


@pytest.fixture
def machine(fresh_machine, installation):
    assert installation
    fresh_machine.wait_status("healthy")
    return fresh_machine


@pytest.fixture
def guarded(machine):
    """The machine, with health-watch as installed and an empty state file."""
    watching.forget_recoveries(machine)
    yield machine
    machine.run("systemctl", "disable", "--now", watching.TIMER, check=False)
    machine.run("systemctl", "stop", watching.UNIT, check=False)
    machine.run("systemctl", "reset-failed", watching.UNIT, check=False)


@pytest.fixture
def site(guarded):
    """A site.service on port 8000 that hangs while /run/hang exists."""
    with watching.service(guarded, watching.SITE_UNIT):
        wait_until(lambda: watching.answers(guarded), 20, "the site answers")
        yield guarded
