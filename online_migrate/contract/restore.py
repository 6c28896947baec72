"""Recreates the triggers that a half-applied contract revision dropped."""

from __future__ import annotations

import json
from collections.abc import Sequence

from online_migrate.ddl.lock_queue import LockNotFree
from online_migrate.ddl.session import Session, session_beside
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.runtime.lock_wait import is_lock_timeout
from online_migrate.sql.statement import identifiers, removed_names, shorten


def restore_dropped(runner: RevisionRunner, revision: str) -> list[str]:
    """Recreates the triggers that a half-applied revision dropped; returns the statements that were undone.

    A trigger that uses a column or a table which is gone is not recreated: it would make every write of the
    application fail. Raises :class:`~online_migrate.exceptions.LockGivenUp`, as for a statement of the
    revision.
    """
    journal = runner.journal(revision)
    applied = [e for e in journal.statements if e.done or journal.was_applied(e)]
    server, comparable = runner.session.dialect.name, runner.session.dialect.comparable
    gone = {
        comparable(name)
        for e in applied
        for name in {*removed_names(e.statement, server), *journal.taken_away(e)}
    }
    undone = []
    # Recreated in reverse order: a trigger needs its function.
    for entry in reversed(applied):
        definition: list[str] = json.loads(entry.undo) if entry.undo else []
        used = {comparable(name) for name in identifiers(" ".join(definition), server)}
        if not definition or gone & used:
            continue
        try:
            _recreate(runner, revision, entry.statement, definition)
        except DATABASE_ERRORS as error:
            runner.echo(
                f"contract {revision}: could not be reverted: {entry.statement}: {error_message(error)}"
            )
        else:
            undone.append(shorten(entry.statement))
            journal.forget(entry)
    return undone


def _recreate(runner: RevisionRunner, revision: str, drop: str, definition: Sequence[str]) -> None:
    """Executes *definition*; like a statement of a revision, it never stands in the lock queue for long."""
    settings, clock, stop = runner.project.settings, runner.clock, runner.stop
    with session_beside(runner.session, settings, clock=clock, stop=stop) as session:
        waiting = runner.lock_wait(revision, session)
        session.queue.tell = waiting.tell_awaited
        while True:
            try:
                session.queue.limit(waiting.queue_limit)
                _send(session, drop, definition)
            except (*DATABASE_ERRORS, LockNotFree) as error:
                session.connection.rollback()
                if not is_lock_timeout(session.dialect, error):
                    raise
                waiting.after(error)
            else:
                return


def _send(session: Session, drop: str, definition: Sequence[str]) -> None:
    connection = session.connection
    if session.dialect.undo_of_drop(connection, drop) is None:
        connection.execution_options(no_parameters=True)  # a percent sign is not a placeholder
        for statement in definition:
            with session.queue.entered(statement):
                connection.exec_driver_sql(statement)
        connection.commit()
