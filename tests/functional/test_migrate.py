"""Rows move: which ones, in what order, what is recorded, and what a run answers."""

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
from online_migrate.kinds.bound import BoundMigration
from online_migrate.migrate.progress import NullListener, RateMeter, Snapshot
from online_migrate.migrate.run.context import RunContext
from online_migrate.migrate.run.finalizer import Finalizer
from online_migrate.migrate.status import TRANSITIONS, Outcome
from online_migrate.migrate.worker.lease import worker_lock_name
from online_migrate.state import Status
from online_migrate.waiting import Clock, Stop
from tests.servers import Database
from tests.support.project import Project, create, end_other_sessions, execute, insert, rows, scalar
from tests.support.way import Way

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
    """A table of *count* rows, keys 1 to *count*; *values*: what their columns hold, or a function of it."""
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


class At(NullListener):
    """Calls a function after the *nth* chunk was committed."""

    def __init__(self, act: Callable[[], None], nth: int = 1) -> None:
        self._act = act
        self._left = nth

    def advanced(self, snapshot: Snapshot) -> None:
        if snapshot.chunk:
            self._left -= 1
            if self._left == 0:
                self._act()


# --- everything, once ----------------------------------------------------------------------------


def test_rows_behind_and_ahead_of_the_walk_and_undone_ones_are_migrated(
    database: Database, project: Project
) -> None:
    """What becomes pending while it runs, wherever it stands, is not pending at the end."""
    items(database.engine, 30)
    project.data("fill", FILL)

    def application() -> None:
        execute(
            database.engine,
            "INSERT INTO items (id, gb) VALUES (0, 7), (-5, 7), (31, 7), (99, 7)",
            "UPDATE items SET size = NULL, gb = 8 WHERE id IN (1, 3)",
            "DELETE FROM items WHERE id IN (2, 20)",
        )

    # One chunk in hand: the worker waits for this application, which would wait for the second chunk.
    result = project.migrate(batch_size=10, nice=0.01, listener=At(application))["fill"]
    assert result.outcome is Outcome.COMPLETE
    assert rows(database.engine, "SELECT id FROM items WHERE size IS NULL OR size <> gb * 10") == []
    assert project.counts("fill") == (32, 0, 0)
    assert result.done == 35  # two of them twice, one was deleted before its chunk


class Appending(NullListener):
    """An application that appends a row after every chunk, without an end."""

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


def test_a_walk_ends_although_rows_are_appended_all_the_time(database: Database, project: Project) -> None:
    """Rows of the new version are not pending, so that nothing is left to do however many there come."""
    items(database.engine, 25)
    project.data("fill", FILL)
    application = Appending(database, "10")
    result = project.migrate(batch_size=10, listener=application)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 25)
    assert 0 < application.appended < 20


@pytest.mark.parametrize("pending", ["", ", pending=lambda t: t.c.size.is_(None)"], ids=["none", "pending"])
def test_rows_that_become_pending_as_fast_as_they_are_moved_end_the_run(
    pending: str, database: Database, project: Project
) -> None:
    """An old version that writes all the time is not run after forever: exit 1 says that it still does."""
    items(database.engine, 25)
    project.data("fill", f"fill = Backfill(table='items', values=lambda t: {{'size': t.c.gb * 10}}{pending})")
    application = Appending(database, "NULL")
    result = project.migrate(batch_size=10, listener=application)["fill"]
    assert (result.outcome, exit_code([result])) == (Outcome.NOT_CONVERGING, 1)
    assert result.done >= 25
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


def test_rows_that_become_pending_after_completion_are_migrated_by_the_next_run(
    database: Database, project: Project
) -> None:
    """Complete is not for ever: the next run counts again, and migrates only what is pending."""
    items(database.engine, 10)
    project.data("fill", FILL)
    project.migrate()
    execute(database.engine, "UPDATE items SET size = NULL WHERE id IN (3, 9)")
    assert project.counts("fill") == (8, 2, 0)
    assert project.migrate()["fill"].done == 2
    assert project.migrate()["fill"].done == 0
    assert project.status("fill").status == "complete"


def test_a_pending_expression_that_is_null_means_pending(database: Database, project: Project) -> None:
    """``size <> gb * 10`` is NULL while size is NULL: such rows are counted, and migrated."""
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
def test_sixty_bad_rows_before_forty_good_ones_hide_nothing(
    kind: str, database: Database, project: Project
) -> None:
    """Cinder's runner migrates none and answers 0; here 40 are done, 60 are failed, and the answer is 2."""
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


