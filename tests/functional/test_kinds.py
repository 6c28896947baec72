"""The four kinds of data migration, in every style in which a user may write them."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from online_migrate.migrate.status import Outcome
from tests.servers import Database
from tests.support.project import Project, create, execute, insert, rows, scalar

pytestmark = pytest.mark.each_product


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, pace=None) as written:
        yield written


def _volumes(engine: sa.Engine, schema: str | None = None) -> sa.Table:
    table = create(
        engine,
        sa.Table(
            "volumes",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("gb", sa.Integer),
            sa.Column("size", sa.BigInteger),
            sa.Column("note", sa.String(40)),
            schema=schema,
        ),
    )
    insert(engine, table, [{"id": i, "gb": i} for i in range(1, 8)])
    return table


STYLES = {
    "functions of the reflected table": """
fill = Backfill(table="volumes", values=lambda t: {"size": sa.cast(t.c.gb, sa.BigInteger) * 10},
                pending=lambda t: t.c.size.is_(None) & t.c.gb.is_not(None))
""",
    "expressions of untyped columns": """
fill = Backfill(table="volumes", values={"size": sa.column("gb") * 10}, pending=sa.column("size").is_(None))
""",
    "a typed table and its own columns": """
volumes = sa.Table("volumes", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
                   sa.Column("gb", sa.Integer), sa.Column("size", sa.BigInteger))
fill = Backfill(table=volumes, values={"size": volumes.c.gb * 10}, pending=volumes.c.size.is_(None))
""",
    "columns as keys of the values": """
fill = Backfill(table="volumes", values=lambda t: {t.c.size: t.c.gb * 10},
                pending=lambda t: t.c.size.is_(None))
""",
    "a case and a plain value": """
fill = Backfill(table="volumes", pending=lambda t: t.c.size.is_(None),
                values=lambda t: {"size": sa.case((t.c.gb > 3, t.c.gb * 10), else_=t.c.gb * 10),
                                  "note": "x%y"})
""",
    "a scalar subquery on another table": """
def values(t):
    factors = sa.table("factors", sa.column("factor", sa.Integer))
    return {"size": t.c.gb * sa.select(sa.func.max(factors.c.factor)).scalar_subquery()}

fill = Backfill(table="volumes", values=values, pending=lambda t: t.c.size.is_(None))
""",
    "pending by a subquery on another table": """
def pending(t):
    factors = sa.table("factors", sa.column("factor", sa.Integer))
    return t.c.size.is_(None) & sa.exists().where(factors.c.factor >= t.c.gb)

fill = Backfill(table="volumes", values=lambda t: {"size": t.c.gb * 10}, pending=pending)
""",
    "a function of a row": """
@row_migration(table="volumes", pending=lambda t: t.c.size.is_(None))
def fill(row):
    assert row._fields == ("id", "gb", "size", "note"), row._fields
    assert (row.gb, row[1], row._mapping["gb"]) == (row.id,) * 3
    return {"size": row.gb * 10}
""",
    "a function of a row, pending by a subquery": """
def pending(t):
    factors = sa.table("factors", sa.column("factor", sa.Integer))
    return t.c.size.is_(None) & sa.exists().where(factors.c.factor >= t.c.gb)

@row_migration(table="volumes", pending=pending)
def fill(row):
    return {"size": row.gb * 10}
""",
    "a partial function": """
import functools

def times(factor, row):
    return {"size": row.gb * factor}

fill = row_migration(table="volumes", name="fill", pending=lambda t: t.c.size.is_(None))(
    functools.partial(times, 10))
""",
    "a batch": """
@batch_migration(table="volumes", pending=lambda t: t.c.size.is_(None))
def fill(connection, chunk):
    t = chunk.table
    return connection.execute(sa.update(t).where(chunk.where).values(size=t.c.gb * 10)).rowcount
""",
    "an object under two names is one migration": """
