"""/api/metrics of the real program behind a real nginx: it agrees with /api/status of the same moment in each status,
what is unknown is left out, and counters only grow."""
import collections
import contextlib
import os
import select
import signal
import socket
import time
from decimal import Decimal
from typing import NamedTuple

import pytest
from harness import exposition, fastcgi, process
from harness.freeze import Frozen, prober
from harness.wait import wait_until

BRIEF = {"HEALTH_CONNECT_TIMEOUT": "300ms", "HEALTH_QUERY_TIMEOUT": "300ms", "HEALTH_STALE_AFTER": "900ms"}
GOOD = "-- check: good\nSELECT 7;\n"
SMALL = "-- check: bad\n-- min: 8\nSELECT 7;\n"
BROKEN = "-- check: bad\nSELECT count(*) FROM nowhere;\n"
WARNS = "-- check: bad\n-- severity: warn\nSELECT count(*) FROM nowhere;\n"


def scrape(server):
    answer = server.ask("/api/metrics")
    assert (answer.status, answer.headers["X-Health-Source"]) == (200, "backend"), answer.body
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return exposition.parse(answer.body.decode())


def value(families, name, *labels):
    """The value of one sample as a number, or None without that sample."""
    text = families[name].get(labels)
    return None if text is None else Decimal(text)


def seconds(milliseconds):
    return f"{Decimal(str(milliseconds)) / 1000:.6f}"


def expected(document, up):
    """What the metrics must say in those families that this document of /api/status determines."""
    named = {entry["check"] for entry in document["failing"] + document["warnings"]}
    database, checks = document["database"], document["checks"] if up == "1" else {}
    known = {name: check for name, check in checks.items() if check["value"] is not None or check["reason"]}
    to = collections.Counter(transition["to"] for transition in document["transitions"])
    return {
        "health_api_build_info": {(document["version"],): "1"},
        "health_api_healthy": {(): str(int(document["status"] == "healthy"))},
        "health_api_status": {(word,): str(int(document["status"] == word)) for word in exposition.STATUSES},
        "health_api_database_up": {} if up is None else {(): up},
        "health_api_database_in_recovery": {(): "0"} if up == "1" else {},
        "health_api_database_connect_seconds": {(): seconds(database["connect_ms"])} if up == "1" else {},
        "health_api_database_round_trip_seconds": {(): seconds(database["round_trip_ms"])} if up == "1" else {},
        "health_api_database_reconnects_total": {(): str(database["reconnects"])},
        "health_api_check_ok": {
            (name, check["severity"]): str(int(name not in named)) for name, check in known.items()},
        "health_api_check_value": {
            (name,): str(check["value"]) for name, check in known.items() if check["value"] is not None},
        "health_api_check_duration_seconds": {(name,): seconds(check["duration_ms"]) for name, check in known.items()},
        "health_api_transitions_total": {(word,): str(to[word]) for word in exposition.STATUSES},
        "health_api_connections": {(): str(document["process"]["connections"])},
        "process_max_fds": {(): str(document["process"]["max_fds"])},
        "process_open_fds": {(): str(document["process"]["open_fds"])},
        "process_resident_memory_bytes": {(): str(document["process"]["rss_bytes"])},
    }


def assert_agrees(server, up):
    """Compares the metrics with /api/status right before and right after, once both show the same."""
    def same():
        documents = [server.document("/api/status")]
        families = scrape(server)
        documents.append(server.document("/api/status"))
        agreed, again = (expected(document, up) for document in documents)
        return (agreed, families, documents) if agreed == again else None
    agreed, families, (before, after) = wait_until(same, 10, "the status stays the same for three requests")
    assert {name: families[name] for name in agreed} == agreed
    counts = before["process"]["requests_total"]
    code = "200" if before["status"] == "healthy" else "503"
    counts.setdefault("/api/status", {}).setdefault(code, 0)
    counts["/api/status"][code] += 1  # that of the document itself
    assert families["health_api_http_requests_total"] == {
        (route, code): str(count) for route, codes in counts.items() for code, count in codes.items()}
    if before["time"] == after["time"] and before["status"] != "starting":
        age = value(families, "health_api_snapshot_age_seconds")
        assert before["snapshot"]["age_ms"] <= age * 1000 < after["snapshot"]["age_ms"] + 1
    for name, check in before["checks"].items():
        again, age = after["checks"][name], value(families, "health_api_check_age_seconds", name)
        assert (age is None) == (check["age_ms"] is None)
        if check["age_ms"] is not None and check["checked_at"] == again["checked_at"]:
            assert check["age_ms"] <= age * 1000 < again["age_ms"] + 1
    return families


