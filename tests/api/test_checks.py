"""What checks find, each with a real query on a real PostgreSQL."""
import json
import os
import signal
import time

import pytest
from harness import backend as program
from harness.backend import SANITIZED
from harness.cluster import FEW_EDGES
from harness.wait import hold_for, wait_until

GOOD = "-- check: good\nSELECT count(*) FROM debates;\n"


@pytest.mark.parametrize("query, reason", [
    ("SELECT 'many'::text", "malformed"),
    ("SELECT '12'::text", "malformed"),
    ("SELECT 1 UNION ALL SELECT 2", "malformed"),
    ("SELECT 1 WHERE false", "malformed"),
    ("SELECT 1, 2", "malformed"),
    ("SELECT NULL::bigint", "malformed"),
    ("SELECT -1", "malformed"),
    ("SELECT 9223372036854775808", "malformed"),
    ("SET work_mem = '1MB'", "malformed"),
    ("BEGIN", "malformed"),
    ("LISTEN loud", "malformed"),
    ("SELECT $1", "query_error"),
    ("SELECT '\\x31003200'::bytea", "malformed"),
    ("COPY (SELECT 1) TO STDOUT", "malformed"),
    ("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT", "malformed"),
    ("SELECT n FROM generate_series(1, 1000000) n", "malformed"),
    ("SELECT repeat('9', 30000000)", "malformed"),
    ("COPY debates FROM STDIN", "access"),
    ("SELECT chr(0)", "query_error"),
    ("SELECT count(*) FROM nowhere", "schema"),
    ("SELECT no_such_function()", "schema"),
    ("SELECT count(*) FROM pg_authid", "access"),
    ("SELECT 1/0", "query_error"),
    ("SELEC 1", "query_error"),
    ("\\timing on\nSELECT 1", "query_error"),
    ("INSERT INTO debates SELECT * FROM debates", "query_error"),
    ("SELECT nextval('debates_id_seq')", "access"),
])
def test_a_bad_answer_fails_only_its_check_uses_no_memory_and_leaves_no_trace(start_backend, checks_file, query, reason):
    # Long enough for the longest answer of a busy server.
    backend = start_backend(HEALTH_CHECKS=checks_file(GOOD), HEALTH_INTERVAL="200ms", HEALTH_QUERY_TIMEOUT="8s",
                            HEALTH_STALE_AFTER="20s")
    backend.wait_status("healthy")
    before_kib = backend.rss_kib()
    checks_file(f"-- check: bad\n{query};\n{GOOD}")
    backend.process.send_signal(signal.SIGHUP)
    document = backend.wait_failing(("bad", reason))

    def both():
        return backend.document()["counts"] == {"bad": None, "good": 200}
    wait_until(both, 10, f"the good check counts, last {document}")
    assert backend.ask().status == 503
    checks_file("-- check: bad\nSELECT 12;\n" + GOOD)
    backend.process.send_signal(signal.SIGHUP)
    assert backend.wait_status("healthy")["counts"] == {"bad": 12, "good": 200}
    if not SANITIZED:
        assert backend.peak_rss_kib() - before_kib < 4096


def test_a_write_is_refused_by_the_read_only_transaction(start_backend, checks_file, cluster):
    cluster.execute("CREATE TABLE open_to_all (i int); GRANT ALL ON open_to_all TO PUBLIC")
    try:
        backend = start_backend(HEALTH_CHECKS=checks_file(
            "-- check: bad\nWITH w AS (INSERT INTO open_to_all VALUES (1) RETURNING i) SELECT count(*) FROM w;\n"
            + GOOD))
        backend.wait_failing(("bad", "query_error"))
        assert cluster.execute("SELECT count(*) FROM open_to_all") == [(0,)]
    finally:
        cluster.execute("DROP TABLE open_to_all")


