"""Lets health-api ask one check of sql/library/ of a primary, its standby, and a server as initdb makes it."""
import contextlib
import glob
import json
import os
import re
import subprocess
import tempfile

import pytest
from harness import backend as program
from harness.cluster import ROOT
from harness.fastcgi import Response
from harness.wait import wait_until

LIBRARY = os.path.join(ROOT, "sql", "library")
NAMES = sorted(os.path.basename(path).removesuffix(".sql") for path in glob.glob(os.path.join(LIBRARY, "*.sql")))
FAILS = {"writes_refused"}  # the others warn: a load balancer must not take a working node out
NOTHING_TO_SHOW = 10 ** 15  # for a bad state that has no number
WAL_FILE = 1 << 20  # bytes, as initdb in the harness says


def read(name):
    with open(os.path.join(LIBRARY, f"{name}.sql"), encoding="utf-8") as file:
        return file.read()


def grants_of(name):
    """The statements in the comment of a file, which it says the login needs."""
    return re.findall(r"^-- {3}((?:GRANT|ALTER DEFAULT) .*;)$", read(name), re.M)


NEED_A_GRANT = [name for name in NAMES if grants_of(name)]


def revoke(statement):
    words = re.sub(r"\bGRANT\b", "REVOKE", statement)
    return re.sub(r"\bTO health_api\b", "FROM health_api", words)


class Answer:
    """What health-api shows of one check."""

    def __init__(self, name, http, status):
        self.document = json.dumps(status["checks"][name]) + json.dumps(status["database"])
        self.failing, self.warnings, self.http = status["failing"], status["warnings"], http
        self.value, self.reason = status["checks"][name]["value"], status["checks"][name]["reason"]
        self.name = name

    def __repr__(self):
        return f"{self.http} failing {self.failing}, warnings {self.warnings}: {self.document}"

    @property
    def is_healthy(self):
        return self.http == 200 and not self.failing and not self.warnings and self.reason is None

    def has_failed(self, reason="out_of_range"):
        """Whether the check, and only it, is listed as its severity demands."""
        entry = [{"check": self.name, "reason": reason}]
        expected = (503, entry, []) if self.name in FAILS else (200, [], entry)
        return (self.http, self.failing, self.warnings) == expected


@pytest.fixture(scope="package")
def workplace(base):
    directory = tempfile.mkdtemp(prefix="library", dir=base)
    os.chmod(directory, 0o755)
    return directory


@pytest.fixture
def ask(checks_file):
    """Lets health-api probe a server once, with one file of the library. limit replaces its `max`."""
    def answer(server, name, limit=None, **settings):
        text = read(name)
        if limit is not None:
            text, count = re.subn(r"^-- max: \d+", f"-- max: {limit}", text, flags=re.M)
            assert count == 1, text
        environment = program.environment(**{
            **server.environment(), "HEALTH_CHECKS": checks_file(text, f"{name}.sql"), "HEALTH_CONNECT_TIMEOUT": "10s",
            "HEALTH_QUERY_TIMEOUT": "10s", "HEALTH_STALE_AFTER": "1m", "GATEWAY_INTERFACE": "CGI/1.1",
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "/api/status", **settings})
        done = subprocess.run([program.PROGRAM], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        response = Response(done.stdout, "/api/status", "GET")
        return Answer(name, response.status, json.loads(response.body))
    return answer


@pytest.fixture
def wait_for(ask):
    """Waits until the check is in this state, and returns its value."""
    def wait(server, name, state, limit=None, **settings):
        answers = []

        def is_there():
            answers.append(ask(server, name, limit, **settings))
            return state(answers[-1])
        try:
            wait_until(is_there, 30, name, interval_s=0.1)
        except AssertionError as late:
            raise AssertionError(f"{late}: {answers[-1]}") from late
        return answers[-1].value
    return wait


def failed(answer):
    return answer.has_failed()


def healthy(answer):
    return answer.is_healthy


@contextlib.contextmanager
def running(server):
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="package")
def primary(template, workplace):
    server = template.copy_to(os.path.join(workplace, "primary"))
    server.configure("archive_mode = on", "archive_command = 'true'", "max_prepared_transactions = 5",
                     "wal_retrieve_retry_interval = 200ms", "wal_keep_size = 1GB", "autovacuum = off")
    with running(server):
        server.write_hba("local all health_api scram-sha-256\nlocal all,replication postgres trust\n")
        yield server


@pytest.fixture(scope="package")
def standby(primary, workplace):
    with running(primary.make_standby(os.path.join(workplace, "standby"))) as server:
        yield server


@pytest.fixture(scope="package")
def simple(template, workplace):
    """A server that is configured as initdb does it: without archiving."""
    with running(template.copy_to(os.path.join(workplace, "simple"))) as server:
        yield server


@pytest.fixture
def granted(primary):
    """Gives the shipped role all that the files ask for, and nothing else."""
    primary.execute("".join(statement for name in NAMES for statement in grants_of(name)))


def wait_replayed(primary, standby):
    position = primary.execute("SELECT pg_current_wal_insert_lsn()")[0][0]
    primary.execute("SELECT pg_switch_wal()")  # flushes it
    wait_until(lambda: standby.execute(f"SELECT pg_last_wal_replay_lsn() >= '{position}'")[0][0], 20, "replayed")


@contextlib.contextmanager
def setting(server, **settings):
    """Changes settings of a running server for a while."""
    def apply(changes):
        for name, value in changes.items():
            server.execute(f"ALTER SYSTEM SET {name} = {'DEFAULT' if value is None else f'$value${value}$value$'}")
        server.execute("SELECT pg_reload_conf()")
    before = dict(server.execute("SELECT name, setting FROM pg_file_settings WHERE sourcefile LIKE '%.auto.conf'"))
    try:
        apply(settings)
        yield
    finally:
        apply({name: before.get(name) for name in settings})


def commit(server):
    server.execute("CREATE TABLE IF NOT EXISTS committed (at timestamptz); INSERT INTO committed VALUES (now())")


def fill_wal_files(server, count):
    server.execute("SELECT pg_logical_emit_message(false, 'filler', 'x'); SELECT pg_switch_wal();" * count)
