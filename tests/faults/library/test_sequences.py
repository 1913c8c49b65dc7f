"""sequences_used: which sequences end, and at which value."""
import contextlib

import psycopg2
import pytest
from harness.backend import SANITIZED

from .conftest import NOTHING_TO_SHOW, failed, healthy, wait_replayed

pytestmark = [pytest.mark.long, pytest.mark.skipif(SANITIZED, reason="is about what the server does"),
              pytest.mark.xdist_group("library")]  # the tests share their servers

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
