"""A worker: acquires key ranges, and hands them to an executor, chunk by chunk.

Invariant: a worker whose lease was taken over detects that in the transaction of its chunk, which is rolled
back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.kinds.bound import BoundMigration
from online_migrate.migrate.executor.pipeline import ChunkPipeline
from online_migrate.migrate.executor.prefetch import Prefetcher
from online_migrate.migrate.executor.reader import ChunkReader
from online_migrate.migrate.executor.result import ChunkError, CommittedChunk
from online_migrate.migrate.executor.scheduler import PipelineScheduler
from online_migrate.migrate.executor.serial import SerialExecutor
from online_migrate.migrate.executor.tools import ChunkTools
from online_migrate.migrate.pace import MAX_SLEEP
from online_migrate.migrate.run.context import RunState
from online_migrate.migrate.worker.bisection import FailureBisector
from online_migrate.migrate.worker.chunk_timer import ChunkTimer
from online_migrate.migrate.worker.failures import ChunkFailures, Skipped
from online_migrate.migrate.worker.heartbeat import Heartbeat
from online_migrate.migrate.worker.lease import AcquireResult, KeyRange, LeaseManager
from online_migrate.migrate.worker.planner import Planner
from online_migrate.migrate.worker.ranges import RangeAcquirer
from online_migrate.migrate.worker.registration import Registration, new_worker_id
from online_migrate.migrate.worker.session import TransactionRunner, data_connection
from online_migrate.walk.chunk_size import ChunkSize
from online_migrate.walk.key import Key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_UNLOCKED_IDLE_TIMEOUT = 86_400.0
"""The idle timeout, in seconds, of a session that holds no locks."""
_IDLE_POLL_INTERVAL = 0.1
"""Seconds between two polls of a worker that has nothing to do, or that must wait."""


class Worker:
    """Executes one data migration on a connection of its own. Use :meth:`work`."""

    def __init__(
        self,
        run_state: RunState,
        bound: BoundMigration,
        connection: Connection,
        heartbeat: Heartbeat,
        size: ChunkSize | None = None,
    ) -> None:
        """*size*: the chunk size controller of the previous worker, which lost its connection.

        None: a new controller.
        """
        self.id = new_worker_id()
        self.position = ""
        """The chunk that ended the worker, as the end of an error message; empty if there is none."""
        context = run_state.context
        self._run_state = run_state
        self._context = context
        self._migration = bound
        self._connection = connection
        self._heartbeat = heartbeat
        self._activity = context.throttling.activity
        self._size = size or context.pace.controller(bound.max_chunk_rows)
        self._tools = _chunk_tools(run_state, bound, connection, self.id, self._keepalive)
        self._prefetcher = self._tools.prefetcher
        self._failures = ChunkFailures(run_state, self._tools, self._size)
        self._serial = SerialExecutor(self._tools, context.budget, run_state.run)
        self._scheduler: PipelineScheduler | None = None
        """Processes two chunks at a time; None where only serial processing is possible."""
        self._ranges = RangeAcquirer(run_state, self._tools, self._size, self._failures)
        self._registration = Registration(self.id, run_state, self._tools)
        self._key_range: KeyRange | None = None
        """The key range that the worker holds."""

    def work(self) -> AcquireResult | None:
        """Processes chunks until no work is left, or the run is stopped.

        Returns the reason for the end: EXHAUSTED or NOT_RUNNING; None if the run is stopped. Raises
        :class:`~online_migrate.migrate.worker.lease.LeaseLost`,
        :class:`~online_migrate.migrate.worker.failures.TooManyFailures`, and errors that are not those of
        single rows.
        """
        self._registration.register()
        try:
            self._scheduler = self._new_scheduler()
            answer = self._work()
        except Exception:
            try:
                self._close()
            finally:
                self._registration.remove(holds_range=self._key_range is not None)
            raise
        self._close()
        # Not after a KeyboardInterrupt or a SystemExit: other workers detect that the session has ended.
        self._registration.remove(holds_range=self._key_range is not None)
        return answer

    def _new_scheduler(self) -> PipelineScheduler | None:
        context, dialect = self._context, self._migration.dialect
        if not ChunkPipeline.supports(self._migration, context.pace):
            return None
        # In a cluster the second connection may be to another node, which may lag behind this one.
        on_one_server = self._tools.transactions.run_read_only(
            lambda: dialect.sees_all_sessions(self._connection)
        )
        if not on_one_server:
            return None
        another = lambda: data_connection(context.engine, context.lease, durable=False)  # noqa: E731
        pipeline = ChunkPipeline(self._migration, self._connection, another, context.clock.monotonic)
        return PipelineScheduler(
            pipeline, self._tools, self._size, context.throttling.duty_cycle, self._ranges.find
        )

    def _close(self) -> None:
        # The scheduler first, because its chunks lock rows: the prefetcher may wait for a session that waits
        # for these rows.
        if self._scheduler is not None:
            self._scheduler.close()
        self._prefetcher.close()

    def _work(self) -> AcquireResult | None:
        while not self._run_state.should_stop:
            self._heartbeat.beat_inline(self._connection)
            if self._throttled():
                continue
            if self._key_range is not None:
                self._next_chunk(self._key_range)
                continue
            answer = self._acquire_range()
            if answer in (AcquireResult.EXHAUSTED, AcquireResult.NOT_RUNNING):
                return answer
        return None

    # --- waiting ---------------------------------------------------------------------------------

    def _throttled(self) -> bool:
        reason = self._run_state.throttle_reason
        self._run_state.reporter.set_wait_reason(self.id, reason)
        if reason is None:
            return False
        self._discard_prefetched()
        self._sleep(_IDLE_POLL_INTERVAL)
        return True

    def _discard_prefetched(self) -> None:
        """Discards all chunks written or read ahead, which become stale while the worker is paused."""
        if self._scheduler is not None:
            self._scheduler.rollback()
        self._prefetcher.clear(self._keepalive)
        self._ranges.candidate = None

    def _sleep(self, seconds: float) -> None:
        """Sleeps, and sends a keepalive so that the server's idle timeout does not end the session."""
        self._context.clock.wait(seconds, self._context.stop)
        self._heartbeat.keep_alive(self._connection)

    def _keepalive(self) -> None:
        for connection in (
            [self._connection] if self._scheduler is None else self._scheduler.unlocked_connections
        ):
            self._heartbeat.keep_alive(connection)

    # --- work ------------------------------------------------------------------------------------

    def _acquire_range(self) -> AcquireResult | None:
        with self._activity:
            answer = self._ranges.acquire()
        if isinstance(answer, KeyRange):
            self._key_range = answer
            self._skip(answer, self._failures.resume(answer))
            return None
        if answer is AcquireResult.BUSY:
            self._discard_prefetched()
            self._sleep(_IDLE_POLL_INTERVAL)
        return answer

    def _next_chunk(self, key_range: KeyRange) -> None:
        """Processes the next chunk of the current key range, and sleeps after it."""
        with self._activity:
            try:
                committed = None if self._scheduler is None else self._scheduler.commit_next(key_range)
            except DATABASE_ERRORS as error:
                self._failures.record_loss(key_range, None, error)
                raise
            seconds = self._process_serially(key_range) if committed is None else 0.0
        if committed is not None:
            self._ranges.candidate = committed.candidate or self._ranges.candidate
            self._committed(key_range, committed)
        duty_cycle = self._context.throttling.duty_cycle
        pause = max(self._migration.dialect.chunk_pause, seconds * duty_cycle.sleep_ratio)
        if pause:
            self._sleep(min(pause, MAX_SLEEP))

    def _process_serially(self, key_range: KeyRange) -> float:
        """Processes one chunk without the pipeline. Returns the seconds of work, for the sleep after it."""
        began = self._context.clock.monotonic()
        chunk: CommittedChunk | ChunkError | None
        committed = failed = None
        try:
            chunk = committed = self._serial.commit_next(key_range, self._failures.next_size, self._size.size)
        except ChunkError as error:
            chunk = failed = error
        # Outside of the handler: the error of the chunk would get the ChunkError as its context.
        if committed is not None:
            self._committed(key_range, committed)
        if failed is not None:
            self.position = failed.position
            skipped = self._failures.handle(key_range, failed.plan, failed.error)
            self.position = ""
            self._skip(key_range, skipped)
        if chunk is None:
            return 0.0
        # No sleep after the last rows of a range: the chunk was short, and an old version of the application
        # writes further rows meanwhile.
        worked = self._context.clock.monotonic() - began + chunk.hidden_seconds
        return worked if chunk.plan is not None and chunk.plan.rows is not None else 0.0

    def _committed(self, key_range: KeyRange, committed: CommittedChunk) -> None:
        """Adapts the chunk size to the time of the committed chunk, and continues after the chunk."""
        plan, done = committed.plan, committed.done
        if plan.rows is not None and plan.chunk is not None and not self._failures.bisecting:
            timer = self._tools.timer
            baseline, target = self._context.throttling.commit_seconds, self._size.target
            seconds = timer.elapsed(commit=baseline, prepared=committed.read_seconds, target=target)
            share = self._context.throttling.duty_cycle.chunk_time_share
            self._size.observe(plan.rows, seconds, target_share=share)
        self._advance(key_range, plan.upper)
        if done or plan.chunk is not None:
            self._run_state.chunk_committed(self.id, done, plan.chunk or "", self._size)
        self._failures.count(committed.failed)

    def _skip(self, key_range: KeyRange, skipped: Skipped | None) -> None:
        if skipped is not None:
            self._advance(key_range, skipped.upper)
            self._failures.count(skipped.failed)

    def _advance(self, key_range: KeyRange, upper: Key) -> None:
        at_end = upper == key_range.upper
        self._key_range = None if at_end else dataclasses.replace(key_range, lower=upper)
        self._failures.passed(upper, at_end=at_end)


def _chunk_tools(
    run_state: RunState,
    bound: BoundMigration,
    connection: Connection,
    worker: str,
    keepalive: Callable[[], None],
) -> ChunkTools:
    context = run_state.context
    bisector: FailureBisector[Key] = FailureBisector()
    planner = Planner(bound, bisector, limited=context.budget.limited, run=run_state.run)
    reader = ChunkReader(bound, planner, context.clock, context.throttling.activity)
    connect = lambda: data_connection(context.engine, _UNLOCKED_IDLE_TIMEOUT)  # noqa: E731
    return ChunkTools(
        migration=bound,
        transactions=TransactionRunner(context.clock, bound.dialect, connection),
        leases=LeaseManager(bound, worker, context.lease),
        bisector=bisector,
        planner=planner,
        timer=ChunkTimer(context.clock.monotonic),
        reader=reader,
        prefetcher=Prefetcher(reader.prepare, connect),
        keepalive=keepalive,
    )
