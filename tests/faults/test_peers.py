"""Peers that are not a database, and a database behind a bad network."""
import contextlib
import os
import signal
import socket
import statistics
import struct
import subprocess
import time

import pytest
from harness import process
from harness.backend import SANITIZED
from harness.peers import (AUTH_OK, READY, WELCOME, Peer, Proxy, Resetting, Saying, message, parameter, receive_question)
from harness.wait import hold_for, wait_until
from harness.webserver import free_port

from .conftest import assert_quick, listen_on_tcp

INTERVAL = 2.0
LATER = INTERVAL + 1.5
LONGEST_PAUSE = 2.2  # between two logins, with jitter
ONE = "-- check: one\nSELECT 1;\n"
DEBATES = "-- check: debates\nSELECT count(*) FROM debates;\n"
SOCKET = ".s.PGSQL.5432"

ROW = message(b"T", struct.pack(">H", 1) + b"n\0" + struct.pack(">IHIhih", 0, 0, 20, 8, -1, 0))
DONE = message(b"C", b"SELECT 1\0")
PARSED = message(b"1") + message(b"2")


def value(text):
    return message(b"D", struct.pack(">HI", 1, len(text)) + text)


def answer(rows):
    """The messages that answer the first query of a pipeline, up to its row."""
    return PARSED + ROW + rows


def notice(text=b"x" * 500):
    return message(b"N", b"SNOTICE\0VNOTICE\0C00000\0M" + text + b"\0\0")


RECOVERY = PARSED + ROW.replace(b"n\0", b"p\0") + value(b"t") + DONE + READY


def answering(check):
    """Answers every question well, but a check with these bytes, after its settings."""
    def answer_to(asked):
        if b"pg_is_in_recovery" in asked:
            return RECOVERY
        return PARSED + ROW + value(b"4711") + DONE + check + READY if b"set_config" in asked else READY
    return answer_to


GOOD = answering(PARSED + ROW + value(b"12") + DONE)
PARAMETER = parameter(b"name", b"x" * 1000)
NOTIFICATION = message(b"A", struct.pack(">I", 1) + b"channel\0payload\0")

# libpq allocates as much as a message announces. The allocator of a sanitizer may take seconds for the larger size, and then
# `stale` is the truth.
HUGE = (64 if SANITIZED else 768) << 20

