"""A data migration bound to a live connection: the immutable state that its workers share."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from online_migrate.dialects import Dialect, dialect_of
from online_migrate.kinds.definition import Backfill, DataMigration, RowMigration, Subject
from online_migrate.kinds.pending import is_pending
from online_migrate.kinds.visibility import require_visible
from online_migrate.values.exact import exact_column
from online_migrate.walk.chunker import Chunk, Chunker, CompiledChunkStatement, Key
from online_migrate.writers.bulk import BulkWriter, plain_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_VALUES_LOCK = threading.Lock()
"""Guards user code that must be called once in a run, by the first thread that needs its result."""


@dataclasses.dataclass(frozen=True)
class BoundMigration:
    """A data migration, its reflected table, and the statements on the table's chunks. Immutable."""

    migration: DataMigration
    subject: Subject
    dialect: Dialect
    chunker: Chunker
    writer: BulkWriter
    pending: sa.ColumnElement[bool] | None
    """The condition of a pending row; None if the data migration has no ``pending`` expression."""
    preserved_columns: tuple[str, ...]
    """Columns that change automatically with every UPDATE of a row, and whose values are to be preserved."""

    columns: tuple[sa.Column[Any], ...]
    """The columns that are read for a row function."""
    writable_columns: frozenset[str]
    """The columns that a row function may set."""
    version: Callable[[str], str] | None
    """Returns SQL whose value changes whenever a column that the function or ``pending`` reads changes.

    The argument is the name, or the alias, of the table in the statement. None: the rows have no version.
    """
    selected: tuple[sa.ColumnElement[Any], ...]
    """The columns of the query for a row function: the key, *columns*, and the version if there is one."""

    @property
    def largest_chunk(self) -> int:
        """The maximum number of rows of a chunk.

        It is smaller for a row function, because all rows of the chunk are in memory at the same time.
        """
        return 2_500 if self.is_per_row else 100_000

    @property
    def is_per_row(self) -> bool:
        """True if a function is called for each row, so that a row must be read before it is written."""
        return isinstance(self.migration, RowMigration)

    @property
    def name(self) -> str:
        """The name of the data migration."""
        return self.migration.name

    # --- statements on the pending rows of a chunk -----------------------------------------------

    def pending_keys(self, connection: Connection, chunk: Chunk) -> list[Key]:
        """Returns the keys of the pending rows of *chunk*."""
        return self.chunker.keys(lambda: self._pending_keys_statement.execute(connection, chunk))

    @functools.cached_property
    def _pending_keys_statement(self) -> CompiledChunkStatement:
        key = self.chunker.key
        return self._compiled(lambda where: sa.select(*key).where(where).order_by(*key))

    @functools.cached_property
    def update_statement(self) -> sa.Update:
        """The UPDATE of a Backfill, without a condition; the caller adds the condition of the rows."""
        table = self.subject.table
        untouched = {name: table.c[name] for name in self.preserved_columns if name not in self._values}
        return sa.update(table).values(untouched | self._values)

    @property
    def _values(self) -> dict[str, Any]:
        with _VALUES_LOCK:
            return self._computed_values

    @functools.cached_property
    def _computed_values(self) -> dict[str, Any]:
        assert isinstance(self.migration, Backfill)
        return dict(self.migration.values_for(self.subject.table))

    @functools.cached_property
    def update_chunk_statement(self) -> CompiledChunkStatement:
        """The UPDATE of a Backfill, for the pending rows of a chunk."""
        return self._compiled(self.update_statement.where)

    @functools.cached_property
    def update_returning_statement(self) -> CompiledChunkStatement:
        """The UPDATE of a Backfill for the pending rows of a chunk, where :attr:`Dialect.update_returning`.

        It returns the number of updated rows, and the number of those that are still pending.
        """

        def build(where: sa.ColumnElement[bool]) -> sa.Executable:
            assert self.pending is not None
            moved = self.update_statement.where(where).returning(self.pending.label("p")).cte("moved")
            still = sa.func.count().filter(moved.c.p)
            return sa.select(sa.func.count(), still).select_from(moved)

        return self._compiled(build)

    @functools.cached_property
    def select_rows_statement(self) -> CompiledChunkStatement:
        """The query of the pending rows of a chunk for a row function; see :attr:`selected`."""
        return self._compiled(self._rows)

    @functools.cached_property
    def select_rows_for_update_statement(self) -> CompiledChunkStatement:
        """Like :attr:`select_rows_statement`, and locks the rows (FOR UPDATE)."""
        return self._compiled(lambda where: self._rows(where).with_for_update())

    def _rows(self, where: sa.ColumnElement[bool]) -> sa.Select[Any]:
        return sa.select(*self.selected).where(where).order_by(*self.chunker.key)

    def _compiled(self, build: Callable[[sa.ColumnElement[bool]], sa.Executable]) -> CompiledChunkStatement:
        return CompiledChunkStatement(self.chunker, self.pending, build)

    @classmethod
    def bind(cls, connection: Connection, migration: DataMigration) -> BoundMigration:
        """Reflects the table and binds *migration* to it.

        Raises :class:`~online_migrate.exceptions.PendingUnreadable` if the table, or a column that an
        expression names, does not exist; :class:`~online_migrate.exceptions.DataMigrationBroken` if the data
        migration is not valid; :class:`~online_migrate.exceptions.RowsHidden` if rows may be hidden from the
        session.
        """
        dialect = dialect_of(connection)
        subject = migration.subject(connection)
        table = subject.table
        require_visible(connection, migration, subject)
        chunker = Chunker(connection, table)
        preserved = () if migration.touch else tuple(_self_updating(connection, dialect, table))
        pending = subject.pending
        columns = tuple(migration.read(table)) if isinstance(migration, RowMigration) else ()
        version = _version(connection, dialect, table, columns, pending)
        return cls(
            migration=migration,
            subject=subject,
            dialect=dialect,
            chunker=chunker,
            writer=_writer(connection, dialect, chunker, migration, preserved),
            pending=None if pending is None else is_pending(pending),
            preserved_columns=preserved,
            columns=columns,
            writable_columns=frozenset(table.c.keys()),
            version=version,
            selected=_selected(connection, chunker, columns, version),
        )


