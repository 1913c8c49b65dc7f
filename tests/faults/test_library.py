"""Each check of sql/library/ on real servers: healthy, failing for the fault that it is for, and healthy again."""
import contextlib
import glob
import json
import os
import re
import subprocess
import tempfile
import threading

import psycopg2
import psycopg2.extras
import pytest
from harness import backend as program
from harness.cluster import ROOT, SERVER_USER
from harness.fastcgi import Response
from harness.wait import wait_until

pytestmark = [pytest.mark.skipif(program.SANITIZED, reason="is about what the server does"),
              pytest.mark.xdist_group("library")]  # the tests share two servers

LIBRARY = os.path.join(ROOT, "sql", "library")
NAMES = sorted(os.path.basename(path).removesuffix(".sql") for path in glob.glob(os.path.join(LIBRARY, "*.sql")))
FAILS = {"writes_refused"}  # the others warn: a load balancer must not take a working node out
NOTHING_TO_SHOW = 10 ** 15  # for a bad state that has no number
WAL_FILE = 1 << 20  # bytes, as initdb in the harness says


def read(name):
    with open(os.path.join(LIBRARY, f"{name}.sql"), encoding="utf-8") as file:
        return file.read()


def grants_of(name):
    """The statements in the comment of a file, which it says the login needs."""
    return re.findall(r"^-- {3}((?:GRANT|ALTER DEFAULT) .*;)$", read(name), re.M)


NEED_A_GRANT = [name for name in NAMES if grants_of(name)]


def revoke(statement):
    words = re.sub(r"\bGRANT\b", "REVOKE", statement)
    return re.sub(r"\bTO health_api\b", "FROM health_api", words)


class Answer:
    """What health-api shows of one check."""

    def __init__(self, name, http, status):
        self.document = json.dumps(status["checks"][name]) + json.dumps(status["database"])
        self.failing, self.warnings, self.http = status["failing"], status["warnings"], http
        self.value, self.reason = status["checks"][name]["value"], status["checks"][name]["reason"]
        self.name = name

    def __repr__(self):
        return f"{self.http} failing {self.failing}, warnings {self.warnings}: {self.document}"

    @property
    def is_healthy(self):
        return self.http == 200 and not self.failing and not self.warnings and self.reason is None

    def has_failed(self, reason="out_of_range"):
        """Whether the check, and only it, is listed as its severity demands."""
        entry = [{"check": self.name, "reason": reason}]
        expected = (503, entry, []) if self.name in FAILS else (200, [], entry)
        return (self.http, self.failing, self.warnings) == expected


@pytest.fixture(scope="module")
def workplace(base):
    directory = tempfile.mkdtemp(prefix="library", dir=base)
    os.chmod(directory, 0o755)
    return directory


