"""Keyset ranges: the next rows after a key, in the order of a unique key.

A chunk consists of the rows whose key is greater than *lower* and not greater than *upper*. The query for
*upper* reads only the index of the key, from the end of the previous chunk. Therefore a chunk costs the same
at the end of a table as at its start, however sparse the keys are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from online_migrate.dialects import dialect_of
from online_migrate.walk.chunk import Chunk
from online_migrate.walk.conditions import KeyConditions
from online_migrate.walk.key import Key, find_key, read_keys
from online_migrate.writers.bulk import our_prefix

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

S = TypeVar("S", bound=sa.Executable)


class Chunker:
    """Builds the key range queries of one table. It holds no position; the position is in the checkpoint."""

    def __init__(self, connection: Connection, table: sa.Table) -> None:
        self.table = table
        dialect = dialect_of(connection)
        self.columns, index = find_key(connection, table)
        """The columns of the key, with SQLAlchemy's types, as user expressions use them."""
        codecs = dialect.value_codecs(connection, table)
        self.key = tuple(dialect.key_expression(column, codecs.get(column.key)) for column in self.columns)
        """The expressions with which a key is read and compared; a key that was read is found again."""
        self.conditions = KeyConditions(table, self.key, row_values=dialect.row_value_ranges)
        self._skipped = f"{our_prefix(table)}skipped"
        self.by_primary_key = index is None
        """True if the walk uses the primary key, which is the clustered index on MySQL."""
        self.hint = dialect.index_hint(connection, table, index)
        """The hint that makes the server use the index of the key; None if the server needs none."""

    def by_key(self, statement: S) -> S:
        """Returns *statement*, which works on a key range, with the hint to use the index of the key."""
        if self.hint is None:
            return statement
        if isinstance(statement, sa.Select):
            return statement.with_hint(self.table, self.hint)
        return statement.with_hint(self.hint) if isinstance(statement, sa.Update) else statement

    def up_to(self, key: Key) -> sa.ColumnElement[bool]:
        """Returns the condition for the rows whose key is not greater than *key*."""
        return self.conditions.up_to(key)

    def key_in(self, keys: Iterable[Key]) -> sa.ColumnElement[bool]:
        """Returns the condition for the rows with one of these keys."""
        return self.conditions.key_in(keys)

    # --- keys ------------------------------------------------------------------------------------

    def end_of(self, connection: Connection, lower: Key | None, upper: Key, n: int) -> Key | None:
        """Returns the key of the *n*-th row above *lower*; None if there are fewer rows up to *upper*."""
        query = self._ends[lower is None]
        parameters = self.conditions.bounds(lower, upper) | {self._skipped: n - 1}
        found = self.keys(lambda: connection.execute(query, parameters))
        return found[0] if found else None

    @functools.cached_property
    def _ends(self) -> dict[bool, sa.Select[Any]]:
        skipped = sa.bindparam(self._skipped, type_=sa.Integer)
        return {
            start: self.by_key(sa.select(*self.key))
            .where(self.conditions.between(from_start=start))
            .order_by(*self.key)
            .limit(1)
            .offset(skipped)
            for start in (True, False)
        }

    def last_key(
        self,
        connection: Connection,
        lower: Key | None,
        condition: sa.ColumnElement[bool] | None = None,
        *,
        sparse: bool = False,
    ) -> Key | None:
        """Returns the highest key above *lower* of a row that satisfies *condition*; None if there is none.

        *sparse*, here and in the next methods: few rows satisfy *condition*, and another index may find them
        faster than the index of the key, so no index hint is given.
        """
        highest_first = [part.desc() for part in self.key]
        query = self._keys_above(lower, condition, sparse).order_by(None).order_by(*highest_first).limit(1)
        found = self._read(connection, query)
        return found[0] if found else None

    def nth_key(
        self,
        connection: Connection,
        lower: Key | None,
        n: int,
        condition: sa.ColumnElement[bool] | None = None,
        *,
        sparse: bool = False,
    ) -> Key | None:
        """Returns the *n*-th key above *lower*, of the rows that satisfy *condition*.

        Returns None if there are fewer than *n* such rows.
        """
        query = self._keys_above(lower, condition, sparse).limit(1).offset(n - 1)
        found = self._read(connection, query)
        return found[0] if found else None

    def _keys_above(
        self, lower: Key | None, condition: sa.ColumnElement[bool] | None, sparse: bool
    ) -> sa.Select[Any]:
        keys = sa.select(*self.key).order_by(*self.key)
        query = keys if sparse else self.by_key(keys)
        if condition is not None:
            query = query.where(condition)
        return query if lower is None else query.where(self.conditions.above(lower))

    def next_keys(
        self,
        connection: Connection,
        lower: Key | None,
        size: int,
        condition: sa.ColumnElement[bool] | None = None,
        *,
        sparse: bool = False,
    ) -> list[Key]:
        """Returns the keys of the next *size* rows above *lower*, of those that satisfy *condition*."""
        return self._read(connection, self._keys_above(lower, condition, sparse).limit(size))

    def _read(self, connection: Connection, query: sa.Select[Any]) -> list[Key]:
        return self.keys(lambda: connection.execute(query))

    def keys(self, ask: Callable[[], Iterable[sa.Row[Any]]]) -> list[Key]:
        """Returns the keys that the query *ask* reads.

        Raises :class:`~online_migrate.walk.key.KeyUnreadable` if the driver cannot represent one of them.
        """
        return read_keys(self.table, ask)

    # --- chunks ----------------------------------------------------------------------------------

    def chunk(
        self,
        lower: Key | None,
        upper: Key,
        *,
        pending: sa.ColumnElement[bool] | None,
        excluding: Sequence[Key] = (),
        only: Sequence[Key] | None = None,
        sparse: bool = False,
    ) -> Chunk:
        """Returns the chunk between two keys.

        *excluding*: keys of rows to leave out. *only*: keys of the rows to which the chunk is restricted.
        """

        def build() -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
            inside = self.up_to(upper)
            if lower is not None:
                inside = sa.and_(self.conditions.above(lower), inside)
            conditions = [inside] if pending is None else [inside, pending]
            if excluding:
                conditions.append(sa.not_(self.key_in(excluding)))
            if only is not None:
                conditions.append(self.key_in(only))
            return inside, sa.and_(*conditions)

        plain = not excluding and only is None
        bounds = self.conditions.bounds(lower, upper) if plain else None
        return Chunk(self.table, self.columns, lower, upper, build, bounds, sparse)

    def single(self, key: Key) -> Chunk:
        """Returns a chunk of one row, whether it is pending or not."""

        def build() -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
            this = self.key_in([key])
            return this, this

        return Chunk(self.table, self.columns, None, key, build)
