"""The setups of users: primary and standby, PgBouncer, TLS, SCRAM, peer, service files and password files."""
import os
import shutil
import signal
import subprocess
import tempfile

import psycopg2
import pytest
from harness.cluster import PASSWORD, SERVER_USER
from harness.pgbouncer import PgBouncer
from harness.wait import hold_for, wait_until
from harness.webserver import free_port

from .conftest import listen_on_tcp

ONE = "-- check: debates\nSELECT count(*) FROM debates;\n"
INTERVAL = 2.0


@pytest.fixture
def pair(template, base):
    """A primary and a streaming standby, over TCP."""
    directory = tempfile.mkdtemp(dir=base)
    os.chmod(directory, 0o755)
    primary = template.copy_to(os.path.join(directory, "a"))
    hba = "host all health_api 127.0.0.1/32 scram-sha-256\nlocal replication postgres trust"
    primary.port = listen_on_tcp(primary, hba)
    primary.start()
    standby = primary.make_standby(os.path.join(directory, "b"))
    standby.port = free_port()
    standby.configure(f"port = {standby.port}")
    standby.start()
    yield primary, standby
    standby.destroy()
    primary.destroy()


def environment_of(pair, target):
    ports = ",".join(str(server.port) for server in pair)
    return {"PGHOST": "127.0.0.1,127.0.0.1", "PGPORT": ports, "PGUSER": "health_api", "PGDATABASE": "knowledge",
            "PGPASSWORD": PASSWORD, "PGTARGETSESSIONATTRS": target}


def promote(standby):
    connection = psycopg2.connect(host=standby.directory, port=standby.port, user="postgres", dbname="postgres")
    connection.autocommit = True
    connection.cursor().execute("SELECT pg_promote()")
    connection.close()


def test_a_promoted_standby_is_found_without_a_restart(pair, start_backend, checks_file, fault):
    primary, standby = pair
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), **environment_of(pair, "primary"))
    backend.wait_status("healthy")
    assert backend.document("/api/status")["database"]["in_recovery"] is False
    pid = primary.postmaster_pid
    fault.injected()
    os.kill(pid, signal.SIGQUIT)
    fault.expect(backend, INTERVAL, ("database", "unreachable"), ("database", "restarting"))
    hold_for(lambda: backend.ask().status == 503, 1, "503 while there is no primary")
    promote(standby)
    fault.healed(backend, INTERVAL + 2)
    assert backend.document()["counts"] == {"debates": 200}


def test_a_hung_primary_does_not_hide_the_promoted_standby(pair, start_backend, checks_file, fault):
    """libpq, when polled, never leaves a host that accepts and stays silent. So the next login must begin with another
    host."""
    primary, standby = pair
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), HEALTH_RECONNECT_EVERY="2s",
                            **environment_of(pair, "primary"))
    backend.wait_status("healthy")
    os.kill(primary.postmaster_pid, signal.SIGSTOP)
    fault.injected()
    fault.expect(backend, 2 + 3 * 1.5 + 1, ("database", "connect_timeout"), ("database", "unreachable"))
    promote(standby)
    fault.healed(backend, INTERVAL + 4)
    hold_for(lambda: backend.ask().status == 200, 5, "200 over reconnects while the first host hangs")


def test_the_log_and_the_status_say_which_of_several_servers_answers(pair, start_backend, checks_file):
    primary, standby = pair
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), **environment_of(pair, "any"))

    def expect(*servers):
        expected = [{"host": "127.0.0.1", "address": "127.0.0.1", "port": str(server.port), "database": "knowledge",
                     "user": "health_api"} for server in servers]
        told = lambda: [{key: event[key] for key in expected[0]} for event in backend.events("server connected")]  # noqa: E731
        wait_until(lambda: told() == expected, 10, f"{expected} in the log")
        wait_until(lambda: backend.document("/api/status")["database"]["server"] == expected[-1], 10, "the same in the status")
        assert not any(word in backend.ask().body.decode() for word in ("127.0.0.1", str(servers[-1].port), "health_api"))
    backend.wait_status("healthy")
    expect(primary)
    primary.stop("fast")
    backend.wait_status("healthy")
    expect(primary, standby)