fill = Backfill(table="volumes", values=lambda t: {"size": t.c.gb * 10}, pending=lambda t: t.c.size.is_(None))
same = fill
""",
}


@pytest.mark.parametrize("style", STYLES)
def test_migrate_every_style_gives_the_same_rows(style: str, database: Database, project: Project) -> None:
    """In every style each row is migrated and counted."""
    _volumes(database.engine)
    execute(
        database.engine,
        "CREATE TABLE factors (factor INTEGER)",
        "INSERT INTO factors VALUES (7)",
        "INSERT INTO factors VALUES (10)",
    )
    project.data("fill", STYLES[style])
    results = project.migrate(batch_size=3)
    assert {(r.outcome, r.done) for r in results.values()} == {(Outcome.COMPLETE, 7)}, results
    assert list(results) == ["fill"]
    assert rows(database.engine, "SELECT id FROM volumes WHERE size = gb * 10") == [(i,) for i in range(1, 8)]
    assert project.counts("fill") == (7, 0, 0)


@pytest.mark.needs("schemas")
def test_migrate_table_name_with_a_schema(database: Database, project: Project) -> None:
    """``schema.table`` is reflected and migrated in that schema and not in the search path."""
    schema = {"postgresql": "app"}.get(database.server.product, database.name)
    if database.server.product == "postgresql":
        execute(database.engine, "CREATE SCHEMA app", "CREATE TABLE volumes (id INTEGER PRIMARY KEY)")
    _volumes(database.engine, schema)
    styles = {"sql": "functions of the reflected table", "row": "a function of a row", "batch": "a batch"}
    for name, style in styles.items():
        source = STYLES[style].replace('"volumes"', f'"{schema}.volumes"')
        project.data("fill", source.replace("fill =", f"{name} =").replace("def fill(", f"def {name}("))
        assert project.migrate(batch_size=3)[name].done == 7
        assert project.counts(name) == (7, 0, 0)
        execute(database.engine, f"UPDATE {schema}.volumes SET size = NULL")


def test_migrate_missing_table_fails_only_its_own_migration(database: Database, project: Project) -> None:
    """That migration fails with a clear error; the other migrations continue."""
    _volumes(database.engine)
    project.data("a_lost", 'lost = Backfill(table="nowhere", values={"x": 1}, pending=lambda t: t.c.x == 0)')
    project.data("b_fill", STYLES["a batch"])
    results = project.migrate()
    assert results["lost"].outcome is Outcome.FAILED
    assert "table 'nowhere' does not exist" in (results["lost"].error or "")
    assert results["fill"].outcome is Outcome.COMPLETE


# --- types ---------------------------------------------------------------------------------------


class Colour(enum.Enum):
    """An enum of the application."""

    RED = "red"
    GREEN = "green"


TIMESTAMP = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
TYPED = [
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("money", sa.Numeric(20, 4)),
    sa.Column("moment", TIMESTAMP),
    sa.Column("day", sa.Date),
    sa.Column("flag", sa.Boolean),
    sa.Column("colour", sa.Enum(Colour, name="colour")),
    sa.Column("blob", sa.LargeBinary),
    sa.Column("text", sa.Text),
    sa.Column("number", sa.Uuid()),
    sa.Column("meta", sa.JSON),
    sa.Column("ratio", sa.Double),
]
VALUES: dict[str, Any] = {
    "money": decimal.Decimal("12345678901234.5678"),
    "moment": datetime.datetime(2024, 2, 29, 23, 59, 59, 123_456),
    "day": datetime.date(1999, 12, 31),
    "flag": True,
    "colour": Colour.GREEN,
    "blob": b"\x00\xff'\"%\\",
    "text": "'; DROP TABLE typed; -- % :x 日本 🐘 \\",
    "number": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "meta": {"a": [1, None, "ü", 2.5], "b": {"c": True}},
    "ratio": 0.1,
}
SOURCE = """
import enum
from sqlalchemy.dialects import mysql
from tests.functional.test_kinds import TYPED, VALUES, Colour

typed = {table}
VALUES = {{name: value for name, value in VALUES.items() if name not in {without!r}}}
values = {values}
{kind}
"""
KINDS = {
    "backfill": """
fill = Backfill(table=typed, values=values, pending=lambda t: t.c.flag.is_(None), revision=None)
""",
    "row": """
