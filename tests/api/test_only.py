"""?only= and HEALTH_PUBLIC: each fact asked about with each query, through the real nginx and as CGI. The expected responses
come from a second formulation of the rules."""
import contextlib
import json
import os
import random
import signal
import string
import tempfile
from typing import NamedTuple

import pytest
from harness import backend as program
from harness.backend import Backend
from harness.fastcgi import Connection
from harness.freeze import Frozen, prober
from harness.peers import Peer
from harness.wait import wait_until
from harness.webserver import Nginx, free_port

from .test_cgi import cgi  # noqa: F401
from .test_service import BRIEF

CHECKS = ["nodes", "broken", "lag"]  # lag has the severity warn
LOCK = random.randrange(1 << 31)  # while an advisory lock has this number, the count of broken is one more


class Fact(NamedTuple):
    """What is wrong. database: up, unreachable, undecided (it has not failed often enough), starting or stale."""
    failing: tuple = ()    # checks
    undecided: tuple = ()  # checks that have not failed often enough
    database: str = "up"
    draining: bool = False


FACTS = {
    "healthy": Fact(),
    "a check fails": Fact(failing=("broken",)),
    "a warning": Fact(failing=("lag",)),
    "a check and a warning": Fact(failing=("broken", "lag")),
    "a check fails for the first time": Fact(undecided=("broken",)),
    "no database": Fact(database="unreachable"),
    "no database for the first time": Fact(database="undecided"),
    "starting": Fact(database="starting"),
    "stale": Fact(database="stale"),
    "draining": Fact(draining=True),
    "draining while a check fails": Fact(failing=("broken",), draining=True),
    "draining without a database": Fact(database="unreachable", draining=True),
    "draining and stale": Fact(failing=("broken", "lag"), database="stale", draining=True),
    "stale while a check fails": Fact(failing=("broken", "lag"), database="stale"),
}

# Each query, and what it names: None is everything, a number is the status code of an error.
QUERIES = {
    "": None,
    "v=1&Only=nodes": None,
    "only=process": {"process"},
    "only=database": {"database"},
    "only=nodes": {"nodes"},
    "only=broken": {"broken"},
    "only=lag": {"lag"},
    "only=nodes&only=lag": {"nodes", "lag"},
    "only=process&only=nodes": {"process", "nodes"},
    "only=process&only=database&only=process": {"process", "database"},
    "x&o%6ely=br%6Fken&y": {"broken"},
    "only=nothing": 404,
    "only=nodes&only=nothing": 404,
    "only=%C3%A9": 404,
    "only=": 400,
    "only=nodes&only": 400,
    "only=nodes%00": 400,
    "only=%zz": 400,
}


def expected(fact, names):
    """The parts of the document that follow from the fact."""
    asked = set(CHECKS) | {"process", "database"} if names is None else names
    shown = [check for check in CHECKS if check in asked]
    about_database = bool(asked - {"process"})
    counting = [check for check in shown if check in fact.failing and (names is not None or check != "lag")]
    noted = [check for check in shown if check in fact.failing + fact.undecided and check not in counting]
    is_up = fact.database == "up"
    down = [("database", "unreachable")] if about_database and fact.database == "unreachable" else \
        [("database", "stale")] if about_database and fact.database == "stale" else \
        [(check, "out_of_range") for check in counting] if is_up else []
    if fact.draining and "process" in asked:
        status, failing = "draining", [("process", "draining"), *down]
    elif about_database and fact.database in ("starting", "stale"):
        status, failing = "starting" if fact.database == "starting" else "degraded", [("database", fact.database)]
    else:
        status, failing = "degraded" if down else "healthy", down
    warnings = [("database", "unreachable")] if about_database and fact.database == "undecided" else \
        [(check, "out_of_range") for check in noted] if is_up else []
    values = {"nodes": 7, "broken": 10 if fact.undecided else 9, "lag": 3}
    return {"status": status, "counts": {check: values[check] if is_up else None for check in shown},
            "failing": failing, "warnings": warnings}


