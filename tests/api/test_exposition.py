"""The contract of /api/metrics: the code, docs/metrics.md and the list of the harness have the same metrics, and the
harness refuses any other text. It judges each response that a test sees (tests/conftest.py)."""
import os
import re

import pytest
from harness import contract, exposition
from harness.cluster import ROOT
from harness.contract import Response

TYPES = contract.CONTENT_TYPES


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def test_the_program_has_the_metrics_of_the_list_in_its_order():
    table = re.search(r"families\[\] = \{\n(.*?)\n\};", read("cgi", "answer", "metrics.c"), re.S)[1]
    rows = re.findall(r'\{\s*"(\w+)",\s*"(\w+)",', table)
    assert rows == [(name, family.type) for name, family in exposition.METRICS.items()]


def test_the_document_has_the_metrics_of_the_list_with_their_labels():
    rows = re.findall(r"^\| `(\w+)(?:\{([\w,]+)\})?` \| (\w+) \| (\w+) \| ", read("docs", "metrics.md"), re.M)
    units = {"seconds": "seconds", "bytes": "bytes"}

    def unit(name):
        return units.get(name.removesuffix("_total").rpartition("_")[2], "none")
    assert rows == [(name, ",".join(family.labels), family.type, unit(name))
                    for name, family in exposition.METRICS.items()]


@pytest.mark.parametrize("name", ["prometheus.yml", "health-api-rules.yml"])
def test_the_document_shows_the_files_for_prometheus(name):
    mark = f"<!-- a test compares this block with deploy/prometheus/{name} -->"
    block = read("docs", "metrics.md").split(f"\n{mark}\n```yaml\n")[1].split("```\n")[0]
    assert block == read("deploy", "prometheus", name)


def test_the_document_explains_each_alert():
    rules = re.findall(r"- alert: (\w+)", read("deploy", "prometheus", "health-api-rules.yml"))
    assert len(rules) == 6
    assert re.findall(r"^\| `(HealthApi\w+)` \|", read("docs", "metrics.md"), re.M) == rules


def test_names_follow_the_conventions_of_prometheus():
    """https://prometheus.io/docs/practices/naming/: a counter ends in _total, and the unit is part of the name."""
    for name, family in exposition.METRICS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert (family.type == "counter") == name.endswith("_total"), name
        assert (family.values == "seconds") == (name.removesuffix("_total").endswith("_seconds")), name


def statuses(present):
    return [f'{{status="{word}"}} {int(word == present)}' for word in exposition.STATUSES]


SAMPLES = {
    "health_api_build_info": ['{version="0.3.0"} 1'],
    "health_api_healthy": [" 1"],
    "health_api_status": statuses("healthy"),
    "health_api_snapshot_age_seconds": [" 0.012345"],
    "health_api_database_up": [" 1"],
    "health_api_database_in_recovery": [" 0"],
    "health_api_database_connect_seconds": [" 0.002500"],
    "health_api_database_round_trip_seconds": [" 0.000125"],
    "health_api_database_reconnects_total": [" 0"],
    "health_api_check_ok": ['{check="edges",severity="fail"} 1', '{check="nodes",severity="warn"} 0'],
    "health_api_check_value": ['{check="edges"} 9223372036854775807'],
    "health_api_check_failures_total": ['{check="nodes",reason="schema"} 18446744073709551615'],
    "health_api_check_duration_seconds": ['{check="edges"} 12.000001', '{check="nodes"} 0.000100'],
    "health_api_check_age_seconds": ['{check="edges"} 1.000000', '{check="nodes"} 1.000000'],
    "health_api_transitions_total": [f'{{to="{word}"}} 2' for word in exposition.STATUSES],
    "health_api_http_requests_total": ['{route="/api/health",code="200"} 7', '{route="other",code="404"} 1'],
    "health_api_connections": [" 1"],
    "process_cpu_seconds_total": [" 0.012345"],
    "process_resident_memory_bytes": [" 9000000"],
    "process_open_fds": [" 12"],
    "process_max_fds": [" 1024"],
    "process_start_time_seconds": [" 1769860800.123000"],
}


def text_of(samples):
    return "".join(f"# HELP {name} Some words.\n# TYPE {name} {exposition.METRICS[name].type}\n"
                   + "".join(f"{name}{sample}\n" for sample in lines) for name, lines in samples.items())


RIGHT = text_of(SAMPLES)


def faults(text):
    return exposition.faults_of(text, contract.words_of_labels())


def test_a_right_text_is_accepted_and_parsed():
    assert faults(RIGHT) == []
    parsed = exposition.parse(RIGHT)
    assert parsed["health_api_check_value"] == {("edges",): "9223372036854775807"}
    assert parsed["health_api_check_ok"] == {("edges", "fail"): "1", ("nodes", "warn"): "0"}
    assert parsed["health_api_healthy"] == {(): "1"}


def test_escaped_labels_are_parsed():
    line = 'health_api_check_value{check="a\\"b\\\\c\\nd"} 1'
    assert exposition.parse_sample("health_api_check_value", line) == (('a"b\\c\nd',), "1")


