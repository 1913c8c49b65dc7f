"""Memory after many requests, and its growth after the first tenth of them."""
import re

from harness.wait import wait_until

from . import load, settings

GROUP = "memory"
# The heap of libpq and OpenSSL grows during the first logins, with or without requests. So these come early, and not
# between the two readings.
SETTINGS = {"HEALTH_INTERVAL": "100ms", "HEALTH_RECONNECT_EVERY": "100ms"}
CONNECTIONS = 30


def private_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", file.read(), re.M))


def measure(stage, contenders, health, results):
    served = 0

    connections = set()

    def has_settled():
        connections.add(health.document("/api/status")["database"]["connected_since"])
        return len(connections) >= CONNECTIONS

    def serve(until):
        """Sends requests until this many are served, then waits until the heap has settled."""
        nonlocal served
        while served < until:
            done = load.wrk(stage, contenders["health"].path, min(5, settings.SECONDS))
            served += done.requests
        wait_until(has_settled, 30, f"{CONNECTIONS} fresh connections", interval_s=0.02)
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
