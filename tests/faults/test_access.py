"""A real PostgreSQL that refuses the probe's login, or access to a table."""
import json
import time

import pytest
from harness.wait import hold_for, wait_until

INTERVAL = 2.0  # the default, for which the promises are made
# Only a new session notices these faults. With HEALTH_RECONNECT_EVERY below the interval each round has one, so the
# promised interval + 1 s holds.
EVERY_ROUND = {"HEALTH_RECONNECT_EVERY": "1s"}
LATER = INTERVAL + 1
# After a refused role the next login comes 10 s to 11 s later, because too many failed logins may lock an account.
REFUSED_AGAIN = 12
LOGIN = "local all health_api scram-sha-256\nlocal all postgres trust\n"


@pytest.fixture
def healthy(start_backend, own_cluster):
    backend = start_backend(**own_cluster.environment(**EVERY_ROUND))
    backend.wait_status("healthy")
    return backend


@pytest.mark.parametrize("change, back", [
    ("ALTER ROLE health_api PASSWORD 'other'",
     "SET password_encryption = 'scram-sha-256'; ALTER ROLE health_api PASSWORD 'a secret that no answer may show'"),
    ("ALTER ROLE health_api NOLOGIN", "ALTER ROLE health_api LOGIN"),
    ("REVOKE CONNECT ON DATABASE knowledge FROM PUBLIC, health_api",
     "GRANT CONNECT ON DATABASE knowledge TO health_api"),
], ids=["password", "nologin", "connect_privilege"])
def test_access_refused(healthy, own_cluster, fault, change, back):
    own_cluster.execute(change)
    fault.injected()
    fault.expect(healthy, LATER, ("database", "access"))
    own_cluster.execute(back)
    fault.healed(healthy, REFUSED_AGAIN)


def test_refused_by_pg_hba(healthy, own_cluster, fault):
    own_cluster.write_hba("local all health_api reject\nlocal all postgres trust\n")
    fault.injected()
    fault.expect(healthy, LATER, ("database", "access"))
    own_cluster.write_hba(LOGIN)
    fault.healed(healthy, REFUSED_AGAIN)


def test_the_database_dropped(start_backend, own_cluster, fault):
    own_cluster.execute("CREATE DATABASE copy TEMPLATE knowledge", database="postgres")
    backend = start_backend(**own_cluster.environment())
    backend.wait_status("healthy")
    fault.injected()
    own_cluster.execute("DROP DATABASE knowledge WITH (FORCE)", database="postgres")
    fault.expect(backend, LATER, ("database", "access"))
    own_cluster.execute("ALTER DATABASE copy RENAME TO knowledge", database="postgres")
    fault.healed(backend)


def test_a_database_that_lets_nobody_in_is_dropped_without_force(start_backend, own_cluster):
    """DROP DATABASE waits for five seconds until every session in the database has ended, and then fails."""
    backend = start_backend(**own_cluster.environment(HEALTH_RECONNECT_EVERY="1s"))
    backend.wait_status("healthy")
    own_cluster.execute("ALTER DATABASE knowledge ALLOW_CONNECTIONS false", database="postgres")
    backend.wait_failing(("database", "access"))
    own_cluster.execute("DROP DATABASE knowledge", database="postgres")
    assert backend.events("session ended")[-1]["sqlstate"] == "55000"


def test_a_session_at_a_check_leaves_when_the_check_has_ended(start_backend, checks_file, own_cluster):
    """And not when the next login fails, which comes only 10 s later."""
    backend = start_backend(HEALTH_CHECKS=checks_file("-- check: slow\nSELECT 4711 FROM pg_sleep(3);\n"),
                            HEALTH_QUERY_TIMEOUT="6s", HEALTH_STALE_AFTER="20s", HEALTH_MAX_LOAD=100,
                            **own_cluster.environment(HEALTH_RECONNECT_EVERY="1s"))
    backend.wait_status("healthy")
    at_work = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT 4711%'"
    wait_until(lambda: own_cluster.execute(at_work), 15, "a session that runs the check")
    own_cluster.execute("ALTER ROLE health_api NOLOGIN")
    backend.wait_failing(("database", "access"))
    wait_until(lambda: not own_cluster.probes(), 7, "our session has ended")


