"""A real Prometheus scrapes the operators' server block of nginx: PromQL gives the right values in each status, and the
shipped alerts see what they should."""
import contextlib
import os
import re
import signal
import tempfile
from typing import NamedTuple

import pytest
from harness.backend import Backend
from harness.cluster import FEW_EDGES, ROOT
from harness.freeze import Frozen, prober
from harness.site import Site
from harness.wait import wait_until

from .prometheus import SHIPPED, Prometheus, promtool

pytestmark = pytest.mark.xdist_group("prometheus")  # one process starts it once

RULES = os.path.join(SHIPPED, "health-api-rules.yml")
RULE_TESTS = os.path.join(ROOT, "tests", "clients", "alert_rules.yml")
EDGES = "-- check: edges\nSELECT count(*) FROM edges;\n"
BROKEN = "-- check: broken\nSELECT count(*) FROM nowhere;\n"
WARNS = "-- check: warns\n-- severity: warn\n-- min: 8\nSELECT 7;\n"
BRIEF = {"HEALTH_CONNECT_TIMEOUT": "300ms", "HEALTH_QUERY_TIMEOUT": "300ms", "HEALTH_STALE_AFTER": "900ms"}


@pytest.fixture(scope="module")
def site(base):
    directory = tempfile.mkdtemp(prefix="p", dir=base)
    os.chmod(directory, 0o755)
    server = Site(directory)
    server.configure()
    server.start_configured()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def prometheus(site):
    server = Prometheus(os.path.join(site.directory, "prometheus"))
    os.mkdir(server.directory)
    server.start(f"127.0.0.1:{site.operators_port}")
    yield server
    server.stop()


@pytest.fixture
def start_program(site, small_cluster):
    """Starts the program behind the site."""
    started = []

    def start(checks, **settings):
        path = os.path.join(site.directory, "checks.sql")
        with open(path, "w", encoding="ascii") as file:
            file.write(checks)
        started.append(Backend(site.directory, HEALTH_CHECKS=path, HEALTH_INTERVAL="200ms",
                               **{**small_cluster.environment(), **settings}))
        return started[-1].start()
    yield start
    for program in started:
        program.stop()  # in a drain, this is the second signal, which ends it


def of(status):
    return {(word,): float(word == status) for word in ("starting", "healthy", "degraded", "draining")}


class State(NamedTuple):
    expected: dict  # PromQL -> its result
    checks: str = EDGES
    deed: str = None  # done once the program is healthy
    settings: dict = {}


# The tests start the program again and again, which leaves scrapes without an answer.
OTHER_ALERTS = 'ALERTS{alertname!~"HealthApi(Flapping|Unanswered)"}'
DEGRADED = 'ALERTS{alertname="HealthApiDegraded"}'
PENDING = {("HealthApiDegraded", "pending", "critical", "degraded"): 1}
STATES = {
    "healthy": State({
        "up": {(): 1}, "health_api_healthy": {(): 1}, "health_api_status": of("healthy"), OTHER_ALERTS: {},
        "health_api_database_up": {(): 1}, "health_api_database_in_recovery": {(): 0},
        "health_api_check_ok": {("edges", "fail"): 1}, "health_api_check_value": {("edges",): FEW_EDGES},
        "health_api_check_failures_total": {}, 'health_api_transitions_total{to="healthy"}': {("healthy",): 1},
        "health_api_check_age_seconds < 1": {("edges",)}, "health_api_snapshot_age_seconds < 1": {()},
        "0 < health_api_database_round_trip_seconds < 1": {()},
        'increase(health_api_http_requests_total{route="/api/metrics",code="200"}[10s]) > 0': {("200", "/api/metrics")},
        "abs(process_start_time_seconds - time()) < 60": {()}, "process_open_fds < process_max_fds": {()},
        "process_resident_memory_bytes > 1e6": {()}}),
    "a check warns": State({
        "health_api_healthy": {(): 1}, "health_api_check_ok": {("edges", "fail"): 1, ("warns", "warn"): 0},
        "health_api_check_value": {("edges",): FEW_EDGES, ("warns",): 7},
        OTHER_ALERTS: {("HealthApiWarning", "pending", "warns", "warning"): 1}},
        EDGES + WARNS),
    "degraded": State({
        "up": {(): 1}, "health_api_healthy": {(): 0}, "health_api_status": of("degraded"), DEGRADED: PENDING,
        "health_api_database_up": {(): 1}, "health_api_check_ok": {("edges", "fail"): 1, ("broken", "fail"): 0},
        "health_api_check_value": {("edges",): FEW_EDGES},
        'increase(health_api_check_failures_total{check="broken"}[10s]) > 0': {("broken", "schema")}}, EDGES + BROKEN),
    "the database is down": State({
        "up": {(): 1}, "health_api_healthy": {(): 0}, "health_api_status": of("degraded"), DEGRADED: PENDING,
        "health_api_database_up": {(): 0}, "health_api_database_round_trip_seconds": {}, "health_api_check_ok": {},
        "health_api_check_value": {}}, settings={"PGPORT": 1}),
    "stale": State({
        "up": {(): 1}, "health_api_healthy": {(): 0}, "health_api_status": of("degraded"), DEGRADED: PENDING,
        "health_api_database_up": {}, "health_api_check_ok": {}, "health_api_check_value": {},
        "health_api_snapshot_age_seconds > 0.9": {()}, "health_api_check_age_seconds > 0.9": {("edges",)}},
        deed="freeze", settings=BRIEF),
    "draining": State({
        "up": {(): 1}, "health_api_healthy": {(): 0}, "health_api_status": of("draining"),
        'ALERTS{alertname="HealthApiDrained"}': {("HealthApiDrained", "pending", "warning", "draining"): 1},
        "health_api_database_up": {(): 1}, "health_api_check_ok": {("edges", "fail"): 1}},
        deed="stop", settings={"HEALTH_DRAIN": "1m"}),
    "gone": State({
        "up": {(): 0}, "health_api_healthy": {}, "health_api_status": {}, "health_api_check_ok": {},
        "process_open_fds": {},
        'ALERTS{alertname="HealthApiUnanswered"}': {("HealthApiUnanswered", "pending", "critical"): 1}}, deed="kill"),
}