@row_migration(table=typed, pending=lambda t: t.c.flag.is_(None))
def fill(row):
    return values
""",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", ["typed", "reflected"])
@pytest.mark.filterwarnings("ignore:Dialect sqlite:sqlalchemy.exc.SAWarning")
def test_migrate_writes_values_of_every_type_exactly(
    kind: str, table: str, database: Database, project: Project
) -> None:
    """Decimals, timestamps, enums, JSON and bytes are exact in a typed table.

    Common types in a reflected one.
    """
    typed = create(
        database.engine,
        sa.Table("typed", sa.MetaData(), *[column.copy() for column in _columns()], mysql_charset="utf8mb4"),
    )
    insert(database.engine, typed, [{"id": i} for i in (1, 2, 3)])
    if table == "typed":
        source = 'sa.Table("typed", sa.MetaData(), *[column._copy() for column in TYPED])'
        values, without = "VALUES", ()
    else:
        source, without = '"typed"', ("number", "meta")
        values = 'VALUES | {"colour": VALUES["colour"].name}'
    project.data("fill", SOURCE.format(table=source, values=values, kind=KINDS[kind], without=without))
    result = project.migrate(batch_size=2)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 3), result
    expected = VALUES | dict.fromkeys(without)
    with database.engine.connect() as connection:
        found = [dict(row._mapping) for row in connection.execute(sa.select(typed).order_by(typed.c.id))]
    if database.server.product == "sqlite":  # SQLite has no decimals and stores floats
        expected["money"] = found[0]["money"]
    assert found == [{"id": i} | expected for i in (1, 2, 3)]


def _columns() -> list[Any]:
    return [_Copy(column) for column in TYPED]


class _Copy:
    def __init__(self, column: sa.Column[Any]) -> None:
        self._column = column

    def copy(self) -> sa.Column[Any]:
        return self._column._copy()


@pytest.mark.parametrize("kind", KINDS)
def test_migrate_dict_for_an_unsuitable_column_fails_the_migration(
    kind: str, database: Database, project: Project
) -> None:
    """A value that the driver cannot send, or sends changed, fails with a reason on every server."""
    _volumes(database.engine)
    project.data(
        "fill", f'typed = "volumes"\nvalues = {{"note": {{"a": 1}}}}\n{KINDS[kind]}'.replace("flag", "size")
    )
    result = project.migrate()["fill"]
    assert result.outcome is Outcome.FAILED
    assert result.error
    assert project.status("fill").done == 0


# --- return values of functions ------------------------------------------------------------------


@pytest.mark.parametrize("nothing", ["None", "{}"])
def test_row_migration_without_values_changes_nothing(
    nothing: str, database: Database, project: Project
) -> None:
    """For None or an empty dict the row is unchanged; without ``pending`` it counts as done."""
    _volumes(database.engine)
    project.data(
        "fill",
        f"""
        @row_migration(table="volumes")
        def fill(row):
            return {{"size": 1}} if row.id % 2 else {nothing}
        """,
    )
    result = project.migrate(batch_size=2)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 7)
    expected = [(i, 1 if i % 2 else None) for i in range(1, 8)]
    assert rows(database.engine, "SELECT id, size FROM volumes ORDER BY id") == expected


def test_row_migration_rows_may_get_values_for_different_columns(
    database: Database, project: Project
) -> None:
    """Each row gets its own values, in whatever order its function names them."""
    _volumes(database.engine)
    project.data(
        "fill",
        """
        @row_migration(table="volumes", pending=lambda t: t.c.size.is_(None))
        def fill(row):
            values = [{"size": row.id, "note": "a"}, {"note": "b", "size": row.id}, {"size": row.id}]
            return values[row.id % 3]
        """,
    )
    assert project.migrate()["fill"].done == 7
    notes = {0: "a", 1: "b", 2: None}
    expected = [(i, i, notes[i % 3]) for i in range(1, 8)]
    assert rows(database.engine, "SELECT id, size, note FROM volumes ORDER BY id") == expected


# --- rows that are deleted or moved --------------------------------------------------------------

MOVE = """
@batch_migration(table="volumes", pending=lambda t: sa.true())
def move(connection, chunk):
    archive = sa.Table("archive", sa.MetaData(), autoload_with=connection)
    t = chunk.table
    movable = sa.and_(chunk.where, t.c.gb.is_not(None))
    connection.execute(sa.insert(archive).from_select(["id", "gb"], sa.select(t.c.id, t.c.gb).where(movable)))
    return connection.execute(sa.delete(t).where(movable)).rowcount
