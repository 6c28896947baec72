"""Runs of data migrations: the rows, their order, the record, and the result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from online_migrate import command, exceptions, state
from online_migrate.command import exit_code
from online_migrate.dialects import dialect_of
from online_migrate.migrate.progress import NullListener, Snapshot
from online_migrate.migrate.run.finalizer import Finalizer
from online_migrate.migrate.status import TRANSITIONS, Outcome
from online_migrate.migrate.worker.lease import worker_lock_name
from online_migrate.state import Status
from online_migrate.waiting import Clock, Stop
from tests.servers import Database
from tests.support.port_forward import PortForward
from tests.support.project import Project, create, end_other_sessions, execute, insert, rows, scalar

pytestmark = pytest.mark.each_product

FILL = """
fill = Backfill(table="items", values=lambda t: {"size": t.c.gb * 10}, pending=lambda t: t.c.size.is_(None))
"""
OTHER = """
other = Backfill(table="others", values={"size": 1}, pending=lambda t: t.c.size.is_(None))
"""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as written:
        yield written


def items(engine: sa.Engine, count: int, *, table: str = "items", **values: Any) -> sa.Table:
    """Creates a table of *count* rows with keys 1 to *count*.

    *values*: column values, or functions of the key.
    """
    made = create(
        engine,
        sa.Table(
            table,
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("gb", sa.Integer),
            sa.Column("size", sa.Integer),
            sa.Column("note", sa.String(20)),
            sa.Column("hits", sa.Integer, nullable=False, server_default="0"),
        ),
    )
    values = {"gb": lambda i: i} | values
    insert(engine, made, [_row(i, values) for i in range(1, count + 1)])
    return made


def _row(i: int, values: dict[str, Any]) -> dict[str, Any]:
    return {"id": i} | {name: value(i) if callable(value) else value for name, value in values.items()}


class AfterChunk(NullListener):
    """Calls a function after the *nth* chunk was committed."""

    def __init__(self, act: Callable[[], None], nth: int = 1) -> None:
        self._act = act
        self._left = nth

    def advanced(self, snapshot: Snapshot) -> None:
        if snapshot.chunk:
            self._left -= 1
            if self._left == 0:
                self._act()


# --- every row once ------------------------------------------------------------------------------


def test_migrate_rows_inserted_or_reset_during_the_walk(database: Database, project: Project) -> None:
    """Rows that become pending during the run, at any place, are not pending at the end."""
    items(database.engine, 30)
    project.data("fill", FILL)

    def application() -> None:
        execute(
            database.engine,
            "INSERT INTO items (id, gb) VALUES (0, 7), (-5, 7), (31, 7), (99, 7)",
            "UPDATE items SET size = NULL, gb = 8 WHERE id IN (1, 3)",
            "DELETE FROM items WHERE id IN (2, 20)",
        )

    # One chunk in flight: the worker waits for this callback, which would wait for the second chunk.
    result = project.migrate(batch_size=10, nice=0.01, listener=AfterChunk(application))["fill"]
    assert result.outcome is Outcome.COMPLETE
    assert rows(database.engine, "SELECT id FROM items WHERE size IS NULL OR size <> gb * 10") == []
    assert project.counts("fill") == (32, 0, 0)
    assert result.done == 35  # two of them twice, one was deleted before its chunk


class AppendingApplication(NullListener):
    """An application that appends a row after every chunk without end."""

    def __init__(self, database: Database, size: str) -> None:
        self._database = database
        self._size = size
        self.appended = 0

    def advanced(self, snapshot: Snapshot) -> None:
        if snapshot.chunk:
            self.appended += 1
            assert self.appended < 200, "the walk runs after the end of the table"
            row = 1000 + self.appended
            execute(
                self._database.engine, f"INSERT INTO items (id, gb, size) VALUES ({row}, 1, {self._size})"
            )


def test_walk_ends_while_rows_are_appended(database: Database, project: Project) -> None:
    """Rows of the new version are not pending, so nothing remains to be done however many are appended."""
    items(database.engine, 25)
    project.data("fill", FILL)
    application = AppendingApplication(database, "10")
    result = project.migrate(batch_size=10, listener=application)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 25)
    assert 0 < application.appended < 20


@pytest.mark.parametrize("pending", ["", ", pending=lambda t: t.c.size.is_(None)"], ids=["none", "pending"])
def test_migrate_reports_not_converging_when_rows_become_pending_as_fast(
    pending: str, database: Database, project: Project
) -> None:
    """A run does not follow an old version that writes all the time forever: it ends with exit code 1."""
    items(database.engine, 25)
    project.data("fill", f"fill = Backfill(table='items', values=lambda t: {{'size': t.c.gb * 10}}{pending})")
    application = AppendingApplication(database, "NULL")
    result = project.migrate(batch_size=10, listener=application)["fill"]
    assert (result.outcome, exit_code([result])) == (Outcome.NOT_CONVERGING, 1)
    assert result.done >= 25
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


def test_migrate_rows_pending_after_completion_are_migrated_by_the_next_run(
    database: Database, project: Project
) -> None:
    """The status "complete" is not final: the next run counts again and migrates only pending rows."""
    items(database.engine, 10)
    project.data("fill", FILL)
    project.migrate()
    execute(database.engine, "UPDATE items SET size = NULL WHERE id IN (3, 9)")
    assert project.counts("fill") == (8, 2, 0)
    assert project.migrate()["fill"].done == 2
    assert project.migrate()["fill"].done == 0
    assert project.status("fill").status == "complete"


def test_pending_expression_that_is_null_counts_as_pending(database: Database, project: Project) -> None:
    """``size <> gb * 10`` is NULL while size is NULL: such rows are counted and migrated."""
    items(database.engine, 5, size=lambda i: None if i < 4 else 40)
    project.data(
        "fill",
        """
        fill = Backfill(table="items", values=lambda t: {"size": t.c.gb * 10},
                        pending=lambda t: t.c.size != t.c.gb * 10)
        """,
    )
    assert project.counts("fill") == (1, 4, 0)
    assert project.migrate()["fill"].done == 4
    assert project.counts("fill") == (5, 0, 0)


# --- rows that cannot be migrated ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["backfill", "row", "batch"])
def test_failed_rows_do_not_hide_the_rows_after_them(kind: str, database: Database, project: Project) -> None:
    """Cinder's runner migrates none and exits with 0.

    Here 40 are done, 60 are failed, and the exit code is 2.
    """
    items(database.engine, 100, gb=lambda i: None if i <= 60 else i)
    project.data("fill", BAD_ROWS[kind])
    result = project.migrate(batch_size=50)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 40, 60)
    assert exit_code([result]) == 2
    found = project.status("fill")
    assert (found.done, found.pending, found.failed, found.total) == (40, 0, 60, 100)
    assert found.status == "failed"
    assert found.failures[0]["error"] == "still pending after its migration"
    assert rows(database.engine, "SELECT count(*) FROM items WHERE size = gb * 10") == [(40,)]


BAD_ROWS = {
    "backfill": FILL,
    "row": """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    return None if row.gb is None else {"size": row.gb * 10}