def _writer(
    connection: Connection,
    dialect: Dialect,
    chunker: Chunker,
    migration: DataMigration,
    constant: tuple[str, ...],
) -> BulkWriter:
    if migration.touch and any(column.onupdate is not None for column in chunker.table.c):
        # Only SQLAlchemy's own UPDATE evaluates the ``onupdate`` of a typed table's columns.
        return BulkWriter(chunker.table, chunker.key)
    return dialect.bulk_writer(connection, chunker.table, chunker.key, constant, chunker.hint)


def _version(
    connection: Connection,
    dialect: Dialect,
    table: sa.Table,
    columns: Sequence[sa.Column[Any]],
    pending: sa.ColumnElement[bool] | None,
) -> Callable[[str], str] | None:
    # The version includes the columns of ``pending`` too: an application can migrate a row itself without a
    # change to the columns that the function reads.
    looked_at = {*(column.name for column in columns), *_columns_in(pending, table)}
    watched = [column for column in table.c if column.name in looked_at]

    def version(name: str) -> str:
        return dialect.row_version(connection, table, watched, name) or ""

    return version if columns and version("t") else None


def _columns_in(expression: sa.ColumnElement[bool] | None, table: sa.Table) -> set[str]:
    """Returns the names of the columns of *table* that an expression reads, including those in subqueries.

    Returns all columns if the expression contains textual SQL.
    """
    parts = [] if expression is None else list(visitors.iterate(expression))
    if any(_is_text(part) for part in parts):
        return {column.name for column in table.c}
    columns = [part for part in parts if isinstance(part, sa.ColumnClause)]
    return {column.name for column in columns if column.table is None or column.table == table}


def _is_text(part: visitors.Visitable) -> bool:
    if isinstance(part, sa.ColumnClause):
        # A subquery often selects * or 1, which is no column.
        return part.is_literal and part.name != "*" and not part.name.isdigit()
    return isinstance(part, sa.TextClause)


_LABEL_PREFIX = "online_migrate_"
"""The prefix of the labels of the engine's own columns, next to the user's columns."""


def _selected(
    connection: Connection,
    chunker: Chunker,
    read: Sequence[sa.Column[Any]],
    version: Callable[[str], str] | None,
) -> tuple[sa.ColumnElement[Any], ...]:
    # The key columns have labels of their own, with a prefix that no column of the user has by accident.
    key = [part.label(f"{_LABEL_PREFIX}key_{i}") for i, part in enumerate(chunker.key)]
    # A type that the user declared is used as it is, including its conversion of values.
    columns = [exact_column(column) for column in read]
    if version is None:
        return (*key, *columns)
    table = plain_name(connection, chunker.table.schema, chunker.table.name)
    at: sa.ColumnElement[str] = sa.literal_column(version(table), sa.Text())
    return (*key, *columns, at.label(f"{_LABEL_PREFIX}version"))


def _self_updating(connection: Connection, dialect: Dialect, table: sa.Table) -> list[str]:
    by_server = dialect.self_updating_columns(connection, table)
    # The columns of a typed sa.Table that SQLAlchemy would change.
    by_us = [key for key, column in table.c.items() if column.onupdate is not None]
    return sorted({*by_server, *by_us})