def test_below_min_and_above_max_are_out_of_range_and_the_count_is_shown(start_backend, checks_file):
    backend = start_backend(HEALTH_CHECKS=checks_file(
        "-- check: low\n-- min: 5\nSELECT 4;\n-- check: high\n-- max: 5\nSELECT 6;\n"
        "-- check: at_min\n-- min: 5\nSELECT 5;\n-- check: at_max\n-- max: 5\nSELECT 5;\n"))
    backend.wait_failing(("low", "out_of_range"), ("high", "out_of_range"))
    # The program publishes a failure at once, before the first probe has finished.
    wait_until(lambda: backend.document()["counts"] == {"low": 4, "high": 6, "at_min": 5, "at_max": 5}, 10, "the counts")
    assert backend.ask().status == 503


def test_severity_warn_is_reported_and_still_200(start_backend, checks_file):
    backend = start_backend(HEALTH_CHECKS=checks_file(
        "-- check: maybe\n-- severity: warn\nSELECT count(*) FROM nowhere;\n" + GOOD))
    document = backend.wait_status("healthy")
    assert document["warnings"] == [{"check": "maybe", "reason": "schema"}]
    assert document["counts"] == {"maybe": None, "good": 200}
    assert backend.ask().status == 200


def test_a_slow_check_has_its_own_timeout_and_the_others_count(start_backend, checks_file):
    backend = start_backend(HEALTH_CHECKS=checks_file(
        "-- check: slow\n-- timeout: 100ms\nSELECT 1 FROM pg_sleep(20);\n" + GOOD))
    backend.wait_failing(("slow", "query_timeout"), deadline_s=5)
    wait_until(lambda: backend.document()["counts"]["good"] == 200, 5, "the good check counts")
    wait_until(lambda: backend.document("/api/status")["checks"]["slow"]["duration_ms"] >= 50, 10, "half of the timeout")


@pytest.mark.parametrize("annotations, worked_ms, least_period_ms", [
    ("-- severity: warn", 700, 3300),  # ended after HEALTH_QUERY_TIMEOUT, 800ms: it rests for four times as long
    ("-- timeout: 10s", 1000, 2800),  # counts after 1.2 s: HEALTH_MAX_LOAD 50 lets it rest for twice as long
])
def test_a_check_that_works_for_long_rests_for_all_of_its_time(start_backend, checks_file, annotations, worked_ms,
                                                               least_period_ms):
    """Meanwhile another session shows that the server works, so its work is no silence of the server."""
    backend = start_backend(HEALTH_MAX_LOAD=50, HEALTH_CHECKS=checks_file(
        f"-- check: long\n{annotations}\nSELECT count(*) FROM pg_sleep({'10' if worked_ms < 800 else '1.2'});\n"))

    def is_whole():  # the program takes its own stalls out, if this machine is too busy
        check = backend.document("/api/status")["checks"]["long"]
        return (check["duration_ms"] or 0) >= worked_ms and (check["period_ms"] or 0) >= least_period_ms
    wait_until(is_whole, 30, f"a duration of {worked_ms} ms, and a period of {least_period_ms} ms")


def test_a_locked_table_is_a_query_timeout_of_its_check(backend, cluster):
    connection = cluster.connect()
    connection.autocommit = False
    try:
        connection.cursor().execute("LOCK TABLE debates IN ACCESS EXCLUSIVE MODE")
        backend.wait_failing(("debates", "query_timeout"))
        wait_until(lambda: backend.document()["counts"]["edges"] == FEW_EDGES, 5, "edges counts")
    finally:
        connection.close()
    backend.wait_status("healthy")


def test_a_check_with_every_keeps_its_count_and_others_run_each_interval(start_backend, checks_file, cluster):
    backend = start_backend(HEALTH_INTERVAL="200ms", HEALTH_CHECKS=checks_file(
        "-- check: seldom\n-- every: 1h\nSELECT 4711;\n-- check: often\nSELECT 4712;\n"))
    backend.wait_status("healthy")
    before = cluster.statements()
    wait_until(lambda: cluster.statements()["SELECT 4712"] >= before["SELECT 4712"] + 5, 10, "five more runs")
    assert cluster.statements()["SELECT 4711"] == before["SELECT 4711"]
    assert backend.document()["counts"] == {"seldom": 4711, "often": 4712}


