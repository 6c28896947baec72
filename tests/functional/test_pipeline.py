"""Two chunks are written at a time, on two connections, and committed in order.

Whatever happens to either of them, every row is migrated once, and the counts match the data.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from online_migrate import state
from online_migrate.kinds.bound import BoundMigration
from online_migrate.migrate.executor.inflight import WriteResult
from online_migrate.migrate.executor.pipeline import ChunkPipeline
from online_migrate.migrate.executor.prefetch import Prefetcher
from online_migrate.migrate.executor.scheduler import PipelineScheduler
from online_migrate.migrate.run.context import RunState
from online_migrate.migrate.status import Outcome
from online_migrate.migrate.worker.lease import RangeCandidate
from online_migrate.migrate.worker.lost_chunks import LostChunks
from online_migrate.migrate.worker.ranges import RangeAcquirer
from online_migrate.migrate.worker.registration import Registration
from online_migrate.state import Status
from online_migrate.throttle.server_throttlers import LockWaiters
from tests.servers import Database
from tests.support.chaos import wait_until
from tests.support.project import Process, Project, create, execute, insert, rows, scalar, wait_for

pytestmark = [pytest.mark.needs("many_writers"), pytest.mark.each_product]

T = TypeVar("T")
COUNT = 95
PENDING = ", pending=lambda t: t.c.hits == 0"
FILL = """
fill = Backfill(table="items", values=lambda t: {{"hits": t.c.hits + {more}, "session": {session}}}{pending})
"""
ROW = """
@row_migration(table="items"{pending})
def fill(row):
    with (FOLDER / "called").open("a") as file:
        print(row.id, file=file)
    {before}
    return {{"hits": row.hits + {more}}}
"""
OF_ITS_OWN = """
import dataclasses
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.result import ChunkResult

@dataclasses.dataclass(frozen=True, kw_only=True)
class Increment(DataMigration):
    failing: int = 0

    def supports_pipeline(self, bound):
        return True

    def apply(self, connection, bound, chunk, prepared):
        where = sa.and_(chunk.where, chunk.table.c.id != self.failing)
        update = sa.update(chunk.table).where(where).values(hits=chunk.table.c.hits + 1)
        done = connection.execute(update).rowcount
        first = 0 if chunk.lower is None else chunk.lower[0]
        here = first < self.failing <= chunk.upper[0]
        return ChunkResult(done, {{f"[{{self.failing}}]": "no"}} if here else {{}})

fill = Increment(table="items", failing={failing})
"""
PAUSING = """
import threading
POINT, HELD = os.environ.get("POINT"), []

def reached(point):
    if point == POINT and len(HELD) == 4 and threading.current_thread().name == "MainThread":
        HELD.append(point)
        # Long enough for the chunk after this one to be written, and not committed.
        time.sleep(0.2)
        (FOLDER / "there").touch()
        {act}

@sa.event.listens_for(sa.engine.Engine, "before_cursor_execute")
def before(connection, cursor, statement, parameters, context, executemany):
    if statement.startswith("UPDATE online_migrate_worker") and "done=" in statement:
        # The first time it is the claim of the rows.
        HELD.append("lease") if len(HELD) < 4 else None
        reached("before the lease moves")

@sa.event.listens_for(sa.engine.Engine, "commit")
def committing(connection):
    reached("before the commit")
