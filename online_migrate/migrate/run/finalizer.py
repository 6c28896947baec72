"""Decides when a data migration has ended, and writes its final status.

Invariants:

* COMPLETE means counted: no row of the data is pending at the moment when the status is written.
* Rows that became pending behind the walk are migrated in further passes, while their number decreases.
* The last worker, of any process, writes the final status.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from online_migrate import state
from online_migrate.counting import count_pending, still_failing
from online_migrate.dialects.blame import Blame
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.kinds.bound import BoundMigration
from online_migrate.kinds.prepared import ReadSession
from online_migrate.kinds.result import NOT_VERIFIED, UserError
from online_migrate.migrate.run.context import RunState
from online_migrate.migrate.status import Outcome
from online_migrate.migrate.worker.lease import LeaseManager, lock_record
from online_migrate.migrate.worker.recorded_error import truncate_error
from online_migrate.migrate.worker.session import TransactionRunner
from online_migrate.state import Status
from online_migrate.walk.checkpoint import decode_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")
MAX_STALLED_PASSES = 10
"""The maximum number of passes in a row that find no fewer pending rows than before."""
_OUTCOMES = {
    Status.PAUSED: Outcome.SUSPENDED,
    Status.CANCELLED: Outcome.SUSPENDED,
    Status.STOPPED: Outcome.REMAINING,
    Status.FAILED: Outcome.FAILED,
    Status.COMPLETE: Outcome.COMPLETE,
}


class NotConverging(Exception):
    """Rows become pending as fast as they are migrated."""


@dataclasses.dataclass(frozen=True)
class RemainingWork:
    """The remaining work, counted in the data."""

    walk: state.Walk | None
    pending: int
    rows_above: bool
    """True if there are rows above the walk's high watermark, and there is no ``pending`` expression."""
    failing: Mapping[str, str]
    resolved: frozenset[str]
    """Keys of rows that are recorded as failed and do not fail any more."""
    not_retried: tuple[str, ...]
    """Keys of rows that failed in an earlier run and were not tried again in this run."""


def count_remaining(bound: BoundMigration, connection: Connection) -> RemainingWork:
    """Counts the remaining work, in the open transaction of *connection*."""
    walk = state.get_walk(connection, bound.name)
    failing = still_failing(connection, bound.migration, bound.subject)
    recorded = state.failed_keys(connection, bound.name)
    pending, above = 0, False
    if bound.pending is None:
        frontier = None if walk is None or walk.frontier is None else decode_key(walk.frontier)
        above = bound.chunker.nth_key(connection, frontier, 1) is not None
    else:
        pending = count_pending(connection, bound.migration, bound.subject)
    run = "" if walk is None else walk.run
    return RemainingWork(
        walk=walk,
        pending=pending,
        rows_above=above,
        failing=failing,
        resolved=frozenset(key for key, _error, _run in recorded) - set(failing),
        not_retried=tuple(
            key for key, error, of in recorded if key in failing and of != run and error != NOT_VERIFIED
        ),
    )


def any_range_held(workers: Sequence[state.Worker]) -> bool:
    """Returns True if a worker holds a key range, whether the worker is alive or not."""
    return any(worker.range_number is not None for worker in workers)


