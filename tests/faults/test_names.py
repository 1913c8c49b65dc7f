"""Names of servers: a name with several addresses, and a resolver that is slow, is dead, or changes its answer."""
import os
import signal
import socket
import time

import pytest
from harness import backend as program
from harness.backend import SANITIZED
from harness.cluster import PASSWORD
from harness.nameserver import NameServer
from harness.wait import hold_for, wait_until

from .conftest import listen_on_tcp

NAME = "db.test"
# getaddrinfo sorts the addresses, and puts the nearest to its source address 127.0.0.1 first: the silent one.
SERVER, SECOND = "127.0.0.2", "127.0.0.1"
CONNECT_TIMEOUT_S, QUERY_TIMEOUT_S = 1.5, 0.8
NEVER_ENDED = f'could not translate host name "{NAME}" to address: the lookup has not ended within HEALTH_CONNECT_TIMEOUT'


@pytest.fixture
def names(directory):
    if os.geteuid() != 0:
        pytest.skip("a mount namespace and port 53 need root")
    with NameServer(directory, [SERVER]) as server:
        yield server


@pytest.fixture
def server(own_cluster):
    """A server that listens only on this address, over TCP."""
    own_cluster.stop()
    own_cluster.port = listen_on_tcp(own_cluster, "host all health_api 127.0.0.0/8 scram-sha-256",
                                     "log_connections = on", f"listen_addresses = '{SERVER}'")
    own_cluster.start()
    return own_cluster


@pytest.fixture
def silent(server):
    """A listener on another address at the same port, which accepts connections and never sends a byte."""
    with socket.socket() as listener:
        listener.bind((SECOND, server.port))
        listener.listen(64)
        yield SECOND


def environment(server, host=NAME):
    return {"PGHOST": host, "PGPORT": server.port, "PGUSER": "health_api", "PGDATABASE": "knowledge",
            "PGPASSWORD": PASSWORD, "HEALTH_CHECKS": program.CHECKS}


def start(start_backend, names, server, **settings):
    return start_backend(popen={"wrapper": names.wrapper()}, **environment(server), **settings)


def database(backend):
    return backend.document("/api/status")["database"]


def login_count(server):
    return sum("connection authorized" in line and "user=health_api" in line for line in server.log_lines())


def stays_healthy_over_logins(backend, names, logins):
    """Each login begins the next lookup. Every response meanwhile is a 200."""
    before = names.questions

    def goes_on():
        assert backend.ask().status == 200, backend.document()
        return names.questions >= before + 2 * logins  # A and AAAA
    wait_until(goes_on, 60, f"{logins} lookups")


def test_a_name_with_a_silent_address_first(names, server, silent, start_backend):
    names.addresses = [silent, SERVER]
    backend = start(start_backend, names, server, HEALTH_RECONNECT_EVERY="1s")
    began = time.monotonic()
    backend.wait_status("healthy", 10)
    assert time.monotonic() - began < CONNECT_TIMEOUT_S + 2.5
    stays_healthy_over_logins(backend, names, 4)
    found = database(backend)
    assert found["server"]["host"] == NAME and found["server"]["address"] == SERVER
    assert found["addresses"] == [f"{address}:{server.port}" for address in (SERVER, silent)]
    assert found["resolver"]["error"] is None and found["resolver"]["resolved_at"]
    assert not backend.events("database failed")


def test_a_slow_resolver_delays_no_login(names, server, start_backend):
    names.delay_s = 1.2
    backend = start(start_backend, names, server, HEALTH_RECONNECT_EVERY="1s", HEALTH_CONNECT_TIMEOUT="3s", HEALTH_STALE_AFTER="10s")
    backend.wait_status("healthy", 10)
    stays_healthy_over_logins(backend, names, 4)
    found = database(backend)
    assert found["connect_ms"] < 1000 and found["resolver"]["duration_ms"] >= 1000
    assert not backend.events("database failed")