HOSTILE = {
    "http_server": dict(hello=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "tls_only_server": dict(hello=b"\x15\x03\x01\x00\x02\x02\x0a"),
    "ssh_server": dict(hello=b"SSH-2.0-OpenSSH_9.2\r\n"),
    "protocol_2_ready": dict(hello=b"R" + struct.pack(">I", 0) + b"Z"),
    "protocol_2_error": dict(hello=b"EFATAL:  unsupported frontend protocol\n\0"),
    "zeros": dict(hello=b"\0" * 4096),
    "unknown_message": dict(answer=message(b"@", b"what")),
    "negative_length": dict(answer=b"D\xff\xff\xff\xff"),
    "row_without_description": dict(answer=PARSED + value(b"1") + DONE + READY),
    "ready_too_early": dict(answer=READY),
    "copy_out": dict(answer=PARSED + message(b"H", struct.pack(">BH", 0, 0)), flood=message(b"d", b"x" * 1000)),
    "copy_in": dict(answer=PARSED + message(b"G", struct.pack(">BH", 0, 0))),
    "copy_both": dict(answer=PARSED + message(b"W", struct.pack(">BH", 0, 0))),
    "huge_row": dict(answer=answer(b"D" + struct.pack(">IHI", HUGE, 1, HUGE - 10)), flood=b"x" * 65536),
    "many_rows": dict(answer=PARSED + ROW, flood=value(b"1")),
    "flood_of_notices_while_connecting": dict(hello=AUTH_OK, flood=notice(), waits=False),
    "flood_of_notices_in_a_round": dict(flood=notice()),
    "flood_of_notices_when_idle": dict(answer=GOOD, flood=notice()),
    "flood_of_parameters_while_connecting": dict(hello=AUTH_OK, flood=PARAMETER, waits=False),
    "flood_of_parameters_in_a_round": dict(flood=PARAMETER),
    "flood_of_parameters_when_idle": dict(answer=GOOD, flood=PARAMETER),
    "flood_of_notifications_before_a_round": dict(flood=NOTIFICATION, waits=False),
    "flood_of_notifications_in_a_round": dict(flood=NOTIFICATION),
    "flood_of_notifications_when_idle": dict(answer=GOOD, flood=NOTIFICATION),
}


@pytest.fixture
def address(directory, cluster):
    """A directory with the real server's socket, until a test replaces it."""
    path = os.path.join(directory, "pg")
    os.mkdir(path)
    lead_to(cluster, path)
    return path


def lead_to(cluster, address):
    os.symlink(os.path.join(cluster.directory, SOCKET), os.path.join(address, SOCKET))


@pytest.mark.parametrize("name", HOSTILE)
def test_malformed(start_backend, checks_file, cluster, address, name, fault):
    """A hostile server replaces the real one for a while."""
    backend = start_backend(HEALTH_CHECKS=checks_file(DEBATES), PGHOST=address, PGSSLMODE="disable")
    assert backend.wait_status("healthy")["counts"] == {"debates": 200}
    before_kib = backend.rss_kib()
    os.unlink(os.path.join(address, SOCKET))
    with Saying(address, **HOSTILE[name]) as peer:
        fault.injected()
        cluster.terminate_probes()
        fault.expect(backend, LATER, ("database", "malformed"))
        wait_until(lambda: peer.connections >= 3, 20, "further logins")
        assert_quick(backend)
    lead_to(cluster, address)
    fault.healed(backend, LONGEST_PAUSE + 1, counts={"debates": 200})
    if not SANITIZED:
        assert backend.peak_rss_kib() - before_kib < 4096


SO_SNDBUFFORCE = 32  # socket(7); Python has no name for it


class Deaf(Saying):
    """Reads nothing after the startup packet, and sends more than the client has room for: 32 MiB wait in the socket
    before the client, which is stopped meanwhile, reads the first byte."""

    client_pid = None

    def handle(self, client):
        client.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 32 << 20)
        client.recv(8192)
        client.sendall(WELCOME)
        receive_question(client)
        os.kill(self.client_pid, signal.SIGSTOP)
        try:
            client.sendall(RECOVERY + b"N" + struct.pack(">I", 800 << 20))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    client.send(b"x" * 65536)
        finally:
            os.kill(self.client_pid, signal.SIGCONT)
        self.closing.wait()


@pytest.mark.skipif(SANITIZED or os.geteuid() != 0, reason="measures memory, and needs root for a long queue")
def test_a_server_that_sends_and_does_not_read(start_backend, checks_file, cluster, address):
    """libpq also reads while it cannot write. Even with long queries this must cost no memory."""
    long = f"-- check: debates\nSELECT count(*) FROM debates /* {'x' * 900_000} */;\n"
    backend = start_backend(HEALTH_CHECKS=checks_file(long), PGHOST=address, PGSSLMODE="disable")
    backend.wait_status("healthy")
    before_kib = backend.rss_kib()
    os.unlink(os.path.join(address, SOCKET))
    with Deaf(address) as peer:
        peer.client_pid = backend.pid
        cluster.terminate_probes()
        backend.wait_failing(("database", "malformed"))
        wait_until(lambda: peer.connections >= 3, 20, "another login")
    lead_to(cluster, address)
    backend.wait_status("healthy")
    assert backend.peak_rss_kib() - before_kib < 4096


def test_a_server_that_cannot_fork_lacks_resources(start_backend, checks_file, directory):
    """It reports that as in version 2 of the protocol: a text without SQLSTATE (postmaster.c,
    report_fork_failure_to_client)."""
    peer_directory = os.path.join(directory, "pg")
    said = b"Ecould not fork new process for connection: Resource temporarily unavailable\n\0"
    with Saying(peer_directory, hello=said, waits=False):
        backend = start_backend(HEALTH_CHECKS=checks_file(ONE), PGHOST=peer_directory)
        backend.wait_failing(("database", "resources"))


@pytest.mark.parametrize("text, reason", [("no more connections allowed (max_client_conn)", "saturated"),
                                          ("no such user: health_api", "access"), ("no such database: nowhere", "access"),
                                          ("password authentication failed", "access"), ("pgbouncer cannot connect to server", "unreachable")])