"""
POINTS = ["before the lease moves", "before the commit"]
STOP = "os.kill(os.getpid(), signal.SIGSTOP)"
SLEEP = "time.sleep(3600)"
UNTIL = 'while not (FOLDER / "go").exists(): time.sleep(0.02)'


@pytest.fixture
def items(database: Database) -> sa.Table:
    """Rows 1 to 95, none of them migrated."""
    table = create(
        database.engine,
        sa.Table(
            "items",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("hits", sa.Integer, nullable=False, server_default="0"),
            sa.Column("session", sa.BigInteger),
            sa.Column("other", sa.Integer),
        ),
    )
    insert(database.engine, table, [{"id": i} for i in range(1, COUNT + 1)])
    return table


@pytest.fixture
def project(
    database: Database, items: sa.Table, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Project]:
    """Its parameter is the pace."""
    pace = getattr(request, "param", "full")
    with Project.create(tmp_path / "project", database.url, batch_size=10, pace=pace) as written:
        yield written


at_default_pace = pytest.mark.parametrize("project", ["default"], indirect=True)
of_both_kinds = pytest.mark.parametrize("kind", ["backfill", "row"])


@pytest.fixture
def short_lease(database: Database, items: sa.Table, tmp_path: Path) -> Iterator[Project]:
    """A project in which a worker without a heartbeat for two seconds is taken over."""
    with Project.create(tmp_path / "project", database.url, batch_size=10, lease=2) as written:
        yield written


def _fill(database: Database, pending: str = "", more: str = "1") -> str:
    """Returns a Backfill that counts its updates of a row and stores the id of the session."""
    postgresql = database.engine.dialect.name == "postgresql"
    session = "sa.func.pg_backend_pid()" if postgresql else "sa.func.connection_id()"
    return FILL.format(session=session, pending=pending, more=more)


def _row(pending: str = "", more: str = "1", before: str = "pass") -> str:
    """Returns the same as a function of a row, which records the rows for which it is called."""
    return ROW.format(pending=pending, more=more, before=before)


def _source(kind: str, database: Database, pending: str = "") -> str:
    return _fill(database, pending) if kind == "backfill" else _row(pending)


def _called(project: Project) -> list[int]:
    """Returns the rows for which the function was called, in order."""
    return [int(line) for line in (project.folder / "called").read_text().split()]


def _before_rows_31_to_40(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> list[object]:
    """Calls *act* once, right before rows 31 to 40 are written as the second chunk in flight.

    Returns a list that has an item after the call.
    """
    write, called = BoundMigration.write, list[object]()

    def call_before(self: BoundMigration, connection: sa.Connection, chunk: Any, prepared: Any) -> Any:
        if chunk.lower == (30,) and not called:
            called.append(chunk)
            act()
        return write(self, connection, chunk, prepared)

    monkeypatch.setattr(BoundMigration, "write", call_before)
    return called


def _altering(database: Database) -> tuple[threading.Thread, list[float]]:
    """Returns a thread that adds a column to the table, and a list that gets the seconds that it took."""
    seconds: list[float] = []

    def alter() -> None:
        started = time.monotonic()
        with sa.create_engine(database.url, poolclass=sa.NullPool).begin() as connection:
            connection.execute(sa.text("ALTER TABLE items ADD COLUMN more INTEGER"))
        seconds.append(time.monotonic() - started)

    return threading.Thread(target=alter), seconds


def _recorded_instances(monkeypatch: pytest.MonkeyPatch, kind: type[T], method: str) -> list[T]:
    """Returns a list that gets the objects of which *method* is called from now on, in that order."""
    found: list[T] = []
    original = getattr(kind, method)

    def recorded(self: T, *arguments: Any) -> Any:
        found.append(self)
        return original(self, *arguments)

    monkeypatch.setattr(kind, method, recorded)
    return found


def _sessions(engine: sa.Engine) -> list[tuple[int, int]]:
    """Returns (first row, session) for each sequence of rows that were written on the same connection."""
    found: list[tuple[int, int]] = []
    for row, session in rows(engine, "SELECT id, session FROM items ORDER BY id"):
        if not found or found[-1][1] != session:
            found.append((row, session))
    return found


def _assert_migrated_once(engine: sa.Engine, project: Project) -> None:
    assert rows(engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, COUNT)]
    found = project.status("fill")
    assert (found.status, found.done) == ("complete", COUNT)
    assert rows(engine, "SELECT id FROM online_migrate_worker") == []


@pytest.fixture
def committed_chunks(monkeypatch: pytest.MonkeyPatch) -> list[WriteResult]:
    """The chunks that were committed after they were written in the pipeline."""
    written: list[WriteResult] = []
    commit = ChunkPipeline.commit

    def committed(self: ChunkPipeline, chunk: WriteResult) -> None:
        commit(self, chunk)
        written.append(chunk)

    monkeypatch.setattr(ChunkPipeline, "commit", committed)
    return written


@pytest.fixture
def slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes writing rows slower than reading them and calling the function."""
    write = BoundMigration.write

    def slowly(self: BoundMigration, connection: sa.Connection, chunk: Any, prepared: Any) -> Any:
        result = write(self, connection, chunk, prepared)
        time.sleep(0.1)
        return result

    monkeypatch.setattr(BoundMigration, "write", slowly)


# --- two connections -----------------------------------------------------------------------------


@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
def test_pipeline_alternates_between_two_connections(
    pending: str, database: Database, project: Project
) -> None:
    """Chunk by chunk within a key range of eight chunks; each of them is written once."""
    project.data("fill", _fill(database, pending))
    assert project.migrate()["fill"].done == COUNT
    _assert_migrated_once(database.engine, project)
    sequences = _sessions(database.engine)
    assert [row for row, _session in sequences[:8]] == [1, 11, 21, 31, 41, 51, 61, 71]
    assert len({session for _row, session in sequences}) == 2


