"""One machine with a real systemd for all system tests: PostgreSQL and nginx from their packages, health-api as its
README installs it."""
import contextlib
import glob
import json
import os
import re
import signal
import subprocess

import pytest
from harness import contract
from harness.cluster import ROOT
from harness.machine import SOURCE, Machine, why_not
from harness.site import INSTALLED, copy_commands
from harness.wait import wait_until

from . import watching

RESULTS = "/run/stream.json"
REQUEST_TIMES = "/run/request_times"
# "Within 1 s" is nginx's fastcgi_read_timeout. It starts anew when nginx finds its kept connection closed within
# fastcgi_next_upstream_timeout, 0.2 s, and asks once more. This much a request may take by nginx's own clock,
NGINX_TAKES_S = 1 + 0.2
# and this much for who asks, on a machine that is busy with other things.
ANSWERED_WITHIN_S = NGINX_TAKES_S + 0.3
DROP_INS = "/run/systemd/system/health-api.service.d"


# The tests of a group share a machine; the files that take longest have their own.
GROUPS = {"test_soak": "test_soak", "test_uninstall": "test_uninstall", "test_watch": "test_watch",
          "test_whom_not_to_hurt": "test_whom_not_to_hurt"}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    reason = why_not()
    for item in items:
        if os.path.dirname(item.path) == os.path.dirname(__file__):
            item.add_marker(pytest.mark.xdist_group(GROUPS.get(item.path.stem, "test_machine")))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def documented_commands(name):
    """The one block of this name in README.md and docs/, for root and a database named knowledge."""
    found = []
    for path in [os.path.join(ROOT, "README.md"), *glob.glob(os.path.join(ROOT, "docs", "*.md"))]:
        with open(path, encoding="utf-8") as file:
            found += re.findall(rf"<!-- tests/system runs this block: {name} -->\n```sh\n(.*?)```", file.read(), re.S)
    assert len(found) == 1, f"README.md and docs/ have {len(found)} blocks named '{name}', expected one"
    block = found[0].replace("sudo -u postgres", "runuser -u postgres --").replace("sudo ", "")
    return block.replace("yourdb", "knowledge")


def whole_lines(path):
    """Of a file that grows. Its iterator goes on after a half line when the rest has come, and takes that for a line."""
    with open(path, encoding="utf-8") as file:
        return file.read().rpartition("\n")[0].splitlines()


class Stream:
    """Requests through nginx, 50 a second unless told otherwise, for as long as the block lasts."""

    def __init__(self, machine, path="/api/health", per_second=50):
        self.machine = machine
        argv = ["/usr/bin/python3", f"{SOURCE}/tests/system/stream.py", f"http://127.0.0.1{path}", str(per_second), RESULTS]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(machine.path(RESULTS))  # of the stream before: its answers are not ours
        self.process = subprocess.Popen(machine.command(*argv), stdin=subprocess.DEVNULL)
        self.results = []
        self.slowest_in_nginx = None
        self.logged_before = len(machine.request_times())
        wait_until(self.read, 10, "the first answer")

    def read(self):
        """The answers so far."""
        try:
            lines = whole_lines(self.machine.path(RESULTS))
        except FileNotFoundError:
            return []
        self.results = [json.loads(line) for line in lines]
        return self.results

    def wait_for_more(self, count, deadline_s=20):
        """Until count more answers have come."""
        have = len(self.read())
        wait_until(lambda: len(self.read()) >= have + count, deadline_s, f"{count} more answers")

    def end(self):
        # nsenter passes no signal on: its child is asked.
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            for pid in file.read().split():
                os.kill(int(pid), signal.SIGTERM)
        assert self.process.wait(30) == 0
        self.read()
        self.slowest_in_nginx = max(self.machine.request_times()[self.logged_before:])
        assert self.slowest_in_nginx < NGINX_TAKES_S


class Service(Machine):
    """The machine with health-api installed and what the tests do with it."""

    def ask(self, path="/api/health"):
        """Status, X-Health-Source and document of one request through nginx, at the port of operators for /api/status."""
        port = 8078 if path == "/api/status" else 80
        text = self.run("curl", "-s", "-i", "--max-time", "10", f"http://127.0.0.1:{port}{path}").stdout
        head, _, body = text.partition("\n\n")
        source = re.search(r"(?im)^x-health-source: (\S+)", head)
        status, source = int(head.split()[1]), source and source.group(1)
        contract.notes.add(source, status, body.encode(), path, "GET")
        return status, source, json.loads(body)

    def request_times(self):
        """Of every request so far, in seconds as nginx measured them."""
        return [float(line) for line in whole_lines(self.path(REQUEST_TIMES))]

    def wait_status(self, status, deadline_s=20):
        return wait_until(lambda: self.ask()[2]["status"] == status, deadline_s, f"status {status}")

    def status_text(self):
        return self.show("health-api.service", "StatusText")["StatusText"]

    def invocation(self):
        """What changes with every start of the service."""
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
        """The service with a drop-in and more settings, and as installed again afterwards."""
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
            # Until then what the unit shows, and who answers, is the service as it was before.
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


def install(machine):
    machine.run("systemctl", "start", "postgresql.service", "nginx.service", timeout_s=120)
    machine.shell(copy_commands().replace(INSTALLED, f"{SOURCE}/nginx"))
    machine.shell("""
        runuser -u postgres -- createdb knowledge
        for file in schema sample; do
            runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1 -d knowledge <SOURCE/sql/$file.sql >/dev/null
        done
        rm -f /etc/nginx/sites-enabled/* /etc/health-api/environment
        echo "log_format request_times '\\$request_time';" >/etc/nginx/conf.d/0-request_times.conf
        echo 'access_log REQUEST_TIMES request_times;' >>/etc/nginx/health-api.params
        printf 'server { listen 80; access_log REQUEST_TIMES request_times; include health-api.conf; }\\n' \\
            >/etc/nginx/sites-enabled/health-api
        systemctl reload nginx""".replace("SOURCE", SOURCE).replace("REQUEST_TIMES", REQUEST_TIMES), timeout_s=120)
    return machine.shell(f"cd {SOURCE}\n{documented_commands('install')}", timeout_s=120)


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
    """What the README's commands for the installation have printed."""
    return install(fresh_machine)


@pytest.fixture
def machine(fresh_machine, installation):
    assert installation
    fresh_machine.wait_status("healthy")
    return fresh_machine


@pytest.fixture
def guarded(machine):
    """The machine, with health-watch as installed and no recovery remembered."""
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
