"""Fixtures: one PostgreSQL per session for tests that leave it unchanged, its own for each test that breaks it."""
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
    """Starts the tests that take about a minute first, because they decide how long a parallel run takes."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_configure(config):
    """Records responses from now on. Creates a directory for what one process of a parallel run makes and all copy."""
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
    """Checks that every response of a test follows its schema. Those in fixtures of a module count for its first test."""
    yield
    contract.judge(contract.notes.take())


@pytest.fixture(scope="session")
def base():
    """A directory with a short path, because that of a Unix socket has at most 107 bytes. Every user may enter it."""
    directory = tempfile.mkdtemp(prefix="health-", dir="/tmp")
    os.chmod(directory, 0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def make_template(pytestconfig):
    """Returns a stopped server with the schema and the role. The first caller makes it and calls `fill`; all copy it."""
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
def template(make_template):
    """A stopped server with the schema, the role and a few rows, to be copied."""
    return make_template("small", lambda server: server.execute(FEW_ROWS))


@pytest.fixture(scope="session")
def cluster(template, base):
    """A running server for all tests that leave it unchanged. Tests undo their changes."""
    server = template.copy_to(os.path.join(base, "pg"))
    server.start()
    yield server
    server.destroy()


@pytest.fixture
def own_cluster(template, base):
    """A running server that the test may break."""
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
    """Starts backends. After the test, stops them and looks for sanitizer reports in their logs. If several run at
    once, each needs its own place."""
    started = []

    def start(wait=True, popen=None, place="", **settings):
        home = os.path.join(directory, place)
        os.makedirs(home, exist_ok=True)
        os.chmod(home, os.stat(directory).st_mode)
        # A busy machine makes counts slow, and with the default of 2 the program would run slow counts less often.
        usual = {"HEALTH_CHECKS": CHECKS, "HEALTH_MAX_LOAD": 100}
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
