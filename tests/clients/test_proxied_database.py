"""HAProxy in front of PostgreSQL, which stops softly: it accepts no connection any more, and ends when the last one has
ended."""
import contextlib
import os
import signal

import pytest
from harness.backend import CHECKS, Backend
from harness.wait import wait_until
from harness.webserver import WebServer

from .servers import find
from .service import PATIENT


class DatabaseProxy(WebServer):
    def start(self, cluster):
        path = os.path.join(self.directory, "haproxy.conf")
        with open(path, "w", encoding="utf-8") as conf:
            conf.write(f"""
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen postgres
    bind 127.0.0.1:{self.port}
    server db unix@{cluster.directory}/.s.PGSQL.{cluster.port}
""")
        self._start([find("haproxy"), "-db", "-f", path])
        return self


@pytest.fixture
def proxied(own_cluster, directory):
    with contextlib.ExitStack() as stack:
        proxy = DatabaseProxy(directory)
        stack.callback(proxy.stop)
        proxy.start(own_cluster)
        settings = {**PATIENT, "PGHOST": "127.0.0.1", "PGPORT": proxy.port, "HEALTH_RECONNECT_EVERY": "1s"}
        backend = Backend(directory, **own_cluster.environment(HEALTH_CHECKS=CHECKS, **settings)).start()
        stack.callback(backend.stop)
        backend.wait_status("healthy")
        yield backend, proxy


def test_a_proxy_that_stops_softly_does_not_wait_for_our_session(proxied):
    backend, proxy = proxied
    proxy.process.send_signal(signal.SIGUSR1)
    backend.wait_failing(("database", "unreachable"))
    wait_until(lambda: proxy.process.poll() == 0, 10, "HAProxy has ended")
