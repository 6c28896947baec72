"""Why the rows of a data migration close the gate: pending rows, and rows that fail ``verify``.

Rows are counted in the data, unless a barrier and a verification of every row hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate.contract.barrier import standing_of
from online_migrate.counting import Remaining, any_row, find
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.exceptions import Blocker
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.pending import fails_verify, is_pending
from online_migrate.kinds.subject import Subject
from online_migrate.kinds.visibility import reads_of, visibility_problem
from online_migrate.sql.table_lock import TableLock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


NO_PROOF = ("rows-hidden", "reads-unknown")
"""Blockers which mean that a count would prove nothing."""


@dataclasses.dataclass(frozen=True)
class CheckedRows:
    """The blockers of a data migration that were found in its rows."""

    blockers: tuple[Blocker, ...]
    verified: bool = False
    """No row was read: the barrier is in place, and every row was verified after it was created."""


def check_rows(
    connection: Connection,
    migration: DataMigration,
    subject: Subject,
    *,
    timeout: float,
    brief: bool = False,
    records: Connection | None = None,
) -> CheckedRows:
    """Returns the blockers found in the rows; counts them unless they are verified behind a barrier.

    *timeout*, *brief*: see :func:`find_blocking_rows`. *records*: the connection that reads the bookkeeping
    tables, if *connection* has locked others.
    """
    try:
        standing = standing_of(connection, migration, subject, records=records or connection)
        problems = _no_proof(connection, migration, subject) if standing.holds else []
    except DATABASE_ERRORS as error:
        connection.rollback()
        held_by: list[str] = []
        return CheckedRows((not_counted(dialect_of(connection), migration.name, error, timeout, held_by),))
    if standing.blocker is not None:
        return CheckedRows((standing.blocker,))
    if standing.holds:
        return CheckedRows(tuple(problems), verified=not problems)
    found = find_blocking_rows(connection, migration, subject, timeout=timeout, brief=brief)
    return CheckedRows(tuple(found))


def find_blocking_rows(
    connection: Connection, migration: DataMigration, subject: Subject, *, timeout: float, brief: bool = False
) -> list[Blocker]:
    """Returns the blockers found in the rows: pending rows, and rows that fail ``verify``.

    *timeout*: the statement timeout in seconds. *brief*: for a check under a lock: first reads a single row,
    and counts only if it exists. Database errors are returned as blockers; only a lost connection is raised.
    """
    dialect = dialect_of(connection)
    if subject.pending is None:
        return [unreadable(migration.name, "it has no pending expression")]
    conditions = {"pending-rows": is_pending(subject.pending)}
    wrong = fails_verify(subject)
    if wrong is not None:
        conditions["unverified-rows"] = wrong
    found: list[Blocker] = []
    try:
        with dialect.statement_timeout(connection, timeout):
            found += _no_proof(connection, migration, subject)
            if found:
                return found
            for id_, condition in conditions.items():
                if brief and not any_row(connection, subject, condition):
                    continue
                remaining = find(connection, subject, condition)
                if remaining.count:
                    found.append(_rows_blocker(id_, migration, subject, remaining))
    except DATABASE_ERRORS as error:
        connection.rollback()
        tables = [target.table for target in subject.lock_targets]
        held_by = blocking_sessions(dialect, connection, tables) if dialect.is_lock_timeout(error) else []
        return [not_counted(dialect, migration.name, error, timeout, held_by)]
    return found


def _no_proof(connection: Connection, migration: DataMigration, subject: Subject) -> list[Blocker]:
    """Returns the blocker that explains why a count of the rows would prove nothing, if there is one."""
    reads = reads_of(connection, subject)
    hidden = visibility_problem(connection, migration, subject, reads.targets)
    if hidden is not None:
        return [Blocker("rows-hidden", migration.name, hidden.reason, hidden.hint)]
    if reads.problem is not None:
        return [Blocker("reads-unknown", migration.name, reads.problem.reason, reads.problem.hint)]
    return []


def blocking_sessions(dialect: Dialect, connection: Connection, tables: Sequence[str]) -> list[str]:
    try:
        locks = [TableLock(table) for table in tables]
        return [f"{holder}" for holder in dialect.lock_holders(connection, locks, blocked=True)]
    except DATABASE_ERRORS:
        # The list is additional information; the user may lack the privilege to read other sessions.
        return []
    finally:
        connection.rollback()


def _rows_blocker(id_: str, migration: DataMigration, subject: Subject, remaining: Remaining) -> Blocker:
    name = migration.name
    what = "pending" if id_ == "pending-rows" else "migrated, but verify fails"
    hint = migration.next_command
    if id_ != "pending-rows":
        hint = f"correct these rows, or the verify expression of {name}"
    more = ", ..." if remaining.count > len(remaining.keys) else ""
    return Blocker(
        id_,
        name,
        f"{remaining} row(s) of {subject.table.name} are {what}: {', '.join(remaining.keys)}{more}",
        hint,
        count=remaining.count,
        at_least=remaining.at_least,
        keys=remaining.keys,
    )


def not_counted(
    dialect: Dialect, name: str, error: Exception, timeout: float, held_by: Sequence[str]
) -> Blocker:
    if dialect.is_connection_lost(error):
        raise error
    if dialect.is_lock_timeout(error):
        holders = "".join(f"; {line}" for line in held_by)
        return Blocker(
            "not-counted",
            name,
            f"its rows cannot be counted: another session holds a lock on the table{holders}",
            "end that session, or wait until it ends, then: online-migrate gate",
        )
    if dialect.is_statement_timeout(error):
        return Blocker(
            "not-counted",
            name,
            f"its rows could not be counted within {timeout:g} s",
            "raise look_timeout or gate_timeout in [online_migrate], "
            "or add an index for the pending expression",
        )
    return unreadable(name, error_message(error))


def unreadable(name: str, reason: str) -> Blocker:
    return Blocker(
        "pending-unreadable",
        name,
        f"its pending rows cannot be counted: {reason}",
        f"correct the pending expression of {name}",
    )
