"""While a chunk is written, the next one is prefetched; a stale prefetch has no effect on the result."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate.migrate.status import Outcome
from online_migrate.migrate.worker.worker import Worker
from tests.functional.test_bulk import CHANGES, PENDING, STALE
from tests.servers import Database
from tests.support.project import Project, execute, rows, scalar

pytestmark = [pytest.mark.each_product, pytest.mark.needs("many_writers")]

COUNTED = """
import contextlib
import threading
import time
import sqlalchemy as sa
from online_migrate import row_migration

inside, most, calls = [], [0], []

@contextlib.contextmanager
def counted(row, seconds):
    inside.append(row.id)
    most[0] = max(most[0], len(inside))
    calls.append(row.id)
    yield
    time.sleep(seconds)
    inside.pop()
"""
"""Records the number of concurrent calls and the rows of the calls."""
COUNTING = f"""{COUNTED}
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    with counted(row, 0.002):
        ahead = threading.current_thread().name.endswith("-ahead")
    return {{"size": most[0], "hits": int(ahead)}}
"""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project, and a table of forty rows."""
    execute(
        database.engine,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, gb INTEGER, size INTEGER, hits INTEGER)",
        *[f"INSERT INTO items (id, gb, hits) VALUES ({i}, {i}, 0)" for i in range(40)],
    )
    with Project.create(tmp_path / "project", database.url) as project:
        yield project


@pytest.mark.parametrize("change", CHANGES)
def test_row_changed_after_prefetch(change: str, database: Database, project: Project) -> None:
    """Row 5 belongs to the third chunk: it is prefetched and changed while the second chunk is written."""
    statement, expected = CHANGES[change]
    project.data("fill", STALE.format(url=database.url, statement=statement, pending=PENDING))
    result = project.migrate(batch_size=2)["fill"]
    assert (result.outcome, result.failed) == (Outcome.COMPLETE, 0), result
    changed = f"SELECT id, gb, size, hits FROM items WHERE id = {expected[0]}"
    assert rows(database.engine, changed) == [expected]
    others = "SELECT count(*) FROM items WHERE size = gb * 10 AND hits = 1 AND id NOT IN (5, 500)"
    assert scalar(database.engine, others) == 39


def test_worker_calls_the_function_for_one_row_at_a_time(database: Database, project: Project) -> None:
    """Most of the rows are prefetched, otherwise the test would prove nothing."""
    project.data("fill", COUNTING)
    assert project.migrate(batch_size=4)["fill"].outcome is Outcome.COMPLETE
    assert rows(database.engine, "SELECT DISTINCT size FROM items") == [(1,)]
    assert int(scalar(database.engine, "SELECT sum(hits) FROM items")) >= 20


CHANGED_AFTER_CALL = """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    with counted(row, 0.05):
        if row.id == 21 and calls.count(21) == 1:
            with sa.create_engine({url!r}).begin() as other:
                other.execute(sa.text("UPDATE items SET gb = 1000 WHERE id = 20"))
    return {{"size": most[0], "hits": calls.count(row.id)}}
"""


def test_function_is_called_again_only_while_no_prefetch_runs(database: Database, project: Project) -> None:
    """Row 20 is changed after its prefetch: it is called again while the thread prefetches the next chunk."""
    project.data("fill", COUNTED + CHANGED_AFTER_CALL.format(url=database.url))
    assert project.migrate(batch_size=4)["fill"].outcome is Outcome.COMPLETE
    assert rows(database.engine, "SELECT id, gb, hits FROM items WHERE id IN (20, 21) ORDER BY id") == [
        (20, 1000, 2),
        (21, 21, 1),
    ]
    assert rows(database.engine, "SELECT DISTINCT size FROM items") == [(1,)]


def test_prefetch_failing_rows_are_bisected(database: Database, project: Project) -> None:
    """Rows that the database rejects fail in the write.

    An exception of the function is recorded with its row.
    """
    project.data(
        "fill",
        """
        @row_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def fill(row):
            if row.id in (13, 14, 31):
                raise ValueError(f"no size for {row.id}")
            return {"size": 2**40 if row.id == 22 else row.gb}
        """,
    )
    result = project.migrate(batch_size=4)["fill"]
    assert (result.outcome, result.failed) == (Outcome.FAILED, 4)
    left = rows(database.engine, "SELECT id FROM items WHERE size IS NULL ORDER BY id")
    assert left == [(13,), (14,), (22,), (31,)]


def test_prefetch_value_that_cannot_be_bound_is_bisected(database: Database, project: Project) -> None:
    """A statement that cannot be prepared in the prefetch fails again in the write, and is bisected there."""
    project.data(
        "fill",
        """
        class Picky(sa.types.TypeDecorator):
            impl = sa.Integer
            cache_ok = True

            def process_bind_param(self, value, dialect):
                if value in (13, 27):
                    raise ValueError(f"no use for {value}")
                return value

        items = sa.Table("items", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
                         sa.Column("gb", sa.Integer), sa.Column("size", Picky))

        @row_migration(table=items, pending=lambda t: t.c.size.is_(None))
        def fill(row):
            return {"size": row.gb}
        """,
    )
    result = project.migrate(batch_size=4)["fill"]
    assert (result.outcome, result.failed) == (Outcome.FAILED, 2)
    left = rows(database.engine, "SELECT id FROM items WHERE size IS NULL ORDER BY id")
    assert left == [(13,), (27,)]
    errors = [str(error) for (error,) in rows(database.engine, "SELECT error FROM online_migrate_failure")]
    assert [error.count("no use for") for error in errors] == [1, 1]


def test_prefetch_misuse_stops_the_migration_after_the_chunks_before(
    database: Database, project: Project
) -> None:
    """The worker raises it when it processes the chunk: the error names the row.

    The chunks before are committed.
    """
    project.data(
        "fill",
        """
        @row_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def fill(row):
            return {"size": row.gb} if row.id < 20 else {"siez": row.gb}
        """,
    )
    result = project.migrate(batch_size=4)["fill"]
    assert result.outcome is Outcome.FAILED
    assert "row 20: sets 'siez'" in str(result.error)
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size IS NOT NULL") == 20


def test_prefetch_thread_ends_with_its_run(database: Database, project: Project) -> None:
    """The thread ends with its worker, also in the middle of a chunk."""
    project.data("fill", COUNTING)
    result = project.migrate(batch_size=4, max_time=0.05)["fill"]
    assert result.outcome in (Outcome.REMAINING, Outcome.COMPLETE)
    names = [thread.name for thread in threading.enumerate() if thread.name.endswith("-ahead")]
    assert names == []
    done = scalar(database.engine, "SELECT count(*) FROM items WHERE size IS NOT NULL")
    time.sleep(0.1)
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size IS NOT NULL") == done
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


def test_prefetched_time_is_a_part_of_the_work_of_a_worker(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sleep after a chunk follows the duty cycle, also if the function was called in the background."""
    slept: list[float] = []
    sleep = Worker._sleep

    def record(self: Worker, seconds: float) -> None:
        slept.append(seconds)
        sleep(self, seconds)

    monkeypatch.setattr(Worker, "_sleep", record)
    project.data("fill", COUNTING.replace("0.002", "0.02"))
    assert project.migrate(pace="full", nice=1.0, batch_size=5)["fill"].outcome is Outcome.COMPLETE
    # Five calls of 20 ms; the write of five rows takes a few milliseconds.
    assert min(slept) >= 0.1, slept
