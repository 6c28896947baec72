"""The command as a process: it is killed, stopped and started twice, and continues from its checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support.project import Project, create, execute, insert, rows, scalar, wait_for

pytestmark = pytest.mark.each_product

COUNTER = """
import threading

SEEN = set()
CHUNKS = []

@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    if row.id == {at}:
        # It may be called by the thread that reads ahead, while the first chunk is written.
        strike("row", "MainThread", "MainThread-ahead")
    return {{"hits": row.hits + 1, "size": row.id * 10}}

def strike(where, *threads):
    # Only the worker: what shows that it is alive has statements and commits of its own.
    if os.environ.get("DIE") == where and threading.current_thread().name in (threads or ("MainThread",)):
        os.kill(os.getpid(), signal.SIGKILL)

@sa.event.listens_for(sa.engine.Engine, "commit")
def before_commit(connection):
    if "lease" in SEEN:
        strike("before the commit")

@sa.event.listens_for(sa.engine.Engine, "begin")
def after_commit(connection):
    if "lease" in SEEN:
        strike("after the commit")
    if "extent" in SEEN:
        strike("after the extent was taken")

@sa.event.listens_for(sa.engine.Engine, "before_cursor_execute")
def before_execute(connection, cursor, statement, parameters, context, executemany):
    if statement.startswith("UPDATE online_migrate_walk"):
        strike("before an extent is taken")
        SEEN.add("extent")
    if statement.startswith(("UPDATE items", "UPDATE (SELECT")):
        CHUNKS.append(statement)
    if len(CHUNKS) == 2 and statement.startswith(("UPDATE items", "UPDATE (SELECT")):
        strike("before the rows are written")
    if len(CHUNKS) == 2 and statement.startswith("UPDATE online_migrate_worker") and "done=" in statement:
        strike("before the lease moves")
        SEEN.add("lease")
"""

WAITING = """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    if row.id == 5:
        (FOLDER / "there").touch()
        while not (FOLDER / "go").exists():
            time.sleep(0.01)
    return {"hits": row.hits + 1, "size": row.id * 10}
