"""The order in which two chunks are started, committed and rolled back."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import types
from collections.abc import Iterator
from typing import Any, cast

import pytest
import sqlalchemy as sa

from online_migrate.kinds.backfill import Backfill
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.batch import BatchMigration
from online_migrate.kinds.bound import BoundMigration
from online_migrate.kinds.result import UpdateResult
from online_migrate.kinds.row import RowMigration
from online_migrate.kinds.subject import Subject
from online_migrate.migrate.executor.background import noop
from online_migrate.migrate.executor.inflight import InflightChunk, PipelineAborted
from online_migrate.migrate.executor.pipeline import ChunkPipeline
from online_migrate.migrate.pace import Pace
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan
from online_migrate.walk.chunk import Chunk
from online_migrate.writers.bulk import BulkWriter

FULL = Pace(0.5)
"""Long chunks, and no limit of the load."""
FIRST = KeyRange(1, None, (100,), sweep=False)
NEXT = KeyRange(1, (10,), (100,), sweep=False)


class Connection:
    """Records the calls."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def begin(self) -> None:
        self._log.append(f"{self.name}: begin")

    def commit(self) -> None:
        self._log.append(f"{self.name}: commit")

    def rollback(self) -> None:
        self._log.append(f"{self.name}: rollback")


class Server:
    """Two connections, and the UPDATEs that are sent on them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.errors: dict[str, BaseException] = {}
        self.go = {"home": threading.Event(), "other": threading.Event()}
        for go in self.go.values():
            go.set()
        self.home: Any = Connection("home", self.log)
        job: Any = types.SimpleNamespace(dialect=self, write=self._move)
        self.pipeline = ChunkPipeline(job, self.home, self._connect, time.monotonic)

    def is_connection_lost(self, error: BaseException) -> bool:
        """Returns the answer of a dialect."""
        return getattr(error, "connection_invalidated", False)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        yield Connection("other", self.log)
        self.log.append("other: closed")

    def _move(self, connection: Connection, _chunk: Any, _prepared: Any) -> UpdateResult:
        assert self.go[connection.name].wait(10)
        if connection.name in self.errors:
            raise self.errors[connection.name]
        self.log.append(f"{connection.name}: UPDATE")
        return UpdateResult(3, none_pending=True)

    def begin(self) -> None:
        """Submits two chunks."""
        home, other = self.pipeline.connections.both()
        self.pipeline.submit(InflightChunk(FIRST, ChunkPlan((10,), cast(Chunk, object()), 10), home))
        self.pipeline.submit(InflightChunk(NEXT, ChunkPlan((100,), cast(Chunk, object()), 10), other))

    def wait(self, line: str) -> None:
        """Waits until the log has the line."""
        end = time.monotonic() + 20
        while line not in self.log:
            assert time.monotonic() < end, self.log
            time.sleep(0.005)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for go in server.go.values():
        go.set()
    server.pipeline.close()


def _lost() -> BaseException:
    return sa.exc.OperationalError("UPDATE", {}, Exception("gone away"), connection_invalidated=True)


BACKFILL = Backfill(name="fill", table="items", values={"size": 1})


def _bound(
    *,
    migration: DataMigration = BACKFILL,
    version: Any = None,
    by_primary_key: bool = True,
    single_writer: bool = False,
    verify: Any = None,
) -> BoundMigration:
    chunker: Any = types.SimpleNamespace(by_primary_key=by_primary_key)
    dialect: Any = types.SimpleNamespace(single_writer=single_writer)
    table = sa.Table("items", sa.MetaData())
    return BoundMigration(
        migration=migration,
        subject=Subject(table, pending=None, verify=verify),
        dialect=dialect,
        chunker=chunker,
        writer=BulkWriter(table, ()),
        pending=None,
        preserved_columns=(),
        columns=(),
        writable_columns=frozenset(),
        version=version,
        selected=(),
    )


def test_supports_depends_on_pace_and_migration() -> None:
    """Supported at full pace, for a migration in which no chunk depends on the one before."""
    assert ChunkPipeline.supports(_bound(), FULL)
    assert not ChunkPipeline.supports(_bound(), dataclasses.replace(FULL, adaptive=True))
    assert not ChunkPipeline.supports(_bound(), dataclasses.replace(FULL, chunk_time=0.007))
    assert not ChunkPipeline.supports(_bound(by_primary_key=False), FULL)
    assert not ChunkPipeline.supports(_bound(single_writer=True), FULL)
    row = RowMigration(name="fill", table="items", function=lambda row: None)
    assert ChunkPipeline.supports(_bound(migration=row, version="xmin"), FULL)
    assert not ChunkPipeline.supports(_bound(migration=row), FULL), "its function is called under a lock"
    batch = BatchMigration(name="fill", table="items", function=lambda connection, chunk: 0)
    assert not ChunkPipeline.supports(_bound(migration=batch), FULL)
    assert not ChunkPipeline.supports(_bound(verify=sa.column("size") == 1), FULL)


def test_chunks_are_committed_in_order(server: Server) -> None:
    """The order is kept if the second chunk is written first."""
    pipeline = server.pipeline
    server.go["home"].clear()
    server.begin()
    server.wait("other: UPDATE")
    server.go["home"].set()
    first = pipeline.wait_for_first(noop)
    pipeline.commit(first)
    second = pipeline.wait_for_first(noop)
    pipeline.commit(second)
    assert [line for line in server.log if "UPDATE" in line] == ["other: UPDATE", "home: UPDATE"]
    assert [line for line in server.log if "commit" in line] == ["home: commit", "other: commit"]
    assert (first.inflight.key_range, first.update.done, first.inflight.remaining_range) == (FIRST, 3, NEXT)
    assert (second.inflight.key_range, second.inflight.remaining_range, pipeline.last_inflight) == (
        NEXT,
        None,
        None,
    )
    assert first.seconds > 0
    assert not [line for line in server.log if "rollback" in line]


def test_idle_connection_is_one_without_a_chunk(server: Server) -> None:
    home, other = server.pipeline.connections.both()
    assert server.pipeline.idle_connection is home
    server.pipeline.submit(InflightChunk(FIRST, ChunkPlan((10,), cast(Chunk, object()), 10), home))
    assert server.pipeline.idle_connection is other
    server.pipeline.submit(InflightChunk(NEXT, ChunkPlan((100,), cast(Chunk, object()), 10), other))
    assert server.pipeline.idle_connection is None
    server.pipeline.commit(server.pipeline.wait_for_first(noop))
    assert server.pipeline.idle_connection is home


@pytest.mark.parametrize("slow", ["home", "other"])
def test_abort_rolls_back_written_chunks_before_it_waits_for_the_others(slow: str, server: Server) -> None:
    """Either of them may be waiting for locks of the other."""
    quick = {"home": "other", "other": "home"}[slow]
    server.go[slow].clear()
    server.begin()
    server.wait(f"{quick}: UPDATE")
    failing = threading.Thread(target=server.pipeline.abort)
    failing.start()
    server.wait(f"{quick}: rollback")
    assert f"{slow}: rollback" not in server.log
    server.go[slow].set()
    failing.join()
    assert server.log[-2:] == [f"{slow}: rollback", "other: closed"]
    assert server.pipeline.last_inflight is None


def test_second_chunk_is_rolled_back_if_the_first_takes_much_longer(server: Server) -> None:
    """The first may wait for the second: no server detects that, so it is not left to a lock timeout."""
    server.go["home"].clear()
    server.begin()
    threading.Thread(target=lambda: (server.wait("other: rollback"), server.go["home"].set())).start()
    first = server.pipeline.wait_for_first(noop)
    assert server.log[-2:] == ["other: rollback", "home: UPDATE"]
    assert server.pipeline.last_inflight is first.inflight
    assert server.pipeline.backoff.active
    server.pipeline.commit(first)
    assert server.pipeline.backoff.consume()


def test_wait_for_first_raises_a_lost_session_of_the_second_chunk(server: Server) -> None:
    """The second chunk has ended by an error: its connection must not be used again."""
    server.errors["other"] = _lost()
    server.go["home"].clear()
    server.begin()
    with pytest.raises(sa.exc.OperationalError):
        server.pipeline.wait_for_first(noop)


@pytest.mark.parametrize("which", ["home", "other"])
def test_failed_update_aborts_both_chunks(which: str, server: Server) -> None:
    server.errors[which] = LookupError("a row that cannot be")
    server.begin()
    with pytest.raises(PipelineAborted):
        _commit_first_and_wait_for_second(server.pipeline)
    server.pipeline.abort()
    done = ["other: rollback"] if which == "other" else ["home: rollback", "other: rollback"]
    assert sorted(line for line in server.log if "rollback" in line) == done
    assert server.pipeline.last_inflight is None


@pytest.mark.parametrize("which", ["home", "other"])
def test_lost_session_is_raised_by_rollback_and_wait(which: str, server: Server) -> None:
    """Used again, SQLAlchemy's Connection would be another session, without the settings and the locks."""
    server.errors[which] = _lost()
    server.begin()
    with pytest.raises(sa.exc.OperationalError):
        server.pipeline.rollback()
    assert server.pipeline.last_inflight is None
    server.begin()
    with pytest.raises(sa.exc.OperationalError):
        _commit_first_and_wait_for_second(server.pipeline)


