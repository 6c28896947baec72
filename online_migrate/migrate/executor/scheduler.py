"""Selects the chunks that the pipeline writes, and completes each of them before its commit.

:mod:`~online_migrate.migrate.executor.pipeline` has the two in-flight chunks and the rules for their
rollback.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.kinds.bound import BoundMigration
from online_migrate.migrate.executor.pipeline import ChunkPipeline, InflightChunk, PipelineAborted
from online_migrate.migrate.executor.prefetch import Prefetcher, PreparedChunk
from online_migrate.migrate.run.context import RunState
from online_migrate.migrate.worker.chunk_timer import ChunkTimer
from online_migrate.migrate.worker.lease import KeyRange, LeaseManager, RangeCandidate
from online_migrate.migrate.worker.planner import ChunkPlan, Planner
from online_migrate.walk.chunk_size import ChunkSize

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PipelineContext:
    """The collaborators of a worker that the scheduler uses."""

    run_state: RunState
    migration: BoundMigration
    leases: LeaseManager
    planner: Planner
    size: ChunkSize
    timer: ChunkTimer
    prefetcher: Prefetcher
    plan_chunk: Callable[[KeyRange], ChunkPlan]
    """Plans a chunk on the worker's connection, while no transaction is open on it."""
    find_candidate: Callable[[Connection], RangeCandidate]
    """Finds the next key range to acquire."""
    keepalive: Callable[[], None]
    """Called periodically while the worker waits without an in-flight chunk."""


@dataclasses.dataclass(frozen=True)
class CommittedChunk:
    """A chunk that is committed."""

    plan: ChunkPlan
    done: int
    read_seconds: float
    """Seconds for the read of its rows and the calls of the function."""
    candidate: RangeCandidate | None
    """The next key range to acquire, if it was looked up during the last chunk."""


