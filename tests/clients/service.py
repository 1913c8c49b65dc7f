"""health-api on a listening socket that the tests hold, as systemd does. The socket outlives every restart of the
program."""
import os
import socket

from harness.backend import CHECKS, Backend
from harness.wait import wait_until

BACKLOG = 511  # as in systemd/health-api.socket

# The database is not the subject of these tests. It gets time on a machine that the web servers keep busy.
PATIENT = {"HEALTH_QUERY_TIMEOUT": "5s", "HEALTH_CONNECT_TIMEOUT": "5s", "HEALTH_HUNG_AFTER": "5s", "HEALTH_STALE_AFTER": "20s"}

# sd_listen_fds(3): the socket is fd 3, and LISTEN_PID names the process itself.
AS_SYSTEMD = ("sh", "-c", 'exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0"')


def listen_unix(path):
    """A listening socket that every user may connect to."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen(BACKLOG)
    return listener


def listen_tcp():
    return socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)


class Service:
    """A program in directory that serves the listener. It gets a Unix socket as systemd passes it, and a TCP socket as fd
    0."""

    def __init__(self, directory, listener, **settings):
        os.makedirs(directory)
        self.listener = listener
        self.address = listener.getsockname()
        self.backend = Backend(directory, HEALTH_LISTEN=None, HEALTH_CHECKS=CHECKS, **settings)
        self.backend.address = self.address

    def start(self):
        wrapper = AS_SYSTEMD if self.listener.family == socket.AF_UNIX else ()
        self.backend.start(wait=False, wrapper=wrapper, stdin=self.listener)
        return self

    def wait_status(self, status):
        wait_until(self.backend.accepts, 10, "the program accepts connections")
        self.backend.wait_status(status)
        return self

    def restart(self):
        """Stops the program with SIGTERM, and starts the next one on the same socket. Returns when that one has probed
        the database."""
        assert self.backend.stop() == 0, self.backend.log()[-3000:]
        self.start().wait_status("healthy")

    def stop(self):
        """Call it before closing the listener, which belongs to the caller."""
        assert self.backend.stop() == 0, self.backend.log()[-3000:]
