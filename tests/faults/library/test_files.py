"""Each file of sql/library/: what it says, the rights that it needs, and all of them in one checks file."""
import os
import re

import pytest
from harness import backend as program
from harness.backend import SANITIZED
from harness.cluster import ROOT

from .conftest import FAILS, NAMES, NEED_A_GRANT, grants_of, healthy, read, revoke, setting

pytestmark = [pytest.mark.long, pytest.mark.skipif(SANITIZED, reason="is about what the server does"),
              pytest.mark.xdist_group("library")]  # the tests share their servers


def test_there_are_eight_and_each_is_named_after_its_check():
    assert len(NAMES) == 8
    for name in NAMES:
        assert re.findall(r"^-- check: (\w+)$", read(name), re.M) == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_what_it_needs_and_why_it_fails_or_warns(name):
    text = read(name)
    about = text.split("\n\n-- check:")[0]
    assert "\n-- PostgreSQL 12 to 18. " in about and "\n-- Where it is wrong: " in about
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