""",
    "batch": """
@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(connection, chunk):
    t = chunk.table
    update = sa.update(t).where(chunk.where, t.c.gb.is_not(None)).values(size=t.c.gb * 10)
    return connection.execute(update).rowcount
""",
}


def test_failed_row_is_retried_once_per_run_until_corrected(database: Database, project: Project) -> None:
    """Failed rows are neither retried in a loop nor dropped.

    When they are corrected, the next run completes.
    """
    items(database.engine, 12, gb=lambda i: None if i in (2, 5) else i)
    project.data(
        "fill",
        """
        @row_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def fill(row):
            return {"hits": row.hits + 1, "size": None if row.gb is None else row.gb * 10}
        """,
    )
    for run in (1, 2):
        result = project.migrate(batch_size=5)["fill"]
        assert (result.outcome, result.failed) == (Outcome.FAILED, 2)
        assert rows(database.engine, "SELECT DISTINCT hits FROM items WHERE size IS NULL") == [(run,)]
        assert rows(database.engine, "SELECT DISTINCT hits FROM items WHERE size IS NOT NULL") == [(1,)]
        assert project.counts("fill") == (10, 0, 2)
    execute(database.engine, "UPDATE items SET gb = 7 WHERE id = 2", "DELETE FROM items WHERE id = 5")
    assert project.counts("fill") == (10, 0, 1)
    result = project.migrate(batch_size=5)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.COMPLETE, 1, 0)
    assert project.counts("fill") == (11, 0, 0)
    assert rows(database.engine, "SELECT * FROM online_migrate_failure") == []


def test_failed_row_corrected_by_the_application_is_done(database: Database, project: Project) -> None:
    """Counts come from the data: a failed row that was corrected outside of a run is done at once."""
    items(database.engine, 4, gb=lambda i: None if i == 2 else i)
    project.data("fill", FILL)
    assert project.migrate()["fill"].outcome is Outcome.FAILED
    execute(database.engine, "UPDATE items SET size = 1 WHERE id = 2")
    assert project.counts("fill") == (4, 0, 0)
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


def test_failed_row_whose_key_changes_its_case_is_another_row(database: Database, project: Project) -> None:
    """Where 'K' = 'k' for the server, a key whose case changes does not break the count."""
    table = create(
        database.engine,
        sa.Table(
            "items",
            sa.MetaData(),
            sa.Column("id", sa.String(10), primary_key=True),
            sa.Column("gb", sa.Integer),
            sa.Column("size", sa.Integer),
        ),
    )
    insert(database.engine, table, [{"id": "K", "gb": None}, {"id": "b", "gb": 1}])
    project.data("fill", FILL)
    assert project.migrate()["fill"].failed == 1
    execute(database.engine, "UPDATE items SET id = 'k' WHERE id = 'K'")
    assert sum(count or 0 for count in project.counts("fill")) == 2
    result = project.migrate()["fill"]
    assert (result.outcome, result.failed) == (Outcome.FAILED, 1)
    assert project.status("fill").failures[0]["key"] == "'k'"
    execute(database.engine, "UPDATE items SET gb = 1")
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


@pytest.mark.parametrize("kind", ["backfill", "row", "batch"])
@pytest.mark.parametrize("counts", [True, False], ids=["with_pending", "without_pending"])
def test_verify_marks_rows_that_do_not_hold_as_failed(
    kind: str, counts: bool, database: Database, project: Project
) -> None:
    """``verify`` must hold for each row that counts as migrated; otherwise the migration is not complete."""
    items(database.engine, 10)
    options = "verify=lambda t: t.c.size < 75" + (", pending=lambda t: t.c.size.is_(None)" if counts else "")
    project.data("fill", VERIFIED[kind].format(options=options))
    result = project.migrate(batch_size=4)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 7, 3)
    if counts:
        found = project.status("fill")
        assert (found.done, found.pending, found.failed) == (7, 0, 3)
        assert found.failures[0]["error"] == "verify fails after its migration"
    assert project.migrate()["fill"].outcome is Outcome.FAILED
    execute(database.engine, "UPDATE items SET size = 1 WHERE size >= 75")
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


VERIFIED = {
    "backfill": """
