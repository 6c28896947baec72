"""The chunker visits every key exactly once for any keys and any batch size."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from online_migrate import exceptions
from online_migrate.walk.checkpoint import decode_key, encode_key
from online_migrate.walk.chunk import Chunk
from online_migrate.walk.chunk_statement import CompiledChunkStatement
from online_migrate.walk.chunker import Chunker
from online_migrate.walk.conditions import KeyConditions
from online_migrate.walk.key import Key, is_beyond, key_columns

_INTEGERS = st.integers(-(2**63), 2**63 - 1)
_SMALL = st.integers(-3, 3)
_TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=4)
_SHAPES: list[tuple[tuple[Any, ...], tuple[st.SearchStrategy[Any], ...]]] = [
    ((sa.Integer,), (_INTEGERS,)),
    ((sa.String,), (_TEXTS,)),
    ((sa.LargeBinary,), (st.binary(max_size=3),)),
    ((sa.DateTime,), (st.datetimes(),)),
    ((sa.Float,), (st.floats(allow_nan=False, allow_infinity=False),)),
    ((sa.Integer, sa.Integer), (_SMALL, _SMALL)),
    ((sa.Integer, sa.String), (_SMALL, _TEXTS)),
    ((sa.String, sa.Integer, sa.Date), (st.sampled_from("ab"), _SMALL, st.dates())),
    ((sa.Integer, sa.Integer, sa.Integer, sa.Integer), (_SMALL, _SMALL, _SMALL, _SMALL)),
]


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with sa.create_engine("sqlite://").connect() as connection:
        yield connection


def _table(connection: Connection, types: Sequence[Any]) -> sa.Table:
    columns = [sa.Column(f"k{i}", type_, primary_key=True) for i, type_ in enumerate(types)]
    table = sa.Table("walked", sa.MetaData(), *columns, sa.Column("hits", sa.Integer, server_default="0"))
    table.drop(connection, checkfirst=True)
    table.create(connection)
    return table


def _chunker(connection: Connection, table: sa.Table, row_values: bool) -> Chunker:
    chunker = Chunker(connection, table)
    chunker.conditions = KeyConditions(table, chunker.key, row_values=row_values)
    return chunker


def _walk(connection: Connection, chunker: Chunker, size: int) -> Iterator[Chunk]:
    lower: Key | None = None
    while True:
        upper = chunker.nth_key(connection, lower, size) or chunker.last_key(connection, lower)
        if upper is None:
            return
        # The checkpoint is stored as text between two chunks.
        upper = decode_key(encode_key(upper))
        yield chunker.chunk(lower, upper, pending=None)
        assert upper != lower
        lower = upper


@pytest.mark.parametrize("row_values", [True, False], ids=["row values", "expanded"])
@pytest.mark.parametrize("shape", _SHAPES, ids=lambda shape: "-".join(t.__name__ for t in shape[0]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_chunks_contain_every_key_once(
    connection: Connection,
    shape: tuple[tuple[Any, ...], tuple[st.SearchStrategy[Any], ...]],
    row_values: bool,
    data: st.DataObject,
) -> None:
    """No key is skipped or repeated, each chunk except the last is full; both forms of ranges."""
    types, parts = shape
    keys = data.draw(st.sets(st.tuples(*parts), max_size=25))
    size = data.draw(st.integers(1, 30))
    table = _table(connection, types)
    if keys:
        values = [{f"k{i}": part for i, part in enumerate(key)} for key in keys]
        connection.execute(sa.insert(table), values)
    chunker = _chunker(connection, table, row_values)
    once = CompiledChunkStatement(
        chunker, None, lambda where: sa.update(table).where(where).values(hits=table.c.hits + 1)
    )
    sizes = []
    for chunk in _walk(connection, chunker, size):
        # ``chunk.where`` of a user's function and the compiled statement select the same rows.
        by_where = sa.select(sa.func.count()).select_from(table).where(chunk.where)
        sizes.append(once.execute(connection, chunk).rowcount)
        assert (
            connection.scalar(by_where.where(table.c.hits == 1)) == connection.scalar(by_where) == sizes[-1]
        )
    assert set(connection.scalars(sa.select(table.c.hits))) <= {1}
    whole, rest = divmod(len(keys), size)
    assert sizes == [size] * whole + [rest] * bool(rest)
    connection.rollback()


@pytest.mark.parametrize("row_values", [True, False], ids=["row values", "expanded"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_end_of_is_never_above_the_range(
    connection: Connection, row_values: bool, data: st.DataObject
) -> None:
    """Rows above the end of a range belong to another worker."""
    keys = sorted(data.draw(st.sets(st.tuples(_SMALL, _SMALL), max_size=20)))
    lower = data.draw(st.none() | st.tuples(_SMALL, _SMALL))
    upper = data.draw(st.tuples(_SMALL, _SMALL))
    n = data.draw(st.integers(1, 8))
    table = _table(connection, (sa.Integer, sa.Integer))
    if keys:
        connection.execute(sa.insert(table), [{"k0": a, "k1": b} for a, b in keys])
    inside = [key for key in keys if (lower is None or lower < key) and key <= upper]
    expected = inside[n - 1] if n <= len(inside) else None
    assert _chunker(connection, table, row_values).end_of(connection, lower, upper, n) == expected
    connection.rollback()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_chunk_with_only_and_excluding_selects_these_keys(
    connection: Connection, data: st.DataObject
) -> None:
    """``only`` and ``excluding`` select rows of a composite key, and no other row."""
    keys = sorted(data.draw(st.sets(st.tuples(_SMALL, _SMALL), min_size=1, max_size=20)))
    only = sorted(data.draw(st.sets(st.sampled_from(keys))))
    excluding = sorted(data.draw(st.sets(st.sampled_from(keys))))
    table = _table(connection, (sa.Integer, sa.Integer))
    connection.execute(sa.insert(table), [{"k0": a, "k1": b} for a, b in keys])
    chunker = Chunker(connection, table)
    chunk = chunker.chunk(None, keys[-1], pending=None, excluding=excluding, only=only)
    found = [tuple(row) for row in connection.execute(sa.select(table.c.k0, table.c.k1).where(chunk.where))]
    assert sorted(found) == [key for key in only if key not in excluding]
    connection.rollback()


DAY = datetime.datetime(2024, 2, 29)
HOUR = datetime.timedelta(hours=1)


@pytest.mark.parametrize(
    ("lower", "upper", "beyond"),
    [
        ((1,), (2,), True),
        ((2,), (2,), False),
        ((2,), (1,), False),
        ((0.1,), (0.1,), False),
        ((datetime.time(10),), (datetime.time(0),), False),
        ((1, 7), (1, 8), True),
        ((1, 8), (2, 0), True),
        ((1, 8), (1, 7), False),
        (("b",), ("a",), True),  # the server's order may differ
        (("a", 2), ("a", 1), False),
        ((DAY, HOUR), (DAY, 2 * HOUR), True),
        ((DAY, HOUR), (DAY - HOUR, 2 * HOUR), False),
        ((b"b",), (b"a",), True),
    ],
)
def test_is_beyond_recognises_a_step_back(lower: Key, upper: Key, beyond: bool) -> None:
    """Numbers and times have the same order in Python and on the server; the order of texts is unknown."""
    assert is_beyond(lower, upper) is beyond


def _ddl(*statements: str) -> Callable[[Connection], None]:
    def make(connection: Connection) -> None:
        connection.exec_driver_sql("DROP TABLE IF EXISTS t")
        for statement in statements:
            connection.exec_driver_sql(statement)

    return make


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)",), ("a",)),
        (("CREATE TABLE t (a INTEGER NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (b, a))",), ("b", "a")),
        (("CREATE TABLE t (a INTEGER NOT NULL UNIQUE, b INTEGER)",), ("a",)),
        (("CREATE TABLE t (a INTEGER, b INTEGER NOT NULL)", "CREATE UNIQUE INDEX u ON t (b)"), ("b",)),
        (
            ("CREATE TABLE t (a INTEGER NOT NULL, b INTEGER NOT NULL, UNIQUE (a, b), UNIQUE (b))",),
            ("b",),
        ),
        (("CREATE TABLE t (a INTEGER UNIQUE, b INTEGER)",), None),
        (("CREATE TABLE t (a INTEGER NOT NULL)", "CREATE INDEX i ON t (a)"), None),
        (("CREATE TABLE t (a INTEGER NOT NULL)", "CREATE UNIQUE INDEX u ON t (a) WHERE a > 0"), None),
        (("CREATE TABLE t (a VARCHAR(5) PRIMARY KEY)", "INSERT INTO t VALUES (NULL)"), None),
    ],
)
def test_key_columns(
    connection: Connection, statements: tuple[str, ...], expected: tuple[str, ...] | None
) -> None:
    """The primary key in its order, else the shortest unique key without NULL, else NoKey."""
    _ddl(*statements)(connection)
    table = sa.Table("t", sa.MetaData(), autoload_with=connection)
    if expected is None:
        with pytest.raises(exceptions.NoKey):
            key_columns(connection, table)
    else:
        assert tuple(column.name for column in key_columns(connection, table)) == expected
    connection.rollback()


def test_chunk_as_text(connection: Connection) -> None:
    """The text for logs and errors: table and range."""
    table = _table(connection, (sa.Integer, sa.String))
    chunker = Chunker(connection, table)
    assert str(chunker.chunk(None, (1, "a"), pending=None)) == "walked: from the start to (1, 'a')"
    assert str(chunker.chunk((1, "a"), (2, "b"), pending=None)) == "walked: from after (1, 'a') to (2, 'b')"
    connection.rollback()
