"""Selects the chunks that the pipeline writes, and completes each of them before its commit.

:mod:`~online_migrate.migrate.executor.pipeline` has the two in-flight chunks and the rules for their
rollback.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.migrate.executor.inflight import InflightChunk, PipelineAborted, WriteResult
from online_migrate.migrate.executor.pipeline import ChunkPipeline
from online_migrate.migrate.executor.prefetch import PreparedChunk
from online_migrate.migrate.executor.result import CommittedChunk
from online_migrate.migrate.executor.tools import ChunkTools
from online_migrate.migrate.worker.lease import KeyRange, RangeCandidate
from online_migrate.migrate.worker.planner import ChunkPlan
from online_migrate.observe import events
from online_migrate.throttle.duty_cycle import DutyCycle
from online_migrate.walk.chunk_size import ChunkSize

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_log = logging.getLogger(__name__)
_WRITE_POLL_INTERVAL = 0.002
"""Seconds between two checks whether a further chunk can be written in parallel to the first one."""


class PipelineScheduler:
    """Schedules the chunks of one worker, two at a time. Used from the worker's thread only.

    *size*: the chunk size controller of the worker. *find_candidate*: finds the next key range to acquire, in
    the open transaction of a connection.
    """

    def __init__(
        self,
        pipeline: ChunkPipeline,
        tools: ChunkTools,
        size: ChunkSize,
        duty_cycle: DutyCycle,
        find_candidate: Callable[[Connection], RangeCandidate],
    ) -> None:
        self._pipeline = pipeline
        self._tools = tools
        self._migration = tools.migration
        self._size = size
        self._duty_cycle = duty_cycle
        self._find_candidate = find_candidate

    @property
    def unlocked_connections(self) -> Sequence[Connection]:
        """Open connections that hold no locks."""
        return self._pipeline.unlocked_connections

    def rollback(self) -> None:
        """Rolls back all in-flight chunks. Raises the error of a lost session."""
        self._pipeline.rollback()

    def close(self) -> None:
        """Rolls back all in-flight chunks and ends the threads; the scheduler cannot be used again."""
        self._pipeline.close()

    def commit_next(self, key_range: KeyRange) -> CommittedChunk | None:
        """Commits the first chunk of *key_range*, while the following one is written.

        Returns None if the chunk must be processed serially; then no chunk is in flight. Raises the error of
        a lost session, and :class:`~online_migrate.migrate.worker.lease.LeaseLost`.
        """
        pipeline = self._pipeline
        if (
            self._throttled
            or self._tools.planner.uses_key_list(key_range)
            or (not pipeline.last_inflight and pipeline.backoff.consume())
        ):
            pipeline.rollback()
            return None
        try:
            if self._migration.prepares_rows:
                self._fill_prepared(key_range)
            elif pipeline.last_inflight is None:
                self._fill(key_range)
            return None if pipeline.last_inflight is None else self._finish(key_range)
        except (*DATABASE_ERRORS, exceptions.OnlineMigrateError, PipelineAborted) as error:
            events.emit(_log, events.PipelineRolledBack(self._migration.name, f"{error}"))
            self._put_back(pipeline.inflight)
            pipeline.abort()
            if self._migration.dialect.is_connection_lost(error):
                # It is not known whether the commit succeeded: a new worker reads it from the lease.
                raise
            # Both chunks are rolled back: the first one is repeated serially, where the error is attributed.
            return None

    @property
    def _throttled(self) -> bool:
        return bool(self._migration.dialect.chunk_pause or self._duty_cycle.sleep_ratio)

    # --- start of chunks -------------------------------------------------------------------------

    def _fill(self, key_range: KeyRange) -> None:
        """Starts the writes of the first two chunks of a key range."""
        # Both are planned before the first write starts: after that a read may have to wait for its locks.
        inflight_chunks: list[InflightChunk] = []
        at: KeyRange | None = key_range
        for write_connection in self._pipeline.connections.both():
            if at is not None:
                inflight_chunks.append(InflightChunk(at, self._plan(at), write_connection))
                at = inflight_chunks[-1].remaining_range
        for inflight in inflight_chunks:
            self._pipeline.submit(inflight)

    def _plan(self, at: KeyRange) -> ChunkPlan:
        """Plans a chunk on the worker's connection, while no transaction is open on it."""
        return self._tools.reader.plan(self._tools.transactions.connection, at, self._size.size)

    def _fill_prepared(self, key_range: KeyRange) -> None:
        """Starts the writes of prefetched chunks, until two are in flight.

        Starts none if the function failed for a row of the chunk: such a chunk must be processed serially.
        """
        pipeline, prefetcher, size = self._pipeline, self._tools.prefetcher, self._size
        at = key_range if pipeline.last_inflight is None else pipeline.last_inflight.remaining_range
        if pipeline.last_inflight is None:
            self._tools.keepalive()
        while (
            at is not None
            and not pipeline.backoff.active
            and (write_connection := pipeline.idle_connection) is not None
        ):
            if pipeline.last_inflight is None:
                prefetcher.fetch(at, size.size, self._tools.keepalive)
            ready = self._prefetched(at)
            if ready is None or ready.prepared is None or not ready.prepared.succeeded:
                return
            prefetcher.result(at, self._tools.keepalive)
            inflight = InflightChunk(at, ready.plan, write_connection, ready.prepared, ready.seconds)
            pipeline.submit(inflight)
            at = inflight.remaining_range
            if at is not None:
                prefetcher.submit(at, size.size)

    def _prefetched(self, at: KeyRange) -> PreparedChunk | None:
        """Returns the next prefetched chunk if it is read before the write of the first chunk ends."""
        if self._pipeline.last_inflight is None:
            return self._tools.prefetcher.result_nowait(at)
        writer = self._pipeline.inflight[0].write_connection.executor
        while (ready := self._tools.prefetcher.result_nowait(at)) is None and not writer.done:
            time.sleep(_WRITE_POLL_INTERVAL)
        return ready

    def _put_back(self, inflight_chunks: Iterable[InflightChunk]) -> None:
        """Returns prepared chunks to the prefetcher, so that their results are used at the next write."""
        for inflight in inflight_chunks:
            if inflight.prepared is not None:
                self._tools.prefetcher.put_back(
                    inflight.key_range, PreparedChunk(inflight.plan, inflight.prepared, inflight.seconds)
                )

    # --- end of a chunk --------------------------------------------------------------------------

    def _finish(self, key_range: KeyRange) -> CommittedChunk:
        """Completes and commits the first chunk, and starts the write of the chunk after the next one."""
        pipeline, timer, clock = self._pipeline, self._tools.timer, self._tools.transactions.clock
        begun = pipeline.inflight
        try:
            written = pipeline.wait_for_first(self._tools.keepalive)
        finally:
            # The chunks that were rolled back to release their locks.
            self._put_back(chunk for chunk in begun if chunk not in pipeline.inflight)
        inflight, done = written.inflight, written.update.done
        if inflight.key_range != key_range:
            raise PipelineAborted("the first chunk is not the next one of the key range")
        seen = self._next_candidate(inflight)
        following = self._plan_next(inflight)
        timer.begin(clock.monotonic() - written.seconds)
        self._require_none_pending(written)
        timer.rows_written()
        self._tools.leases.advance(inflight.connection, key_range, inflight.plan.upper, done)
        timer.lease_advanced()
        pipeline.commit(written)
        if following is not None:
            pipeline.submit(following)
        return CommittedChunk(inflight.plan, done, read_seconds=inflight.seconds, candidate=seen)

    def _require_none_pending(self, written: WriteResult) -> None:
        """Raises :class:`PipelineAborted` if rows are still pending: to find out why, they must be locked."""
        inflight = written.inflight
        if self._migration.still_pending(inflight.connection, inflight.chunk, written.update):
            raise PipelineAborted("rows are still pending after their UPDATE")

    def _next_candidate(self, inflight: InflightChunk) -> RangeCandidate | None:
        """Finds the next key range to acquire while the last chunk of this range is written.

        After the last chunk there is no write that the lookup could overlap. Returns None before the last
        chunk.
        """
        last = self._pipeline.last_inflight
        if last is inflight or (last is not None and last.remaining_range is not None):
            return None
        return self._find_candidate(inflight.connection)

    def _plan_next(self, inflight: InflightChunk) -> InflightChunk | None:
        """Plans the next chunk for the connection of *inflight*. Reads inside that connection's transaction.

        Returns None if there is none, during a backoff, and if chunks are prepared: then they are prefetched.
        """
        after = None if self._pipeline.last_inflight is None else self._pipeline.last_inflight.remaining_range
        if after is None or self._pipeline.backoff.active or self._migration.prepares_rows:
            return None
        plan = self._tools.planner.plan(inflight.connection, after, self._size.size)
        return InflightChunk(after, plan, inflight.write_connection)
