"""The tests' own PostgreSQL server, with the project's schema and role."""
import glob
import os
import shutil
import signal
import subprocess

import psycopg2

from . import process
from .wait import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# A few rows for each table of sql/schema.sql. The full sample takes seconds to load. Each program that a test starts would
# count it, for half a second on a busy machine, which is near the limit of 800 ms.
FEW_EDGES = 4999
FEW_COUNTS = {"hypotheses": 300, "analyses": 200, "entities": FEW_EDGES + 1, "edges": FEW_EDGES, "debates": 200}
FEW_ROWS = f"""
    INSERT INTO entities (kind, name) SELECT 'gene', n::text FROM generate_series(1, {FEW_EDGES + 1}) n;
    INSERT INTO edges SELECT n, n + 1, 'binds', 0.5 FROM generate_series(1, {FEW_EDGES}) n;
    INSERT INTO hypotheses (entity_id, title) SELECT n, 'h' FROM generate_series(1, 300) n;
    INSERT INTO analyses (hypothesis_id, method) SELECT n, 'm' FROM generate_series(1, 200) n;
    INSERT INTO debates (analysis_id, position, argument) SELECT n, 'for', repeat('x', 500) FROM generate_series(1, 200) n;
    ANALYZE"""
SERVER_USER = "postgres" if os.geteuid() == 0 else None
PASSWORD = "a secret that no answer may show"

SETTINGS = """
listen_addresses = ''
fsync = off
max_connections = 40
shared_preload_libraries = 'pg_stat_statements'
log_statement = 'all'
log_line_prefix = '%t [%p] %a '
"""


def _bin(name):
    found = sorted(glob.glob(f"/usr/lib/postgresql/{os.environ.get('TEST_POSTGRES', '*')}/bin/{name}"))
    return found[-1] if found else shutil.which(name)