class Finalizer:
    """Checks whether the data migration has ended.

    *connection*: that of the worker that found no more work, or that of the runner.
    """

    def __init__(self, bound: BoundMigration, run_state: RunState, connection: Connection) -> None:
        self._migration = bound
        self._run_state = run_state
        self._connection = connection
        self._transactions = TransactionRunner(run_state.context.clock, bound.dialect, connection)

    def _count_remaining(self) -> RemainingWork:
        with self._run_state.context.throttling.activity:
            return self._transactions.run_read_only(
                lambda: count_remaining(self._migration, self._connection)
            )

    # --- at the end of a pass --------------------------------------------------------------------

    def finish_pass(self) -> bool:
        """Ends a pass, after all key ranges are assigned and done. Returns True if the run has ended.

        Returns False if the workers must continue: the next pass is started, by this or another worker,
        failed rows were tried again, or the data migration is paused.
        """
        if self._run_state.should_stop:
            return True
        left = self._count_remaining()
        if left.not_retried and self._migration.pending is None:
            self._retry_failed(left.not_retried)
            return False
        return self._transactions.run(lambda: self._finish_pass(left))

    def _finish_pass(self, left: RemainingWork) -> bool:
        connection, name = self._connection, self._migration.name
        record = lock_record(connection, name)
        walk = state.get_walk(connection, name)
        if record.status is not Status.RUNNING:
            self._run_state.status_changed(record.status)
            return record.status is not Status.PAUSED
        workers = state.workers_of(connection, name, self._migration.dialect.epoch())
        if walk is None or walk != left.walk or any_range_held(workers):
            # Another worker has handled the end of this pass already.
            return False
        state.forget_failures(connection, name, left.resolved)
        if left.pending or left.not_retried:
            return self._start_next_pass(walk, left.pending)
        if left.rows_above:
            return self._start_next_pass(walk, pending=1)
        self._record_end(left)
        return True

    def _start_next_pass(self, walk: state.Walk, pending: int) -> bool:
        if self._run_state.count_stalled_passes(pending, walk) >= MAX_STALLED_PASSES:
            state.set_status(self._connection, self._migration.name, Status.STOPPED)
            self._run_state.stop(NotConverging())
            return True
        if self._migration.pending is None:
            # Continue from the high watermark: without pending it is not known which rows below it are done.
            again = dataclasses.replace(walk, handed_out=False)
        else:
            again = dataclasses.replace(walk, sweep=walk.sweep + 1, frontier=None, handed_out=False)
        state.put_walk(self._connection, again, known=True)
        return False

    def _record_end(self, left: RemainingWork) -> None:
        error = f"{len(left.failing):,} row(s) could not be migrated" if left.failing else None
        status = Status.COMPLETE if error is None else Status.FAILED
        state.set_status(self._connection, self._migration.name, status, error=error)
        self._run_state.status_changed(status)

    # --- rows that failed in an earlier run ------------------------------------------------------

    def _retry_failed(self, keys: Sequence[str]) -> None:
        """Tries failed rows again, one by one, where there is no ``pending`` expression that finds them."""
        for key in keys:
            if self._run_state.should_stop:
                return
            try:
                self._run_state.done += self._transactions.run(lambda key=key: self._retry_row(key))  # type: ignore[misc]
            except (UserError, *DATABASE_ERRORS) as error:
                if not isinstance(error, UserError) and not self._is_of_row(error):
                    raise
                text = truncate_error(error if isinstance(error, UserError) else error_message(error))
                self._transactions.run(lambda key=key, text=text: self._record_failure(key, text))  # type: ignore[misc]

    def _is_of_row(self, error: BaseException) -> bool:
        dialect = self._migration.dialect
        return dialect.blame(error) in (Blame.ROW, Blame.SIZE) and not dialect.is_connection_lost(error)

    def _record_failure(self, key: str, error: str) -> None:
        state.record_failures(self._connection, self._migration.name, self._run_state.run, {key: error})

    def _retry_row(self, key: str) -> int:
        """Tries one row under the lock of the record, so that no other worker tries it at the same time.

        Returns the number of rows done.
        """
        bound, connection = self._migration, self._connection
        lock_record(connection, bound.name)
        if key not in {
            row for row, _e, run in state.failed_keys(connection, bound.name) if run != self._run_state.run
        }:
            return 0
        chunk = bound.chunker.single(decode_key(key))
        session = ReadSession(connection, lambda read: read(), keepalive=lambda: None)
        prepared = bound.prepare(session, chunk)
        result = bound.apply(connection, chunk, None if prepared is None else prepared.locked())
        state.forget_failures(connection, bound.name, [key])
        failures = {row: truncate_error(error) for row, error in result.failures.items()}
        state.record_failures(connection, bound.name, self._run_state.run, failures)
        state.add_done(connection, bound.name, result.done)
        return result.done

    # --- at the end of this process's run --------------------------------------------------------

    def finalize(self) -> Outcome:
        """Ends the run of this process, and writes the final status if no other worker is alive."""
        leases = LeaseManager(self._migration, "", self._run_state.context.lease)
        with leases.lock_dead_workers(self._connection, self._run_state.context.clock) as dead:
            return self._transactions.run(lambda: self._finalize(dead))

    def _finalize(self, dead: frozenset[str]) -> Outcome:
        connection, name = self._connection, self._migration.name
        record = lock_record(connection, name)
        if record.status is not Status.RUNNING:
            self._run_state.status_changed(record.status)
            return _OUTCOMES[record.status]
        workers = state.workers_of(connection, name, self._migration.dialect.epoch())
        if any(
            one.seconds_since_heartbeat <= self._run_state.context.lease and one.id not in dead
            for one in workers
        ):
            # If this run was complete, the live workers belong to a run that was started after it.
            return Outcome.COMPLETE if self._run_state.completed else Outcome.REMAINING
        left = count_remaining(self._migration, connection)
        state.forget_failures(connection, name, left.resolved)
        handled = self._migration.pending is not None or not (any_range_held(workers) or left.rows_above)
        if handled and not left.pending and not left.not_retried:
            self._record_end(left)
            return Outcome.FAILED if left.failing else Outcome.COMPLETE
        state.set_status(connection, name, Status.STOPPED)
        return Outcome.REMAINING
