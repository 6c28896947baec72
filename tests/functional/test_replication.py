"""The pairs of a primary and a replica that other tests stand on do what they promise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.servers import Database
from tests.servers.replication import Pair

PATIENCE = 60.0
LONG_ENOUGH = 0.5
"""Seconds in which a row would have arrived that is not held back."""


@pytest.fixture
def database(pair: Pair, tmp_path: Path) -> Iterator[Database]:
    """A database of the primary, with a table that has arrived on the replica."""
    with pair.primary.fresh_database(tmp_path, "replication") as database:
        with database.engine.begin() as connection:
            connection.execute(text("CREATE TABLE letters (id INTEGER PRIMARY KEY)"))
        write(database, 0)
        wait_for(pair, database, 0)
        yield database


def write(database: Database, number: int) -> None:
    """A row on the primary."""
    with database.engine.begin() as connection:
        connection.execute(text("INSERT INTO letters VALUES (:number)"), {"number": number})


def is_there(pair: Pair, database: Database, number: int) -> bool:
    """Whether that row can be read on the replica."""
    return pair.shows(database.name, f"SELECT id FROM letters WHERE id = {number}")


def wait_for(pair: Pair, database: Database, number: int) -> None:
    """Until it can."""
    end = time.monotonic() + PATIENCE
    while not is_there(pair, database, number):
        assert time.monotonic() < end, f"row {number} never arrived"
        time.sleep(0.01)


def test_what_is_held_arrives_when_it_is_let_go(pair: Pair, database: Database) -> None:
    """The replica falls behind, a change of its delay or not, and catches up."""
    pair.hold()
    try:
        write(database, 1)
        time.sleep(LONG_ENOUGH)
        assert not is_there(pair, database, 1)
        pair.delay(0)
        time.sleep(LONG_ENOUGH)
        assert not is_there(pair, database, 1)
    finally:
        pair.let_go()
    wait_for(pair, database, 1)
    write(database, 2)
    wait_for(pair, database, 2)


def test_what_is_delayed_arrives_that_late(pair: Pair, database: Database) -> None:
    """Never before its time; with the delay taken away, what was waiting for it and what comes then."""
    pair.delay(1)
    try:
        before = time.monotonic()
        write(database, 1)
        wait_for(pair, database, 1)
        assert time.monotonic() - before >= 1
        pair.delay(600)
        write(database, 2)
        time.sleep(LONG_ENOUGH)
        assert not is_there(pair, database, 2)
    finally:
        pair.delay(0)
    wait_for(pair, database, 2)
    write(database, 3)
    wait_for(pair, database, 3)


def test_the_replica_is_another_server_and_says_that_it_is_a_replica(pair: Pair) -> None:
    """It takes no writes of its own, except from those whom the server lets write to any replica."""
    assert pair.replica_url != pair.primary.url
    query = {
        "postgresql": "SELECT 1 WHERE pg_is_in_recovery()",
        "mariadb": "SELECT 1 FROM DUAL WHERE @@read_only = 1 AND @@server_id = 2",
        "mysql": "SELECT 1 FROM DUAL WHERE @@super_read_only = 1 AND @@server_id = 2",
    }[pair.primary.product]
    assert pair.shows(pair.recipe.database, query)