@pytest.mark.parametrize("name", STATES)
def test_promql_gives_the_right_values_in_each_state(start_program, prometheus, name):
    state = STATES[name]
    program = start_program(state.checks, **state.settings)
    with contextlib.ExitStack() as stack:
        if state.deed:
            program.wait_status("healthy")
        if state.deed == "freeze":
            stack.enter_context(Frozen(prober(program.pid)))
        if state.deed in ("stop", "kill"):
            program.process.send_signal(signal.SIGTERM if state.deed == "stop" else signal.SIGKILL)

        def others():
            """The queries whose results are not the expected ones. A set has only the labels."""
            results = {promql: prometheus.query(promql) for promql in state.expected}
            return {promql: result for promql, result in results.items() if state.expected[promql] != (
                set(result) if isinstance(state.expected[promql], set) else result)}
        last = {}

        def all_as_expected():
            last.update(now=others())
            return not last["now"]
        try:
            wait_until(all_as_expected, 25, "the results of PromQL", interval_s=0.05)
        except AssertionError as error:
            raise AssertionError(f"{last}") from error


@pytest.mark.parametrize("checks, settings", [(EDGES + WARNS, {}), (EDGES + BROKEN, {}), (EDGES, {"PGPORT": 1})],
                         ids=["a check warns", "a check fails", "the database is down"])
def test_promtool_finds_nothing_wrong_with_the_metrics(start_program, site, checks, settings):
    program = start_program(checks, **settings)
    wait_until(lambda: program.document()["status"] != "starting", 10, "the end of the start")
    answer = site.ask("/api/metrics", port=site.operators_port)
    assert answer.status == 200
    done = promtool("check", "metrics", text=answer.body.decode())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_accepts_the_shipped_files():
    for arguments in (("check", "config", os.path.join(SHIPPED, "prometheus.yml")), ("check", "rules", RULES),
                      ("test", "rules", RULE_TESTS)):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


WRONG_RULES = {
    "other programs are down": ('min_over_time(up{job="health-api"}[30s])', "min_over_time(up[30s])"),
    "down for longer": ("== 0\n        for: 90s", "== 0\n        for: 3m"),
    "each scrape fails": ("min_over_time", "max_over_time"),
    "a drain": ('status="degraded"}[30s]', 'status=~"degraded|draining"}[30s]'),
    "a shorter drain": ("for: 1h", "for: 4m"),
    "degraded for less": ("== 1\n        for: 90s", "== 1\n        for: 30s"),
    "degraded without a gap": ('max_over_time(health_api_status{job="health-api", status="degraded"}[30s])',
                               'health_api_status{job="health-api", status="degraded"}'),
    "a check that counts": (', severity="warn"} == 0', "} == 0"),
    "a check for less": ("for: 15m", "for: 5m"),
    "each transition": (', to="healthy"}[15m])) >= 4', "}[15m])) >= 4"),
    "three recoveries": ("[15m])) >= 4", "[15m])) >= 3"),
    "three starts": ("[15m]) >= 4", "[15m]) >= 3"),
    "other programs' descriptors": ('process_open_fds{job="health-api"}', "process_open_fds"),
    "more descriptors": ("0.6 *", "0.7 *"),
    "descriptors for less": ("for: 5m", "for: 1m"),
}


@pytest.mark.parametrize("old, new", WRONG_RULES.values(), ids=WRONG_RULES)
def test_the_tests_of_the_rules_notice_a_wrong_rule(directory, old, new):
    with open(RULES, encoding="utf-8") as file:
        rules = file.read()
    assert rules.count(old) == 1, old
    with open(RULE_TESTS, encoding="utf-8") as file:
        tests = re.sub(r"\S+/health-api-rules.yml", "rules.yml", file.read(), 1)
    for name, text in (("rules.yml", rules.replace(old, new)), ("tests.yml", tests)):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)
    done = promtool("test", "rules", os.path.join(directory, "tests.yml"))
    assert done.returncode == 1 and "FAILED" in done.stdout + done.stderr
