"""An error of a chunk is attributed to a row, to the chunk's size, to the data migration or the connection.

One row, and the place where its error appears, never keep the other rows from being migrated.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from online_migrate import state
from online_migrate.dialects import dialect_of
from online_migrate.migrate.run import Outcome
from online_migrate.state import Status
from tests.servers import Database
from tests.support.project import Project, create, execute, insert, rows, scalar

pytestmark = pytest.mark.each_product

COUNT = 24
BROKEN = 9
LEAST = -(2**63)
"""abs() of it is out of range on every server."""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, batch_size=8) as written:
        yield written


def _items(engine: sa.Engine, *more: sa.Column[object]) -> None:
    """Rows 1 to COUNT; the n of row BROKEN is the least number."""
    text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
    table = sa.Table(
        "items",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger),
        sa.Column("size", sa.BigInteger),
        sa.Column("body", text),
        *more,
    )
    create(engine, table)
    insert(engine, table, [{"id": i, "n": LEAST if i == BROKEN else i} for i in range(1, COUNT + 1)])


def _assert_only_broken_failed(project: Project, database: Database, column: str = "size") -> str:
    """All rows but one are migrated, that one is recorded; gives its error."""
    left = rows(database.engine, f"SELECT id FROM items WHERE {column} IS NULL")
    assert left == [(BROKEN,)]
    [failure] = project.status("fill").failures
    assert failure["key"] == str(BROKEN)
    return failure["error"]


# --- the size of a statement ---------------------------------------------------------------------

LARGE = """
@row_migration(table="items", pending=lambda t: t.c.body.is_(None))
def fill(row):
    return {{"body": "x" * ({size} if row.id == {broken} else 10)}}