def test_a_failed_check_runs_each_interval_despite_its_every(start_backend, checks_file, cluster):
    backend = start_backend(HEALTH_INTERVAL="200ms", HEALTH_CHECKS=checks_file(
        "-- check: seldom\n-- every: 1h\nSELECT count(*) FROM later;\n"))
    backend.wait_failing(("seldom", "schema"))
    cluster.execute("CREATE TABLE later (i int); GRANT SELECT ON later TO health_api")
    try:
        assert backend.wait_status("healthy", 5)["counts"] == {"seldom": 0}
    finally:
        cluster.execute("DROP TABLE later")


def test_the_settings_apply_to_the_check_and_leave_nothing_in_the_session(start_backend, checks_file, cluster):
    backend = start_backend(HEALTH_CHECKS=checks_file(
        "-- check: in_check\n-- timeout: 321ms\n"
        "SELECT count(*) FROM pg_settings WHERE (name, setting) IN (('statement_timeout', '321'),\n"
        "  ('lock_timeout', '321'), ('transaction_read_only', 'on'), ('client_connection_check_interval', '500'),\n"
        "  ('application_name', 'health-api'));\n"
        "-- check: next_check\n"
        "SELECT count(*) FROM pg_settings WHERE (name, setting) IN (('statement_timeout', '321'));\n"))
    known = 5 if cluster.major_version >= 14 else 4  # PostgreSQL 13 has no client_connection_check_interval
    assert backend.wait_status("healthy")["counts"] == {"in_check": known, "next_check": 0}


def test_there_is_one_session_and_a_new_one_each_reconnect_period(start_backend, cluster):
    backend = start_backend(HEALTH_RECONNECT_EVERY="1s", HEALTH_INTERVAL="200ms")
    backend.wait_status("healthy")
    def the_only_one():
        """Not while a login takes the place of the session, and not until the server process of the old one has ended."""
        probes = cluster.probes()
        return probes if len(probes) == 1 else None
    first = wait_until(the_only_one, 5, "one session")
    wait_until(lambda: the_only_one() not in (None, first), 5, "a fresh one")
    assert backend.document("/api/status")["database"]["reconnects"] == 0
    assert backend.document()["status"] == "healthy"


def test_the_first_check_that_breaks_the_session_does_not_starve_the_others(start_backend, checks_file):
    backend = start_backend(HEALTH_INTERVAL="200ms", HEALTH_CHECKS=checks_file(
        "-- check: breaks\nCOPY (SELECT 1) TO STDOUT;\n" + GOOD))
    wait_until(lambda: backend.document()["counts"].get("good") == 200, 10, "the good check counts")
    hold_for(lambda: backend.document()["failing"] == [{"check": "breaks", "reason": "malformed"}], 1, "malformed")


WARNS_AND_BREAKS = "-- check: exported\n-- severity: warn\nCOPY (SELECT 1) TO STDOUT;\n"


def test_a_warning_that_breaks_the_session_hides_no_failure(start_backend, checks_file, cluster):
    path = checks_file(WARNS_AND_BREAKS + "-- check: gone\nSELECT count(*) FROM no_such_table;\n" + GOOD)
    backend = start_backend(HEALTH_CHECKS=path, HEALTH_INTERVAL="200ms")
    first = wait_until(lambda: backend.document()["status"] != "starting" and backend.document(), 10, "a status")
    assert first["failing"] == [{"check": "gone", "reason": "schema"}]
    hold_for(lambda: backend.ask().status == 503, 2, "503")
    assert backend.document()["counts"]["good"] == 200
    once = program.run("--once", HEALTH_CHECKS=path, **cluster.environment())
    assert once.returncode == 1 and json.loads(once.stdout)["failing"] == [{"check": "gone", "reason": "schema"}]