@pytest.mark.usefixtures("slow_server")
@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
def test_pipeline_writes_prefetched_rows_on_two_connections(
    pending: str, database: Database, project: Project, committed_chunks: list[WriteResult]
) -> None:
    """The connections alternate by chunk; the function is called once for each row, in order."""
    project.data("fill", _row(pending))
    assert project.migrate()["fill"].done == COUNT
    _assert_migrated_once(database.engine, project)
    assert [chunk.inflight.plan.upper[0] for chunk in committed_chunks] == [*range(10, 91, 10), 95]
    assert len({id(chunk.inflight.write_connection) for chunk in committed_chunks[:8]}) == 2
    assert _called(project) == list(range(1, COUNT + 1))


def test_pipeline_writes_a_kind_that_the_engine_does_not_know(
    database: Database, project: Project, committed_chunks: list[WriteResult]
) -> None:
    """A kind says by itself that it supports the pipeline."""
    project.data("fill", OF_ITS_OWN.format(failing=0))
    assert project.migrate()["fill"].done == COUNT
    _assert_migrated_once(database.engine, project)
    assert [chunk.inflight.plan.upper[0] for chunk in committed_chunks] == [*range(10, 91, 10), 95]


def test_failure_in_the_pipeline_is_recorded_serially(
    database: Database, project: Project, committed_chunks: list[WriteResult]
) -> None:
    """A chunk in which a row fails is not committed by the pipeline, which does not record failures."""
    project.data("fill", OF_ITS_OWN.format(failing=35))
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 1, 1)
    assert rows(database.engine, "SELECT id FROM items WHERE hits = 0") == [(35,)]
    assert rows(database.engine, "SELECT count(*) FROM items WHERE hits = 1") == [(COUNT - 1,)]
    uppers = [chunk.inflight.plan.upper[0] for chunk in committed_chunks]
    assert 40 not in uppers
    assert 10 in uppers


def test_pipeline_is_not_used_without_a_primary_key(
    database: Database, project: Project, committed_chunks: list[WriteResult]
) -> None:
    """The walked key is not the clustered index, so no chunk may wait for the next key range at its end."""
    execute(
        database.engine,
        "CREATE TABLE others AS SELECT * FROM items",
        "DROP TABLE items",
        "CREATE TABLE items (name VARCHAR(20) NOT NULL, id INTEGER NOT NULL, hits INTEGER, session BIGINT)",
        # In MySQL the first key is the clustered index, and the key with fewer columns is walked.
        "CREATE UNIQUE INDEX a ON items (name, id)",
        "CREATE UNIQUE INDEX b ON items (id)",
        "INSERT INTO items (name, id, hits) SELECT 'x', id, 0 FROM others",
    )
    project.data("fill", _fill(database))
    assert project.migrate()["fill"].done == COUNT
    _assert_migrated_once(database.engine, project)
    assert committed_chunks == []


@pytest.mark.parametrize(
    "limits",
    [{"pace": "default"}, {"nice": 0.5}, {"max_count": COUNT}, {"pace": "gentle"}],
    ids=lambda limits: next(iter(limits)) + str(next(iter(limits.values()))),
)
def test_pipeline_is_not_used_when_options_limit_the_load(
    limits: dict[str, Any], database: Database, project: Project, committed_chunks: list[WriteResult]
) -> None:
    project.data("fill", _fill(database, PENDING))
    project.migrate(**limits)
    assert rows(database.engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, COUNT)]
    assert committed_chunks == []
    assert len({session for _row, session in _sessions(database.engine)}) == 1


