"""A data migration on a live connection: everything about it that its workers share and nobody changes."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from online_migrate.dialects import Dialect, dialect_of
from online_migrate.dialects.bulk import BulkWriter, plain_name
from online_migrate.dialects.values.exact import exact_column
from online_migrate.evidence.pending import is_pending
from online_migrate.evidence.visibility import require_visible
from online_migrate.revision.data_migration import Backfill, DataMigration, RowMigration, Subject
from online_migrate.walk.chunker import Chunk, Chunker, ForChunks, Key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_ONCE = threading.Lock()
"""For what is asked of a user once in a run, whichever of the threads comes first."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be done, and on which table."""

    migration: DataMigration
    subject: Subject
    dialect: Dialect
    chunker: Chunker
    writer: BulkWriter
    pending: sa.ColumnElement[bool] | None
    """The condition of a pending row; None if nobody said what is pending."""
    constant: tuple[str, ...]
    """Columns that change by themselves whenever a row does, and that are to stay as they are."""

    columns: tuple[sa.Column[Any], ...]
    """What a function of a row gets to see."""
    known: frozenset[str]
    """The columns that it may set."""
    version: Callable[[str], str] | None
    """What changes, in SQL, whenever one of these columns does: of the table that is called so."""
    selected: tuple[sa.ColumnElement[Any], ...]
    """What is read of a row for its function: the key, *columns*, and the version if there is one."""

    @property
    def largest_chunk(self) -> int:
        """Rows; those that a function of a row gets are all held in memory at once."""
        return 2_500 if self.is_per_row else 100_000

    @property
    def is_per_row(self) -> bool:
        """A function is called for each row, which has to be read before it is written."""
        return isinstance(self.migration, RowMigration)

    @property
    def name(self) -> str:
        """The data migration's."""
        return self.migration.name

    # --- statements on the pending rows of a chunk -----------------------------------------------

    def pending_keys(self, connection: Connection, chunk: Chunk) -> list[Key]:
        """The keys of the rows of *chunk* that are pending."""
        return self.chunker.keys(lambda: self._keys.execute(connection, chunk))

    @functools.cached_property
    def _keys(self) -> ForChunks:
        key = self.chunker.key
        return self._for_chunks(lambda where: sa.select(*key).where(where).order_by(*key))

    @functools.cached_property
    def update(self) -> sa.Update:
        """What a Backfill does to a row, to be restricted to some rows."""
        table = self.subject.table
        untouched = {name: table.c[name] for name in self.constant if name not in self._values}
        return sa.update(table).values(untouched | self._values)

    @property
    def _values(self) -> dict[str, Any]:
        with _ONCE:
            return self._values_once

    @functools.cached_property
    def _values_once(self) -> dict[str, Any]:
        assert isinstance(self.migration, Backfill)
        return dict(self.migration.values_for(self.subject.table))

    @functools.cached_property
    def moved(self) -> ForChunks:
        """A Backfill of a chunk."""
        return self._for_chunks(self.update.where)

    @functools.cached_property
    def moved_and_counted(self) -> ForChunks:
        """The same where :attr:`Dialect.update_returning`: how many rows, and how many are pending still."""

        def build(where: sa.ColumnElement[bool]) -> sa.Executable:
            assert self.pending is not None
            moved = self.update.where(where).returning(self.pending.label("p")).cte("moved")
            still = sa.func.count().filter(moved.c.p)
            return sa.select(sa.func.count(), still).select_from(moved)

        return self._for_chunks(build)

    @functools.cached_property
    def rows(self) -> ForChunks:
        """What is read of the rows for a function of a row; see :attr:`selected`."""
        return self._for_chunks(self._rows)

    @functools.cached_property
    def locked_rows(self) -> ForChunks:
        """The same, and locks them."""
        return self._for_chunks(lambda where: self._rows(where).with_for_update())

    def _rows(self, where: sa.ColumnElement[bool]) -> sa.Select[Any]:
        return sa.select(*self.selected).where(where).order_by(*self.chunker.key)

    def _for_chunks(self, build: Callable[[sa.ColumnElement[bool]], sa.Executable]) -> ForChunks:
        return ForChunks(self.chunker, self.pending, build)

    @classmethod
    def at(cls, connection: Connection, migration: DataMigration) -> Job:
        """Reflects the table; raises what is wrong with it, or with the data migration."""
        dialect = dialect_of(connection)
        subject = migration.subject(connection)
        table = subject.table
        require_visible(connection, migration, subject)
        chunker = Chunker(connection, table)
        constant = () if migration.touch else tuple(_self_updating(connection, dialect, table))
        pending = subject.pending
        columns = tuple(migration.read(table)) if isinstance(migration, RowMigration) else ()
        version = _version(connection, dialect, table, columns, pending)
        return cls(
            migration=migration,
            subject=subject,
            dialect=dialect,
            chunker=chunker,
            writer=_writer(connection, dialect, chunker, migration, constant),
            pending=None if pending is None else is_pending(pending),
            constant=constant,
            columns=columns,
            known=frozenset(table.c.keys()),
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
        # Only SQLAlchemy's own UPDATE computes what a typed table says of them.
        return BulkWriter(chunker.table, chunker.key)
    return dialect.bulk_writer(connection, chunker.table, chunker.key, constant, chunker.hint)


def _version(
    connection: Connection,
    dialect: Dialect,
    table: sa.Table,
    columns: Sequence[sa.Column[Any]],
    pending: sa.ColumnElement[bool] | None,
) -> Callable[[str], str] | None:
    # Those, too, that say whether there is anything to do: an application that migrated the row itself did
    # not have to change what the function reads.
    looked_at = {*(column.name for column in columns), *_columns_in(pending, table)}
    watched = [column for column in table.c if column.name in looked_at]

    def version(name: str) -> str:
        return dialect.row_version(connection, table, watched, name) or ""

    return version if columns and version("t") else None


def _columns_in(expression: sa.ColumnElement[bool] | None, table: sa.Table) -> set[str]:
    """The names of the columns of *table* that an expression reads, also in a query of its own; all of them
    where it holds SQL that somebody wrote as a text."""
    parts = [] if expression is None else list(visitors.iterate(expression))
    if any(_is_text(part) for part in parts):
        return {column.name for column in table.c}
    columns = [part for part in parts if isinstance(part, sa.ColumnClause)]
    return {column.name for column in columns if column.table is None or column.table == table}


def _is_text(part: visitors.Visitable) -> bool:
    if isinstance(part, sa.ColumnClause):
        # A query of its own often selects * or 1, which is of no column.
        return part.is_literal and part.name != "*" and not part.name.isdigit()
    return isinstance(part, sa.TextClause)


_OURS = "online_migrate_"
"""How the names of our own columns begin, beside the user's."""


def _selected(
    connection: Connection,
    chunker: Chunker,
    read: Sequence[sa.Column[Any]],
    version: Callable[[str], str] | None,
) -> tuple[sa.ColumnElement[Any], ...]:
    # The key beside the user's columns, none of which can have such a name by accident.
    key = [part.label(f"{_OURS}key_{i}") for i, part in enumerate(chunker.key)]
    # A type that the user gave is the user's decision, as is what it makes of a value.
    columns = [exact_column(column) for column in read]
    if version is None:
        return (*key, *columns)
    table = plain_name(connection, chunker.table.schema, chunker.table.name)
    at: sa.ColumnElement[str] = sa.literal_column(version(table), sa.Text())
    return (*key, *columns, at.label(f"{_OURS}version"))


def _self_updating(connection: Connection, dialect: Dialect, table: sa.Table) -> list[str]:
    by_server = dialect.self_updating_columns(connection, table)
    # Those of a typed sa.Table that SQLAlchemy would change.
    by_us = [key for key, column in table.c.items() if column.onupdate is not None]
    return sorted({*by_server, *by_us})
