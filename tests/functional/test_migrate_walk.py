"""A walk visits every row exactly once for each kind of key."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from online_migrate import exceptions
from online_migrate.migrate.progress import NullListener, Snapshot
from online_migrate.migrate.status import Outcome
from tests.servers import Database
from tests.support.project import Project, create, execute, insert, rows, scalar

pytestmark = pytest.mark.each_product

FAMILY = ("mysql", "mariadb")
BINARY = sa.LargeBinary(16).with_variant(mysql.BINARY(16), *FAMILY)
TIMESTAMP = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *FAMILY)
ZONED = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *FAMILY)
SIZE = sa.Enum("small", "medium", "large", name="size")
START = datetime.datetime(2024, 2, 29, 23, 59, 58, 999_990)

Columns = Callable[[], list[Any]]


def _uuids(count: int) -> list[uuid.UUID]:
    return [uuid.uuid5(uuid.NAMESPACE_DNS, str(i)) for i in range(count)]


STRINGS = ["", "%", "%(x)s", ":x", "'", '"', "\\", "a", "b;--", "c\nd", "é", "Ж", "日本", "🐘", "z" * 100]
INTEGERS = [-(2**31), -7, -1, 0, 1, 2, 3, 50, 1_000, 1_001, 99_999, 2**31 - 1]
LARGE = [-(2**63), -(2**53) - 1, 0, 2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1]
DATES = [datetime.date(2024, 2, 28) + datetime.timedelta(days=i) for i in range(9)]
TIMESTAMPS = [START + datetime.timedelta(microseconds=3 * i) for i in range(9)]


def _primary(*types: Any) -> Columns:
    def columns() -> list[Any]:
        return [
            sa.Column(f"k{i}", type_, primary_key=True, autoincrement=False) for i, type_ in enumerate(types)
        ]

    return columns


def _unique(*types: Any) -> Columns:
    def columns() -> list[Any]:
        keys = [sa.Column(f"k{i}", type_, nullable=False) for i, type_ in enumerate(types)]
        return [*keys, sa.UniqueConstraint(*[key.name for key in keys], name="uq_walked")]

    return columns


def _zone(moments: list[datetime.datetime]) -> list[datetime.datetime]:
    return [moment.replace(tzinfo=datetime.UTC) for moment in moments]


KEYS: dict[str, tuple[Columns, list[tuple[Any, ...]]]] = {
    "integer": (_primary(sa.Integer), [(i,) for i in INTEGERS]),
    "large integer": (_primary(sa.BigInteger), [(i,) for i in LARGE]),
    "string": (_primary(sa.String(120)), [(text,) for text in STRINGS]),
    "uuid": (_primary(sa.Uuid()), [(key,) for key in _uuids(11)]),
    "uuid as text": (_primary(sa.CHAR(36)), [(str(key),) for key in _uuids(11)]),
    "uuid as bytes": (_primary(BINARY), [(key.bytes,) for key in _uuids(11)]),
    "timestamp": (_primary(TIMESTAMP), [(moment,) for moment in TIMESTAMPS]),
    "timestamp with zone": (_primary(ZONED), [(moment,) for moment in _zone(TIMESTAMPS)]),
    "date": (_primary(sa.Date), [(date,) for date in DATES]),
    "padded string": (_primary(sa.CHAR(8)), [("a",), ("a b",), ("ab",), ("b",)]),
    "decimal": (
        _primary(sa.Numeric(20, 6)),
        [(decimal.Decimal(n) / 1_000_000,) for n in (-7, 0, 1, 2, 10**9)],
    ),
    "enum": (_primary(SIZE), [("small",), ("medium",), ("large",)]),
    "enum and integer": (
        _primary(SIZE, sa.Integer),
        [(a, b) for a in ("large", "small", "medium") for b in (2, 1, 3)],
    ),
    "two integers": (_primary(sa.Integer, sa.Integer), [(a, b) for a in (-1, 0, 7) for b in (3, 1, 2, -9)]),
    "string and integer": (
        _primary(sa.String(20), sa.Integer),
        [(a, b) for a in ("", "ab", "b") for b in (2, 1, 3)],
    ),
    "integer, string, timestamp": (
        _primary(sa.Integer, sa.String(20), TIMESTAMP),
        [(a, b, c) for a in (1, 2) for b in ("x", "y") for c in TIMESTAMPS[:3]],
    ),
    "bytes and large integer": (
        _primary(BINARY, sa.BigInteger),
        [(key.bytes, number) for key in _uuids(3) for number in LARGE[2:6]],
    ),
    "unique integer": (_unique(sa.Integer), [(i,) for i in INTEGERS]),
    "unique string and date": (
        _unique(sa.String(20), sa.Date),
        [(a, date) for a in ("p", "q") for date in DATES],
    ),
}
AT_DEFAULT_PACE = "two integers"


class Chunks(NullListener):
    """Records the number of rows that each chunk migrated."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.ranges: list[str] = []
        self._done = 0

    def started(self, snapshot: Snapshot) -> None:
        self._done = snapshot.done

    def advanced(self, snapshot: Snapshot) -> None:
        if not snapshot.chunk:
            # The event only reports the start or end of a wait: the latency probe measures after half a
            # second.
            return
        self.sizes.append(snapshot.done - self._done)
        self.ranges.append(snapshot.chunk)
        self._done = snapshot.done


