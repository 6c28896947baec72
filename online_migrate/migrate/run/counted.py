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
            result = _loop(context, migration, worker, calls)
        if calls.end_error is not None:
            error = "; ".join(str(one) for one in (result.error, calls.end_error) if one is not None)
            ended = _end(context, name, Status.FAILED, Outcome.FAILED, result.done, error)
            result = dataclasses.replace(ended, error=error)
        return dataclasses.replace(result, needed=calls.most_found)
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


def _loop(context: RunContext, migration: DataMigration, worker: str, call: CountedCalls) -> Result:
    name = migration.name
    meter = RateMeter(name, total=None, done=_recorded(context, name), clock=context.clock)
    context.listener.started(meter.snapshot())
    total = 0
    while not context.should_stop:
        reason = context.throttling.throttle.reason()
        read = functools.partial(_heartbeat, name=name, worker=worker, reason=reason)
        status = _in_transaction(context, read)
        if status is Status.PAUSED or (reason is not None and status is Status.RUNNING):
            context.clock.wait(_PAUSE, context.stop)
            continue
        if status is not Status.RUNNING:
            break
        size = context.budget.reserve(context.pace.batch_size or _DEFAULT_MAX_COUNT)
        began = context.clock.monotonic()
        try:
            found, done = call(size)
        except UserError as problem:
            return _end(context, name, Status.FAILED, Outcome.FAILED, total, str(problem))
        except OtherDatabaseUsed as problem:
            error = f"{problem}; {problem.hint}"
            return _end(context, name, Status.FAILED, Outcome.FAILED, total, error)
        _in_transaction(context, functools.partial(state.add_done, name=name, done=done))
        total += done
        context.budget.settle(size, done)
        meter.add(done)
        context.listener.advanced(meter.snapshot(f"found {found}, done {done}"))
        rest = (context.clock.monotonic() - began) * context.throttling.duty_cycle.sleep_ratio
        if found == 0:
            return _finish(context, migration, total)
        if done == 0:
            error = f"the function found {found} row(s) and migrated none of them"
            return _end(context, name, Status.FAILED, Outcome.FAILED, total, error)
        context.clock.wait(min(rest, MAX_SLEEP), context.stop)
    if migration.has_pending and not _pending_rows(context, migration):
        return _end(context, name, Status.COMPLETE, Outcome.COMPLETE, total, None)
    return _end(context, name, Status.STOPPED, Outcome.REMAINING, total, None)


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


def _finish(context: RunContext, migration: DataMigration, total: int) -> Result:
    """Ends the run after the function found no more rows.

    With a ``pending`` expression the count of pending rows decides whether it is complete.
    """
    name = migration.name
    if migration.has_pending:
        pending = _pending_rows(context, migration)
        if pending:
            error = migration.left_pending(pending)
            return _end(context, name, Status.FAILED, Outcome.FAILED, total, error)
    return _end(context, name, Status.COMPLETE, Outcome.COMPLETE, total, None)


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