class Cluster:
    """One server in directory. A test may call stop() and start() as often as it likes."""

    port = 5432  # for the socket, and for TCP if it listens there

    def __init__(self, directory):
        self.directory = directory
        self.data = os.path.join(directory, "data")
        self.log = os.path.join(directory, "postgres.log")
        self.database = "knowledge"

    def create(self):
        os.makedirs(self.directory, exist_ok=True)
        if SERVER_USER:
            shutil.chown(self.directory, SERVER_USER)
        self.run("initdb", "-D", self.data, "-U", "postgres", "-k", "-E", "UTF8", "--locale=C.UTF-8",
                 "--auth=trust", "--no-sync", "--wal-segsize=1")  # in MiB; the default of 16 would be most of each copy
        self.configure(SETTINGS + f"unix_socket_directories = '{self.directory}'")
        self.start()
        self.write_hba("local all health_api scram-sha-256\nlocal all postgres trust\n")
        self.execute(f"CREATE DATABASE {self.database}", database="postgres")
        self.load("schema.sql")
        self.load("role.sql", "-v", f"password={PASSWORD}")

    def copy_to(self, directory):
        """Makes a separate server with the same data. This one must be stopped."""
        os.makedirs(directory, exist_ok=True)
        if SERVER_USER:
            shutil.chown(directory, SERVER_USER)
        other = Cluster(directory)
        subprocess.run(["cp", "-a", self.data, other.data], check=True)
        other.configure(f"unix_socket_directories = '{directory}'")
        return other

    def make_standby(self, directory):
        """Makes a streaming standby of this server, which must run and let postgres replicate. It is not started yet."""
        os.makedirs(directory, exist_ok=True)
        if SERVER_USER:
            shutil.chown(directory, SERVER_USER)
        standby = Cluster(directory)
        standby.run("pg_basebackup", "-h", self.directory, "-p", str(self.port), "-U", "postgres",
                    "-D", standby.data, "-R", "-c", "fast", "--no-sync")
        standby.configure(f"unix_socket_directories = '{directory}'")
        return standby

    def configure(self, *lines):
        """Adds lines to postgresql.conf."""
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as conf:
            conf.write("".join(f"{line}\n" for line in lines))

    @property
    def major_version(self):
        return self.execute("SELECT current_setting('server_version_num')::int / 10000", "postgres")[0][0]

    def load(self, name, *options, database=None):
        """Runs a file of sql/ in psql as the superuser. Returns the finished process with its texts."""
        done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.directory, "-p", str(self.port),
                               "-U", "postgres", "-d", database or self.database, *options,
                               "-f", os.path.join(ROOT, "sql", name)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done

    def run(self, name, *arguments):
        """Runs a program of PostgreSQL as the user of the server."""
        child = process.start([_bin(name), *arguments], log=self.log + ".ctl", user=SERVER_USER, cwd="/")
        assert child.wait(90) == 0, f"{name} {arguments} failed:\n" + self._tail()

    def start(self, wait=True):
        self.run("pg_ctl", "-D", self.data, "-l", self.log, "-w" if wait else "-W", "-t", "60", "start")

    def stop(self, mode="immediate"):
        self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def begin_stop(self, mode="immediate"):
        """Starts pg_ctl and waits neither for it nor for the server. Returns its process."""
        return process.start([_bin("pg_ctl"), "-D", self.data, "-m", mode, "-W", "stop"], log=self.log + ".ctl",
                             user=SERVER_USER, cwd="/")

    @property
    def postmaster_pid(self):
        with open(os.path.join(self.data, "postmaster.pid"), encoding="ascii") as file:
            return int(file.readline())

    def wait_gone(self, pid):
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 20, f"postmaster {pid} is gone")

    def processes(self):
        """The pids of all processes that work in the data directory."""
        pids = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/cwd") == self.data:
                    pids.append(int(pid))
            except OSError:
                pass
        return pids

    def has_no_children(self):
        return not self.processes()

    def signal_all(self, number):
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # it has just ended

    def accepts(self):
        try:
            self.connect().close()
            return True
        except psycopg2.OperationalError:
            return False

    def write_hba(self, lines):
        with open(os.path.join(self.data, "pg_hba.conf"), "w", encoding="utf-8") as hba:
            hba.write(lines)
        self.execute("SELECT pg_reload_conf()", database="postgres")

    @property
    def is_running(self):
        return os.path.exists(os.path.join(self.data, "postmaster.pid"))

    def destroy(self):
        if self.is_running and os.path.exists(f"/proc/{self.postmaster_pid}"):
            os.kill(self.postmaster_pid, signal.SIGCONT)
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def environment(self, **changes):
        """The variables that make libpq connect here as the probe's role."""
        return {"PGHOST": self.directory, "PGUSER": "health_api", "PGDATABASE": self.database,
                "PGPASSWORD": PASSWORD, **changes}

    def connect(self, database=None):
        connection = psycopg2.connect(host=self.directory, port=self.port, user="postgres",
                                      dbname=database or self.database)
        connection.autocommit = True
        return connection

    def execute(self, sql, database=None):
        """Runs sql as the superuser. Returns the rows, if there are any."""
        connection = self.connect(database)
        try:
            cursor = connection.cursor()
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def probes(self):
        """The pids of the server processes that work for health-api."""
        rows = self.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'health-api'")
        return [row[0] for row in rows]

    def log_lines(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read().splitlines()

    def statements(self):
        """How often health-api has run each statement so far, from the server's log."""
        lines = [line.split("execute <unnamed>: ")[1].strip() for line in self.log_lines()
                 if " health-api " in line and "execute <unnamed>: " in line]
        return {line: lines.count(line) for line in set(lines)}

    def work(self):
        """Returns the numbers so far: statements of health-api, transactions in the database, and rows read there."""
        self.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements", database="postgres")
        return self.execute("SELECT (SELECT sum(calls) FROM pg_stat_statements JOIN pg_roles r ON r.oid = userid "
                            "WHERE rolname = 'health_api')::bigint, xact_commit + xact_rollback, tup_returned "
                            f"FROM pg_stat_database WHERE datname = '{self.database}'", database="postgres")[0]

    def terminate_probes(self):
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'health-api'")

    def _tail(self):
        text = ""
        for name in (self.log + ".ctl", self.log):
            if os.path.exists(name):
                with open(name, encoding="utf-8", errors="replace") as log:
                    text += log.read()[-2000:]
        return text
