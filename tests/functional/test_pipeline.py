"""Two chunks are written at a time, on two connections, and committed in their order.

Whatever happens to either of them, every row is done once, and what is counted is what is there.
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

from online_migrate.migrate.executor import pipeline as relays
from online_migrate.migrate.executor.pipeline import ChunkPipeline, WriteResult
from online_migrate.migrate.executor.prefetch import Prefetcher
from online_migrate.migrate.run.context import RunState
from online_migrate.migrate.status import Outcome
from online_migrate.state import Status
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
HELD = """
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
    """Rows 1 to 95, none of them done."""
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
def project(database: Database, items: sa.Table, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, batch_size=10) as written:
        yield written


@pytest.fixture
def short_lease(database: Database, items: sa.Table, tmp_path: Path) -> Iterator[Project]:
    """A project in which who is silent for more than two seconds is taken for dead."""
    with Project.create(tmp_path / "project", database.url, batch_size=10, lease=2) as written:
        yield written


def _fill(database: Database, pending: str = "", more: str = "1") -> str:
    """A Backfill that counts how often it came to a row, and says on which connection."""
    postgresql = database.engine.dialect.name == "postgresql"
    session = "sa.func.pg_backend_pid()" if postgresql else "sa.func.connection_id()"
    return FILL.format(session=session, pending=pending, more=more)


def _row(pending: str = "", more: str = "1", before: str = "pass") -> str:
    """The same by a function of a row, which writes down for which rows it is called."""
    return ROW.format(pending=pending, more=more, before=before)


def _source(kind: str, database: Database, pending: str = "") -> str:
    return _fill(database, pending) if kind == "backfill" else _row(pending)


def _called(project: Project) -> list[int]:
    """The rows for which the function was called, in order."""
    return [int(line) for line in (project.folder / "called").read_text().split()]


def _before_rows_31_to_40(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> list[object]:
    """Has *act* called once, right before these rows are written ahead; what is given then has an item."""
    do_chunk, called = relays.apply_chunk, list[object]()

    def late(connection: sa.Connection, job: Any, chunk: Any, prepared: Any) -> Any:
        if chunk.lower == (30,) and not called:
            called.append(chunk)
            act()
        return do_chunk(connection, job, chunk, prepared)

    monkeypatch.setattr(relays, "apply_chunk", late)
    return called


def _altering(database: Database) -> tuple[threading.Thread, list[float]]:
    """Adds a column to the table, once it is started; the seconds that it took."""
    took: list[float] = []

    def alter() -> None:
        began = time.monotonic()
        with sa.create_engine(database.url, poolclass=sa.NullPool).begin() as connection:
            connection.execute(sa.text("ALTER TABLE items ADD COLUMN more INTEGER"))
        took.append(time.monotonic() - began)

    return threading.Thread(target=alter), took


def _whose(monkeypatch: pytest.MonkeyPatch, kind: type[T], method: str) -> list[T]:
    """The objects of which *method* is called from now on, in that order."""
    found: list[T] = []
    original = getattr(kind, method)

    def noted(self: T, *arguments: Any) -> Any:
        found.append(self)
        return original(self, *arguments)

    monkeypatch.setattr(kind, method, noted)
    return found


def _sessions(engine: sa.Engine) -> list[tuple[int, int]]:
    """Which rows were written on the same connection, one after the other: (first row, session)."""
    found: list[tuple[int, int]] = []
    for row, session in rows(engine, "SELECT id, session FROM items ORDER BY id"):
        if not found or found[-1][1] != session:
            found.append((row, session))
    return found


def _assert_once(engine: sa.Engine, project: Project) -> None:
    assert rows(engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, COUNT)]
    found = project.status("fill")
    assert (found.status, found.done) == ("complete", COUNT)
    assert rows(engine, "SELECT id FROM online_migrate_worker") == []


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[WriteResult]:
    """The chunks that were brought to their end after they were written ahead."""
    written: list[WriteResult] = []
    commit = ChunkPipeline.commit

    def committed(self: ChunkPipeline, chunk: WriteResult) -> None:
        commit(self, chunk)
        written.append(chunk)

    monkeypatch.setattr(ChunkPipeline, "commit", committed)
    return written


@pytest.fixture
def slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """To write rows takes longer than to read them and to call the function."""
    do_chunk = relays.apply_chunk

    def slowly(connection: sa.Connection, job: Any, chunk: Any, prepared: Any) -> Any:
        effect = do_chunk(connection, job, chunk, prepared)
        time.sleep(0.1)
        return effect

    monkeypatch.setattr(relays, "apply_chunk", slowly)


