"""PostgreSQL finds damage on disk, and the right check reports it."""
import os
import time

import pytest
from harness.backend import SANITIZED
from harness.wait import wait_until

pytestmark = pytest.mark.skipif(SANITIZED, reason="is about what the server does")

CHECKS = """
-- check: debates
SELECT count(*) FROM debates;
-- check: by_index
SELECT count(*) FROM entities WHERE id = 4999;
-- check: last_row
SELECT count(argument) FROM debates WHERE id = 200;
-- check: edges
SELECT count(*) FROM edges;
"""
GOOD = {"debates": 200, "by_index": 1, "last_row": 1, "edges": 4999}
LATER = 2 + 1.5


def overwrite(path, offset, length):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xde\xad\xbe\xef" * (length // 4))


def damage_heap_page(path):
    overwrite(path, 8192 + 4000, 2000)


def damage_index_leaves(path):
    for page in range(1, os.path.getsize(path) // 8192):
        overwrite(path, page * 8192 + 4000, 2000)


def truncate(path):
    os.truncate(path, 8192)


@pytest.mark.parametrize("relation, damage, check, still_good", [
    ("debates", damage_heap_page, "debates", ["by_index", "edges"]),
    ("entities_pkey", damage_index_leaves, "by_index", ["debates", "last_row", "edges"]),
    ("debates", os.unlink, "debates", ["by_index", "edges"]),
    ("debates", truncate, "last_row", ["by_index", "edges"]),
], ids=["heap_page", "index_page", "file_deleted", "file_truncated"])
def test_corrupt(start_backend, own_cluster, checks_file, fault, relation, damage, check, still_good):
    if damage is truncate:
        # A sequential scan takes the end of the file for the end of the table, so only an index scan misses the rows.
        # (health-api-checks(5) advises a `min` for each count.)
        own_cluster.execute("ALTER ROLE health_api SET enable_seqscan = off")
    backend = start_backend(HEALTH_CHECKS=checks_file(CHECKS), **own_cluster.environment())
    assert backend.wait_status("healthy")["counts"] == GOOD
    ((path,),) = own_cluster.execute(f"SELECT pg_relation_filepath('{relation}')")
    own_cluster.stop("fast")
    damage(os.path.join(own_cluster.data, path))
    own_cluster.start()
    fault.injected()

    def is_reported():
        document = backend.document()
        return document if {"check": check, "reason": "corrupt"} in document["failing"] else None
    document = wait_until(is_reported, LATER, f"{check} is corrupt; log: {backend.log()[-1500:]}")
    fault.record(f"{check} corrupt", time.monotonic() - fault.began, LATER)
    assert backend.ask().status == 503
    document = wait_until(lambda: None not in [backend.document()["counts"][name] for name in still_good]
                          and backend.document(), 5, "the other checks count")
    assert {name: document["counts"][name] for name in still_good} == {name: GOOD[name] for name in still_good}
    assert {entry["reason"] for entry in document["failing"]} == {"corrupt"}


def test_a_damaged_catalog_makes_every_login_fail(start_backend, own_cluster, fault):
    """Each login reads pg_database."""
    backend = start_backend(**own_cluster.environment())
    backend.wait_status("healthy")
    ((path,),) = own_cluster.execute("SELECT pg_relation_filepath('pg_database')")
    own_cluster.stop("fast")
    overwrite(os.path.join(own_cluster.data, path), 4000, 2000)
    own_cluster.start()
    fault.injected()
    backend.wait_failing(("database", "corrupt"), deadline_s=LATER)
    fault.record("database corrupt", time.monotonic() - fault.began, LATER)
    assert set(backend.document()["counts"].values()) == {None}
