"""Workers that share a data migration: in one process, in several, killed ones and frozen ones."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import state
from online_migrate.dialects import dialect_of
from online_migrate.migrate.status import Outcome, Result
from online_migrate.walk.checkpoint import decode_key
from tests.servers import Database
from tests.support.project import PATIENCE, Project, create, execute, insert, rows, scalar, wait_for

pytestmark = [pytest.mark.needs("many_writers"), pytest.mark.each_product]

PENDING = ", pending=lambda t: t.c.hits == 0"
COUNTER = """
import threading

@row_migration(table="items"{pending})
def fill(row):
    time.sleep(0.002)
    (FOLDER / f"{{os.getpid()}} {{threading.current_thread().name.removesuffix('-ahead')}}").touch()
    return {{"hits": row.hits + 1}}
"""
PAUSING = """
POINT = os.environ.get("POINT")

@row_migration(table="items"{pending})
def fill(row):
    if row.id == 15 and POINT and not (FOLDER / "there").exists():
        ARMED.append(row.id)
        # It may be called by the thread that reads ahead.
        reached("in the function", "MainThread", "MainThread-ahead")
    return {{"hits": row.hits + 1}}

ARMED = []

def reached(point, *threads):
    import threading
    if ARMED and point == POINT and threading.current_thread().name in (threads or ("MainThread",)):
        ARMED.clear()
        (FOLDER / "there").touch()
        {act}

@sa.event.listens_for(sa.engine.Engine, "commit")
def before_commit(connection):
    if "lease" in ARMED:
        reached("before the commit")

@sa.event.listens_for(sa.engine.Engine, "before_cursor_execute")
def before_execute(connection, cursor, statement, parameters, context, executemany):
    if statement.startswith(("UPDATE items", "UPDATE (SELECT")):
        # It may be written by the thread of one of the two chunks in hand.
        reached("before the rows are written", "MainThread", "MainThread-ahead")
    if ARMED and statement.startswith("UPDATE online_migrate_worker") and "done=" in statement:
        ARMED.append("lease")
        reached("before the lease moves")
"""
STOP = "os.kill(os.getpid(), signal.SIGSTOP)"
SLEEP = "time.sleep(3600)"
POINTS = ["in the function", "before the rows are written", "before the lease moves", "before the commit"]


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, batch_size=10) as written:
        yield written


@pytest.fixture
def short_lease(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project in which a worker without a heartbeat for two seconds is taken over."""
    with Project.create(tmp_path / "project", database.url, batch_size=10, lease=2) as written:
        yield written


