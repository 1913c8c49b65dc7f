"""A real PgBouncer in front of a cluster."""
import os
import shutil

from . import process
from .cluster import PASSWORD, SERVER_USER
from .wait import wait_until


class PgBouncer:
    """Listens on directory/.s.PGSQL.6432. All clients of a user share one server connection unless pool_size allows more.
    PgBouncer resets nothing when the connection passes to the next client, so that client sees what the last one left
    there."""

    def __init__(self, directory, cluster, pool_mode, pool_size=1):
        self.directory, self.cluster, self.pool_mode, self.pool_size = directory, cluster, pool_mode, pool_size
        self.child = None

    def __enter__(self):
        os.makedirs(self.directory, exist_ok=True)
        users, config = (os.path.join(self.directory, name) for name in ("users.txt", "pgbouncer.ini"))
        with open(users, "w", encoding="ascii") as file:
            file.write(f'"health_api" "{PASSWORD}"\n"postgres" ""\n')
        with open(config, "w", encoding="ascii") as file:
            file.write(f"""[databases]
* = host={self.cluster.directory}
[pgbouncer]
unix_socket_dir = {self.directory}
listen_port = 6432
auth_type = plain
auth_file = {users}
pool_mode = {self.pool_mode}
default_pool_size = {self.pool_size}
server_reset_query =
max_client_conn = 20
logfile = {self.directory}/pgbouncer.log
""")
        if SERVER_USER:
            shutil.chown(self.directory, SERVER_USER)
        program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
        self.child = process.start([program, config], user=SERVER_USER, log=os.path.join(self.directory, "out.log"))
        wait_until(lambda: os.path.exists(os.path.join(self.directory, ".s.PGSQL.6432")), 10, "PgBouncer's socket")
        return self

    def __exit__(self, *_):
        process.end(self.child)

    def environment(self):
        return self.cluster.environment(PGHOST=self.directory, PGPORT="6432")

    def logins(self):
        """How many clients it has let in so far."""
        return self._count("login attempt")

    def closed_servers(self):
        """How many server connections it has closed so far because the client went away during a question."""
        return self._count("server was not ready")

    def _count(self, text):
        with open(os.path.join(self.directory, "pgbouncer.log"), encoding="utf-8", errors="replace") as log:
            return log.read().count(text)
