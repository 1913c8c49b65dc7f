"""One small PostgreSQL, the programs of the sites, and each web server. Each starts once for the tests of a process."""
import contextlib
import os
import tempfile

import pytest
from harness import fastcgi, process
from harness.backend import CHECKS, PROGRAM
from harness.wait import wait_until

from . import servers
from .service import PATIENT, Service, listen_tcp, listen_unix

STATES = {"up": {}, "down": {"PGPORT": 1}, "bare": {"HEALTH_PUBLIC": "bare"}}


@pytest.fixture(scope="session")
def small_cluster(template, base):
    """A database that the tests only read."""
    server = template.copy_to(os.path.join(base, "small"))
    server.start()
    yield server
    server.destroy()


@pytest.fixture(scope="session")
def site_directory(base):
    directory = tempfile.mkdtemp(prefix="s", dir=base)
    os.chmod(directory, 0o755)
    return directory


@pytest.fixture(scope="session")
def program(site_directory):
    """A copy of the program that the user of a web server may run."""
    return process.copy_for_anyone(PROGRAM, site_directory)


class Programs:
    """The programs that the sites lead to, by site and kind of socket. Each starts when a test first needs it."""

    def __init__(self, directory, cluster, stack):
        self.directory = directory
        self.cluster = cluster
        self.stack = stack
        self.services = {}

    def service(self, site, kind):
        """kind is unix or tcp. The program of site `restarted` belongs to one web server, so kind names that server then."""
        if (site, kind) not in self.services:
            home = os.path.join(self.directory, f"{site}-{kind}")
            listener = listen_tcp() if kind.endswith("tcp") else listen_unix(home + ".sock")
            self.stack.callback(listener.close)
            service = Service(home, listener, HEALTH_LOG_LEVEL="debug",
                              **self.environment(site))
            self.stack.callback(service.stop)
            self.services[site, kind] = service.start().wait_status("degraded" if site == "down" else "healthy")
        return self.services[site, kind]

    def spawned(self, site, program):
        """Returns the same program under spawn-fcgi."""
        if (site, "spawned") not in self.services:
            service = servers.SpawnFcgi(
                self.directory, os.path.join(self.directory, f"{site}-spawned.sock"), program,
                self.variables(site))
            self.stack.callback(service.stop)
            status = b"degraded" if site == "down" else b"healthy"
            wait_until(lambda: status in fastcgi.Connection(service.address).ask().body, 10, "the first probe has finished")
            self.services[site, "spawned"] = service
        return self.services[site, "spawned"]

    def variables(self, site):
        """The environment of a CGI program."""
        return {"HEALTH_CHECKS": CHECKS, **self.environment(site)}

    def environment(self, site):
        return self.cluster.environment(**PATIENT, **STATES.get(site, {}))


@pytest.fixture(scope="session")
def programs(site_directory, small_cluster):
    with contextlib.ExitStack() as stack:
        yield Programs(site_directory, small_cluster, stack)


@pytest.fixture(scope="session")
def front(programs, program, base):
    """front(NAME) returns the web server or client of that name in servers.ALL. It starts once."""
    with contextlib.ExitStack() as stack:
        started = {}

        def sites_of(name):
            if name in servers.CGI:
                return {site: programs.variables(site) for site in STATES}
            kind = "tcp" if name.endswith("tcp") else "unix"
            sites = {site: programs.service(site, kind).address for site in STATES}
            if name == "nginx":
                sites = {site: programs.spawned(site, program).address for site in STATES}
            return {**sites, "restarted": programs.service("restarted", name).address}

        def get(name):
            if name not in started:
                directory = tempfile.mkdtemp(prefix="f", dir=base)
                os.chmod(directory, 0o755)
                server = servers.ALL[name](directory, sites_of(name), program)
                stack.callback(server.stop)
                started[name] = server.start()
            return started[name]
        yield get
