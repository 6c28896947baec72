"""The rows of a sync whose shapes differ, while a contract revision that drops the sync is half applied.

On MySQL and MariaDB a statement cannot be rolled back. A contract that is killed after it dropped the
triggers, and before it dropped the columns, leaves a table where a write of one version does not reach the
other shape. No data migration reports such a row as pending, and its value would be lost with the column. The
next run creates the triggers again; the rows that were written in between are counted here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.contract.blocking_rows import blocking_sessions, not_counted
from online_migrate.counting import Remaining, find
from online_migrate.dialects import dialect_of
from online_migrate.dialects.query import sql_text
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.exceptions import Blocker
from online_migrate.kinds.subject import Subject, reflect
from online_migrate.state import RecordedSync
from online_migrate.sync.comparison import column_of, out_of_step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


OUT_OF_STEP = "sync-out-of-step"
"""The blocker of rows whose shapes differ."""


@dataclasses.dataclass(frozen=True)
class ComparedRows:
    """The result of the comparison."""

    blockers: tuple[Blocker, ...]
    gone: frozenset[str]
    """The syncs that cannot be compared, because a column or a table of them does not exist any more."""


def compare_rows(connection: Connection, syncs: Sequence[RecordedSync], timeout: float) -> ComparedRows:
    """Counts the rows of each sync whose shapes differ.

    *timeout*: the statement timeout in seconds. An error of the database is a blocker; only a lost connection
    is raised.
    """
    blockers: list[Blocker] = []
    gone = set()
    for sync in syncs:
        tables = tables_of(connection, sync)
        if tables is None:
            gone.add(sync.name)
        else:
            blockers += _blockers(connection, sync, tables, timeout)
    return ComparedRows(tuple(blockers), frozenset(gone))


def tables_of(connection: Connection, sync: RecordedSync) -> list[sa.Table] | None:
    """Returns the tables of a sync, the first one first; None: a table, or a column of the sync, is gone."""
    found = []
    for name in (sync.table_name, *(name for name in sync.columns_used if name != sync.table_name)):
        path = name if sync.table_schema is None else f"{sync.table_schema}.{name}"
        try:
            table = reflect(connection, sync.name, path)
        except exceptions.PendingUnreadable:
            return None
        if any(column_of(connection, table, column) is None for column in sync.columns_used.get(name, ())):
            return None
        found.append(table)
    return found


def _blockers(
    connection: Connection, sync: RecordedSync, tables: Sequence[sa.Table], timeout: float
) -> list[Blocker]:
    dialect = dialect_of(connection)
    found = []
    try:
        with dialect.statement_timeout(connection, timeout):
            for table in tables:
                hidden = dialect.check_visibility(connection, table.name, table.schema)
                if hidden is not None:
                    return [Blocker("rows-hidden", sync.name, hidden.reason, hidden.hint)]
            for table, condition in out_of_step(connection, sync, *tables):
                rows = find(connection, Subject(table, condition, None), condition)
                if rows.count:
                    found.append(_out_of_step(connection, sync, tables, _Differing(table, condition, rows)))
    except DATABASE_ERRORS as error:
        connection.rollback()
        return [_not_compared(connection, sync, tables, error, timeout)]
    return found


@dataclasses.dataclass(frozen=True)
class _Differing:
    """The rows of a table whose shapes differ."""

    table: sa.Table
    condition: sa.ColumnElement[bool]
    rows: Remaining


def _not_compared(
    connection: Connection, sync: RecordedSync, tables: Sequence[sa.Table], error: Exception, timeout: float
) -> Blocker:
    dialect = dialect_of(connection)
    locked = dialect.is_lock_timeout(error)
    if locked or dialect.is_statement_timeout(error) or dialect.is_connection_lost(error):
        held_by = blocking_sessions(dialect, connection, [one.name for one in tables]) if locked else []
        return not_counted(dialect, sync.name, error, timeout, held_by)
    return Blocker(
        "not-compared",
        sync.name,
        f"its rows cannot be compared: {error_message(error)}",
        "correct the rows whose values the expressions of the sync cannot convert, "
        "then: online-migrate contract",
    )


def _out_of_step(
    connection: Connection, sync: RecordedSync, tables: Sequence[sa.Table], differing: _Differing
) -> Blocker:
    rows = differing.rows
    more = ", ..." if rows.count > len(rows.keys) else ""
    if len(tables) > 1:
        names = " and ".join(one.name for one in tables)
        hint = f"correct the rows with these keys in {names}, then: online-migrate contract"
    else:
        new_right = _update(connection, differing, sync.backward)
        old_right = _update(connection, differing, sync.forward)
        hint = (
            f"where the new columns are right: {new_right}; where the old ones are right: {old_right}; "
            "then: online-migrate contract"
        )
    return Blocker(
        OUT_OF_STEP,
        sync.name,
        f"{rows} row(s) of {differing.table.name} differ between the old and the new columns: they were "
        f"written while an interrupted contract had dropped the triggers: {', '.join(rows.keys)}{more}",
        hint,
        count=rows.count,
        at_least=rows.at_least,
        keys=rows.keys,
    )


def _update(connection: Connection, differing: _Differing, assigned: Mapping[str, str]) -> str:
    """Returns the statement that gives columns their value from the other shape, for the rows that differ."""
    columns = ((column_of(connection, differing.table, name), text) for name, text in assigned.items())
    values: dict[Any, Any] = {column: sa.literal_column(text) for column, text in columns}
    update = sa.update(differing.table).values(values).where(differing.condition)
    return " ".join(sql_text(connection, update).split())