class State(NamedTuple):
    status: str
    up: str  # "1", "0", or None: there is no sample
    ok: dict  # check_ok for each check that has it
    checks: str = GOOD
    deeds: tuple = ()  # done once the program is healthy, in this order
    settings: dict = {}


STATES = {
    "healthy": State("healthy", "1", {("good", "fail"): "1"}),
    "a check fails": State("degraded", "1", {("good", "fail"): "1", ("bad", "fail"): "0"}, GOOD + BROKEN),
    "a value is too small": State("degraded", "1", {("good", "fail"): "1", ("bad", "fail"): "0"}, GOOD + SMALL),
    "a check warns": State("healthy", "1", {("good", "fail"): "1", ("bad", "warn"): "0"}, GOOD + WARNS),
    "the database is down": State("degraded", "0", {}, settings={"PGPORT": 1}),
    "the database hangs": State("degraded", "0", {}, deeds=("hang",)),
    "the data is stale": State("degraded", None, {}, GOOD + WARNS, ("freeze",), BRIEF),
    "starting": State("starting", None, {}, settings={
        "PGHOST": "silent", "HEALTH_CONNECT_TIMEOUT": "5s", "HEALTH_STALE_AFTER": "20s"}),
    "draining": State("draining", "1", {("good", "fail"): "1", ("bad", "warn"): "0"}, GOOD + WARNS, ("stop",)),
    "draining while a check fails": State("draining", "1", {("bad", "fail"): "0"}, BROKEN, ("stop",)),
    "draining while the database is down": State("draining", "0", {}, deeds=("stop",), settings={"PGPORT": 1}),
    "draining while the data is stale": State("draining", None, {}, deeds=("freeze", "stop"), settings=BRIEF),
}