def test_a_failed_row_is_tried_once_in_each_run_and_completes_when_mended(
    database: Database, project: Project
) -> None:
    """Failed rows are neither looped on nor forgotten; when they are mended, the next run completes."""
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


def test_a_row_that_the_application_mended_itself_is_not_failed_any_more(
    database: Database, project: Project
) -> None:
    """Counts come from the data: a failed row that was mended outside is done at once."""
    items(database.engine, 4, gb=lambda i: None if i == 2 else i)
    project.data("fill", FILL)
    assert project.migrate()["fill"].outcome is Outcome.FAILED
    execute(database.engine, "UPDATE items SET size = 1 WHERE id = 2")
    assert project.counts("fill") == (4, 0, 0)
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


def test_a_failed_row_whose_key_changes_its_spelling_is_another_row(
    database: Database, project: Project
) -> None:
    """Where 'K' = 'k' to the server, a key that is respelled must not break the count."""
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
@pytest.mark.parametrize("counts", [True, False], ids=["with pending", "without pending"])
def test_a_row_that_does_not_verify_is_failed(
    kind: str, counts: bool, database: Database, project: Project
) -> None:
    """``verify`` must hold of every row that counts as migrated; otherwise the migration is not complete."""
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


def test_rows_that_the_application_migrated_wrongly_do_not_change_what_was_done(
    database: Database, project: Project
) -> None:
    """Rows that fail ``verify`` without having been worked on are failed, and cost no budget."""
    items(database.engine, 20, size=lambda i: 999 if i % 2 else None)
    project.data("fill", VERIFIED["backfill"].format(options=PENDING_AND_VERIFY))
    result = project.migrate(max_count=4, batch_size=4)["fill"]
    assert result.done == 4
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size = gb * 10") == 4
    result = project.migrate(batch_size=4)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 6, 10)
    assert project.counts("fill") == (10, 0, 10)


PENDING_AND_VERIFY = "pending=lambda t: t.c.size.is_(None), verify=lambda t: t.c.size == t.c.gb * 10"


def test_many_rows_of_a_composite_key_can_fail_in_one_chunk(database: Database, project: Project) -> None:
    """A thousand failed rows of a composite key are no more to a server than ten."""
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

