"""Memory after many requests, and whether it grew between the first tenth of them and the last."""
import re

from harness.wait import wait_until

from . import load, settings

GROUP = "memory"
SETTINGS = {"HEALTH_RECONNECT_EVERY": "1s"}  # needs memory of its own: soon, and not between the two readings


def private_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", file.read(), re.M))


def measure(stage, contenders, health, results):
    served = 0

    def connected_since():
        return health.document("/api/status")["database"]["connected_since"]
    first_connection = connected_since()

    def serve(until):
        """Until so many requests are served, and the database was connected anew once."""
        nonlocal served
        while served < until:
            done = load.wrk(stage, contenders["health"].path, min(5, settings.SECONDS))
            served += done.requests
        wait_until(lambda: connected_since() != first_connection, 20, "a fresh connection", interval_s=0.1)
        return health.rss_kib(), private_kib(health.pid)
    early_rss, early_private = serve(settings.REQUESTS // 10)
    rss, private = serve(settings.REQUESTS)
    early, late = f"{settings.REQUESTS // 10:,} requests", f"{settings.REQUESTS:,} requests"
    for name, label, value in (("rss_early", f"RSS after {early}", early_rss), ("rss", f"RSS after {late}", rss),
                               ("private_early", f"private after {early}", early_private),
                               ("private", f"private after {late}", private)):
        results.add(GROUP, name, [value], "KiB", label)
    results.judge(f"RSS after {late}", f"{rss} KiB", 8, rss / 1024, "MiB")
    results.judge(f"private memory after {late}", f"{private} KiB", 2, private / 1024, "MiB")
    results.judge(f"private memory, growth after {early}", f"{early_private} KiB then {private} KiB",
                  0,
                  private - early_private, "KiB")
