"""Requests per second, bytes and memory with 1, 10 and 100 checks. A longer response costs every server more, so each
size is compared with the least responder with a response of the same size."""
import os

from . import load, settings
from .contenders import start_least

GROUP = "requests per second by number of checks"
SHARE = "requests per second / least responder with as many bytes"
BYTES = "bytes of the answer by number of checks"
RSS = "memory by number of checks"
COUNTS = (1, 10, 100)


def write_checks(stage, count):
    path = stage.path(f"checks-{count}.sql")
    with open(path, "w", encoding="ascii") as file:
        for n in range(count):
            file.write(f"-- check: check_{n:03}\nSELECT count(*) FROM debates;\n")
    return path


def link_socket(stage, health, name):
    """Links the program's socket into the directory where nginx expects all sockets."""
    os.symlink(health.socket, stage.path(f"{name}.sock"))


def measure(stage, results):
    backends = {}
    for count in COUNTS:
        health = stage.start_health(f"checks{count}", HEALTH_CHECKS=write_checks(stage, count))
        link_socket(stage, health, f"health_{count}")
        start_least(stage, f"least_{count}", stage.answer_of(health))
        backends[count] = health
        assert len(health.document()["counts"]) == count

    def run(path):
        load.wrk(stage, path, settings.WARM_UP_S)
        return load.wrk(stage, path).rate
    paths = [f"{kind}-{count}" for count in COUNTS for kind in ("health", "least")]
    measured = load.interleave({name: lambda name=name: run(f"/bench/{name}") for name in paths})
    for count in COUNTS:
        for kind, label in (("health", "health-api"), ("least", "least responder")):
            results.add(GROUP, f"{kind}-{count}", measured[f"{kind}-{count}"], "/s", f"{label}, {count} checks")
        shares = [a / b for a, b in zip(measured[f"health-{count}"], measured[f"least-{count}"])]
        results.add(SHARE, f"health-{count}", shares, "x", f"{count} check{'s' if count > 1 else ''}")
        results.add(BYTES, f"health-{count}", [len(backends[count].ask().body)], "bytes", f"{count} checks")
        results.add(RSS, f"health-{count}", [backends[count].rss_kib()], "KiB", f"{count} checks")
    for count in COUNTS[1:]:
        results.judge_ratio(f"requests/s for the bytes, {count} checks", SHARE, f"health-{count}", "health-1", 0.9,
                            at_least=True)
    growth = results.median(RSS, "health-100") - results.median(RSS, "health-1")
    results.judge("RSS of 100 checks - 1 check", f"{growth:,.0f} KiB", 1024, growth, "KiB")
    for health in backends.values():
        health.stop()
