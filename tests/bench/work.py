"""What the database does for the program in a second, without requests and under full load."""
import time

from harness.wait import wait_until

from . import load, settings

GROUP = "database work per second"
# More probes than usual, so that one more or less at an edge of the window matters little.
SETTINGS = {"HEALTH_INTERVAL": "250ms", "HEALTH_RECONNECT_EVERY": "1s", "HEALTH_STALE_AFTER": "6s"}
WINDOW_S = 1 if settings.SMOKE else 10
KINDS = ("statements", "transactions", "rows read")


def measure(stage, contenders, health, results):
    def connected_since():
        return health.document("/api/status")["database"]["connected_since"]

    def counted():
        """Returns time and work at the end of a session of the program: only then has PostgreSQL counted all of it."""
        last = connected_since()
        wait_until(lambda: connected_since() != last, 20, "a new session", interval_s=0.02)
        wait_until(lambda: len(stage.cluster.probes()) == 1, 20, "the end of the old session", interval_s=0.02)
        return time.monotonic(), stage.cluster.work()

    def window(under_load):
        began, before = counted()
        if under_load:
            load.wrk(stage, contenders["health"].path, WINDOW_S)
        else:
            wait_until(lambda: time.monotonic() - began >= WINDOW_S, WINDOW_S + 5, "the end of the window")
        ended, after = counted()
        return [float(b - a) / (ended - began) for a, b in zip(before, after)]
    measured = load.interleave({"idle": lambda: window(False), "load": lambda: window(True)},
                               rounds=min(2, settings.ROUNDS))
    for i, kind in enumerate(KINDS):
        for name, label in (("idle", "no requests"), ("load", "full load")):
            results.add(GROUP, f"{kind}, {name}", [row[i] for row in measured[name]], "/s", f"{kind}, {label}")
    # The work counts as equal if a window has at most one probe more than the other.
    slack = 1 + 0.25 / WINDOW_S
    for kind in KINDS[:2]:
        results.judge_ratio(f"database work, {kind}", GROUP, f"{kind}, load", f"{kind}, idle", slack)
