"""Processes two chunks at a time, on two connections, and commits them in order.

While a worker checks which rows of a chunk are still pending, advances its lease and waits for the commit,
the rows of the next chunk are written, if the kind of data migration supports it.

Invariants:

* A chunk that is written ahead is committed by its own worker, with the worker's own lease, and only after
  the commit of the chunk before it.
* After any error of one chunk all in-flight chunks are rolled back. The first one is then processed serially,
  where every error is handled as usual. A lost session ends the worker instead, because it is not known
  whether its last commit succeeded.
* While a chunk is written ahead, the worker sends statements only on the connection of the first chunk,
  inside its transaction: a statement on any other connection could queue behind a session that waits for one
  of the two chunks. For the same reason the worker does not wait for prefetched rows: they are used if they
  are already read.
* Both connections are to the same server. In a cluster the second node may lag behind the first, and the
  lease of the second chunk starts at the key to which the commit of the first chunk advanced it.
* The worker does not sleep, pause or end while a chunk is written ahead, because that chunk locks rows. Nor
  does it wait for long while it may hold a lock that the awaited session needs: no server detects such a
  deadlock, because one of its waits is inside this process.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from online_migrate.driver_errors import CLEANUP_ERRORS, DATABASE_ERRORS
from online_migrate.kinds.bound import BoundMigration
from online_migrate.kinds.prepared import PreparedRows
from online_migrate.kinds.result import UpdateResult
from online_migrate.migrate.executor.background import BackgroundExecutor, noop
from online_migrate.migrate.pace import Pace
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan
from online_migrate.walk.chunk import Chunk

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_MIN_CHUNK_TIME = 0.1
"""The minimum target time of a chunk, in seconds, for the pipeline. A pace with shorter chunks is meant to
leave capacity to the application."""
_MAX_BACKOFF = 64
"""The maximum number of chunks that are processed serially after repeated failures."""
_DEADLOCK_TIMEOUT = 1.0
"""Seconds after which the chunk that was written ahead is rolled back, if its write has ended and that of the
first chunk has not; twice the time of its own write, if that is longer."""
_ROLLBACK_POLL_INTERVAL = 0.01
"""Seconds between two checks whether an UPDATE that is to be rolled back has ended."""
_WRITE_POLL_INTERVAL = 0.002
"""Seconds between two checks whether a further chunk can be written in parallel to the first one."""
T = TypeVar("T")


class PipelineAborted(Exception):
    """The pipeline is aborted: its writes are rolled back, and the chunk must be processed serially."""


class WriteConnection:
    """A connection and a thread that writes rows on it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.executor: BackgroundExecutor[WriteResult] = BackgroundExecutor()
        self.seconds = self.ended = 0.0
        """The duration of the last UPDATE on this connection, and the time of its end, in seconds."""


@dataclasses.dataclass(frozen=True)
class InflightChunk:
    """A chunk whose rows are being written, or are written, in an open transaction."""

    key_range: KeyRange
    """The key range that begins with this chunk."""
    plan: ChunkPlan
    write_connection: WriteConnection
    prepared: PreparedRows | None = None
    """The rows that were read before; None if none are to be read."""
    seconds: float = 0.0
    """Seconds for the read of its rows and the calls of the function."""

    @property
    def chunk(self) -> Chunk:
        """The chunk. It is never None here: key ranges are planned without a check for pending rows."""
        assert self.plan.chunk is not None
        return self.plan.chunk

    @property
    def connection(self) -> Connection:
        """The connection on which it is written."""
        return self.write_connection.connection

    @property
    def remaining_range(self) -> KeyRange | None:
        """The key range after this chunk; None at the end of the range."""
        if self.plan.upper == self.key_range.upper:
            return None
        return dataclasses.replace(self.key_range, lower=self.plan.upper)


@dataclasses.dataclass(frozen=True)
class WriteResult:
    """The result of the write of an in-flight chunk, and its duration in seconds."""

    inflight: InflightChunk
    seconds: float
    update: UpdateResult