@at_default_pace
def test_next_range_is_found_while_no_row_is_locked(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server reads the keys of a whole range for it: longer than a chunk may lock its rows."""
    unlocked: list[int] = []
    find = RangeAcquirer.find

    def find_and_count(self: RangeAcquirer, connection: sa.Connection) -> RangeCandidate:
        unlocked.append(len(rows(database.engine, "SELECT id FROM items FOR UPDATE SKIP LOCKED")))
        return find(self, connection)

    monkeypatch.setattr(RangeAcquirer, "find", find_and_count)
    project.data("fill", _fill(database, PENDING))
    project.migrate()
    _assert_migrated_once(database.engine, project)
    # Two ranges, and the attempt to acquire a third one.
    assert unlocked[:2] == [COUNT, COUNT]
    assert set(unlocked) == {COUNT}


def test_pipeline_chunk_is_invisible_before_its_commit(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each commit other sessions see the rows below it as migrated, and those of the second chunk not."""
    observed: list[tuple[int, int]] = []
    commit = ChunkPipeline.commit

    def watched(self: ChunkPipeline, chunk: WriteResult) -> None:
        time.sleep(0.05)
        observed.append((chunk.inflight.plan.upper[0], _done()))
        commit(self, chunk)
        observed.append((chunk.inflight.plan.upper[0], _done()))

    def _done() -> int:
        return int(scalar(database.engine, "SELECT count(*) FROM items WHERE hits = 1"))

    monkeypatch.setattr(ChunkPipeline, "commit", watched)
    project.data("fill", _fill(database))
    assert project.migrate()["fill"].done == COUNT
    assert len(observed) == 20
    assert [(upper, done + 10 if i % 2 == 0 else done) for i, (upper, done) in enumerate(observed[:18])] == [
        (upper, upper) for upper in range(10, 91, 10) for _ in range(2)
    ]


# --- rows that fail ------------------------------------------------------------------------------


def test_pipeline_rows_rejected_by_the_server_are_bisected(
    database: Database, project: Project, committed_chunks: list[WriteResult]
) -> None:
    """The database rejects rows 33, 34 and 77; the chunks before and after them are pipelined."""
    overflow = "sa.case((t.c.id.in_([33, 34, 77]), 2**31 - 1), else_=0) + 1"
    project.data("fill", _fill(database, PENDING, more=overflow))
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 3, 3)
    left = rows(database.engine, "SELECT id FROM items WHERE hits = 0 ORDER BY id")
    assert left == [(33,), (34,), (77,)]
    assert scalar(database.engine, "SELECT max(hits) FROM items") == 1
    assert len(committed_chunks) >= 3
    assert project.counts("fill") == (COUNT - 3, 0, 3)


@pytest.mark.parametrize("kind", ["backfill", "row"])
def test_pipeline_row_still_pending_after_its_update_is_recorded(
    kind: str, database: Database, project: Project
) -> None:
    backfill = _fill(database, PENDING, more="sa.case((t.c.id == 42, 0), else_=1)")
    row = _row(PENDING, more="(0 if row.id == 42 else 1)")
    project.data("fill", backfill if kind == "backfill" else row)
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 1, 1)
    assert rows(database.engine, "SELECT id FROM items WHERE hits <> 1") == [(42,)]
    [(error,)] = rows(database.engine, "SELECT error FROM online_migrate_failure")
    assert "still pending" in error


@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
@pytest.mark.parametrize("how", ["the function raises", "the server refuses"])
def test_pipeline_failing_rows_of_a_function_are_bisected(
    how: str, pending: str, database: Database, project: Project, committed_chunks: list[WriteResult]
) -> None:
    """Rows 33, 34 and 77 fail; the chunks before and after them are pipelined."""
    bad = "row.id in (33, 34, 77)"
    raised, overflow = f'assert not {bad}, "no"', f"(2**31 if {bad} else 1)"
    source = _row(pending, before=raised) if how == "the function raises" else _row(pending, more=overflow)
    project.data("fill", source)
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 3, 3)
    left = rows(database.engine, "SELECT id FROM items WHERE hits = 0 ORDER BY id")
    assert left == [(33,), (34,), (77,)]
    assert scalar(database.engine, "SELECT max(hits) FROM items") == 1
    assert len(committed_chunks) >= 3
    assert [failure["key"] for failure in project.status("fill").failures] == ["33", "34", "77"]


