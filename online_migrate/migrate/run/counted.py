"""Runs a data migration that commits by itself, by calls of its function: ``max_count -> (found, done)``.

The function commits by itself, so there is no transaction for a checkpoint: a call may be repeated after
a kill, which OpenStack requires to be harmless, and only one runner calls the function at a time.
"""

from __future__ import annotations

import dataclasses
import functools
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from online_migrate import exceptions, state
from online_migrate.counting import RowCounts, count_rows
from online_migrate.ddl.session import connect, private_connection, take_named_lock
from online_migrate.dialects import dialect_of
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.result import UserError
from online_migrate.migrate.pace import MAX_SLEEP
from online_migrate.migrate.progress import RateMeter
from online_migrate.migrate.run.call_size import CallSize
from online_migrate.migrate.run.context import RunContext
from online_migrate.migrate.run.counted_calls import CountedCalls
from online_migrate.migrate.run.database_watch import OtherDatabaseUsed
from online_migrate.migrate.status import Outcome, Result
from online_migrate.state import Status

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_DEFAULT_MAX_COUNT = 1000
"""The ``max_count`` of one call if no batch size is configured."""
_PAUSE = 0.5
"""Seconds between two checks whether a pause has ended."""


def run_counted(context: RunContext, migration: DataMigration) -> Result:
    """Calls the function until it finds no rows, migrates none of those found, or a limit is reached.

    A call that raises is repeated with fewer rows; one that migrates none of the rows found, with more.

    Returns Outcome.REMAINING if another runner holds the lock of this data migration for 2 s.
    """
    with private_connection(context.engine) as lock:
        dialect = dialect_of(lock)
        try:
            take_named_lock(
                dialect,
                lock,
                f"counted/{migration.name}",
                clock=context.clock,
                stop=context.stop,
                patience=2.0,
            )
        except exceptions.OtherMigrator:
            return Result(migration.name, Outcome.REMAINING, error="another process runs it")
        try:
            return _run(context, migration)
        finally:
            dialect.free_named_lock(lock, f"counted/{migration.name}")


def _run(context: RunContext, migration: DataMigration) -> Result:
    name, worker = migration.name, secrets.token_hex(8)
    held = _in_transaction(context, lambda connection: _start(connection, name, worker))
    if held is not None:
        return _suspended(name, held, 0)
    try:
        calls = CountedCalls(context, migration)
        with calls.opened():
            result = _Loop(context, migration, worker, calls).run()
        if calls.end_error is not None:
            error = "; ".join(str(one) for one in (result.error, calls.end_error) if one is not None)
            ended = _end(context, name, Status.FAILED, Outcome.FAILED, result.done, error)
            result = dataclasses.replace(ended, error=error)
        return dataclasses.replace(result, needed=calls.needed)
    finally:
        _in_transaction(context, lambda connection: state.delete_worker(connection, worker))


def _start(connection: Connection, name: str, worker: str) -> Status | None:
    """Starts a run of one worker. Returns the status that prevents it; None if it is started."""
    record = state.get_record(connection, name, for_update=True)
    if record is not None and record.status in (Status.PAUSED, Status.CANCELLED):
        return record.status
    state.start_record(connection, name)
    epoch = dialect_of(connection).epoch()
    for other in state.workers_of(connection, name, epoch):
        # Rows of dead runners: the named lock proves that no other runner is active.
        state.delete_worker(connection, other.id)
    state.register(connection, worker, name, epoch)
    return None


