"""Measures faults, and prints a table of them at the end of the run.

Each row is in its test's user_properties, so that it also arrives from the processes of a parallel run."""
import json
import os
import statistics
import time

import pytest
from harness.backend import SANITIZED
from harness.wait import hold_for, wait_until
from harness.webserver import free_port

# The bounds are promises for the program as users run it. Under a sanitizer everything takes several times as long.
SLOWER = 2 if SANITIZED else 1


class Fault:
    """Measures one fault: the time until the first 503 with the right reason, and the time back to the first 200."""

    def __init__(self, node):
        self.name = node.name.removeprefix("test_")
        self.properties = node.user_properties
        self.row = None
        self.began = None
        self.times = []

    def injected(self):
        self.began = time.monotonic()

    def expect(self, backend, bound_s, *failing, once=True):
        """Waits for one of the allowed `failing` pairs; the time since injected() must be within bound_s. once=False:
        the test injects the fault again, and calls judge() at the end."""
        bound_s *= SLOWER
        allowed = [[{"check": check, "reason": reason}] for check, reason in failing]

        def failed():
            """The first response that is not a 200 must be the right one."""
            response = backend.ask()
            return None if response.status == 200 else (response.status, json.loads(response.body))
        status, document = wait_until(failed, bound_s + 20, f"{self.name}: failing one of {failing}")
        took = time.monotonic() - self.began
        assert status == 503 and document["failing"] in allowed, document
        if document["failing"][0]["check"] == "database":
            assert not any(document["counts"].values()), "an old number is shown as current"
        self.record(f"{document['failing'][0]['check']} {document['failing'][0]['reason']}", took, bound_s)
        if once:
            self.judge()
        return document

    def record(self, failing, took, bound_s):
        if self.row is None:
            self.row = {"name": self.name, "failing": failing, "bound": bound_s, "back": None}
            self.properties.append(("fault", self.row))
        self.times.append(took)
        self.row["took"] = statistics.median(self.times)

    def judge(self):
        """A short bound holds for the median, because in one of several runs the machine itself may stand still."""
        assert self.row["took"] <= self.row["bound"], f"{self.row}, each: {self.times}"

    def healed(self, backend, bound_s=5.0, counts=None):
        """Waits for 200, and for these counts if they are given."""
        bound_s *= SLOWER
        began = time.monotonic()

        def is_healthy():
            response = backend.ask()
            return response.status == 200 and counts in (None, json.loads(response.body)["counts"])
        wait_until(is_healthy, bound_s + 20, f"{self.name}: healthy again")
        back = self.row["back"] = time.monotonic() - began
        assert back <= bound_s, f"{self.name}: healthy again after {back:.3f} s, bound {bound_s} s"


@pytest.fixture
def fault(request):
    return Fault(request.node)


def assert_quick(backend):
    """The answer comes from memory: a request for /api/health takes less than 10 ms, as the median of a hundred. The
    machine may be busy for longer than the first hundred take."""
    def median_ms():
        times = []
        for _ in range(100):
            began = time.perf_counter()
            backend.ask()
            times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)
    wait_until(lambda: median_ms() < 10, 10, "a quick answer")


class Timed:
    """Times the responses of a backend, and those of another one whose database is well: other load on the machine
    slows both."""

    def __init__(self, backend, other):
        self.backend, self.other, self.times_ms, self.usual_ms = backend, other, {}, []

    def ask(self):
        began = time.perf_counter()
        response = self.backend.ask()
        answered = time.perf_counter()
        self.other.ask()
        self.times_ms.setdefault(response.status, []).append((answered - began) * 1000)
        self.usual_ms.append((time.perf_counter() - answered) * 1000)
        return response

    def judge(self):
        """A response that waited for the database would take one of the timeouts; the shortest is 800 ms."""
        for status in (200, 503):
            times = sorted(self.times_ms[status])
            message = f"{status} while the fault lasts: {times}; the other one: {sorted(self.usual_ms)}"
            assert statistics.median(times) <= 3 * statistics.median(self.usual_ms) + 5, message
            assert times[-1] < 700, message


@pytest.fixture
def timed(start_backend):
    """Times a backend beside another one that only this test uses."""
    def start(backend):
        other = start_backend(place="other")
        other.wait_status("healthy")
        return Timed(backend, other)
    return start


def listen_on_tcp(cluster, hba, *settings):
    """Configures a stopped server to listen on a port of 127.0.0.1, and returns the port."""
    port = free_port()
    cluster.configure("listen_addresses = '127.0.0.1'", f"port = {port}", *settings)
    with open(os.path.join(cluster.data, "pg_hba.conf"), "a", encoding="utf-8") as file:
        file.write(hba + "\n")
    return port


def pytest_terminal_summary(terminalreporter):
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    rows = [row for report in reports if report.when == "call" for key, row in report.user_properties if key == "fault"]
    if not rows:
        return
    terminalreporter.section("faults: the time to the first 503, its bound, and the time back to the first 200")
    for row in sorted(rows, key=lambda row: row["name"]):
        back = f"{row['back']:7.3f}s" if row["back"] is not None else ""
        terminalreporter.write_line(
            f"{row['name'][:56]:56} 503 {row['failing']:26} {row['took']:7.3f}s {row['bound']:5.1f}s {back:>8}")
