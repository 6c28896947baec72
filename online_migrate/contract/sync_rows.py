"""The rows of a sync whose shapes differ, because they were written while its triggers were dropped.

On MySQL and MariaDB a statement cannot be rolled back. A contract, or a soak, that is killed after it dropped
the triggers, and before it dropped or renamed the columns, leaves a table where a write of one version does
not reach the other shape. No data migration reports such a row as pending, and its value would be lost with
the column. The next run creates the triggers again; the rows that were written in between are counted here.
So are the rows that new code wrote while the old columns soaked, once these are back.
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
class WithoutTriggers:
    """The time in which the triggers were dropped, and what goes on once the rows are in step.

    *when*: completes "they were written". *then*: the next command. *new_is_right*: old code could not write.
    """

    when: str
    then: str
    new_is_right: bool = False


_CONTRACT = WithoutTriggers(
    "while an interrupted contract had dropped the triggers", "online-migrate contract"
)


@dataclasses.dataclass(frozen=True)
class ComparedRows:
    """The result of the comparison."""

    blockers: tuple[Blocker, ...]
    gone: frozenset[str]
    """The syncs that cannot be compared, because a column or a table of them does not exist any more."""


def compare_rows(
    connection: Connection,
    syncs: Sequence[RecordedSync],
    timeout: float,
    written: WithoutTriggers = _CONTRACT,
) -> ComparedRows:
    """Counts the rows of each sync whose shapes differ.

    *timeout*: the statement timeout in seconds. *written*: for the wording of the blockers. An error of the
    database is a blocker; only a lost connection is raised.
    """
    blockers: list[Blocker] = []
    gone = set()
    for sync in syncs:
        tables = tables_of(connection, sync)
        if tables is None:
            gone.add(sync.name)
        else:
            blockers += _Comparison(connection, sync, tables, timeout, written).blockers()
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


@dataclasses.dataclass(frozen=True)
class _Differing:
    """The rows of a table whose shapes differ."""

    table: sa.Table
    condition: sa.ColumnElement[bool]
    rows: Remaining


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """The comparison of the rows of one sync."""

    connection: Connection
    sync: RecordedSync
    tables: Sequence[sa.Table]
    timeout: float
    written: WithoutTriggers

    def blockers(self) -> list[Blocker]:
        dialect = dialect_of(self.connection)
        found = []
        try:
            with dialect.statement_timeout(self.connection, self.timeout):
                for table in self.tables:
                    hidden = dialect.check_visibility(self.connection, table.name, table.schema)
                    if hidden is not None:
                        return [Blocker("rows-hidden", self.sync.name, hidden.reason, hidden.hint)]
                for table, condition in out_of_step(self.connection, self.sync, *self.tables):
                    rows = find(self.connection, Subject(table, condition, None), condition)
                    if rows.count:
                        found.append(self._out_of_step(_Differing(table, condition, rows)))
        except DATABASE_ERRORS as error:
            self.connection.rollback()
            return [self._not_compared(error)]
        return found

    def _not_compared(self, error: Exception) -> Blocker:
        dialect = dialect_of(self.connection)
        locked = dialect.is_lock_timeout(error)
        if locked or dialect.is_statement_timeout(error) or dialect.is_connection_lost(error):
            names = [one.name for one in self.tables]
            held_by = blocking_sessions(dialect, self.connection, names) if locked else []
            return not_counted(dialect, self.sync.name, error, self.timeout, held_by)
        return Blocker(
            "not-compared",
            self.sync.name,
            f"its rows cannot be compared: {error_message(error)}",
            "correct the rows whose values the expressions of the sync cannot convert, "
            f"then: {self.written.then}",
        )

    def _out_of_step(self, differing: _Differing) -> Blocker:
        rows = differing.rows
        more = ", ..." if rows.count > len(rows.keys) else ""
        return Blocker(
            OUT_OF_STEP,
            self.sync.name,
            f"{rows} row(s) of {differing.table.name} differ between the old and the new columns: they were "
            f"written {self.written.when}: {', '.join(rows.keys)}{more}",
            f"{self._correction(differing)}; then: {self.written.then}",
            count=rows.count,
            at_least=rows.at_least,
            keys=rows.keys,
        )

    def _correction(self, differing: _Differing) -> str:
        if len(self.tables) > 1:
            names = " and ".join(one.name for one in self.tables)
            return f"correct the rows with these keys in {names}"
        new_right = self._update(differing, self.sync.backward)
        if self.written.new_is_right:
            return f"give the old columns the value of the new ones: {new_right}"
        old_right = self._update(differing, self.sync.forward)
        return f"where the new columns are right: {new_right}; where the old ones are right: {old_right}"

    def _update(self, differing: _Differing, assigned: Mapping[str, str]) -> str:
        """Returns the statement that gives columns their value from the other shape, where they differ."""
        table = differing.table
        columns = ((column_of(self.connection, table, name), text) for name, text in assigned.items())
        values: dict[Any, Any] = {column: sa.literal_column(text) for column, text in columns}
        update = sa.update(table).values(values).where(differing.condition)
        return " ".join(sql_text(self.connection, update).split())