def test_checks_that_break_the_session_take_turns(start_backend, checks_file):
    path = checks_file(WARNS_AND_BREAKS + "-- check: big\nCOPY (SELECT 2) TO STDOUT;\n" + GOOD)
    backend = start_backend(HEALTH_CHECKS=path, HEALTH_INTERVAL="200ms")
    backend.wait_failing(("big", "malformed"))
    hold_for(lambda: backend.ask().status == 503, 2, "503")
    checks_file(WARNS_AND_BREAKS + "-- check: big\nSELECT 2;\n" + GOOD)
    backend.process.send_signal(signal.SIGHUP)
    assert backend.wait_status("healthy")["warnings"] == [{"check": "exported", "reason": "malformed"}]


def test_a_reload_forgets_the_count_of_a_query_that_has_changed(start_backend, checks_file):
    bad = "-- check: bad\nSELECT count(*) FROM {};\n"
    backend = start_backend(HEALTH_CHECKS=checks_file(bad.format("debates") + "-- check: n\nSELECT 111;\n"))
    backend.wait_status("healthy")
    checks_file(bad.format("nowhere") + "-- check: n\n-- timeout: 2s\nSELECT 222 FROM pg_sleep(1);\n")
    backend.process.send_signal(signal.SIGHUP)
    assert backend.wait_failing(("bad", "schema"))["counts"]["n"] is None
    wait_until(lambda: backend.document()["counts"]["n"] == 222, 10, "the new count")


def test_a_reload_asks_the_new_checks_at_once(start_backend, checks_file):
    backend = start_backend(HEALTH_CHECKS=checks_file(GOOD), HEALTH_INTERVAL="60s", HEALTH_STALE_AFTER="120s",
                            HEALTH_RECONNECT_EVERY="60s")
    backend.wait_status("healthy")
    checks_file(GOOD + "-- check: n\nSELECT 222;\n")
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: backend.document()["counts"].get("n") == 222, 15, "the new count")


def test_a_reload_takes_effect_between_two_checks_however_many_are_due(start_backend, checks_file):
    slow = "".join(f"-- check: slow{n}\nSELECT 1 FROM pg_sleep(0.3);\n" for n in range(30))
    backend = start_backend(HEALTH_CHECKS=checks_file(slow), HEALTH_INTERVAL="100ms", HEALTH_MAX_LOAD=100,
                            HEALTH_STALE_AFTER="20s")
    backend.wait_status("healthy", 20)
    checks_file(GOOD)
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: backend.events("checks reloaded"), 3, "the reload comes before all due checks have run")


def test_fall_and_rise_count_consecutive_probes(start_backend, checks_file, cluster):
    backend = start_backend(HEALTH_INTERVAL="1s", HEALTH_FALL=3, HEALTH_RISE=3, HEALTH_CHECKS=checks_file(GOOD))
    backend.wait_status("healthy")

    def first_with(member, value):
        document = backend.document()
        return document[member] == value and document
    cluster.execute("ALTER TABLE debates RENAME TO debates_away")
    try:
        warned = wait_until(lambda: first_with("warnings", [{"check": "good", "reason": "schema"}]), 5, "a warning")
        assert warned["status"] == "healthy"
        backend.wait_failing(("good", "schema"))
    finally:
        cluster.execute("ALTER TABLE debates_away RENAME TO debates")
    assert wait_until(lambda: first_with("counts", {"good": 200}), 5, "the count is back")["status"] == "degraded"
    backend.wait_status("healthy")