def checks_of(fact):
    return "\n".join([
        "-- check: nodes", "SELECT 7;",
        "-- check: broken", f"-- max: {5 if 'broken' in fact.failing else 9}",
        f"-- fall: {100 if fact.undecided else 1}", f"SELECT 9 + count(*) FROM pg_locks WHERE objid = {LOCK};",
        "-- check: lag", f"-- max: {1 if 'lag' in fact.failing else 10}", "-- severity: warn", "SELECT 3;", ""])


def write_checks(directory, fact):
    path = f"{directory}/checks.sql"
    with open(path, "w", encoding="utf-8") as file:
        file.write(checks_of(fact))
    return path


def settings_of(fact):
    settings = dict(BRIEF) if fact.database == "stale" else {}
    if fact.database == "unreachable":
        settings.update(PGHOST="/nowhere")
    if fact.database == "undecided":
        settings.update(HEALTH_FALL=100)
    if fact.database == "starting":
        settings.update(HEALTH_CONNECT_TIMEOUT="60s", HEALTH_HUNG_AFTER="60s", HEALTH_STALE_AFTER="90s")
    if fact.draining:
        settings.update(HEALTH_DRAIN="60s")
    return settings


class SilentServer(Peer):
    def handle(self, client):
        client.recv(1 << 16)
        client.recv(1)


@contextlib.contextmanager
def brought_about(fact, directory, cluster):
    """Runs the program with a fact. Yields it once it answers as if everything were asked."""
    with contextlib.ExitStack() as stack:
        settings = {**cluster.environment(), "HEALTH_CHECKS": write_checks(directory, fact), **settings_of(fact)}
        if fact.database == "starting":
            settings["PGHOST"] = stack.enter_context(SilentServer(tempfile.mkdtemp(dir=directory))).directory
        gate = f"{directory}/.s.PGSQL.5432"
        if fact.database == "undecided":
            os.symlink(f"{settings['PGHOST']}/.s.PGSQL.5432", gate)
            settings["PGHOST"] = directory
        backend = Backend(directory, **settings)
        backend.start()
        stack.callback(backend.stop, signal.SIGKILL)
        if fact.database not in ("starting", "unreachable"):
            backend.wait_status("degraded" if "broken" in fact.failing else "healthy")
        if fact.database == "stale":
            stack.enter_context(Frozen(prober(backend.pid)))
            backend.wait_failing(("database", "stale"))
        if fact.database == "unreachable":
            backend.wait_failing(("database", "unreachable"))
        if fact.database == "undecided":
            os.unlink(gate)
            cluster.terminate_probes()
        if fact.undecided:
            connection = stack.enter_context(contextlib.closing(cluster.connect()))
            connection.cursor().execute(f"SELECT pg_advisory_lock({LOCK})")
        if fact.undecided or fact.database == "undecided":
            wait_until(lambda: backend.document()["warnings"], 10, "a warning")
        if fact.draining:
            backend.process.send_signal(signal.SIGTERM)
        backend.wait_status(expected(fact, None)["status"])
        yield backend


def ask(server, method, query, path="/api/health"):
    connection = server.connect()
    try:
        connection.request(method, f"{path}?{query}" if query else path)
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def assert_is_expected(status, body, fact, names):
    if isinstance(names, int):
        assert status == names
        assert json.loads(body)["status"] == names
        return
    document, parts = json.loads(body), expected(fact, names)
    assert set(document) == {"status", "time", "version", "uptime_seconds", "counts", "failing", "warnings"}
    shown = {**document, **{key: [(entry["check"], entry["reason"]) for entry in document[key]]
                            for key in ("failing", "warnings")}}
    assert {key: shown[key] for key in parts} == parts
    assert list(document["counts"]) == list(parts["counts"])
    assert status == (200 if parts["status"] == "healthy" else 503)