fill = Backfill(table="items", values=lambda t: {{"size": t.c.gb * 10}}, {options})
""",
    "row": """
@row_migration(table="items", {options})
def fill(row):
    return {{"size": row.gb * 10}}
""",
    "batch": """
@batch_migration(table="items", {options})
def fill(connection, chunk):
    t = chunk.table
    return connection.execute(sa.update(t).where(chunk.where).values(size=t.c.gb * 10)).rowcount
""",
}


def test_verify_failures_of_rows_not_migrated_by_the_run_cost_no_budget(
    database: Database, project: Project
) -> None:
    """Rows that fail ``verify`` without having been migrated by the run are failed and cost no budget."""
    items(database.engine, 20, size=lambda i: 999 if i % 2 else None)
    project.data("fill", VERIFIED["backfill"].format(options=PENDING_AND_VERIFY))
    result = project.migrate(max_count=4, batch_size=4)["fill"]
    assert result.done == 4
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size = gb * 10") == 4
    result = project.migrate(batch_size=4)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 6, 10)
    assert project.counts("fill") == (10, 0, 10)


PENDING_AND_VERIFY = "pending=lambda t: t.c.size.is_(None), verify=lambda t: t.c.size == t.c.gb * 10"


def test_failed_rows_of_a_composite_key_in_one_large_chunk(database: Database, project: Project) -> None:
    """The statements work with more than a thousand failed rows of a composite key in one chunk."""
    table = create(
        database.engine,
        sa.Table(
            "items",
            sa.MetaData(),
            sa.Column("a", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("b", sa.String(10), primary_key=True),
            sa.Column("gb", sa.Integer),
            sa.Column("size", sa.Integer),
        ),
    )
    insert(database.engine, table, [{"a": i % 7, "b": f"b{i}", "gb": None} for i in range(1_500)])
    insert(database.engine, table, [{"a": 9, "b": "good", "gb": 1}])
    project.data("fill", FILL)
    result = project.migrate(batch_size=5_000)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 1, 1_500)
    assert project.migrate(batch_size=5_000)["fill"].failed == 1_500
    assert project.counts("fill") == (1, 0, 1_500)


# --- errors --------------------------------------------------------------------------------------

ROW_ERRORS: dict[str, tuple[str, str, range | tuple[int, ...]]] = {
    "an exception for a row": (
        """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(row):
    return {"hits": 7, "size": 10 // (row.id - 7)}
""",
        "ZeroDivisionError",
        (7,),
    ),
    "a huge exception": (
        """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(row):
    if row.id == 7:
        raise RuntimeError("Ж€😀" * 50_000)
    return {"size": 1}
""",
        "RuntimeError",
        (7,),
    ),
    "a value that no server takes": (
        """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(row):
    return {"hits": 7, "size": 1 if row.id != 7 else object()}
""",
        "",
        (7,),
    ),
    "an exception for one row of a batch": (
        """
@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(connection, chunk):
    connection.execute(sa.update(chunk.table).where(chunk.where).values(size=1, hits=7))
    if connection.scalar(sa.select(chunk.table.c.id).where(chunk.range, chunk.table.c.id == 7)):
        raise KeyError("x")
    return 5
""",
        "KeyError",
        (7,),
    ),
    "an exception for every row of a batch": (
        """
@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(connection, chunk):
    connection.execute(sa.update(chunk.table).where(chunk.where).values(size=1, hits=7))
    if chunk.lower:
        raise KeyError("x")
    return 5
""",
        "KeyError",
        range(6, 11),
    ),
    "a unique violation": (
        """
bad = Backfill(table="items", values=lambda t: {"size": 1, "code": sa.case((t.c.id > 5, 7), else_=t.c.id)},
               pending=lambda t: t.c.size.is_(None))
""",
        "",
        range(7, 11),
    ),
    "a unique violation of a row": (
        """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(row):
    return {"size": 1, "hits": 7, "code": 7 if row.id > 5 else row.id}
""",
        "",
        range(7, 11),
    ),
    "a violated NOT NULL": (
        """
bad = Backfill(table="items", values=lambda t: {"size": 1, "hits": sa.case((t.c.id > 5, None), else_=1)},
               pending=lambda t: t.c.size.is_(None))
""",
        "",
        range(6, 11),
    ),
}
"""Errors of single rows: source, text of the error, the rows that fail."""

CHUNK_ERRORS: dict[str, tuple[str, str]] = {
    "not a dict": (
        """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(row):
    return ["size"] if row.id == 7 else {"size": 1}
""",
        "not a dict of new values",
    ),
    "an unknown column from a row": (
        """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(row):
    return {"size" if row.id != 7 else "sice": 1}
""",
        "'sice'",
    ),
    "a batch that gives no number": (
        """
@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(connection, chunk):
    connection.execute(sa.update(chunk.table).where(chunk.where).values(size=1))
    return None if chunk.lower else 5
""",
        "not the number of migrated rows",
    ),
    "a batch that gives a negative number": (
        """
@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(connection, chunk):
    connection.execute(sa.update(chunk.table).where(chunk.where).values(size=1))
    return -1 if chunk.lower else 5
""",
        "not the number of migrated rows",
    ),
    "a batch whose SQL is wrong": (
        """
@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(connection, chunk):
    connection.execute(sa.update(chunk.table).where(chunk.where).values(size=1))
    if chunk.lower:
        connection.execute(sa.text("SELECT 1 FROM nowhere"))
    return 5
""",
        "nowhere",
    ),
    "a column that is missing": (
        """
@batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
def bad(connection, chunk):
    connection.execute(sa.update(chunk.table).where(chunk.where).values(size=1))
    if chunk.lower:
        connection.execute(sa.text("UPDATE items SET sice = 1"))
    return 5
""",
        "sice",
    ),
}
"""Errors that are not caused by a single row: source, text of the error."""


def _create_tables_with_code(database: Database) -> None:
    items(database.engine, 10)
    items(database.engine, 5, table="others")
    execute(
        database.engine,
        "ALTER TABLE items ADD COLUMN code INTEGER",
        "CREATE UNIQUE INDEX uq_code ON items (code)",
    )


@pytest.mark.parametrize("case", ROW_ERRORS)
def test_error_of_a_row_is_recorded_and_the_other_rows_are_migrated(
    case: str, database: Database, project: Project
) -> None:
    """The failed row is unchanged.

    The other rows of the chunk and the other migrations are completed; exit code 2.
    """
    _create_tables_with_code(database)
    source, words, bad_ids = ROW_ERRORS[case]
    project.data("a_bad", source)
    project.data("b_other", OTHER)
    results = project.migrate(batch_size=5)
    bad, other = results["bad"], results["other"]
    count = len(bad_ids)
    assert (bad.outcome, bad.done, bad.failed) == (Outcome.FAILED, 10 - count, count)
    assert (other.outcome, other.done) == (Outcome.COMPLETE, 5)
    assert exit_code(results.values()) == 2
    untouched = "SELECT id FROM items WHERE size IS NULL AND code IS NULL AND hits = 0 ORDER BY id"
    assert rows(database.engine, untouched) == [(i,) for i in bad_ids]
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size IS NOT NULL") == 10 - count
    found = project.status("bad")
    assert (found.status, found.done, found.pending, found.failed) == ("failed", 10 - count, 0, count)
    assert sorted(int(failure["key"]) for failure in found.failures) == list(bad_ids)
    assert all(words in failure["error"] and failure["error"] for failure in found.failures)
    assert all(len(failure["error"]) < 5_000 for failure in found.failures)
    project.data(
        "a_bad", 'bad = Backfill(table="items", values={"size": 2}, pending=lambda t: t.c.size.is_(None))'
    )
    assert project.migrate("bad")["bad"].outcome is Outcome.COMPLETE
    assert rows(database.engine, "SELECT id FROM items WHERE size = 2 ORDER BY id") == [(i,) for i in bad_ids]
    assert project.counts("bad") == (10, 0, 0)


@pytest.mark.parametrize("case", CHUNK_ERRORS)
def test_error_not_caused_by_a_row_stops_its_migration(
    case: str, database: Database, project: Project
) -> None:
    """The whole chunk is rolled back and no row is recorded as failed.

    Other migrations continue; exit code 2.
    """
    _create_tables_with_code(database)
    source, words = CHUNK_ERRORS[case]
    project.data("a_bad", source)
    project.data("b_other", OTHER)
    results = project.migrate(batch_size=5)
    bad, other = results["bad"], results["other"]
    assert (bad.outcome, bad.done, bad.failed) == (Outcome.FAILED, 5, 0)
    assert (other.outcome, other.done) == (Outcome.COMPLETE, 5)
    assert exit_code(results.values()) == 2
    assert bad.error is not None
    assert words in bad.error
    assert "items: from after 5 to 10" in bad.error or "bad, row 7" in bad.error
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size IS NOT NULL") == 5
    assert scalar(database.engine, "SELECT max(id) FROM items WHERE size IS NOT NULL") == 5
    found = project.status("bad")
    assert (found.status, found.done, found.pending, found.failed) == ("failed", 5, 5, 0)
    assert found.error is not None
    assert words in found.error
    project.data(
        "a_bad", 'bad = Backfill(table="items", values={"size": 2}, pending=lambda t: t.c.size.is_(None))'
    )
    assert project.migrate("bad")["bad"].outcome is Outcome.COMPLETE
    assert rows(database.engine, "SELECT size FROM items WHERE id > 5") == [(2,)] * 5


@pytest.mark.parametrize(
    ("value", "outcome"), [(2**31, Outcome.FAILED), (2**31 - 1, Outcome.COMPLETE)], ids=["over", "largest"]
)
@pytest.mark.needs("typed_columns")
def test_value_out_of_range_is_an_error_and_not_truncated(
    value: int, outcome: Outcome, database: Database, project: Project
) -> None:
    """MySQL and MariaDB raise an error too, instead of storing another number with a warning."""
    items(database.engine, 3)
    project.data(
        "fill",
        f"""
        fill = Backfill(table="items", values=lambda t: {{"size": sa.literal({value}, sa.BigInteger)}},
                        pending=lambda t: t.c.size.is_(None))
        """,
    )
    assert project.migrate()["fill"].outcome is outcome
    expected = value if outcome is Outcome.COMPLETE else None
    assert rows(database.engine, "SELECT DISTINCT size FROM items") == [(expected,)]


def test_batch_migration_that_commits_its_transaction_is_stopped(
    database: Database, project: Project
) -> None:
    """Without the chunk's transaction its checkpoint would not commit with it."""
    items(database.engine, 4)
    project.data(
        "bad",
        """
        @batch_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def bad(connection, chunk):
            connection.commit()
            return 1
        """,
    )
    result = project.migrate()["bad"]
    assert result.outcome is Outcome.FAILED
    assert result.error is not None
    assert project.counts("bad") == (0, 4, 0)


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["backfill", "row", "batch"])
def test_max_count_is_exact_and_shared_by_all_migrations(
    kind: str, database: Database, project: Project
) -> None:
    """Never more rows than the limit for any batch size.

    The next run continues; the last one exits with 0.
    """
    items(database.engine, 25)
    items(database.engine, 10, table="others")
    project.data("a_fill", BAD_ROWS[kind])
    project.data("b_other", OTHER)
    recorder = []
    for _ in range(4):
        results = project.migrate(max_count=12, batch_size=5)
        migrated = sum(
            scalar(database.engine, f"SELECT count(*) FROM {table} WHERE size IS NOT NULL")
            for table in ("items", "others")
        )
        recorder.append((results["fill"].done, results["other"].done, migrated, exit_code(results.values())))
    assert recorder == [(12, 0, 12, 1), (12, 0, 24, 1), (1, 10, 35, 0), (0, 0, 35, 0)]


