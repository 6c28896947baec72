"""The four kinds of data migration, as a user writes them, and their subject on a live connection."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.sql import visitors

from online_migrate import exceptions
from online_migrate.dialects import LockTarget, dialect_of
from online_migrate.kinds.table_argument import TableLike, key_of, name_of, on_live_table, table_of
from online_migrate.values.exact import mark

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

    from online_migrate.walk.chunker import Chunk

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataMigration:
    """The base class of the four kinds.

    *table*: a name or a ``sa.table(...)``, which are reflected so that the types are right, or a typed
    ``sa.Table`` or a mapped class.
    *revision*: the expand revision (or the beginning of its id) that must be applied before.
    *after*: names of data migrations that must be complete before.
    *pending*: a row is pending while this is true or NULL; without it no gate opens.
    *verify*: a condition that must hold for each migrated row.
    *release*: the release that the data migration belongs to.
    *touch*: if true, columns that change automatically with every UPDATE of a row (``ON UPDATE
    CURRENT_TIMESTAMP``, or a typed table's ``onupdate``) do so; by default their values are preserved.
    """

    kind: ClassVar[str] = ""
    walks: ClassVar[bool] = True
    """True if the table is walked by a key, in chunks."""

    table: TableLike | None = None
    revision: str | None = None
    name: str = ""
    after: tuple[str, ...] = ()
    release: str | None = None
    pending: PendingLike = None
    verify: PendingLike = None
    touch: bool = False
    path: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", table_of(self.table))
        if isinstance(self.after, str):
            object.__setattr__(self, "after", (self.after,))
        else:
            object.__setattr__(self, "after", tuple(self.after))

    @property
    def has_pending(self) -> bool:
        """True if the data migration has a ``pending`` expression."""
        return self.pending is not None

    def subject(self, connection: Connection) -> Subject:
        """Returns the reflected table, with the expressions built for it.

        Raises :class:`~online_migrate.exceptions.PendingUnreadable` if the table, or a column that an
        expression names, does not exist; :class:`~online_migrate.exceptions.DataMigrationBroken` if there is
        no table, or if the table or an expression is of a wrong type.
        """
        if self.table is None:
            raise exceptions.DataMigrationBroken(
                name=self.name, reason="it has no table", hint="add table='...' next to pending="
            )
        table = self._reflect(connection, self.table)
        return Subject(
            table=table,
            pending=self._expression("pending", self.pending, table),
            verify=self._expression("verify", self.verify, table),
        )

    def _reflect(self, connection: Connection, table: TableLike) -> sa.Table:
        if isinstance(table, sa.Table):
            return table
        if not isinstance(table, str | sa.TableClause):
            raise exceptions.DataMigrationBroken(
                name=self.name,
                reason=f"table is {_described(table)}; it must be a name, a table or a mapped class",
            )
        schema, name = name_of(table)
        try:
            reflected = sa.Table(
                name,
                sa.MetaData(),
                schema=schema,
                autoload_with=connection,
                resolve_fks=False,
                listeners=[("column_reflect", _without_rounding)],
            )
        except exc.NoSuchTableError:
            raise exceptions.PendingUnreadable(
                name=self.name, reason=f"table {str(table)!r} does not exist in this database"
            ) from None
        for key, codec in dialect_of(connection).value_codecs(connection, reflected).items():
            mark(reflected.c[key], codec)
        return reflected

    def _expression(self, what: str, given: PendingLike, table: sa.Table) -> Expression | None:
        if given is None:
            return None
        if isinstance(given, sa.ColumnElement):
            given = self._of_live_table(what, given, table)
            self._refuse_other_tables(what, given, table)
            return given
        if not callable(given) or isinstance(given, sa.ClauseElement):
            raise exceptions.DataMigrationBroken(
                name=self.name, reason=f"{what} is a {type(given).__name__}, not a SQL expression"
            )
        result = self._of_table(what, given, table)
        if not isinstance(result, sa.ColumnElement):
            raise exceptions.DataMigrationBroken(
                name=self.name, reason=f"{what} returns a {type(result).__name__}, not a SQL expression"
            )
        result = self._of_live_table(what, result, table)
        self._refuse_other_tables(what, result, table)
        return result

    def _of_live_table(self, what: str, expression: Expression, table: sa.Table) -> Expression:
        adapted: Expression = self._of_table(what, lambda t: on_live_table(expression, self.table, t), table)
        return adapted

    def _refuse_other_tables(self, what: str, expression: sa.ColumnElement[Any], table: sa.Table) -> None:
        """Raises DataMigrationBroken if *expression* joins another table.

        A row that is joined to another table would be counted, or written, once for each joined row.
        """
        others = [one for one in sa.select(expression).get_final_froms() if one != table]
        if not others:
            return
        name = getattr(others[0], "name", str(others[0]))
        if name == table.name:
            raise exceptions.DataMigrationBroken(
                name=self.name,
                reason=f"{what} uses another sa.Table {name!r} than the data migration",
                hint="write it as lambda t: ... t.c.NAME ..., or pass that same sa.Table to table=",
            )
        raise exceptions.DataMigrationBroken(
            name=self.name,
            reason=f"{what} joins table {name!r}",
            hint="read it in a subquery: sa.select(...).scalar_subquery(), or sa.exists().where(...)",
        )

    def _of_table(self, what: str, function: Callable[[sa.Table], Any], table: sa.Table) -> Any:
        try:
            return function(table)
        except (AttributeError, KeyError) as error:
            missing = error.args[0] if error.args else error
            raise exceptions.PendingUnreadable(
                name=self.name,
                reason=f"{what} of table {table.name!r} names {missing!r}, which does not exist",
            ) from None
        except Exception as error:
            raise exceptions.DataMigrationBroken(
                name=self.name, reason=f"{what} raises {type(error).__name__}: {error}"
            ) from error


def _without_rounding(_inspector: object, _table: sa.Table, column: dict[str, Any]) -> None:
    """Reflects floating-point columns as floats.

    SQLAlchemy reflects a MySQL DOUBLE as a Decimal of ten places, which is a different number.
    """
    if isinstance(column["type"], sa.Float):
        column["type"].asdecimal = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backfill(DataMigration):
    """Sets columns to SQL expressions: one UPDATE statement for each chunk.

    *values*: a mapping of column name to SQL expression (or plain value), or a function of the table that
    returns such a mapping.
    """

    kind: ClassVar[str] = "backfill"
    values: ValuesLike

    def values_for(self, table: sa.Table) -> Mapping[str, Any]:
        """Returns the columns to set and their values, for the live *table*.

        Raises :class:`~online_migrate.exceptions.DataMigrationBroken` if ``values`` is not a mapping, or
        names a column that does not exist.
        """
        values = self._of_table("values", self.values, table) if callable(self.values) else self.values
        if not isinstance(values, Mapping):
            raise exceptions.DataMigrationBroken(
                name=self.name, reason=f"values is a {type(values).__name__}, not a dict of columns"
            )
        by_name = {key_of(column): value for column, value in values.items()}
        known = set(table.c.keys())
        unknown = [column for column in by_name if column not in known]
        if unknown:
            raise exceptions.DataMigrationBroken(
                name=self.name,
                reason=f"values sets {unknown[0]!r}, which is not a column of table {table.name!r}",
            )
        for column, value in by_name.items():
            if isinstance(value, sa.ColumnElement):
                by_name[column] = value = self._of_live_table(f"the value of {column!r}", value, table)
                self._refuse_other_tables(f"the value of {column!r}", value, table)
        return by_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowMigration(DataMigration):
    """Calls a Python function for each row; see :func:`row_migration`."""

    kind: ClassVar[str] = "row"
    function: Callable[[Row[Any]], Mapping[str, Any] | None]
    columns: tuple[str, ...] | None = None

    def read(self, table: sa.Table) -> list[sa.Column[Any]]:
        """Returns the columns of the live *table* that are read for the function.

        Raises :class:`~online_migrate.exceptions.DataMigrationBroken` if one of them does not exist.
        """
        if self.columns is None:
            return list(table.c)
        missing = [name for name in self.columns if name not in table.c]
        if missing:
            raise exceptions.DataMigrationBroken(
                name=self.name,
                reason=f"columns names {missing[0]!r}, which is not a column of table {table.name!r}",
            )
        return [table.c[name] for name in self.columns]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchMigration(DataMigration):
    """Calls a Python function for each chunk; see :func:`batch_migration`."""

    kind: ClassVar[str] = "batch"
    function: Callable[[Connection, Chunk], int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountedMigration(DataMigration):
    """Calls an OpenStack function until it finds no more rows; see :func:`counted`."""

    kind: ClassVar[str] = "counted"
    walks: ClassVar[bool] = False
    function: Callable[[Any, int], tuple[int, int]]
    context: Callable[[], Any] | None = None


def row_migration(
    *, table: TableLike, columns: Iterable[str] | None = None, **options: Any
) -> Callable[[Callable[[Row[Any]], Mapping[str, Any] | None]], RowMigration]:
    """Decorator: makes a data migration of a function of a row.

    The function gets a SQLAlchemy ``Row`` (``row.full_name``) and returns a dict of new values, or None if
    nothing is to be changed. Its effect is committed exactly once for each row; the call itself may be
    repeated after a kill. *table*: see :class:`DataMigration`. *columns*: the columns that the function
    reads; None: all. To read only these is faster. *options*: further arguments of :class:`DataMigration`.
    """

    def decorate(function: Callable[[Row[Any]], Mapping[str, Any] | None]) -> RowMigration:
        named = None if columns is None else tuple(columns)
        return RowMigration(function=function, table=table, columns=named, **_named(options, function))

    return decorate


def batch_migration(
    *, table: TableLike, **options: Any
) -> Callable[[Callable[[Connection, Chunk], int]], BatchMigration]:
    """Decorator: makes a data migration of a function ``(connection, chunk) -> rows done``.

    The function may run any SQL on *connection*, inside the chunk's transaction, which it must not end.
    ``chunk.where`` is the condition of the chunk's pending rows on ``chunk.table``. *table* and *options*:
    see :class:`DataMigration`.
    """

    def decorate(function: Callable[[Connection, Chunk], int]) -> BatchMigration:
        return BatchMigration(function=function, table=table, **_named(options, function))

    return decorate


def counted(
    function: Callable[[Any, int], tuple[int, int]],
    *,
    context: Callable[[], Any] | None = None,
    **options: Any,
) -> CountedMigration:
    """Makes a data migration of an unchanged OpenStack function ``(context, max_count) -> (found, done)``.

    *context*: a function that returns the first argument; by default a context that oslo.db's enginefacade
    accepts. The function commits by itself, so a call may be repeated after a kill: the function must be
    idempotent, as OpenStack requires. Without *table* and *pending* it can be run but opens no gate.
    *options*: further arguments of :class:`DataMigration`.
    """
    return CountedMigration(function=function, context=context, **_named(options, function))


def _described(table: object) -> str:
    return f"the class {table.__name__}" if isinstance(table, type) else f"a {type(table).__name__}"


def _named(options: Mapping[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return {"name": getattr(function, "__name__", ""), **options}