def test_a_session_does_not_give_its_place_to_its_own_next_login(start_backend, own_cluster):
    """The only place of the role is ours, so each login is refused. Without our session the next one would succeed, and the
    answer would change for ever."""
    backend = start_backend(**own_cluster.environment(HEALTH_RECONNECT_EVERY="1s"))
    backend.wait_status("healthy")
    own_cluster.execute("ALTER ROLE health_api CONNECTION LIMIT 1")
    backend.wait_failing(("database", "saturated"))
    hold_for(lambda: backend.ask().status == 503, 5, "503 all the time")
    assert len(own_cluster.probes()) == 1


def test_one_refused_login_within_the_fall_leaves_the_answer_fresh(start_backend, own_cluster):
    """The next login comes only 10 s later. Meanwhile the pings of the old session are answers, so nothing is stale."""
    backend = start_backend(**own_cluster.environment(HEALTH_RECONNECT_EVERY="1s", HEALTH_FALL=2))
    backend.wait_status("healthy")
    own_cluster.execute("ALTER ROLE health_api NOLOGIN")
    wait_until(lambda: backend.events("database failed"), 10, "a refused login")
    own_cluster.execute("ALTER ROLE health_api LOGIN")
    wait_until(lambda: backend.ask().status == 503 or backend.events("database recovered"), 20, "the next login")
    assert [line["to"] for line in backend.events("status changed")] == ["healthy"]


def test_the_database_misnamed(start_backend, own_cluster, fault):
    fault.injected()
    backend = start_backend(**own_cluster.environment(PGDATABASE="nowhere"))
    fault.expect(backend, LATER, ("database", "access"))
    own_cluster.execute("CREATE DATABASE nowhere TEMPLATE knowledge", database="postgres")
    fault.healed(backend)


def test_a_privilege_revoked_costs_that_check_only(start_backend, own_cluster, fault):
    backend = start_backend(**own_cluster.environment())
    backend.wait_status("healthy")
    own_cluster.execute("REVOKE SELECT ON debates FROM health_api")
    fault.injected()
    document = fault.expect(backend, LATER, ("debates", "access"))
    assert document["counts"]["edges"] == 4999
    own_cluster.execute("GRANT SELECT ON debates TO health_api")
    fault.healed(backend)


@pytest.mark.parametrize("change, back", [
    ("ALTER ROLE health_api CONNECTION LIMIT 0", "ALTER ROLE health_api CONNECTION LIMIT 50"),
    ("ALTER DATABASE knowledge CONNECTION LIMIT 0", "ALTER DATABASE knowledge CONNECTION LIMIT -1"),
], ids=["role", "database"])
def test_no_connection_left(healthy, own_cluster, fault, change, back):
    own_cluster.execute(change)
    fault.injected()
    fault.expect(healthy, LATER, ("database", "saturated"))
    own_cluster.execute(back)
    fault.healed(healthy)


def test_fall_and_rise_hold_for_the_database_as_a_whole(start_backend, own_cluster):
    """A failure or success counts only an interval after the last that counted, however often the probe tries."""
    backend = start_backend(HEALTH_FALL=3, HEALTH_RISE=2, HEALTH_INTERVAL="1s", **own_cluster.environment())
    backend.wait_status("healthy")
    seen = []

    def look():
        """Records one response: its time, whether logins fail, its HTTP status, and whether it has all counts."""
        response = backend.ask("/api/status")
        document = json.loads(response.body)
        counted = None not in document["counts"].values()
        seen.append((time.monotonic(), document["database"]["consecutive_failures"] > 0, response.status, counted))
        return response.status

    def first(fails):
        return next(when for when, failing, _, _ in seen if failing == fails)
    own_cluster.execute("REVOKE CONNECT ON DATABASE knowledge FROM PUBLIC, health_api")
    own_cluster.terminate_probes()
    wait_until(lambda: look() == 503, 15, "the fall")
    assert {row[1:] for row in seen} <= {(False, 200, True), (True, 200, False), (True, 503, False)}
    assert seen[-1][0] - first(True) >= 1.5  # two intervals, minus a tenth of each
    del seen[:]
    own_cluster.execute("GRANT CONNECT ON DATABASE knowledge TO health_api")
    wait_until(lambda: look() == 200, 15, "the rise")
    assert {row[1:] for row in seen if row[1]} == {(True, 503, False)}
    assert seen[-1][0] - first(False) >= 0.7  # one interval
