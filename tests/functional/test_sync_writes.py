"""Every kind of write through sync triggers: upserts, defaults, NULLs, texts, random writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from online_migrate.dialects import dialect_of
from online_migrate.runtime import sync_operations  # noqa: F401 - registers the operations
from online_migrate.sync.definition import SyncRefused
from tests.servers import Database

GIB = 1024**3
DIVIDED = {"postgresql": "size_bytes / 1073741824", "sqlite": "size_bytes / 1073741824"}
DIVIDED |= {"mysql": "size_bytes DIV 1073741824"}
BYTES = {"size_bytes": sa.cast(sa.column("size_gb"), sa.BigInteger) * GIB}
VOLUMES = """
    CREATE TABLE volumes (id INTEGER PRIMARY KEY, size_gb INTEGER, size_bytes BIGINT, note VARCHAR(40),
    name VARCHAR(60), title VARCHAR(60))
"""


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.engine.connect() as connection:
        yield connection


def run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    connection.commit()


def create_sync(connection: Connection, name: str, table: str = "volumes", **definition: Any) -> None:
    Operations(MigrationContext.configure(connection)).create_sync(name, table, **definition)  # type: ignore[attr-defined]
    connection.commit()


def size_sync(connection: Connection) -> None:
    create_sync(connection, "size", forward=BYTES, backward={"size_gb": DIVIDED})


def rows(connection: Connection, columns: str, table: str = "volumes") -> list[tuple[Any, ...]]:
    found = connection.execute(sa.text(f"SELECT {columns} FROM {table} ORDER BY 1"))
    return [tuple(row) for row in found]


_ON_CONFLICT = (
    "INSERT INTO volumes (id, size_gb) VALUES (1, 3), (2, 4) "
    "ON CONFLICT (id) DO UPDATE SET size_gb = EXCLUDED.size_gb",
    f"INSERT INTO volumes (id, size_bytes) VALUES (1, {7 * GIB + 5}), (3, {8 * GIB}) "
    "ON CONFLICT (id) DO UPDATE SET size_bytes = EXCLUDED.size_bytes",
    "INSERT INTO volumes (id, size_gb) VALUES (3, 99), (4, 9) ON CONFLICT DO NOTHING",
)
_ON_DUPLICATE = (
    "INSERT INTO volumes (id, size_gb) VALUES (1, 3), (2, 4) "
    "ON DUPLICATE KEY UPDATE size_gb = VALUES(size_gb)",
    f"INSERT INTO volumes (id, size_bytes) VALUES (1, {7 * GIB + 5}), (3, {8 * GIB}) "
    "ON DUPLICATE KEY UPDATE size_bytes = VALUES(size_bytes)",
    "INSERT IGNORE INTO volumes (id, size_gb) VALUES (3, 99), (4, 9)",
)
_REPLACE = (
    "REPLACE INTO volumes (id, size_gb) VALUES (2, 6)",
    f"REPLACE INTO volumes (id, size_bytes) VALUES (4, {2 * GIB + 1})",
)
_MERGE = """
    MERGE INTO volumes v USING (VALUES ({key}, {value})) s (id, given) ON v.id = s.id
    WHEN MATCHED THEN UPDATE SET {column} = s.given
    WHEN NOT MATCHED THEN INSERT (id, {column}) VALUES (s.id, s.given)
