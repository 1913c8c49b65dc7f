"""Fixtures: one PostgreSQL per session for tests that leave it as it was, one of its own for those that hurt it."""
import fcntl
import os
import shutil
import sys
import tempfile
import time

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import contract  # noqa: E402
from harness.backend import CHECKS, SANITIZED, Backend  # noqa: E402
from harness.cluster import FEW_ROWS, Cluster  # noqa: E402
from harness.webserver import Nginx  # noqa: E402


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Those that take about a minute begin first: of a parallel run they decide how long it takes."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_configure(config):
    """Notes answers from now on. A directory for what is made once and copied by every process of a parallel run."""
    contract.notes.take()
    if hasattr(config, "workerinput"):
        config.shared = config.workerinput["shared"]
    else:
        config.shared = tempfile.mkdtemp(prefix="health-shared-", dir="/tmp")
        os.chmod(config.shared, 0o755)
        config.add_cleanup(lambda: shutil.rmtree(config.shared, ignore_errors=True))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["shared"] = node.config.shared


@pytest.fixture(autouse=True)
def _the_contract_holds():
    """Every response that a test has seen follows its schema; those of a module's fixtures count for its first test."""
    yield
    contract.judge(contract.notes.take())


@pytest.fixture(scope="session")
def base():
    """A short directory that every user may enter: a Unix socket's path has at most 107 bytes."""
    directory = tempfile.mkdtemp(prefix="health-", dir="/tmp")
    os.chmod(directory, 0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def make_template(pytestconfig):
    """Makes a stopped server with the schema and the role, filled by `fill`; the first that asks makes it, all copy it."""
    def make(name, fill):
        server = Cluster(os.path.join(pytestconfig.shared, name))
        with open(server.directory + ".lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(server.directory):
                try:
                    server.create()
                    fill(server)
                    server.stop("fast")
                except BaseException:
                    server.destroy()
                    raise
        return server
    return make


@pytest.fixture(scope="session")
def cluster(make_template, base):
    """A server with the schema, the role and the full sample; tests put back what they change."""
    server = make_template("sampled", lambda server: server.load("sample.sql")).copy_to(os.path.join(base, "pg"))
    server.start()
    yield server
    server.destroy()


@pytest.fixture(scope="session")
def template(make_template):
    """A stopped server with the schema, the role and a few rows, to be copied."""
    return make_template("small", lambda server: server.execute(FEW_ROWS))


@pytest.fixture
def own_cluster(template, base):
    """A running server that the test may hurt."""
    directory = tempfile.mkdtemp(prefix="own", dir=base)
    os.chmod(directory, 0o755)
    server = template.copy_to(directory)
    server.start()
    yield server
    server.destroy()


@pytest.fixture
def directory(base):
    path = tempfile.mkdtemp(dir=base)
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def checks_file(directory):
    """Writes a checks file and returns its path."""
    def write(text, name="checks.sql"):
        path = os.path.join(directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path
    return write


@pytest.fixture
def start_backend(directory, cluster):
    """Starts backends that are stopped, and whose logs are read for sanitizer reports, after the test. Where there
    are several at once, each needs a place of its own."""
    started = []

    def start(wait=True, popen=None, place="", **settings):
        home = os.path.join(directory, place)
        os.makedirs(home, exist_ok=True)
        os.chmod(home, os.stat(directory).st_mode)
        # A sanitizer and its load on the machine make counts slow, and slow counts are asked seldom.
        usual = {"HEALTH_CHECKS": CHECKS, **({"HEALTH_MAX_LOAD": 100} if SANITIZED else {})}
        backend = Backend(home, **{**cluster.environment(), **usual, **settings})
        started.append(backend)
        return backend.start(wait, **(popen or {}))
    yield start
    for backend in started:
        if backend.process.poll() is None:
            began = time.monotonic()
            assert backend.stop() == 0, backend.log()[-3000:]
            # HEALTH_STOP_TIMEOUT; ThreadSanitizer sleeps a second at the end.
            assert time.monotonic() - began < (5 if SANITIZED else 3)
        else:
            backend.stop()


@pytest.fixture
def backend(start_backend):
    """A healthy program with the shipped checks."""
    program = start_backend()
    program.wait_status("healthy")
    return program


@pytest.fixture
def nginx(directory):
    server = Nginx(directory).start()
    yield server
    server.stop()
