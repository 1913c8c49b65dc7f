"""CPU time without any request: of the program, and of all processes of the server (also those that have ended), minus
what the server uses without a probe."""
import time

from harness.wait import wait_until

from . import load, settings

GROUP = "CPU at rest"
WINDOW_S = 1 if settings.SMOKE else 30
ROWS = 10_000 if settings.SMOKE else 10_000_000
MANY_ROWS = "-- check: counted\n-- timeout: 10s\nSELECT count(*) FROM rest;\n"
# This query would take days. The check is only a warning, so that the program is healthy.
TIMES_OUT = ("-- check: counted\n-- severity: warn\n"
             "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b;\n")


def make_rows(stage):
    stage.cluster.execute(f"CREATE UNLOGGED TABLE rest AS SELECT n FROM generate_series(1, {ROWS}) n")
    stage.cluster.execute("GRANT SELECT ON rest TO health_api")
    stage.cluster.execute("VACUUM (FREEZE, ANALYZE) rest")
    stage.cluster.execute("CHECKPOINT")


def write_checks(stage, name, text):
    path = stage.path(f"{name}.sql")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def until_it_counts(health, check):
    """Waits for the next answer to this check, so that the window has whole periods."""
    def counted():
        return health.document("/api/status")["checks"][check]["checked_at"]
    last = counted()
    wait_until(lambda: counted() != last, 300, f"the next answer to {check}", interval_s=0.2)


def per_cent(roots, until_the_end):
    """Returns the CPU time of each process tree from now until until_the_end returns, in per cent of a core."""
    began, before = time.monotonic(), [load.cpu_seconds(root) for root in roots]
    wait_until(lambda: time.monotonic() - began >= WINDOW_S, WINDOW_S + 5, "the end of the window", interval_s=0.1)
    until_the_end()
    after, took_s = [load.cpu_seconds(root) for root in roots], time.monotonic() - began
    return [100 * (b - a) / took_s for a, b in zip(before, after)]


def measure(stage, results):
    server = stage.cluster.postmaster_pid

    def run(name, check, **options):
        health = stage.start_health(name, **options)  # it has just counted
        used = per_cent([health.pid, server], lambda: until_it_counts(health, check))
        health.stop()
        return used[0], used[1] - nobody
    make_rows(stage)
    stage.settle()
    (nobody,) = per_cent([server], lambda: None)
    ours, sample = run("rest_sample", "edges")
    _, many = run("rest_many", "counted", HEALTH_CHECKS=write_checks(stage, "many_rows", MANY_ROWS))
    _, timeout = run("rest_timeout", "counted", HEALTH_CHECKS=write_checks(stage, "times_out", TIMES_OUT))
    stage.cluster.execute("DROP TABLE rest")
    for name, value, label, target in (
            ("nobody", nobody, "PostgreSQL, nobody probes", None),
            ("health", ours, "health-api", 0.2),
            ("sample", sample, "PostgreSQL, the sample's 714,201 rows counted", 2.3),
            ("many", many, f"PostgreSQL, {ROWS:,} rows counted", 2.3),
            ("timeout", timeout, "PostgreSQL, one check times out each time", 25)):
        results.add(GROUP, name, [value], "% of a core", label)
        if target is not None:
            results.judge(f"CPU at rest, {label}", f"over {WINDOW_S} s", target, value, "%")
