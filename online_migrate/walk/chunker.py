"""Keyset ranges: the next rows after a key, in the order of a unique key.

A chunk is the rows whose key is above *lower* and not above *upper*. Finding *upper* reads the key's
index only, from where the last chunk ended, so a chunk costs the same at the end of a table as at its
start, however sparse the keys are.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects import Dialect, dialect_of
from online_migrate.dialects.bulk import our_prefix
from online_migrate.walk.checkpoint import show_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Key = tuple[Any, ...]
Binds = Sequence[sa.BindParameter[Any]]
S = TypeVar("S", bound=sa.Executable)


class KeyUnreadable(exceptions.Failed):
    """Table {table!r} cannot be walked: the driver cannot read one of its keys ({error})."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """The rows of *table* with *lower* < key <= *upper*; *lower* None: from the start."""

    table: sa.Table
    key_columns: tuple[sa.Column[Any], ...]
    lower: Key | None
    upper: Key
    build: Callable[[], tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]] = dataclasses.field(
        repr=False, compare=False
    )
    """Puts together *range* and *where*, which most chunks are never asked for."""
    bounds: Mapping[str, Any] | None = dataclasses.field(default=None, repr=False)
    """The parameters of a statement :class:`ForChunks`; None where rows are named one by one."""
    sparse: bool = dataclasses.field(default=False, repr=False, compare=False)
    """Few of its rows are pending, and another index may find them sooner than the key's."""

    @functools.cached_property
    def _conditions(self) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        return self.build()

    @property
    def range(self) -> sa.ColumnElement[bool]:
        """The condition of the range alone."""
        return self._conditions[0]

    @property
    def where(self) -> sa.ColumnElement[bool]:
        """The condition of the range's pending rows: what a data migration works on."""
        return self._conditions[1]

    def __str__(self) -> str:
        start = "the start" if self.lower is None else f"after {show_key(self.lower)}"
        return f"{self.table.name}: from {start} to {show_key(self.upper)}"


def key_columns(connection: Connection, table: sa.Table) -> tuple[sa.Column[Any], ...]:
    """The columns to walk by: the primary key, or else a unique key of NOT NULL columns.

    What the database says counts, not what a typed ``sa.Table`` says: half of a key is not a key. Raises
    :class:`~online_migrate.exceptions.NoKey` where there is none.
    """
    return _key(connection, table)[0]