SPARES_OTHERS: dict[str, tuple[str, str, range | tuple[int, ...]]] = {
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
"""An error of some rows: source, words of the error, the rows that fail."""

AT_ONCE: dict[str, tuple[str, str]] = {
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
"""An error that no row is to blame for: source, words of the error."""


def _with_codes(database: Database) -> None:
    items(database.engine, 10)
    items(database.engine, 5, table="others")
    execute(
        database.engine,
        "ALTER TABLE items ADD COLUMN code INTEGER",
        "CREATE UNIQUE INDEX uq_code ON items (code)",
    )


@pytest.mark.parametrize("case", SPARES_OTHERS)
def test_an_error_of_a_row_is_recorded_with_it_and_spares_the_others(
    case: str, database: Database, project: Project
) -> None:
    """The row is left as it was; its neighbours in the chunk are migrated; others go on; exit 2."""
    _with_codes(database)
    source, words, bad_ids = SPARES_OTHERS[case]
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


@pytest.mark.parametrize("case", AT_ONCE)
def test_an_error_that_no_row_is_to_blame_for_ends_its_migration_at_once(
    case: str, database: Database, project: Project
) -> None:
    """The chunk is undone as a whole; no row is said to have failed; others go on; exit 2."""
    _with_codes(database)
    source, words = AT_ONCE[case]
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
def test_a_value_out_of_range_is_an_error_and_never_cut(
    value: int, outcome: Outcome, database: Database, project: Project
) -> None:
    """Also MySQL and MariaDB say so, instead of storing another number with a warning."""
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


def test_a_batch_that_ends_its_transaction_is_stopped(database: Database, project: Project) -> None:
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
    """Never more rows than asked, whatever the batch size; the next run goes on; the last one answers 0."""
    items(database.engine, 25)
    items(database.engine, 10, table="others")
    project.data("a_fill", BAD_ROWS[kind])
    project.data("b_other", OTHER)
    seen = []
    for _ in range(4):
        results = project.migrate(max_count=12, batch_size=5)
        migrated = sum(
            scalar(database.engine, f"SELECT count(*) FROM {table} WHERE size IS NOT NULL")
            for table in ("items", "others")
        )
        seen.append((results["fill"].done, results["other"].done, migrated, exit_code(results.values())))
    assert seen == [(12, 0, 12, 1), (12, 0, 24, 1), (1, 10, 35, 0), (0, 0, 35, 0)]


def test_a_limit_that_is_just_enough_completes(database: Database, project: Project) -> None:
    """Exit 0 means that nothing is pending, also when the limit was reached by the last row."""
    items(database.engine, 10)
    project.data("fill", FILL)
    result = project.migrate(max_count=10)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 10)


def test_rows_that_need_nothing_cost_no_budget(database: Database, project: Project) -> None:
    """A limit counts rows that were migrated, not rows that were looked at."""
    items(database.engine, 40, size=lambda i: 1 if i <= 35 else None)
    project.data("fill", FILL)
    assert project.migrate(max_count=3, batch_size=5)["fill"].done == 3


@pytest.mark.needs("many_writers")
def test_a_row_that_is_inserted_inside_a_chunk_does_not_exceed_the_limit(
    database: Database, project: Project
) -> None:
    """The bounds are found, a row is inserted between them, the chunk is migrated: not one row too many."""
    items(database.engine, 0)
    execute(database.engine, "INSERT INTO items (id, gb) VALUES (10, 1), (20, 2), (30, 3), (40, 4)")
    project.data("fill", FILL)
    site = project.site()
    numbers = iter((15, 16, 17, 18))

    def between(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if statement.startswith("UPDATE items"):
            number = next(numbers, None)
            if number is not None:
                execute(database.engine, f"INSERT INTO items (id, gb) VALUES ({number}, 1)")

    event.listen(site.engine, "before_cursor_execute", between)
    [result] = command.migrate(site, limits=command.MigrateOptions(max_count=3, batch_size=10))
    assert result.done == 3
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size IS NOT NULL") == 3


# --- names, order, phases ------------------------------------------------------------------------


def _three(project: Project, *, first: str = "values={'size': 1}") -> None:
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


def test_after_is_the_order(database: Database, project: Project) -> None:
    """A migration runs after those it waits for, whatever their modules are called."""
    items(database.engine, 3, gb=None)
    _three(project)
    results = project.migrate()
    assert list(results) == ["first", "second", "third"]
    assert rows(database.engine, "SELECT DISTINCT size, gb, note FROM items") == [(1, 2, "2")]


def test_nothing_that_waits_for_a_failed_migration_is_run(database: Database, project: Project) -> None:
    """Its dependents wait, and theirs; they are not touched, and say for whom they wait."""
    items(database.engine, 3, gb=None)
    _three(project, first="values={'note': 'x'}")
    results = project.migrate()
    outcomes = [result.outcome for result in results.values()]
    assert outcomes == [Outcome.FAILED, Outcome.WAITING, Outcome.WAITING]
    assert results["second"].error == "waits for first"
    assert exit_code(results.values()) == 2
    assert rows(database.engine, "SELECT DISTINCT gb FROM items") == [(None,)]
    assert project.status("second").status == "not started"


def test_a_dependency_that_is_complete_need_not_be_named(database: Database, project: Project) -> None:
    """``migrate second`` runs when first is complete, and waits when it is not: exit 1."""
    items(database.engine, 3, gb=None)
    _three(project)
    assert exit_code(project.migrate("second").values()) == 1
    project.migrate("first")
    assert project.migrate("second")["second"].outcome is Outcome.COMPLETE


def test_a_dependent_waits_while_its_dependency_is_at_its_limit(database: Database, project: Project) -> None:
    """A limit that stops the first keeps the second from running."""
    items(database.engine, 5, gb=None)
    _three(project)
    outcomes = [result.outcome for result in project.migrate(max_count=3).values()]
    assert outcomes == [Outcome.REMAINING, Outcome.WAITING, Outcome.WAITING]


def test_a_dependent_waits_for_rows_that_came_after_its_dependency_was_complete(
    database: Database, project: Project
) -> None:
    """That it was complete once says nothing of the rows that an old version has written since."""
    items(database.engine, 5, gb=None)
    _three(project)
    assert exit_code(project.migrate().values()) == 0
    execute(database.engine, "UPDATE items SET size = NULL, gb = NULL")
    outcomes = [result.outcome for result in project.migrate(max_count=3).values()]
    assert outcomes == [Outcome.REMAINING, Outcome.WAITING, Outcome.WAITING]
    assert rows(database.engine, "SELECT DISTINCT gb FROM items") == [(None,)]


def test_a_missing_expand_is_refused_before_anything_is_done(database: Database, project: Project) -> None:
    """Exit 3, the revision and the command are named, and not even another migration was begun."""
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


def test_a_contracted_migration_has_nothing_left_to_do(database: Database, project: Project) -> None:
    """Once its column is gone nobody reads it any more: exit 0."""
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


def test_no_data_migrations_is_nothing_to_do(project: Project) -> None:
    """Exit 0."""
    assert exit_code(project.migrate().values()) == 0


# --- the record ----------------------------------------------------------------------------------


def test_every_change_of_status_is_an_arrow_of_the_state_machine(
    database: Database, project: Project
) -> None:
    """What is written into the record, in a life with every kind of end, is in TRANSITIONS."""
    items(database.engine, 10, gb=lambda i: None if i == 4 else i)
    project.data("fill", FILL)
    seen: set[tuple[Status | None, Status]] = set()
    last: list[Status | None] = [None]

    def spy(original: Callable[..., None], status_of: Callable[..., Status]) -> Callable[..., None]:
        def write(*arguments: Any, **keywords: Any) -> None:
            new = status_of(*arguments)
            seen.add((last[0], new))
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
    assert seen <= set(TRANSITIONS)
    assert {new for _old, new in seen} == set(Status)


@pytest.mark.needs("many_writers")
def test_two_first_runs_at_the_same_moment_both_find_a_record(database: Database, project: Project) -> None:
    """Both look, both find none, both insert: the second goes on with what the first one wrote."""
    items(database.engine, 3)
    project.data("fill", FILL)
    project.migrate("fill")
    execute(database.engine, "DELETE FROM online_migrate_data_migration", "UPDATE items SET size = NULL")
    site = project.site()
    once = iter([True])

    def first(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if statement.startswith("INSERT INTO online_migrate_data_migration") and next(once, False):
            execute(
                database.engine,
                "INSERT INTO online_migrate_data_migration (name, status, done, walked) "
                f"VALUES ('fill', 'running', 0, {_FALSE[database.server.product]})",
            )

    event.listen(site.engine, "before_cursor_execute", first)
    [result] = command.migrate(site)
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 3)


_FALSE = {"postgresql": "false", "mysql": "0", "mariadb": "0"}


COUNT_UP = """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    return {"hits": row.hits + 1, "size": 1}
"""


@pytest.mark.needs("row_locks")
@pytest.mark.parametrize(
    "source", [FILL, COUNT_UP], ids=["an UPDATE in the server", "values from a function"]
)
def test_a_deadlock_is_no_failure(source: str, database: Database, project: Project) -> None:
    """The application and the chunk wait for each other, and the server ends the chunk: it is repeated."""
    items(database.engine, 10)
    execute(database.engine, "CREATE TABLE weight (id INTEGER PRIMARY KEY)")
    project.data("fill", source)
    site = project.site()
    errors: list[str] = []
    holder = database.engine.connect()
    # Who changed more is spared by InnoDB.
    holder.execute(sa.text("INSERT INTO weight (id) VALUES (:id)"), [{"id": i} for i in range(500)])
    holder.execute(sa.text("UPDATE items SET gb = gb WHERE id = 9"))

    def close_the_circle() -> None:
        free = "SELECT id FROM items WHERE id = 1 FOR UPDATE SKIP LOCKED"
        deadline = time.monotonic() + 20
        # Until the chunk has the row: how long that takes, a busy machine says.
        while rows(database.engine, free) and time.monotonic() < deadline:
            time.sleep(0.05)
        holder.execute(sa.text("UPDATE items SET gb = gb WHERE id = 1"))
        holder.commit()

    circle = threading.Thread(target=close_the_circle)

    def begins(c: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        writes = "UPDATE items" in statement or statement.startswith("UPDATE (SELECT")
        if writes and not circle.ident:
            circle.start()

    event.listen(site.engine, "before_cursor_execute", begins)
    event.listen(site.engine, "handle_error", lambda context: errors.append(str(context.original_exception)))
    [result] = command.migrate(site)
    circle.join()
    holder.close()
    assert any("deadlock" in error.lower() for error in errors), errors
    assert (result.outcome, result.done, result.failed) == (Outcome.COMPLETE, 10, 0)
    hits = 1 if source is COUNT_UP else 0
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(hits,)]


class Seen(NullListener):
    """Keeps what was shown."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def advanced(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)


@pytest.mark.needs("many_writers")
def test_rows_that_take_long_to_count_are_counted_beside_the_work(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first chunk does not wait for a number; when it is there, it fits what was moved meanwhile."""

    def not_yet(place: RunContext, job: BoundMigration, _connection: sa.Connection) -> tuple[RateMeter, bool]:
        return RateMeter(job.name, total=None, done=0, clock=place.clock), False

    monkeypatch.setattr("online_migrate.migrate.run.runner._new_meter", not_yet)
    items(database.engine, 60)
    execute(database.engine, "UPDATE items SET size = 1 WHERE id <= 20")
    slow = "import time\n" + COUNT_UP.replace("    return", "    time.sleep(0.03)\n    return")
    project.data("fill", slow)
    seen = Seen()
    [result] = command.migrate(project.site(listener=seen), limits=command.MigrateOptions(batch_size=1))
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 40)
    assert {snapshot.total for snapshot in seen.snapshots} <= {None, 60}
    assert (seen.snapshots[-1].total, seen.snapshots[-1].done) == (60, 60)


@pytest.mark.needs("many_writers")
def test_a_run_that_is_begun_after_the_end_of_ours_does_not_change_it(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We counted that nothing is pending; somebody who starts before we have left is none of ours."""
    items(database.engine, 10)
    project.data("fill", FILL)
    leave = Finalizer.finalize

    def late(ending: Finalizer) -> Outcome:
        with database.engine.connect() as other:
            assert dialect_of(other).try_named_lock(other, worker_lock_name("other"))
            state.start_record(other, "fill")
            state.register(other, "other", "fill", dialect_of(other).epoch())
            other.commit()
            return leave(ending)

    monkeypatch.setattr(Finalizer, "finalize", late)
    [result] = command.migrate(project.site())
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 10)


class Cut(NullListener):
    """Ends all sessions each time that some rows were moved."""

    def __init__(self, database: Database, every: int) -> None:
        self.times = 0
        self._database = database
        self._every = every

    def advanced(self, snapshot: Snapshot) -> None:
        if snapshot.done >= (self.times + 1) * self._every:
            self.times += 1
            end_other_sessions(self._database)


@pytest.mark.needs("kill_session")
def test_connections_may_be_lost_again_and_again_as_long_as_rows_move(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted is how often in a row; a run of days does not end at its twelfth hiccup."""
    monkeypatch.setattr("online_migrate.migrate.run.runner._MAX_RECONNECTS", 3)
    items(database.engine, 80)
    project.data("fill", FILL)
    cut = Cut(database, every=10)
    [result] = command.migrate(project.site(listener=cut), limits=command.MigrateOptions(batch_size=5))
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 80)
    assert cut.times == 8


# --- other people's locks ------------------------------------------------------------------------


@pytest.mark.needs("row_locks")
def test_a_row_that_somebody_else_holds_is_waited_for(database: Database, project: Project) -> None:
    """An application's transaction holds a row for a while: the chunk comes after it, and loses nothing."""
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


def test_a_lock_that_is_not_had_in_time_is_tried_again(database: Database, project: Project) -> None:
    """When the server gives up waiting for a lock, the chunk is repeated, in a transaction of its own."""
    items(database.engine, 10)
    project.data("fill", FILL)
    site = project.site()
    event.listen(site.engine, "begin", _impatience(database.server.product))
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


def _impatience(product: str) -> Callable[[Any], None]:
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
def test_a_session_that_is_ended_from_outside_is_replaced(database: Database, project: Project) -> None:
    """All our sessions are ended in the middle: the worker connects again and completes, each row once."""
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


class Hurried(Clock):
    """Every wait is a short one."""

    def wait(self, seconds: float, stop: Stop) -> bool:
        return stop.wait(min(seconds, 0.01))


@pytest.mark.needs("kill_session")
def test_a_server_that_stays_away_is_said_and_the_next_run_goes_on(
    database: Database, project: Project
) -> None:
    """ServerDown, exit 2, after the worker has asked often enough; what was committed is kept."""
    items(database.engine, 20)
    project.data("fill", BAD_ROWS["backfill"])
    with Way(database.url) as way:
        project.url = way.url
        site = project.site(clock=Hurried(), listener=At(way.close, nth=2))
        with pytest.raises(exceptions.ServerDown) as caught:
            command.migrate(site, limits=command.MigrateOptions(batch_size=5))
    assert caught.value.exit_code == 2
    project.url = database.url
    assert project.counts("fill") == (10, 10, 0)
    assert project.migrate(batch_size=5)["fill"].done == 10


@pytest.mark.needs("kill_session")
def test_a_server_that_comes_back_is_gone_on_with(database: Database, project: Project) -> None:
    """As after a restart, or when another node takes its address: the same process completes."""
    items(database.engine, 20)
    project.data("fill", BAD_ROWS["row"].replace('{"size"', '{"hits": row.hits + 1, "size"'))
    with Way(database.url) as way:
        project.url = way.url

        def away_for_a_second() -> None:
            way.close()
            threading.Timer(1.0, way.open).start()

        result = project.migrate(batch_size=5, listener=At(away_for_a_second, nth=2))["fill"]
        assert (result.outcome, result.done) == (Outcome.COMPLETE, 20)
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]
