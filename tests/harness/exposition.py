"""The contract of /api/metrics: what may be in it, and a strict parser of Prometheus' text format 0.0.4 as this program
writes it: each family once, in the order of METRICS, with HELP, TYPE and then its samples, and without timestamps."""
import re
from typing import NamedTuple

WHOLE = r"0|[1-9]\d*"
VALUES = {"one": "1", "flag": "[01]", "whole": WHOLE, "seconds": rf"(?:{WHOLE})\.\d{{6}}"}
STATUSES = ("starting", "healthy", "degraded", "draining")
SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\[\\"n])*"(?:,(?!\})|(?=\})))+)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Family(NamedTuple):
    type: str
    labels: tuple  # the names of the labels, in this order
    values: str  # a key of VALUES


METRICS = {
    "health_api_build_info": Family("gauge", ("version",), "one"),
    "health_api_healthy": Family("gauge", (), "flag"),
    "health_api_status": Family("gauge", ("status",), "flag"),
    "health_api_snapshot_age_seconds": Family("gauge", (), "seconds"),
    "health_api_database_up": Family("gauge", (), "flag"),
    "health_api_database_in_recovery": Family("gauge", (), "flag"),
    "health_api_database_connect_seconds": Family("gauge", (), "seconds"),
    "health_api_database_round_trip_seconds": Family("gauge", (), "seconds"),
    "health_api_database_reconnects_total": Family("counter", (), "whole"),
    "health_api_check_ok": Family("gauge", ("check", "severity"), "flag"),
    "health_api_check_value": Family("gauge", ("check",), "whole"),
    "health_api_check_failures_total": Family("counter", ("check", "reason"), "whole"),
    "health_api_check_duration_seconds": Family("gauge", ("check",), "seconds"),
    "health_api_check_age_seconds": Family("gauge", ("check",), "seconds"),
    "health_api_transitions_total": Family("counter", ("to",), "whole"),
    "health_api_http_requests_total": Family("counter", ("route", "code"), "whole"),
    "health_api_connections": Family("gauge", (), "whole"),
    "process_cpu_seconds_total": Family("counter", (), "seconds"),
    "process_resident_memory_bytes": Family("gauge", (), "whole"),
    "process_open_fds": Family("gauge", (), "whole"),
    "process_max_fds": Family("gauge", (), "whole"),
    "process_start_time_seconds": Family("gauge", (), "seconds"),
}
# These always have one sample.
ALWAYS = ("health_api_build_info", "health_api_healthy", "health_api_database_reconnects_total",
          "health_api_connections", "process_cpu_seconds_total", "process_start_time_seconds")
# These have samples only while the database is up.
OF_AN_ANSWERING_DATABASE = ("health_api_database_in_recovery", "health_api_database_connect_seconds",
                            "health_api_database_round_trip_seconds", "health_api_check_ok", "health_api_check_value",
                            "health_api_check_duration_seconds")


class Malformed(Exception):
    pass


def require(condition, *what):
    if not condition:
        raise Malformed(" ".join(map(str, what)))


def unescape(text):
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)


def parse_sample(name, line):
    """Returns the values of the labels, and the value as it is written."""
    family = METRICS[name]
    found = SAMPLE.fullmatch(line)
    require(found and found[1] == name, "expected a sample of", name, "and found", line)
    labels = LABEL.findall(found[2] or "")
    require(tuple(key for key, _ in labels) == family.labels, "expected the labels", family.labels, "in", line)
    require(re.fullmatch(VALUES[family.values], found[3]), "expected a value of the kind", family.values, "in", line)
    return tuple(unescape(value) for _, value in labels), found[3]


def parse(text):
    """Returns {name: {values of the labels: value as it is written}} for each family. Raises Malformed."""
    require(text.endswith("\n") and not re.search(r"[^\x20-\x7e\n]", text), "not lines of ASCII")
    lines = text[:-1].split("\n")
    families = {}
    for name, family in METRICS.items():
        help_is_right = lines and re.fullmatch(rf"# HELP {name} [A-Z0-9].*\.", lines[0])
        require(help_is_right, "expected HELP of", name, "and found", lines[:1])
        require(lines[1:2] == [f"# TYPE {name} {family.type}"], "expected TYPE of", name, "and found", lines[1:2])
        del lines[:2]
        samples = families[name] = {}
        while lines and not lines[0].startswith("#"):
            labels, value = parse_sample(name, lines.pop(0))
            require(labels not in samples, "a sample comes twice:", name, labels)
            samples[labels] = value
    require(not lines, "expected no more families than those of the list, and found", lines[:1])
    return families


def contradictions(families):
    """Yields what does not fit together, although each sample is right."""
    def checks(name):
        return {labels[0] for labels in families[name]}
    for name in ALWAYS:
        if len(families[name]) != 1:
            yield f"{name} has no sample"
    for name in ("health_api_status", "health_api_transitions_total"):
        if tuple(labels[0] for labels in families[name]) != STATUSES:
            yield f"{name} has other labels than the words for the status"
    status = [labels[0] for labels, value in families["health_api_status"].items() if value == "1"]
    if len(status) != 1:
        yield f"the status is {status}"
    if (status == ["healthy"]) != (families["health_api_healthy"].get(()) == "1"):
        yield "health_api_healthy and health_api_status differ"
    up = families["health_api_database_up"].get(())
    if status == ["starting"] and (up or families["health_api_snapshot_age_seconds"]):
        yield "something is known of the database although no probe has finished"
    for name in OF_AN_ANSWERING_DATABASE:
        if up != "1" and families[name]:
            yield f"{name} has a sample while the database does not answer"
    if len(checks("health_api_check_ok")) != len(families["health_api_check_ok"]):
        yield "a check has two severities"
    for part, whole in (("value", "ok"), ("duration_seconds", "ok"), ("ok", "age_seconds")):
        if not checks(f"health_api_check_{part}") <= checks(f"health_api_check_{whole}"):
            yield f"a check has {part} without {whole}"
    for (check, _), value in families["health_api_check_ok"].items():
        if value == "1" and check not in checks("health_api_check_value"):
            yield f"{check} passes without a value"
    if any(value == "0" for value in families["health_api_check_failures_total"].values()):
        yield "a counter of failures is there although it is 0"


def faults_of(text, words):
    """Returns how the text breaks the contract. words: for each label the pattern of its values."""
    try:
        families = parse(text)
    except Malformed as error:
        return [str(error)]
    wrong = [f"{name}: {label} is {value!r}" for name, samples in families.items() for values in samples
             for label, value in zip(METRICS[name].labels, values) if not re.fullmatch(words[label], value)]
    return wrong + list(contradictions(families))
