"""The stage of a run: one directory, one PostgreSQL with the sample, and one nginx. It stops all that it has started."""
import os
import shutil
import signal
import tempfile

from harness import process
from harness.backend import Backend
from harness.cluster import ROOT, Cluster
from harness.wait import wait_until
from harness.webserver import Nginx

CHECKS = os.path.join(ROOT, "sql", "checks.sql")


def changed(text, *changes):
    """Returns a configuration with these (old, new) lines, each of which must be in it once."""
    for old, new in changes:
        assert text.count(old) == 1, f"a file in nginx/ has changed: expected one {old!r}"
        text = text.replace(old, new)
    return text


class BenchNginx(Nginx):
    """nginx with the production snippets and, in the same server block, a location for each peer."""

    upstreams = locations = ""

    def configure(self):
        super().configure()
        path = os.path.join(self.directory, "nginx.conf")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        text = changed(text,
                       ("worker_connections 1024;", "worker_connections 8192;"),  # the bench needs 1,000 idle ones
                       ("    server {\n", self.upstreams + "    server {\n"),
                       ("        include health-api.conf;\n", "        include health-api.conf;\n" + self.locations))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def fastcgi(self, socket, *changes, script_name="/api/health", param=""):
        """Returns our own location with another upstream, so that every FastCGI peer costs nginx the same."""
        with open(os.path.join(ROOT, "nginx", "health-api.params"), encoding="utf-8") as file:
            text = changed(file.read(), ("fastcgi_pass health_api;", f"fastcgi_pass {socket};"), (" $uri;", f" {script_name};"),
                           *changes)
        return text + (f"fastcgi_param {param};\n" if param else "")


class Stage:
    """build: the directory with the peers' programs. The end of the context stops everything, the last one first."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.directory = tempfile.mkdtemp(prefix="bench-", dir="/tmp")  # short: a Unix socket's path has 107 bytes
        os.chmod(self.directory, 0o755)
        self.cluster = Cluster(os.path.join(self.directory, "pg"))
        self.nginx = None
        self._stops = []

    def __enter__(self):
        return self

    def stop_started(self):
        """Stops everything but nginx and the database."""
        while self._stops:
            self._stops.pop()()

    def __exit__(self, *_):
        self.stop_started()
        if self.nginx:
            self.nginx.stop()
        if os.path.exists(self.cluster.data):
            self.cluster.destroy()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start_database(self):
        self.cluster.create()
        self.cluster.load("sample.sql")
        # The peers connect for each request, as many at once as wrk has connections. The server logs no statements.
        for sql in ("ALTER ROLE health_api CONNECTION LIMIT -1", "ALTER SYSTEM SET log_statement = 'none'",
                    "CREATE EXTENSION pg_stat_statements", "SELECT pg_reload_conf()"):
            self.cluster.execute(sql, database="postgres")
        self.cluster.execute("VACUUM ANALYZE")  # so that autovacuum does not run during a measurement

    def start_nginx(self, text_of):
        """text_of(nginx) returns further upstreams and locations."""
        self.nginx = BenchNginx(self.directory)
        self.nginx.upstreams, self.nginx.locations = text_of(self.nginx)
        self.nginx.start()

    def path(self, name):
        return os.path.join(self.directory, name)

    def program(self, name):
        return os.path.join(self.build, name)

    def environment(self):
        return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self.cluster.environment()}

    def start(self, argv, stop_signal=signal.SIGTERM, **kwargs):
        """Starts a process; the end of the context stops it."""
        started = process.start(argv, log=self.path("peers.log"), **kwargs)
        self._stops.append(lambda: self.end(started, stop_signal))
        return started

    @staticmethod
    def end(started, stop_signal=signal.SIGTERM):
        """Stops the process and its children: those of fcgiwrap outlive it."""
        process.end(started, stop_signal)
        try:
            os.killpg(started.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def start_health(self, name="", wrapper=(), **settings):
        """Starts health-api on the production socket, or on one in another directory, and waits until it is healthy."""
        directory = self.path(name) if name else self.directory
        os.makedirs(directory, exist_ok=True)
        backend = Backend(directory, **{**self.cluster.environment(), "HEALTH_CHECKS": CHECKS, **settings})
        self._stops.append(backend.stop)
        backend.start(wrapper=wrapper)
        backend.wait_status("healthy")
        return backend

    def settle(self):
        """Waits until the database has finished the work of the last load."""
        sql = "SELECT count(*) = 0 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
        wait_until(lambda: self.cluster.execute(sql)[0][0], 60, "the database is idle", interval_s=0.02)

    def answer_of(self, backend):
        """Writes this backend's FastCGI response to a file, for the peers with a constant response."""
        response = backend.ask()
        path = f"{backend.socket}.answer"
        head = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        with open(path, "wb") as file:
            file.write(head.encode() + b"\r\n" + response.body)
        return path