class ChunkPipeline:
    """The in-flight chunks of one worker. Used from the worker's thread only.

    *home*: the worker's own connection. *connect*: opens the second connection when it is needed. *now*:
    returns the time in seconds.
    """

    def __init__(
        self,
        bound: BoundMigration,
        home: Connection,
        connect: Callable[[], contextlib.AbstractContextManager[Connection]],
        now: Callable[[], float],
    ) -> None:
        self._job = bound
        self._connect = connect
        self._now = now
        self._primary = WriteConnection(home)
        self._secondary: WriteConnection | None = None
        self._exit_stack = contextlib.ExitStack()
        self._inflight: collections.deque[InflightChunk] = collections.deque()
        """Chunks that are started and not committed, in the order of their keys."""
        self._backoff_left = 0
        self._backoff = 1

    @staticmethod
    def supports(bound: BoundMigration, pace: Pace) -> bool:
        """Returns True if chunks can be written before the result of the previous chunk is known.

        The pace must not be adaptive, and its target time must be 0.1 s or longer: any other pace is meant to
        leave capacity to the application.

        The walk must be by the primary key: at the end of a range of another index MariaDB waits for the row
        after it, which the chunk written ahead has locked.
        """
        return (
            bound.supports_pipeline
            and bound.chunker.by_primary_key
            and not bound.dialect.single_writer
            and not pace.adaptive
            and pace.chunk_time >= _MIN_CHUNK_TIME
        )

    @property
    def backing_off(self) -> bool:
        """True if the chunks after those in flight must be processed serially."""
        return self._backoff_left > 0

    def consume_backoff(self) -> bool:
        """Returns True if the next chunk must be processed serially, because previous chunks were aborted.

        Each call counts one chunk of the backoff.
        """
        if not self._backoff_left:
            return False
        self._backoff_left -= 1
        return True

    # --- chunks ----------------------------------------------------------------------------------

    @property
    def last_inflight(self) -> InflightChunk | None:
        """The chunk that was started last and is not committed; None if no chunk is in flight."""
        return self._inflight[-1] if self._inflight else None

    @property
    def inflight(self) -> Sequence[InflightChunk]:
        """All chunks that are started and not committed, in the order of their keys."""
        return tuple(self._inflight)

    def open_connections(self) -> tuple[WriteConnection, WriteConnection]:
        """Returns the worker's own connection and the second one, which is opened if necessary."""
        if self._secondary is None:
            self._secondary = WriteConnection(self._exit_stack.enter_context(self._connect()))
        return self._primary, self._secondary

    @property
    def unlocked_connections(self) -> Sequence[Connection]:
        """Open connections that hold no locks; the server's idle timeout may end them."""
        opened = [self._primary] if self._secondary is None else [self._primary, self._secondary]
        taken = [inflight.write_connection for inflight in self._inflight]
        return [write_connection.connection for write_connection in opened if write_connection not in taken]

    @property
    def idle_connection(self) -> WriteConnection | None:
        """A connection without an in-flight chunk; None if two chunks are in flight."""
        taken = [inflight.write_connection for inflight in self._inflight]
        return next(
            (
                write_connection
                for write_connection in self.open_connections()
                if write_connection not in taken
            ),
            None,
        )

    def poll_until_written(self, read: Callable[[], T | None]) -> T | None:
        """Calls *read* until it returns a value or the write of the first chunk ends.

        Returns the value, or None.
        """
        while (found := read()) is None and not self._inflight[0].write_connection.executor.done:
            time.sleep(_WRITE_POLL_INTERVAL)
        return found

    def submit(self, inflight: InflightChunk) -> None:
        """Starts the write of a chunk's rows; does not wait."""
        self._inflight.append(inflight)
        inflight.write_connection.executor.submit(lambda: self._write(inflight))

    def _write(self, inflight: InflightChunk) -> WriteResult:
        inflight.connection.begin()
        began = self._now()
        try:
            moved = self._update(inflight)
        finally:
            inflight.write_connection.ended = self._now()
            inflight.write_connection.seconds = inflight.write_connection.ended - began
        return WriteResult(inflight, inflight.write_connection.seconds, moved)

    def _update(self, inflight: InflightChunk) -> UpdateResult:
        update = self._job.write(inflight.connection, inflight.chunk, inflight.prepared)
        if update.failed:
            raise PipelineAborted
        return update

    def wait_for_first(self) -> WriteResult:
        """Waits for the write of the first chunk, and returns its result.

        Raises :class:`PipelineAborted` if the write failed, or the error of a lost session.
        """
        executor = self._inflight[0].write_connection.executor
        written = executor.result(self._break_deadlock)
        if written is None:
            self._raise_lost(executor.error)
            raise PipelineAborted from executor.error
        return written

    def _break_deadlock(self) -> None:
        """Rolls back the chunk written ahead if its write has ended and that of the first chunk has not.

        The first chunk may wait for its locks, or for those of an application that waits for them.
        """
        if len(self._inflight) < 2:
            return
        write_connection = self._inflight[1].write_connection
        if write_connection.executor.done and self._now() - write_connection.ended > max(
            _DEADLOCK_TIMEOUT, 2 * write_connection.seconds
        ):
            self._back_off()
            for error in self._rollback_one(self._inflight.pop()):
                self._raise_lost(error)

    def require_none_pending(self, written: WriteResult) -> None:
        """Raises :class:`PipelineAborted` if rows are still pending: to find out why, they must be locked."""
        inflight = written.inflight
        if self._job.still_pending(inflight.connection, inflight.chunk, written.update):
            raise PipelineAborted

    def commit(self, written: WriteResult) -> None:
        """Commits the first chunk, and halves the next backoff."""
        written.inflight.connection.commit()
        self._inflight.popleft()
        self._backoff = max(1, self._backoff // 2)

    # --- rollback --------------------------------------------------------------------------------

    def rollback(self) -> None:
        """Rolls back all in-flight chunks, and closes the second connection.

        Raises the error of a lost session: SQLAlchemy would replace it with a new one without the settings.
        """
        errors = self._rollback_all()
        for error in errors:
            self._raise_lost(error)

    def abort(self) -> None:
        """Rolls back like :meth:`rollback`, and starts a backoff: the next chunks are processed serially.

        Their number grows with each abort in a row.
        """
        self._back_off()
        self.rollback()

    def close(self) -> None:
        """Rolls back all in-flight chunks and ends the threads; the pipeline cannot be used again."""
        self._rollback_all()
        self._primary.executor.close()

    def _rollback_all(self) -> list[BaseException | None]:
        errors = []
        while self._inflight:
            written = [leg for leg in self._inflight if leg.write_connection.executor.done]
            for inflight in written:
                # Immediately: the other chunk may wait for its locks.
                self._inflight.remove(inflight)
                errors += self._rollback_one(inflight)
            if not written:
                time.sleep(_ROLLBACK_POLL_INTERVAL)
        if self._secondary is not None:
            self._secondary.executor.close()
            self._secondary = None
        self._exit_stack.close()
        return errors

    def _rollback_one(self, inflight: InflightChunk) -> list[BaseException | None]:
        """Rolls back one chunk. Returns the errors of its write and of the rollback; None: no error."""
        inflight.write_connection.executor.result(noop)
        try:
            inflight.connection.rollback()
        except CLEANUP_ERRORS as error:
            return [inflight.write_connection.executor.error, error]
        return [inflight.write_connection.executor.error]

    def _back_off(self) -> None:
        # The backoff grows by more than a committed chunk reduces it: otherwise the first of two chunks,
        # which may commit each time, would reset it.
        self._backoff_left, self._backoff = self._backoff, min(4 * self._backoff, _MAX_BACKOFF)

    def _raise_lost(self, error: BaseException | None) -> None:
        if isinstance(error, DATABASE_ERRORS) and self._job.dialect.is_connection_lost(error):
            raise error
