"""The contract of every response: the schemas of docs/schema, and for /api/metrics the list in exposition.py.

The clients of the harness record each response. tests/conftest.py checks them only after each test, so that measured
times do not grow. tests/bench and tests/truth neither record nor check responses."""
import functools
import json
import os
import re
from typing import NamedTuple, Optional

from . import exposition
from .cluster import ROOT

DIRECTORY = os.path.join(ROOT, "docs", "schema")
ROUTES = {"/api/health": "health", "/api/status": "status", "/api/health/live": "live",
          "/api/metrics": "metrics"}
ALWAYS_200 = ("live", "metrics")
CONTENT_TYPES = {"problem": "application/problem+json", "metrics": "text/plain; version=0.0.4; charset=utf-8"}
BY_THE_PROGRAM = {400, 403, 404, 405, 431}
BY_NGINX = {400, 401, 403, 405, 413, 414, 429, 431, 501, 505}


class Response(NamedTuple):
    """What a client saw; None: the client cannot know it. source: X-Health-Source, or "health-watch" for its report."""
    source: Optional[str]
    status: Optional[int]
    body: bytes
    path: Optional[str] = None
    method: Optional[str] = None
    content_type: Optional[str] = None


class Notes:
    """The responses since the last take(), without duplicates."""

    def __init__(self):
        self.responses = None  # add() records nothing before the first take()

    def add(self, *fields, **named):
        if self.responses is not None:
            self.responses.add(Response(*fields, **named))

    def take(self):
        """Returns the recorded responses, forgets them, and records new ones from now on."""
        taken, self.responses = self.responses, set()
        return taken or ()


notes = Notes()


def load(name):
    with open(os.path.join(DIRECTORY, f"{name}.json"), encoding="utf-8") as file:
        return json.load(file)


@functools.lru_cache(None)
def words_of_labels():
    """For each label of a metric, the pattern of its values: words of the schemas, and never text of a request."""
    common = load("common")["$defs"]
    codes, = load("status")["$defs"]["requests"]["patternProperties"]
    statuses = "|".join(common["status"]["enum"])
    return {"version": common["version"]["pattern"], "status": statuses, "to": statuses, "severity": "fail|warn",
            "check": common["check_name"]["pattern"], "reason": "|".join(common["reason"]["enum"]), "code": codes,
            "route": "|".join([*ROUTES, "other"])}


@functools.lru_cache(None)
def validator(name):
    """Returns the validator of one schema, which may refer to common.json."""
    import jsonschema  # only here: bench and truth use the harness without this package
    here, schema = f"file://{DIRECTORY}/", load(name)
    resolver = jsonschema.RefResolver(f"{here}{name}.json", schema, {f"{here}common.json": load("common")})
    return jsonschema.Draft202012Validator(schema, resolver=resolver)


def faults_of_document(name, document):
    """Returns how the document breaks this schema, one line per fault."""
    return [f"{name}.json: {'.'.join(map(str, error.absolute_path)) or 'the document'}: {error.message}"
            for error in validator(name).iter_errors(document)]


def schemas_for(response):
    """Returns the schemas that a response may follow, by its source, status code and route; []: none."""
    if response.source == "health-watch":
        return ["health-watch"]
    routes = ROUTES.values() if response.path not in ROUTES else [ROUTES[response.path]]
    names = []
    if response.source in ("backend", None):
        names += [name for name in routes if response.status in ((200,) if name in ALWAYS_200 else (200, 503))]
        names += ["bare"] if response.path not in ("/api/status", "/api/metrics") and response.status in (200, 503) else []
        names += ["problem"] if response.status in BY_THE_PROGRAM else []
    if response.source in ("nginx", None):
        names += ["nginx"] if response.status == 503 else ["problem"] if response.status in BY_NGINX else []
    return list(dict.fromkeys(names))


def agrees_with_code(document, status):
    """Checks what a schema cannot: whether the status in a document agrees with the status code of its response."""
    said = document["status"]
    return status is None or status == (said if isinstance(said, int) else 200 if said in ("healthy", "alive") else 503)


def is_of_the_contract(response):
    """False for a page of the site, which has no X-Health-Source and does not look like one of ours, and for a path
    that is internal to nginx, which gets a page of nginx."""
    if (response.path or "").startswith("/.health-api/"):
        return False
    return response.source is not None or (response.content_type or "").endswith("json") or response.body.startswith(b'{"status":')


def faults_of_body(name, response):
    """Returns how the body breaks what has this name: a schema, or the list of metrics."""
    if name == "metrics":
        return exposition.faults_of(response.body.decode(errors="replace"), words_of_labels())
    try:
        document = json.loads(response.body)
    except ValueError as error:
        return [f"{name}.json: no JSON: {error}"]
    faults = faults_of_document(name, document)
    if not faults and name != "health-watch" and not agrees_with_code(document, response.status):
        faults = [f"{name}.json: the status code is {response.status}"]
    return faults


def faults_of(response):
    """Returns how the response breaks the contract, one line per fault."""
    if not is_of_the_contract(response):
        return []
    names = schemas_for(response)
    if not names:
        return [f"there is no schema for a {response.status} of {response.source}"]
    if not response.body:
        return [] if response.method in ("HEAD", "OPTIONS") else ["the body is empty"]
    faults = []
    for name in names:
        found = faults_of_body(name, response)
        if not found and response.content_type not in (None, CONTENT_TYPES.get(name, "application/json")):
            found = [f"{name}: the content type is {response.content_type}"]
        if not found:
            return []
        faults += found
    return faults


NUMBER = re.compile(rb"(?<=[:,[])(?:[1-9]\d{0,17}|\d+(\.\d+))(?=[],}])")
TIME = re.compile(rb'"20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z"')


def shape_of(response):
    """Returns the same value for responses that no schema can distinguish. Most responses differ only in positive
    numbers and in times, and the schemas of the routes have no bounds for these (test_schema.py)."""
    if response.source != "backend" or response.status not in (200, 503):
        return response
    body = NUMBER.sub(lambda number: b"1.5" if number[1] else b"1", response.body)
    return response._replace(body=TIME.sub(b'"TIME"', body))


good_shapes = set()


def judge(responses):
    """Fails if one of the responses breaks the contract."""
    for response in responses:
        shape = shape_of(response)
        if shape not in good_shapes:
            faults = faults_of(response)
            assert not faults, "\n".join([str(response), *faults])
            good_shapes.add(shape)


def note_http(sent, received):
    """Records the responses in the bytes of a connection, up to the first without a length."""
    method = sent.split(b" ", 1)[0].decode("latin-1")
    while (head := re.match(rb"HTTP/1\.1 (\d{3})[^\r]*\r\n(.*?)\r\n\r\n", received, re.S)):
        fields = dict(line.lower().split(b": ", 1) for line in head[2].split(b"\r\n") if b": " in line)
        length = int(fields.get(b"content-length", 0))
        value = {name: fields[name].decode() if name in fields else None for name in (b"x-health-source", b"content-type")}
        body, received = received[head.end():][:length], received[head.end() + length:]
        notes.add(value[b"x-health-source"], int(head[1]), body, method=method, content_type=value[b"content-type"])