@pytest.mark.parametrize("name", FACTS)
def test_each_fact_and_each_query_through_nginx(name, directory, cluster):
    fact = FACTS[name]
    with brought_about(fact, directory, cluster):
        server = Nginx(directory).start()
        try:
            for query, names in QUERIES.items():
                answers = {method: ask(server, method, query) for method in ("GET", "HEAD", "OPTIONS")}
                status, body, headers = answers["GET"]
                assert_is_expected(status, body, fact, names)
                assert {answer[0] for answer in answers.values()} == {status}, query
                assert answers["HEAD"][1] == b""
                assert bool(answers["OPTIONS"][1]) == isinstance(names, int)
                assert ("Retry-After" in headers) == (status == 503)
                live, body, _ = ask(server, "GET", query, "/api/health/live")
                assert live == (400 if names == 400 and "%" in query else 200)
        finally:
            server.stop()


@pytest.mark.parametrize("name", [name for name, fact in FACTS.items()
                                  if fact.database in ("up", "unreachable") and not (fact.draining or fact.undecided)])
def test_each_fact_and_each_query_as_cgi(name, directory, cgi):  # noqa: F811
    fact = FACTS[name]
    settings = {"HEALTH_CHECKS": write_checks(directory, fact), **settings_of(fact)}
    for query, names in QUERIES.items():
        answer, _ = cgi(QUERY_STRING=query, **settings)
        assert_is_expected(answer.status, answer.body, fact, names)


@pytest.mark.parametrize("name", [name for name, fact in FACTS.items()
                                  if fact.database in ("up", "unreachable") and not (fact.draining or fact.undecided)])
def test_each_fact_and_each_query_with_once(name, directory, cluster):
    fact = FACTS[name]
    settings = {**cluster.environment(), "HEALTH_CHECKS": write_checks(directory, fact), **settings_of(fact)}
    for query, names in QUERIES.items():
        done = program.run("--once", f"?{query}", **settings)
        if isinstance(names, int):
            assert (done.returncode, done.stdout) == (64, ""), query
            assert f"health-api: --once '?{query}': " in done.stderr
            assert ("expected one of process database nodes broken lag\n" in done.stderr) == (names == 404)
        else:
            assert_is_expected({0: 200, 1: 503}[done.returncode], done.stdout, fact, names)


def test_once_needs_a_query_string_after_it(cluster):
    for argument in ("edges", "only=edges", "/api/health?only=edges", ""):
        done = program.run("--once", argument, HEALTH_CHECKS=program.CHECKS, **cluster.environment())
        assert (done.returncode, done.stdout) == (64, "")
        assert f"unexpected argument '{argument}', expected health-api [" in done.stderr and "--once [?QUERY]" in done.stderr


def test_cgi_asks_the_database_only_if_the_query_is_about_it(directory, cgi):  # noqa: F811
    with SilentServer(directory) as server:
        settings = {"PGHOST": server.directory, "HEALTH_CONNECT_TIMEOUT": "3s", "HEALTH_STALE_AFTER": "9s"}
        for query, code in (("only=process", 200), ("only=", 400), ("%", 400)):
            answer, took_s = cgi(QUERY_STRING=query, **settings)
            assert (answer.status, took_s < 2.5) == (code, True)
        answer, _ = cgi(QUERY_STRING="only=nothing", HEALTH_PUBLIC="bare", **settings)
        assert answer.status == 404


def test_a_check_that_a_reload_adds_is_not_healthy_before_it_was_asked(start_backend, checks_file):
    backend = start_backend(HEALTH_CHECKS=checks_file("-- check: old\nSELECT 1;\n"), HEALTH_QUERY_TIMEOUT="10s",
                            HEALTH_STALE_AFTER="30s")
    backend.wait_status("healthy")
    checks_file("-- check: old\nSELECT 1;\n-- check: new\n-- max: 1\nSELECT 9 FROM pg_sleep(2);\n")
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: backend.ask(query="only=new").status != 404, 10, "the new check")
    document = json.loads(backend.ask(query="only=new").body)
    assert (document["status"], document["failing"]) == ("starting", [{"check": "new", "reason": "starting"}])
    assert backend.ask(query="only=old").status == backend.ask().status == 200
    wait_until(lambda: json.loads(backend.ask(query="only=new").body)["failing"] == [
        {"check": "new", "reason": "out_of_range"}], 10, "its result")


