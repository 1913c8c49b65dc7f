"""How soon the program notices an outage: from `pg_ctl stop -m immediate` to the first 503, and from a ready server to
the first 200.

The outages last from zero to one and a half seconds, so that the figures include the waits between logins."""
import os
import time

from harness import fastcgi
from harness.wait import wait_until

from . import load, settings

GROUP = "time to notice"
LASTS_S = (0, 0.5, 1, 1.5)


class Watcher:
    """Sends requests to the backend on one connection."""

    def __init__(self, health):
        self.connection = fastcgi.Connection(health.address)

    def wait(self, status):
        wait_until(lambda: self.connection.ask().status == status, 10, f"the first {status}", interval_s=0.0002)
        return time.monotonic()


def is_ready(cluster):
    """PostgreSQL writes this line to postmaster.pid as soon as it accepts connections."""
    try:
        with open(os.path.join(cluster.data, "postmaster.pid"), encoding="ascii") as file:
            return file.read().split("\n")[7].strip() == "ready"
    except (OSError, IndexError):
        return False


def measure(stage, health, results):
    cluster, numbers = stage.cluster, iter(range(settings.REPEATS))

    def outage():
        lasts_s = LASTS_S[next(numbers) % len(LASTS_S)]
        watcher, pid = Watcher(health), cluster.postmaster_pid
        watcher.wait(200)
        began = time.monotonic()
        stopping = cluster.begin_stop()
        down = watcher.wait(503) - began
        stopping.wait()
        cluster.wait_gone(pid)
        wait_until(lambda: time.monotonic() - began >= lasts_s, 10, "the end of the outage")
        cluster.start(wait=False)
        wait_until(lambda: is_ready(cluster), 30, "the server is ready", interval_s=0.0005)
        ready = time.monotonic()
        return 1000 * down, 1000 * (watcher.wait(200) - ready)
    measured = load.interleave({"outage": outage}, settings.REPEATS)["outage"]
    results.add(GROUP, "down", [down for down, _ in measured], "ms", "pg_ctl stop -m immediate to the first 503")
    results.add(GROUP, "up", [up for _, up in measured], "ms", "server ready to the first 200")
    for name, target in (("down", 20), ("up", 300)):
        series = results.series[GROUP][name]
        results.judge(series.label, series, target, series.median, "ms")
