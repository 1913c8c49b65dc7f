"""p99 at 1,000 requests per second, compared with nginx itself, and while the database is stopped."""
import contextlib
import os
import signal

from harness.wait import wait_until

from . import load, settings
from .contenders import start_fastapi, start_go

GROUP = "p99 at 1,000 requests/s"
FROZEN = "p99 at 1,000 requests/s, database stopped"


def measure(stage, contenders, started, health, results):
    """The program probes all the time, also while nginx answers by itself. So the comparison has only the path of a
    response, and not the counting of 714,201 rows every two seconds. The peers that count in the background run only
    while they are measured. `quiet` is nginx without any counting, and shows what the counting costs."""
    starts = {"go_cached": start_go, "fastapi_cached": start_fastapi}

    def run(name):
        stage.settle()
        load.pace(stage, contenders[name].path, seconds=settings.WARM_UP_S)
        return load.pace(stage, contenders[name].path)["p99"]

    def run_own():
        health.wait_status("healthy")  # the load of another program may have made a count late
        return run("health")

    def run_alone(name):
        peer = starts[name](stage)
        try:
            contenders[name].wait_ready(stage)
            return run(name)
        finally:
            stage.end(peer)

    def quiet():
        os.kill(health.pid, signal.SIGSTOP)
        try:
            return run("nginx")
        finally:
            os.kill(health.pid, signal.SIGCONT)
            health.wait_status("healthy")
    for name in starts:
        stage.end(started[name])
    names = ("nginx", "least", "health", "threads", "go_cached", "php_ping", "fastapi_cached")
    measured = load.interleave({**{name: lambda name=name: (run_alone if name in starts else run)(name)
                                   for name in names}, "health": run_own, "quiet": quiet})
    labels = {**{name: c.label for name, c in contenders.items()}, "quiet": "nginx return 200, nobody probes"}
    for name, samples in measured.items():
        results.add(GROUP, name, samples, "us", labels[name])
    results.judge_ratio("p99 at 1,000/s", GROUP, "health", "nginx", 1.3)


def measure_stopped(stage, contenders, health, results):
    """Stops every process of the server (SIGSTOP), like a hung disk or a frozen machine. The samples begin at once, so
    they include the moment when the response becomes a 503."""
    path = contenders["health"].path

    def healthy():
        load.pace(stage, path, seconds=settings.WARM_UP_S)
        return load.pace(stage, path)["p99"]

    def stopped():
        load.pace(stage, path, seconds=settings.WARM_UP_S)
        pids = load.tree(stage.cluster.postmaster_pid)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # a session that has just ended
                os.kill(pid, signal.SIGSTOP)
        try:
            p99 = load.pace(stage, path, accept_errors=True)["p99"]
            wait_until(lambda: health.ask().status == 503, 10, "the program says that the database hangs")
            p99_known = load.pace(stage, path, accept_errors=True)["p99"]
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        health.wait_status("healthy")
        return p99, p99_known
    measured = load.interleave({"healthy": healthy, "stopped": stopped})
    results.add(FROZEN, "healthy", measured["healthy"], "us", "health-api, healthy")
    results.add(FROZEN, "stopped", [p99 for p99, _ in measured["stopped"]], "us", "from the stop on")
    results.add(FROZEN, "known", [p99 for _, p99 in measured["stopped"]], "us", "while it answers 503")
    for name in ("stopped", "known"):
        results.judge_ratio(f"p99 with the database stopped ({results.series[FROZEN][name].label})", FROZEN, name,
                            "healthy", 1.2)