@pytest.fixture
def project(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """One key is walked at the default pace on every server, with the latency probe between the chunks."""
    parameters = getattr(request.node, "callspec", None)
    default = parameters is not None and parameters.params.get("key") == AT_DEFAULT_PACE
    with Project.create(tmp_path / "project", database.url, pace=None if default else "full") as written:
        yield written


def _table(columns: list[Any], *hits: str) -> sa.Table:
    counters = [sa.Column(name, sa.Integer, server_default="0") for name in hits]
    return sa.Table("items", sa.MetaData(), *columns, *counters, mysql_charset="utf8mb4")


@pytest.mark.parametrize("key", KEYS)
def test_walk_visits_every_row_once_for_each_key_and_batch_size(
    key: str, database: Database, project: Project
) -> None:
    """Without ``pending`` only the walk decides which rows are visited: each row once, in full chunks."""
    columns, keys = KEYS[key]
    count = len(keys)
    sizes = {"of_one": 1, "of_four": 4, "of_all": count, "of_more": count + 1}
    table = create(database.engine, _table(columns(), *sizes, "by_row"))
    insert(database.engine, table, [{f"k{i}": part for i, part in enumerate(parts)} for parts in keys])
    project.data("hits", HITS)
    walks: dict[int, list[str]] = {}
    for name, size in [*sizes.items(), ("by_row", 4)]:
        walks.setdefault(size, []).append(name)
    for size, names in walks.items():
        chunks = Chunks()
        results = project.migrate(*names, batch_size=size, listener=chunks)
        assert {results[name].outcome for name in names} == {Outcome.COMPLETE}
        one = [size] * (count // size) + [count % size] * bool(count % size)
        assert chunks.sizes == one * len(names), chunks.ranges
        for name in names:
            assert results[name].done == count
            assert rows(database.engine, f"SELECT DISTINCT {name} FROM items") == [(1,)], name


HITS = """
for name in ("of_one", "of_four", "of_all", "of_more"):
    globals()[name] = Backfill(
        name=name, table="items", values=lambda t, name=name: {name: t.c[name] + 1})

@row_migration(table="items")
def by_row(row):
    return {"by_row": row.by_row + 1}
"""


@pytest.mark.parametrize("key", ["integer", "two integers", "unique string and date"])
def test_walk_of_an_empty_table_is_complete(key: str, database: Database, project: Project) -> None:
    """No row, no chunk: complete, exit code 0."""
    columns, _ = KEYS[key]
    create(database.engine, _table(columns(), "n"))
    project.data("fill", 'fill = Backfill(table="items", values={"n": 1}, pending=lambda t: t.c.n != 1)')
    chunks = Chunks()
    assert project.migrate(listener=chunks)["fill"].outcome is Outcome.COMPLETE
    assert chunks.sizes == []
    assert project.counts("fill") == (0, 0, 0)


def test_walk_of_sparse_keys_and_deleted_ranges_has_no_empty_chunks(
    database: Database, project: Project
) -> None:
    """Chunks consist of rows and not of key ranges: a gap of a billion keys is no chunk."""
    table = create(database.engine, _table(_primary(sa.BigInteger)(), "n"))
    spread = [i * 10**9 for i in range(-10, 30)]
    insert(database.engine, table, [{"k0": i} for i in spread])
    execute(database.engine, f"DELETE FROM items WHERE k0 BETWEEN 0 AND {15 * 10**9}")
    project.data("fill", 'fill = Backfill(table="items", values={"n": 1}, pending=lambda t: t.c.n == 0)')
    chunks = Chunks()
    assert project.migrate(batch_size=6, listener=chunks)["fill"].done == 24
    assert chunks.sizes == [6, 6, 6, 6]


def test_walk_continues_from_a_checkpoint_whose_row_was_deleted(database: Database, project: Project) -> None:
    """The checkpoint is a key and not a row: its row and the rows around it may be deleted."""
    table = create(database.engine, _table(_primary(sa.String(20), sa.Integer)(), "n"))
    insert(database.engine, table, [{"k0": a, "k1": b} for a in ("a", "b", "c") for b in range(10)])
    project.data("count", 'count = Backfill(table="items", values=lambda t: {"n": t.c.n + 1})')
    assert project.migrate(max_count=15, batch_size=5)["count"].outcome is Outcome.REMAINING
    execute(database.engine, "DELETE FROM items WHERE k0 = 'b' AND k1 BETWEEN 3 AND 7")
    assert project.migrate(batch_size=5)["count"].outcome is Outcome.COMPLETE
    assert rows(database.engine, "SELECT DISTINCT n FROM items") == [(1,)]
    assert scalar(database.engine, "SELECT count(*) FROM items") == 25


@pytest.mark.parametrize(
    "declared",
    ["k INTEGER", "k INTEGER UNIQUE", "k INTEGER NOT NULL, other INTEGER, UNIQUE (k, other)"],
    ids=["no key", "unique, but NULL is allowed", "half of it may be NULL"],
)
def test_walk_refuses_a_table_without_a_usable_key(
    declared: str, database: Database, project: Project
) -> None:
    """Exit code 3, the missing key is named, no row is changed, and status still works."""
    execute(
        database.engine,
        f"CREATE TABLE items (n INTEGER, {declared})",
        "INSERT INTO items (n, k) VALUES (0, 1)",
    )
    project.data("fill", 'fill = Backfill(table="items", values={"n": 1}, pending=lambda t: t.c.n == 0)')
    with pytest.raises(exceptions.NoKey) as caught:
        project.migrate()
    assert caught.value.exit_code == 3
    assert "NOT NULL" in str(caught.value)
    assert "op.create_unique_constraint('uq_items_walk', 'items'" in caught.value.hint
    assert rows(database.engine, "SELECT n FROM items") == [(0,)]
    assert project.counts("fill") == (0, 1, 0)


def test_gate_counts_a_table_without_a_key(database: Database, project: Project) -> None:
    """A table that cannot be walked any more can still be counted.

    The gate reports the rows and stays closed.
    """
    execute(
        database.engine, "CREATE TABLE items (n INTEGER NOT NULL)", "CREATE UNIQUE INDEX walked ON items (n)"
    )
    project.expand('op.create_table("more", sa.Column("id", sa.Integer, primary_key=True))')
    project.contract('op.drop_column("items", "n")', requires=("fill",))
    project.data("fill", 'fill = Backfill(table="items", values={"n": 1}, pending=lambda t: t.c.n == 0)')
    project.apply_expand()
    project.migrate()
    on = " ON items" if database.server.product in FAMILY else ""
    execute(database.engine, f"DROP INDEX walked{on}", "INSERT INTO items VALUES (0)")
    blockers = {blocker.id: blocker for blocker in project.report().blockers}
    assert blockers["pending-rows"].count == 1


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection:sqlalchemy.exc.SAWarning")
def test_walk_does_not_use_a_partial_or_expression_index(database: Database, project: Project) -> None:
    """An index that does not cover every row, or covers an expression, does not make a column unique."""
    execute(database.engine, "CREATE TABLE items (a INTEGER NOT NULL, b INTEGER NOT NULL, n INTEGER)")
    for index in _USELESS_INDEXES.get(database.server.product, ()):
        execute(database.engine, index)
    project.data("fill", 'fill = Backfill(table="items", values={"n": 1}, pending=lambda t: t.c.n.is_(None))')
    with pytest.raises(exceptions.NoKey):
        project.migrate()


_USELESS_INDEXES = {
    "sqlite": ("CREATE UNIQUE INDEX half ON items (a) WHERE b > 0", "CREATE UNIQUE INDEX odd ON items (-a)"),
    "postgresql": (
        "CREATE UNIQUE INDEX half ON items (a) WHERE b > 0",
        "CREATE UNIQUE INDEX odd ON items ((-a))",
    ),
    "mysql": ("CREATE UNIQUE INDEX odd ON items ((-a))",),
}


TYPED = """
items = sa.Table("items", sa.MetaData(), {columns}, sa.Column("n", sa.Integer))
fill = Backfill(table=items, values=lambda t: {{"n": t.c.n + 1}}, pending=lambda t: t.c.n < 1)

@row_migration(table=items)
def by_row(row):
    return {{"n": row.n + 10}}
"""


@pytest.mark.parametrize(
    "columns",
    [
        'sa.Column("k0", sa.Integer, primary_key=True), sa.Column("k1", sa.Integer, primary_key=True)',
        'sa.Column("k0", sa.Integer), sa.Column("k1", sa.Integer)',
        'sa.Column("k0", sa.Integer, primary_key=True), sa.Column("k1", sa.Integer)',
    ],
    ids=["complete key", "no key", "half of the key"],
)
def test_walk_of_a_typed_table_uses_the_key_in_the_database(
    columns: str, database: Database, project: Project
) -> None:
    """A typed ``sa.Table`` with an incomplete key must not make two rows share one key."""
    table = create(database.engine, _table(_primary(sa.Integer, sa.Integer)(), "n"))
    insert(database.engine, table, [{"k0": a, "k1": b, "n": -b} for a in range(3) for b in range(4)])
    project.data("typed", TYPED.format(columns=columns))
    assert project.migrate("by_row", batch_size=3)["by_row"].done == 12
    found = rows(database.engine, "SELECT k0, k1, n FROM items")
    assert sorted(found) == [(a, b, 10 - b) for a in range(3) for b in range(4)]


def test_walk_refuses_a_typed_table_without_the_key_column(database: Database, project: Project) -> None:
    """Without the key's columns there is no walk: the error is NoKey and not a KeyError."""
    create(database.engine, _table(_primary(sa.Integer)(), "n"))
    project.data("typed", TYPED.format(columns='sa.Column("x", sa.Integer)'))
    with pytest.raises(exceptions.NoKey) as caught:
        project.migrate("fill")
    assert "'k0'" in caught.value.hint


def test_column_names_equal_to_internal_parameter_names(database: Database, project: Project) -> None:
    """A user's table may have columns named key_0, value_0, one, status, name."""
    names = ["key_0", "value_0", "one", "status", "name", "order", "50%"]
    table = create(
        database.engine,
        sa.Table(
            "select",
            sa.MetaData(),
            sa.Column("key_1", sa.Integer, primary_key=True, autoincrement=False),
            *[sa.Column(name, sa.Integer, server_default="0") for name in names],
        ),
    )
    insert(database.engine, table, [{"key_1": i} for i in range(5)])
    project.data(
        "fill",
        """
        fill = Backfill(table="select", values={"50%": 1, "order": 1}, pending=lambda t: t.c["50%"] == 0)

        @row_migration(table="select", pending=lambda t: t.c.value_0 == 0)
        def by_row(row):
            return {"value_0": row.key_1 + 1, "key_0": 5, "one": 6, "name": 7}
        """,
    )
    results = project.migrate(batch_size=2)
    assert {r.outcome for r in results.values()} == {Outcome.COMPLETE}, results
    with database.engine.connect() as connection:
        found = connection.execute(sa.select(table).order_by(table.c.key_1)).all()
    assert [tuple(row) for row in found] == [(i, 5, i + 1, 6, 0, 7, 1, 1) for i in range(5)]


INEXACT = {
    "float": (sa.Float(24), ("0.1", "0.2", "0.3", "0.7", "1.0")),
    "time": (sa.Time(), ("'01:00:00'", "'02:00:00'", "'24:00:00'")),
}


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("key", INEXACT)
def test_walk_by_an_inexact_key_is_not_endless(
    key: str, size: int, database: Database, project: Project
) -> None:
    """Rows are visited once, or the walk stops with an error.

    It neither loops nor reports a false success.
    """
    type_, keys = INEXACT[key]
    create(database.engine, _table(_primary(type_)(), "n"))
    execute(database.engine, *[f"INSERT INTO items (k0) VALUES ({literal})" for literal in keys])
    project.data(
        "count",
        """
        @row_migration(table="items")
        def count(row):
            return {"n": row.n + 1}
        """,
    )
    result = project.migrate(batch_size=size)["count"]
    hits = {n for (n,) in rows(database.engine, "SELECT n FROM items")}
    if result.outcome is Outcome.COMPLETE:
        assert hits == {1}
    else:
        assert result.outcome is Outcome.FAILED
        assert result.error
        assert hits <= {0, 1}


def test_row_that_the_driver_cannot_read_fails_its_migration(database: Database, project: Project) -> None:
    """44 BC, or text that is no date: that migration fails with a reason; the others continue."""
    execute(
        database.engine,
        *(["SET SESSION sql_mode = ''"] if database.server.product in FAMILY else []),
        "CREATE TABLE items (k DATE NOT NULL PRIMARY KEY, n INTEGER)",
        f"INSERT INTO items (k, n) VALUES ({_UNREADABLE[database.server.product]}, 0)",
        "CREATE TABLE others (id INTEGER PRIMARY KEY, n INTEGER)",
        "INSERT INTO others VALUES (1, 0)",
    )
    project.data(
        "kinds",
        """
        @row_migration(table="items", pending=lambda t: t.c.n == 0)
        def strange(row):
            return {"n": 1 / (row.k.year > 0)}

        good = Backfill(table="others", values={"n": 1}, pending=lambda t: t.c.n == 0)
        """,
    )
    results = project.migrate()
    assert results["good"].outcome is Outcome.COMPLETE
    assert results["strange"].outcome is Outcome.FAILED
    assert results["strange"].error
    assert rows(database.engine, "SELECT n FROM items") == [(0,)]


_UNREADABLE = {
    "sqlite": "'someday'",
    "postgresql": "'0044-03-15 BC'",
    "mysql": "'0000-00-00'",
    "mariadb": "'0000-00-00'",
}
WRITTEN = "2024-01-01 10:00:0{}"


def test_walk_by_timestamps_stored_as_text(database: Database, project: Project) -> None:
    """SQLite's CURRENT_TIMESTAMP has no microseconds: such a key must match itself."""
    execute(database.engine, "CREATE TABLE items (k TIMESTAMP NOT NULL PRIMARY KEY, n INTEGER DEFAULT 0)")
    execute(
        database.engine,
        *[f"INSERT INTO items (k) VALUES ('{WRITTEN.format(i)}')" for i in range(5)],
    )
    project.data(
        "count",
        """
        @row_migration(table="items")
        def count(row):
            return {"n": row.n + 1}
        """,
    )
    assert project.migrate(batch_size=2)["count"].outcome is Outcome.COMPLETE
    assert rows(database.engine, "SELECT n FROM items") == [(1,)] * 5


def test_walk_with_a_null_key_does_not_skip_rows(database: Database, project: Project) -> None:
    """SQLite allows NULL in a PRIMARY KEY: such a row must not end the walk for the rows after it."""
    execute(database.engine, "CREATE TABLE items (k VARCHAR(20) PRIMARY KEY, n INTEGER DEFAULT 0)")
    execute(database.engine, *[f"INSERT INTO items (k) VALUES ('{i}')" for i in range(5)])
    if database.server.product == "sqlite":
        execute(database.engine, "INSERT INTO items (k) VALUES (NULL)")
        project.data("count", 'count = Backfill(table="items", values=lambda t: {"n": t.c.n + 1})')
        with pytest.raises(exceptions.NoKey):
            project.migrate(batch_size=1)
        assert rows(database.engine, "SELECT DISTINCT n FROM items") == [(0,)]
        execute(database.engine, "DELETE FROM items WHERE k IS NULL")
    project.data("count", 'count = Backfill(table="items", values=lambda t: {"n": t.c.n + 1})')
    assert project.migrate(batch_size=1)["count"].outcome is Outcome.COMPLETE
    assert rows(database.engine, "SELECT DISTINCT n FROM items") == [(1,)]