class _Loop:
    """The calls of one run: until the function finds no rows, migrates none, or a limit is reached."""

    def __init__(
        self, context: RunContext, migration: DataMigration, worker: str, calls: CountedCalls
    ) -> None:
        self._context, self._migration, self._worker, self._calls = context, migration, worker, calls
        self._size = CallSize(context.pace.batch_size or _DEFAULT_MAX_COUNT, migration.max_chunk_rows)
        self._total = 0
        self._raised: str | None = None
        """The first exception of a call. The run fails with it, whatever later calls return."""

    def run(self) -> Result:
        """Calls the function repeatedly. Returns the result of the run."""
        context, name = self._context, self._migration.name
        meter = RateMeter(name, total=None, done=_recorded(context, name), clock=context.clock)
        context.listener.started(meter.snapshot())
        while not context.should_stop:
            reason = context.throttling.throttle.reason()
            read = functools.partial(_heartbeat, name=name, worker=self._worker, reason=reason)
            status = _in_transaction(context, read)
            if status is Status.PAUSED or (reason is not None and status is Status.RUNNING):
                context.clock.wait(_PAUSE, context.stop)
                continue
            if status is not Status.RUNNING:
                break
            began = context.clock.monotonic()
            result = self._call(meter)
            if result is not None:
                return result
            rest = (context.clock.monotonic() - began) * context.throttling.duty_cycle.sleep_ratio
            context.clock.wait(min(rest, MAX_SLEEP), context.stop)
        if self._raised is None and not self._none_pending():
            return self._end(Status.STOPPED, Outcome.REMAINING, None)
        return self._complete()

    def _call(self, meter: RateMeter) -> Result | None:
        """Calls the function once. Returns the result of the run if it is the last call."""
        size = self._context.budget.reserve(self._size.rows)
        try:
            found, done = self._calls(size)
        except UserError as problem:
            self._context.budget.settle(size, 0)
            return self._after_exception(size, problem)
        except OtherDatabaseUsed as problem:
            return self._fail(f"{problem}; {problem.hint}")
        add = functools.partial(state.add_done, name=self._migration.name, done=done)
        _in_transaction(self._context, add)
        self._total += done
        self._context.budget.settle(size, done)
        meter.add(done)
        self._context.listener.advanced(meter.snapshot(f"found {found}, done {done}"))
        if found == 0:
            return self._after_last_row()
        return self._after_no_progress(size, found) if done == 0 else None

    def _after_exception(self, size: int, problem: UserError) -> Result | None:
        first = self._raised
        self._raised = first or str(problem)
        if problem.of_rows and self._size.halve(size):
            return None
        return self._fail(str(problem) if first is None else f"{first}; then {problem}")

    def _after_no_progress(self, size: int, found: int) -> Result | None:
        if self._none_pending():
            return self._complete()
        if self._size.double(size, found):
            return None
        error = f"the function found {found} row(s) and migrated none of them"
        return self._fail(error if self._raised is None else f"{self._raised}; then {error}")

    def _after_last_row(self) -> Result:
        """Ends the run; with a ``pending`` expression the count of pending rows decides how."""
        pending = _pending_rows(self._context, self._migration) if self._migration.has_pending else 0
        if pending and self._raised is None:
            return self._fail(self._migration.left_pending(pending))
        return self._complete()

    def _none_pending(self) -> bool:
        """Returns True if it is known that no row is pending."""
        return self._migration.has_pending and not _pending_rows(self._context, self._migration)

    def _complete(self) -> Result:
        if self._raised is not None:
            return self._fail(self._raised)
        return self._end(Status.COMPLETE, Outcome.COMPLETE, None)

    def _fail(self, error: str) -> Result:
        return self._end(Status.FAILED, Outcome.FAILED, error)

    def _end(self, status: Status, outcome: Outcome, error: str | None) -> Result:
        return _end(self._context, self._migration.name, status, outcome, self._total, error)


def _heartbeat(connection: Connection, name: str, worker: str, reason: str | None) -> Status | None:
    """Writes the heartbeat, and returns the status, which an operator may have changed."""
    state.update_heartbeat(connection, {worker: {"waits_for": reason}}, dialect_of(connection).epoch())
    record = state.get_record(connection, name)
    return None if record is None else record.status


def _suspended(name: str, status: Status, done: int) -> Result:
    error = f"it is {status.value}; to continue: online-migrate resume {name}"
    return Result(name, Outcome.SUSPENDED, done=done, error=error)


def _pending_rows(context: RunContext, migration: DataMigration) -> int:
    counts: RowCounts = _in_transaction(context, lambda c: count_rows(c, migration, recorded_done=0))
    return counts.pending


def _end(
    context: RunContext, name: str, status: Status, outcome: Outcome, done: int, error: str | None
) -> Result:
    """Writes the final status, unless an operator has paused or cancelled the migration meanwhile."""

    def write(connection: Connection) -> Status | None:
        record = state.get_record(connection, name, for_update=True)
        if record is not None and record.status in (Status.PAUSED, Status.CANCELLED):
            return record.status
        state.set_status(connection, name, status, error=error)
        return None

    said = _in_transaction(context, write)
    if said is not None:
        return _suspended(name, said, done)
    return Result(name, outcome, done=done, error=error)


def _recorded(context: RunContext, name: str) -> int:
    record = _in_transaction(context, lambda connection: state.get_record(connection, name))
    return record.done if record is not None else 0


def _in_transaction(context: RunContext, work: Callable[[Connection], Any]) -> Any:
    with connect(context.engine) as connection:
        connection.execution_options(online_migrate_begin="IMMEDIATE")
        with connection.begin():
            return work(connection)