def test_a_resolver_that_dies_changes_no_status(names, server, start_backend):
    backend = start(start_backend, names, server, HEALTH_RECONNECT_EVERY="1s")
    backend.wait_status("healthy", 10)
    names.dead = True
    error = wait_until(lambda: database(backend)["resolver"]["error"], 10, "the dead resolver is noticed")
    assert error == NEVER_ENDED
    logins = login_count(server)
    hold_for(lambda: backend.ask().status == 200, 5)
    assert login_count(server) >= logins + 3
    names.dead = False
    wait_until(lambda: database(backend)["resolver"]["error"] is None, 30, "the resolver is back")
    assert len(backend.events("name resolution failed")) == len(backend.events("name resolution recovered")) == 1
    assert not backend.events("database failed")


def test_a_silent_server_is_told_with_the_lookup_that_does_not_end(names, server, start_backend):
    """It may be silent because its name leads elsewhere by now."""
    backend = start(start_backend, names, server, HEALTH_RECONNECT_EVERY="1s")
    backend.wait_status("healthy", 10)
    names.dead = True
    wait_until(lambda: database(backend)["resolver"]["error"], 10, "the dead resolver is noticed")
    os.kill(server.postmaster_pid, signal.SIGSTOP)
    try:
        backend.wait_failing(("database", "connect_timeout"))
        detail = backend.events("database failed")[0]["detail"]
        assert detail == f"the server did not let us in within HEALTH_CONNECT_TIMEOUT; {NEVER_ENDED}"
    finally:
        os.kill(server.postmaster_pid, signal.SIGCONT)


def test_a_resolver_that_is_dead_from_the_start(names, server, start_backend):
    names.dead = True
    backend = start(start_backend, names, server)
    began = time.monotonic()
    backend.wait_failing(("database", "unreachable"), deadline_s=10)
    assert time.monotonic() - began < (2 if not SANITIZED else 4) * CONNECT_TIMEOUT_S
    assert backend.ask("/api/health/live").status == 200
    assert database(backend)["resolver"]["error"] == NEVER_ENDED
    assert [event["detail"] for event in backend.events("database failed")] == [NEVER_ENDED]
    assert backend.events("name resolution failed")[0]["detail"] == NEVER_ENDED
    names.dead = False
    backend.wait_status("healthy", 40)


def test_a_name_that_does_not_exist_is_reported_as_psql_does(names, server, start_backend):
    names.addresses = []
    backend = start(start_backend, names, server)
    backend.wait_failing(("database", "unreachable"), deadline_s=10)
    assert f'could not translate host name "{NAME}" to address' in backend.events("database failed")[0]["detail"]
    names.addresses = [SERVER]
    backend.wait_status("healthy", 10)


def test_a_name_that_moves_is_followed(names, server, start_backend):
    names.addresses = ["127.0.0.9"]  # no server listens there
    backend = start(start_backend, names, server)
    backend.wait_failing(("database", "unreachable"), deadline_s=10)
    names.addresses = [SERVER]
    backend.wait_status("healthy", 10)
    assert database(backend)["addresses"] == [f"{SERVER}:{server.port}"]


def test_it_stops_at_once_while_the_resolver_hangs(names, server, start_backend):
    names.dead = True
    backend = start(start_backend, names, server)
    wait_until(lambda: names.questions > 0, 10, "the lookup has begun")
    began = time.monotonic()
    assert backend.stop() == 0
    assert time.monotonic() - began < 2.5  # the alarm would end it after 3 s


def test_once_goes_on_from_a_silent_host(server, silent):
    began = time.monotonic()
    done = program.run("--once", **environment(server, f"{silent},{SERVER}"))
    assert done.returncode == 0, done
    assert time.monotonic() - began < 2 * CONNECT_TIMEOUT_S + QUERY_TIMEOUT_S


def test_once_ends_although_every_host_is_silent(server, silent):
    began = time.monotonic()
    done = program.run("--once", **environment(server, f"{silent},{silent}"))
    assert done.returncode == 1 and '"reason":"connect_timeout"' in done.stdout.replace(" ", ""), done
    assert time.monotonic() - began < 2 * CONNECT_TIMEOUT_S + QUERY_TIMEOUT_S + 1


def test_cgi_goes_on_from_a_silent_host(server, silent):
    done = program.run(GATEWAY_INTERFACE="CGI/1.1", REQUEST_METHOD="GET", SCRIPT_NAME="/api/health",
                       **environment(server, f"{silent},{SERVER}"))
    assert "Status: 200" in done.stdout, done