"""
UPSERTS: Mapping[str, tuple[str, ...]] = {
    "sqlite": (*_ON_CONFLICT, *_REPLACE),
    "mysql": (*_ON_DUPLICATE, *_REPLACE),
    "mariadb": (*_ON_DUPLICATE, *_REPLACE),
    "postgresql": (
        *_ON_CONFLICT,
        _MERGE.format(column="size_gb", key=2, value=6),
        _MERGE.format(column="size_bytes", key=4, value=2 * GIB + 1),
    ),
}


def test_upserts(connection: Connection, database: Database) -> None:
    """ON CONFLICT, ON DUPLICATE KEY, INSERT IGNORE, REPLACE and MERGE of either version."""
    run(connection, VOLUMES, "INSERT INTO volumes (id, size_gb) VALUES (1, 1)")
    size_sync(connection)
    run(connection, *UPSERTS[database.server.product])
    assert rows(connection, "id, size_gb, size_bytes") == [
        (1, 7, 7 * GIB + 5),
        (2, 6, 6 * GIB),
        (3, 8, 8 * GIB),
        (4, 2, 2 * GIB + 1),
    ]


def test_defaults_and_not_null(connection: Connection) -> None:
    """A column at its default was not written; a generated column sees what the trigger assigned."""
    run(
        connection,
        """CREATE TABLE volumes (id INTEGER PRIMARY KEY, size_gb INTEGER NOT NULL DEFAULT 1,
           size_bytes BIGINT NOT NULL DEFAULT 0, twice BIGINT GENERATED ALWAYS AS (size_bytes * 2) STORED)""",
    )
    size_sync(connection)
    run(
        connection,
        "INSERT INTO volumes (id) VALUES (1)",
        "INSERT INTO volumes (id, size_gb) VALUES (2, 5)",
        f"INSERT INTO volumes (id, size_bytes) VALUES (3, {6 * GIB + 1})",
        f"INSERT INTO volumes (id, size_gb, size_bytes) VALUES (4, 2, {2 * GIB + 9})",
        "UPDATE volumes SET size_gb = 7 WHERE id = 2",
    )
    assert rows(connection, "id, size_gb, size_bytes, twice") == [
        (1, 1, GIB, 2 * GIB),
        (2, 7, 7 * GIB, 14 * GIB),
        (3, 6, 6 * GIB + 1, 12 * GIB + 2),
        (4, 2, 2 * GIB + 9, 4 * GIB + 18),
    ]


def test_old_column_without_default(connection: Connection) -> None:
    """A NOT NULL column without a default: filled by the trigger, or the sync is refused (SQLite)."""
    run(
        connection,
        "CREATE TABLE volumes (id INTEGER PRIMARY KEY, size_gb INTEGER NOT NULL, size_bytes BIGINT)",
    )
    if dialect_of(connection).sync_needs_defaults:
        with pytest.raises(SyncRefused, match="NOT NULL and has no default"):
            size_sync(connection)
        return
    size_sync(connection)
    run(connection, f"INSERT INTO volumes (id, size_bytes) VALUES (1, {3 * GIB}), (2, {4 * GIB})")
    assert rows(connection, "id, size_gb") == [(1, 3), (2, 4)]


def test_texts_and_several_syncs(connection: Connection) -> None:
    """A change of case alone is a change; two syncs on one table, and a data migration, do not disturb it."""
    run(connection, VOLUMES)
    size_sync(connection)
    create_sync(
        connection, "title", forward={"title": sa.column("name")}, backward={"name": sa.column("title")}
    )
    run(
        connection,
        f"INSERT INTO volumes (id, name, size_bytes) VALUES (1, 'abc', {GIB}), (2, 'é:%', {GIB})",
        "UPDATE volumes SET name = 'ABC' WHERE id = 1",
        "UPDATE volumes SET title = 'É:%s', size_gb = 2 WHERE id = 2",
        "INSERT INTO volumes (id, title, size_gb) VALUES (3, '', 4)",
        "UPDATE volumes SET title = 'x ' WHERE id = 3",
    )
    assert rows(connection, "id, name, title, size_gb, size_bytes") == [
        (1, "ABC", "ABC", 1, GIB),
        (2, "É:%s", "É:%s", 2, 2 * GIB),
        (3, "x ", "x ", 4, 4 * GIB),
    ]


def test_lossy_in_either_direction(connection: Connection) -> None:
    """A shape that says the same already is kept, although the values are not the inverse of each other."""
    run(connection, VOLUMES)
    size_sync(connection)
    create_sync(
        connection,
        "title",
        forward={"title": sa.func.lower(sa.column("name"))},
        backward={"name": sa.column("title")},
    )
    half = 5 * GIB + GIB // 2
    run(
        connection,
        f"INSERT INTO volumes (id, size_gb, size_bytes) VALUES (1, 4, {half})",
        "UPDATE volumes SET size_gb = 5",
        "INSERT INTO volumes (id, name, title) VALUES (2, 'ABC', 'else'), (3, 'DEF', 'else')",
        "UPDATE volumes SET title = 'abc' WHERE id = 2",
        "UPDATE volumes SET title = 'ghi' WHERE id = 3",
    )
    assert rows(connection, "id, size_gb, size_bytes, name, title") == [
        (1, 5, half, None, None),
        (2, None, None, "ABC", "abc"),
        (3, None, None, "ghi", "ghi"),
    ]


# --- random writes against a model ---------------------------------------------------------------


def forward(gb: int | None) -> int | None:
    return None if gb is None else gb * GIB


def backward(size: int | None) -> int | None:
    return None if size is None else size // GIB


class Model:
    """What the rows must be after the writes of either version."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int | None, int | None]] = {}

    def insert(self, key: int, gb: int | None, size: int | None) -> None:
        if size is None:
            size = forward(gb)
        elif gb is None:
            gb = backward(size)
        self.rows[key] = (gb, size)

    def update(self, key: int, gb: int | None, size: int | None) -> None:
        if key not in self.rows:
            return
        old_gb, old_size = self.rows[key]
        if gb != old_gb and size == old_size and (size is None or backward(size) != gb):
            size = forward(gb)
        elif size != old_size and gb == old_gb and forward(gb) != size:
            gb = backward(size)
        self.rows[key] = (gb, size)