def test_the_text_of_a_refusal_by_pgbouncer_gives_the_reason(start_backend, checks_file, directory, text, reason):
    """The SQLSTATE is always the same."""
    peer_directory = os.path.join(directory, "pg")
    said = message(b"E", b"SFATAL\0VFATAL\0C08P01\0M" + text.encode() + b"\0\0")
    with Saying(peer_directory, hello=said, waits=False):
        backend = start_backend(HEALTH_CHECKS=checks_file(ONE), PGHOST=peer_directory)
        backend.wait_failing(("database", reason))
        assert text in backend.events("database failed")[0]["detail"]


@pytest.mark.parametrize("severity", ["\u0412\u0410\u0416\u041d\u041e", "\u81f4\u547d\u9519\u8bef", "FATALE"])
def test_a_server_that_speaks_another_language(start_backend, checks_file, directory, severity):
    peer_directory = os.path.join(directory, "pg")
    said = message(b"E", b"S" + severity.encode() + b"\0VFATAL\0C53300\0Mno\0\0")
    with Saying(peer_directory, hello=said, waits=False):
        backend = start_backend(HEALTH_CHECKS=checks_file(ONE), PGHOST=peer_directory)
        backend.wait_failing(("database", "saturated"))


@pytest.mark.parametrize("check", [
    PARSED + ROW + value(b"1\0002") + DONE,
    PARSED + message(b"I"),
], ids=["nul_byte", "empty_query"])
def test_an_answer_that_is_not_a_count_fails_only_the_check(start_backend, checks_file, directory, check):
    peer_directory = os.path.join(directory, "pg")
    with Saying(peer_directory, answer=answering(check)):
        backend = start_backend(HEALTH_CHECKS=checks_file(ONE), PGHOST=peer_directory)
        backend.wait_failing(("one", "malformed"))


# In a query 08P01 means a parameter without a value.
SAID_IN_QUERY = {"08P01": "query_error"}
SAID = {"08P01": "unreachable", "28P01": "access", "3D000": "access", "42501": "access", "42P01": "schema",
        "42703": "schema", "42883": "schema", "3F000": "schema", "53300": "saturated", "53200": "resources",
        "57P03": "restarting", "57014": "query_timeout", "55P03": "query_timeout", "58P01": "corrupt", "XX001": "corrupt",
        "XX002": "corrupt", "0A000": "query_error", "XX000": "query_error"}


def refusal(severity, sqlstate):
    severity, sqlstate = severity.encode(), sqlstate.encode()
    return message(b"E", b"S" + severity + b"\0V" + severity + b"\0C" + sqlstate + b"\0Mno\0\0")


@pytest.mark.parametrize("sqlstate", SAID)
def test_the_reason_for_each_sqlstate_at_login_and_in_a_query(start_backend, checks_file, address, sqlstate):
    """All reasons that come from a SQLSTATE; the other tests cause the real faults."""
    os.unlink(os.path.join(address, SOCKET))
    with Saying(address, hello=refusal("FATAL", sqlstate)):
        backend = start_backend(HEALTH_CHECKS=checks_file(ONE), PGHOST=address)
        backend.wait_failing(("database", SAID[sqlstate]))
    with Saying(address, answer=answering(PARSED + refusal("ERROR", sqlstate))):
        backend.wait_failing(("one", SAID_IN_QUERY.get(sqlstate, SAID[sqlstate])))


class Dropping(Peer):
    """Accepts every login, and closes the connection at the first question."""

    def handle(self, client):
        client.recv(8192)
        client.sendall(WELCOME)
        client.recv(8192)


def test_a_peer_that_lets_us_in_and_drops_each_question_is_unreachable(start_backend, checks_file, directory):
    with Dropping(os.path.join(directory, "peer")) as peer:
        backend = start_backend(HEALTH_CHECKS=checks_file(ONE), PGHOST=peer.directory)
        backend.wait_failing(("database", "unreachable"), deadline_s=5)
        before, began = peer.connections, time.monotonic()
        hold_for(lambda: backend.ask().status == 503, 3, "503")
        assert peer.connections - before <= (time.monotonic() - began) / 0.25 + 1, "the logins are a busy loop"