"""


@pytest.mark.needs("lock_tables")  # the servers of the MySQL family
def test_a_value_above_the_largest_packet_fails_its_row_alone(database: Database, project: Project) -> None:
    """The server would close the connection, and say no word of the reason."""
    limit = int(scalar(database.engine, "SELECT @@max_allowed_packet"))
    _items(database.engine)
    project.data("fill", LARGE.format(size=limit + 1, broken=BROKEN))
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 1, 1)
    error = _assert_only_broken_failed(project, database, "body")
    assert f"{limit + 1:,} bytes" in error
    assert f"max_allowed_packet is {limit:,}" in error


@pytest.mark.needs("lock_tables")
def test_a_chunk_above_the_largest_packet_is_split(database: Database, project: Project) -> None:
    """No row of it is too large by itself, so none fails; the chunks after it are smaller at once."""
    limit = int(scalar(database.engine, "SELECT @@max_allowed_packet"))
    _items(database.engine)
    project.data(
        "fill",
        f"""
        @batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def fill(connection, chunk):
            t = chunk.table
            ids = connection.scalars(sa.select(t.c.id).where(chunk.where)).all()
            # As large as the chunk is.
            connection.execute(sa.text("SELECT length(:text)"), {{"text": "x" * ({limit // 3} * len(ids))}})
            return connection.execute(sa.update(t).where(chunk.where).values(size=1)).rowcount
        """,
    )
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.COMPLETE, COUNT, 0)


TOO_LARGE = {
    "sqlite": "sa.func.zeroblob(sa.case((t.c.id == {broken}, 2_000_000_000), else_=1))",
    "postgresql": "sa.func.repeat('x', sa.case((t.c.id == {broken}, 2_000_000_000), else_=1))",
}


@pytest.mark.needs("transactional_ddl")
def test_a_value_that_is_too_large_for_the_server_fails_its_row_alone(
    database: Database, project: Project
) -> None:
    """SQLITE_TOOBIG, and "requested length too large" of PostgreSQL."""
    _items(database.engine)
    value = TOO_LARGE[database.server.product].format(broken=BROKEN)
    source = f'values=lambda t: {{"body": {value}}}, pending=lambda t: t.c.body.is_(None)'
    project.data("fill", f'fill = Backfill(table="items", {source})')
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 1, 1)
    _assert_only_broken_failed(project, database, "body")


LARGEST_INDEX_ENTRY = {"postgresql": 1}
"""How many values are too large for an index, by server."""


def test_a_value_that_is_too_large_for_an_index_fails_its_row_alone(
    database: Database, project: Project
) -> None:
    """PostgreSQL answers with the class of its own limits; where every value has its place, none fails."""
    _items(database.engine, sa.Column("name", sa.String(60_000).with_variant(sa.Text(), "mysql", "mariadb")))
    prefix = "(500)" if database.server.has("lock_tables") else ""
    execute(database.engine, f"CREATE INDEX ix_name ON items (name{prefix})")
    project.data(
        "fill",
        f"""
        import random
        @row_migration(table="items", pending=lambda t: t.c.name.is_(None))
        def fill(row):
            long = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=6_000))
            return {{"name": long if row.id == {BROKEN} else "short"}}
        """,
    )
    failed = LARGEST_INDEX_ENTRY.get(database.server.product, 0)
    result = project.migrate()["fill"]
    assert (result.done, result.failed) == (COUNT - failed, failed)
    assert result.outcome is (Outcome.FAILED if failed else Outcome.COMPLETE)
    if failed:
        assert "index row size" in _assert_only_broken_failed(project, database, "name")


# --- at COMMIT -----------------------------------------------------------------------------------

AT_COMMIT = {
    "a Backfill": """
fill = Backfill(table="items", values=lambda t: {"size": t.c.n}, pending=lambda t: t.c.size.is_(None))
""",
    "a function of a row": """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    return {"size": row.n}
""",
    "a function of a chunk": """
@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(connection, chunk):
    t = chunk.table
    return connection.execute(sa.update(t).where(chunk.where).values(size=t.c.n)).rowcount
""",
}


@pytest.mark.needs("transactional_ddl")  # the servers that check a constraint at COMMIT
@pytest.mark.parametrize("source", AT_COMMIT)
def test_a_constraint_that_fails_at_commit_fails_its_row_alone(
    source: str, database: Database, project: Project
) -> None:
    """A foreign key that is deferred: no statement fails, the COMMIT of the chunk does."""
    execute(database.engine, "CREATE TABLE sizes (id BIGINT PRIMARY KEY)")
    for i in range(1, COUNT + 1):
        if i != BROKEN:
            execute(database.engine, f"INSERT INTO sizes VALUES ({i})")
    execute(
        database.engine,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, n BIGINT, "
        "size BIGINT REFERENCES sizes (id) DEFERRABLE INITIALLY DEFERRED)",
    )
    for i in range(1, COUNT + 1):
        execute(database.engine, f"INSERT INTO items (id, n) VALUES ({i}, {i})")
    project.data("fill", AT_COMMIT[source])
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 1, 1), result
    assert "foreign key" in _assert_only_broken_failed(project, database).lower()
    execute(database.engine, f"INSERT INTO sizes VALUES ({BROKEN})")
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


# --- where rows are read -------------------------------------------------------------------------

UNREADABLE = "pending=lambda t: t.c.size.is_(None) & (sa.func.abs(t.c.n) >= 0)"
READING = {
    "a Backfill": f"""
fill = Backfill(table="items", values=lambda t: {{"size": t.c.id}}, {UNREADABLE})
""",
    "a function of a row": f"""
@row_migration(table="items", {UNREADABLE})
def fill(row):
    return {{"size": row.id}}
""",
    "a function of a chunk": f"""
@batch_migration(table="items", {UNREADABLE})
def fill(connection, chunk):
    t = chunk.table
    return connection.execute(sa.update(t).where(chunk.where).values(size=t.c.id)).rowcount
""",
}


@pytest.mark.parametrize("source", READING)
def test_a_pending_expression_that_fails_for_one_row(
    source: str, database: Database, project: Project
) -> None:
    """The other rows are migrated, in the first run and in the next; for the gate it stays a blocker."""
    _items(database.engine)
    project.data("fill", READING[source])
    project.expand("pass")
    project.contract("pass", requires=("fill",))
    project.apply_expand()
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 1, 1), result
    _assert_only_broken_failed(project, database)
    ran = project.run("gate", "--json")
    assert ran.code == 3
    [blocker] = ran.json["blockers"]
    assert blocker["id"] == "pending-unreadable"
    assert "range" in blocker["reason"] or "overflow" in blocker["reason"]
    # Rows that became pending since are migrated by the next run.
    execute(database.engine, f"UPDATE items SET size = NULL WHERE id IN (2, {BROKEN + 2})")
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 2, 1), result
    _assert_only_broken_failed(project, database)
    execute(database.engine, f"UPDATE items SET n = 1 WHERE id = {BROKEN}")
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE
    assert project.counts("fill") == (COUNT, 0, 0)


# --- what is no row's fault ----------------------------------------------------------------------


def test_an_error_of_every_row_ends_at_the_limit_of_failures(database: Database, project: Project) -> None:
    """An error that is not known is attributed to rows; when they all fail, --max-failures ends the run."""
    _items(database.engine)
    execute(database.engine, f"UPDATE items SET n = {LEAST}")
    source = 'values=lambda t: {"size": sa.func.abs(t.c.n)}, pending=lambda t: t.c.size.is_(None)'
    project.data("fill", f'fill = Backfill(table="items", {source})')
    result = project.migrate(max_failures=3)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 0, 4)
    assert "3 is the limit" in (result.error or "")


def test_a_column_that_is_missing_ends_the_data_migration(database: Database, project: Project) -> None:
    """No row is recorded as failed."""
    _items(database.engine)
    source = 'values=lambda t: {"size": sa.column("missing")}, pending=lambda t: t.c.size.is_(None)'
    project.data("fill", f'fill = Backfill(table="items", {source})')
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 0, 0)
    assert "missing" in (result.error or "")


def test_a_worker_that_has_left_its_range_is_not_silent_since_1970(
    database: Database, project: Project
) -> None:
    """Its heartbeat is taken back, which is no moment of which a number of seconds could be told."""
    _items(database.engine)
    project.data("fill", AT_COMMIT["a Backfill"])
    project.migrate(max_count=4)
    with database.engine.begin() as connection:
        epoch = dialect_of(connection).epoch()
        state.set_status(connection, "fill", Status.RUNNING)
        state.register(connection, "left", "fill", epoch)
        state.take(connection, "left", "fill", 9, None, "[20]", epoch)
        state.beat(connection, {"left": {}}, sa.literal(0))
    assert project.status("fill").status == "running, but nobody is at it"
