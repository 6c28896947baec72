"""The table and the conditions of a data migration, on a live connection."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.sql import visitors

from online_migrate import exceptions
from online_migrate.dialects import LockTarget, dialect_of
from online_migrate.kinds.table_argument import TableLike, key_of, name_of, on_live_table
from online_migrate.values.exact import mark

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.engine.interfaces import ReflectedColumn

Expression = sa.ColumnElement[bool]
PendingLike = Expression | Callable[[sa.Table], Expression] | None
ValuesLike = Mapping[str, Any] | Callable[[sa.Table], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Subject:
    """The table and the conditions of a data migration, on a live connection."""

    table: sa.Table
    pending: Expression | None
    """An expression that is true or NULL for a row that is not migrated yet."""
    verify: Expression | None
    """An expression that is true for a row that is migrated correctly."""

    @property
    def lock_targets(self) -> tuple[LockTarget, ...]:
        """Every table and every alias that a count of the rows reads."""
        found = {LockTarget(table=self.table.name, schema=self.table.schema)}
        for expression in (self.pending, self.verify):
            if expression is not None:
                found |= set(_tables_in(expression))
        return tuple(sorted(found, key=lambda t: (t.schema or "", t.table, t.alias or "")))


def _tables_in(expression: Expression) -> Iterable[LockTarget]:
    for element in visitors.iterate(expression):
        if isinstance(element, sa.Alias) and isinstance(element.element, sa.TableClause):
            inner = element.element
            yield LockTarget(inner.name, getattr(inner, "schema", None), alias=str(element.name))
        elif isinstance(element, sa.TableClause):
            yield LockTarget(element.name, getattr(element, "schema", None))


def reflect(connection: Connection, name: str, given: TableLike | None) -> sa.Table:
    """Returns the live table of data migration *name*; *given*: its ``table=``.

    Raises :class:`~online_migrate.exceptions.PendingUnreadable` if the table does not exist, and
    :class:`~online_migrate.exceptions.DataMigrationBroken` if there is none, or if it is of a wrong type.
    """
    if given is None:
        raise exceptions.DataMigrationBroken(
            name=name, reason="it has no table", hint="add table='...' next to pending="
        )
    if isinstance(given, sa.Table):
        return given
    if not isinstance(given, str | sa.TableClause):
        raise exceptions.DataMigrationBroken(
            name=name, reason=f"table is {_described(given)}; it must be a name, a table or a mapped class"
        )
    schema, table_name = name_of(given)
    try:
        reflected = _columns_and_key(connection, table_name, schema)
    except exc.NoSuchTableError:
        raise exceptions.PendingUnreadable(
            name=name, reason=f"table {str(given)!r} does not exist in this database"
        ) from None
    for key, codec in dialect_of(connection).value_codecs(connection, reflected).items():
        mark(reflected.c[key], codec)
    return reflected


def _described(table: object) -> str:
    return f"the class {table.__name__}" if isinstance(table, type) else f"a {type(table).__name__}"


def _columns_and_key(connection: Connection, name: str, schema: str | None) -> sa.Table:
    """Returns a table with its columns and its primary key.

    ``autoload_with`` would read the indexes, constraints and comments too, in six more queries on PostgreSQL,
    and no expression names them. Raises ``sqlalchemy.exc.NoSuchTableError``.
    """
    inspector = sa.inspect(connection)
    columns = inspector.get_columns(name, schema=schema)
    if not columns:
        raise exc.NoSuchTableError(name)
    key = set(inspector.get_pk_constraint(name, schema=schema)["constrained_columns"])
    return sa.Table(
        name, sa.MetaData(), *(_column(column, column["name"] in key) for column in columns), schema=schema
    )


def _column(reflected: ReflectedColumn, is_key: bool) -> sa.Column[Any]:
    """Returns a column of the live table.

    SQLAlchemy reflects a MySQL DOUBLE as a Decimal of ten places, which is a different number: a
    floating-point column is read as float.
    """
    type_ = reflected["type"]
    if isinstance(type_, sa.Float):
        type_.asdecimal = False
    return sa.Column(
        reflected["name"], type_, primary_key=is_key, nullable=reflected["nullable"], autoincrement=False
    )


@dataclasses.dataclass(frozen=True)
class ExpressionBuilder:
    """Builds the SQL expressions of a data migration for its live table."""

    name: str
    """The name of the data migration, for error messages."""
    given: TableLike | None
    """The ``table=`` of the data migration, whose columns its expressions may name."""
    table: sa.Table

    def condition(self, what: str, given: PendingLike) -> Expression | None:
        """Returns the expression that *given* is, or returns for the table; None if it is None.

        *what*: the name of the argument. Raises :class:`~online_migrate.exceptions.PendingUnreadable` if it
        names a column that does not exist, and :class:`~online_migrate.exceptions.DataMigrationBroken` if it
        is no SQL expression of the table.
        """
        if given is None:
            return None
        if isinstance(given, sa.ColumnElement):
            return self._on_live_table(what, given)
        if not callable(given) or isinstance(given, sa.ClauseElement):
            raise self._broken(f"{what} is a {type(given).__name__}, not a SQL expression")
        result = self._call(what, given)
        if not isinstance(result, sa.ColumnElement):
            raise self._broken(f"{what} returns a {type(result).__name__}, not a SQL expression")
        return self._on_live_table(what, result)

    def values(self, given: ValuesLike) -> dict[str, Any]:
        """Returns the columns to set and their values, each a plain value or an expression.

        Raises :class:`~online_migrate.exceptions.DataMigrationBroken` if *given* is not a mapping, or names a
        column that does not exist.
        """
        values = self._call("values", given) if callable(given) else given
        if not isinstance(values, Mapping):
            raise self._broken(f"values is a {type(values).__name__}, not a dict of columns")
        by_name = {key_of(column): value for column, value in values.items()}
        known = set(self.table.c.keys())
        unknown = [column for column in by_name if column not in known]
        if unknown:
            raise self._broken(
                f"values sets {unknown[0]!r}, which is not a column of table {self.table.name!r}"
            )
        for column, value in by_name.items():
            if isinstance(value, sa.ColumnElement):
                by_name[column] = self._on_live_table(f"the value of {column!r}", value)
        return by_name

    def _on_live_table(self, what: str, expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        adapted: sa.ColumnElement[Any] = self._call(
            what, lambda table: on_live_table(expression, self.given, table)
        )
        self._refuse_other_tables(what, adapted)
        return adapted

    def _refuse_other_tables(self, what: str, expression: sa.ColumnElement[Any]) -> None:
        """Raises DataMigrationBroken if *expression* joins another table.

        A row that is joined to another table would be counted, or written, once for each joined row.
        """
        others = [one for one in sa.select(expression).get_final_froms() if one != self.table]
        if not others:
            return
        name = getattr(others[0], "name", str(others[0]))
        if name == self.table.name:
            raise self._broken(
                f"{what} uses another sa.Table {name!r} than the data migration",
                hint="write it as lambda t: ... t.c.NAME ..., or pass that same sa.Table to table=",
            )
        raise self._broken(
            f"{what} joins table {name!r}",
            hint="read it in a subquery: sa.select(...).scalar_subquery(), or sa.exists().where(...)",
        )

    def _call(self, what: str, function: Callable[[sa.Table], Any]) -> Any:
        try:
            return function(self.table)
        except (AttributeError, KeyError) as error:
            missing = error.args[0] if error.args else error
            raise exceptions.PendingUnreadable(
                name=self.name,
                reason=f"{what} of table {self.table.name!r} names {missing!r}, which does not exist",
            ) from None
        except Exception as error:
            raise exceptions.DataMigrationBroken(
                name=self.name, reason=f"{what} raises {type(error).__name__}: {error}"
            ) from error

    def _broken(self, reason: str, hint: str | None = None) -> exceptions.DataMigrationBroken:
        return exceptions.DataMigrationBroken(name=self.name, reason=reason, hint=hint)
