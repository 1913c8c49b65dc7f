"""The checks of docs/write-outages.md, copied from there, and the ready ones that it names, notice a server that still
reads and no longer writes."""
import os
import re
import shutil
import threading

import psycopg2
import pytest
from harness.backend import CHECKS, SANITIZED
from harness.cluster import PASSWORD, ROOT, SERVER_USER
from harness.wait import hold_for, wait_until

pytestmark = pytest.mark.skipif(SANITIZED, reason="is about what the server does")

OLDEST_S = 5
DOCUMENT = os.path.join(ROOT, "docs", "write-outages.md")
READY = [os.path.join(ROOT, "sql", "library", name) for name in ("writes_refused.sql", "xid_age.sql")]


def blocks(language):
    with open(DOCUMENT, encoding="utf-8") as file:
        found = re.findall(rf"^```{language}\n(.*?)^```", file.read(), re.M | re.S)
    assert found, language
    return "\n".join(found)


class Writer(threading.Thread):
    """Writes again and again, and remembers the SQLSTATE of each refused write."""

    def __init__(self, cluster, sql):
        super().__init__(daemon=True)
        self.cluster, self.sql, self.refused, self.ended = cluster, sql, set(), threading.Event()

    def run(self):
        while not self.ended.wait(0.2):
            try:
                self.cluster.execute(self.sql)
            except psycopg2.Error as error:
                self.refused.add(error.pgcode)  # None: the server was not reachable


@pytest.fixture
def written(own_cluster, start_backend, checks_file):
    """A server with the heartbeat table and its writer, five clients of an application, and a backend with the shipped
    checks and those of the document."""
    own_cluster.execute(blocks("sql") + "CREATE TABLE application (at timestamptz)")
    text, count = re.subn(r"max: 15 ", f"max: {OLDEST_S} ", blocks("checks"))
    assert count == 1
    for path in (CHECKS, *READY):
        with open(path, encoding="utf-8") as file:
            text += file.read()
    writers = [Writer(own_cluster, "UPDATE heartbeat SET at = now()")]
    writers += [Writer(own_cluster, "INSERT INTO application VALUES (now())") for _ in range(5)]
    for writer in writers:
        writer.start()
    backend = start_backend(HEALTH_CHECKS=checks_file(text), **own_cluster.environment())
    backend.wait_status("healthy")
    yield backend, writers
    for writer in writers:
        writer.ended.set()
    for writer in writers:
        writer.join(10)


def failing(document):
    return {(item["check"], item["reason"]) for item in document["failing"] + document["warnings"]}


def wait_only(backend, *expected):
    """Waits until exactly these checks fail or warn. The shipped counts never change: they do not notice the outage."""
    def is_reported():
        document = backend.document("/api/status")
        assert document["counts"]["edges"] == 4999, document
        return failing(document) == set(expected)
    wait_until(is_reported, 20, f"exactly {expected} fail")


def test_a_server_that_writes_is_healthy(written):
    backend, writers = written
    hold_for(lambda: backend.document()["status"] == "healthy", OLDEST_S + 2, "healthy while it is written to")
    document = backend.document()
    assert document["warnings"] == []
    assert document["counts"]["last_write"] <= OLDEST_S and document["counts"]["writes_refused"] == 0
    assert document["counts"]["xid_age"] > 0
    assert not any(writer.refused for writer in writers)


def test_the_only_synchronous_standby_is_lost(written, own_cluster):
    backend, _ = written
    own_cluster.execute("ALTER SYSTEM SET synchronous_standby_names = 'lost'", database="postgres")
    own_cluster.execute("SELECT pg_reload_conf()")
    wait_only(backend, ("last_write", "out_of_range"), ("waiting_commits", "out_of_range"))
    assert backend.ask().status == 503
    own_cluster.execute("ALTER SYSTEM RESET synchronous_standby_names", database="postgres")
    own_cluster.execute("SELECT pg_reload_conf()")
    backend.wait_status("healthy")


def test_a_promotion_is_missing(written, own_cluster):
    backend, writers = written
    own_cluster.stop("fast")
    signal_file = os.path.join(own_cluster.data, "standby.signal")
    with open(signal_file, "w", encoding="ascii"):
        pass
    if SERVER_USER:
        shutil.chown(signal_file, SERVER_USER)
    own_cluster.start()
    backend.wait_failing(("last_write", "out_of_range"), ("writes_refused", "out_of_range"))
    wait_only(backend, ("last_write", "out_of_range"), ("writes_refused", "out_of_range"))
    wait_until(lambda: "25006" in writers[0].refused, 10, "a write is refused as the document says")
    own_cluster.execute("SELECT pg_promote()")
    backend.wait_status("healthy")


def test_a_heartbeat_without_a_row_is_not_fresh(written, own_cluster):
    backend, _ = written
    own_cluster.execute("DELETE FROM heartbeat")
    backend.wait_failing(("last_write", "malformed"))


def test_the_checks_show_the_login_nothing_of_other_sessions(written, own_cluster):
    own_cluster.execute("CREATE ROLE nosy LOGIN")
    assert own_cluster.execute("SELECT has_function_privilege('nosy', 'waiting_commits()', 'EXECUTE')") == [(False,)]
    connection = psycopg2.connect(host=own_cluster.directory, user="health_api", password=PASSWORD, dbname="knowledge")
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT query FROM pg_stat_activity WHERE usename = 'postgres'")
        assert cursor.fetchall() == [("<insufficient privilege>",)]
        cursor.execute("SELECT waiting_commits()")
        assert cursor.fetchone() == (0,)
    connection.close()