def _key(connection: Connection, table: sa.Table) -> tuple[tuple[sa.Column[Any], ...], str | None]:
    """The same, and the name of the index; None if it is the primary key's."""
    inspector = sa.inspect(connection)
    columns = inspector.get_columns(table.name, schema=table.schema)
    nullable = {column["name"] for column in columns if column["nullable"]}
    index: str | None = None
    names = list(inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"])
    if not names:
        usable = [key for key in _unique_keys(inspector, table) if not nullable & set(key[0])]
        if not usable:
            raise exceptions.NoKey(table=table.name)
        names, index = min(usable, key=lambda key: (len(key[0]), key))
    missing = [name for name in names if name not in table.c]
    if missing:
        raise exceptions.NoKey(
            table=table.name,
            hint=f"the database has one, but the sa.Table that was given does not name {missing[0]!r}: "
            "add that column, or give the table's name alone",
        )
    _refuse_null(connection, table, [table.c[name] for name in names if name in nullable])
    return tuple(table.c[name] for name in names), index


def _unique_keys(inspector: sa.Inspector, table: sa.Table) -> list[tuple[list[str], str]]:
    """The columns and the name of each."""
    indexes = inspector.get_indexes(table.name, schema=table.schema)
    constraints = inspector.get_unique_constraints(table.name, schema=table.schema)
    keys = [
        ([name for name in index["column_names"] if name is not None], index["name"] or "")
        for index in indexes
        if index["unique"] and all(index["column_names"]) and not _partial(index)
    ]
    keys += [(list(constraint["column_names"]), constraint["name"] or "") for constraint in constraints]
    return [key for key in keys if key[0]]


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


def _is_unicode(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


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
        self.columns, index = _key(connection, table)
        """The columns of the key, as the user sees them."""
        codecs = self._dialect.value_codecs(connection, table)
        self.key = tuple(
            self._dialect.key_expression(column, codecs.get(column.key)) for column in self.columns
        )
        """The key as it is read and compared: what was read is found again."""
        self._ours = our_prefix(table)
        self.by_primary_key = index is None
        """The walk goes by the primary key, in whose index MySQL's rows are."""
        self.hint = self._dialect.index_hint(connection, table, index)
        """What makes the server use the key's index, if it needs to be told."""

    def by_key(self, statement: S) -> S:
        """*statement*, on a range of keys, with what it takes for the server to use the key."""
        if self.hint is None:
            return statement
        if isinstance(statement, sa.Select):
            return statement.with_hint(self.table, self.hint)
        return statement.with_hint(self.hint) if isinstance(statement, sa.Update) else statement

    def above(self, key: Key) -> sa.ColumnElement[bool]:
        """The rows whose key is greater than *key*."""
        return self._above(self._binds(key))

    def up_to(self, key: Key) -> sa.ColumnElement[bool]:
        """The rows whose key is not greater than *key*."""
        return self._up_to(self._binds(key))

    def _above(self, binds: Binds) -> sa.ColumnElement[bool]:
        if len(self.key) == 1:
            return self.key[0] > binds[0]
        if self._dialect.row_value_ranges:
            return sa.tuple_(*self.key) > sa.tuple_(*binds)
        steps = [self._step(i, binds, part > binds[i]) for i, part in enumerate(self.key)]
        return sa.and_(self.key[0] >= binds[0], sa.or_(*steps))

    def _up_to(self, binds: Binds) -> sa.ColumnElement[bool]:
        if len(self.key) == 1:
            return self.key[0] <= binds[0]
        if self._dialect.row_value_ranges:
            return sa.tuple_(*self.key) <= sa.tuple_(*binds)
        last = len(self.key) - 1
        steps = [self._step(i, binds, self.key[i] < binds[i]) for i in range(last)]
        steps.append(self._step(last, binds, self.key[last] <= binds[last]))
        return sa.and_(self.key[0] <= binds[0], sa.or_(*steps))

    def _step(self, i: int, binds: Binds, comparison: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        """``a = x AND b > y``: one alternative of a comparison of keys that is spelled out, because
        MySQL reads the whole table for ``(a, b) > (x, y)``. The bound on the first column stands in
        front of the alternatives for the optimizer to start from."""
        return sa.and_(*[self.key[j] == binds[j] for j in range(i)], comparison)

    def _binds(self, key: Sequence[Any]) -> Binds:
        return [
            sa.bindparam(None, value, type_=part.type, unique=True)
            for part, value in zip(self.key, key, strict=True)
        ]

    # --- put together once, for whatever bounds --------------------------------------------------

    def _named(self, bound: str) -> Binds:
        return [
            sa.bindparam(f"{self._ours}{bound}_{i}", type_=part.type, required=True)
            for i, part in enumerate(self.key)
        ]

    def _bounds(self, lower: Key | None, upper: Key) -> dict[str, Any]:
        """The parameters of :meth:`between`."""
        values = {f"{self._ours}upper_{i}": value for i, value in enumerate(upper)}
        return values | {f"{self._ours}lower_{i}": value for i, value in enumerate(lower or ())}

    def between(self, *, from_start: bool) -> sa.ColumnElement[bool]:
        """The rows of any plain chunk, whose :attr:`Chunk.bounds` are its parameters."""
        upper = self._up_to(self._named("upper"))
        return upper if from_start else sa.and_(self._above(self._named("lower")), upper)

    def end_of(self, connection: Connection, lower: Key | None, upper: Key, n: int) -> Key | None:
        """The key of the *n*-th row above *lower*; None if there are fewer up to *upper*."""
        query = self._ends[lower is None]
        parameters = self._bounds(lower, upper) | {f"{self._ours}skipped": n - 1}
        found = self.keys(lambda: connection.execute(query, parameters))
        return found[0] if found else None

    @functools.cached_property
    def _ends(self) -> dict[bool, sa.Select[Any]]:
        skipped = sa.bindparam(f"{self._ours}skipped", type_=sa.Integer)
        return {
            start: self.by_key(sa.select(*self.key))
            .where(self.between(from_start=start))
            .order_by(*self.key)
            .limit(1)
            .offset(skipped)
            for start in (True, False)
        }

    # --- keys ------------------------------------------------------------------------------------

    def last_key(
        self,
        connection: Connection,
        lower: Key | None,
        condition: sa.ColumnElement[bool] | None = None,
        *,
        sparse: bool = False,
    ) -> Key | None:
        """The highest key above *lower* (of a row that satisfies *condition*); None if there is none.

        *sparse*, here and below: few rows satisfy it, and another index may find them sooner than the key's.
        """
        highest_first = [part.desc() for part in self.key]
        query = self._ahead(lower, condition, sparse).order_by(None).order_by(*highest_first).limit(1)
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
        """The key of the *n*-th row above *lower* (that satisfies *condition*); None if there are fewer."""
        query = self._ahead(lower, condition, sparse).limit(1).offset(n - 1)
        found = self._read(connection, query)
        return found[0] if found else None

    def _ahead(
        self, lower: Key | None, condition: sa.ColumnElement[bool] | None, sparse: bool
    ) -> sa.Select[Any]:
        keys = sa.select(*self.key).order_by(*self.key)
        query = keys if sparse else self.by_key(keys)
        if condition is not None:
            query = query.where(condition)
        return query if lower is None else query.where(self.above(lower))

    def next_keys(
        self,
        connection: Connection,
        lower: Key | None,
        size: int,
        condition: sa.ColumnElement[bool] | None = None,
        *,
        sparse: bool = False,
    ) -> list[Key]:
        """The keys of the next *size* rows above *lower*, only those that satisfy *condition* if given."""
        return self._read(connection, self._ahead(lower, condition, sparse).limit(size))

    def _read(self, connection: Connection, query: sa.Select[Any]) -> list[Key]:
        return self.keys(lambda: connection.execute(query))

    def keys(self, ask: Callable[[], Iterable[sa.Row[Any]]]) -> list[Key]:
        """The keys that a query gives; raises :class:`KeyUnreadable`."""
        try:
            keys = [tuple(row) for row in ask()]
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # The year 44 BC, or a value that is no member of an enum: Python has nothing for it.
            raise KeyUnreadable(table=self.table.name, error=f"{type(error).__name__}: {error}") from error
        if any(part is None for key in keys for part in key):
            # No column of the key is NULL: so mysqlclient reads the date 0000-00-00.
            raise KeyUnreadable(table=self.table.name, error="it comes as NULL")
        if any(isinstance(part, str) and not _is_unicode(part) for key in keys for part in key):
            # SQLite keeps such a text, and Python's driver cannot ask for it.
            raise KeyUnreadable(
                table=self.table.name,
                error="it is no valid UTF-8",
                hint="write that key anew, or make it a BLOB: CAST(... AS BLOB)",
            )
        return keys

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
        """The chunk between two keys: without the rows of *excluding*, of those of *only* if given."""

        def build() -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
            bounds = [self.up_to(upper)] if lower is None else [self.above(lower), self.up_to(upper)]
            inside = sa.and_(*bounds)
            conditions = [inside] if pending is None else [inside, pending]
            if excluding:
                conditions.append(sa.not_(self.among(excluding)))
            if only is not None:
                conditions.append(self.among(only))
            return inside, sa.and_(*conditions)

        plain = not excluding and only is None
        bounds = self._bounds(lower, upper) if plain else None
        return Chunk(self.table, self.columns, lower, upper, build, bounds, sparse)

    def single(self, key: Key) -> Chunk:
        """One row by itself, pending or not."""

        def build() -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
            this = self.among([key])
            return this, this

        return Chunk(self.table, self.columns, None, key, build)

    def among(self, keys: Iterable[Key]) -> sa.ColumnElement[bool]:
        """The rows with one of these keys."""
        if len(self.key) == 1:
            return self.key[0].in_([self._binds(key)[0] for key in keys])
        # Not OR: SQLite takes no more than a thousand of those.
        return sa.tuple_(*self.key).in_([sa.tuple_(*self._binds(key)) for key in keys])


class ForChunks:
    """A statement on the pending rows of a chunk: put together once, for as long as chunks are plain ranges.

    To put it together takes a client longer than to send it. *build*: makes the statement, of the
    condition of the rows.
    """

    def __init__(
        self,
        chunker: Chunker,
        pending: sa.ColumnElement[bool] | None,
        build: Callable[[sa.ColumnElement[bool]], sa.Executable],
    ) -> None:
        self._build = build
        self._pending = pending
        self._chunker = chunker
        self._built: dict[tuple[bool, bool], sa.Executable] = {}

    def execute(self, connection: Connection, chunk: Chunk) -> sa.CursorResult[Any]:
        """Runs it on the rows of *chunk*."""
        if chunk.bounds is None:
            return connection.execute(self._statement(chunk.where, chunk.sparse))
        kind = (chunk.lower is None, chunk.sparse)
        if kind not in self._built:
            inside = self._chunker.between(from_start=chunk.lower is None)
            where = inside if self._pending is None else sa.and_(inside, self._pending)
            self._built[kind] = self._statement(where, chunk.sparse)
        return connection.execute(self._built[kind], chunk.bounds)

    def _statement(self, where: sa.ColumnElement[bool], sparse: bool) -> sa.Executable:
        statement = self._build(where)
        return statement if sparse else self._chunker.by_key(statement)
