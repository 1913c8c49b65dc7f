"""The schemas of docs/schema have the words of the programs and of the nginx files, and refuse everything else.
tests/conftest.py checks after each test that every response follows them."""
import copy
import glob
import json
import os
import re

import jsonschema
import pytest
from harness import backend as program
from harness import contract
from harness.cluster import ROOT
from harness.contract import Response

NAMES = ["health", "status", "live", "bare", "problem", "nginx", "health-watch"]
EVERY = [*NAMES, "common"]
# Objects whose keys are names that users choose, or keys that may be absent.
OPEN = {"counts", "checks", "config", "requests_total", "/api/health", "other"}

WHEN = "2026-01-31T12:00:00.123Z"
HEALTH = {"status": "degraded", "time": WHEN, "version": "0.3.0", "uptime_seconds": 3, "counts": {"edges": 7, "gone": None},
          "failing": [{"check": "gone", "reason": "schema"}], "warnings": [{"check": "edges", "reason": "out_of_range"}]}
CHECK = {"value": 7, "reason": "out_of_range", "severity": "warn", "duration_ms": 1.234, "checked_at": WHEN, "age_ms": 12,
         "period_ms": 2000, "last_ok": {"value": 8, "time": WHEN}}
ROUTE = {"path": "/api/health", "class": "core", "liveness": True, "verdict": "timeout", "why": "refused", "code": 503,
         "tries": 3, "dead_tries": 3, "starved_tries": 0, "time_us": 1200}
# One document for each schema, with as few nulls and empty lists as possible.
DOCUMENTS = {
    "health": HEALTH,
    "status": {
        **HEALTH,
        "database": {"reason": "hung", "server_version": "15.14", "in_recovery": False, "connected_since": WHEN,
                     "connect_ms": 2.5, "round_trip_ms": 0.125, "consecutive_failures": 1, "reconnects": 0,
                     "evidence": "acknowledged",
                     "server": {"host": "db", "address": "10.0.0.1", "port": "5432", "database": "d", "user": "u"},
                     "addresses": ["10.0.0.1:5432"],
                     "resolver": {"error": "no such name", "duration_ms": 1.0, "resolved_at": WHEN}},
        "checks": {"edges": CHECK},
        "process": {"pid": 42, "state": "draining", "draining_since": WHEN, "drain_file": "/run/health-api/drain",
                    "drain_error": "Permission denied", "open_fds": 12, "max_fds": 1024, "rss_bytes": 9000000, "connections": 1,
                    "requests_total": {"/api/health": {"200": 3, "503": 1}, "other": {"404": 1}}},
        "snapshot": {"age_ms": 12, "stale_after_ms": 6000},
        "transitions": [{"time": WHEN, "from": "healthy", "to": "degraded", "check": "gone", "reason": "schema"}],
        "config": {"HEALTH_INTERVAL": "2s", "checks_error": "checks.sql:1: no check"}},
    "live": {"status": "alive", "version": "0.3.0", "uptime_seconds": 3},
    "bare": {"status": "degraded"},
    "problem": {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "There is no such route."},
    "nginx": {"status": "degraded", "failing": [{"check": "backend", "reason": "hung"}]},
    "health-watch": {
        "status": "critical", "exit_code": 2, "version": "0.3.0", "time": WHEN, "took_ms": 1200,
        "summary": {"unknown": 0, "ok": 0, "timeout": 1, "rate_limited": 0, "http_error": 0},
        "routes": [ROUTE], "routes_before": [ROUTE],
        "rogues": [{"pid": 42, "user": "root", "command": "python3 rogue.py", "since": WHEN, "cgroup": "/user.slice"}],
        "recovery": {"action": "kill", "ok": False, "took_ms": 1200, "text": "killed"},
        "notes": [{"about": "recovery", "text": "FAILED after 1.2 s: killed"}]},
}