def test_a_reload_changes_which_names_are_known(start_backend, checks_file):
    backend = start_backend(HEALTH_CHECKS=checks_file("-- check: old\nSELECT 1;\n"))
    backend.wait_status("healthy")
    assert [backend.ask(query=f"only={name}").status for name in ("old", "new")] == [200, 404]
    checks_file("-- check: new\nSELECT 1;\n")
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: [backend.ask(query=f"only={name}").status for name in ("old", "new")] == [404, 200], 10, "the new checks")


class Site:
    """nginx with the site's server block, and that of the operators."""

    def __init__(self, directory, listed=False):
        self.nginx, self.operators = Nginx(directory), free_port()
        self.nginx.configure()
        self.nginx.change("nginx.conf", "        set $health_api_is_operator 1;\n", "")
        self.nginx.change("nginx.conf", "    include health-api-http.conf;\n",
                          "    include health-api-http.conf;\n    include health-api-operators.conf;\n")
        self.nginx.change("health-api-operators.conf", "listen 127.0.0.1:8078;", f"listen 127.0.0.1:{self.operators};")
        if listed:
            self.nginx.change("health-api-http.conf", "    # 10.1.2.3 1;\n", "    127.0.0.1 1;\n")
        self.nginx.start_configured()

    def ask(self, path, operator, **headers):
        answer = self.nginx.ask(path, port=self.operators if operator else None, headers=headers)
        return answer.status, answer.body


SECRETS = [b"nodes", b"broken", b"lag", b"out_of_range", b"counts", b"version", b"uptime", b"2026"]


@pytest.mark.parametrize("public", ["bare", "full"])
def test_what_a_stranger_sees_and_what_an_operator(public, directory, cluster):
    fact = FACTS["a check and a warning"]
    backend = Backend(directory, **{**cluster.environment(), "HEALTH_CHECKS": write_checks(directory, fact),
                                    "HEALTH_PUBLIC": public})
    backend.start()
    site = None
    try:
        backend.wait_failing(("broken", "out_of_range")) if public == "full" else backend.wait_status("degraded")
        site = Site(directory)
        for query, names in QUERIES.items():
            path = f"/api/health?{query}" if query else "/api/health"
            assert_is_expected(*site.ask(path, operator=True), fact, names)
            for headers in ({}, {"AUDIENCE": "operator"}, {"Audience": "operator", "X-Forwarded-For": "127.0.0.1"}):
                status, body = site.ask(path, operator=False, **headers)
                if public == "full":
                    assert_is_expected(status, body, fact, names)
                    continue
                assert not [secret for secret in SECRETS if secret in body]
                known = names is None or (not isinstance(names, int) and names <= {"process", "database"})
                if known:
                    parts = expected(fact, names)
                    assert (status, json.loads(body)) == (200 if parts["status"] == "healthy" else 503,
                                                          {"status": parts["status"]})
                else:
                    assert status == (names if names == 400 else 404)
        alive = json.loads(site.ask("/api/health/live", operator=False)[1])
        assert set(alive) == ({"status"} if public == "bare" else {"status", "version", "uptime_seconds"})
        assert set(json.loads(site.ask("/api/health/live", operator=True)[1])) == {"status", "version", "uptime_seconds"}
        for path, status in (("/api/status", 503), ("/api/metrics", 200)):
            assert site.ask(path, operator=False)[0] == 403
            assert site.ask(path, operator=True)[0] == status
    finally:
        if site is not None:
            site.nginx.stop()
        assert backend.stop() == 0