def wrong_lines():
    """Yields texts with one fault in the form, after a line that names the fault."""
    lines = RIGHT.splitlines()
    for number, line in enumerate(lines):
        def changed(new, at=number):
            return "\n".join([*lines[:at], *new, *lines[at + 1:]]) + "\n"
        if line.startswith("#"):
            yield f"without {line}", changed([])
            yield f"{line} in small letters", changed([line.lower()])
        yield f"twice {line}", changed([line, line])
        yield f"an empty line after {line}", changed([line, ""])
        yield f"a space after {line}", changed([line + " "])
        if not line.startswith("#"):
            name, value = line.rpartition(" ")[::2]
            for other in ("NaN", "1e3", "+1", "-0", "01", "1.5", "2.0000000", "", "-2"):
                yield f"{other} in {line}", changed([f"{name} {other}"])
            yield f"a timestamp in {line}", changed([f"{line} 1769860800123"])
            more = f'{name[:-1]},more="x"}}' if "{" in name else f'{name}{{more="x"}}'
            yield f"a label more in {line}", changed([f"{more} {value}"])
            for broken in ('\\', '\\x', '"'):
                if "{" in name:
                    yield f"a broken label in {line}", changed([line.replace('="', '="' + broken, 1)])
    yield "carriage returns", RIGHT.replace("\n", "\r\n")
    yield "no newline at the end", RIGHT[:-1]
    yield "nothing", ""
    yield "an unknown family", RIGHT + "# HELP up Some words.\n# TYPE up gauge\nup 1\n"
    yield "another order", text_of(dict(sorted(SAMPLES.items(), reverse=True)))


def test_a_text_of_another_form_is_refused():
    wrong = list(wrong_lines())
    assert len(wrong) > 400
    assert [what for what, text in wrong if not faults(text)] == []


@pytest.mark.parametrize("name, lines", [
    ("health_api_build_info", ['{version="0.3"} 1']), ("health_api_build_info", []), ("health_api_healthy", []),
    ("health_api_healthy", [" 0"]),
    ("health_api_status", SAMPLES["health_api_status"][:3]),
    ("health_api_status", [line.replace("1", "0") for line in SAMPLES["health_api_status"]]),
    ("health_api_status", [line.replace("0", "1") for line in SAMPLES["health_api_status"]]),
    ("health_api_database_up", [" 0"]), ("health_api_database_up", []),
    ("health_api_check_ok", ['{check="edges",severity="bad"} 1']),
    ("health_api_check_ok", ['{check="Edges",severity="fail"} 0']),
    ("health_api_check_ok", ['{check="edges",severity="fail"} 1', '{check="edges",severity="warn"} 1']),
    ("health_api_check_ok", []), ("health_api_check_value", []), ("health_api_check_value", ['{check="others"} 1']),
    ("health_api_check_failures_total", ['{check="nodes",reason="schema"} 0']),
    ("health_api_check_failures_total", ['{check="nodes",reason="none"} 1']),
    ("health_api_check_age_seconds", []),
    ("health_api_transitions_total", []), ("health_api_transitions_total", ['{to="gone"} 1']),
    ("health_api_http_requests_total", ['{route="/api/health?x=1",code="200"} 1']),
    ("health_api_http_requests_total", ['{route="/api/health",code="418"} 1']),
    ("health_api_connections", []), ("process_start_time_seconds", [])])
def test_what_contradicts_itself_or_has_unknown_words_is_refused(name, lines):
    assert faults(text_of({**SAMPLES, name: lines}))


def test_what_is_known_although_the_database_is_not_is_refused():
    down = {name: [] if name in exposition.OF_AN_ANSWERING_DATABASE else lines for name, lines in SAMPLES.items()}
    down["health_api_database_up"] = [" 0"]
    down["health_api_healthy"] = [" 0"]
    down["health_api_status"] = statuses("degraded")
    assert faults(text_of(down)) == []
    for name in exposition.OF_AN_ANSWERING_DATABASE:
        assert faults(text_of({**down, name: SAMPLES[name]})), name
    starting = {**down, "health_api_status": statuses("starting"), "health_api_database_up": [],
                "health_api_snapshot_age_seconds": []}
    assert faults(text_of(starting)) == []
    for name in ("health_api_database_up", "health_api_snapshot_age_seconds"):
        assert faults(text_of({**starting, name: down[name]})), name


def response(**change):
    right = Response("backend", 200, RIGHT.encode(), "/api/metrics", "GET", TYPES["metrics"])
    return right._replace(**change)


def test_a_response_is_judged_by_its_code_its_content_type_and_its_body():
    contract.judge([response(), response(path=None), response(content_type=None), response(method="HEAD", body=b"")])
    for change in ({"status": 503}, {"status": 404}, {"body": b""}, {"body": RIGHT[:-20].encode()},
                   {"content_type": "text/plain"}, {"path": "/api/health"}, {"source": "nginx"},
                   {"body": b'{"status":"healthy"}'}):
        with pytest.raises(AssertionError):
            contract.judge([response(**change)])