"""


def test_counts_of_rows_moved_to_another_table_come_from_the_record(
    database: Database, project: Project
) -> None:
    """Recorded done + pending + failed = total at every moment; no row is lost."""
    _volumes(database.engine)
    execute(
        database.engine,
        "CREATE TABLE archive (id INTEGER PRIMARY KEY, gb INTEGER)",
        "UPDATE volumes SET gb = NULL WHERE id IN (2, 6)",
    )
    project.data("move", MOVE)
    assert project.counts("move") == (0, 7, 0)
    assert project.migrate(max_count=3, batch_size=2)["move"].done == 3
    assert project.counts("move") == (3, 3, 1)
    assert scalar(database.engine, "SELECT count(*) FROM archive") == 3
    result = project.migrate(batch_size=2)["move"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 2, 2)
    assert project.counts("move") == (5, 0, 2)
    execute(database.engine, "UPDATE volumes SET gb = 1")
    assert project.migrate(batch_size=2)["move"].outcome is Outcome.COMPLETE
    assert project.counts("move") == (7, 0, 0)
    assert rows(database.engine, "SELECT id FROM archive ORDER BY id") == [(i,) for i in range(1, 8)]
    assert rows(database.engine, "SELECT id FROM volumes") == []


def test_counts_of_rows_migrated_in_place_come_from_the_data(database: Database, project: Project) -> None:
    """A row that became pending again and was migrated again counts as one row."""
    _volumes(database.engine)
    project.data("fill", STYLES["a batch"])
    assert project.migrate()["fill"].done == 7
    execute(database.engine, "UPDATE volumes SET size = NULL")
    assert project.counts("fill") == (0, 7, 0)
    assert project.migrate()["fill"].done == 7
    assert project.counts("fill") == (7, 0, 0)


def test_batch_migration_deleting_rows_without_pending_records_the_returned_count(
    database: Database, project: Project
) -> None:
    """Without ``pending`` the number that the function returns is recorded."""
    _volumes(database.engine)
    project.data(
        "purge",
        """
        @batch_migration(table="volumes")
        def purge(connection, chunk):
            large = chunk.table.c.gb > 2
            return connection.execute(sa.delete(chunk.table).where(chunk.where, large)).rowcount
        """,
    )
    result = project.migrate(batch_size=3)["purge"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 5)
    assert project.status("purge").done == 5
    assert rows(database.engine, "SELECT id FROM volumes ORDER BY id") == [(1,), (2,)]


def test_batch_migration_receives_its_chunk(database: Database, project: Project) -> None:
    """``chunk`` has the table, the key and the range.

    ``where`` selects its pending rows and no other rows.
    """
    _volumes(database.engine)
    execute(database.engine, "UPDATE volumes SET size = 1 WHERE id = 4")
    project.data(
        "fill",
        """
        @batch_migration(table="volumes", pending=lambda t: t.c.size.is_(None))
        def fill(connection, chunk):
            assert isinstance(chunk, Chunk)
            assert [column.name for column in chunk.key_columns] == ["id"]
            ids = connection.scalars(sa.select(chunk.table.c.id).where(chunk.where)).all()
            with (FOLDER / "chunks").open("a") as file:
                file.write(f"{sorted(ids)} {chunk}\\n")
            return connection.execute(sa.update(chunk.table).where(chunk.where).values(size=1)).rowcount
        """,
    )
    project.migrate(batch_size=3)
    assert (project.folder / "chunks").read_text().splitlines() == [
        "[1, 2, 3] volumes: from the start to 3",
        "[5, 6] volumes: from after 3 to 6",
        "[7] volumes: from after 6 to 7",
    ]
