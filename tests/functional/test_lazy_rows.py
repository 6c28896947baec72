"""Rows that the application migrates on load and save, while old code and other new code write them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from online_migrate import Backfill
from online_migrate.counting import count_pending
from online_migrate.exceptions import DataMigrationBroken, UsageError
from online_migrate.openstack.lazy_rows import LazyRows, LoadedRow, RowChanged, RowStillPending
from tests.servers import Database
from tests.support.project import create, insert
from tests.support.schema import query_all, run_all

pytestmark = pytest.mark.each_product

GIB = 1024**3
FILL = Backfill(
    name="fill",
    table="volumes",
    values=lambda t: {"size_bytes": t.c.size * GIB},
    pending=lambda t: t.c.size_bytes != t.c.size * GIB,
)


@pytest.fixture
def volumes(database: Database) -> LazyRows:
    """Three rows of old code."""
    columns = (
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("host", sa.String(20).with_variant(sa.String(20, collation="NOCASE"), "sqlite")),
        sa.Column("seen", sa.DateTime),
        sa.Column("load", sa.Float),
    )
    table = create(database.engine, sa.Table("volumes", sa.MetaData(), *columns))
    insert(database.engine, table, [{"id": id, "size": id, "host": "a", "load": 0.1} for id in (1, 2, 3)])
    run_all(database, "UPDATE volumes SET seen = '2026-01-01 01:02:03'")
    return LazyRows(FILL)


def pending(database: Database) -> int:
    """What the gate counts."""
    with database.engine.connect() as connection:
        return count_pending(connection, FILL, FILL.subject(connection))


def sizes(database: Database, id: int) -> tuple[Any, ...]:
    [row] = query_all(database, f"SELECT size, size_bytes, host FROM volumes WHERE id = {id}")
    return tuple(row)


def change(database: Database, function: Callable[[sa.Connection], Any]) -> Any:
    with database.engine.begin() as connection:
        return function(connection)


def loaded(volumes: LazyRows, connection: sa.Connection, id: int) -> LoadedRow:
    row = volumes.load(connection, id=id)
    assert row is not None
    return row


def save_size(volumes: LazyRows, connection: sa.Connection, row: LoadedRow, size: int) -> LoadedRow:
    """What new code does: it writes the old column, too."""
    return volumes.save(connection, row, size_bytes=size, size=size // GIB)


def test_load_and_save_migrate_the_row(volumes: LazyRows, database: Database) -> None:
    """The gate counts a row that was loaded as migrated; the other rows are as they were."""
    assert pending(database) == 3
    row = change(database, lambda connection: loaded(volumes, connection, 2))
    assert (row["size_bytes"], row["size"], row["host"], row["id"]) == (2 * GIB, 2, "a", 2)
    assert (row["seen"].year, len(row)) == (2026, 6)
    assert pending(database) == 2
    assert change(database, lambda connection: volumes.load(connection, id=9)) is None

    def twice(connection: sa.Connection) -> LoadedRow:
        return save_size(volumes, connection, save_size(volumes, connection, row, 5 * GIB), 6 * GIB)

    assert change(database, twice)["size"] == 6
    assert sizes(database, 2) == (6, 6 * GIB, "a")
    assert pending(database) == 2


@pytest.mark.parametrize("written", ["size = 7", f"size = 7, size_bytes = {7 * GIB}"])
def test_another_session_writes_between_select_and_update(
    volumes: LazyRows, database: Database, written: str
) -> None:
    """Old code, or new code: what is loaded is what the row has when it is written, not what was read."""
    statements: list[str] = []

    def before(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("UPDATE") and not statements:
            statements.append(statement)
            run_all(database, f"UPDATE volumes SET {written} WHERE id = 1")

    engine = sa.create_engine(database.engine.url)
    event.listen(engine, "before_cursor_execute", before)
    with engine.begin() as connection:
        assert loaded(volumes, connection, 1)["size_bytes"] == 7 * GIB
    engine.dispose()
    assert statements
    assert sizes(database, 1) == (7, 7 * GIB, "a")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE volumes SET size = 7 WHERE id = 1",
        "UPDATE volumes SET host = 'A' WHERE id = 1",  # equal in some collations
        "DELETE FROM volumes WHERE id = 1",
    ],
)
def test_another_session_writes_between_load_and_save(
    volumes: LazyRows, database: Database, statement: str
) -> None:
    """The save is refused, and what was written meanwhile stays. A row that is loaded again can be saved."""
    row = change(database, lambda connection: loaded(volumes, connection, 1))
    run_all(database, statement)
    before = query_all(database, "SELECT * FROM volumes")
    with pytest.raises(RowChanged, match="Row id=1 of volumes was changed, or deleted"):
        change(database, lambda connection: save_size(volumes, connection, row, 5 * GIB))
    assert query_all(database, "SELECT * FROM volumes") == before
    again = change(database, lambda connection: volumes.load(connection, id=1))
    if again is not None:
        change(database, lambda connection: save_size(volumes, connection, again, again["size_bytes"] + GIB))
        assert sizes(database, 1)[0] == again["size"] + 1


def test_save_that_the_data_migration_would_overwrite(volumes: LazyRows, database: Database) -> None:
    """The old column was forgotten, or the transform differs from that of the data migration."""
    row = change(database, lambda connection: loaded(volumes, connection, 1))
    for values in ({"size_bytes": 5 * GIB}, {"size_bytes": 5 * GIB, "size": 4}):
        with pytest.raises(RowStillPending, match="Row id=1 of volumes is pending for data migration 'fill'"):
            change(database, lambda connection, values=values: volumes.save(connection, row, **values))
    assert sizes(database, 1) == (1, GIB, "a")
    for wrong in ({}, {"id": 4}, {"unknown": 1}):
        with pytest.raises(UsageError):
            change(database, lambda connection, wrong=wrong: volumes.save(connection, row, **wrong))
    with pytest.raises(UsageError, match="the key of volumes is id"):
        change(database, lambda connection: volumes.load(connection, size=1))
    run_all(database, "UPDATE volumes SET size = NULL WHERE id = 3")
    with pytest.raises(RowStillPending, match="after its values were set"):
        change(database, lambda connection: volumes.load(connection, id=3))
    with pytest.raises(DataMigrationBroken, match="it has no pending"):
        LazyRows(Backfill(name="blind", table="volumes", values={"size": 1}))


def test_no_update_is_lost(volumes: LazyRows, database: Database) -> None:
    """Two sessions of new code and one of old code each add to one row; no addition is missing."""
    times = 15

    def repeated(one: Callable[[sa.Connection], Any]) -> None:
        for _ in range(times):
            while True:
                try:
                    change(database, one)
                except (RowChanged, sa.exc.OperationalError):
                    continue  # changed by another session, or a deadlock or a lock of SQLite
                break

    def new_code(connection: sa.Connection) -> None:
        row = loaded(volumes, connection, 1)
        save_size(volumes, connection, row, row["size_bytes"] + GIB)

    def old_code(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE volumes SET size = size + 1 WHERE id = 1"))

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(repeated, one) for one in (new_code, new_code, old_code)]:
            done.result()
    change(database, lambda connection: loaded(volumes, connection, 1))
    assert sizes(database, 1) == (1 + 3 * times, (1 + 3 * times) * GIB, "a")
