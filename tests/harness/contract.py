"""The contract of every answer: the schemas of docs/schema.

Whoever asks something in the harness notes what came. tests/conftest.py judges it after each test, so that no time is
lost while a test measures one. Whoever does not judge (tests/bench, tests/truth) does not note either."""
import functools
import json
import os
import re
from typing import NamedTuple, Optional

from .cluster import ROOT

DIRECTORY = os.path.join(ROOT, "docs", "schema")
ROUTES = {"/api/health": "health", "/api/status": "status", "/api/health/live": "live"}
BY_THE_PROGRAM = {400, 404, 405, 431}
BY_NGINX = {400, 401, 403, 405, 413, 414, 429, 431, 501, 505}


class Answer(NamedTuple):
    """What a client saw; None is what it cannot know. source: X-Health-Source, or "health-watch" for its report."""
    source: Optional[str]
    status: Optional[int]
    body: bytes
    path: Optional[str] = None
    method: Optional[str] = None
    content_type: Optional[str] = None


class Notes:
    """Those since the last judgement; each once."""

    def __init__(self):
        self.answers = None  # nobody is going to judge

    def add(self, *fields, **named):
        if self.answers is not None:
            self.answers.add(Answer(*fields, **named))

    def take(self):
        taken, self.answers = self.answers, set()
        return taken or ()


notes = Notes()


def load(name):
    with open(os.path.join(DIRECTORY, f"{name}.json"), encoding="utf-8") as file:
        return json.load(file)


@functools.lru_cache(None)
def validator(name):
    """Of one schema; common.json is found beside it."""
    import jsonschema  # here: bench and truth use the harness, and have no such package
    here, schema = f"file://{DIRECTORY}/", load(name)
    resolver = jsonschema.RefResolver(f"{here}{name}.json", schema, {f"{here}common.json": load("common")})
    return jsonschema.Draft202012Validator(schema, resolver=resolver)


def faults_of_document(name, document):
    """What this schema says against a document, a line each."""
    return [f"{name}.json: {'.'.join(map(str, error.absolute_path)) or 'the document'}: {error.message}"
            for error in validator(name).iter_errors(document)]


def schemas_for(answer):
    """The schemas that an answer may follow, by who gave it, its status code and its route; none: there must be none."""
    if answer.source == "health-watch":
        return ["health-watch"]
    routes = ROUTES.values() if answer.path not in ROUTES else [ROUTES[answer.path]]
    names = []
    if answer.source in ("backend", None):
        names += [name for name in routes if answer.status in ((200,) if name == "live" else (200, 503))]
        names += ["problem"] if answer.status in BY_THE_PROGRAM else []
    if answer.source in ("nginx", None):
        names += ["nginx"] if answer.status == 503 else ["problem"] if answer.status in BY_NGINX else []
    return list(dict.fromkeys(names))


def agrees_with_code(document, status):
    """What a schema cannot say: a document and the status code of its answer say the same."""
    said = document["status"]
    return status is None or status == (said if isinstance(said, int) else 200 if said in ("healthy", "alive") else 503)


def is_of_the_contract(answer):
    """Without the header it is a page of the site, unless it looks like one of ours; so is what nginx says of a path that
    is internal."""
    if (answer.path or "").startswith("/.health-api/"):
        return False
    return answer.source is not None or (answer.content_type or "").endswith("json") or answer.body.startswith(b'{"status":')


def faults_of(answer):
    """What the contract has against an answer, a line each."""
    if not is_of_the_contract(answer):
        return []
    names = schemas_for(answer)
    if not names:
        return [f"no schema is for a {answer.status} of {answer.source}"]
    if not answer.body:
        return [] if answer.method in ("HEAD", "OPTIONS") else ["the body is empty"]
    try:
        document = json.loads(answer.body)
    except ValueError as error:
        return [f"no JSON: {error}"]
    faults = []
    for name in names:
        expected = "application/problem+json" if name == "problem" else "application/json"
        found = faults_of_document(name, document)
        if not found and answer.content_type not in (None, expected):
            found = [f"{name}.json: the content type is {answer.content_type}"]
        if not found and name != "health-watch" and not agrees_with_code(document, answer.status):
            found = [f"{name}.json: the status code is {answer.status}"]
        if not found:
            return []
        faults += found
    return faults


NUMBER = re.compile(rb"(?<=[:,[])(?:[1-9]\d{0,17}|\d+(\.\d+))(?=[],}])")
TIME = re.compile(rb'"20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z"')


def shape_of(answer):
    """The same for answers that no schema can tell apart: most differ in positive numbers and in times alone, and the
    documents of the program have no bound for these (test_schema.py)."""
    if answer.source != "backend" or answer.status not in (200, 503):
        return answer
    body = NUMBER.sub(lambda number: b"1.5" if number[1] else b"1", answer.body)
    return answer._replace(body=TIME.sub(b'"TIME"', body))


good_shapes = set()


def judge(answers):
    """Fails when one of the answers breaks the contract."""
    for answer in answers:
        shape = shape_of(answer)
        if shape not in good_shapes:
            faults = faults_of(answer)
            assert not faults, "\n".join([str(answer), *faults])
            good_shapes.add(shape)


def note_http(sent, received):
    """Notes the answers in the bytes of a connection, as far as they have a length."""
    method = sent.split(b" ", 1)[0].decode("latin-1")
    while (head := re.match(rb"HTTP/1\.1 (\d{3})[^\r]*\r\n(.*?)\r\n\r\n", received, re.S)):
        fields = dict(line.lower().split(b": ", 1) for line in head[2].split(b"\r\n") if b": " in line)
        length = int(fields.get(b"content-length", 0))
        value = {name: fields[name].decode() if name in fields else None for name in (b"x-health-source", b"content-type")}
        body, received = received[head.end():][:length], received[head.end() + length:]
        notes.add(value[b"x-health-source"], int(head[1]), body, method=method, content_type=value[b"content-type"])