def test_an_address_that_the_site_lists_is_an_operator(directory, cluster):
    backend = Backend(directory, **{**cluster.environment(), "HEALTH_CHECKS": program.CHECKS, "HEALTH_PUBLIC": "bare"})
    backend.start()
    site = Site(directory, listed=True)
    try:
        backend.wait_status("healthy")
        assert "counts" in json.loads(site.ask("/api/health", operator=False)[1])
        assert site.ask("/api/status", operator=False)[0] == 200
    finally:
        site.nginx.stop()
        assert backend.stop() == 0


def test_a_program_that_strangers_reach_directly_keeps_status_and_metrics_to_itself(start_backend):
    """Another web server may pass every path below /api to the program."""
    backend = start_backend(HEALTH_PUBLIC="bare")
    backend.wait_status("healthy")
    for audience in ("", "Operator", "operator,", "1"):
        for path in ("/api/status", "/api/metrics"):
            with Connection(backend.address) as connection:
                answer = connection.ask(path, keep=False, AUDIENCE=audience)
                assert (answer.status, b"edges" in answer.body) == (403, False)
    for path in ("/api/status", "/api/metrics"):
        with Connection(backend.address) as connection:
            answer = connection.ask(path, keep=False, AUDIENCE="operator")
            assert (answer.status, b"edges" in answer.body) == (200, True)


def test_a_cgi_program_with_a_bad_configuration_answers_503_to_every_question(cgi):  # noqa: F811
    for query in ("", "only=process", "only=database", "only=nodes", "only=nothing"):
        answer, _ = cgi(QUERY_STRING=query, HEALTH_INTERVAL="never", code=78)
        assert answer.status == 503
        assert json.loads(answer.body)["failing"] == [{"check": "process", "reason": "internal"}]
    for public in ("bare", "Bare", "ful"):
        answer, _ = cgi(HEALTH_INTERVAL="never", HEALTH_PUBLIC=public, code=78)
        assert json.loads(answer.body) == {"status": "degraded"}


def test_a_cgi_server_names_an_operator_as_well(cgi):  # noqa: F811
    assert set(json.loads(cgi(HEALTH_PUBLIC="bare")[0].body)) == {"status"}
    assert "counts" in json.loads(cgi(HEALTH_PUBLIC="bare", AUDIENCE="operator")[0].body)


def random_query(source):
    pieces = ["only", "only=", "only=nodes", "only=edges", "only=process", "only=database", "%6fnly=edges", "&", "&", "=", "%",
              "%00", "%0", "%c3%a9", "\u00e9", "+", ";", "v=1", "only=" + "x" * 63, "x" * 300, "only=nothing", "\x01", " ", "%zz"]
    letters = string.printable.encode() + "\u00e9\u20ac\U0001f600".encode()
    chosen = [source.choice(pieces) if source.random() < 0.9 else chr(source.choice(letters)) for _ in range(source.randrange(1, 12))]
    return "".join(chosen)


def test_any_query_gets_a_code_of_the_contract_and_the_same_from_each_method(backend):
    """10,000 random query strings, and the longest that a request can carry."""
    source = random.Random(19)
    queries = [random_query(source) for _ in range(10000)]
    long = ["only=edges&" * 258 + "v", "only=edges&" * 259, "only=edges&" * 5000 + "v", "only=" + "x" * 60000, "only=nothing&" * 4000, "%6fnly=%65dges&" * 3000, "&" * 60000]
    codes = dict.fromkeys((200, 400, 404), 0)
    with Connection(backend.address) as connection:
        for number, query in enumerate(queries + long):
            status = connection.ask(query=query).status
            codes[status] += 1  # fails for any other code
            if number % 100 == 0:
                assert connection.ask(query=query, method="HEAD").status == status
    assert min(codes.values()) > 100, codes
    assert backend.ask().status == 200
    requests = backend.document("/api/status")["process"]["requests_total"]
    assert set(requests) <= {"/api/health", "/api/status", "/api/health/live", "other"}
