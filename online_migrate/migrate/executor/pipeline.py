"""Two chunks at a time, on two connections, brought to their end one after the other.

While a worker looks who of a chunk is pending still, moves its lease and waits for the disk, the rows of
the next one are written: of a Backfill, or those that a function was called for already.

Invariants:

* A chunk that is written ahead is committed by its worker, with its own lease, and only when the chunk
  before it was.
* Whatever goes wrong with one of them, all are rolled back. The first is then done again by itself, where
  every error is met as it always is; but a lost session ends the worker, because nobody knows whether its
  last commit got through.
* While a chunk is written ahead, the worker asks only the connection of the chunk in hand, inside of its
  transaction: any other could have to queue behind somebody who waits for one of the two. So nobody waits
  for rows that are being read ahead, either: they are taken if they are there.
* Both connections lead to one server: of a cluster, the second node may not be yet where the first one is,
  and the lease of the second chunk moves from where that of the first has put it.
* Nobody rests, waits or leaves with a chunk written ahead: it locks rows. And nobody waits for long while it
  may hold what he waits for: no server sees such a circle, for one of its waits is in here.
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
from online_migrate.kinds.definition import Backfill
from online_migrate.kinds.execution import (
    PreparedRows,
    UpdateResult,
    apply_chunk,
    still_pending,
    update_chunk,
)
from online_migrate.kinds.pending import fails_verify
from online_migrate.migrate.executor.background import BackgroundExecutor, noop
from online_migrate.migrate.pace import Pace
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan
from online_migrate.walk.chunker import Chunk

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_MIN_CHUNK_TIME = 0.1
"""Seconds of a chunk for which it pays; shorter ones are meant to leave room for others."""
_MAX_BACKOFF = 64
"""Chunks that are done alone, after one that failed over and over."""
_DEADLOCK_TIMEOUT = 1.0
"""Seconds after which the chunk ahead lets go, if it is written and the first one is not; twice the time that
it took itself, if that is longer."""
_ROLLBACK_POLL_INTERVAL = 0.01
"""Seconds between two looks whether an UPDATE that is not wanted any more has ended."""
_WRITE_POLL_INTERVAL = 0.002
"""Seconds between two looks whether there is anything else to write beside the first chunk."""
T = TypeVar("T")


class PipelineAborted(Exception):
    """What was written in this way does not count: the chunk is to be done alone."""


class WriteConnection:
    """A connection, and a thread that writes rows on it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.executor: BackgroundExecutor[WriteResult] = BackgroundExecutor()
        self.seconds = self.ended = 0.0
        """What the last UPDATE on it took, and when it ended."""


@dataclasses.dataclass(frozen=True)
class InflightChunk:
    """A chunk whose rows are being written, or have been, in a transaction that is open."""

    key_range: KeyRange
    """From where on."""
    plan: ChunkPlan
    write_connection: WriteConnection
    prepared: PreparedRows | None = None
    """What a function made of its rows; None for a Backfill."""
    seconds: float = 0.0
    """What that took."""

    @property
    def chunk(self) -> Chunk:
        """Its rows. There are some: whole ranges of keys are planned without looking who is pending."""
        assert self.plan.chunk is not None
        return self.plan.chunk

    @property
    def connection(self) -> Connection:
        """The one on which it is written."""
        return self.write_connection.connection

    @property
    def remaining_range(self) -> KeyRange | None:
        """What is left of its extent."""
        if self.plan.upper == self.key_range.upper:
            return None
        return dataclasses.replace(self.key_range, lower=self.plan.upper)


@dataclasses.dataclass(frozen=True)
class WriteResult:
    """What came of its UPDATE."""

    inflight: InflightChunk
    seconds: float
    update: UpdateResult


