"""A data migration bound to a live connection: the immutable state that its workers share."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from online_migrate.dialects import Dialect, dialect_of
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.pending import fails_verify, is_pending
from online_migrate.kinds.prepared import PreparedRows, ReadSession
from online_migrate.kinds.result import NOT_VERIFIED, STILL_PENDING, ChunkResult, UpdateResult
from online_migrate.kinds.row_version import RowVersion, selected_columns, version_of
from online_migrate.kinds.subject import Subject
from online_migrate.kinds.visibility import require_visible
from online_migrate.walk.checkpoint import encode_key
from online_migrate.walk.chunk import Chunk
from online_migrate.walk.chunk_statement import CompiledChunkStatement
from online_migrate.walk.chunker import Chunker
from online_migrate.walk.key import Key
from online_migrate.writers.bulk import BulkWriter

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")
_ALL = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class BoundMigration:
    """A data migration, its reflected table, and the execution of its chunks. Immutable."""

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
    """The columns that are read before a chunk is written."""
    writable_columns: frozenset[str]
    """The columns that a row function may set."""
    version: RowVersion | None
    """The version of a row; None: the rows have no version."""
    selected: tuple[sa.ColumnElement[Any], ...]
    """The columns of the query of the rows: the key, *columns*, and the version if there is one."""
    _built: dict[Any, Any] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)
    _build_lock: threading.RLock = dataclasses.field(
        default_factory=threading.RLock, init=False, repr=False, compare=False
    )

    @property
    def name(self) -> str:
        """The name of the data migration."""
        return self.migration.name

    @property
    def max_chunk_rows(self) -> int:
        """The maximum number of rows of a chunk."""
        return self.migration.max_chunk_rows

    @property
    def prepares_rows(self) -> bool:
        """True if the rows of a chunk are read before the chunk is written."""
        return self.migration.prepares_rows

    # --- one chunk -------------------------------------------------------------------------------

    def prepare(self, session: ReadSession, chunk: Chunk) -> PreparedRows | None:
        """Prepares *chunk*; see :meth:`~online_migrate.kinds.base.DataMigration.prepare`."""
        return self.migration.prepare(session, self, chunk)

    def apply(self, connection: Connection, chunk: Chunk, prepared: PreparedRows | None) -> ChunkResult:
        """Migrates *chunk*; see :meth:`~online_migrate.kinds.base.DataMigration.apply`.

        If the migration has a ``verify`` expression, rows for which it does not hold after the migration are
        returned as failures.
        """
        wrong = fails_verify(self.subject)
        if wrong is None:
            return self.migration.apply(connection, self, chunk, prepared)
        condition = sa.and_(chunk.range, wrong)
        before: set[Key] = set()
        if self.pending is not None:
            # These rows failed verify before this chunk, so they are not counted against it. Without pending
            # every row of the chunk is migrated by it.
            before = set(self.keys_in(connection, chunk, condition))
        result = self.migration.apply(connection, self, chunk, prepared)
        after = set(self.keys_in(connection, chunk, condition))
        unverified = {encode_key(key): NOT_VERIFIED for key in after}
        return dataclasses.replace(
            result, done=max(0, result.done - len(after - before)), failures={**unverified, **result.failures}
        )

    @property
    def supports_pipeline(self) -> bool:
        """True if a chunk can be written before the result of the previous chunk is known."""
        return fails_verify(self.subject) is None and self.migration.supports_pipeline(self)

    def write(self, connection: Connection, chunk: Chunk, prepared: PreparedRows | None) -> UpdateResult:
        """Writes *chunk* in the pipeline; see :meth:`~online_migrate.kinds.base.DataMigration.write`."""
        return self.migration.write(connection, self, chunk, prepared)

    # --- for the kinds ---------------------------------------------------------------------------

    def once(self, build: Callable[[BoundMigration], T]) -> T:
        """Returns *build* (this bound migration), which is called once in a run.

        It is called by the first thread that needs the result; it may call code of the user.
        """
        with self._build_lock:
            if build not in self._built:
                self._built[build] = build(self)
            result: T = self._built[build]
        return result

    def chunk_statement(
        self, build: Callable[[sa.ColumnElement[bool]], sa.Executable]
    ) -> CompiledChunkStatement:
        """Returns the statement on the pending rows of a chunk that *build* returns for their condition."""
        return CompiledChunkStatement(self.chunker, self.pending, build)

    def pending_keys(self, connection: Connection, chunk: Chunk) -> list[Key]:
        """Returns the keys of the pending rows of *chunk*."""
        return self.chunker.keys(lambda: self._pending_keys_statement.execute(connection, chunk))

    @functools.cached_property
    def _pending_keys_statement(self) -> CompiledChunkStatement:
        key = self.chunker.key
        return self.chunk_statement(lambda where: sa.select(*key).where(where).order_by(*key))

    def keys_in(self, connection: Connection, chunk: Chunk, condition: sa.ColumnElement[bool]) -> list[Key]:
        """Returns the keys of the rows after the start of *chunk* that satisfy *condition*."""
        return self.chunker.next_keys(connection, chunk.lower, _ALL, condition)

    def still_pending(self, connection: Connection, chunk: Chunk, written: UpdateResult) -> Sequence[Key]:
        """Returns the keys of the rows of *chunk* that are pending after it was written."""
        return [] if written.none_pending else self.pending_keys(connection, chunk)

    def pending_failures(
        self, connection: Connection, chunk: Chunk, keys: Sequence[Key]
    ) -> Mapping[str, str]:
        """Returns those of the rows with *keys* that are still pending, as failures.

        The rows must be locked.
        """
        if self.pending is None or not keys:
            return {}
        worked_on = set(keys)
        left = self.pending_keys(connection, chunk)
        return {encode_key(key): STILL_PENDING for key in left if key in worked_on}

    # --- start -----------------------------------------------------------------------------------

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
        columns = tuple(migration.columns_read(table))
        version = version_of(connection, dialect, table, columns, pending)
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
            selected=selected_columns(connection, chunker, columns, version),
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


def _self_updating(connection: Connection, dialect: Dialect, table: sa.Table) -> list[str]:
    by_server = dialect.self_updating_columns(connection, table)
    # The columns of a typed sa.Table that SQLAlchemy would change.
    by_us = [key for key, column in table.c.items() if column.onupdate is not None]
    return sorted({*by_server, *by_us})
