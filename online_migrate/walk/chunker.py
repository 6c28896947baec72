"""Keyset ranges: the next rows after a key, in the order of a unique key.

A chunk is the rows whose key is above *lower* and not above *upper*. Finding *upper* reads the key's
index only, from where the last chunk ended, so a chunk costs the same at the end of a table as at its
start, however sparse the keys are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.walk.checkpoint import show_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Key = tuple[Any, ...]


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

    Raises :class:`~online_migrate.exceptions.NoKey` where there is none.
    """
    primary = tuple(table.primary_key.columns)
    if primary:
        return primary
    inspector = sa.inspect(connection)
    candidates: list[list[str]] = [
        [name for name in index["column_names"] if name is not None]
        for index in inspector.get_indexes(table.name, schema=table.schema)
        if index["unique"] and all(index["column_names"]) and not _partial(index)
    ]
    constraints = inspector.get_unique_constraints(table.name, schema=table.schema)
    candidates += [list(constraint["column_names"]) for constraint in constraints]
    usable = [names for names in candidates if names and all(not table.c[n].nullable for n in names)]
    if not usable:
        raise exceptions.NoKey(table=table.name)
    return tuple(table.c[name] for name in min(usable, key=lambda names: (len(names), names)))


def _partial(index: Any) -> bool:
    options = index.get("dialect_options", {})
    return any(name.endswith("_where") and value is not None for name, value in options.items())


class Chunker:
    """Walks one table. Holds no position: that is the checkpoint's."""

    def __init__(self, connection: Connection, table: sa.Table) -> None:
        self.table = table
        self.key = key_columns(connection, table)
        self._dialect: Dialect = dialect_of(connection)

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

    def next_upper(self, connection: Connection, lower: Key | None, size: int) -> Key | None:
        """The key of the *size*-th row above *lower*, or of the last row; None at the end of the table."""
        query = sa.select(*self.key).order_by(*self.key)
        if lower is not None:
            query = query.where(self.above(lower))
        found = connection.execute(query.limit(1).offset(size - 1)).first()
        if found is None:
            keys = connection.execute(query.limit(size)).all()
            found = keys[-1] if keys else None
        return None if found is None else tuple(found)

    def next_keys(
        self, connection: Connection, lower: Key | None, size: int, condition: sa.ColumnElement[bool]
    ) -> list[Key]:
        """The keys of the next *size* rows above *lower* that satisfy *condition*."""
        query = sa.select(*self.key).where(condition).order_by(*self.key).limit(size)
        if lower is not None:
            query = query.where(self.above(lower))
        return [tuple(row) for row in connection.execute(query)]

    def chunk(
        self,
        lower: Key | None,
        upper: Key,
        *,
        pending: sa.ColumnElement[bool] | None,
        excluding: Sequence[Key] = (),
    ) -> Chunk:
        """The chunk between two keys."""
        bounds = [self.up_to(upper)] if lower is None else [self.above(lower), self.up_to(upper)]
        inside = sa.and_(*bounds)
        conditions = [inside] if pending is None else [inside, pending]
        if excluding:
            conditions.append(sa.not_(self.among(excluding)))
        return Chunk(
            table=self.table,
            key_columns=self.key,
            lower=lower,
            upper=upper,
            range=inside,
            where=sa.and_(*conditions),
        )

    def among(self, keys: Iterable[Key]) -> sa.ColumnElement[bool]:
        """The rows with one of these keys."""
        if len(self.key) == 1:
            return self.key[0].in_([self._bind(0, key) for key in keys])
        return sa.or_(
            *[sa.and_(*[column == self._bind(i, key) for i, column in enumerate(self.key)]) for key in keys]
        )