class ChunkPipeline:
    """The chunks that one worker has in hand. For his thread.

    *home*: his own connection. *connect*: opens the other, when it is needed. *now*: gives seconds.
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
        """Those that were begun and not committed, in the order of their keys."""
        self._backoff_left = 0
        self._backoff = 1

    @staticmethod
    def supports(bound: BoundMigration, pace: Pace) -> bool:
        """True for what can be written without knowing how it went before, at a pace that spares nobody.

        And by the primary key: at the end of a range of another index MariaDB waits for the row after it,
        which the chunk ahead has locked. A function of a row must not have to be called under a lock.
        """
        return (
            (isinstance(bound.migration, Backfill) or (bound.is_per_row and bound.version is not None))
            and bound.chunker.by_primary_key
            and fails_verify(bound.subject) is None
            and not bound.dialect.single_writer
            and not pace.adaptive
            and pace.chunk_time >= _MIN_CHUNK_TIME
        )

    @property
    def backing_off(self) -> bool:
        """The chunks after those in hand are to be done alone."""
        return self._backoff_left > 0

    def consume_backoff(self) -> bool:
        """True if the next chunk is to be done alone, because of what happened to those before it."""
        if not self._backoff_left:
            return False
        self._backoff_left -= 1
        return True

    # --- chunks ----------------------------------------------------------------------------------

    @property
    def last_inflight(self) -> InflightChunk | None:
        """The chunk that was begun last and is not committed."""
        return self._inflight[-1] if self._inflight else None

    @property
    def inflight(self) -> Sequence[InflightChunk]:
        """All that were begun and are not committed, in the order of their keys."""
        return tuple(self._inflight)

    def open_connections(self) -> tuple[WriteConnection, WriteConnection]:
        """The worker's own connection, and the other one."""
        if self._secondary is None:
            self._secondary = WriteConnection(self._exit_stack.enter_context(self._connect()))
        return self._primary, self._secondary

    @property
    def unlocked_connections(self) -> Sequence[Connection]:
        """Connections that are open and lock nothing: the server may end them."""
        opened = [self._primary] if self._secondary is None else [self._primary, self._secondary]
        taken = [inflight.write_connection for inflight in self._inflight]
        return [write_connection.connection for write_connection in opened if write_connection not in taken]

    @property
    def idle_connection(self) -> WriteConnection | None:
        """A connection on which nothing is being written; None: there are two chunks in hand."""
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
        """What *look* gives, asked until the first chunk is written; None: nothing until then."""
        while (found := read()) is None and not self._inflight[0].write_connection.executor.done:
            time.sleep(_WRITE_POLL_INTERVAL)
        return found

    def submit(self, inflight: InflightChunk) -> None:
        """Has the rows written, and waits for nothing."""
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
        if inflight.prepared is None:
            return update_chunk(inflight.connection, self._job, inflight.chunk)
        result = apply_chunk(inflight.connection, self._job, inflight.chunk, inflight.prepared)
        if result.failures:
            raise PipelineAborted
        return UpdateResult(result.done, none_pending=True)

    def wait_for_first(self) -> WriteResult:
        """Waits for the first chunk, which is to be brought to its end now.

        Raises :class:`Dropped`, or the error of a session that was lost.
        """
        executor = self._inflight[0].write_connection.executor
        written = executor.result(self._break_deadlock)
        if written is None:
            self._raise_lost(executor.error)
            raise PipelineAborted from executor.error
        return written

    def _break_deadlock(self) -> None:
        """Lets go of the chunk ahead if it is written and the first one, begun earlier, still is not.

        The first one may be waiting for it, or for an application that waits for it.
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
        """Raises :class:`Dropped` if rows are pending still: to say why, they would have to be locked."""
        inflight = written.inflight
        if still_pending(inflight.connection, self._job, inflight.chunk, written.update):
            raise PipelineAborted

    def commit(self, written: WriteResult) -> None:
        """Ends the first chunk."""
        written.inflight.connection.commit()
        self._inflight.popleft()
        self._backoff = max(1, self._backoff // 2)

    # --- their end -------------------------------------------------------------------------------

    def rollback(self) -> None:
        """Rolls back whatever is not committed, and goes back to one connection.

        Raises the error of a session that was lost: used again it would be another one, without settings.
        """
        errors = self._rollback_all()
        for error in errors:
            self._raise_lost(error)

    def abort(self) -> None:
        """The same, and the next chunks are done alone: the more often in a row, the more of them."""
        self._back_off()
        self.rollback()

    def close(self) -> None:
        """For good."""
        self._rollback_all()
        self._primary.executor.close()

    def _rollback_all(self) -> list[BaseException | None]:
        errors = []
        while self._inflight:
            written = [leg for leg in self._inflight if leg.write_connection.executor.done]
            for inflight in written:
                # At once: the others may be waiting for its locks.
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
        """Gives what went wrong on its connection before, and in doing so."""
        inflight.write_connection.executor.result(noop)
        try:
            inflight.connection.rollback()
        except CLEANUP_ERRORS as error:
            return [inflight.write_connection.executor.error, error]
        return [inflight.write_connection.executor.error]

    def _back_off(self) -> None:
        # By more than what a chunk that gets through takes off: the first of two does, again and again.
        self._backoff_left, self._backoff = self._backoff, min(4 * self._backoff, _MAX_BACKOFF)

    def _raise_lost(self, error: BaseException | None) -> None:
        if isinstance(error, DATABASE_ERRORS) and self._job.dialect.is_connection_lost(error):
            raise error
