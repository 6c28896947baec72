"""Processes two chunks at a time, on two connections, and commits them in order.

While a worker checks which rows of a chunk are still pending, advances its lease and waits for the commit,
the rows of the next chunk are written, if the kind of data migration supports it. Only at full pace: a second
session at work delays the statements of the application (benchmarks/README.md has the figures).

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
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from online_migrate.dialects import Dialect
from online_migrate.driver_errors import CLEANUP_ERRORS, DATABASE_ERRORS
from online_migrate.kinds.bound import BoundMigration
from online_migrate.migrate.executor.background import Keepalive, noop
from online_migrate.migrate.executor.inflight import (
    InflightChunk,
    PipelineAborted,
    WriteConnection,
    WriteConnections,
    WriteResult,
    write_chunk,
)
from online_migrate.migrate.executor.pipeline_backoff import PipelineBackoff
from online_migrate.migrate.pace import Pace

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_MIN_CHUNK_TIME = 0.1
"""The minimum target time of a chunk, in seconds, for the pipeline. A pace with shorter chunks is meant to
leave capacity to the application."""
_DEADLOCK_TIMEOUT = 1.0
"""Seconds after which the chunk that was written ahead is rolled back, if its write has ended and that of the
first chunk has not; twice the time of its own write, if that is longer."""
_ROLLBACK_POLL_INTERVAL = 0.01
"""Seconds between two checks whether an UPDATE that is to be rolled back has ended."""


class ChunkPipeline:
    """The in-flight chunks of one worker. Used from the worker's thread only.

    *own*: the worker's own connection. *connect*: opens the second connection when it is needed. *now*:
    returns the time in seconds.
    """

    def __init__(
        self,
        bound: BoundMigration,
        own: Connection,
        connect: Callable[[], contextlib.AbstractContextManager[Connection]],
        now: Callable[[], float],
    ) -> None:
        self._job = bound
        self._now = now
        self.connections = WriteConnections(own, connect)
        self.backoff = PipelineBackoff()
        self._inflight: collections.deque[InflightChunk] = collections.deque()
        """Chunks that are started and not committed, in the order of their keys."""

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

    # --- chunks ----------------------------------------------------------------------------------

    @property
    def last_inflight(self) -> InflightChunk | None:
        """The chunk that was started last and is not committed; None if no chunk is in flight."""
        return self._inflight[-1] if self._inflight else None

    @property
    def inflight(self) -> Sequence[InflightChunk]:
        """All chunks that are started and not committed, in the order of their keys."""
        return tuple(self._inflight)

    @property
    def idle_connection(self) -> WriteConnection | None:
        """A connection without an in-flight chunk; None if two chunks are in flight."""
        self.connections.both()
        return next(iter(self.connections.without(self._inflight)), None)

    @property
    def unlocked_connections(self) -> Sequence[Connection]:
        """Open connections that hold no locks; the server's idle timeout may end them."""
        return [one.connection for one in self.connections.without(self._inflight)]

    def submit(self, inflight: InflightChunk) -> None:
        """Starts the write of a chunk's rows; does not wait."""
        self._inflight.append(inflight)
        inflight.write_connection.executor.submit(lambda: write_chunk(self._job, inflight, self._now))

    def wait_for_first(self, keepalive: Keepalive) -> WriteResult:
        """Waits for the write of the first chunk, and returns its result.

        *keepalive*: called every 0.5 s meanwhile; it keeps the connections without a chunk open. Raises
        :class:`PipelineAborted` if the write failed, or the error of a lost session.
        """
        executor = self._inflight[0].write_connection.executor

        def while_waiting() -> None:
            self._break_deadlock()
            keepalive()

        written = executor.result(while_waiting)
        if written is None:
            _raise_if_lost(self._job.dialect, executor.error)
            raise PipelineAborted(f"the write failed: {executor.error}") from executor.error
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
            self.backoff.aborted()
            for error in self._rollback_one(self._inflight.pop()):
                _raise_if_lost(self._job.dialect, error)

    def commit(self, written: WriteResult) -> None:
        """Commits the first chunk, and halves the next backoff."""
        written.inflight.connection.commit()
        self._inflight.popleft()
        self.backoff.committed()

    # --- rollback --------------------------------------------------------------------------------

    def rollback(self) -> None:
        """Rolls back all in-flight chunks, and closes the second connection.

        Raises the error of a lost session: SQLAlchemy would replace it with a new one without the settings.
        """
        errors = self._rollback_all()
        for error in errors:
            _raise_if_lost(self._job.dialect, error)

    def abort(self) -> None:
        """Rolls back like :meth:`rollback`, and starts a backoff: the next chunks are processed serially.

        Their number grows with each abort in a row.
        """
        self.backoff.aborted()
        self.rollback()

    def close(self) -> None:
        """Rolls back all in-flight chunks and ends the threads; the pipeline cannot be used again."""
        self._rollback_all()
        self.connections.own.executor.close()

    def _rollback_all(self) -> list[BaseException | None]:
        errors = []
        while self._inflight:
            written = [chunk for chunk in self._inflight if chunk.write_connection.executor.done]
            for inflight in written:
                # Immediately: the other chunk may wait for its locks.
                self._inflight.remove(inflight)
                errors += self._rollback_one(inflight)
            if not written:
                time.sleep(_ROLLBACK_POLL_INTERVAL)
        self.connections.close_second()
        return errors

    def _rollback_one(self, inflight: InflightChunk) -> list[BaseException | None]:
        """Rolls back one chunk. Returns the errors of its write and of the rollback; None: no error."""
        inflight.write_connection.executor.result(noop)
        try:
            inflight.connection.rollback()
        except CLEANUP_ERRORS as error:
            return [inflight.write_connection.executor.error, error]
        return [inflight.write_connection.executor.error]


def _raise_if_lost(dialect: Dialect, error: BaseException | None) -> None:
    if isinstance(error, DATABASE_ERRORS) and dialect.is_connection_lost(error):
        raise error
