"""connections_used, oldest_transaction and xid_age: what clients do to a server. The last one also refuses writes."""
import contextlib
import os
import subprocess
import threading

import psycopg2
import psycopg2.extras
import pytest
from harness.backend import SANITIZED
from harness.cluster import SERVER_USER
from harness.wait import wait_until

from .conftest import commit, failed, healthy, setting

pytestmark = [pytest.mark.long, pytest.mark.skipif(SANITIZED, reason="is about what the server does"),
              pytest.mark.xdist_group("library")]  # the tests share their servers


@pytest.fixture
def walsender(primary):
    """A walsender with a database, as a logical subscription has one."""
    connection = psycopg2.connect(host=primary.directory, user="postgres", dbname=primary.database,
                                  connection_factory=psycopg2.extras.LogicalReplicationConnection)
    with contextlib.closing(connection):
        yield


def test_connections_are_counted_as_the_server_limits_them(wait_for, granted, primary, standby, walsender):
    """Walsenders have a limit of their own. Without pg_read_all_stats the login does not see what they are."""
    usable = 40 - 3  # max_connections of the harness, superuser_reserved_connections
    for statement in ("REVOKE pg_read_all_stats FROM health_api", "GRANT pg_read_all_stats TO health_api"):
        primary.execute(statement)
        wait_until(lambda: primary.execute("SELECT count(*) FROM pg_stat_replication") == [(2,)], 20, "walsenders")
        wait_for(primary, "connections_used", lambda answer: answer.is_healthy and answer.value == 100 // usable)
    held = []
    try:
        while len(held) < 30:
            held.append(primary.connect())
        wait_for(primary, "connections_used", lambda answer: answer.has_failed() and answer.value == 100 * 31 // usable)
    finally:
        for connection in held:
            connection.close()
    wait_for(primary, "connections_used", healthy)


@contextlib.contextmanager
def parallel_worker(server):
    """A session whose query runs in a worker."""
    name = "debug_parallel_query" if server.major_version >= 16 else "force_parallel_mode"

    def sleep():
        with contextlib.suppress(psycopg2.errors.QueryCanceled):
            connection.cursor().execute("SELECT pg_sleep(60)")
    with contextlib.closing(server.connect()) as connection:
        connection.cursor().execute(f"SET {name} = on")
        thread = threading.Thread(target=sleep)
        thread.start()
        try:
            working = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'"
            wait_until(lambda: server.execute(working) == [(1,)], 10, "the worker")
            yield
        finally:
            connection.cancel()
            thread.join(10)


def test_a_worker_counts_only_as_long_as_the_login_cannot_tell(wait_for, granted, primary):
    usable = 40 - 3
    with parallel_worker(primary):
        wait_for(primary, "connections_used", lambda answer: answer.value == 100 * 2 // usable)
        primary.execute("REVOKE pg_read_all_stats FROM health_api")
        wait_for(primary, "connections_used", lambda answer: answer.value == 100 * 3 // usable)


def test_a_slow_autovacuum_is_not_taken_for_an_open_transaction_of_a_client(wait_for, granted, primary):
    primary.execute("CREATE TABLE vast WITH (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
                    " AS SELECT n FROM generate_series(1, 100000) n; DELETE FROM vast")
    began = ("SELECT min(xact_start) < now() - interval '1 s' FROM pg_stat_activity"
             " WHERE backend_type = 'autovacuum worker'")
    try:
        with setting(primary, autovacuum="on", autovacuum_naptime="1s"):
            wait_until(lambda: primary.execute(began)[0][0], 20, "an autovacuum that takes long")
            wait_for(primary, "oldest_transaction", healthy, limit=0)
            assert primary.execute(began) == [(True,)]
    finally:
        primary.execute("DROP TABLE vast")


def test_an_open_transaction_of_another_user_and_database_is_seen(wait_for, granted, primary):
    wait_for(primary, "oldest_transaction", healthy, limit=0)
    with contextlib.closing(primary.connect("postgres")) as connection:
        connection.cursor().execute("BEGIN")
        assert wait_for(primary, "oldest_transaction", failed, limit=0) >= 1
    wait_for(primary, "oldest_transaction", healthy, limit=0)


def test_a_prepared_transaction_without_a_session_is_seen(wait_for, granted, primary):
    with contextlib.closing(primary.connect()) as connection:
        for statement in ("BEGIN", "CREATE TABLE prepared ()", "PREPARE TRANSACTION 'forgotten'"):
            connection.cursor().execute(statement)
    try:
        assert wait_for(primary, "oldest_transaction", failed, limit=0) >= 1
    finally:
        primary.execute("ROLLBACK PREPARED 'forgotten'")
    wait_for(primary, "oldest_transaction", healthy, limit=0)


XIDS_OF_A_FILE = 32 * 8192 * 4  # pg_xact has two bits for each transaction


def advance_xid(server, files):
    """Makes a stopped server go on with the first transaction id of this file of pg_xact."""
    path = os.path.join(server.data, "pg_xact", f"{files:04X}")
    subprocess.run(["install", "-m", "600", *(["-o", SERVER_USER] if SERVER_USER else []), "/dev/null", path],
                   check=True)
    os.truncate(path, 32 * 8192)
    server.run("pg_resetwal", "-x", str(files * XIDS_OF_A_FILE), "-D", server.data)


def test_transaction_ids_that_get_old_and_run_out(ask, simple):
    assert ask(simple, "xid_age").is_healthy
    simple.execute("UPDATE pg_database SET datallowconn = true")
    # Autovacuum would freeze them all.
    simple.configure("autovacuum_freeze_max_age = 2000000000", "autovacuum_naptime = 1h")
    for files, exhausted in ((1050, False), (2046, True)):
        simple.stop("fast")
        advance_xid(simple, files)
        simple.start()
        answer = ask(simple, "xid_age")
        assert answer.has_failed() and abs(answer.value - files * XIDS_OF_A_FILE) < 10000, answer
        writes = ask(simple, "writes_refused")
        if exhausted:
            assert writes.has_failed() and writes.value == 4, writes
            with pytest.raises(psycopg2.OperationalError) as refused:
                commit(simple)
            assert refused.value.pgcode == "54000"
        else:
            assert writes.is_healthy, writes
            commit(simple)
    for (database,) in simple.execute("SELECT datname FROM pg_database"):
        simple.execute("VACUUM (FREEZE)", database=database)
    assert ask(simple, "xid_age").is_healthy and ask(simple, "writes_refused").is_healthy
    commit(simple)
