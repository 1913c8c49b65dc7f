"""The stage of the faults: one PostgreSQL with the sample on a TCP port, and one health-api with default settings."""
import contextlib
import datetime
import os
import shutil
import signal
import tempfile
import time

import psycopg2
from harness import process
from harness.backend import CHECKS, Backend
from harness.cluster import Cluster
from harness.wait import wait_until
from harness.webserver import free_port

MIN_DEBATES = 600  # of 607
LOGINS = "local all postgres trust\nhost all health_api 127.0.0.1/32 {method}\n"
BETWEEN_LOGINS_S = 3.8  # HEALTH_RECONNECT_EVERY is 4 s, minus up to 10 %
BUSY_LOOPS = 8


class Stage:
    """The end of the context stops everything that was started in it."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="truth-", dir="/tmp")  # short: a Unix socket's path has 107 bytes
        os.chmod(self.directory, 0o755)
        self.cluster = Cluster(os.path.join(self.directory, "pg"))
        self.port = free_port()
        self.health = None

    def __enter__(self):
        try:
            self._start_server()
            self._start_health()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.health:
            self.health.stop()
        if os.path.exists(self.cluster.data):
            self.cluster.signal_all(signal.SIGCONT)
            self.cluster.destroy()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start_server(self):
        self.cluster.create()
        self.cluster.load("sample.sql")
        self.cluster.execute("CREATE TABLE spare_debates AS TABLE debates")
        self.cluster.execute("VACUUM ANALYZE")  # so that autovacuum does not run during a fault
        self.cluster.stop("fast")
        self.cluster.configure("listen_addresses = '127.0.0.1'", f"port = {self.port}",
                               "log_timezone = 'UTC'", "log_line_prefix = '%m [%p] %a '")
        self.cluster.port = self.port
        self.cluster.start()
        self.let_in()

    def let_in(self, method="scram-sha-256"):
        self.cluster.write_hba(LOGINS.format(method=method))

    def _start_health(self):
        """Starts health-api with the shipped checks, one of them with a `min`."""
        path = os.path.join(self.directory, "checks.sql")
        with open(CHECKS, encoding="utf-8") as file:
            text, name = file.read(), "-- check: debates\n"
        assert text.count(name) == 1, f"sql/checks.sql has changed: expected one {name!r}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(name, f"{name}-- min: {MIN_DEBATES}\n"))
        self.health = Backend(self.directory, HEALTH_CHECKS=path,
                              **self.cluster.environment(PGHOST="127.0.0.1", PGPORT=self.port))
        self.health.start()
        self.health.wait_status("healthy")

    def _last_login(self):
        """When health-api logged in, by the wall clock; None: it has no session."""
        since = self.health.document("/api/status")["database"]["connected_since"]
        return datetime.datetime.fromisoformat(since).timestamp() if since else None

    def wait_phase(self, phase):
        """Waits until this share of the time between two logins has passed: some faults show only at the next login."""
        passed_s, last = phase * BETWEEN_LOGINS_S, self._last_login()

        def login():
            at = self._last_login()
            return at if at != last or (at and time.time() - at < passed_s) else None
        came = wait_until(login, 15, "the next login")
        wait_until(lambda: time.time() - came >= passed_s, 10, "the time for the fault", interval_s=0.001)

    def last_until(self, condition, at_most_s):
        """Waits for condition(), but at most this long, while health-api runs."""
        began = time.monotonic()

        def is_over():
            assert self.health.process.poll() is None, f"health-api ended:\n{self.health.log()[-3000:]}"
            return condition() or time.monotonic() - began >= at_most_s
        wait_until(is_over, at_most_s + 10, "the end of a time")

    def log_end(self):
        return os.path.getsize(self.cluster.log)

    def wait_logged(self, text, log_end):
        """Waits until the server has logged this text after log_end, and returns the time in the log. A client that waits
        for a login would notice it late."""
        def logged():
            with open(self.cluster.log, "rb") as file:
                file.seek(log_end)
                lines = file.read().decode(errors="replace").splitlines(keepends=True)
            return next((line for line in lines if text in line and line.endswith("\n")), None)
        line = wait_until(logged, 60, f"the server logs: {text}")
        at = datetime.datetime.strptime(line[:27], "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=datetime.timezone.utc)
        return time.monotonic() - (time.time() - at.timestamp())

    @contextlib.contextmanager
    def superuser(self):
        """Returns a function that runs SQL in an open session, so that a fault does not include the time of a login."""
        connection = self.cluster.connect()

        def execute(sql):
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        try:
            yield execute
        finally:
            connection.close()

    def our_session(self):
        """Waits until health-api has exactly one session, and returns the pid of its server process."""
        def only():
            pids = self.cluster.probes()
            return pids[0] if len(pids) == 1 else None
        return wait_until(only, 10, "the session of health-api")

    def use_up_connections(self):
        """Opens sessions until no connection is left. Returns them, and when the last one was opened. health-api may have
        a second session for a moment, whose end would free a connection. So health-api must have the same single session
        before and after the server has refused one."""
        sessions, last = [self.cluster.connect("postgres")], None

        def probes():
            with sessions[0].cursor() as cursor:
                cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'health-api'")
                return cursor.fetchall()

        def are_used_up():
            nonlocal last
            before = probes()
            with contextlib.suppress(psycopg2.OperationalError):
                while True:
                    at = time.monotonic()
                    sessions.append(self.cluster.connect("postgres"))
                    last = at
            return len(before) == 1 and probes() == before
        try:
            wait_until(are_used_up, 10, "no connection is left")
        except BaseException:
            for session in sessions:
                session.close()
            raise
        return sessions, last

    @contextlib.contextmanager
    def busy(self):
        """During the context, loops use all the CPU time that they get."""
        loops = []
        try:
            loops += [process.start(["sh", "-c", "while :; do :; done"]) for _ in range(BUSY_LOOPS)]
            wait_until(lambda: all(process.cpu_s(loop.pid) >= 0.05 for loop in loops), 30, "each loop has run")
            yield
        finally:
            for loop in loops:
                process.end(loop, signal.SIGKILL)
