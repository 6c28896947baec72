"""Keyset ranges: the next rows after a key, in the order of a unique key.

A chunk is the rows whose key is above *lower* and not above *upper*. Finding *upper* reads the key's
index only, from where the last chunk ended, so a chunk costs the same at the end of a table as at its
start, however sparse the keys are.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.walk.checkpoint import show_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Key = tuple[Any, ...]


class KeyUnreadable(exceptions.Failed):
    """Table {table!r} cannot be walked: the driver cannot read one of its keys ({error})."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """The rows of *table* with *lower* < key <= *upper*; *lower* None: from the start."""

    table: sa.Table
    key_columns: tuple[sa.Column[Any], ...]
    lower: Key | None
    upper: Key
    range: sa.ColumnElement[bool]
    """The condition of the range alone."""
    where: sa.ColumnElement[bool]
    """The condition of the range's pending rows: what a data migration works on."""

    def __str__(self) -> str:
        start = "the start" if self.lower is None else f"after {show_key(self.lower)}"
        return f"{self.table.name}: from {start} to {show_key(self.upper)}"


def key_columns(connection: Connection, table: sa.Table) -> tuple[sa.Column[Any], ...]:
    """The columns to walk by: the primary key, or else a unique key of NOT NULL columns.

    What the database says counts, not what a typed ``sa.Table`` says: half of a key is not a key. Raises
    :class:`~online_migrate.exceptions.NoKey` where there is none.
    """
    inspector = sa.inspect(connection)
    columns = inspector.get_columns(table.name, schema=table.schema)
    nullable = {column["name"] for column in columns if column["nullable"]}
    names = list(inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"])
    if not names:
        usable = [key for key in _unique_keys(inspector, table) if not nullable & set(key)]
        if not usable:
            raise exceptions.NoKey(table=table.name)
        names = min(usable, key=lambda names: (len(names), names))
    missing = [name for name in names if name not in table.c]
    if missing:
        raise exceptions.NoKey(
            table=table.name,
            hint=f"the database has one, but the sa.Table that was given does not name {missing[0]!r}: "
            "add that column, or give the table's name alone",
        )
    _refuse_null(connection, table, [table.c[name] for name in names if name in nullable])
    return tuple(table.c[name] for name in names)


def _unique_keys(inspector: sa.Inspector, table: sa.Table) -> list[list[str]]:
    indexes = inspector.get_indexes(table.name, schema=table.schema)
    constraints = inspector.get_unique_constraints(table.name, schema=table.schema)
    keys = [
        [name for name in index["column_names"] if name is not None]
        for index in indexes
        if index["unique"] and all(index["column_names"]) and not _partial(index)
    ]
    return [key for key in (*keys, *(list(c["column_names"]) for c in constraints)) if key]


def _refuse_null(connection: Connection, table: sa.Table, columns: Sequence[sa.Column[Any]]) -> None:
    """SQLite lets a primary key be NULL; such a row is nowhere between two keys."""
    for column in columns:
        null = column.is_(None)
        query: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(table).where(null).limit(1)
        if connection.execute(query).first() is not None:
            raise exceptions.NoKey(
                table=table.name,
                hint=f"{column.name!r} of its primary key is NULL in some rows: give them a key first",
            )


def _partial(index: Any) -> bool:
    options = index.get("dialect_options", {})
    return any(name.endswith("_where") and value is not None for name, value in options.items())


_ORDERED_AS_HERE = (int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)


def is_beyond(lower: Key, upper: Key) -> bool:
    """False if *upper*, read as the key of a row above *lower*, is certainly not above it. Pure.

    That is so for values that the driver does not give back as they are stored: a 24:00 that comes as
    00:00, a float that comes rounded. Texts are in the server's order, of which nothing is known here.
    """
    for before, after in zip(lower, upper, strict=True):
        if before == after:
            continue
        if type(before) is type(after) and isinstance(before, _ORDERED_AS_HERE):
            return bool(before < after)
        return True
    return False


class Chunker:
    """Walks one table. Holds no position: that is the checkpoint's."""

    def __init__(self, connection: Connection, table: sa.Table) -> None:
        self.table = table
        self._dialect: Dialect = dialect_of(connection)
        self.columns = key_columns(connection, table)
        """The columns of the key, as the user sees them."""
        self.key = tuple(self._dialect.key_expression(column) for column in self.columns)
        """The key as it is read and compared: what was read is found again."""

    def above(self, key: Key) -> sa.ColumnElement[bool]:
        """The rows whose key is greater than *key*."""
        if len(self.key) == 1:
            return self.key[0] > self._bind(0, key)
        if self._dialect.row_value_ranges:
            return sa.tuple_(*self.key) > self._tuple(key)
        steps = [self._step(i, key, self.key[i] > self._bind(i, key)) for i in range(len(self.key))]
        return sa.and_(self.key[0] >= self._bind(0, key), sa.or_(*steps))

    def up_to(self, key: Key) -> sa.ColumnElement[bool]:
        """The rows whose key is not greater than *key*."""
        if len(self.key) == 1:
            return self.key[0] <= self._bind(0, key)
        if self._dialect.row_value_ranges:
            return sa.tuple_(*self.key) <= self._tuple(key)
        last = len(self.key) - 1
        steps = [self._step(i, key, self.key[i] < self._bind(i, key)) for i in range(last)]
        steps.append(self._step(last, key, self.key[last] <= self._bind(last, key)))
        return sa.and_(self.key[0] <= self._bind(0, key), sa.or_(*steps))

    def _step(self, i: int, key: Key, comparison: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        """``a = x AND b > y``: one alternative of a comparison of keys that is spelled out, because
        MySQL reads the whole table for ``(a, b) > (x, y)``. The bound on the first column stands in
        front of the alternatives for the optimizer to start from."""
        return sa.and_(*[self.key[j] == self._bind(j, key) for j in range(i)], comparison)

    def _tuple(self, key: Key) -> sa.Tuple:
        return sa.tuple_(*[self._bind(i, key) for i in range(len(self.key))])

    def _bind(self, i: int, key: Sequence[Any]) -> sa.BindParameter[Any]:
        return sa.bindparam(None, key[i], type_=self.key[i].type, unique=True)

    def last_key(
        self, connection: Connection, lower: Key | None, condition: sa.ColumnElement[bool] | None = None
    ) -> Key | None:
        """The highest key above *lower* (of a row that satisfies *condition*); None if there is none."""
        highest_first = [part.desc() for part in self.key]
        query = self._ahead(lower, condition).order_by(None).order_by(*highest_first).limit(1)
        found = self._read(connection, query)
        return found[0] if found else None

    def nth_key(
        self,
        connection: Connection,
        lower: Key | None,
        n: int,
        condition: sa.ColumnElement[bool] | None = None,
    ) -> Key | None:
        """The key of the *n*-th row above *lower* (that satisfies *condition*); None if there are fewer."""
        query = self._ahead(lower, condition).limit(1).offset(n - 1)
        found = self._read(connection, query)
        return found[0] if found else None

    def _ahead(self, lower: Key | None, condition: sa.ColumnElement[bool] | None) -> sa.Select[Any]:
        query = sa.select(*self.key).order_by(*self.key)
        if condition is not None:
            query = query.where(condition)
        return query if lower is None else query.where(self.above(lower))

    def next_keys(
        self,
        connection: Connection,
        lower: Key | None,
        size: int,
        condition: sa.ColumnElement[bool] | None = None,
    ) -> list[Key]:
        """The keys of the next *size* rows above *lower*, only those that satisfy *condition* if given."""
        return self._read(connection, self._ahead(lower, condition).limit(size))

    def _read(self, connection: Connection, query: sa.Select[Any]) -> list[Key]:
        try:
            keys = [tuple(row) for row in connection.execute(query)]
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # The year 44 BC, or a value that is no member of an enum: Python has nothing for it.
            raise KeyUnreadable(table=self.table.name, error=f"{type(error).__name__}: {error}") from error
        if any(part is None for key in keys for part in key):
            # No column of the key is NULL: so mysqlclient reads the date 0000-00-00.
            raise KeyUnreadable(table=self.table.name, error="it comes as NULL")
        return keys

    def chunk(
        self,
        lower: Key | None,
        upper: Key,
        *,
        pending: sa.ColumnElement[bool] | None,
        excluding: Sequence[Key] = (),
        only: Sequence[Key] | None = None,
    ) -> Chunk:
        """The chunk between two keys: without the rows of *excluding*, of those of *only* if given."""
        bounds = [self.up_to(upper)] if lower is None else [self.above(lower), self.up_to(upper)]
        inside = sa.and_(*bounds)
        conditions = [inside] if pending is None else [inside, pending]
        if excluding:
            conditions.append(sa.not_(self.among(excluding)))
        if only is not None:
            conditions.append(self.among(only))
        return Chunk(
            table=self.table,
            key_columns=self.columns,
            lower=lower,
            upper=upper,
            range=inside,
            where=sa.and_(*conditions),
        )

    def single(self, key: Key) -> Chunk:
        """One row by itself, pending or not."""
        this = self.among([key])
        return Chunk(self.table, self.columns, lower=None, upper=key, range=this, where=this)

    def among(self, keys: Iterable[Key]) -> sa.ColumnElement[bool]:
        """The rows with one of these keys."""
        if len(self.key) == 1:
            return self.key[0].in_([self._bind(0, key) for key in keys])
        # Not OR: SQLite takes no more than a thousand of those.
        return sa.tuple_(*self.key).in_([self._tuple(key) for key in keys])
