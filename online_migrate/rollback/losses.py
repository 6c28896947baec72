"""The rows that would lose something by a rollback.

A row loses the value of a column that is removed, unless the value can be computed from what stays: by the
forward expression of a recorded sync, or by an expression of a Backfill. A default, and NULL, are no loss. A
table that is removed loses all of its rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.counting import Remaining, find
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.exceptions import Blocker
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.subject import Subject, reflect
from online_migrate.kinds.table_argument import name_of
from online_migrate.rollback.removals import Removals
from online_migrate.sql.operations.operation import AddColumn
from online_migrate.sql.operations.parts import Name, Value
from online_migrate.sync.comparison import computed, differs

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_NAME = "rollback"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A column or a table that is removed, and the condition of the rows that would lose it."""

    object: str
    subject: Subject
    """Its ``pending`` is the condition."""
    kept_by: str | None
    """What computes the value again; None: nothing does."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """Rows that would lose something."""

    candidate: Candidate
    rows: Remaining

    def blocker(self, revision: str, total: int) -> Blocker:
        """Returns the reason why the rollback is refused; *total*: the rows that would lose something."""
        keys = ", ".join(self.rows.keys)
        more = ", ..." if self.rows.count > len(self.rows.keys) else ""
        what = "would be lost" if self.candidate.kept_by is None else f"differ from {self.candidate.kept_by}"
        return Blocker(
            "rows-lost",
            revision,
            f"{self.candidate.object}: {self.rows} row(s) {what}: {keys}{more}",
            f"keep what they need; or accept it: online-migrate rollback --accept-loss {total}",
            count=self.rows.count,
            at_least=self.rows.at_least,
            keys=self.rows.keys,
        )


def candidates(
    connection: Connection, migrations: Mapping[str, DataMigration], removals: Removals
) -> list[Candidate]:
    """Returns what the removals could lose; to be called before the tables are locked.

    A table or column that does not exist any more, because an earlier run has removed it, is left out.
    """
    return [*_tables(connection, removals), *_columns(connection, migrations, removals)]


def losses(connection: Connection, found: list[Candidate], timeout: float) -> list[Loss]:
    """Counts the rows. Raises :class:`~online_migrate.exceptions.RollbackRefused` if they cannot be read."""
    lost = []
    for candidate in found:
        condition = candidate.subject.pending
        assert condition is not None
        try:
            with dialect_of(connection).statement_timeout(connection, timeout):
                _refuse_hidden(connection, candidate)
                rows = find(connection, candidate.subject, condition)
        except DATABASE_ERRORS as error:
            if dialect_of(connection).is_connection_lost(error):
                raise
            connection.rollback()
            blocker = Blocker(
                "not-compared",
                candidate.object,
                f"its rows cannot be compared: {error_message(error)}",
                "correct the expression, or raise gate_timeout or look_timeout in [online_migrate]",
            )
            raise exceptions.RollbackRefused([blocker]) from error
        if rows.count:
            lost.append(Loss(candidate, rows))
    return lost


def _refuse_hidden(connection: Connection, candidate: Candidate) -> None:
    """Refuses a count that proves nothing, because rows may be hidden from the session."""
    dialect = dialect_of(connection)
    for target in candidate.subject.lock_targets:
        problem = dialect.check_visibility(connection, target.table, target.schema)
        if problem is not None:
            raise exceptions.RollbackRefused(
                [Blocker("rows-hidden", candidate.object, problem.reason, problem.hint)]
            )


def _tables(connection: Connection, removals: Removals) -> Iterator[Candidate]:
    for name in removals.tables:
        table = _reflected(connection, name)
        if table is not None:
            yield Candidate(f"table {name}", Subject(table, sa.true(), None), None)


def _columns(
    connection: Connection, migrations: Mapping[str, DataMigration], removals: Removals
) -> Iterator[Candidate]:
    for name, added in removals.columns:
        table = _reflected(connection, name)
        column = None if table is None else table.c.get(added.column.name)
        if table is None or column is None:
            continue
        kept = _kept_by(connection, migrations, name, table, column)
        values = [value for _what, value in kept]
        default = _default(added)
        values += [] if default is None else [default]
        conditions = [differs(connection, column, value) for value in values]
        told = " and ".join(what for what, _value in kept) or None
        condition = sa.and_(column.is_not(None), *conditions)
        yield Candidate(f"column {name}.{column.name}", Subject(table, condition, None), told)


def _reflected(connection: Connection, name: Name) -> sa.Table | None:
    try:
        return reflect(connection, _NAME, str(name))
    except exceptions.PendingUnreadable:
        return None


def _kept_by(
    connection: Connection,
    migrations: Mapping[str, DataMigration],
    name: Name,
    table: sa.Table,
    column: sa.Column[Any],
) -> list[tuple[str, Any]]:
    """Returns what computes the column from what stays, with the expressions."""
    found: list[tuple[str, Any]] = []
    for sync in state.recorded_syncs(connection):
        of_table = (sync.table_schema, sync.table_name) == (name.schema, name.name)
        if sync.target is None and of_table and column.name in sync.forward:
            text = sync.forward[column.name]
            found.append((f"sync {sync.name}", computed(connection, text, column)))
    for migration in migrations.values():
        if migration.table is None or not _is_table(migration.table, name):
            continue
        # Of another kind, or without its columns: nothing computes the values again.
        values = _expressions(migration, table)
        if column.key in values:
            found.append((f"data migration {migration.name}", values[column.key]))
    return found


def _is_table(given: Any, name: Name) -> bool:
    schema, table = name_of(given)
    return table == name.name and (schema is None or name.schema is None or schema == name.schema)


def _expressions(migration: DataMigration, table: sa.Table) -> Mapping[str, Any]:
    try:
        return migration.expressions_set(table)
    except (exceptions.PendingUnreadable, exceptions.DataMigrationBroken):
        return {}


def _default(added: AddColumn) -> sa.ColumnElement[Any] | None:
    default = added.column.default
    if default is None or default.form is not Value.CONSTANT:
        return None
    return sa.literal_column(default.text)