@pytest.fixture
def ask(checks_file):
    """Lets health-api probe a server once, with one file of the library. limit replaces its `max`."""
    def answer(server, name, limit=None, **settings):
        text = read(name)
        if limit is not None:
            text, count = re.subn(r"^-- max: \d+", f"-- max: {limit}", text, flags=re.M)
            assert count == 1, text
        environment = program.environment(**{
            **server.environment(), "HEALTH_CHECKS": checks_file(text, f"{name}.sql"), "HEALTH_CONNECT_TIMEOUT": "10s",
            "HEALTH_QUERY_TIMEOUT": "10s", "HEALTH_STALE_AFTER": "1m", "GATEWAY_INTERFACE": "CGI/1.1",
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "/api/status", **settings})
        done = subprocess.run([program.PROGRAM], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        response = Response(done.stdout, "/api/status", "GET")
        return Answer(name, response.status, json.loads(response.body))
    return answer


@pytest.fixture
def wait_for(ask):
    """Waits until the check is in this state, and returns its value."""
    def wait(server, name, state, limit=None, **settings):
        answers = []

        def is_there():
            answers.append(ask(server, name, limit, **settings))
            return state(answers[-1])
        try:
            wait_until(is_there, 30, name, interval_s=0.1)
        except AssertionError as late:
            raise AssertionError(f"{late}: {answers[-1]}") from late
        return answers[-1].value
    return wait


def failed(answer):
    return answer.has_failed()


def healthy(answer):
    return answer.is_healthy


@pytest.fixture(scope="module")
def primary(template, workplace):
    server = template.copy_to(os.path.join(workplace, "primary"))
    server.configure("archive_mode = on", "archive_command = 'true'", "max_prepared_transactions = 5",
                     "wal_retrieve_retry_interval = 200ms", "autovacuum = off")
    server.start()
    try:
        server.write_hba("local all health_api scram-sha-256\nlocal all,replication postgres trust\n")
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def standby(primary, workplace):
    server = primary.make_standby(os.path.join(workplace, "standby"))
    server.start()
    try:
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def simple(template, workplace):
    """A server that is configured as initdb does it: without archiving."""
    server = template.copy_to(os.path.join(workplace, "simple"))
    server.start()
    try:
        yield server
    finally:
        server.destroy()


@pytest.fixture
def granted(primary):
    """Gives the shipped role all that the files ask for, and nothing else."""
    primary.execute("".join(statement for name in NAMES for statement in grants_of(name)))


def wait_replayed(primary, standby):
    position = primary.execute("SELECT pg_current_wal_insert_lsn()")[0][0]
    primary.execute("SELECT pg_switch_wal()")  # flushes it
    wait_until(lambda: standby.execute(f"SELECT pg_last_wal_replay_lsn() >= '{position}'")[0][0], 20, "replayed")


@contextlib.contextmanager
def setting(server, **settings):
    """Changes settings of a running server for a while."""
    def apply(changes):
        for name, value in changes.items():
            server.execute(f"ALTER SYSTEM SET {name} = {'DEFAULT' if value is None else f'$value${value}$value$'}")
        server.execute("SELECT pg_reload_conf()")
    before = dict(server.execute("SELECT name, setting FROM pg_file_settings WHERE sourcefile LIKE '%.auto.conf'"))
    apply(settings)
    try:
        yield
    finally:
        apply({name: before.get(name) for name in settings})


def commit(server):
    server.execute("CREATE TABLE IF NOT EXISTS committed (at timestamptz); INSERT INTO committed VALUES (now())")


@pytest.fixture
def walsender(primary):
    """A walsender with a database, as a logical subscription has one."""
    connection = psycopg2.connect(host=primary.directory, user="postgres", dbname=primary.database,
                                  connection_factory=psycopg2.extras.LogicalReplicationConnection)
    with contextlib.closing(connection):
        yield


# The files


def test_there_are_eight_and_each_is_named_after_its_check():
    assert len(NAMES) == 8
    for name in NAMES:
        assert re.findall(r"^-- check: (\w+)$", read(name), re.M) == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_what_it_needs_and_why_it_fails_or_warns(name):
    text = read(name)
    about = text.split("\n\n-- check:")[0]
    assert "\n-- PostgreSQL 12 to 17. " in about and "\n-- Where it is wrong: " in about
    assert bool(grants_of(name)) != ("No GRANT is needed." in about)
    severity = re.findall(r"^-- severity: (\w+)$", text, re.M)
    assert severity == ["fail" if name in FAILS else "warn"]
    assert ("\n-- It fails the node because" if name in FAILS else "\n-- It is a warning because") in about
    assert max(map(len, text.splitlines())) <= 120


def test_the_document_lists_each_file_with_its_limit_its_severity_and_its_grant():
    with open(os.path.join(ROOT, "docs", "postgresql.md"), encoding="utf-8") as file:
        lines = [line for line in file if line.startswith("| `") and ".sql`" in line]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert sorted(row[0] for row in rows) == [f"`{name}.sql`" for name in NAMES]
    for row in rows:
        text = read(row[0].strip("`").removesuffix(".sql"))
        assert re.findall(r"^-- (?:max|severity): (\w+)", text, re.M) == row[2:4], row
        assert bool(row[4]) == ("No GRANT is needed." not in text), row
        for right in re.findall(r"`(.*?)`", row[4]):
            assert re.search(rf"^--   GRANT .*{re.escape(right)}", text, re.M), row


def test_each_is_valid_alone_and_so_are_all_together(checks_file):
    for text in [read(name) for name in NAMES] + ["".join(map(read, NAMES))]:
        done = program.run("--check-config", HEALTH_CHECKS=checks_file(text))
        assert (done.returncode, done.stderr) == (0, ""), text


def test_no_check_takes_the_name_of_another_file():
    with open(program.CHECKS, encoding="utf-8") as file:
        taken = re.findall(r"^-- check: (\w+)$", file.read(), re.M)
    assert not set(taken) & set(NAMES)


# The rights


@pytest.mark.parametrize("name", NEED_A_GRANT)
def test_without_its_grant_a_check_is_refused_and_with_it_alone_it_works(ask, primary, name):
    """The server hides from a login without the right what the check is about; that would look healthy."""
    primary.execute("".join(revoke(statement) for other in NEED_A_GRANT for statement in grants_of(other)))
    answer = ask(primary, name)
    assert answer.has_failed("access") and answer.value is None, answer
    for statement in grants_of(name):
        primary.execute(statement)
    assert ask(primary, name).is_healthy


@pytest.mark.parametrize("name", NAMES)
def test_a_check_is_healthy_on_a_primary_and_on_a_standby(ask, wait_for, granted, primary, standby, name):
    answer = ask(primary, name)
    assert answer.is_healthy and 0 <= answer.value < 10 ** 9, answer
    if name not in FAILS:
        wait_for(standby, name, healthy)


@pytest.fixture
def backend(directory, checks_file, granted, primary, standby):
    """Serves the whole library."""
    server = program.Backend(directory, HEALTH_CHECKS=checks_file("".join(map(read, NAMES))), HEALTH_INTERVAL="500ms",
                             HEALTH_QUERY_TIMEOUT="5s", HEALTH_STALE_AFTER="1m", **primary.environment())
    yield server.start()
    assert server.stop() == 0, server.log()


def test_the_whole_library_serves_in_one_file(backend, primary):
    document = backend.wait_status("healthy")
    assert document["warnings"] == [] and sorted(document["counts"]) == NAMES
    assert None not in document["counts"].values()
    with setting(primary, default_transaction_read_only="on"):
        backend.wait_failing(("writes_refused", "out_of_range"))
        assert backend.document("/api/status")["checks"]["writes_refused"]["value"] == 2
    assert backend.wait_status("healthy")["warnings"] == []


# writes_refused


def test_a_standby_refuses_writes(ask, primary, standby):
    assert ask(primary, "writes_refused").value == 0
    answer = ask(standby, "writes_refused")
    assert answer.has_failed() and answer.value == 1, answer


@pytest.mark.parametrize("closed", ["DATABASE knowledge", "ROLE health_api"])
def test_a_database_or_a_login_that_is_closed_refuses_writes(ask, primary, closed):
    primary.execute(f"ALTER {closed} SET default_transaction_read_only = on")
    try:
        answer = ask(primary, "writes_refused")
        assert answer.has_failed() and answer.value == 2, answer
    finally:
        primary.execute(f"ALTER {closed} RESET default_transaction_read_only", database="postgres")
    assert ask(primary, "writes_refused").is_healthy


# replay_lag


def age_of_the_last_commit(standby):
    age = "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float"
    return standby.execute(age)[0][0]


@pytest.fixture
def idle(primary, standby):
    """Both servers, when the last commit is a while ago."""
    commit(primary)
    wait_replayed(primary, standby)
    wait_until(lambda: age_of_the_last_commit(standby) > 1, 10, "a second without a commit")
    return primary, standby


def test_an_idle_primary_is_no_lag(ask, idle):
    """The age of the last commit alone would be wrong."""
    _, standby = idle
    answer = ask(standby, "replay_lag", limit=0)
    assert answer.is_healthy and answer.value == 0, answer


def test_a_standby_whose_replay_stands_still_lags_by_the_age_of_its_data(wait_for, idle):
    primary, standby = idle
    standby.execute("SELECT pg_wal_replay_pause()")
    try:
        commit(primary)
        value = wait_for(standby, "replay_lag", failed, limit=0)
        assert 1 <= value <= age_of_the_last_commit(standby) + 1
    finally:
        standby.execute("SELECT pg_wal_replay_resume()")
    wait_for(standby, "replay_lag", healthy, limit=0)


def test_a_delayed_standby_lags_by_its_delay(wait_for, idle):
    primary, standby = idle
    with setting(standby, recovery_min_apply_delay="1h"):
        commit(primary)
        assert wait_for(standby, "replay_lag", failed, limit=0) >= 1
    wait_for(standby, "replay_lag", healthy, limit=0)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_standby_that_is_cut_off_lags_although_it_has_replayed_all_it_has(ask, wait_for, idle, restarted):
    """After a restart it does not know when the last commit was, until it replays one."""
    primary, standby = idle
    if restarted:
        primary.execute("CHECKPOINT")
        wait_replayed(primary, standby)
        standby.execute("CHECKPOINT")  # the next start replays the WAL from here
        standby.stop("fast")
        standby.start()
        assert age_of_the_last_commit(standby) is None
        wait_for(standby, "replay_lag", healthy, limit=0)
    with setting(standby, primary_conninfo=""):
        value = wait_for(standby, "replay_lag", failed, limit=0)
        assert value == NOTHING_TO_SHOW if restarted else 1 <= value < 100
        received, replayed = standby.execute("SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()")[0]
        assert received == replayed, "the position alone would have been wrong"
    wait_for(standby, "replay_lag", healthy, limit=0)


# connections_used


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


# oldest_transaction


def test_a_slow_autovacuum_is_not_taken_for_an_open_transaction_of_a_client(ask, granted, primary):
    primary.execute("CREATE TABLE vast WITH (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
                    " AS SELECT n FROM generate_series(1, 100000) n; DELETE FROM vast")
    began = ("SELECT min(xact_start) < now() - interval '1 s' FROM pg_stat_activity"
             " WHERE backend_type = 'autovacuum worker'")
    try:
        with setting(primary, autovacuum="on", autovacuum_naptime="1s"):
            wait_until(lambda: primary.execute(began)[0][0], 20, "an autovacuum that takes long")
            answer = ask(primary, "oldest_transaction", limit=0)
            assert answer.is_healthy and primary.execute(began) == [(True,)], answer
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


# xid_age, and the last reason of writes_refused

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


# replication_slots


def fill_wal_files(server, count):
    server.execute("SELECT pg_logical_emit_message(false, 'filler', 'x'); SELECT pg_switch_wal();" * count)


@contextlib.contextmanager
def slot(server, reserve="true"):
    server.execute("CHECKPOINT")  # a new slot retains the WAL from here
    server.execute(f"SELECT pg_create_physical_replication_slot('left_behind', {reserve})")
    try:
        yield
    finally:
        server.execute("SELECT pg_drop_replication_slot('left_behind')")


def test_a_slot_that_nobody_reads_retains_wal(ask, wait_for, primary):
    limit = 4 * WAL_FILE
    assert ask(primary, "replication_slots", limit).value == 0
    with slot(primary, reserve="false"):
        fill_wal_files(primary, 6)
        answer = ask(primary, "replication_slots", limit)
        assert answer.is_healthy and answer.value == 0, "nobody has used it yet, so it retains nothing"
    with slot(primary):
        assert ask(primary, "replication_slots", limit).is_healthy
        fill_wal_files(primary, 6)
        answer = ask(primary, "replication_slots", limit)
        assert answer.has_failed() and 5 * WAL_FILE <= answer.value <= 8 * WAL_FILE, answer
    answer = ask(primary, "replication_slots", limit)
    assert answer.is_healthy and answer.value == 0, answer


def test_a_lost_slot_is_not_taken_for_one_that_retains_nothing(ask, primary):
    with slot(primary):
        with setting(primary, max_slot_wal_keep_size="1MB"):
            fill_wal_files(primary, 6)
            primary.execute("CHECKPOINT")
            assert primary.execute("SELECT wal_status, restart_lsn FROM pg_replication_slots") == [("lost", None)]
            answer = ask(primary, "replication_slots")
            assert answer.has_failed() and answer.value == NOTHING_TO_SHOW, answer
    assert ask(primary, "replication_slots").is_healthy


def test_a_slot_of_a_standby_is_measured_there(wait_for, primary, standby):
    with slot(standby):
        fill_wal_files(primary, 6)
        assert wait_for(standby, "replication_slots", failed, limit=4 * WAL_FILE) < NOTHING_TO_SHOW
        assert wait_for(primary, "replication_slots", healthy) == 0
    assert wait_for(standby, "replication_slots", healthy) == 0


# wal_archiving


@pytest.mark.parametrize("command", ["test ! -e {lock}", "while test -e {lock}; do sleep 0.1; done"],
                         ids=["fails", "hangs"])
def test_archiving_that_fails_or_hangs_leaves_files_waiting(wait_for, granted, primary, directory, command):
    lock = os.path.join(directory, "lock")
    with setting(primary, archive_command=command.format(lock=lock)):
        fill_wal_files(primary, 1)
        wait_for(primary, "wal_archiving", healthy, limit=0)
        try:
            with open(lock, "w", encoding="ascii"):
                pass
            fill_wal_files(primary, 1)
            assert wait_for(primary, "wal_archiving", failed, limit=0) >= 1
        finally:
            os.remove(lock)
        primary.execute("SELECT pg_reload_conf()")  # otherwise it would try again only after a minute
        wait_for(primary, "wal_archiving", healthy, limit=0)
    if "sleep" not in command:
        assert primary.execute("SELECT failed_count > 0 FROM pg_stat_archiver") == [(True,)], "it is forgiven"


def test_archiving_that_is_off_is_not_taken_for_archiving_without_a_backlog(ask, simple):
    for statement in grants_of("wal_archiving"):
        simple.execute(statement)
    answer = ask(simple, "wal_archiving")
    assert answer.has_failed() and answer.value == NOTHING_TO_SHOW, answer


# sequences_used

INTEGER_END = 2 ** 31 - 1
SEQUENCES = {
    "serial": ("CREATE TABLE t (id serial)", "t_id_seq", INTEGER_END * 9 // 10, 89),
    "serial of small numbers": ("CREATE TABLE t (id smallserial)", "t_id_seq", 32767, 100),
    "an integer identity whose sequence has become bigint":
        ("CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY); ALTER SEQUENCE t_id_seq AS bigint",
         "t_id_seq", INTEGER_END, 100),
    "a bigint sequence that an integer column owns":
        ("CREATE TABLE t (id integer); CREATE SEQUENCE s OWNED BY t.id", "s", INTEGER_END, 100),
    "a bigint sequence that is the default of an integer column":
        ("CREATE SEQUENCE s; CREATE TABLE t (id integer DEFAULT nextval('s'))", "s", INTEGER_END, 100),
    "a bigint sequence of two columns, one of them an integer":
        ("CREATE SEQUENCE s; CREATE TABLE t (a bigint DEFAULT nextval('s'), b integer DEFAULT nextval('s'))",
         "s", INTEGER_END, 100),
    "a domain over integer":
        ("CREATE DOMAIN d AS integer; CREATE TABLE t (id d); CREATE SEQUENCE s OWNED BY t.id", "s", INTEGER_END, 100),
    "its own maximum": ("CREATE SEQUENCE s MAXVALUE 1000", "s", 900, 89),
    "the end of bigint": ("CREATE SEQUENCE s", "s", 2 ** 63 - 1, 100),
    "downwards": ("CREATE SEQUENCE s INCREMENT -1 MINVALUE -1000", "s", -900, 89),
    "downwards in an integer column":
        ("CREATE TABLE t (id integer); CREATE SEQUENCE s INCREMENT -1 OWNED BY t.id", "s", -INTEGER_END, 99),
    "a cycle that ends before its column":
        ("CREATE SEQUENCE s MAXVALUE 40000 CYCLE; CREATE TABLE t (id smallint DEFAULT nextval('s'))", "s", 32767, 100),
    "unlogged": ("CREATE UNLOGGED SEQUENCE s MAXVALUE 1000", "s", 900, 89),
    "a name that needs quotes": ('CREATE SEQUENCE "S \'1\'" MAXVALUE 1000', '"S \'\'1\'\'"', 900, 89),
}
HARMLESS_SEQUENCES = {
    "half used": ("CREATE SEQUENCE s MAXVALUE 1000", "s", 500, 49),
    "a serial of large numbers": ("CREATE TABLE t (id bigserial)", "t_id_seq", INTEGER_END, 0),
    "a cycle": ("CREATE SEQUENCE s MAXVALUE 1000 CYCLE", "s", 1000, 0),
    "upwards from the least integer":
        ("CREATE SEQUENCE s MINVALUE -9223372036854775808 START 1; CREATE TABLE t (id integer DEFAULT nextval('s'))",
         "s", 1000, 50),
    "temporary, of another session": ("CREATE TEMPORARY SEQUENCE s MAXVALUE 1000", "s", 1000, 0),
}


@contextlib.contextmanager
def sequence(server, ddl, name, last):
    """Creates it in a session that stays open."""
    with contextlib.closing(server.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute(ddl)
        try:
            cursor.execute(f"SELECT setval('{name}', {last})")
            yield
        finally:
            cursor.execute("DROP TABLE IF EXISTS t CASCADE; DROP SEQUENCE IF EXISTS s, \"S '1'\";"
                           "DROP DOMAIN IF EXISTS d")


@pytest.mark.parametrize("case", [*SEQUENCES, *HARMLESS_SEQUENCES])
def test_a_sequence_that_ends_and_one_that_does_not(ask, granted, primary, case):
    ddl, name, last, used = (SEQUENCES | HARMLESS_SEQUENCES)[case]
    if case == "unlogged" and primary.major_version < 15:
        pytest.skip("PostgreSQL 15 and later")
    with sequence(primary, ddl, name, last):
        answer = ask(primary, "sequences_used")
        assert answer.value == used and (answer.has_failed() if case in SEQUENCES else answer.is_healthy), answer


def test_a_sequence_that_refuses_the_next_insert_is_seen_on_the_standby(ask, wait_for, granted, primary, standby):
    with sequence(primary, *SEQUENCES["a bigint sequence that is the default of an integer column"][:3]):
        with pytest.raises(psycopg2.errors.NumericValueOutOfRange):
            primary.execute("INSERT INTO t DEFAULT VALUES")
        assert wait_for(standby, "sequences_used", failed) == 100
        with sequence_without_data_on_the_standby(primary):
            wait_replayed(primary, standby)
            assert ask(standby, "sequences_used").has_failed()
    assert wait_for(standby, "sequences_used", healthy) == 0


@contextlib.contextmanager
def sequence_without_data_on_the_standby(primary):
    if primary.major_version < 15:
        yield
        return
    primary.execute("CREATE UNLOGGED SEQUENCE unlogged; SELECT nextval('unlogged')")
    try:
        yield
    finally:
        primary.execute("DROP SEQUENCE unlogged")


def test_one_sequence_that_may_not_be_read_fails_the_check(ask, granted, primary):
    primary.execute("CREATE SCHEMA other; CREATE SEQUENCE other.hidden")
    try:
        answer = ask(primary, "sequences_used")
        assert answer.has_failed("access") and answer.value is None, answer
        primary.execute("GRANT SELECT ON ALL SEQUENCES IN SCHEMA other TO health_api")
        assert ask(primary, "sequences_used").is_healthy
    finally:
        primary.execute("DROP SCHEMA other CASCADE")


def test_a_database_without_a_sequence_or_with_very_many_has_no_number(ask, granted, primary):
    answer = ask(primary, "sequences_used", PGDATABASE="postgres")
    assert answer.has_failed() and answer.value == NOTHING_TO_SHOW, answer
    each = "DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE '{} SEQUENCE many_' || i; END LOOP; END $$"
    primary.execute(each.format("CREATE"))
    try:
        answer = ask(primary, "sequences_used")
        assert answer.has_failed() and answer.value == NOTHING_TO_SHOW, answer
    finally:
        primary.execute(each.format("DROP"))
    assert ask(primary, "sequences_used").is_healthy