class PipelineScheduler:
    """Schedules the chunks of one worker, two at a time. Used from the worker's thread only."""

    def __init__(self, pipeline: ChunkPipeline, tools: PipelineContext) -> None:
        self._pipeline = pipeline
        self._context = tools

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
            or self._context.planner.uses_key_list(key_range)
            or (not pipeline.last_inflight and pipeline.consume_backoff())
        ):
            pipeline.rollback()
            return None
        try:
            if self._context.migration.prepares_rows:
                self._fill_prepared(key_range)
            elif pipeline.last_inflight is None:
                self._fill(key_range)
            return None if pipeline.last_inflight is None else self._finish(key_range)
        except (*DATABASE_ERRORS, exceptions.OnlineMigrateError, PipelineAborted) as error:
            _log.info("%s: both chunks are rolled back: %s", self._context.migration.name, error)
            self._put_back(pipeline.inflight)
            pipeline.abort()
            if self._context.migration.dialect.is_connection_lost(error):
                # It is not known whether the commit succeeded: a new worker reads it from the lease.
                raise
            # Both chunks are rolled back: the first one is repeated serially, where the error is attributed.
            return None

    @property
    def _throttled(self) -> bool:
        return bool(
            self._context.migration.dialect.chunk_pause
            or self._context.run_state.context.throttling.duty_cycle.sleep_ratio
        )

    # --- start of chunks -------------------------------------------------------------------------

    def _fill(self, key_range: KeyRange) -> None:
        """Starts the writes of the first two chunks of a key range."""
        # Both are planned before the first write starts: after that a read may have to wait for its locks.
        inflight_chunks: list[InflightChunk] = []
        at: KeyRange | None = key_range
        for write_connection in self._pipeline.open_connections():
            if at is not None:
                inflight_chunks.append(InflightChunk(at, self._context.plan_chunk(at), write_connection))
                at = inflight_chunks[-1].remaining_range
        for inflight in inflight_chunks:
            self._pipeline.submit(inflight)

    def _fill_prepared(self, key_range: KeyRange) -> None:
        """Starts the writes of prefetched chunks, until two are in flight.

        Starts none if the function failed for a row of the chunk: such a chunk must be processed serially.
        """
        pipeline, prefetcher, size = self._pipeline, self._context.prefetcher, self._context.size
        at = key_range if pipeline.last_inflight is None else pipeline.last_inflight.remaining_range
        if pipeline.last_inflight is None:
            self._context.keepalive()
        while (
            at is not None
            and not pipeline.backing_off
            and (write_connection := pipeline.idle_connection) is not None
        ):
            if pipeline.last_inflight is None:
                prefetcher.fetch(at, size.size, self._context.keepalive)
            ready = self._prefetched(at)
            if ready is None or ready.prepared is None or not ready.prepared.succeeded:
                return
            prefetcher.result(at, self._context.keepalive)
            inflight = InflightChunk(at, ready.plan, write_connection, ready.prepared, ready.seconds)
            pipeline.submit(inflight)
            at = inflight.remaining_range
            if at is not None:
                prefetcher.submit(at, size.size)

    def _prefetched(self, at: KeyRange) -> PreparedChunk | None:
        """Returns the next prefetched chunk if it is read before the write of the first chunk ends."""
        if self._pipeline.last_inflight is None:
            return self._context.prefetcher.result_nowait(at)
        return self._pipeline.poll_until_written(lambda: self._context.prefetcher.result_nowait(at))

    def _put_back(self, inflight_chunks: Iterable[InflightChunk]) -> None:
        """Returns prepared chunks to the prefetcher, so that their results are used at the next write."""
        for inflight in inflight_chunks:
            if inflight.prepared is not None:
                self._context.prefetcher.put_back(
                    inflight.key_range, PreparedChunk(inflight.plan, inflight.prepared, inflight.seconds)
                )

    # --- end of a chunk --------------------------------------------------------------------------

    def _finish(self, key_range: KeyRange) -> CommittedChunk:
        """Completes and commits the first chunk, and starts the write of the chunk after the next one."""
        pipeline, timer, clock = self._pipeline, self._context.timer, self._context.run_state.context.clock
        begun = pipeline.inflight
        try:
            written = pipeline.wait_for_first()
        finally:
            # The chunks that were rolled back to release their locks.
            self._put_back(leg for leg in begun if leg not in pipeline.inflight)
        inflight, done = written.inflight, written.update.done
        if inflight.key_range != key_range:
            raise PipelineAborted
        seen = self._next_candidate(inflight)
        following = self._plan_next(inflight)
        timer.begin(clock.monotonic() - written.seconds)
        pipeline.require_none_pending(written)
        timer.rows_written()
        self._context.leases.advance(inflight.connection, key_range, inflight.plan.upper, done)
        timer.lease_advanced()
        pipeline.commit(written)
        if following is not None:
            pipeline.submit(following)
        return CommittedChunk(inflight.plan, done, inflight.seconds, seen)

    def _next_candidate(self, inflight: InflightChunk) -> RangeCandidate | None:
        """Finds the next key range to acquire while the last chunk of this range is written.

        After the last chunk there is no write that the lookup could overlap. Returns None before the last
        chunk.
        """
        last = self._pipeline.last_inflight
        if last is inflight or (last is not None and last.remaining_range is not None):
            return None
        return self._context.find_candidate(inflight.connection)

    def _plan_next(self, inflight: InflightChunk) -> InflightChunk | None:
        """Plans the next chunk for the connection of *inflight*. Reads inside that connection's transaction.

        Returns None if there is none, during a backoff, and if chunks are prepared: then they are prefetched.
        """
        after = None if self._pipeline.last_inflight is None else self._pipeline.last_inflight.remaining_range
        if after is None or self._pipeline.backing_off or self._context.migration.prepares_rows:
            return None
        plan = self._context.planner.plan(inflight.connection, after, self._context.size.size)
        return InflightChunk(after, plan, inflight.write_connection)
