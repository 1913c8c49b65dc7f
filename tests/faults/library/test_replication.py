"""writes_refused, replay_lag, replication_slots and wal_archiving on a primary and its standby."""
import contextlib
import os

import pytest
from harness.backend import SANITIZED
from harness.wait import wait_until

from .conftest import (NOTHING_TO_SHOW, WAL_FILE, commit, failed, fill_wal_files, grants_of, healthy, setting,
                       wait_replayed)

pytestmark = [pytest.mark.long, pytest.mark.skipif(SANITIZED, reason="is about what the server does"),
              pytest.mark.xdist_group("library")]  # the tests share their servers


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


def age_of_the_last_commit(standby):
    age = "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float"
    return standby.execute(age)[0][0]


@pytest.fixture
def idle(primary, standby):
    """Both servers, when the last commit is so long ago that its age is not rounded to 0 s."""
    commit(primary)
    wait_replayed(primary, standby)
    wait_until(lambda: age_of_the_last_commit(standby) > 0.6, 10, "no commit for a while")
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
        def failed_after_a_commit(asked):
            """The standby may get its setting after a commit, and replay that one at once."""
            commit(primary)
            return failed(asked)
        assert wait_for(standby, "replay_lag", failed_after_a_commit, limit=0) >= 1
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


def test_a_lost_slot_is_not_taken_for_one_that_retains_nothing(ask, primary, standby):
    with slot(primary):
        fill_wal_files(primary, 6)
        wait_replayed(primary, standby)  # or it would lose WAL that it needs, too
        with setting(primary, max_slot_wal_keep_size="1MB", wal_keep_size="0"):
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
