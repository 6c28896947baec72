"""Keyset ranges: the next rows after a key, in the order of a unique key.

A chunk consists of the rows whose key is greater than *lower* and not greater than *upper*. The query for
*upper* reads only the index of the key, from the end of the previous chunk. Therefore a chunk costs the same
at the end of a table as at its start, however sparse the keys are.
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
from online_migrate.walk.checkpoint import show_key
from online_migrate.writers.bulk import our_prefix

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Key = tuple[Any, ...]
Binds = Sequence[sa.BindParameter[Any]]
S = TypeVar("S", bound=sa.Executable)


class KeyUnreadable(exceptions.Failed):
    """Table {table!r} cannot be walked: the driver cannot read one of its keys ({error})."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """The rows of *table* with *lower* < key <= *upper*; *lower* None: from the start of the table."""

    table: sa.Table
    key_columns: tuple[sa.Column[Any], ...]
    lower: Key | None
    upper: Key
    build: Callable[[], tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]] = dataclasses.field(
        repr=False, compare=False
    )
    """Builds *range* and *where* on first use, because most chunks need neither."""
    bounds: Mapping[str, Any] | None = dataclasses.field(default=None, repr=False)
    """The parameters of a :class:`CompiledChunkStatement`; None if the chunk lists individual rows."""
    sparse: bool = dataclasses.field(default=False, repr=False, compare=False)
    """Few rows of the chunk are pending, and another index may find them faster than the index of the key."""

    @functools.cached_property
    def _conditions(self) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        return self.build()

    @property
    def range(self) -> sa.ColumnElement[bool]:
        """The condition for all rows of the key range."""
        return self._conditions[0]

    @property
    def where(self) -> sa.ColumnElement[bool]:
        """The condition for the pending rows of the key range, which a data migration processes."""
        return self._conditions[1]

    def __str__(self) -> str:
        start = "the start" if self.lower is None else f"after {show_key(self.lower)}"
        return f"{self.table.name}: from {start} to {show_key(self.upper)}"


def key_columns(connection: Connection, table: sa.Table) -> tuple[sa.Column[Any], ...]:
    """Returns the columns of the walk key: the primary key, or else a unique key of NOT NULL columns.

    The key is read from the database and not from a user's ``sa.Table``, which may declare only a part of it.
    Raises :class:`~online_migrate.exceptions.NoKey` if the table has no such key, if the ``sa.Table`` lacks
    one of its columns, or if a column of the primary key is NULL in some rows.
    """
    return _key(connection, table)[0]


def _key(connection: Connection, table: sa.Table) -> tuple[tuple[sa.Column[Any], ...], str | None]:
    """Returns the columns of the walk key and the name of its index; None for the primary key."""
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
            hint=f"the database has one, but the given sa.Table has no column {missing[0]!r}: "
            "add that column, or pass only the name of the table",
        )
    _refuse_null(connection, table, [table.c[name] for name in names if name in nullable])
    return tuple(table.c[name] for name in names), index


def _unique_keys(inspector: sa.Inspector, table: sa.Table) -> list[tuple[list[str], str]]:
    """Returns the columns and the name of each unique key, except partial and expression indexes."""
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
    """Raises NoKey if a key column is NULL: SQLite allows it, but such a row is in no key range."""
    for column in columns:
        null = column.is_(None)
        query: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(table).where(null).limit(1)
        if connection.execute(query).first() is not None:
            raise exceptions.NoKey(
                table=table.name,
                hint=f"column {column.name!r} of the primary key is NULL in some rows: "
                "assign keys to them first",
            )


def _partial(index: Any) -> bool:
    options = index.get("dialect_options", {})
    return any(name.endswith("_where") and value is not None for name, value in options.items())


def _is_unicode(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


_PYTHON_ORDERED_TYPES = (int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)


def is_beyond(lower: Key, upper: Key) -> bool:
    """Returns False if *upper*, read as the key of a row above *lower*, is certainly not above it. Pure.

    This happens with values that the driver does not return as they are stored: 24:00 returned as 00:00, or
    a rounded float. Texts are ordered by the server's collation, which is not known here; for them the result
    is True if they differ.
    """
    for before, after in zip(lower, upper, strict=True):
        if before == after:
            continue
        if type(before) is type(after) and isinstance(before, _PYTHON_ORDERED_TYPES):
            return bool(before < after)
        return True
    return False


class Chunker:
    """Builds the key range queries of one table. It holds no position; the position is in the checkpoint."""

    def __init__(self, connection: Connection, table: sa.Table) -> None:
        self.table = table
        self._dialect: Dialect = dialect_of(connection)
        self.columns, index = _key(connection, table)
        """The columns of the key, with SQLAlchemy's types, as user expressions use them."""
        codecs = self._dialect.value_codecs(connection, table)
        self.key = tuple(
            self._dialect.key_expression(column, codecs.get(column.key)) for column in self.columns
        )
        """The expressions with which a key is read and compared; a key that was read is found again."""
        self._ours = our_prefix(table)
        self.by_primary_key = index is None
        """True if the walk uses the primary key, which is the clustered index on MySQL."""
        self.hint = self._dialect.index_hint(connection, table, index)
        """The hint that makes the server use the index of the key; None if the server needs none."""

    def by_key(self, statement: S) -> S:
        """Returns *statement*, which works on a key range, with the hint to use the index of the key."""
        if self.hint is None:
            return statement
        if isinstance(statement, sa.Select):
            return statement.with_hint(self.table, self.hint)
        return statement.with_hint(self.hint) if isinstance(statement, sa.Update) else statement

    def above(self, key: Key) -> sa.ColumnElement[bool]:
        """Returns the condition for the rows whose key is greater than *key*."""
        return self._above(self._binds(key))

    def up_to(self, key: Key) -> sa.ColumnElement[bool]:
        """Returns the condition for the rows whose key is not greater than *key*."""
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
        """Returns ``a = x AND b > y``, one alternative of a spelled-out comparison of keys.

        The comparison is spelled out because MySQL reads the whole table for ``(a, b) > (x, y)``. The bound
        on the first column precedes the alternatives, so that the optimizer starts a range scan from it.
        """
        return sa.and_(*[self.key[j] == binds[j] for j in range(i)], comparison)

    def _binds(self, key: Sequence[Any]) -> Binds:
        return [
            sa.bindparam(None, value, type_=part.type, unique=True)
            for part, value in zip(self.key, key, strict=True)
        ]

    # --- statements built once, with the bounds as parameters -------------------------------------

    def _named(self, bound: str) -> Binds:
        return [
            sa.bindparam(f"{self._ours}{bound}_{i}", type_=part.type, required=True)
            for i, part in enumerate(self.key)
        ]

    def _bounds(self, lower: Key | None, upper: Key) -> dict[str, Any]:
        """Returns the parameters of :meth:`between`."""
        values = {f"{self._ours}upper_{i}": value for i, value in enumerate(upper)}
        return values | {f"{self._ours}lower_{i}": value for i, value in enumerate(lower or ())}

    def between(self, *, from_start: bool) -> sa.ColumnElement[bool]:
        """Returns the condition for the rows of a plain chunk; its parameters are :attr:`Chunk.bounds`.

        *from_start*: the chunk has no lower bound.
        """
        upper = self._up_to(self._named("upper"))
        return upper if from_start else sa.and_(self._above(self._named("lower")), upper)

    def end_of(self, connection: Connection, lower: Key | None, upper: Key, n: int) -> Key | None:
        """Returns the key of the *n*-th row above *lower*; None if there are fewer rows up to *upper*."""
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
        """Returns the keys of the next *size* rows above *lower*, of those that satisfy *condition*."""
        return self._read(connection, self._keys_above(lower, condition, sparse).limit(size))

    def _read(self, connection: Connection, query: sa.Select[Any]) -> list[Key]:
        return self.keys(lambda: connection.execute(query))

    def keys(self, ask: Callable[[], Iterable[sa.Row[Any]]]) -> list[Key]:
        """Returns the keys that the query *ask* reads.

        Raises :class:`KeyUnreadable` if the driver cannot represent one of them.
        """
        try:
            keys = [tuple(row) for row in ask()]
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # Python cannot represent the value: the year 44 BC, or a value that is no member of an enum.
            raise KeyUnreadable(table=self.table.name, error=f"{type(error).__name__}: {error}") from error
        if any(part is None for key in keys for part in key):
            # No column of the key is NULL, so this is the date 0000-00-00, which mysqlclient returns as None.
            raise KeyUnreadable(table=self.table.name, error="it is returned as NULL")
        if any(isinstance(part, str) and not _is_unicode(part) for key in keys for part in key):
            # SQLite stores such a text, but Python's driver cannot send it as a parameter.
            raise KeyUnreadable(
                table=self.table.name,
                error="it is not valid UTF-8",
                hint="rewrite that key, or convert it to a BLOB: CAST(... AS BLOB)",
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
        """Returns the chunk between two keys.

        *excluding*: keys of rows to leave out. *only*: keys of the rows to which the chunk is restricted.
        """

        def build() -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
            bounds = [self.up_to(upper)] if lower is None else [self.above(lower), self.up_to(upper)]
            inside = sa.and_(*bounds)
            conditions = [inside] if pending is None else [inside, pending]
            if excluding:
                conditions.append(sa.not_(self.key_in(excluding)))
            if only is not None:
                conditions.append(self.key_in(only))
            return inside, sa.and_(*conditions)

        plain = not excluding and only is None
        bounds = self._bounds(lower, upper) if plain else None
        return Chunk(self.table, self.columns, lower, upper, build, bounds, sparse)

    def single(self, key: Key) -> Chunk:
        """Returns a chunk of one row, whether it is pending or not."""

        def build() -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
            this = self.key_in([key])
            return this, this

        return Chunk(self.table, self.columns, None, key, build)

    def key_in(self, keys: Iterable[Key]) -> sa.ColumnElement[bool]:
        """Returns the condition for the rows with one of these keys."""
        if len(self.key) == 1:
            return self.key[0].in_([self._binds(key)[0] for key in keys])
        # IN and not OR, because SQLite limits the depth of an expression to 1000.
        return sa.tuple_(*self.key).in_([sa.tuple_(*self._binds(key)) for key in keys])


class CompiledChunkStatement:
    """A statement on the pending rows of a chunk, built once and reused for every plain key range.

    Building a statement takes the client longer than sending it. *build*: returns the statement for a
    condition on the rows. For a chunk that lists individual rows the statement is built each time.
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
        """Executes the statement on the rows of *chunk*."""
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