def source(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def definition(name):
    return contract.load("common")["$defs"][name]


def subschemas(schema, place=""):
    """Yields the schema and every schema within it, each with its place."""
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from subschemas(item, f"{place}/{number}")
    if not isinstance(schema, dict):
        return
    yield place, schema
    for keyword, value in schema.items():
        if keyword in ("properties", "patternProperties", "$defs"):
            for name, item in value.items():
                yield from subschemas(item, f"{place}/{keyword}/{name}")
        elif keyword in ("propertyNames", "additionalProperties", "items", "if", "then", "else", "not", "oneOf", "anyOf", "allOf"):
            yield from subschemas(value, f"{place}/{keyword}")


def is_condition(place):
    return re.search(r"/(if|then|else|not|oneOf|anyOf|allOf)(/|$)", place)


def test_positive_numbers_have_no_bounds_where_the_harness_takes_one_for_another():
    for name in ("common", *set(contract.ROUTES.values()) - {"metrics"}):
        for place, part in subschemas(contract.load(name)):
            assert part.get("minimum", 0) in (-1, 0, 1), place
            assert part.get("maximum", 2 ** 63 - 1) == 2 ** 63 - 1, place
            assert not {"exclusiveMinimum", "exclusiveMaximum", "multipleOf"} & set(part), place


@pytest.mark.parametrize("first, second, same", [
    (b'{"n":1}', b'{"n":23}', True), (b'[1.000,2]', b'[0.125,1]', True), (b'{"n":0}', b'{"n":1}', False),
    (b'{"n":-1}', b'{"n":1}', False), (b'{"n":1}', b'{"n":1.0}', False), (b'{"n":1}', b'{"n":"1"}', False),
    (b'{"n":1}', b'{"n":12345678901234567890}', False), (b'{"t":"2026-01-31T12:00:00.123Z"}', b'{"t":"2027-12-01T00:00:00.000Z"}', True),
    (b'{"t":"2026-01-31T12:00:00.123Z"}', b'{"t":"2026-01-31T12:00:00Z"}', False)])
def test_the_harness_takes_one_answer_for_another_only_where_no_schema_can_tell_them_apart(first, second, same):
    shapes = [contract.shape_of(Response("backend", 200, body)) for body in (first, second)]
    assert (shapes[0] == shapes[1]) == same


def test_the_harness_knows_every_file():
    files = {os.path.basename(path) for path in glob.glob(os.path.join(contract.DIRECTORY, "*"))}
    assert files == {f"{name}.json" for name in EVERY}


@pytest.mark.parametrize("name", EVERY)
def test_a_schema_is_a_schema_and_refers_to_its_neighbours_only(name):
    schema = contract.load(name)
    assert schema["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(schema)
    for place, part in subschemas(schema):
        if "$ref" in part:
            file, target = re.fullmatch(r"(common\.json)?#/\$defs/(\w+)", part["$ref"]).groups()
            assert target in contract.load("common" if file else name)["$defs"], place


def test_every_definition_is_used():
    texts = {name: json.dumps(contract.load(name)) for name in EVERY}
    for name in EVERY:
        for word in contract.load(name).get("$defs", {}):
            own, others = f'"#/$defs/{word}"', f'"common.json#/$defs/{word}"'
            assert own in texts[name] or (name == "common" and any(others in text for text in texts.values())), word


@pytest.mark.parametrize("name", EVERY)
def test_everything_is_described_in_whole_sentences(name):
    schema = contract.load(name)
    for place, part in subschemas(schema):
        if is_condition(place):
            continue
        file, _, target = part.get("$ref", "").partition("#/$defs/")
        described = {**(contract.load("common") if file else schema)["$defs"][target], **part} if target else part
        assert re.fullmatch(r"[A-Z].+\.", described.get("description", "")), f"{name}{place}"


@pytest.mark.parametrize("name", EVERY)
def test_every_object_is_closed_and_says_which_keys_it_must_have(name):
    for place, part in subschemas(contract.load(name)):
        if is_condition(place) or not {"properties", "patternProperties"} & set(part):
            continue
        assert part["additionalProperties"] is False, place
        if place.rpartition("/")[2] != "requests_total":
            assert set(part.get("required", [])) == set(part.get("properties", {})), place


def test_the_reasons_are_those_of_the_program():
    words = re.findall(r'\[REASON_\w+\] = "(\w+)"', source("cgi", "reason.c"))
    assert definition("reason")["enum"] == [word for word in words if word != "none"]


def test_the_words_are_those_of_the_programs():
    def words(path, pattern):
        found = re.findall(pattern, source(*path.split("/")))
        assert found, pattern
        return set(found)
    assert set(definition("status")["enum"]) == words("cgi/answer/verdict.c", r'case HEALTH_\w+: return "(\w+)"')
    status = contract.load("status")["$defs"]
    assert set(status["database"]["properties"]["evidence"]["enum"]) == {
        None, *words("cgi/answer/document.c", r'case EVIDENCE_\w+: return "(\w+)"')}
    watch = contract.load("health-watch")
    assert set(watch["properties"]["status"]["enum"]) == words("watchdog/judge.c", r'\[JUDGE_(?:FINE|WARNING|CRITICAL|NO_IDEA)\] = "(\w+)"')
    route = watch["$defs"]["route"]["properties"]
    verdicts = words("watchdog/judge.c", r'\[JUDGE_(?:OK|TIMEOUT|LIMITED|ERROR|UNKNOWN)\] = "(\w+)"')
    assert set(route["verdict"]["enum"]) == set(watch["properties"]["summary"]["properties"]) == verdicts
    assert set(watch["$defs"]["recovery"]["properties"]["action"]["enum"]) == words(
        "watchdog/recover.c", r'\[POLICY_\w+\] = "(\w+)"') - {"none"}
    assert set(watch["$defs"]["note"]["properties"]["about"]["enum"]) == words(
        "watchdog/patrol.c", r'report_add\(&p->report, "(\w+)"')


def test_the_routes_and_codes_are_those_of_the_program():
    text = source("cgi", "answer", "route.c")
    codes = {int(code): phrase for code, phrase in re.findall(r'\{(\d{3}), "([\w ]+)"\}', text)}
    requests = contract.load("status")["$defs"]
    assert set(re.findall(r"\d{3}", *requests["requests"]["patternProperties"])) == set(map(str, codes))
    routes = re.findall(r'\.path = "([^"]+)"', text)
    assert set(requests["process"]["properties"]["requests_total"]["properties"]) == {*routes, "other"}
    assert set(routes) == set(contract.ROUTES)
    assert contract.BY_THE_PROGRAM == set(codes) - {200, 503}
    for code in contract.BY_THE_PROGRAM:
        problem = {**DOCUMENTS["problem"], "status": code, "title": codes[code]}
        assert contract.faults_of_document("problem", problem) == []


def documents_of_nginx():
    """Returns the bodies in the nginx files, each with its status code."""
    text = "".join(source("nginx", os.path.basename(path)) for path in glob.glob(os.path.join(ROOT, "nginx", "health-api*")))
    bodies = re.findall(r"^ *(?:return )?(\d{3}|default) +'([^'\n]*)';", text, re.M)
    assert len(bodies) == text.count("'{") == text.count('"type"') + text.count('"failing"')
    # This one is not a document: it answers requests that are not for a route of health-api.
    assert re.findall(r'return (\d+) +"', text) == ["421"]
    return [(400 if code == "default" else int(code), body.replace("\\n", "\n")) for code, body in bodies]


@pytest.mark.parametrize("code, body", documents_of_nginx())
def test_what_nginx_says_itself_follows_its_schema(code, body):
    content_type = "application/json" if code == 503 else "application/problem+json"
    assert contract.faults_of(Response("nginx", code, body.encode(), "/api/health", "GET", content_type)) == []
    assert body.endswith("}\n")


def test_the_schemas_have_what_nginx_says_and_no_more():
    said = [(code, json.loads(body)) for code, body in documents_of_nginx()]
    assert contract.BY_NGINX == {code for code, _ in said} - {503}
    reasons = {document["failing"][0]["reason"] for code, document in said if code == 503}
    assert set(contract.load("nginx")["properties"]["failing"]["items"]["properties"]["reason"]["enum"]) == reasons
    every = contract.BY_THE_PROGRAM | contract.BY_NGINX
    assert set(contract.load("problem")["properties"]["status"]["enum"]) == every
    titles = [branch["properties"]["status"]["const"] for branch in contract.load("problem")["oneOf"]]
    assert sorted(titles) == sorted(every)


@pytest.mark.parametrize("name", NAMES)
def test_a_document_that_is_right_is_accepted(name):
    assert contract.faults_of_document(name, DOCUMENTS[name]) == []


def places(value, path=()):
    """Yields the value and every value within it, each with its path."""
    yield path, value
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def changed(document, path, change):
    """Returns a changed copy of the document. change() gets the container of the value at path, and its key."""
    changed_one = {"": copy.deepcopy(document)}
    holder = changed_one
    keys = ("", *path)
    for key in keys[:-1]:
        holder = holder[key]
    change(holder, keys[-1])
    return changed_one[""]


def wrong_documents(document):
    """Yields copies of the document with one fault each, after a text that names the fault."""
    def put(value):
        def change(holder, key):
            holder[key] = value
        return change
    for path, value in places(document):
        where = ".".join(map(str, path))
        key_is_free = len(path) > 1 and path[-2] in OPEN
        if path and isinstance(path[-1], str) and not key_is_free:
            yield f"{where} is missing", changed(document, path, lambda holder, key: holder.pop(key))
        if isinstance(value, dict):
            yield f"{where} has a key more", changed(document, path, lambda holder, key: holder[key].update({"More": 1}))
        yield f"{where} is of another type", changed(document, path, put([] if isinstance(value, dict) else {"wrong": 1}))
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{where} is negative", changed(document, path, put(-2))
            yield f"{where} is text", changed(document, path, put(str(value)))
        if path and path[-1] in ("reason", "status", "from", "to", "check", "severity", "evidence", "state", "verdict", "action",
                                 "about", "class", "type", "title", "version"):
            yield f"{where} is an unknown word", changed(document, path, put("Nonsense"))
        if value == WHEN:
            for other in ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123+00:00", "2026-13-31T12:00:00.123Z", "12:00"):
                yield f"{where} is {other}", changed(document, path, put(other))


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_wrong_with_a_document_is_refused(name):
    wrong = list(wrong_documents(DOCUMENTS[name]))
    assert len(wrong) >= 5
    assert [what for what, document in wrong if not contract.faults_of_document(name, document)] == []


@pytest.mark.parametrize("change", [
    {"status": "healthy"}, {"failing": []}, {"failing": [{"check": "process", "reason": "hung"}]},
    {"failing": [{"check": "edges", "reason": "fd_limit"}]}, {"failing": [{"check": "backend", "reason": "hung"}]},
    {"failing": [{"check": "a", "reason": "nginx"}]}, {"counts": {"Edges": 1}}, {"counts": {"database": 1}},
    {"counts": {"edges": 1.5}}, {"counts": {"e" * 64: 1}}])
def test_what_contradicts_itself_is_refused(change):
    for name in ("health", "status"):
        assert contract.faults_of_document(name, {**DOCUMENTS[name], **change})


@pytest.mark.parametrize("name, change", [
    ("problem", {"title": "Forbidden"}), ("problem", {"status": 418}), ("health-watch", {"exit_code": 1}),
    ("health-watch", {"status": "ok"}), ("health-watch", {"routes": [{**ROUTE, "verdict": "ok"}]}),
    ("health-watch", {"routes": [{**ROUTE, "code": 99}]}), ("nginx", {"failing": []}),
    ("nginx", {"failing": DOCUMENTS["nginx"]["failing"] * 2}), ("live", {"status": "healthy"})])
def test_parts_that_do_not_fit_are_refused(name, change):
    assert contract.faults_of_document(name, {**DOCUMENTS[name], **change})


def as_response(name, **change):
    status = {"live": 200, "problem": 404}.get(name, 503)
    content_type = "application/problem+json" if name == "problem" else "application/json"
    path = {schema: path for path, schema in contract.ROUTES.items()}.get(name, "/api/health")
    response = Response("nginx" if name == "nginx" else "backend", status, json.dumps(DOCUMENTS[name]).encode(), path, "GET",
                    content_type)
    return response._replace(**change)


@pytest.mark.parametrize("name", ["health", "status", "live", "problem", "nginx"])
def test_an_answer_is_judged_by_who_gave_it_its_code_and_its_route(name):
    contract.judge([as_response(name)])
    other = {"backend": "nginx", "nginx": "backend"}[as_response(name).source]
    elsewhere = "/api/health" if name == "live" else "/api/health/live"
    for change in ({"source": other}, {"source": "somebody"}, {"status": 201}, {"status": 500}, {"body": b""}, {"body": b"{"},
                   {"content_type": "text/html"}, *([] if name in ("problem", "nginx") else [{"path": elsewhere}])):
        with pytest.raises(AssertionError):
            contract.judge([as_response(name, **change)])
    with pytest.raises(AssertionError):
        contract.judge([as_response(name, status=200 if as_response(name).status == 503 else 503)])


def test_an_answer_without_a_body_is_one_to_head_or_options():
    for method in ("HEAD", "OPTIONS"):
        contract.judge([as_response("health", method=method, body=b"")])


def test_every_way_to_ask_notes_what_came(backend, nginx, cluster):
    def noted():
        responses = contract.notes.take()
        contract.judge(responses)
        return {(response.source, response.status, response.path, response.method) for response in responses}
    noted()
    backend.ask("/api/status")
    assert noted() == {("backend", 200, "/api/status", "GET")}
    nginx.ask("/api/health/live?a=b", "HEAD")
    assert noted() == {("backend", 200, "/api/health/live", "HEAD")}
    nginx.ask("/elsewhere")
    assert noted() == {(None, 404, "/elsewhere", "GET")}
    nginx.send_raw(b"GET /api/health HTTP/1.1\r\nHost: a\r\n\r\nGET /api/health HTTP/1.1\r\n\r\n")
    assert noted() == {("backend", 200, None, "GET"), ("nginx", 400, None, "GET")}
    program.run("--once", HEALTH_CHECKS=program.CHECKS, **cluster.environment(PGPORT=1))
    assert noted() == {("backend", 503, "/api/health", None)}


@pytest.mark.parametrize("path", contract.ROUTES)
def test_a_cgi_program_with_a_wrong_setting_answers_by_the_contract(path):
    done = program.run(GATEWAY_INTERFACE="CGI/1.1", REQUEST_METHOD="GET", SCRIPT_NAME=path, HEALTH_INTERVAL="never")
    head, _, body = done.stdout.partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines())
    status = int(headers["Status"].split()[0])
    assert status == (200 if path in ("/api/health/live", "/api/metrics") else 503)
    contract.judge([Response("backend", status, body.encode(), path, "GET", headers["Content-Type"])])
