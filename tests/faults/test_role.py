"""The login that sql/role.sql creates, with the command in its first lines, on servers with and without the role."""
import subprocess

import psycopg2
import pytest
from harness.cluster import PASSWORD


def run(cluster, *variables, database=None):
    """Runs sql/role.sql with psql, and returns its stderr."""
    options = [word for variable in variables for word in ("-v", variable)]
    return cluster.load("role.sql", *options, database=database).stderr


def settings_of(cluster, role, database=None):
    rows = cluster.execute("SELECT d.datname, unnest(s.setconfig) FROM pg_db_role_setting s"
                           " JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase"
                           f" WHERE r.rolname = '{role}'")
    return {setting for name, setting in rows if name == database}


def logs_in(cluster, password, **options):
    try:
        psycopg2.connect(host=cluster.directory, user="health_api", password=password,
                         **{"dbname": cluster.database, **options}).close()
        return True
    except psycopg2.OperationalError:
        return False


@pytest.mark.parametrize("attributes", ["read-write", "primary", "any"])
def test_the_shipped_role_finds_a_primary(start_backend, attributes):
    """libpq reads default_transaction_read_only of the role; if it is on, libpq takes the server for read-only."""
    backend = start_backend(PGTARGETSESSIONATTRS=attributes)
    backend.wait_status("healthy")


def test_a_role_that_an_older_file_made_read_only_becomes_writable(own_cluster):
    own_cluster.execute("ALTER ROLE health_api SET default_transaction_read_only = on")
    run(own_cluster)
    assert not [setting for setting in settings_of(own_cluster, "health_api") if "read_only" in setting]


def test_a_second_database_does_not_break_the_first_one(own_cluster):
    """The role has one password for all databases of the server."""
    own_cluster.execute("CREATE DATABASE second")
    own_cluster.load("schema.sql", database="second")
    said = run(own_cluster, "password=another", database="second")
    assert "keeps its password" in said and "\\password health_api" in said
    assert logs_in(own_cluster, PASSWORD) and not logs_in(own_cluster, "another")
    assert logs_in(own_cluster, PASSWORD, dbname="second")


def test_it_can_be_run_again_and_prints_nothing(own_cluster):
    before = settings_of(own_cluster, "health_api"), settings_of(own_cluster, "health_api", own_cluster.database)
    assert run(own_cluster) == ""
    assert (settings_of(own_cluster, "health_api"), settings_of(own_cluster, "health_api", own_cluster.database)) == before
    assert logs_in(own_cluster, PASSWORD)


def test_another_name_another_schema_and_another_limit(own_cluster, start_backend, checks_file):
    own_cluster.execute('CREATE SCHEMA "my data"')
    for table in ("hypotheses", "analyses", "entities", "edges", "debates"):
        own_cluster.execute(f'ALTER TABLE {table} SET SCHEMA "my data"')
    run(own_cluster, "role=the probe", "schema=my data", "limit=7", "password=pa'ss\\w%s")
    own_cluster.write_hba('local all "the probe" scram-sha-256\nlocal all postgres trust\n')
    limit = own_cluster.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'the probe'")
    assert limit == [(7,)]
    backend = start_backend(**own_cluster.environment(PGUSER="the probe", PGPASSWORD="pa'ss\\w%s"))
    assert None not in backend.wait_status("healthy")["counts"].values()


def test_ten_nodes_have_enough_connections(own_cluster):
    """Each node has one session, and a second one while a newcomer logs in."""
    held = [psycopg2.connect(host=own_cluster.directory, user="health_api", password=PASSWORD, dbname=own_cluster.database)
            for _ in range(20)]
    for connection in held:
        connection.close()