# --- two connections -----------------------------------------------------------------------------


@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
def test_two_connections_take_turns(pending: str, database: Database, project: Project) -> None:
    """Chunk by chunk, within an extent of eight; each of them is done once."""
    project.data("fill", _fill(database, pending))
    assert project.migrate()["fill"].done == COUNT
    _assert_once(database.engine, project)
    turns = _sessions(database.engine)
    assert [row for row, _session in turns[:8]] == [1, 11, 21, 31, 41, 51, 61, 71]
    assert len({session for _row, session in turns}) == 2


@pytest.mark.usefixtures("slow_server")
@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
def test_rows_that_were_read_ahead_are_written_in_turns(
    pending: str, database: Database, project: Project, taken: list[WriteResult]
) -> None:
    """Chunk by chunk on two connections; the function is called once for each row, in order."""
    project.data("fill", _row(pending))
    assert project.migrate()["fill"].done == COUNT
    _assert_once(database.engine, project)
    assert [chunk.inflight.plan.upper[0] for chunk in taken] == [*range(10, 91, 10), 95]
    assert len({id(chunk.inflight.write_connection) for chunk in taken[:8]}) == 2
    assert _called(project) == list(range(1, COUNT + 1))


def test_a_table_without_a_primary_key_is_done_chunk_by_chunk(
    database: Database, project: Project, taken: list[WriteResult]
) -> None:
    """Its key is another index than the rows are in: nobody waits for the next range at the end of his."""
    execute(
        database.engine,
        "CREATE TABLE others AS SELECT * FROM items",
        "DROP TABLE items",
        "CREATE TABLE items (name VARCHAR(20) NOT NULL, id INTEGER NOT NULL, hits INTEGER, session BIGINT)",
        # On MySQL the first key is the one that the rows are in, and the one with fewer columns is walked.
        "CREATE UNIQUE INDEX a ON items (name, id)",
        "CREATE UNIQUE INDEX b ON items (id)",
        "INSERT INTO items (name, id, hits) SELECT 'x', id, 0 FROM others",
    )
    project.data("fill", _fill(database))
    assert project.migrate()["fill"].done == COUNT
    _assert_once(database.engine, project)
    assert taken == []


@pytest.mark.parametrize(
    "limits",
    [{"pace": "default"}, {"nice": 0.5}, {"max_count": COUNT}, {"pace": "gentle"}],
    ids=lambda limits: next(iter(limits)) + str(next(iter(limits.values()))),
)
def test_who_is_to_leave_room_for_others_locks_one_chunk_at_a_time(
    limits: dict[str, Any], database: Database, project: Project, taken: list[WriteResult]
) -> None:
    project.data("fill", _fill(database, PENDING))
    project.migrate(**limits)
    assert rows(database.engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, COUNT)]
    assert taken == []
    assert len({session for _row, session in _sessions(database.engine)}) == 1


