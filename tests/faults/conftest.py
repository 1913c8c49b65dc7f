"""Measuring a fault, and the table that the run ends with."""
import statistics
import time

import pytest
from harness.wait import wait_until

ROWS = []


class Fault:
    """One fault under measurement: how long until the first 503 with the right words, how long back to 200."""

    def __init__(self, name):
        self.name = name
        self.began = None

    def injected(self):
        self.began = time.monotonic()

    def expect(self, backend, bound_s, *failing):
        """Waits for one of the allowed `failing` pairs; the time since injected() must be within bound_s."""
        allowed = [[{"check": check, "reason": reason}] for check, reason in failing]

        def is_there():
            document = backend.document()
            return document if document["failing"] in allowed else None
        document = wait_until(is_there, bound_s + 20, f"{self.name}: failing one of {failing}")
        took = time.monotonic() - self.began
        assert backend.ask().status == 503
        row = [self.name, 503, document["failing"][0]["check"] + " " + document["failing"][0]["reason"], took, bound_s, None]
        ROWS.append(row)
        self.row = row
        assert took <= bound_s, f"{self.name}: {took:.3f} s, bound {bound_s} s"
        return document

    def healed(self, backend, bound_s=5.0):
        began = time.monotonic()
        wait_until(lambda: backend.ask().status == 200, bound_s + 20, f"{self.name}: healthy again")
        self.row[5] = time.monotonic() - began
        assert self.row[5] <= bound_s, f"{self.name}: healthy again after {self.row[5]:.3f} s, bound {bound_s} s"


@pytest.fixture
def fault(request):
    return Fault(request.node.name.removeprefix("test_"))


def speed_ms(backend, count=100):
    """The median of answering /api/health, in ms."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        backend.ask()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def pytest_terminal_summary(terminalreporter):
    if not ROWS:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault':66} {'answer':6} {'failing':28} {'first 503':>10} {'bound':>7} {'back':>8}")
    for name, answer, failing, took, bound, back in ROWS:
        again = f"{back:7.3f}s" if back is not None else ""
        terminalreporter.write_line(f"{name[:66]:66} {answer:6} {failing:28} {took:9.3f}s {bound:6.1f}s {again:>8}")