def test_a_standby_shows_that_it_is_in_recovery(pair, start_backend, checks_file):
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), **environment_of(pair, "standby"))
    backend.wait_status("healthy")
    assert backend.document("/api/status")["database"]["in_recovery"] is True
    assert backend.document()["counts"] == {"debates": 200}


SETTINGS = ("statement_timeout", "lock_timeout", "default_transaction_read_only", "transaction_read_only",
            "client_connection_check_interval", "idle_in_transaction_session_timeout", "application_name",
            "search_path")


def settings_in(**where):
    """Returns the settings that a client with the probe's role sees, and the server process that it got. The client
    sets application_name, because PgBouncer itself leaves that of the previous client where it is not set."""
    connection = psycopg2.connect(user="health_api", password=PASSWORD, dbname="knowledge", application_name="other",
                                  **where)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("SELECT " + ", ".join(f"current_setting('{name}', true)" for name in SETTINGS) + ", pg_backend_pid()")
    *values, pid = cursor.fetchone()
    connection.close()
    return dict(zip(SETTINGS, values)), pid


def settings_of_a_fresh_session(cluster):
    return settings_in(host=cluster.directory)[0]


def settings_of_another_client(bouncer, cluster):
    """The settings of a client that gets the server connection which the probe has used. None if it gets a new one:
    PgBouncer closes the server connection of a session that ends during a ping."""
    settings, pid = settings_in(host=bouncer.directory, port=6432)
    probed = {line.split("[")[1].split("]")[0] for line in cluster.log_lines()
              if "set_config('statement_timeout'" in line}
    return settings if str(pid) in probed else None


def kill_between_rounds(backend, cluster):
    """Kills the program while it is idle: PgBouncer closes the server connection of a client that ends in a
    transaction."""
    def is_idle():
        return cluster.execute("SELECT bool_and(state = 'idle') FROM pg_stat_activity"
                               " WHERE application_name = 'health-api'") == [(True,)]

    def is_between():
        backend.process.send_signal(signal.SIGSTOP)
        idle = is_idle()
        hold_for(lambda: True, 0.1)  # until a question that was already sent is answered
        if idle and is_idle():
            return True
        backend.process.send_signal(signal.SIGCONT)
        return False
    wait_until(is_between, 10, "a moment between two rounds", interval_s=0.05)
    backend.process.kill()  # it is still stopped, so it sends nothing more
    backend.process.wait()


@pytest.mark.parametrize("pool_mode", ["session", "transaction", "statement"])
def test_pgbouncer(start_backend, own_cluster, directory, checks_file, fault, pool_mode):
    checks = ("-- check: limited\n-- timeout: 321ms\n"
              "SELECT count(*) FROM pg_settings WHERE name = 'statement_timeout' AND setting = '321';\n"
              "-- check: other\nSELECT count(*) FROM debates;\n")
    with PgBouncer(os.path.join(directory, "bouncer"), own_cluster, pool_mode) as bouncer:
        backend = start_backend(HEALTH_CHECKS=checks_file(checks), HEALTH_INTERVAL="300ms",
                                HEALTH_RECONNECT_EVERY="1s", **bouncer.environment())
        backend.wait_status("healthy")
        hold_for(lambda: backend.document()["counts"] == {"limited": 1, "other": 200}, 2, "healthy over reconnects")
        if pool_mode == "session":
            kill_between_rounds(backend, own_cluster)  # until then no other client gets its server connection
            assert settings_of_another_client(bouncer, own_cluster) == settings_of_a_fresh_session(own_cluster)
            backend.start()
            backend.wait_status("healthy")
        else:
            usual = settings_of_a_fresh_session(own_cluster)
            seen = []
            hold_for(lambda: seen.append(settings_of_another_client(bouncer, own_cluster)) is None, 1)
            judged = [settings for settings in seen if settings is not None]
            assert judged and all(settings == usual for settings in judged)
        own_cluster.execute("ALTER TABLE debates RENAME TO away")
        fault.injected()
        fault.expect(backend, 0.3 + 1.5, ("other", "schema"))
        own_cluster.execute("ALTER TABLE away RENAME TO debates")
        fault.healed(backend)


