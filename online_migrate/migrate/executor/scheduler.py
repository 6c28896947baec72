"""Which chunks the pipeline writes, and what is done for each of them before its commit.

:mod:`~online_migrate.migrate.executor.pipeline` holds the two chunks and the rules for rolling them back.
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
    """What a worker works with, however he does his chunks."""

    run_state: RunState
    migration: BoundMigration
    leases: LeaseManager
    planner: Planner
    size: ChunkSize
    timer: ChunkTimer
    prefetcher: Prefetcher
    plan_chunk: Callable[[KeyRange], ChunkPlan]
    """Plans a chunk on the worker's connection, while nothing is open there."""
    find_candidate: Callable[[Connection], RangeCandidate]
    """What there is to claim next."""
    keepalive: Callable[[], None]
    """Called now and then by whoever waits with nothing in hand."""


@dataclasses.dataclass(frozen=True)
class CommittedChunk:
    """A chunk that is committed."""

    plan: ChunkPlan
    done: int
    read_seconds: float
    """Seconds for which its rows were read and the function was called."""
    candidate: RangeCandidate | None
    """What there is to claim next, if that was looked up meanwhile."""


class PipelineScheduler:
    """The chunks of one worker, two at a time. For his thread."""

    def __init__(self, pipeline: ChunkPipeline, tools: PipelineContext) -> None:
        self._pipeline = pipeline
        self._context = tools

    @property
    def unlocked_connections(self) -> Sequence[Connection]:
        """Connections that are open and lock nothing."""
        return self._pipeline.unlocked_connections

    def rollback(self) -> None:
        """Takes back whatever is not committed."""
        self._pipeline.rollback()

    def close(self) -> None:
        """For good."""
        self._pipeline.close()

    def commit_next(self, key_range: KeyRange) -> CommittedChunk | None:
        """Brings the first chunk of *extent* to its end, while others are written.

        None: it is to be done alone, and nothing is in hand. Raises the error of a session that was lost,
        and :class:`~online_migrate.migrate.worker.lease.LeaseLost`.
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
            if self._context.migration.is_per_row:
                self._fill_prepared(key_range)
            elif pipeline.last_inflight is None:
                self._fill(key_range)
            return None if pipeline.last_inflight is None else self._finish(key_range)
        except (*DATABASE_ERRORS, exceptions.OnlineMigrateError, PipelineAborted) as error:
            _log.info("%s: both chunks are rolled back: %s", self._context.migration.name, error)
            self._put_back(pipeline.inflight)
            pipeline.abort()
            if self._context.migration.dialect.is_connection_lost(error):
                # Nobody knows whether its commit got through: another worker looks.
                raise
            # Nothing of it counts: the chunk is done again alone, and whoever is to blame is met there.
            return None

    @property
    def _throttled(self) -> bool:
        return bool(
            self._context.migration.dialect.chunk_pause
            or self._context.run_state.context.throttling.duty_cycle.sleep_ratio
        )

    # --- beginning -------------------------------------------------------------------------------

    def _fill(self, key_range: KeyRange) -> None:
        """Has the first two chunks of an extent written."""
        # Both are planned before one of them is begun: from then on a look may have to wait.
        inflight_chunks: list[InflightChunk] = []
        at: KeyRange | None = key_range
        for write_connection in self._pipeline.open_connections():
            if at is not None:
                inflight_chunks.append(InflightChunk(at, self._context.plan_chunk(at), write_connection))
                at = inflight_chunks[-1].remaining_range
        for inflight in inflight_chunks:
            self._pipeline.submit(inflight)

    def _fill_prepared(self, key_range: KeyRange) -> None:
        """Has chunks of rows written for which the function was called, until there are two of them.

        None at all where it failed for a row: then the chunk is to be done alone.
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
        """The next rows, if they were read by the time when the first chunk is written."""
        if self._pipeline.last_inflight is None:
            return self._context.prefetcher.result_nowait(at)
        return self._pipeline.poll_until_written(lambda: self._context.prefetcher.result_nowait(at))

    def _put_back(self, inflight_chunks: Iterable[InflightChunk]) -> None:
        """What was made of their rows is used when they are written after all."""
        for inflight in inflight_chunks:
            if inflight.prepared is not None:
                self._context.prefetcher.put_back(
                    inflight.key_range, PreparedChunk(inflight.plan, inflight.prepared, inflight.seconds)
                )

    # --- ending ----------------------------------------------------------------------------------

    def _finish(self, key_range: KeyRange) -> CommittedChunk:
        """The end of a chunk whose rows are written, and the beginning of the one after the next."""
        pipeline, timer, clock = self._pipeline, self._context.timer, self._context.run_state.context.clock
        begun = pipeline.inflight
        try:
            written = pipeline.wait_for_first()
        finally:
            # What had to let go of its locks.
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
        """What there is to claim next, while the last chunk is written: later nothing is done meanwhile."""
        last = self._pipeline.last_inflight
        if last is inflight or (last is not None and last.remaining_range is not None):
            return None
        return self._context.find_candidate(inflight.connection)

    def _plan_next(self, inflight: InflightChunk) -> InflightChunk | None:
        """What is to be written next on the connection of *leg*. Looks inside of its transaction."""
        after = None if self._pipeline.last_inflight is None else self._pipeline.last_inflight.remaining_range
        if after is None or self._pipeline.backing_off or self._context.migration.is_per_row:
            return None
        plan = self._context.planner.plan(inflight.connection, after, self._context.size.size)
        return InflightChunk(after, plan, inflight.write_connection)