def test_max_count_equal_to_the_pending_rows_completes(database: Database, project: Project) -> None:
    """Exit code 0 means that nothing is pending, also when the last row reached the limit."""
    items(database.engine, 10)
    project.data("fill", FILL)
    result = project.migrate(max_count=10)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 10)


def test_max_count_does_not_count_rows_that_need_no_change(database: Database, project: Project) -> None:
    """The limit counts rows that were migrated, not rows that were read."""
    items(database.engine, 40, size=lambda i: 1 if i <= 35 else None)
    project.data("fill", FILL)
    assert project.migrate(max_count=3, batch_size=5)["fill"].done == 3


@pytest.mark.needs("many_writers")
def test_max_count_holds_when_a_row_is_inserted_inside_a_chunk(database: Database, project: Project) -> None:
    """A row is inserted after the bounds of the chunk are known: the chunk migrates not one row too many."""
    items(database.engine, 0)
    execute(database.engine, "INSERT INTO items (id, gb) VALUES (10, 1), (20, 2), (30, 3), (40, 4)")
    project.data("fill", FILL)
    site = project.site()
    numbers = iter((15, 16, 17, 18))

    def insert_row(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if statement.startswith("UPDATE items"):
            number = next(numbers, None)
            if number is not None:
                execute(database.engine, f"INSERT INTO items (id, gb) VALUES ({number}, 1)")

    event.listen(site.engine, "before_cursor_execute", insert_row)
    [result] = command.migrate(site, limits=command.MigrateOptions(max_count=3, batch_size=10))
    assert result.done == 3
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size IS NOT NULL") == 3


# --- names, order, phases ------------------------------------------------------------------------


def _three_dependent_migrations(project: Project, *, first: str = "values={'size': 1}") -> None:
    project.data("c_first", f'first = Backfill(table="items", {first}, pending=lambda t: t.c.size.is_(None))')
    project.data(
        "b_second",
        'second = Backfill(table="items", values=lambda t: {"gb": t.c.size + 1}, after="first", '
        "pending=lambda t: t.c.gb.is_(None))",
    )
    project.data(
        "a_third",
        'third = Backfill(table="items", values=lambda t: {"note": sa.cast(t.c.gb, sa.String(20))}, '
        'after=("second",), pending=lambda t: t.c.note.is_(None))',
    )


def test_after_determines_the_order(database: Database, project: Project) -> None:
    """A migration runs after its dependencies, whatever the names of the modules are."""
    items(database.engine, 3, gb=None)
    _three_dependent_migrations(project)
    results = project.migrate()
    assert list(results) == ["first", "second", "third"]
    assert rows(database.engine, "SELECT DISTINCT size, gb, note FROM items") == [(1, 2, "2")]


def test_dependents_of_a_failed_migration_are_not_run(database: Database, project: Project) -> None:
    """Its direct and indirect dependents wait, are not started, and name the migration that they wait for."""
    items(database.engine, 3, gb=None)
    _three_dependent_migrations(project, first="values={'note': 'x'}")
    results = project.migrate()
    outcomes = [result.outcome for result in results.values()]
    assert outcomes == [Outcome.FAILED, Outcome.WAITING, Outcome.WAITING]
    assert results["second"].error == "waits for first"
    assert exit_code(results.values()) == 2
    assert rows(database.engine, "SELECT DISTINCT gb FROM items") == [(None,)]
    assert project.status("second").status == "not started"


def test_complete_dependency_need_not_be_named(database: Database, project: Project) -> None:
    """``migrate second`` runs when first is complete, and waits with exit code 1 when it is not."""
    items(database.engine, 3, gb=None)
    _three_dependent_migrations(project)
    assert exit_code(project.migrate("second").values()) == 1
    project.migrate("first")
    assert project.migrate("second")["second"].outcome is Outcome.COMPLETE


def test_dependent_waits_while_its_dependency_is_at_its_limit(database: Database, project: Project) -> None:
    """A limit that stops the first migration keeps the second from running."""
    items(database.engine, 5, gb=None)
    _three_dependent_migrations(project)
    outcomes = [result.outcome for result in project.migrate(max_count=3).values()]
    assert outcomes == [Outcome.REMAINING, Outcome.WAITING, Outcome.WAITING]


def test_dependent_waits_for_rows_pending_after_completion_of_its_dependency(
    database: Database, project: Project
) -> None:
    """An earlier completion does not cover the rows that an old version has written since."""
    items(database.engine, 5, gb=None)
    _three_dependent_migrations(project)
    assert exit_code(project.migrate().values()) == 0
    execute(database.engine, "UPDATE items SET size = NULL, gb = NULL")
    outcomes = [result.outcome for result in project.migrate(max_count=3).values()]
    assert outcomes == [Outcome.REMAINING, Outcome.WAITING, Outcome.WAITING]
    assert rows(database.engine, "SELECT DISTINCT gb FROM items") == [(None,)]


def test_missing_expand_is_refused_before_any_change(database: Database, project: Project) -> None:
    """Exit code 3; the revision and the command are named, and no other migration was started."""
    items(database.engine, 3)
    revision = project.expand('op.add_column("items", sa.Column("more", sa.Integer))')
    project.data("a_fill", FILL)
    project.data(
        "b_late",
        f'late = Backfill(table="items", values={{"more": 1}}, revision="{revision}", '
        "pending=lambda t: t.c.more.is_(None))",
    )
    with pytest.raises(exceptions.ExpandMissing) as caught:
        project.migrate()
    assert caught.value.exit_code == 3
    assert "'late'" in str(caught.value)
    assert "online-migrate expand" in caught.value.hint
    assert project.run("online_data_migrations").code == 2
    assert sa.inspect(database.engine).get_table_names() == ["items"]
    assert rows(database.engine, "SELECT DISTINCT size FROM items") == [(None,)]
    assert project.migrate("fill")["fill"].outcome is Outcome.COMPLETE
    project.apply_expand()
    assert project.migrate("late")["late"].done == 3


def test_contracted_migration_has_nothing_left_to_do(database: Database, project: Project) -> None:
    """After its column is dropped no code reads the column any more: exit code 0."""
    items(database.engine, 3)
    project.expand('op.add_column("items", sa.Column("more", sa.Integer))')
    project.contract('op.drop_column("items", "size")', requires=("fill",))
    project.data("fill", FILL)
    project.apply_expand()
    project.migrate()
    command.contract(project.site())
    results = project.migrate()
    assert results["fill"].outcome is Outcome.CONTRACTED
    assert exit_code(results.values()) == 0
    assert project.status("fill").status == "contracted"


def test_migrate_without_data_migrations_succeeds(project: Project) -> None:
    """Exit code 0."""
    assert exit_code(project.migrate().values()) == 0


# --- the record ----------------------------------------------------------------------------------


def test_status_changes_are_in_the_transition_table(database: Database, project: Project) -> None:
    """Every status change that is written to the record, for each way a run can end, is in TRANSITIONS."""
    items(database.engine, 10, gb=lambda i: None if i == 4 else i)
    project.data("fill", FILL)
    recorder: set[tuple[Status | None, Status]] = set()
    last: list[Status | None] = [None]

    def spy(original: Callable[..., None], status_of: Callable[..., Status]) -> Callable[..., None]:
        def write(*arguments: Any, **keywords: Any) -> None:
            new = status_of(*arguments)
            recorder.add((last[0], new))
            last[0] = new
            original(*arguments, **keywords)

        return write

    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(state, "start_record", spy(state.start_record, lambda *_: Status.RUNNING))
        patched.setattr(state, "set_status", spy(state.set_status, lambda c, n, status: status))
        project.migrate(max_count=2)
        for verb in (command.pause, command.resume, command.pause, command.cancel, command.resume):
            verb(project.site(), "fill")
        project.migrate()
        command.retry(project.site(), "fill")
        command.cancel(project.site(), "fill")
        command.retry(project.site(), "fill")
        project.migrate()
        project.migrate()
        execute(database.engine, "UPDATE items SET gb = 1 WHERE id = 4")
        project.migrate()
        project.migrate()
    assert recorder <= set(TRANSITIONS)
    assert {new for _old, new in recorder} == set(Status)


@pytest.mark.needs("many_writers")
def test_first_runs_at_the_same_moment_share_one_record(database: Database, project: Project) -> None:
    """Both read, both find no record, both insert: the second one continues with the record of the first."""
    items(database.engine, 3)
    project.data("fill", FILL)
    project.migrate("fill")
    execute(database.engine, "DELETE FROM online_migrate_data_migration", "UPDATE items SET size = NULL")
    site = project.site()
    once = iter([True])

    def insert_record(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if statement.startswith("INSERT INTO online_migrate_data_migration") and next(once, False):
            execute(
                database.engine,
                "INSERT INTO online_migrate_data_migration (name, status, done, walked) "
                f"VALUES ('fill', 'running', 0, {_SQL_FALSE[database.server.product]})",
            )

    event.listen(site.engine, "before_cursor_execute", insert_record)
    [result] = command.migrate(site)
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 3)


_SQL_FALSE = {"postgresql": "false", "mysql": "0", "mariadb": "0"}


COUNT_UP = """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    return {"hits": row.hits + 1, "size": 1}
"""


@pytest.mark.needs("row_locks")
@pytest.mark.parametrize(
    "source", [FILL, COUNT_UP], ids=["an UPDATE in the server", "values from a function"]
)
def test_deadlock_is_retried_and_is_no_failure(source: str, database: Database, project: Project) -> None:
    """The application and the chunk wait for each other, and the server ends the chunk: it is repeated."""
    items(database.engine, 10)
    execute(database.engine, "CREATE TABLE weight (id INTEGER PRIMARY KEY)")
    project.data("fill", source)
    site = project.site()
    errors: list[str] = []
    holder = database.engine.connect()
    # InnoDB ends the transaction that changed fewer rows.
    holder.execute(sa.text("INSERT INTO weight (id) VALUES (:id)"), [{"id": i} for i in range(500)])
    holder.execute(sa.text("UPDATE items SET gb = gb WHERE id = 9"))

    def close_the_cycle() -> None:
        free = "SELECT id FROM items WHERE id = 1 FOR UPDATE SKIP LOCKED"
        deadline = time.monotonic() + 20
        # Waits until the chunk has locked the row; the time that takes depends on the load of the machine.
        while rows(database.engine, free) and time.monotonic() < deadline:
            time.sleep(0.05)
        holder.execute(sa.text("UPDATE items SET gb = gb WHERE id = 1"))
        holder.commit()

    cycle = threading.Thread(target=close_the_cycle)

    def on_write(c: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        writes = "UPDATE items" in statement or statement.startswith("UPDATE (SELECT")
        if writes and not cycle.ident:
            cycle.start()

    event.listen(site.engine, "before_cursor_execute", on_write)
    event.listen(site.engine, "handle_error", lambda context: errors.append(str(context.original_exception)))
    [result] = command.migrate(site)
    cycle.join()
    holder.close()
    assert any("deadlock" in error.lower() for error in errors), errors
    assert (result.outcome, result.done, result.failed) == (Outcome.COMPLETE, 10, 0)
    hits = 1 if source is COUNT_UP else 0
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(hits,)]


class RecordingListener(NullListener):
    """Records the snapshots."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def advanced(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)


@pytest.mark.needs("many_writers")
@pytest.mark.parametrize(("at_most", "known"), [(60, {60}), (59, {None, 60})], ids=["small", "large"])
def test_rows_of_large_table_are_counted_in_background(
    database: Database,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    at_most: int,
    known: set[int | None],
) -> None:
    """The first chunk does not wait for the count; the count includes the rows migrated in the meantime."""
    monkeypatch.setattr("online_migrate.migrate.run.row_total._COUNTED_BEFORE_START", at_most)
    items(database.engine, 60)
    execute(database.engine, "UPDATE items SET size = 1 WHERE id <= 20")
    slow = "import time\n" + COUNT_UP.replace("    return", "    time.sleep(0.03)\n    return")
    project.data("fill", slow)
    recorder = RecordingListener()
    [result] = command.migrate(project.site(listener=recorder), limits=command.MigrateOptions(batch_size=1))
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 40)
    assert {snapshot.total for snapshot in recorder.snapshots} <= known
    assert (recorder.snapshots[-1].total, recorder.snapshots[-1].done) == (60, 60)


@pytest.mark.needs("many_writers")
def test_run_that_starts_during_the_end_of_another_does_not_change_its_outcome(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run counted that nothing is pending.

    A worker that registers before the run has ended is not its own.
    """
    items(database.engine, 10)
    project.data("fill", FILL)
    finalize = Finalizer.finalize

    def register_late(finalizer: Finalizer) -> Outcome:
        with database.engine.connect() as other:
            assert dialect_of(other).try_named_lock(other, worker_lock_name("other"))
            state.start_record(other, "fill")
            state.register(other, "other", "fill", dialect_of(other).epoch())
            other.commit()
            return finalize(finalizer)

    monkeypatch.setattr(Finalizer, "finalize", register_late)
    [result] = command.migrate(project.site())
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 10)


