"""Creates, validates and drops barriers, with the waits of a revision for the lock of the table.

Invariant: what is recorded of a barrier exists before its first statement is sent, and is forgotten after the
last one that drops it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.contract.barrier import barrier_of, expressions_text, live_barrier
from online_migrate.contract.until_free import until_free
from online_migrate.ddl.lock_queue import LockNotFree
from online_migrate.driver_errors import CLEANUP_ERRORS, DATABASE_ERRORS
from online_migrate.kinds.base import DataMigration
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.runtime.lock_wait import is_lock_timeout
from online_migrate.state import BarrierState, Verification

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def create_barrier(runner: RevisionRunner, migration: DataMigration, allow: Callable[[], None]) -> None:
    """Creates the barrier of *migration*, in place of what is there of an earlier one.

    *allow*: is called directly before, in each attempt, and raises an error if a live service would be
    refused. Raises :class:`~online_migrate.contract.barrier.NoBarrier`, before anything is changed, and
    :class:`~online_migrate.exceptions.Refused` if a privilege is missing.
    """
    connection, records = runner.session.connection, _records(runner)
    subject = migration.subject(connection)
    barrier = barrier_of(connection, migration, subject)
    new = Verification(
        name=migration.name,
        table_name=barrier.table,
        schema_name=barrier.schema,
        expressions=expressions_text(connection, subject),
        barrier=barrier.name,
        barrier_state=BarrierState.CREATING,
    )
    connection.rollback()
    allow()
    _record(runner, lambda: state.put_verification(records, new))

    def attempt() -> None:
        allow()
        _send_drop(runner, new)
        try:
            runner.session.dialect.create_barrier(connection, barrier, lambda text: send(runner, text))
        except DATABASE_ERRORS as error:
            raise _explained(runner, error) from error
        live = live_barrier(connection, new)
        assert live is not None
        state.set_barrier(records, new.name, BarrierState.CREATED, definition=live.recorded)
        if records is not connection:
            records.commit()

    try:
        until_free(runner, f"verify {migration.name}", attempt)
    except Exception:
        _undo(runner, new)
        raise


def _explained(runner: RevisionRunner, error: Exception) -> Exception:
    """Returns the refusal for a missing privilege, or else *error*."""
    if is_lock_timeout(runner.session.dialect, error):
        return error
    connection = runner.session.connection
    with contextlib.suppress(*CLEANUP_ERRORS):
        connection.rollback()
        problem = runner.session.dialect.barrier_refusal(connection, error)
        if problem is not None:
            return exceptions.Refused(reason=f"no barrier was created: {problem.reason}", hint=problem.hint)
    return error


def _undo(runner: RevisionRunner, new: Verification) -> None:
    """Removes what an attempt that failed left; what cannot be removed now, the next command removes."""
    with contextlib.suppress(*CLEANUP_ERRORS, LockNotFree):
        runner.session.connection.rollback()
        _send_drop(runner, new)
        runner.session.connection.commit()
        _record(runner, lambda: state.delete_verification(_records(runner), new.name))


def validate_barrier(runner: RevisionRunner, migration: DataMigration) -> None:
    """Lets the server check the rows that were written before the barrier, where it can."""
    dialect, connection = runner.session.dialect, runner.session.connection
    if not dialect.barrier_reads_rows:
        return
    barrier = barrier_of(connection, migration, migration.subject(connection))
    statement = dialect.validate_barrier(connection, barrier)
    connection.rollback()
    if statement is not None:
        until_free(runner, f"verify {migration.name}", lambda: send(runner, statement))


def drop_barrier(runner: RevisionRunner, recorded: Verification) -> None:
    """Drops a barrier, and forgets it and the verification."""
    records = _records(runner)
    _record(runner, lambda: state.set_barrier(records, recorded.name, BarrierState.REMOVING))
    until_free(runner, f"verify {recorded.name}", lambda: _send_drop(runner, recorded))
    _record(runner, lambda: state.delete_verification(records, recorded.name))


def remove_left_behind(runner: RevisionRunner) -> None:
    """Drops the barriers that no contract revision needs any more: a contract was killed before it did."""
    connection = runner.session.connection
    recorded = state.all_verifications(connection)
    connection.rollback()
    if not recorded:
        return
    graph, applied = runner.project.graph, runner.applied()
    done = graph.requirements(applied)
    left = graph.requirements(frozenset(graph.revisions) - applied)
    for name, one in recorded.items():
        if one.barrier is not None and name in done and name not in left:
            runner.echo(f"{name}: removing the barrier that a killed command left behind")
            drop_barrier(runner, one)


def send(runner: RevisionRunner, statement: str) -> None:
    """Sends a statement of a barrier through the lock queue."""
    with runner.session.queue.entered(statement):
        runner.session.connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _send_drop(runner: RevisionRunner, recorded: Verification) -> None:
    connection, dialect = runner.session.connection, runner.session.dialect
    assert recorded.barrier is not None
    for statement in dialect.drop_barrier(
        connection, recorded.barrier, recorded.table_name, recorded.schema_name
    ):
        send(runner, statement)


def _records(runner: RevisionRunner) -> Connection:
    return runner.session.journal_connection or runner.session.connection


def _record(runner: RevisionRunner, write: Callable[[], None]) -> None:
    """Calls *write* in a transaction of its own."""
    records = _records(runner)
    records.rollback()
    with runner.session.dialect.write_transaction(records):
        write()
        records.commit()