def test_what_is_written_ahead_is_not_seen_before_its_turn(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each commit the rows below it are done, those of the chunk ahead are not, for everybody else."""
    seen: list[tuple[int, int]] = []
    commit = ChunkPipeline.commit

    def watched(self: ChunkPipeline, chunk: WriteResult) -> None:
        time.sleep(0.05)
        seen.append((chunk.inflight.plan.upper[0], _done()))
        commit(self, chunk)
        seen.append((chunk.inflight.plan.upper[0], _done()))

    def _done() -> int:
        return int(scalar(database.engine, "SELECT count(*) FROM items WHERE hits = 1"))

    monkeypatch.setattr(ChunkPipeline, "commit", watched)
    project.data("fill", _fill(database))
    assert project.migrate()["fill"].done == COUNT
    assert len(seen) == 20
    assert [(upper, done + 10 if i % 2 == 0 else done) for i, (upper, done) in enumerate(seen[:18])] == [
        (upper, upper) for upper in range(10, 91, 10) for _ in range(2)
    ]


# --- rows that fail ------------------------------------------------------------------------------


def test_a_row_that_fails_ahead_is_isolated_as_any_other(
    database: Database, project: Project, taken: list[WriteResult]
) -> None:
    """The database refuses rows 33, 34 and 77; chunks before and after them go on in turns."""
    overflow = "sa.case((t.c.id.in_([33, 34, 77]), 2**31 - 1), else_=0) + 1"
    project.data("fill", _fill(database, PENDING, more=overflow))
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 3, 3)
    left = rows(database.engine, "SELECT id FROM items WHERE hits = 0 ORDER BY id")
    assert left == [(33,), (34,), (77,)]
    assert scalar(database.engine, "SELECT max(hits) FROM items") == 1
    assert len(taken) >= 3
    assert project.counts("fill") == (COUNT - 3, 0, 3)


@pytest.mark.parametrize("kind", ["backfill", "row"])
def test_a_row_that_its_update_leaves_pending_is_recorded(
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
def test_rows_of_a_function_that_fail_are_isolated_as_any_other(
    how: str, pending: str, database: Database, project: Project, taken: list[WriteResult]
) -> None:
    """Rows 33, 34 and 77; chunks before and after them go on in turns."""
    bad = "row.id in (33, 34, 77)"
    raised, overflow = f'assert not {bad}, "no"', f"(2**31 if {bad} else 1)"
    source = _row(pending, before=raised) if how == "the function raises" else _row(pending, more=overflow)
    project.data("fill", source)
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 3, 3)
    left = rows(database.engine, "SELECT id FROM items WHERE hits = 0 ORDER BY id")
    assert left == [(33,), (34,), (77,)]
    assert scalar(database.engine, "SELECT max(hits) FROM items") == 1
    assert len(taken) >= 3
    assert [failure["key"] for failure in project.status("fill").failures] == ["33", "34", "77"]


@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
def test_a_row_that_changes_after_it_was_read_is_read_again(
    pending: str,
    database: Database,
    project: Project,
    taken: list[WriteResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The application writes a row of the chunk that is ahead, just before that one is written."""
    change = "UPDATE items SET other = 500 WHERE id = 35"
    changed = _before_rows_31_to_40(monkeypatch, lambda: execute(database.engine, change))
    source = _row(pending).replace('{"hits"', '{"session": 1000 + (row.other or 0), "hits"')
    project.data("fill", source)
    assert project.migrate()["fill"].done == COUNT
    _assert_once(database.engine, project)
    assert changed
    assert rows(database.engine, "SELECT id, other, session FROM items WHERE session <> 1000") == [
        (35, 500, 1500)
    ]
    assert sorted(_called(project)) == sorted([*range(1, COUNT + 1), 35])
    assert len(taken) >= 3, "it never went on in turns"


def test_what_had_to_let_go_is_written_without_calling_the_function_again(
    database: Database, project: Project, taken: list[WriteResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application holds a row of the first chunk for longer than the one ahead waits for it."""
    holder = sa.create_engine(database.url, poolclass=sa.NullPool).connect()

    def hold() -> None:
        holder.execute(sa.text("SELECT * FROM items WHERE id = 35 FOR UPDATE"))
        threading.Timer(2.5, holder.close).start()

    held = _before_rows_31_to_40(monkeypatch, hold)
    project.data("fill", _row(PENDING))
    assert project.migrate()["fill"].done == COUNT
    assert held
    _assert_once(database.engine, project)
    assert _called(project) == list(range(1, COUNT + 1))
    uppers = [chunk.inflight.plan.upper[0] for chunk in taken]
    assert 40 in uppers, "the first one was not brought to its end"
    assert 50 not in uppers, "the one ahead did not let go"


@pytest.mark.usefixtures("slow_server")
def test_a_connection_that_is_not_needed_for_long_is_kept(
    database: Database, items: sa.Table, taken: list[WriteResult], tmp_path: Path
) -> None:
    """For six seconds the function is slower than the server, so that one connection is enough; MySQL and
    MariaDB end a session that is idle for four."""
    slow = "time.sleep(0.15 if row.id <= 40 else 0)"
    with Project.create(tmp_path / "project", database.url, batch_size=10, lease=4) as project:
        project.data("fill", _row("", before=slow))
        assert project.migrate()["fill"].done == COUNT
        _assert_once(database.engine, project)
        assert _called(project) == list(range(1, COUNT + 1)), "a worker was lost with its connection"
        assert len(taken) == 10
        assert len({id(chunk.inflight.write_connection) for chunk in taken[4:8]}) == 2


def test_rows_are_not_locked_while_others_are_read(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function takes 0.3 s for a chunk; what is written is committed without waiting for it."""
    locked: list[float] = []
    commit = ChunkPipeline.commit

    def committed(self: ChunkPipeline, chunk: WriteResult) -> None:
        locked.append(time.monotonic() - chunk.inflight.write_connection.ended)
        commit(self, chunk)

    monkeypatch.setattr(ChunkPipeline, "commit", committed)
    project.data("fill", _row(PENDING, before="time.sleep(0.03)"))
    assert project.migrate()["fill"].done == COUNT
    _assert_once(database.engine, project)
    assert len(locked) >= 8
    assert sorted(locked)[len(locked) // 2] < 0.15


# --- others who hold locks -----------------------------------------------------------------------


def test_an_application_that_wants_rows_of_both_chunks_is_let_through(
    database: Database, project: Project, taken: list[WriteResult]
) -> None:
    """It holds a row of every chunk, and asks for one of the chunk before: no deadlock, nothing lost."""
    project.data("fill", _fill(database, PENDING))
    project.site().ensure_state_tables()
    over = threading.Event()
    served, refused = [0], []

    def application() -> None:
        engine = sa.create_engine(database.url, poolclass=sa.NullPool)
        touch = sa.text("UPDATE items SET other = coalesce(other, 0) + 1 WHERE id = :id")
        while not over.is_set():
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
        over.set()
        thread.join()
    _assert_once(database.engine, project)
    assert refused == []
    touched = "SELECT sum(other), count(*) FROM items WHERE other IS NOT NULL"
    assert rows(database.engine, touched) == [(2 * served[0], 6)]


COUNTED = {
    "postgresql": [
        """CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN UPDATE tally SET n = n + 1; RETURN NEW; END $$""",
        "CREATE TRIGGER tally AFTER UPDATE ON items FOR EACH ROW EXECUTE FUNCTION tally()",
    ],
    "mysql": ["CREATE TRIGGER tally AFTER UPDATE ON items FOR EACH ROW UPDATE tally SET n = n + 1"],
}
DEFERRED = """
    CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON items DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.id % 20 BETWEEN 1 AND 10) EXECUTE FUNCTION tally()
"""


def test_chunks_that_write_the_same_row_wait_for_each_other(
    database: Database, project: Project, taken: list[WriteResult]
) -> None:
    """A trigger counts in a row of another table, which either chunk may have locked first.

    If it is the one ahead, it lets go of it, without any error of a server.
    """
    execute(database.engine, "CREATE TABLE tally (n INTEGER)", "INSERT INTO tally VALUES (0)")
    execute(database.engine, *COUNTED[database.engine.dialect.name.replace("mariadb", "mysql")])
    project.data("fill", _fill(database, PENDING))
    assert project.migrate()["fill"].done == COUNT
    _assert_once(database.engine, project)
    assert scalar(database.engine, "SELECT n FROM tally") == COUNT
    assert taken


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_a_commit_that_waits_for_the_chunk_ahead_gives_way(database: Database, project: Project) -> None:
    """A deferred trigger wants, at the commit, what the chunk ahead has locked: neither can go on.

    No server sees that: one of them waits for its client. So the wait ends by the limit of the session.
    """
    engine = database.engine
    early = COUNTED["postgresql"][1].replace("ROW", "ROW WHEN (NEW.id % 20 NOT BETWEEN 1 AND 10)")
    execute(engine, "CREATE TABLE tally (n INTEGER)", "INSERT INTO tally VALUES (0)")
    execute(engine, COUNTED["postgresql"][0], early, DEFERRED)
    execute(engine, "DELETE FROM items WHERE id > 30")
    project.data("fill", _fill(database, PENDING))
    assert project.migrate()["fill"].done == 30
    assert rows(engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, 30)]
    assert scalar(engine, "SELECT n FROM tally") == 30


# --- the end of a worker, or of a session --------------------------------------------------------


@pytest.mark.parametrize("kind", ["backfill", "row"])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_takes_both_chunks_back(point: str, kind: str, database: Database, project: Project) -> None:
    """kill -9 with one chunk before its end and another one written: the next run does each row once."""
    project.data("fill", _source(kind, database) + HELD.format(act=SLEEP))
    first = _held(project, point)
    first.kill()
    done = scalar(database.engine, "SELECT count(*) FROM items WHERE hits = 1")
    assert done == 20
    assert project.migrate()["fill"].done == COUNT - done
    _assert_once(database.engine, project)


@pytest.mark.parametrize(
    ("kind", "pending"),
    [("backfill", PENDING), ("backfill", ""), ("row", "")],
    ids=["with pending", "without pending", "row"],
)
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_was_frozen_commits_neither(
    point: str, kind: str, pending: str, database: Database, short_lease: Project
) -> None:
    """SIGSTOP past the lease, another process does all, SIGCONT: nothing is done twice."""
    project = short_lease
    project.data("fill", _source(kind, database, pending) + HELD.format(act=STOP))
    first = _held(project, point)
    second = project.run("migrate", "--json")
    assert second.code == 0, second
    _assert_once(database.engine, project)
    first.signal(signal.SIGCONT)
    ran = first.wait()
    assert ran.code == 0, ran
    assert ran.complaint
    _assert_once(database.engine, project)


def _held(project: Project, point: str) -> Process:
    """A run that has committed two chunks, and stands still with two more in hand."""
    process = project.start("migrate", environment={"POINT": point})
    wait_for(project.folder / "there", process)
    return process


def test_who_is_asked_to_stop_leaves_no_row_locked(database: Database, project: Project) -> None:
    """SIGTERM: the chunk is finished, the one ahead is undone, and what is counted is what is there."""
    project.data("fill", _fill(database, PENDING) + HELD.format(act="time.sleep(0.5)"))
    process = _held(project, "before the commit")
    process.signal(signal.SIGTERM)
    ran = process.wait()
    assert ran.code == 1, ran
    done = scalar(database.engine, "SELECT count(*) FROM items WHERE hits = 1")
    assert done == 30
    assert project.counts("fill") == (done, COUNT - done, 0)
    assert project.migrate()["fill"].done == COUNT - done
    _assert_once(database.engine, project)


def test_a_run_that_is_paused_locks_nothing(database: Database, project: Project) -> None:
    """While it holds on, others write any row at once; then it goes on."""
    project.data("fill", _fill(database, PENDING) + HELD.format(act=UNTIL))
    process = _held(project, "before the lease moves")
    assert project.run("pause", "fill").code == 0
    time.sleep(2.0)  # the limit for it to be heard
    (project.folder / "go").touch()
    done = "SELECT count(*) FROM items WHERE hits = 1"
    wait_until(lambda: scalar(database.engine, done) >= 30, "the chunk in hand committed")
    time.sleep(0.5)
    assert scalar(database.engine, done) == 30
    quickly = "SET lock_timeout = '1s'"
    if database.engine.dialect.name != "postgresql":
        quickly = "SET SESSION innodb_lock_wait_timeout = 1"
    execute(database.engine, quickly, "UPDATE items SET other = 1")
    assert project.run("resume", "fill").code == 0
    ran = process.wait()
    assert ran.code == 0, ran
    _assert_once(database.engine, project)


@pytest.mark.parametrize("kind", ["backfill", "row"])
@pytest.mark.parametrize("which", ["the one in hand", "the one ahead"])
def test_a_session_that_is_lost_loses_nothing(
    which: str,
    kind: str,
    database: Database,
    project: Project,
    taken: list[WriteResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody ends one of the two sessions, between two chunks that are not committed."""
    killed: list[int] = []
    refuse = ChunkPipeline.require_none_pending

    def lost(self: ChunkPipeline, chunk: WriteResult) -> None:
        if len(taken) == 2 and not killed:
            time.sleep(0.1)
            leg = chunk.inflight if which == "the one in hand" else self._inflight[-1]
            killed.append(_kill(database, leg.connection))
        refuse(self, chunk)

    monkeypatch.setattr(ChunkPipeline, "require_none_pending", lost)
    project.data("fill", _source(kind, database))
    result = project.migrate()["fill"]
    assert killed
    assert (result.outcome, result.done) == (Outcome.COMPLETE, COUNT)
    _assert_once(database.engine, project)
    assert len(taken) > 3, "it never went on in turns"


def _kill(database: Database, connection: sa.Connection) -> int:
    """Ends a session from another one."""
    driver: Any = connection.connection.dbapi_connection
    if database.engine.dialect.name == "postgresql":
        number, statement = driver.info.backend_pid, "SELECT pg_terminate_backend({})"
    else:
        number, statement = driver.thread_id(), "KILL {}"
    execute(database.engine, statement.format(number))
    return int(number)


@pytest.mark.parametrize("which", ["the one in hand", "the one ahead"])
def test_a_session_that_is_lost_while_it_writes_is_not_used_again(
    which: str, database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would come back as another session, without isolation level, limits, or the worker's lock."""
    first = 41 if which == "the one in hand" else 51
    gone: list[sa.Connection] = []
    killed: list[int] = []
    revived: list[Any] = []
    write = relays.update_chunk

    def lost(connection: sa.Connection, job: Any, chunk: Any) -> Any:
        # By its rows: the threads of two connections come here in any order.
        if chunk.upper == (first + 9,) and not killed:
            gone.append(connection)
            killed.append(_kill(database, connection))
        elif connection in gone:
            revived.append(chunk)
        return write(connection, job, chunk)

    monkeypatch.setattr(relays, "update_chunk", lost)
    project.data("fill", _fill(database))
    result = project.migrate()["fill"]
    assert killed
    assert (result.outcome, result.done) == (Outcome.COMPLETE, COUNT)
    _assert_once(database.engine, project)
    after = rows(database.engine, f"SELECT DISTINCT session FROM items WHERE id >= {first}")
    assert (killed[0],) not in after
    assert revived == [], "a session was revived"


@pytest.mark.parametrize("kind", ["backfill", "row"])
def test_who_alters_the_table_is_let_through(
    kind: str, database: Database, project: Project, taken: list[WriteResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It queues behind both chunks, and everybody who comes to the table queues behind it: nobody of us may,
    while one of the two holds what it waits for."""
    altering, took = _altering(database)
    refuse = ChunkPipeline.require_none_pending

    def watched(self: ChunkPipeline, chunk: WriteResult) -> None:
        if len(taken) == 2 and altering.ident is None:
            altering.start()
            time.sleep(0.5)  # it waits for both of them
        refuse(self, chunk)

    monkeypatch.setattr(ChunkPipeline, "require_none_pending", watched)
    project.data("fill", _source(kind, database))
    assert project.migrate()["fill"].done == COUNT
    altering.join()
    _assert_once(database.engine, project)
    assert took[0] < 8, "a wait for a lock ended by its limit, of ten seconds"


@pytest.mark.usefixtures("slow_server")
@pytest.mark.parametrize("then", ["waits", "leaves"])
def test_who_waits_or_leaves_lets_go_of_rows_before_it_waits_for_its_reader(
    then: str, database: Database, project: Project, taken: list[WriteResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader queues behind an ALTER, which waits for the chunk ahead: whoever waited for the reader first
    would wait until a limit ends it."""
    crews = _whose(monkeypatch, RunState, "joined")
    readers = _whose(monkeypatch, Prefetcher, "ask")
    altering, took = _altering(database)
    commit = ChunkPipeline.commit

    def committed(self: ChunkPipeline, chunk: WriteResult) -> None:
        commit(self, chunk)
        if (
            self.last_inflight is None
            or self.last_inflight.remaining_range is None
            or altering.ident is not None
        ):
            return
        readers[0].clear(lambda: None)
        altering.start()
        time.sleep(0.5)  # it waits for the chunk ahead
        readers[0].submit(self.last_inflight.remaining_range, 10)
        time.sleep(0.2)
        if then == "waits":
            # What is heard next says that it may go on.
            crews[0].status = Status.PAUSED
        else:
            crews[0].stop()

    monkeypatch.setattr(ChunkPipeline, "commit", committed)
    project.data("fill", _row())
    first = project.migrate()["fill"]
    altering.join()
    assert took[0] < 8, "the wait for a lock ended by its limit, of ten seconds"
    if then == "leaves":
        assert first.outcome is Outcome.REMAINING
        project.migrate()
    _assert_once(database.engine, project)


@pytest.mark.parametrize("through", [True, False], ids=["it got through", "it did not"])
def test_a_commit_of_which_nobody_knows_is_not_repeated(
    through: bool,
    database: Database,
    project: Project,
    taken: list[WriteResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session is lost in a commit. Only the lease tells whether it got through: rows without pending
    would be done twice, or not at all, by who guesses."""
    commit, lost = ChunkPipeline.commit, []

    def torn(self: ChunkPipeline, chunk: WriteResult) -> None:
        if len(taken) < 2 or lost:
            commit(self, chunk)
            return
        lost.append(chunk.inflight.plan.upper)
        if through:
            commit(self, chunk)
        _kill(database, chunk.inflight.connection)
        chunk.inflight.connection.execute(sa.select(1))
        raise AssertionError("the session is still there")

    monkeypatch.setattr(ChunkPipeline, "commit", torn)
    project.data("fill", _fill(database))
    result = project.migrate()["fill"]
    assert lost
    assert result.outcome is Outcome.COMPLETE
    _assert_once(database.engine, project)