@pytest.fixture
def tls(template, base, directory):
    """A server that requires TLS, and its CA certificate."""
    server = template.copy_to(tempfile.mkdtemp(dir=base))
    run = lambda *argv: subprocess.run(["openssl", *argv], check=True, capture_output=True, cwd=directory)  # noqa: E731
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test ca",
        "-days", "2")
    run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost")
    with open(os.path.join(directory, "san"), "w", encoding="ascii") as file:
        file.write("subjectAltName=DNS:localhost\n")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out",
        "server.crt", "-days", "2", "-extfile", "san")
    for name in ("server.key", "server.crt"):
        path = shutil.copy(os.path.join(directory, name), server.data)
        os.chmod(path, 0o600)
        if SERVER_USER:
            shutil.chown(path, SERVER_USER, SERVER_USER)
    server.port = listen_on_tcp(server, "hostssl all health_api 127.0.0.1/32 scram-sha-256", "ssl = on")
    server.start()
    server.ca = os.path.join(directory, "ca.crt")
    yield server
    server.destroy()


def tls_environment(server, **changes):
    return server.environment(PGHOST="localhost", PGHOSTADDR="127.0.0.1", PGPORT=server.port,
                              PGSSLMODE="verify-full", PGSSLROOTCERT=server.ca, **changes)


def test_tls_with_verify_full_and_scram(start_backend, checks_file, tls):
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), **tls_environment(tls))
    assert backend.wait_status("healthy")["counts"] == {"debates": 200}


def test_tls_with_the_wrong_name_or_without_tls_is_degraded(start_backend, checks_file, tls):
    from harness.backend import run
    checks = checks_file(ONE)
    wrong_name = run("--once", HEALTH_CHECKS=checks, **{**tls_environment(tls), "PGHOST": "db.example"})
    assert (wrong_name.returncode, '"access"' in wrong_name.stdout) == (1, True)
    plain = run("--once", HEALTH_CHECKS=checks, **{**tls_environment(tls), "PGSSLMODE": "disable"})
    assert (plain.returncode, '"access"' in plain.stdout) == (1, True)


def test_peer_authentication(start_backend, checks_file, own_cluster, directory):
    if os.geteuid() != 0:
        pytest.skip("needs root to run as another user")
    own_cluster.write_hba("local all health_api peer map=probe\nlocal all postgres trust\n")
    with open(os.path.join(own_cluster.data, "pg_ident.conf"), "a", encoding="ascii") as file:
        file.write("probe nobody health_api\n")
    own_cluster.execute("SELECT pg_reload_conf()")
    os.chmod(directory, 0o777)
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), popen={"user": "nobody"},
                            **own_cluster.environment(PGPASSWORD=None))
    assert backend.wait_status("healthy")["counts"] == {"debates": 200}


def test_a_service_file_and_a_password_file(start_backend, checks_file, own_cluster, directory):
    service, passwords = (os.path.join(directory, name) for name in ("service.conf", "pgpass"))
    with open(service, "w", encoding="utf-8") as file:
        file.write(f"[probe]\nhost={own_cluster.directory}\nuser=health_api\ndbname=knowledge\n")
    with open(passwords, "w", encoding="utf-8") as file:
        file.write(f"*:*:*:health_api:{PASSWORD}\n")
    os.chmod(passwords, 0o600)
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), PGHOST=None, PGUSER=None, PGDATABASE=None, PGPASSWORD=None,
                            PGSERVICE="probe", PGSERVICEFILE=service, PGPASSFILE=passwords)
    assert backend.wait_status("healthy")["counts"] == {"debates": 200}


def test_the_encryption_that_a_service_file_asks_for_is_kept(start_backend, checks_file, own_cluster, directory):
    """There is no Kerberos here, so any login would be without encryption."""
    service = os.path.join(directory, "service.conf")
    with open(service, "w", encoding="utf-8") as file:
        file.write(f"[probe]\nhost={own_cluster.directory}\ngssencmode=require\n")
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE), **own_cluster.environment(
        PGHOST=None, PGSERVICE="probe", PGSERVICEFILE=service))
    backend.wait_status("degraded")
    assert own_cluster.probes() == []
    assert "GSSAPI" in backend.log()


def test_a_password_that_is_needed_and_missing_is_access(start_backend, checks_file, own_cluster):
    backend = start_backend(HEALTH_CHECKS=checks_file(ONE),
                            **own_cluster.environment(PGPASSWORD=None, PGPASSFILE="/dev/null"))
    backend.wait_failing(("database", "access"))