"""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, pace=None, batch_size=10) as written:
        yield written


def _items(engine: sa.Engine, count: int) -> None:
    table = create(
        engine,
        sa.Table(
            "items",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("size", sa.Integer),
            sa.Column("hits", sa.Integer, nullable=False, server_default="0"),
        ),
    )
    insert(engine, table, [{"id": i} for i in range(1, count + 1)])


def _assert_migrated_once(engine: sa.Engine, count: int) -> None:
    assert rows(engine, "SELECT DISTINCT hits FROM items") == [(1,)]
    assert scalar(engine, "SELECT count(*) FROM items WHERE size = id * 10") == count


@pytest.mark.parametrize(
    ("point", "done"),
    [
        ("before an extent is taken", 0),
        ("after the extent was taken", 0),
        ("row", None),
        ("before the rows are written", 10),
        ("before the lease moves", 10),
        ("before the commit", 10),
        ("after the commit", 20),
    ],
    ids=[
        "before a range is assigned",
        "after a range is assigned",
        "in the function",
        "before the rows are written",
        "before the lease is advanced",
        "before the commit",
        "after the commit",
    ],
)
def test_kill_leaves_a_chunk_and_its_lease_or_neither(
    point: str, done: int | None, database: Database, project: Project
) -> None:
    """kill -9 around the commit of the second chunk: every row is still migrated exactly once.

    *done*: None where the row is prefetched, so that the first chunk may or may not be committed by then.
    """
    _items(database.engine, 35)
    project.data("fill", COUNTER.format(at=15))
    ran = project.run("migrate", environment={"DIE": point})
    assert ran.code == -signal.SIGKILL, ran
    found, pending, failed = project.counts("fill")
    assert (found + pending, failed) == (35, 0)
    assert found in ((0, 10) if done is None else (done,))
    assert project.status("fill").status == "running"
    result = project.migrate()["fill"]
    assert result.done == 35 - found
    _assert_migrated_once(database.engine, 35)
    assert project.status("fill").status == "complete"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signal_finishes_the_chunk_and_the_next_run_continues(
    number: signal.Signals, database: Database, project: Project
) -> None:
    """Ctrl-C, or the end of a container: the chunk is finished, exit code 1, no row is migrated twice."""
    _items(database.engine, 35)
    project.data("fill", WAITING)
    process = project.start("migrate", fresh=True)
    wait_for(project.folder / "there", process)
    process.signal(number)
    (project.folder / "go").touch()
    ran = process.wait()
    assert ran.code == 1, ran
    assert number.name in ran.err
    assert "run the same command again" in ran.out
    assert ran.complaint
    assert project.counts("fill") == (10, 25, 0)
    assert project.status("fill").status == "stopped"
    assert project.run("migrate").code == 0
    _assert_migrated_once(database.engine, 35)


def test_second_ctrl_c_ends_at_once_and_loses_nothing(database: Database, project: Project) -> None:
    """The chunk in progress is rolled back: exit code 1, no traceback, and the next run migrates it."""
    _items(database.engine, 25)
    project.data("fill", WAITING)
    process = project.start("migrate", fresh=True)
    wait_for(project.folder / "there", process)
    process.signal(signal.SIGINT)
    while "SIGINT" not in process.line():
        pass
    process.signal(signal.SIGINT)
    ran = process.wait()
    assert ran.code == 1, ran
    assert ran.complaint
    (project.folder / "go").touch()
    assert project.counts("fill") == (0, 25, 0)
    assert project.migrate()["fill"].done == 25
    _assert_migrated_once(database.engine, 25)


def test_concurrent_runs_migrate_no_row_twice(database: Database, project: Project) -> None:
    """Two processes share the work: each row is migrated by one of them, and both exit with 0."""
    _items(database.engine, 400)
    project.data(
        "fill",
        """
        @row_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def fill(row):
            if row.id == 1:
                (FOLDER / "there").touch()
            if row.id == 5:
                while not (FOLDER / "go").exists():
                    time.sleep(0.01)
            time.sleep(0.001)
            return {"hits": row.hits + 1, "size": row.id * 10}
        """,
    )
    first = project.start("migrate", "--json", "--batch-size", "5")
    wait_for(project.folder / "there", first)
    second = project.start("migrate", "--json", "--batch-size", "5")
    (project.folder / "go").touch()
    ran = [first.wait(), second.wait()]
    assert [r.code for r in ran] == [0, 0], ran
    done = [r.json[0]["done"] for r in ran]
    assert sum(done) == 400
    _assert_migrated_once(database.engine, 400)
    assert project.counts("fill") == (400, 0, 0)
    assert project.status("fill").status == "complete"


def test_concurrent_runs_on_a_fresh_database(database: Database, project: Project) -> None:
    """Three processes find no state tables and no record; each tries to create them, and all exit with 0."""
    _items(database.engine, 60)
    project.data("fill", COUNTER.format(at=-1))
    ran = [process.wait() for process in [project.start("migrate") for _ in range(3)]]
    assert [r.code for r in ran] == [0, 0, 0], ran
    _assert_migrated_once(database.engine, 60)


def test_migrate_errors_and_names_on_the_command_line(database: Database, project: Project) -> None:
    """Exit code 2, and ``status`` shows row and error; 0 for a name that works."""
    _items(database.engine, 12)
    project.data(
        "fill",
        """
        good = Backfill(table="items", values={"hits": 1}, pending=lambda t: t.c.hits == 0)

        @row_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def bad(row):
            raise ValueError("cannot be")
        """,
    )
    ran = project.run("migrate", "bad", "good")
    assert ran.code == 2
    assert "12 row(s) failed (online-migrate status lists them)" in ran.out
    assert ran.complaint
    shown = project.run("status").out
    assert "bad: 12 row(s) could not be migrated" in shown
    assert "row 1: ValueError: cannot be" in shown
    assert rows(database.engine, "SELECT DISTINCT hits, size FROM items") == [(1, None)]
    ran = project.run("db", "migrate", "good")
    assert (ran.code, len(ran.complaint)) == (0, 2)


@pytest.mark.needs("statement_binlog")
def test_statement_based_binary_log_is_refused_with_the_setting(database: Database, tmp_path: Path) -> None:
    """READ COMMITTED cannot write to such a log: exit code 3, the setting is named, no row is changed."""
    _items(database.engine, 3)
    url = sa.make_url(database.url).update_query_dict(
        {"init_command": "SET SESSION binlog_format = STATEMENT"}
    )
    with Project.create(
        tmp_path / "project", url.render_as_string(hide_password=False), pace=None
    ) as project:
        project.data("fill", COUNTER.format(at=-1))
        ran = project.run("migrate")
    assert ran.code == 3, ran
    assert "SET GLOBAL binlog_format = 'ROW'" in ran.err
    assert len(ran.complaint) <= 3
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(0,)]
    with Project.create(tmp_path / "again", database.url, pace=None) as project:
        project.data("fill", COUNTER.format(at=-1))
        assert project.migrate()["fill"].done == 3


def test_status_of_a_killed_run(database: Database, project: Project) -> None:
    """``status`` shows the last runner; a killed run is not shown as failed or ended."""
    _items(database.engine, 15)
    project.data("fill", COUNTER.format(at=12))
    project.run("migrate", environment={"DIE": "row"})
    found = project.status("fill")
    assert (found.status, found.error) == ("running", None)
    assert found.runner
    execute(database.engine, "DELETE FROM items WHERE id = 12")
    assert project.migrate()["fill"].done == 4
