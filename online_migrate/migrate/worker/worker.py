"""A worker: acquires key ranges, and migrates their rows chunk by chunk.

Invariants:

* A chunk and the advance of its lease commit together. After a kill at any moment both are committed, or
  neither.
* A worker whose lease was taken over detects that in the transaction of its chunk, which is rolled back.
* A chunk that fails is bisected until the failing row is isolated; the other rows are migrated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.dialects import Dialect
from online_migrate.dialects.blame import Blame
from online_migrate.driver_errors import CLEANUP_ERRORS, DATABASE_ERRORS, error_message
from online_migrate.kinds.bound import BoundMigration
from online_migrate.kinds.prepared import PreparedRows, ReadSession
from online_migrate.kinds.result import RowsChanged, UserError
from online_migrate.migrate.executor.pipeline import ChunkPipeline
from online_migrate.migrate.executor.prefetch import Prefetcher, PreparedChunk
from online_migrate.migrate.executor.scheduler import CommittedChunk, PipelineContext, PipelineScheduler
from online_migrate.migrate.pace import MAX_SLEEP
from online_migrate.migrate.run.context import RunState
from online_migrate.migrate.worker.bisection import FailureBisector
from online_migrate.migrate.worker.chunk_timer import ChunkTimer
from online_migrate.migrate.worker.heartbeat import Heartbeat
from online_migrate.migrate.worker.lease import (
    AcquireResult,
    KeyRange,
    LeaseManager,
    RangeCandidate,
    range_size,
    worker_lock_name,
)
from online_migrate.migrate.worker.planner import ChunkPlan, Planner
from online_migrate.migrate.worker.session import data_connection, run_read_transaction, run_transaction
from online_migrate.walk.checkpoint import encode_key
from online_migrate.walk.chunk import Chunk
from online_migrate.walk.chunk_size import ChunkSize
from online_migrate.walk.key import Key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")
_UNLOCKED_IDLE_TIMEOUT = 86_400.0
"""The idle timeout, in seconds, of a session that holds no locks."""
_IDLE_POLL_INTERVAL = 0.1
"""Seconds between two polls of a worker that has nothing to do, or that must wait."""
MAX_ERROR_LENGTH = 2_000
"""The maximum number of characters of a recorded error: an exception may contain a whole file."""


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
        self.id = secrets.token_hex(8)
        self._run_state = run_state
        self._migration = bound
        self._connection = connection
        self._heartbeat = heartbeat
        self._dialect: Dialect = bound.dialect
        self._leases = LeaseManager(bound, self.id, run_state.context.lease)
        self._size = size or run_state.context.pace.controller(bound.max_chunk_rows)
        self._timer = ChunkTimer(run_state.context.clock.monotonic)
        self._bisector: FailureBisector[Key] = FailureBisector()
        self._planner = Planner(run_state, bound, self._bisector)
        self._prefetcher = Prefetcher(
            self._prepare, lambda: data_connection(run_state.context.engine, _UNLOCKED_IDLE_TIMEOUT)
        )
        self._scheduler: PipelineScheduler | None = None
        """Processes two chunks at a time; None where only serial processing is possible."""
        self._key_range: KeyRange | None = None
        self._candidate: RangeCandidate | None = None
        """The next key range to acquire, if already looked up; valid if no range was acquired since."""
        self._session = 0
        self._plan: ChunkPlan | None = None
        """The plan of the current chunk."""
        self._too_large = 0
        """The number of rows of a range that is bisected because it was too large.

        0: there is no such range, or one of its rows has failed by itself.
        """

    def work(self) -> AcquireResult | None:
        """Processes chunks until no work is left, or the run is stopped.

        Returns the reason for the end: EXHAUSTED or NOT_RUNNING; None if the run is stopped. Raises
        :class:`~online_migrate.migrate.worker.lease.LeaseLost`, :class:`TooManyFailures`, and errors that are
        not those of single rows.
        """
        self._register()
        try:
            answer = self._work()
        except Exception:
            try:
                self._close()
            finally:
                self._unregister()
            raise
        self._close()
        # Not after a KeyboardInterrupt or a SystemExit: other workers detect that the session has ended.
        self._unregister()
        return answer

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
                self._next_chunk()
                continue
            answer = self._acquire_range()
            if answer in (AcquireResult.EXHAUSTED, AcquireResult.NOT_RUNNING):
                return answer
        return None

    # --- registration ----------------------------------------------------------------------------

    def _register(self) -> None:
        # Before the worker's row is inserted: a registered worker whose lock is free counts as dead.
        self._dialect.try_named_lock(self._connection, worker_lock_name(self.id))
        self._in_transaction(lambda: self._leases.register(self._connection))
        self._session = self._in_read_transaction(lambda: self._dialect.session_id(self._connection))
        self._run_state.context.throttling.sessions.add(self._session)
        self._run_state.add_worker(self.id)
        context = self._run_state.context
        if ChunkPipeline.supports(self._migration, context.pace) and self._on_one_server:
            another = lambda: data_connection(context.engine, context.lease, durable=False)  # noqa: E731
            pipeline = ChunkPipeline(self._migration, self._connection, another, context.clock.monotonic)
            self._scheduler = PipelineScheduler(pipeline, self._pipeline_context)

    @property
    def _pipeline_context(self) -> PipelineContext:
        return PipelineContext(
            run_state=self._run_state,
            migration=self._migration,
            leases=self._leases,
            planner=self._planner,
            size=self._size,
            timer=self._timer,
            prefetcher=self._prefetcher,
            plan_chunk=lambda at: self._prepare(self._connection, at, self._size.size, self._keepalive).plan,
            find_candidate=self._find_candidate,
            keepalive=self._keepalive,
        )

    @property
    def _on_one_server(self) -> bool:
        """False where the next connection may be to another node, which may lag behind the current one."""
        return self._in_read_transaction(lambda: self._dialect.sees_all_sessions(self._connection))

    def _unregister(self) -> None:
        """Unregisters the worker, on every exit. Other workers detect a lost connection by themselves."""
        self._run_state.remove_worker(self.id)
        self._run_state.context.throttling.sessions.remove(self._session)
        with contextlib.suppress(*CLEANUP_ERRORS, exceptions.Failed):
            self._connection.rollback()
            holds = self._key_range is not None
            self._in_transaction(lambda: self._leases.unregister(self._connection, holds=holds))
            self._dialect.free_named_lock(self._connection, worker_lock_name(self.id))

    def _throttled(self) -> bool:
        reason = self._run_state.throttle_reason
        self._run_state.set_wait_reason(self.id, reason)
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
        self._candidate = None

    def _sleep(self, seconds: float) -> None:
        """Sleeps, and sends a keepalive so that the server's idle timeout does not end the session."""
        self._run_state.context.clock.wait(seconds, self._run_state.context.stop)
        self._heartbeat.keep_alive(self._connection)

    def _acquire_range(self) -> AcquireResult | None:
        context = self._run_state.context
        with (
            context.throttling.activity,
            self._leases.lock_dead_workers(self._connection, context.clock) as dead,
        ):
            seen = self._candidate or self._surveyed()
            self._candidate = None
            now = dataclasses.replace(seen, dead=dead)
            answer = self._in_transaction(lambda: self._leases.acquire(self._connection, now))
        if isinstance(answer, KeyRange):
            self._key_range = answer
            self._after_loss(answer)
            return None
        if answer is AcquireResult.BUSY:
            self._discard_prefetched()
            self._sleep(_IDLE_POLL_INTERVAL)
        return answer

    def _surveyed(self) -> RangeCandidate:
        survey = lambda: self._find_candidate(self._connection)  # noqa: E731
        try:
            return self._in_read_transaction(survey)
        except DATABASE_ERRORS as error:
            if self._leases.blind or self._blame(error) not in (Blame.ROW, Blame.SIZE):
                raise
            _log.info("%s: pending cannot be evaluated, sweeping all rows: %s", self._migration.name, error)
            self._leases.blind = True
        return self._in_read_transaction(survey)

    def _find_candidate(self, connection: Connection) -> RangeCandidate:
        rows = range_size(self._size.size, self._run_state.context.pace, self._run_state.fair_share_rows)
        return self._leases.find_candidate(connection, rows)

    def _in_transaction(self, work: Callable[[], T]) -> T:
        return run_transaction(self._run_state.context.clock, self._dialect, self._connection, work)

    def _in_read_transaction(self, read: Callable[[], T]) -> T:
        return run_read_transaction(self._run_state.context.clock, self._dialect, self._connection, read)

    # --- chunks ----------------------------------------------------------------------------------

    def _next_chunk(self) -> None:
        """Processes the next chunk of the current key range."""
        key_range = self._key_range
        assert key_range is not None
        with self._run_state.context.throttling.activity:
            ended = self._in_turns(key_range)
            took = self._process_serially(key_range) if ended is None else 0.0
        if ended is not None:
            self._candidate = ended.candidate or self._candidate
            self._chunk_committed(key_range, ended.plan, ended.done, prepared=ended.read_seconds)
        self._sleep_after(took)

    def _in_turns(self, key_range: KeyRange) -> CommittedChunk | None:
        try:
            return None if self._scheduler is None else self._scheduler.commit_next(key_range)
        except DATABASE_ERRORS as error:
            if self._is_lost(error):
                self._run_state.suspect(key_range, None, self._bisector, error)
            raise

    def _chunk_committed(
        self, key_range: KeyRange, plan: ChunkPlan, done: int, *, prepared: float = 0.0
    ) -> None:
        """Updates the worker's state after the commit; *prepared*: seconds for which the rows were read."""
        self._resize(plan, prepared)
        self._advance(key_range, plan.upper)
        if done or plan.chunk is not None:
            self._run_state.chunk_committed(self.id, done, plan.chunk or "", self._size)

    def _process_serially(self, key_range: KeyRange) -> float:
        """Processes one chunk without the pipeline. Returns the seconds of work, for the sleep after it."""
        context = self._run_state.context
        size = min(self._bisector.limit, self._largest) if self._bisector.active else self._size.size
        reserved = context.budget.reserve(size)
        if not reserved:
            return 0.0
        migrated = 0
        began = context.clock.monotonic()
        ready = self._prefetcher.result(key_range, self._keepalive)
        hidden = 0.0 if ready is None else ready.seconds
        self._plan = None
        try:
            if ready is None and self._migration.prepares_rows:
                self._plan, seconds = self._planned(self._connection, key_range, reserved)
                ready = self._read(self._connection, self._plan, seconds, self._keepalive)
            if ready is not None:
                self._plan = ready.plan
                self._prefetch(key_range, ready.plan)
            migrated = self._write(key_range, ready, reserved)
        except (UserError, *DATABASE_ERRORS) as error:
            if not self._attribute(key_range, error):
                raise
        finally:
            context.budget.settle(reserved, migrated)
        # No sleep after the last rows of a range: the chunk was short, and an old version of the application
        # writes further rows meanwhile.
        took = context.clock.monotonic() - began + hidden
        return took if self._plan is not None and self._plan.rows is not None else 0.0

    def _prepare(
        self, connection: Connection, key_range: KeyRange, size: int, keepalive: Callable[[], None]
    ) -> PreparedChunk:
        """Plans a chunk, reads its rows, and calls the row function for them; locks no row."""
        plan, seconds = self._planned(connection, key_range, size)
        return self._read(connection, plan, seconds, keepalive)

    def _planned(self, connection: Connection, key_range: KeyRange, size: int) -> tuple[ChunkPlan, float]:
        """Plans a chunk in a transaction of its own. Returns the plan, and the time when that was done."""
        clock = self._run_state.context.clock
        with self._run_state.context.throttling.activity:
            work = lambda: self._planner.plan(connection, key_range, size)  # noqa: E731
            return run_read_transaction(clock, self._dialect, connection, work), clock.monotonic()

    def _read(
        self, connection: Connection, plan: ChunkPlan, began: float, keepalive: Callable[[], None]
    ) -> PreparedChunk:
        """Reads the rows of a planned chunk, and calls the row function."""
        clock, dialect = self._run_state.context.clock, self._dialect
        session = ReadSession(
            connection, lambda read: run_read_transaction(clock, dialect, connection, read), keepalive
        )
        with self._run_state.context.throttling.activity:
            prepared = None if plan.chunk is None else self._migration.prepare(session, plan.chunk)
            return PreparedChunk(plan, prepared, clock.monotonic() - began)

    def _prefetch(self, key_range: KeyRange, plan: ChunkPlan) -> None:
        """Starts the prefetch of the chunk after this one, where one connection does not block another."""
        alone = self._dialect.single_writer or self._planner.uses_key_list(key_range)
        if not alone and plan.upper != key_range.upper:
            self._prefetcher.submit(dataclasses.replace(key_range, lower=plan.upper), self._size.size)

    def _write(self, key_range: KeyRange, ready: PreparedChunk | None, size: int) -> int:
        """Writes a chunk. Without *ready* it is planned in the same transaction, which saves another one."""
        prepared = None if ready is None else ready.prepared

        def work(prepared: PreparedRows | None) -> tuple[int, int]:
            if ready is None:
                # An error in planning must not be attributed to the plan of an attempt that was rolled back.
                self._plan = None
                self._plan = self._planner.plan(self._connection, key_range, size)
            return self._apply_chunk(key_range, self._current_plan, prepared)

        try:
            done, failures = self._in_transaction(lambda: work(prepared))
        except RowsChanged:
            assert prepared is not None
            self._prefetcher.wait(self._keepalive)
            locked = prepared.locked()
            done, failures = self._in_transaction(lambda: work(locked))
        self._chunk_committed(
            key_range, self._current_plan, done, prepared=0.0 if ready is None else ready.seconds
        )
        self._check_max_failures(failures)
        return done

    @property
    def _current_plan(self) -> ChunkPlan:
        assert self._plan is not None
        return self._plan

    def _resize(self, plan: ChunkPlan, prepared: float) -> None:
        """Adapts the size of the next chunk to the time of this one; *prepared*: seconds for its read."""
        if plan.rows is None or plan.chunk is None or self._bisector.active:
            return
        commit, target = self._run_state.context.throttling.commit_seconds, self._size.limits.target
        seconds = self._timer.elapsed(commit=commit, prepared=prepared, target=target)
        self._size.observe(plan.rows, seconds)

    def _apply_chunk(
        self, key_range: KeyRange, plan: ChunkPlan, prepared: PreparedRows | None
    ) -> tuple[int, int]:
        """Migrates the chunk, records its failures and advances the lease, all in the open transaction.

        Returns the numbers of rows done and failed.
        """
        if plan.chunk is None:
            self._leases.advance(self._connection, key_range, plan.upper, 0)
            return 0, 0
        self._timer.begin()
        result = self._migration.apply(self._connection, plan.chunk, prepared)
        failures = {key: truncate_error(error) for key, error in result.failures.items()}
        state.record_failures(self._connection, self._migration.name, self._run_state.run, failures)
        recorded = result.done if result.recorded is None else result.recorded
        self._timer.rows_written()
        self._leases.advance(self._connection, key_range, plan.upper, recorded)
        self._timer.lease_advanced()
        return result.done, len(failures)

    def _keepalive(self) -> None:
        for connection in (
            [self._connection] if self._scheduler is None else self._scheduler.unlocked_connections
        ):
            self._heartbeat.keep_alive(connection)

    def _advance(self, key_range: KeyRange, upper: Key) -> None:
        self._bisector.passed(upper)
        self._key_range = None if upper == key_range.upper else dataclasses.replace(key_range, lower=upper)
        if not self._bisector.active or self._key_range is None:
            self._planner.blind = False
        if self._too_large and not self._bisector.active:
            # No row of the range failed by itself: the chunk was too large.
            self._size.limit(self._too_large // 2, patience=_PATIENCE)
            self._too_large = 0

    def _sleep_after(self, took: float) -> None:
        rest = max(
            self._dialect.chunk_pause, took * self._run_state.context.throttling.duty_cycle.sleep_ratio
        )
        if rest:
            self._sleep(min(rest, MAX_SLEEP))

    # --- errors ----------------------------------------------------------------------------------

    @property
    def _largest(self) -> int:
        return self._size.limits.largest

    def _blame(self, error: BaseException) -> Blame:
        if isinstance(error, UserError):
            return Blame.ROW if error.of_rows else Blame.MIGRATION
        return self._dialect.blame(error)

    def _attribute(self, key_range: KeyRange, error: BaseException) -> bool:
        """Handles an error of a chunk according to its cause. Returns False if it ends this worker."""
        blame = self._blame(error)
        if self._is_lost(error):
            self._run_state.suspect(key_range, self._plan, self._bisector, error)
            return False
        if blame not in (Blame.ROW, Blame.SIZE):
            return False
        if self._plan is None:
            return self._plan_by_range(error)
        if self._plan.chunk is None:
            return False
        self._bisect(key_range, self._plan, error, blame)
        return True

    def _is_lost(self, error: BaseException) -> bool:
        return not isinstance(error, UserError) and self._dialect.is_connection_lost(error)

    def _plan_by_range(self, error: BaseException) -> bool:
        """Plans chunks by key only, after ``pending`` failed for a row during planning.

        Returns False if they are planned by key already.
        """
        if self._planner.blind:
            return False
        _log.info("%s: pending cannot be evaluated, planning by key: %s", self._migration.name, error)
        self._planner.blind = True
        return True

    def _after_loss(self, key_range: KeyRange) -> None:
        """Applies the consequences of a lost connection to the first chunk of *key_range*."""
        suspect = self._run_state.suspected(key_range)
        if suspect is None:
            return
        if suspect.plan is not None and self._blame(suspect.error) is Blame.SIZE:
            self._bisector.adopt(suspect.isolation)
            self._bisect(key_range, suspect.plan, suspect.error, Blame.SIZE)
            return
        # The connection may be lost again. A shorter chunk may be committed before that, or may be small
        # enough for a limit of a proxy or of the server. After a few chunks the size is as before.
        size = self._size.limit(self._size.size // _AFTER_LOSS, patience=1)
        _log.info(
            "%s: the connection was lost %d time(s) at %s; continuing with %d row(s)",
            *(self._migration.name, suspect.losses, key_range, size),
        )

    def _bisect(self, key_range: KeyRange, plan: ChunkPlan, error: BaseException, blame: Blame) -> None:
        chunk = plan.chunk
        assert chunk is not None
        # A running prefetch must end before the bisection starts, because it plans by key ranges.
        self._prefetcher.wait(self._keepalive)
        self._run_state.progressed()
        keys = self._keys_of(chunk)
        if not keys:
            # The row that caused the error no longer exists, and all other rows of the chunk are done.
            self._in_transaction(lambda: self._leases.advance(self._connection, key_range, plan.upper, 0))
            self._advance(key_range, plan.upper)
            return
        if blame is Blame.SIZE and not self._bisector.active:
            self._too_large = len(keys)
        if not self._bisector.failed(len(keys), plan.upper):
            _log.info(
                "%s: a chunk of %d rows failed; retrying with fewer rows: %s",
                self._migration.name,
                len(keys),
                error,
            )
            return
        self._too_large = 0
        text = truncate_error(f"{error}" if isinstance(error, UserError) else error_message(error))
        self._in_transaction(lambda: self._record_failure(key_range, keys[0], text, plan.upper))
        self._advance(key_range, plan.upper)
        self._check_max_failures(1)

    def _keys_of(self, chunk: Chunk) -> list[Key]:
        """Returns the keys of the rows of a failed chunk; all in its range if ``pending`` fails for a row."""

        def keys(condition: sa.ColumnElement[bool]) -> list[Key]:
            chunker = self._migration.chunker
            return self._in_read_transaction(
                lambda: chunker.next_keys(self._connection, chunk.lower, _ALL, condition)
            )

        if not self._planner.blind:
            try:
                return keys(chunk.where)
            except DATABASE_ERRORS as error:
                if self._blame(error) not in (Blame.ROW, Blame.SIZE):
                    raise
                self._plan_by_range(error)
        return keys(chunk.range)

    def _record_failure(self, key_range: KeyRange, key: Key, error: str, upper: Key) -> None:
        state.record_failures(
            self._connection, self._migration.name, self._run_state.run, {encode_key(key): error}
        )
        self._leases.advance(self._connection, key_range, upper, 0)

    def _check_max_failures(self, failures: int) -> None:
        if failures and not self._run_state.count_failures(failures):
            raise TooManyFailures(count=self._run_state.failures, limit=self._run_state.context.max_failures)

    @property
    def position(self) -> str:
        """The current chunk, as text for an error message; empty if there is none."""
        chunk = None if self._plan is None else self._plan.chunk
        return "" if chunk is None else f" ({chunk})"


_ALL = 2**31 - 1
_PATIENCE = 32
"""The number of chunks after which a chunk size that was too large is tried again."""
_AFTER_LOSS = 8
"""The divisor of the chunk size after a connection was lost."""
_log = logging.getLogger(__name__)


class TooManyFailures(exceptions.Failed):
    """{count:,} row(s) could not be migrated; the limit is {limit:,} (--max-failures)."""


def truncate_error(error: Any) -> str:
    """Returns an error as text, of limited length, with characters that every server can store."""
    text = str(error).encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return text if len(text) <= MAX_ERROR_LENGTH else f"{text[:MAX_ERROR_LENGTH]} ..."