def test_a_fake_that_answers_well_is_healthy(start_backend, checks_file, directory):
    """The fakes above differ from this one only by their fault."""
    peer_directory = os.path.join(directory, "pg")
    with Saying(peer_directory, answer=GOOD):
        backend = start_backend(HEALTH_CHECKS=checks_file(ONE), PGHOST=peer_directory)
        assert backend.wait_status("healthy", 3)["counts"] == {"one": 12}


@pytest.fixture
def proxied(start_backend, cluster, directory):
    """A healthy program whose database is behind a proxy."""
    with Proxy(os.path.join(directory, "pg"), cluster.directory) as proxy:
        backend = start_backend(PGHOST=proxy.directory, HEALTH_RECONNECT_EVERY="2s")
        backend.wait_status("healthy")
        yield backend, proxy
        backend.stop()


@pytest.mark.parametrize("mode, failing", [
    ("hold", [("database", "hung")]),
    ("drip", [("database", "hung"), ("database", "connect_timeout")]),
    ("cut", [("database", "unreachable")]),
])
def test_network(proxied, fault, mode, failing):
    backend, proxy = proxied
    proxy.mode = mode
    fault.injected()
    # A login that proceeds byte by byte may take twice its limit.
    fault.expect(backend, LATER + (1.5 if mode == "drip" else 0), *failing)
    assert_quick(backend)
    hold_for(lambda: backend.ask().status == 503, 3, "503 while it lasts")
    proxy.mode = "pass"
    fault.healed(backend, 5)


@pytest.mark.parametrize("after", [1, 30, 100])
def test_a_reset_in_mid_answer(start_backend, cluster, fault, after):
    with Resetting(cluster.directory) as peer:
        backend = start_backend(PGHOST="127.0.0.1", PGPORT=peer.port, PGSSLMODE="disable")
        backend.wait_status("healthy")
        peer.after = after
        fault.injected()
        fault.expect(backend, LATER, ("database", "unreachable"))
        assert_quick(backend)
        hold_for(lambda: backend.ask().status == 503, 2, "503 while it lasts")
        peer.after = None
        fault.healed(backend, LONGEST_PAUSE + 1)


def assert_gone_in_time(backend):
    """The process ends within HEALTH_STOP_TIMEOUT, plus the time that ThreadSanitizer needs."""
    began = time.monotonic()
    assert backend.stop() == 0
    assert time.monotonic() - began < (5 if SANITIZED else 3)


@pytest.mark.parametrize("mode", ["hold", "drip", "cut"])
def test_sigterm_while_the_network_is_bad(proxied, mode):
    backend, proxy = proxied
    proxy.mode = mode
    wait_until(lambda: backend.ask().status == 503, 15, "503")
    assert_gone_in_time(backend)


@pytest.mark.parametrize("name", ["huge_row", "flood_of_notices_in_a_round", "flood_of_notices_while_connecting",
                                  "copy_out", "http_server"])
def test_sigterm_while_the_server_is_hostile(start_backend, checks_file, directory, name):
    peer_directory = os.path.join(directory, "pg")
    with Saying(peer_directory, **HOSTILE[name]):
        backend = start_backend(HEALTH_CHECKS=checks_file(ONE), PGHOST=peer_directory, PGSSLMODE="disable")
        backend.wait_failing(("database", "malformed"))
        assert_gone_in_time(backend)


def test_real_servers_that_are_not_postgresql(start_backend, checks_file, directory, nginx):
    """An HTTP server shows by its first bytes what it is. A TLS server closes the connection without a byte."""
    def openssl(*argv):
        subprocess.run(["openssl", *argv], check=True, capture_output=True, cwd=directory)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "crt", "-subj", "/CN=x")
    port = free_port()
    server = process.start(["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-key", "key", "-cert", "crt"],
                           log=os.path.join(directory, "s_server.log"), cwd=directory)
    try:
        for mode in ("prefer", "disable", "require"):
            for place, reached, reason in ((f"http-{mode}", nginx.port, "malformed"), (f"tls-{mode}", port, "unreachable")):
                backend = start_backend(place=place, HEALTH_CHECKS=checks_file(ONE), PGHOST="127.0.0.1", PGPORT=reached,
                                        PGSSLMODE=mode)
                backend.wait_failing(("database", reason))
    finally:
        process.end(server)


