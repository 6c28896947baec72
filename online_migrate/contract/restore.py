"""Recreates the triggers that a half-applied contract revision dropped."""

from __future__ import annotations

import json
from collections.abc import Sequence

from online_migrate.ddl.session import private_connection
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.sql.statement import identifiers, removed_names, shorten


def restore_dropped(runner: RevisionRunner, revision: str) -> list[str]:
    """Recreates the triggers that a half-applied revision dropped; returns the statements that were undone.

    A trigger that uses a column or a table which is gone is not recreated: it would make every write of the
    application fail.
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
            _recreate(runner, entry.statement, definition)
        except DATABASE_ERRORS as error:
            runner.echo(
                f"contract {revision}: could not be reverted: {entry.statement}: {error_message(error)}"
            )
        else:
            undone.append(shorten(entry.statement))
            journal.forget(entry)
    return undone


def _recreate(runner: RevisionRunner, drop: str, definition: Sequence[str]) -> None:
    with private_connection(runner.session.connection.engine) as connection:
        if runner.session.dialect.undo_of_drop(connection, drop) is None:
            connection.execution_options(no_parameters=True)  # a percent sign is not a placeholder
            for statement in definition:
                connection.exec_driver_sql(statement)
            connection.commit()
