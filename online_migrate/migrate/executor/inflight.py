"""The chunks that are written ahead, and the two connections on which they are written."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from online_migrate.kinds.bound import BoundMigration
from online_migrate.kinds.prepared import PreparedRows
from online_migrate.kinds.result import UpdateResult
from online_migrate.migrate.executor.background import BackgroundExecutor
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan
from online_migrate.walk.chunk import Chunk

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


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


class WriteConnections:
    """The worker's own connection, and a second one that is opened when it is needed.

    *own*: the worker's own connection. *connect*: opens the second one.
    """

    def __init__(
        self, own: Connection, connect: Callable[[], contextlib.AbstractContextManager[Connection]]
    ) -> None:
        self.own = WriteConnection(own)
        self._connect = connect
        self._second: WriteConnection | None = None
        self._exit_stack = contextlib.ExitStack()

    def both(self) -> tuple[WriteConnection, WriteConnection]:
        """Returns both connections; the second one is opened if necessary."""
        if self._second is None:
            self._second = WriteConnection(self._exit_stack.enter_context(self._connect()))
        return self.own, self._second

    def without(self, inflight: Iterable[InflightChunk]) -> Sequence[WriteConnection]:
        """Returns the open connections on which none of the chunks *inflight* is written."""
        opened = [self.own] if self._second is None else [self.own, self._second]
        taken = [chunk.write_connection for chunk in inflight]
        return [one for one in opened if one not in taken]

    def close_second(self) -> None:
        """Closes the second connection and ends its thread."""
        if self._second is not None:
            self._second.executor.close()
            self._second = None
        self._exit_stack.close()


def write_chunk(bound: BoundMigration, inflight: InflightChunk, now: Callable[[], float]) -> WriteResult:
    """Begins a transaction and writes the rows of a chunk in it; in the thread of its connection.

    *now*: returns the time in seconds. Raises :class:`PipelineAborted` if a row fails.
    """
    inflight.connection.begin()
    began = now()
    try:
        update = bound.write(inflight.connection, inflight.chunk, inflight.prepared)
        if update.failed:
            raise PipelineAborted("a row of a chunk failed")
    finally:
        inflight.write_connection.ended = now()
        inflight.write_connection.seconds = inflight.write_connection.ended - began
    return WriteResult(inflight, inflight.write_connection.seconds, update)
