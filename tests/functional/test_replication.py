"""The pairs of a primary and a replica that other tests use: pause, delay, and the read-only replica."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.servers import Database
from tests.servers.replication import Pair

PATIENCE = 60.0
REPLAY_TIME = 0.5
"""Seconds within which a row would have been replayed if the replica were not paused."""


@pytest.fixture
def database(pair: Pair, tmp_path: Path) -> Iterator[Database]:
    """A database of the primary, with a table that the replica has replayed."""
    with pair.primary.fresh_database(tmp_path, "replication") as database:
        with database.engine.begin() as connection:
            connection.execute(text("CREATE TABLE letters (id INTEGER PRIMARY KEY)"))
        write(database, 0)
        wait_for(pair, database, 0)
        yield database


def write(database: Database, number: int) -> None:
    """Inserts a row on the primary."""
    with database.engine.begin() as connection:
        connection.execute(text("INSERT INTO letters VALUES (:number)"), {"number": number})


def is_on_replica(pair: Pair, database: Database, number: int) -> bool:
    """Returns whether that row can be read on the replica."""
    return pair.shows(database.name, f"SELECT id FROM letters WHERE id = {number}")


def wait_for(pair: Pair, database: Database, number: int) -> None:
    """Waits until the row can be read on the replica."""
    end = time.monotonic() + PATIENCE
    while not is_on_replica(pair, database, number):
        assert time.monotonic() < end, f"row {number} never arrived"
        time.sleep(0.01)


def test_pair_paused_replica_replays_after_resume(pair: Pair, database: Database) -> None:
    """The paused replica falls behind, also after a change of its delay, and catches up."""
    pair.pause_replay()
    try:
        write(database, 1)
        time.sleep(REPLAY_TIME)
        assert not is_on_replica(pair, database, 1)
        pair.delay(0)
        time.sleep(REPLAY_TIME)
        assert not is_on_replica(pair, database, 1)
    finally:
        pair.resume_replay()
    wait_for(pair, database, 1)
    write(database, 2)
    wait_for(pair, database, 2)


def test_pair_delayed_replica_replays_after_the_delay(pair: Pair, database: Database) -> None:
    """Not before the delay has passed; after its removal, the waiting rows and the new ones arrive."""
    pair.delay(1)
    try:
        before = time.monotonic()
        write(database, 1)
        wait_for(pair, database, 1)
        assert time.monotonic() - before >= 1
        pair.delay(600)
        write(database, 2)
        time.sleep(REPLAY_TIME)
        assert not is_on_replica(pair, database, 2)
    finally:
        pair.delay(0)
    wait_for(pair, database, 2)
    write(database, 3)
    wait_for(pair, database, 3)


def test_pair_replica_is_a_separate_read_only_server(pair: Pair) -> None:
    """It accepts no writes, except from accounts that the server lets write to any replica."""
    assert pair.replica_url != pair.primary.url
    query = {
        "postgresql": "SELECT 1 WHERE pg_is_in_recovery()",
        "mariadb": "SELECT 1 FROM DUAL WHERE @@read_only = 1 AND @@server_id = 2",
        "mysql": "SELECT 1 FROM DUAL WHERE @@super_read_only = 1 AND @@server_id = 2",
    }[pair.primary.product]
    assert pair.shows(pair.recipe.database, query)