def test_backoff_grows_with_repeated_failures(server: Server) -> None:
    """One chunk, then four, up to 64; each committed chunk halves the next backoff."""
    pipeline = server.pipeline
    assert _backoffs(pipeline, 5) == [1, 4, 16, 64, 64]
    server.begin()
    pipeline.commit(pipeline.wait_for_first(noop))
    pipeline.commit(pipeline.wait_for_first(noop))
    assert _backoffs(pipeline, 2) == [16, 64]


def test_backoff_grows_if_only_one_of_two_chunks_succeeds(server: Server) -> None:
    """Otherwise the two would disturb each other forever, and be slower than one."""
    backoffs = []
    for _ in range(7):
        server.begin()
        server.pipeline.commit(server.pipeline.wait_for_first(noop))
        backoffs += _backoffs(server.pipeline, 1)
    assert backoffs == [1, 2, 4, 8, 16, 32, 32]


def _commit_first_and_wait_for_second(pipeline: ChunkPipeline) -> None:
    pipeline.commit(pipeline.wait_for_first(noop))
    pipeline.wait_for_first(noop)


def _backoffs(pipeline: ChunkPipeline, times: int) -> list[int]:
    backoffs = []
    for _ in range(times):
        pipeline.abort()
        backoff = 0
        while pipeline.backoff.consume():
            backoff += 1
        backoffs.append(backoff)
    return backoffs


def test_close_commits_nothing_and_ends_its_threads(server: Server) -> None:
    server.begin()
    server.pipeline.close()
    assert not [line for line in server.log if "commit" in line]
    assert {"home: rollback", "other: rollback", "other: closed"} <= set(server.log)
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("-ahead")]