def test_the_fall_and_rise_of_a_check_apply_to_it_alone(start_backend, checks_file, own_cluster):
    """A table is dropped. One of its two checks shows that at once, the other after three intervals."""
    interval_s = 1.0
    count = "SELECT count(*) FROM debates;\n"
    text = f"-- check: damped\n-- fall: 3\n-- rise: 2\n{count}-- check: plain\n{count}"
    backend = start_backend(HEALTH_INTERVAL="1s", HEALTH_CHECKS=checks_file(text), **own_cluster.environment())
    backend.wait_status("healthy")

    def fall():
        """How long after the first 503 the damped check fails, too."""
        own_cluster.execute("ALTER TABLE debates RENAME TO debates_away")
        backend.wait_failing(("plain", "schema"), deadline_s=interval_s + 2)
        began = time.monotonic()
        assert wait_until(lambda: backend.document()["warnings"], 1, "a warning before its fall") == [
            {"check": "damped", "reason": "schema"}]
        backend.wait_failing(("damped", "schema"), ("plain", "schema"))
        return time.monotonic() - began

    assert 1.5 * interval_s < fall() < 4 * interval_s
    own_cluster.execute("ALTER TABLE debates_away RENAME TO debates")
    document = backend.wait_failing(("damped", "schema"))
    assert document["counts"]["damped"] in (None, 200)

    def first_with_its_count():
        document = backend.document()
        return document["counts"]["damped"] == 200 and document
    assert wait_until(first_with_its_count, 5, "the count is back")["failing"] == [{"check": "damped", "reason": "schema"}]
    backend.wait_status("healthy")
    checks_file(text.replace("-- fall: 3\n", ""))
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: backend.events("checks reloaded"), 10, "the reload")
    own_cluster.execute("ALTER TABLE debates RENAME TO debates_away")
    backend.wait_failing(("damped", "schema"), ("plain", "schema"), deadline_s=interval_s + 2)
    assert not backend.document()["warnings"]


@pytest.mark.parametrize("text, where, expected", [
    ("-- check: Bad\nSELECT 1;\n", ":1:", "name"),
    ("-- check: a\n-- colour: red\nSELECT 1;\n", ":2:", "expected"),
    ("-- check: a\n-- fall: 0\nSELECT 1;\n", ":2:", "from 1 to 100"),
    ("-- check: a\nSELECT 1;\n-- check: a\nSELECT 2;\n", ":3:", "a"),
    ("-- check: a\n-- Min: 1000\nSELECT 1;\n", ":2:", "expected '-- min: VALUE'"),
    ("-- check: a\nSELECT count(*)\nFROM edges", ":3:", "';'"),
    ("-- check: a\nSELECT 1; SELECT 2;\n", ":2:", "second statement"),
    ("-- check: a\nSELECT 1;\n-- chekc: b\nSELECT 2;\n", ":4:", "second statement"),
    ("-- check: a\n", ":1:", "statement"),
    ("", "", "check"),
])
def test_a_wrong_checks_file_stops_the_start_with_file_and_line(checks_file, cluster, text, where, expected):
    path = checks_file(text)
    for arguments in ((), ("--check-config",), ("--once",)):
        began = time.monotonic()
        done = program.run(*arguments, HEALTH_CHECKS=path, HEALTH_LISTEN=f"unix:{os.path.dirname(path)}/s",
                           **cluster.environment())
        assert done.returncode == 78
        assert time.monotonic() - began < 8  # nobody who restarts it for ever is there: it does not wait
        assert path + where in done.stderr and expected in done.stderr


def test_the_maximum_of_failing_checks_is_no_flood(start_backend, checks_file):
    """All answers come in one burst, and the server adds its own text to each error."""
    text = "".join(f"-- check: c{i}\nSELECT count(*) FROM nowhere_{'x' * 50}_{i} /* {'y' * 200} */;\n"
                   for i in range(256))
    backend = start_backend(HEALTH_CHECKS=checks_file(text))
    backend.wait_failing(*[(f"c{i}", "schema") for i in range(256)])
    assert not backend.events("database failed")