@contextlib.contextmanager
def silent_server(directory):
    """PGHOST of a server that accepts connections and never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/.s.PGSQL.5432")
        listener.listen(50)
        yield directory


@pytest.fixture
def behind(nginx):
    """Makes requests to a backend go through nginx."""
    def wrap(backend):
        backend.ask = nginx.ask
        return backend
    return wrap


@pytest.mark.parametrize("name", STATES)
def test_the_metrics_agree_with_the_status_document(start_backend, behind, checks_file, directory, request, name):
    state = STATES[name]
    settings = {"HEALTH_CHECKS": checks_file(state.checks), "HEALTH_INTERVAL": "100ms", **state.settings}
    if "stop" in state.deeds:
        settings["HEALTH_DRAIN"] = "30s"
    if "hang" in state.deeds:
        server = request.getfixturevalue("own_cluster")
        settings.update(server.environment())
    with contextlib.ExitStack() as stack:
        if settings.get("PGHOST") == "silent":
            settings["PGHOST"] = stack.enter_context(silent_server(directory))
        backend = behind(start_backend(**settings))
        if "freeze" in state.deeds:
            backend.wait_status("healthy")
            stack.enter_context(Frozen(prober(backend.pid)))
            backend.wait_failing(("database", "stale"))
        if "hang" in state.deeds:
            backend.wait_status("healthy")
            server.signal_all(signal.SIGSTOP)
            stack.callback(server.signal_all, signal.SIGCONT)
            backend.wait_failing(("database", "hung"))
        if "stop" in state.deeds:
            wait_until(lambda: backend.document()["status"] != "starting", 10, "the end of the start")
            backend.process.send_signal(signal.SIGTERM)
        backend.wait_status(state.status)
        families = assert_agrees(backend, state.up)
        assert families["health_api_check_ok"] == state.ok
        assert (families["health_api_snapshot_age_seconds"] == {}) == (state.status == "starting")
        entered = {word for (word,), count in families["health_api_transitions_total"].items() if count != "0"}
        assert (state.status in entered) == (state.status != "starting")


def test_head_and_options_have_the_headers_of_get(backend, nginx):
    for method in ("HEAD", "OPTIONS"):
        answer = nginx.ask("/api/metrics", method)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    answer = nginx.ask("/api/metrics", "POST", body=b"x")
    assert answer.status == 405 and answer.headers["Content-Type"] == "application/problem+json"


def test_a_reload_keeps_the_counters_of_the_checks_that_stay(start_backend, checks_file):
    kept, gone = "-- check: kept\nSELECT 1 FROM nowhere;\n", "-- check: gone\nSELECT 2 FROM nowhere;\n"
    path = checks_file(f"{gone}{kept}-- check: changed\nSELECT 3 FROM nowhere;\n")
    backend = start_backend(HEALTH_CHECKS=path, HEALTH_INTERVAL="100ms")

    def failures():
        found = scrape(backend)["health_api_check_failures_total"]
        return [int(found.get((check, "schema"), 0)) for check in ("gone", "kept", "changed")]
    wait_until(lambda: min(failures()) >= 3, 10, "three failures of each check")
    before = failures()[1]
    checks_file(f"{kept}-- check: changed\nSELECT 3;\n{GOOD}")
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: scrape(backend)["health_api_check_ok"] == {
        ("kept", "fail"): "0", ("changed", "fail"): "1", ("good", "fail"): "1"}, 10, "the new checks")
    families = scrape(backend)
    assert {check for check, _ in families["health_api_check_failures_total"]} == {"kept"}
    assert value(families, "health_api_check_failures_total", "kept", "schema") >= before


def test_each_question_that_failed_is_counted_and_none_during_an_outage(start_backend, cluster, checks_file, directory):
    """The log of the server says how often it was asked."""
    gate = f"{directory}/.s.PGSQL.5432"
    os.symlink(f"{cluster.directory}/.s.PGSQL.5432", gate)
    query = f"SELECT 3 AS counted_{os.path.basename(directory)}"
    path = checks_file(f"-- check: small\n-- min: 4\n{query};\n")
    backend = start_backend(PGHOST=directory, HEALTH_CHECKS=path, HEALTH_INTERVAL="100ms", HEALTH_HEARTBEAT="100ms")

    def failed():
        return value(scrape(backend), "health_api_check_failures_total", "small", "out_of_range") or 0
    for least in (2, 4):
        wait_until(lambda: failed() >= least, 10, f"{least} failures")
        before, count, after = cluster.statements().get(query, 0), failed(), cluster.statements().get(query, 0)
        assert before - 1 <= count <= after  # one question may be under way
    os.unlink(gate)
    cluster.terminate_probes()
    backend.wait_failing(("database", "unreachable"))
    series = scrape(backend)["health_api_check_failures_total"]

    def attempts():
        return backend.document("/api/status")["database"]["consecutive_failures"]
    before = attempts()
    wait_until(lambda: attempts() >= before + 3, 10, "three more attempts")
    assert scrape(backend)["health_api_check_failures_total"] == series and set(series) == {("small", "out_of_range")}


def counters(families):
    return {(name, labels): Decimal(text) for name, samples in families.items()
            if exposition.METRICS[name].type == "counter" for labels, text in samples.items()}


def test_counters_never_decrease_while_anything_happens(start_backend, cluster, checks_file, directory):
    gate = f"{directory}/.s.PGSQL.5432"
    os.symlink(f"{cluster.directory}/.s.PGSQL.5432", gate)
    backend = start_backend(PGHOST=directory, HEALTH_CHECKS=checks_file(GOOD + BROKEN), HEALTH_INTERVAL="100ms")
    first = last = counters(scrape(backend))

    def step():
        """Compares with the last scrape. Returns the sum of the counters of each family."""
        nonlocal last
        now = counters(scrape(backend))
        assert {key: (last[key], now.get(key)) for key in last if key not in now or now[key] < last[key]} == {}
        last = now
        totals = collections.Counter()
        for (name, _), count in now.items():
            totals[name] += count
        return totals

    def until(name, least):
        wait_until(lambda: step()[name] >= least, 10, f"{name} reaches {least}")
    until("health_api_check_failures_total", 2)
    cluster.terminate_probes()
    until("health_api_database_reconnects_total", 1)
    os.unlink(gate)
    cluster.terminate_probes()
    until("health_api_transitions_total", 2)
    os.symlink(f"{cluster.directory}/.s.PGSQL.5432", gate)
    until("health_api_transitions_total", 3)
    checks_file(BROKEN + GOOD)
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: step() and backend.events("checks reloaded"), 10, "the reload")
    until("health_api_check_failures_total", step()["health_api_check_failures_total"] + 2)
    backend.ask("/nowhere")
    step()
    grown = {name for name, labels in last if last[name, labels] > first.get((name, labels), 0)}
    assert grown == {name for name, family in exposition.METRICS.items() if family.type == "counter"}


def test_no_label_comes_from_a_request(backend, nginx):
    for server in (backend, nginx):
        for path in ("/zebra", "/api/zebra", "/api/health/zebra", "/api/health"):
            for method in ("GET", "ZEBRA", "POST", "HEAD"):
                server.ask(path, method=method)
        nginx.ask("/api/health?zebra=%zz")
        nginx.ask("/api/metrics?zebra=1", headers={"User-Agent": "zebra", "Host": "zebra", "Forwarded": "zebra"})
    text = nginx.ask("/api/metrics").body.decode()
    assert "zebra" not in text.lower()
    series = exposition.parse(text)["health_api_http_requests_total"]
    assert {route for route, _ in series} == {"/api/health", "/api/metrics", "other"}
    assert {"200", "400", "404", "405"} <= {code for _, code in series} <= {"200", "400", "404", "405", "503"}


def test_the_process_metrics_agree_with_the_kernel(start_backend):
    earliest = time.time()
    backend = start_backend()
    backend.wait_status("healthy")
    latest = time.time()
    started = value(scrape(backend), "process_start_time_seconds")
    assert earliest - 0.01 <= started <= latest + 0.01

    def agree():
        """The program reads the CPU time once a second; the kernel shows others a hundredth of a second."""
        before, families, after = process.cpu_s(backend.pid), scrape(backend), process.cpu_s(backend.pid)
        cpu = float(value(families, "process_cpu_seconds_total"))
        assert cpu <= after + 0.02
        assert value(families, "process_start_time_seconds") == started
        return cpu >= before - 0.02 and abs(value(families, "process_open_fds") - backend.fds()) <= 2
    wait_until(agree, 5, "the numbers agree with /proc")


LONGEST = 63
# The last one has a value.
REASONS = {"access": "RAISE SQLSTATE '42501'", "schema": "RAISE SQLSTATE '42P01'", "corrupt": "RAISE SQLSTATE 'XX001'",
           "resources": "RAISE SQLSTATE '53100'", "out_of_range": f"RETURN {2 ** 63 - 1}"}


@pytest.fixture
def many(start_backend, checks_file, cluster, directory):
    """A program with as many checks as a file may have, whose names are as long as a name may be. Each of them has
    failed for several reasons."""
    function = f"fail_{os.path.basename(directory)}"
    names = [f"{'x' * (LONGEST - 4)}_{number:03}" for number in range(256)]
    path = checks_file("".join(f"-- check: {name}\n-- max: 1\nSELECT {function}();\n" for name in names))
    backend = start_backend(wait=False, HEALTH_CHECKS=path, HEALTH_INTERVAL="100ms",
                            HEALTH_QUERY_TIMEOUT="20s", HEALTH_CONNECT_TIMEOUT="10s", HEALTH_HUNG_AFTER="20s",
                            HEALTH_STALE_AFTER="60s")  # so that a busy machine adds no reason
    try:
        for reason, body in REASONS.items():
            cluster.execute(f"CREATE OR REPLACE FUNCTION {function}() RETURNS bigint LANGUAGE plpgsql "
                            f"AS $$BEGIN {body}; END$$")
            wait_until(lambda: backend.accepts() and {(name, reason) for name in names}
                       <= set(scrape(backend)["health_api_check_failures_total"]), 30, reason)
        backend.names = set(names)
        yield backend
    finally:
        cluster.execute(f"DROP FUNCTION {function}")


def assert_is_whole(families, names):
    assert len(families["health_api_check_failures_total"]) == len(names) * len(REASONS)
    assert families["health_api_check_ok"] == {(name, "fail"): "0" for name in names}
    assert families["health_api_check_value"] == {(name,): str(2 ** 63 - 1) for name in names}


def test_the_metrics_of_256_checks_arrive_whole_through_nginx_and_to_a_peer_that_reads_late(many, nginx):
    """A web server on a busy machine begins to read only when the program has written all that the kernel takes."""
    for _ in range(3):
        assert_is_whole(scrape(nginx), many.names)
    with fastcgi.Connection(many.address) as connection:
        connection.send(fastcgi.request("/api/metrics"))
        # The socket has bytes for the peer as soon as the program, which writes all at once, has begun.
        assert select.select([connection.socket], [], [], 10)[0]
        scrape(nginx)  # the program answers this request only after it has written that response
        answer = connection.receive("/api/metrics", "GET")
    assert len(answer.body) > 250_000
    assert_is_whole(exposition.parse(answer.body.decode()), many.names)