@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
def test_pipeline_row_changed_after_prefetch_is_read_again(
    pending: str,
    database: Database,
    project: Project,
    committed_chunks: list[WriteResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The application updates a row of the second chunk just before that chunk is written."""
    change = "UPDATE items SET other = 500 WHERE id = 35"
    changed = _before_rows_31_to_40(monkeypatch, lambda: execute(database.engine, change))
    source = _row(pending).replace('{"hits"', '{"session": 1000 + (row.other or 0), "hits"')
    project.data("fill", source)
    assert project.migrate()["fill"].done == COUNT
    _assert_migrated_once(database.engine, project)
    assert changed
    assert rows(database.engine, "SELECT id, other, session FROM items WHERE session <> 1000") == [
        (35, 500, 1500)
    ]
    assert sorted(_called(project)) == sorted([*range(1, COUNT + 1), 35])
    assert len(committed_chunks) >= 3, "it never went on in turns"


def test_pipeline_rolled_back_chunk_is_written_without_calling_the_function_again(
    database: Database, project: Project, committed_chunks: list[WriteResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application locks a row of the first chunk for longer than the second chunk waits for it."""
    holder = sa.create_engine(database.url, poolclass=sa.NullPool).connect()

    def lock_row() -> None:
        holder.execute(sa.text("SELECT * FROM items WHERE id = 35 FOR UPDATE"))
        threading.Timer(5.0, holder.close).start()

    called = _before_rows_31_to_40(monkeypatch, lock_row)
    project.data("fill", _row(PENDING))
    assert project.migrate()["fill"].done == COUNT
    assert called
    _assert_migrated_once(database.engine, project)
    assert _called(project) == list(range(1, COUNT + 1))
    uppers = [chunk.inflight.plan.upper[0] for chunk in committed_chunks]
    assert 40 in uppers, "the first chunk was not committed"
    assert 50 not in uppers, "the second chunk was not rolled back"


@pytest.mark.usefixtures("slow_server")
def test_pipeline_idle_connection_is_kept_open(
    database: Database, items: sa.Table, committed_chunks: list[WriteResult], tmp_path: Path
) -> None:
    """For six seconds the function is slower than the server, so one connection is enough.

    MySQL and MariaDB end a session that is idle for four seconds.
    """
    slow = "time.sleep(0.15 if row.id <= 40 else 0)"
    with Project.create(tmp_path / "project", database.url, batch_size=10, lease=4) as project:
        project.data("fill", _row("", before=slow))
        assert project.migrate()["fill"].done == COUNT
        _assert_migrated_once(database.engine, project)
        assert _called(project) == list(range(1, COUNT + 1)), "a worker was lost with its connection"
        assert len(committed_chunks) == 10
        assert len({id(chunk.inflight.write_connection) for chunk in committed_chunks[4:8]}) == 2


def test_connection_without_a_chunk_is_kept_open_during_a_long_write(
    database: Database,
    short_lease: Project,
    committed_chunks: list[WriteResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last chunk of a range is written alone. MySQL and MariaDB end an idle session after two seconds."""
    write, slept = BoundMigration.write, list[Any]()
    sleep = sa.func.pg_sleep(5) if database.engine.dialect.name == "postgresql" else sa.func.sleep(5)

    def slowly(self: BoundMigration, connection: sa.Connection, chunk: Any, prepared: Any) -> Any:
        if chunk.lower == (70,):
            slept.append(connection.execute(sa.select(sleep)))  # on the server: this session is not idle
        return write(self, connection, chunk, prepared)

    monkeypatch.setattr(BoundMigration, "write", slowly)
    project = short_lease
    project.data("fill", _fill(database))
    registered = _recorded_instances(monkeypatch, Registration, "register")
    assert project.migrate()["fill"].done == COUNT
    _assert_migrated_once(database.engine, project)
    assert len(registered) == 1, "a worker was lost with its connection"
    assert len(slept) == 1
    assert len(committed_chunks) == 10


def test_pipeline_commits_without_waiting_for_the_prefetch(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function takes 0.3 s for a chunk; the written chunk is committed without waiting for it."""
    locked: list[float] = []
    commit = ChunkPipeline.commit

    def committed(self: ChunkPipeline, chunk: WriteResult) -> None:
        locked.append(time.monotonic() - chunk.inflight.write_connection.ended)
        commit(self, chunk)

    monkeypatch.setattr(ChunkPipeline, "commit", committed)
    project.data("fill", _row(PENDING, before="time.sleep(0.03)"))
    assert project.migrate()["fill"].done == COUNT
    _assert_migrated_once(database.engine, project)
    assert len(locked) >= 8
    assert sorted(locked)[len(locked) // 2] < 0.15


# --- locks of other sessions ---------------------------------------------------------------------


def test_pipeline_does_not_block_an_application_that_locks_rows_of_both_chunks(
    database: Database, project: Project, committed_chunks: list[WriteResult]
) -> None:
    """It locks a row of each chunk and then one of the chunk before: no deadlock, no lost update."""
    project.data("fill", _fill(database, PENDING))
    project.site().ensure_state_tables()
    finished = threading.Event()
    served, refused = [0], []

    def application() -> None:
        engine = sa.create_engine(database.url, poolclass=sa.NullPool)
        touch = sa.text("UPDATE items SET other = coalesce(other, 0) + 1 WHERE id = :id")
        while not finished.is_set():
            for later, earlier in ((25, 15), (55, 45), (85, 75)):
                try:
                    with engine.begin() as connection:
                        connection.execute(touch, {"id": later})
                        connection.execute(touch, {"id": earlier})
                    served[0] += 1
                except sa.exc.DBAPIError as error:
                    refused.append(error)

    thread = threading.Thread(target=application)
    thread.start()
    try:
        wait_until(lambda: served[0] > 3, "an application that writes")
        assert project.migrate()["fill"].done == COUNT
    finally:
        finished.set()
        thread.join()
    _assert_migrated_once(database.engine, project)
    assert refused == []
    touched = "SELECT sum(other), count(*) FROM items WHERE other IS NOT NULL"
    assert rows(database.engine, touched) == [(2 * served[0], 6)]


TALLY_TRIGGERS = {
    "postgresql": [
        """CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN UPDATE tally SET n = n + 1; RETURN NEW; END $$""",
        "CREATE TRIGGER tally AFTER UPDATE ON items FOR EACH ROW EXECUTE FUNCTION tally()",
    ],
    "mysql": ["CREATE TRIGGER tally AFTER UPDATE ON items FOR EACH ROW UPDATE tally SET n = n + 1"],
}
DEFERRED_TRIGGER = """
    CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON items DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.id % 20 BETWEEN 1 AND 10) EXECUTE FUNCTION tally()
"""


def test_pipeline_chunks_that_update_the_same_row_wait_for_each_other(
    database: Database, project: Project, committed_chunks: list[WriteResult]
) -> None:
    """A trigger updates a row of another table, which either chunk may lock first.

    If the second chunk has locked it, that chunk is rolled back, without an error of the server.
    """
    execute(database.engine, "CREATE TABLE tally (n INTEGER)", "INSERT INTO tally VALUES (0)")
    execute(database.engine, *TALLY_TRIGGERS[database.engine.dialect.name.replace("mariadb", "mysql")])
    project.data("fill", _fill(database, PENDING))
    assert project.migrate()["fill"].done == COUNT
    _assert_migrated_once(database.engine, project)
    assert scalar(database.engine, "SELECT n FROM tally") == COUNT
    assert committed_chunks


@pytest.fixture
def lock_waiters(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each reason of the throttler that counts the sessions that wait for locks of the workers."""
    reasons: list[str] = []
    sample = LockWaiters.sample

    def recorded(self: LockWaiters, connection: sa.Connection) -> str | None:
        reason = sample(self, connection)
        if reason is not None:
            reasons.append(reason)
        return reason

    monkeypatch.setattr(LockWaiters, "sample", recorded)
    return reasons


@at_default_pace
def test_heartbeat_that_waits_for_its_worker_is_no_reason_to_pause(
    database: Database, project: Project, lock_waiters: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It updates the row of the worker, which a chunk has locked to advance its lease."""
    advance, calls = state.Advance.__call__, list[object]()

    def slowly(self: state.Advance, *arguments: Any, **more: Any) -> bool:
        held = advance(self, *arguments, **more)
        calls.append(held)
        if len(calls) == 2:
            time.sleep(2.5)  # several heartbeats; the throttler counts once a second
        return held

    monkeypatch.setattr(state.Advance, "__call__", slowly)
    project.data("fill", _fill(database, PENDING))
    assert project.migrate()["fill"].done == COUNT
    _assert_migrated_once(database.engine, project)
    assert len(calls) > 2
    assert lock_waiters == []


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_pipeline_second_chunk_yields_to_a_commit_that_waits_for_it(
    database: Database, project: Project
) -> None:
    """A deferred trigger needs, at the commit, a row that the second chunk has locked: neither can continue.

    No server detects that deadlock, as one of the two waits for its client. So the lock timeout of the
    session ends the wait.
    """
    engine = database.engine
    early = TALLY_TRIGGERS["postgresql"][1].replace("ROW", "ROW WHEN (NEW.id % 20 NOT BETWEEN 1 AND 10)")
    execute(engine, "CREATE TABLE tally (n INTEGER)", "INSERT INTO tally VALUES (0)")
    execute(engine, TALLY_TRIGGERS["postgresql"][0], early, DEFERRED_TRIGGER)
    execute(engine, "DELETE FROM items WHERE id > 30")
    project.data("fill", _fill(database, PENDING))
    assert project.migrate()["fill"].done == 30
    assert rows(engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, 30)]
    assert scalar(engine, "SELECT n FROM tally") == 30


# --- the end of a worker or of a session ---------------------------------------------------------


@of_both_kinds
@pytest.mark.parametrize("point", POINTS)
def test_kill_rolls_back_both_chunks(point: str, kind: str, database: Database, project: Project) -> None:
    """kill -9 with one chunk before its end and the second one written: the next run migrates the rest."""
    project.data("fill", _source(kind, database) + PAUSING.format(act=SLEEP))
    first = _paused_run(project, point)
    first.kill()
    done = scalar(database.engine, "SELECT count(*) FROM items WHERE hits = 1")
    assert done == 20
    assert project.migrate()["fill"].done == COUNT - done
    _assert_migrated_once(database.engine, project)


@pytest.mark.parametrize(
    ("kind", "pending"),
    [("backfill", PENDING), ("backfill", ""), ("row", "")],
    ids=["with pending", "without pending", "row"],
)
@pytest.mark.parametrize("point", POINTS)
def test_frozen_worker_commits_neither_chunk(
    point: str, kind: str, pending: str, database: Database, short_lease: Project
) -> None:
    """SIGSTOP past the lease, another process migrates all rows, SIGCONT: no row is migrated twice."""
    project = short_lease
    project.data("fill", _source(kind, database, pending) + PAUSING.format(act=STOP))
    first = _paused_run(project, point)
    second = project.run("migrate", "--json")
    assert second.code == 0, second
    _assert_migrated_once(database.engine, project)
    first.signal(signal.SIGCONT)
    ran = first.wait()
    assert ran.code == 0, ran
    assert ran.complaint
    _assert_migrated_once(database.engine, project)


def _paused_run(project: Project, point: str) -> Process:
    """Starts a run that has committed two chunks and is paused with two more in flight."""
    process = project.start("migrate", environment={"POINT": point})
    wait_for(project.folder / "there", process)
    return process


def test_sigterm_rolls_back_the_second_chunk(database: Database, project: Project) -> None:
    """The first chunk is finished, the second one is rolled back, and the counts match the data."""
    project.data("fill", _fill(database, PENDING) + PAUSING.format(act="time.sleep(0.5)"))
    process = _paused_run(project, "before the commit")
    process.signal(signal.SIGTERM)
    ran = process.wait()
    assert ran.code == 1, ran
    done = scalar(database.engine, "SELECT count(*) FROM items WHERE hits = 1")
    assert done == 30
    assert project.counts("fill") == (done, COUNT - done, 0)
    assert project.migrate()["fill"].done == COUNT - done
    _assert_migrated_once(database.engine, project)


def test_paused_run_locks_no_row(database: Database, project: Project) -> None:
    """During the pause, other sessions update any row at once; then the run continues."""
    project.data("fill", _fill(database, PENDING) + PAUSING.format(act=UNTIL))
    process = _paused_run(project, "before the lease moves")
    assert project.run("pause", "fill").code == 0
    time.sleep(2.0)  # the limit for the run to read the request
    (project.folder / "go").touch()
    done = "SELECT count(*) FROM items WHERE hits = 1"
    wait_until(lambda: scalar(database.engine, done) >= 30, "the chunk in hand committed")
    time.sleep(0.5)
    assert scalar(database.engine, done) == 30
    short_timeout = "SET lock_timeout = '1s'"
    if database.engine.dialect.name != "postgresql":
        short_timeout = "SET SESSION innodb_lock_wait_timeout = 1"
    execute(database.engine, short_timeout, "UPDATE items SET other = 1")
    assert project.run("resume", "fill").code == 0
    ran = process.wait()
    assert ran.code == 0, ran
    _assert_migrated_once(database.engine, project)


@of_both_kinds
@pytest.mark.parametrize("which", ["the one in hand", "the one ahead"], ids=["first chunk", "second chunk"])
def test_lost_session_loses_no_row(
    which: str,
    kind: str,
    database: Database,
    project: Project,
    committed_chunks: list[WriteResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another session ends one of the two sessions, between two uncommitted chunks."""
    killed: list[int] = []
    lost_chunks = _recorded_instances(monkeypatch, LostChunks, "record")
    refuse = PipelineScheduler._require_none_pending

    def lost(self: PipelineScheduler, chunk: WriteResult) -> None:
        if len(committed_chunks) == 2 and not killed:
            time.sleep(0.1)
            inflight = chunk.inflight if which == "the one in hand" else self._pipeline.inflight[-1]
            killed.append(_kill(database, inflight.connection))
        refuse(self, chunk)

    monkeypatch.setattr(PipelineScheduler, "_require_none_pending", lost)
    project.data("fill", _source(kind, database))
    result = project.migrate()["fill"]
    assert killed
    assert lost_chunks, "the next chunk is not shortened"
    assert (result.outcome, result.done) == (Outcome.COMPLETE, COUNT)
    _assert_migrated_once(database.engine, project)
    assert len(committed_chunks) > 3, "it never went on in turns"


def _kill(database: Database, connection: sa.Connection) -> int:
    """Ends a session from another one, and returns its id."""
    driver: Any = connection.connection.dbapi_connection
    if database.engine.dialect.name == "postgresql":
        number, statement = driver.info.backend_pid, "SELECT pg_terminate_backend({})"
    else:
        number, statement = driver.thread_id(), "KILL {}"
    execute(database.engine, statement.format(number))
    return int(number)


@pytest.mark.parametrize("which", ["the one in hand", "the one ahead"], ids=["first chunk", "second chunk"])
def test_session_lost_during_a_write_is_not_reused(
    which: str, database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its replacement would have neither the isolation level, nor the timeouts, nor the worker's lock."""
    first = 41 if which == "the one in hand" else 51
    lost_connections: list[sa.Connection] = []
    killed: list[int] = []
    reused: list[Any] = []
    write = BoundMigration.write

    def lost(self: BoundMigration, connection: sa.Connection, chunk: Any, prepared: Any) -> Any:
        # Identified by its rows: the threads of the two connections arrive here in any order.
        if chunk.upper == (first + 9,) and not killed:
            lost_connections.append(connection)
            killed.append(_kill(database, connection))
        elif connection in lost_connections:
            reused.append(chunk)
        return write(self, connection, chunk, prepared)

    monkeypatch.setattr(BoundMigration, "write", lost)
    project.data("fill", _fill(database))
    result = project.migrate()["fill"]
    assert killed
    assert (result.outcome, result.done) == (Outcome.COMPLETE, COUNT)
    _assert_migrated_once(database.engine, project)
    after = rows(database.engine, f"SELECT DISTINCT session FROM items WHERE id >= {first}")
    assert (killed[0],) not in after
    assert reused == [], "a session was revived"


@of_both_kinds
def test_alter_of_another_session_is_not_blocked_by_the_pipeline(
    kind: str,
    database: Database,
    project: Project,
    committed_chunks: list[WriteResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ALTER queues behind both chunks, and every other session queues behind the ALTER.

    No session of the worker may do so while one of the two chunks holds the lock that the ALTER waits for.
    """
    altering, seconds = _altering(database)
    refuse = PipelineScheduler._require_none_pending

    def watched(self: PipelineScheduler, chunk: WriteResult) -> None:
        if len(committed_chunks) == 2 and altering.ident is None:
            altering.start()
            time.sleep(0.5)  # it waits for both of them
        refuse(self, chunk)

    monkeypatch.setattr(PipelineScheduler, "_require_none_pending", watched)
    project.data("fill", _source(kind, database))
    assert project.migrate()["fill"].done == COUNT
    altering.join()
    _assert_migrated_once(database.engine, project)
    assert seconds[0] < 8, "a wait for a lock ended by its limit, of ten seconds"


@pytest.mark.usefixtures("slow_server")
@pytest.mark.parametrize("then", ["waits", "leaves"])
def test_worker_releases_row_locks_before_it_waits_for_its_prefetcher(
    then: str,
    database: Database,
    project: Project,
    committed_chunks: list[WriteResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The prefetcher queues behind an ALTER, which waits for the second chunk.

    A worker that first waited for the prefetcher would wait until a lock timeout ends it.
    """
    run_states = _recorded_instances(monkeypatch, RunState, "__init__")
    prefetchers = _recorded_instances(monkeypatch, Prefetcher, "submit")
    altering, seconds = _altering(database)
    commit = ChunkPipeline.commit

    def committed(self: ChunkPipeline, chunk: WriteResult) -> None:
        commit(self, chunk)
        if (
            self.last_inflight is None
            or self.last_inflight.remaining_range is None
            or altering.ident is not None
        ):
            return
        prefetchers[0].clear(lambda: None)
        altering.start()
        time.sleep(0.5)  # it waits for the second chunk
        prefetchers[0].submit(self.last_inflight.remaining_range, 10)
        time.sleep(0.2)
        if then == "waits":
            # The next status that the heartbeat reads resumes the run.
            run_states[0].status = Status.PAUSED
        else:
            run_states[0].stop()

    monkeypatch.setattr(ChunkPipeline, "commit", committed)
    project.data("fill", _row())
    first = project.migrate()["fill"]
    altering.join()
    assert seconds[0] < 8, "the wait for a lock ended by its limit, of ten seconds"
    if then == "leaves":
        assert first.outcome is Outcome.REMAINING
        project.migrate()
    _assert_migrated_once(database.engine, project)


@pytest.mark.parametrize("through", [True, False], ids=["committed", "not committed"])
def test_commit_with_unknown_outcome_is_not_repeated(
    through: bool,
    database: Database,
    project: Project,
    committed_chunks: list[WriteResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session is lost in a commit, and only the lease tells whether the commit was applied.

    A guess would migrate rows without ``pending`` twice, or not at all.
    """
    commit, lost = ChunkPipeline.commit, []

    def lose_session(self: ChunkPipeline, chunk: WriteResult) -> None:
        if len(committed_chunks) < 2 or lost:
            commit(self, chunk)
            return
        lost.append(chunk.inflight.plan.upper)
        if through:
            commit(self, chunk)
        _kill(database, chunk.inflight.connection)
        chunk.inflight.connection.execute(sa.select(1))
        raise AssertionError("the session is still there")

    monkeypatch.setattr(ChunkPipeline, "commit", lose_session)
    project.data("fill", _fill(database))
    result = project.migrate()["fill"]
    assert lost
    assert result.outcome is Outcome.COMPLETE
    _assert_migrated_once(database.engine, project)