@pytest.fixture
def long_lease(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project in which no worker is taken over for a missing heartbeat."""
    with Project.create(tmp_path / "project", database.url, batch_size=10, lease=3600) as written:
        yield written


KEYS = {
    "integer": ([sa.Column("id", sa.Integer, primary_key=True, autoincrement=False)], lambda i: {"id": i}),
    "composite": (
        [
            sa.Column("a", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("b", sa.String(20), primary_key=True),
        ],
        lambda i: {"a": i % 9, "b": f"b{i}"},
    ),
    "text": ([sa.Column("id", sa.String(40), primary_key=True)], lambda i: {"id": f"Ж%:{i * 7919 % 1000}"}),
}


def _items(engine: sa.Engine, count: int, key: str = "integer") -> None:
    columns, value = KEYS[key]
    table = create(
        engine,
        sa.Table(
            "items",
            sa.MetaData(),
            *[column._copy() for column in columns],
            sa.Column("hits", sa.Integer, nullable=False, server_default="0"),
            mysql_charset="utf8mb4",
        ),
    )
    insert(engine, table, [value(i) for i in range(1, count + 1)])


def _assert_migrated_once(engine: sa.Engine, count: int) -> None:
    assert rows(engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, count)]


def _wait_until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


# --- every row once ------------------------------------------------------------------------------


@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
@pytest.mark.parametrize("key", KEYS)
def test_workers_of_one_process_migrate_each_row_once(
    key: str, pending: str, database: Database, project: Project
) -> None:
    """Four workers, chunks of seven: all rows are migrated, by all of the workers."""
    _items(database.engine, 500, key)
    project.data("fill", COUNTER.format(pending=pending))
    result = project.migrate(workers=4, batch_size=7)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 500)
    _assert_migrated_once(database.engine, 500)
    assert len(list(project.folder.glob("* *"))) == 4
    found = project.status("fill")
    assert (found.status, found.done) == ("complete", 500)
    assert rows(database.engine, "SELECT id FROM online_migrate_worker") == []


@pytest.mark.parametrize("key", KEYS)
def test_workers_of_several_processes_migrate_each_row_once(
    key: str, database: Database, project: Project
) -> None:
    """Three processes with two workers each, coordinated only by the walk."""
    _items(database.engine, 900, key)
    project.data("fill", COUNTER.format(pending=""))
    processes = [
        project.start("migrate", "--json", "--pace", "default", "--workers", "2", "--batch-size", "5")
        for _ in range(3)
    ]
    ran = [process.wait() for process in processes]
    assert [r.code for r in ran] == [0, 0, 0], ran
    assert sum(r.json[0]["done"] for r in ran) == 900
    _assert_migrated_once(database.engine, 900)
    assert len({path.name.split()[0] for path in project.folder.glob("* *")}) >= 2
    assert project.status("fill").done == 900


def test_workers_with_a_dynamic_chunk_size(database: Database, tmp_path: Path) -> None:
    """Without a batch size the rows are migrated once too."""
    _items(database.engine, 3_000)
    with Project.create(tmp_path / "project", database.url, pace=None, chunk_time=0.02) as project:
        project.data("fill", COUNTER.format(pending="").replace("0.002", "0.0002"))
        result = project.migrate(workers=3)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 3_000)
    _assert_migrated_once(database.engine, 3_000)


def test_workers_share_max_count_exactly(database: Database, project: Project) -> None:
    """--max-count applies to all workers together; the next run migrates the rest."""
    _items(database.engine, 300)
    project.data("fill", COUNTER.format(pending=PENDING))
    for limit, done in ((100, 100), (101, 101), (200, 99)):
        result = project.migrate(workers=4, batch_size=7, max_count=limit)["fill"]
        assert result.done == done
    assert result.outcome is Outcome.COMPLETE
    _assert_migrated_once(database.engine, 300)


def test_workers_bisect_at_the_same_time(database: Database, project: Project) -> None:
    """Bad rows all over the table: exactly these fail, every other row is migrated once."""
    _items(database.engine, 400)
    project.data(
        "fill",
        """
        @batch_migration(table="items", pending=lambda t: t.c.hits == 0)
        def fill(connection, chunk):
            t = chunk.table
            ids = connection.scalars(sa.select(t.c.id).where(chunk.where)).all()
            if any(i % 13 == 5 for i in ids):
                raise ValueError("odd")
            return connection.execute(sa.update(t).where(chunk.where).values(hits=t.c.hits + 1)).rowcount
        """,
    )
    result = project.migrate(workers=4, batch_size=9)["fill"]
    bad = [i for i in range(1, 401) if i % 13 == 5]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 400 - len(bad), len(bad))
    assert rows(database.engine, "SELECT id FROM items WHERE hits = 0 ORDER BY id") == [(i,) for i in bad]
    assert scalar(database.engine, "SELECT max(hits) FROM items") == 1


def test_misuse_in_one_worker_stops_all_workers(database: Database, project: Project) -> None:
    """The others finish their chunks, no chunk is half done, and the run after a correction completes."""
    _items(database.engine, 400)
    source = COUNTER.format(pending=PENDING)
    project.data("fill", source.replace("return {", "return [] if row.id == 200 else {"))
    result = project.migrate(workers=4, batch_size=5)["fill"]
    assert result.outcome is Outcome.FAILED
    assert "not a dict" in (result.error or "")
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE hits = 1") == result.done < 400
    project.data("fill", source)
    assert project.migrate(workers=4, batch_size=5)["fill"].done == 400 - result.done
    _assert_migrated_once(database.engine, 400)


def events_of(err: str) -> list[dict[str, Any]]:
    """Returns the JSON documents in the lines of stderr."""
    return [json.loads(line) for line in err.splitlines() if line.startswith("{")]


# --- killed workers ------------------------------------------------------------------------------


@pytest.mark.parametrize("point", POINTS)
def test_killed_worker_is_taken_over_at_once(point: str, database: Database, long_lease: Project) -> None:
    """kill -9 while another process works: the session is gone, so its lease of an hour is not waited for."""
    project = long_lease
    _items(database.engine, 400)
    project.data("fill", PAUSING.format(pending="", act=SLEEP))
    first = project.start("migrate", environment={"POINT": point})
    wait_for(project.folder / "there", first)
    second = project.start("migrate", "--json", "--log-level", "info", "--log-format", "json")
    remaining = "SELECT count(*) FROM items WHERE hits = 0"
    _wait_until(lambda: scalar(database.engine, remaining) <= 80 or not second.running)
    first.kill()
    ran = second.wait()
    assert ran.code == 0, ran
    _assert_migrated_once(database.engine, 400)
    assert project.status("fill").done == 400
    taken = [event for event in events_of(ran.err) if event.get("name") == "range_taken_over"]
    assert [event["fields"]["reason"] for event in taken] == ["its session has ended"]
    assert rows(database.engine, "SELECT id FROM online_migrate_worker") == []


def test_run_after_a_kill_does_not_wait_for_the_lease(database: Database, long_lease: Project) -> None:
    """No other process was running at the kill: the next command continues at once."""
    project = long_lease
    _items(database.engine, 100)
    project.data("fill", PAUSING.format(pending="", act=SLEEP))
    first = project.start("migrate", environment={"POINT": "before the commit"})
    wait_for(project.folder / "there", first)
    first.kill()
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE
    _assert_migrated_once(database.engine, 100)
    assert project.status("fill").done == 100


def test_takeover_continues_after_a_commit_between_its_read_and_its_lock(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit of a killed process can end after its session: the rows of that chunk are done already."""
    _items(database.engine, 100)
    project.data("fill", PAUSING.format(pending="", act=SLEEP))
    first = project.start("migrate", environment={"POINT": "before the commit"})
    wait_for(project.folder / "there", first)
    first.kill()
    committed: list[str] = []
    lock = state.lock_worker

    def commit_first(connection: sa.Connection, id: str, *more: Any) -> Any:
        if not committed:
            committed.append(id)
            with database.engine.begin() as other:
                epoch = dialect_of(other).epoch()
                [dead] = [one for one in state.workers_of(other, "fill", epoch) if one.id == id]
                assert dead.range_number is not None
                done = 0 if dead.lower_key is None else decode_key(dead.lower_key)[0]
                chunk = f"id > {done} AND id <= {done + 10}"
                other.exec_driver_sql(f"UPDATE items SET hits = hits + 1 WHERE {chunk}")
                bounds = {"before": dead.lower_key, "lower": f"[{done + 10}]"}
                assert state.Advance(epoch)(other, id, dead.range_number, **bounds, done=10)
        return lock(connection, id, *more)

    monkeypatch.setattr(state, "lock_worker", commit_first)
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE
    assert committed
    _assert_migrated_once(database.engine, 100)
    assert project.status("fill").done == 100


def test_worker_that_has_advanced_its_lease_meanwhile_is_not_taken_over(
    database: Database, project: Project
) -> None:
    """Its heartbeat was too old when the workers were read, and is new when its row is locked."""
    project.apply_expand()
    engine = database.engine
    epoch = dialect_of(engine.connect()).epoch()
    with engine.begin() as connection:
        state.register(connection, "one", "fill", epoch)
        state.assign_range(connection, "one", "fill", 7, None, "[80]", epoch)
        state.update_heartbeat(connection, {"one": {}}, epoch - 3600)
        [read] = state.workers_of(connection, "fill", epoch)
        assert read.seconds_since_heartbeat >= 3600
        assert state.Advance(epoch)(connection, "one", 7, before=None, lower="[5]", done=5)
    with engine.begin() as connection:
        locked = state.lock_worker(connection, "one", epoch)
        assert locked is not None
        assert (locked.lower_key, locked.upper_key, locked.range_number) == ("[5]", "[80]", 7)
        assert locked.seconds_since_heartbeat < 3600
        assert state.lock_worker(connection, "two", epoch) is None


# --- frozen workers ------------------------------------------------------------------------------


@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
@pytest.mark.parametrize("point", POINTS)
def test_frozen_worker_past_its_lease_migrates_no_row_twice(
    point: str, pending: str, database: Database, short_lease: Project
) -> None:
    """SIGSTOP, another process takes over and completes, SIGCONT: no row is lost or migrated twice."""
    project = short_lease
    _items(database.engine, 100)
    project.data("fill", PAUSING.format(pending=pending, act=STOP))
    first = project.start("migrate", environment={"POINT": point})
    wait_for(project.folder / "there", first)
    second = project.run("migrate", "--json", "--log-level", "info", "--log-format", "json")
    assert second.code == 0, second
    taken = [event for event in events_of(second.err) if event.get("name") == "range_taken_over"]
    # The server ends the frozen session after the same time.
    assert [event["fields"]["reason"] for event in taken] in (
        ["its heartbeat is too old"],
        ["its session has ended"],
    )
    _assert_migrated_once(database.engine, 100)
    first.signal(signal.SIGCONT)
    ran = first.wait()
    assert ran.code == 0, ran
    assert ran.complaint
    _assert_migrated_once(database.engine, 100)
    found = project.status("fill")
    assert (found.status, found.done) == ("complete", 100)
    assert rows(database.engine, "SELECT id FROM online_migrate_worker") == []


@pytest.mark.parametrize("pace", ["default", "full"])
def test_chunk_of_a_worker_without_its_lease_is_rolled_back(
    pace: str, database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is taken over while the rows are written: the chunk must not commit beside its new owner."""
    _items(database.engine, 100)
    project.data("fill", 'fill = Backfill(table="items", values=lambda t: {"hits": t.c.hits + 1})\n')
    taken: list[Any] = []
    update = state.Advance.__call__

    def take_over_first(self: state.Advance, connection: sa.Connection, *args: Any, **more: Any) -> bool:
        if not taken:
            taken.append(args)
            # As if by another worker, which released the range again: a heartbeat of 0.
            execute(database.engine, "UPDATE online_migrate_worker SET id = 'other', heartbeat = 0")
        return update(self, connection, *args, **more)

    monkeypatch.setattr(state.Advance, "__call__", take_over_first)
    result = project.migrate(pace=pace)["fill"]
    assert taken
    assert result.outcome is Outcome.COMPLETE
    _assert_migrated_once(database.engine, 100)
    assert project.status("fill").done == 100


def test_frozen_worker_that_resumes_joins_the_others(database: Database, short_lease: Project) -> None:
    """It detects that its lease was taken over, and acquires another range."""
    project = short_lease
    _items(database.engine, 300)
    source = PAUSING.format(pending="", act=STOP)
    slow = "    if row.id > 90 and not POINT:\n        time.sleep(0.02)\n    return"
    project.data("fill", source.replace("    return", slow, 1))
    first = project.start("migrate", "--json", environment={"POINT": "before the rows are written"})
    wait_for(project.folder / "there", first)
    second = project.start("migrate", "--json")
    _wait_until(lambda: scalar(database.engine, "SELECT hits FROM items WHERE id = 15") == 1)
    first.signal(signal.SIGCONT)
    ran = [first.wait(), second.wait()]
    assert [r.code for r in ran] == [0, 0], ran
    _assert_migrated_once(database.engine, 300)
    assert project.status("fill").done == 300


# --- the checkpoint ------------------------------------------------------------------------------


def test_watermark_is_never_above_an_unmigrated_row(database: Database, project: Project) -> None:
    """Chunks end out of order; the rows below the recorded watermark are migrated at every moment."""
    _items(database.engine, 900)
    project.data(
        "fill",
        """
        @row_migration(table="items")
        def fill(row):
            time.sleep(0.008 if row.id // 40 % 3 == 0 else 0.001)
            return {"hits": row.hits + 1}
        """,
    )
    results: list[Result] = []
    project.site().ensure_state_tables()
    runner = threading.Thread(target=lambda: results.append(project.migrate(workers=4, batch_size=5)["fill"]))
    runner.start()
    observed, out_of_order = 0, 0
    engine = sa.create_engine(database.url, poolclass=sa.NullPool, isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        dialect = dialect_of(connection)
        while runner.is_alive():
            with connection.begin():
                # The first read determines the snapshot of the transaction.
                if connection.scalar(sa.text("SELECT count(*) FROM items")):
                    counts = _count_migrated_above(connection, dialect)
                    if counts is not None:
                        observed, out_of_order = observed + 1, out_of_order + bool(counts)
            time.sleep(0.01)
    runner.join()
    assert results[0].outcome is Outcome.COMPLETE
    _assert_migrated_once(database.engine, 900)
    assert observed > 5
    assert out_of_order > 0, "no chunk was ever finished out of order"


def _count_migrated_above(connection: sa.Connection, dialect: Any) -> int | None:
    """Returns the number of migrated rows above the watermark.

    Asserts that all rows below it are migrated.
    """
    record = state.get_record(connection, "fill")
    walk = state.get_walk(connection, "fill")
    workers = state.workers_of(connection, "fill", dialect.epoch())
    marks = [mark for mark in (state.watermark(walk, workers), record and record.checkpoint) if mark]
    above = None
    for mark in marks:
        [key] = decode_key(mark)
        below = sa.text("SELECT count(*) FROM items WHERE id <= :key AND hits = 0")
        assert connection.scalar(below, {"key": key}) == 0, (mark, walk, workers)
        done = sa.text("SELECT count(*) FROM items WHERE id > :key AND hits > 0")
        above = connection.scalar(done, {"key": key})
    return above


def test_lease_belongs_to_one_range_and_one_registered_worker(database: Database, project: Project) -> None:
    """A worker cannot advance another lease.

    A deleted worker is registered again when it acquires a range.
    """
    project.site().ensure_state_tables()
    with database.engine.connect() as connection, connection.begin():
        epoch = dialect_of(connection).epoch()
        advance = state.Advance(epoch)
        state.register(connection, "one", "fill", epoch)
        assert state.assign_range(connection, "one", "fill", 7, None, "[80]", epoch) == 0
        assert not advance(connection, "one", 6, before=None, lower="[10]", done=10)
        assert not advance(connection, "two", 7, before=None, lower="[10]", done=10)
        assert not advance(connection, "one", 7, before="[5]", lower="[10]", done=10)
        assert advance(connection, "one", 7, before=None, lower="[10]", done=10)
        # A worker for which the outcome of this commit is unknown cannot repeat it.
        assert not advance(connection, "one", 7, before=None, lower="[10]", done=10)
        [worker] = state.workers_of(connection, "fill", epoch)
        assert (worker.range_number, worker.lower_key, worker.upper_key, worker.done) == (
            7,
            "[10]",
            "[80]",
            10,
        )
        assert not advance(connection, "one", 7, before="[5]", lower=None, done=5)
        assert advance(connection, "one", 7, before="[10]", lower=None, done=5)
        assert state.assign_range(connection, "one", "fill", 8, "[80]", "[90]", epoch) == 15
        assert state.delete_worker(connection, "one") == 0
        assert not advance(connection, "one", 8, before="[80]", lower="[85]", done=5)
        assert state.assign_range(connection, "one", "fill", 9, "[90]", "[99]", epoch) == 0
        [worker] = state.workers_of(connection, "fill", epoch)
        assert (worker.id, worker.range_number, worker.lower_key, worker.done) == ("one", 9, "[90]", 0)


def test_heartbeat_does_not_keep_the_lease_locked(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that advances its lease would wait for it."""
    _items(database.engine, 30)
    unlocked: list[bool] = []
    update = state.update_heartbeat

    def updated(connection: sa.Connection, facts: Any, epoch: Any) -> None:
        update(connection, facts, epoch)
        with database.engine.connect() as other:
            unlocked.extend(state.lock_worker(other, worker, epoch) is not None for worker in facts)

    monkeypatch.setattr(state, "update_heartbeat", updated)
    project.data("fill", COUNTER.format(pending=PENDING).replace("0.002", "0.05"))
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE
    # A chunk may hold the lock at a single heartbeat.
    assert any(unlocked)
