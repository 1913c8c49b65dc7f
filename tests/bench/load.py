"""Loads and their cost: wrk at full speed, our own client at a constant rate, and the CPU time of process trees."""
import json
import os
import re
import signal
import subprocess

from harness import process
from harness.wait import wait_until

from . import settings

CONNECTIONS = 16  # nginx keeps this many open to a backend (keepalive 16)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    pass


class Throughput:
    """The result of one run of wrk; wrk itself measured the seconds."""

    def __init__(self, requests, seconds, received):
        self.requests, self.seconds, self.received = requests, seconds, received

    @property
    def rate(self):
        return self.requests / self.seconds


UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}


def _quantity(text):
    number, unit = re.fullmatch(r"([\d.]+)([a-zA-Z]*?)B?", text).groups()
    return float(number) * UNITS[unit]


def wrk(stage, path, seconds=None):
    """Runs wrk with one thread and keep-alive. Any status but 2xx and any broken connection ends the bench, because they
    would be fast."""
    seconds = settings.SECONDS if seconds is None else seconds
    report = stage.path("wrk.txt")
    if os.path.exists(report):
        os.unlink(report)
    child = process.start(["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{int(seconds) + 60}s", "--timeout", "60s",
                           f"http://127.0.0.1:{stage.nginx.port}{path}"], log=report)
    try:
        # Before, SIGINT would end it without a report, or be ignored.
        wait_until(lambda: child.poll() is not None or process.catches(child.pid, signal.SIGINT), 10, "wrk has begun")
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        pass  # -d takes only whole seconds, but on SIGINT wrk reports what it has
    finally:
        process.end(child, signal.SIGINT)
    with open(report, encoding="utf-8") as file:
        text = file.read()
    counted = re.search(r"(\d+) requests in ([\d.]+\w+), ([\d.]+\w+) read", text)
    if not counted or "Non-2xx" in text or "Socket errors" in text:
        raise Failed(f"wrk {path}:\n{text}")
    return Throughput(int(counted[1]), _quantity(counted[2]), _quantity(counted[3]))


def pace(stage, path, rate=1000, seconds=None, accept_errors=False):
    """Runs our client at a constant rate. Returns its figures, with latencies in us. accept_errors: any status is fine.
    """
    count = max(10, int(rate * (settings.SECONDS if seconds is None else seconds)))
    done = subprocess.run([stage.program("pace"), str(stage.nginx.port), path, str(rate), str(count), str(CONNECTIONS)],
                          stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout)
    if figures["failed"] or (figures["ok"] < figures["answered"] and not accept_errors):
        raise Failed(f"pace {path}: {figures}")
    return figures


def _stat(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def tree(root):
    """Returns the process and its descendants."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents.setdefault(int(_stat(pid)[1]), []).append(int(pid))
        except OSError:
            pass
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def cpu_seconds(root):
    """utime + stime of the process and its descendants, also of those that have ended (proc(5), fields 14 to 17)."""
    ticks = 0
    for pid in tree(root):
        try:
            ticks += sum(map(int, _stat(pid)[11:15]))
        except OSError:
            pass
    return ticks / TICKS_PER_S


def interleave(variants, rounds=None):
    """Calls each variant (name -> function) once per round: A B C A B C. Returns name -> results."""
    results = {name: [] for name in variants}
    for _ in range(rounds or settings.ROUNDS):
        for name, measure in variants.items():
            results[name].append(measure())
    return results