_KEYS = st.integers(1, 4)
_GB = st.one_of(st.none(), st.integers(0, 3))
_SIZE = st.one_of(
    st.none(), st.builds(lambda gb, rest: gb * GIB + rest, st.integers(0, 3), st.integers(0, 2))
)
_WRITES = st.lists(
    st.tuples(st.sampled_from(["old", "new", "both", "note"]), _KEYS, _GB, _SIZE), min_size=1, max_size=25
)
RECURSIVE = {"sqlite": "PRAGMA recursive_triggers = {}"}


@pytest.fixture
def play(connection: Connection, database: Database) -> Callable[[bool, Any], None]:
    """Returns a function that executes writes, and compares the rows with the model."""
    run(connection, VOLUMES)
    size_sync(connection)

    def write(model: Model, version: str, key: int, gb: int | None, size: int | None) -> None:
        columns = {
            "old": ["size_gb"],
            "new": ["size_bytes"],
            "both": ["size_gb", "size_bytes"],
            "note": ["note"],
        }
        values = {"size_gb": gb, "size_bytes": size, "note": "x"}
        given = {name: values[name] for name in columns[version]}
        before = model.rows.get(key)
        if before is None:
            names = ", ".join(["id", *given])
            text = f"INSERT INTO volumes ({names}) VALUES ({', '.join(':' + n for n in ['id', *given])})"
            model.insert(key, given.get("size_gb"), given.get("size_bytes"))
        else:
            text = f"UPDATE volumes SET {', '.join(f'{n} = :{n}' for n in given)} WHERE id = :id"
            model.update(key, given.get("size_gb", before[0]), given.get("size_bytes", before[1]))
        connection.execute(sa.text(text), {"id": key, **given})

    def play(recursive: bool, writes: Any) -> None:
        pragma = RECURSIVE.get(database.server.product)
        if pragma is not None:
            connection.rollback()
            connection.exec_driver_sql(pragma.format("ON" if recursive else "OFF"))
        model = Model()
        for version, key, gb, size in writes:
            write(model, version, key, gb, size)
        found = {row[0]: row[1:] for row in rows(connection, "id, size_gb, size_bytes")}
        connection.rollback()
        assert found == model.rows

    return play


def test_random_writes(play: Callable[[bool, Any], None]) -> None:
    """Random writes of either version, or of both shapes at once, leave what the rules say."""

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.booleans(), _WRITES)
    def check(recursive: bool, writes: Any) -> None:
        play(recursive, writes)

    check()