class EndSessions(NullListener):
    """Ends all sessions each time that a number of rows were migrated."""

    def __init__(self, database: Database, every: int) -> None:
        self.times = 0
        self._database = database
        self._every = every

    def advanced(self, snapshot: Snapshot) -> None:
        if snapshot.done >= (self.times + 1) * self._every:
            self.times += 1
            end_other_sessions(self._database)


@pytest.mark.needs("kill_session")
def test_reconnects_are_unlimited_as_long_as_rows_are_migrated(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit counts consecutive losses only; a run of days does not end at its twelfth lost connection."""
    monkeypatch.setattr("online_migrate.migrate.worker.reconnect.MAX_RECONNECTS", 3)
    items(database.engine, 80)
    project.data("fill", FILL)
    cut = EndSessions(database, every=10)
    [result] = command.migrate(project.site(listener=cut), limits=command.MigrateOptions(batch_size=5))
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 80)
    assert cut.times == 8


# --- locks of other sessions ---------------------------------------------------------------------


@pytest.mark.needs("row_locks")
def test_row_locked_by_another_session_is_waited_for(database: Database, project: Project) -> None:
    """A transaction of the application locks a row: the chunk runs after it and loses no change."""
    items(database.engine, 10)
    project.data("fill", FILL)
    holder = database.engine.connect()
    holder.begin()
    holder.execute(sa.text("UPDATE items SET gb = 77 WHERE id = 7"))
    released = threading.Timer(1.0, holder.commit)
    released.start()
    result = project.migrate(batch_size=5)["fill"]
    released.join()
    holder.close()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 10)
    assert rows(database.engine, "SELECT size FROM items WHERE id = 7") == [(770,)]


def test_lock_timeout_of_a_chunk_is_retried(database: Database, project: Project) -> None:
    """When the server ends the wait for a lock, the chunk is repeated in a new transaction."""
    items(database.engine, 10)
    project.data("fill", FILL)
    site = project.site()
    event.listen(site.engine, "begin", _short_lock_timeout(database.server.product))
    project_before = project.migrate("fill", max_count=1)["fill"]
    assert project_before.done == 1
    holder = database.engine.connect()
    holder.begin()
    holder.execute(sa.text("UPDATE items SET gb = 77 WHERE id = 7"))
    released = threading.Timer(2.5, holder.commit)
    released.start()
    [result] = command.migrate(site, limits=command.MigrateOptions(batch_size=5))
    released.join()
    holder.close()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 9)
    assert rows(database.engine, "SELECT size FROM items WHERE id = 7") == [(770,)]


def _short_lock_timeout(product: str) -> Callable[[Any], None]:
    statement = {
        "sqlite": "PRAGMA busy_timeout = 300",
        "postgresql": "SET LOCAL lock_timeout = '300ms'",
        "mysql": "SET SESSION innodb_lock_wait_timeout = 1",
        "mariadb": "SET SESSION innodb_lock_wait_timeout = 1",
    }[product]

    def begin(connection: Any) -> None:
        if product == "sqlite":
            connection.connection.dbapi_connection.execute(statement)
        else:
            connection.exec_driver_sql(statement)

    return begin


@pytest.mark.needs("kill_session")
def test_session_ended_from_outside_is_replaced(database: Database, project: Project) -> None:
    """All sessions of the run are ended in the middle: the worker reconnects and migrates each row once."""
    items(database.engine, 20)
    project.data(
        "fill",
        f"""
        @row_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def fill(row):
            if row.id == 12 and not (FOLDER / "ended").exists():
                (FOLDER / "ended").touch()
                end_sessions()
            return {{"hits": row.hits + 1, "size": 1}}

        def end_sessions():
            engine = sa.create_engine({database.url!r}, poolclass=sa.NullPool)
            with engine.connect() as c:
                {_END_SESSIONS[database.server.product]}
        """,
    )
    result = project.migrate(batch_size=5)["fill"]
    assert (project.folder / "ended").exists()
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 20)
    database.engine.dispose()
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]
    assert rows(database.engine, "SELECT id FROM online_migrate_worker") == []
    assert project.status("fill").status == "complete"


_END_MYSQL = (
    "[c.exec_driver_sql(f'KILL {p}') for (p,) in c.exec_driver_sql("
    '"SELECT id FROM information_schema.processlist '
    "WHERE db = DATABASE() AND id <> CONNECTION_ID() AND command = 'Sleep'\").all()]"
)
_END_SESSIONS = {
    "postgresql": 'c.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity '
    "WHERE datname = current_database() AND application_name = 'online-migrate'\").all()",
    "mysql": _END_MYSQL,
    "mariadb": _END_MYSQL,
}


class ShortWaitClock(Clock):
    """A clock that shortens every wait to 0.01 s."""

    def wait(self, seconds: float, stop: Stop) -> bool:
        return stop.wait(min(seconds, 0.01))


@pytest.mark.needs("kill_session")
def test_unreachable_server_is_reported_and_the_next_run_continues(
    database: Database, project: Project
) -> None:
    """ServerDown, exit code 2, after the worker has retried; the committed chunks are kept."""
    items(database.engine, 20)
    project.data("fill", BAD_ROWS["backfill"])
    with PortForward(database.url) as forward:
        project.url = forward.url
        site = project.site(clock=ShortWaitClock(), listener=AfterChunk(forward.close, nth=2))
        with pytest.raises(exceptions.ServerDown) as caught:
            command.migrate(site, limits=command.MigrateOptions(batch_size=5))
    assert caught.value.exit_code == 2
    project.url = database.url
    assert project.counts("fill") == (10, 10, 0)
    assert project.migrate(batch_size=5)["fill"].done == 10


@pytest.mark.needs("kill_session")
def test_server_that_returns_is_used_again(database: Database, project: Project) -> None:
    """As after a restart, or when another node takes over the address: the same process completes."""
    items(database.engine, 20)
    project.data("fill", BAD_ROWS["row"].replace('{"size"', '{"hits": row.hits + 1, "size"'))
    with PortForward(database.url) as forward:
        project.url = forward.url

        def unreachable_for_a_second() -> None:
            forward.close()
            threading.Timer(1.0, forward.open).start()

        result = project.migrate(batch_size=5, listener=AfterChunk(unreachable_for_a_second, nth=2))["fill"]
        assert (result.outcome, result.done) == (Outcome.COMPLETE, 20)
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]