def test_a_server_that_accepts_and_says_nothing(start_backend, cluster, address, fault):
    backend = start_backend(PGHOST=address)
    backend.wait_status("healthy")
    os.unlink(os.path.join(address, SOCKET))
    with Saying(address, hello=b""):
        fault.injected()
        cluster.terminate_probes()
        fault.expect(backend, LATER, ("database", "connect_timeout"))
        assert_quick(backend)
    lead_to(cluster, address)
    fault.healed(backend, LONGEST_PAUSE + 1)


@pytest.fixture
def on_tcp(start_backend, own_cluster):
    """A healthy program whose database is a port of 127.0.0.1, and that port."""
    own_cluster.stop("fast")
    port = listen_on_tcp(own_cluster, "host all health_api 127.0.0.1/32 scram-sha-256")
    own_cluster.start()
    backend = start_backend(**own_cluster.environment(PGHOST="127.0.0.1", PGPORT=port))
    backend.wait_status("healthy")
    return backend, port


def test_a_black_hole(on_tcp, fault):
    """The firewall drops the packets to the server: it resets no old connection, and neither refuses nor answers a new
    one."""
    if os.geteuid() != 0:
        pytest.skip("needs root to drop packets")
    backend, port = on_tcp
    rule = ["INPUT", "-i", "lo", "-p", "tcp", "--dport", str(port), "-j", "DROP"]
    if subprocess.run(["iptables", "-w", "-I", *rule], capture_output=True, check=False).returncode != 0:
        pytest.skip("iptables does not work here")
    try:
        fault.injected()
        fault.expect(backend, LATER, ("database", "hung"))
        assert_quick(backend)
        hold_for(lambda: backend.ask().status == 503, 3, "503 while it lasts")
    finally:
        subprocess.run(["iptables", "-w", "-D", *rule], check=True)
    fault.healed(backend, LONGEST_PAUSE + 1 + 1)  # a login may have begun just before


def test_a_stuck_name_resolution_is_unreachable(start_backend, cluster, fault, directory):
    """getaddrinfo never returns, not even with an error; the program waits only for HEALTH_CONNECT_TIMEOUT."""
    source = os.path.join(directory, "stuck.c")
    library = os.path.join(directory, "stuck.so")
    with open(source, "w", encoding="ascii") as file:
        file.write("#include <netdb.h>\n#include <unistd.h>\n"
                   "int getaddrinfo(const char *n, const char *s, const struct addrinfo *h, struct addrinfo **r)\n"
                   "{ (void)n; (void)s; (void)h; (void)r; for (;;) pause(); }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    if SANITIZED:
        pytest.skip("a sanitizer's runtime must be loaded first")
    fault.injected()
    backend = start_backend(PGHOST="db.example", LD_PRELOAD=library)
    backend.wait_failing(("database", "unreachable"), deadline_s=2.5)
    fault.record("database unreachable", time.monotonic() - fault.began, 2.5)
    assert backend.ask("/api/health/live").status == 200
    assert_quick(backend)
    assert backend.stop() == 0


def test_detection_of_a_server_that_goes_away(start_backend, cluster, directory):
    """The median over twenty times. Each time a proxy resets the idle connection, and is gone."""
    times, usual = [], []
    for round_number in range(20):
        proxy = Proxy(os.path.join(directory, f"pg{round_number}"), cluster.directory)
        with proxy:
            if round_number == 0:
                link = os.path.join(directory, "link")
                os.symlink(proxy.directory, link)
                backend = start_backend(PGHOST=link, HEALTH_INTERVAL="1s")
            else:
                os.unlink(link)
                os.symlink(proxy.directory, link)
            backend.wait_status("healthy")
            began = time.monotonic()
            backend.ask()
            usual.append(time.monotonic() - began)
            began = time.monotonic()  # leaving the block resets the connection
        wait_until(lambda: backend.ask().status == 503, 5, "503")
        times.append(time.monotonic() - began)
    # On a busy machine everything takes longer: the end of the proxy's threads, the program, the test's own turns.
    assert statistics.median(times) < 0.020 + 5 * statistics.median(usual), (times, usual)
