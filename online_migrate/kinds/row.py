"""The kind that calls a Python function for each row."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.kinds.base import DataMigration, named_after
from online_migrate.kinds.prepared import (
    PreparedRow,
    PreparedRows,
    ReadSession,
    RowResult,
    build_writes,
    execute_writes,
    read_rows,
)
from online_migrate.kinds.result import ChunkResult, MigrationMisuse, RowsChanged
from online_migrate.kinds.table_argument import TableLike
from online_migrate.walk.checkpoint import encode_key, show_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

    from online_migrate.kinds.bound import BoundMigration
    from online_migrate.walk.chunk import Chunk
    from online_migrate.walk.key import Key

_KEEPALIVE_INTERVAL = 0.5
"""Seconds between two keepalives while the function is called."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowMigration(DataMigration):
    """Calls a Python function for each row; see :func:`row_migration`."""

    kind: ClassVar[str] = "row"
    prepares_rows: ClassVar[bool] = True
    max_chunk_rows: ClassVar[int] = 2_500
    """It is small, because all rows of a chunk are in memory at the same time."""
    function: Callable[[Row[Any]], Mapping[str, Any] | None]
    columns: tuple[str, ...] | None = None

    def columns_read(self, table: sa.Table) -> list[sa.Column[Any]]:
        if self.columns is None:
            return list(table.c)
        missing = [name for name in self.columns if name not in table.c]
        if missing:
            raise exceptions.DataMigrationBroken(
                name=self.name,
                reason=f"columns names {missing[0]!r}, which is not a column of table {table.name!r}",
            )
        return [table.c[name] for name in self.columns]

    def prepare(self, session: ReadSession, bound: BoundMigration, chunk: Chunk) -> PreparedRows:
        """Reads the rows and calls the function for each of them.

        An exception of the function is recorded with its row and does not fail the chunk. Raises
        :class:`~online_migrate.kinds.result.MigrationMisuse` if it returns no dict of known columns.
        """
        rows = session.in_transaction(lambda: read_rows(session.connection, bound, chunk))
        # Between two transactions: no row is locked, however long the function takes.
        results = self._transform(bound, rows, session.keepalive)
        prepared = PreparedRows({key: row.seen for key, row in rows.items()}, results)
        return prepared.with_writes(session.connection, bound, chunk)

    def supports_pipeline(self, bound: BoundMigration) -> bool:
        # Without versions the rows must be locked before the function's results can be used.
        return bound.version is not None

    def apply(
        self, connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows | None
    ) -> ChunkResult:
        """Writes the values that the function returned, but not to a row that was changed after it was read.

        A changed row is read again with a lock, and the function is called for it again.
        """
        assert prepared is not None
        results = prepared.results
        if not _write_unchanged(connection, bound, chunk, prepared):
            results = self._write_locked(connection, bound, chunk, prepared)
        errors = {encode_key(key): one.error for key, one in results.items() if one.error is not None}
        failures = {**bound.pending_failures(connection, chunk, list(results)), **errors}
        return ChunkResult(len(results) - len(failures), failures)

    def _write_locked(
        self, connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows
    ) -> Mapping[Key, RowResult]:
        """Reads the rows with a lock and writes them. Returns the results, with those of changed rows."""
        current = read_rows(connection, bound, chunk, lock=True)
        results = {
            key: prepared.results[key]
            if prepared.rows.get(key) == row.seen
            else self._transform_row(bound, row)
            for key, row in current.items()
        }
        writes = build_writes(connection, bound, chunk, results, None)
        written = execute_writes(connection, bound, chunk, writes)
        expected = sum(bool(result.values) for result in results.values())
        _refuse_unwritten(bound, chunk, expected - written if written >= 0 else 0)
        return results

    def _transform(
        self, bound: BoundMigration, rows: Mapping[Key, PreparedRow], keepalive: Callable[[], None]
    ) -> Mapping[Key, RowResult]:
        results, due = {}, time.monotonic() + _KEEPALIVE_INTERVAL
        for key, row in rows.items():
            results[key] = self._transform_row(bound, row)
            if time.monotonic() > due:
                keepalive()
                due = time.monotonic() + _KEEPALIVE_INTERVAL
        return results

    def _transform_row(self, bound: BoundMigration, row: PreparedRow) -> RowResult:
        unreadable = None if bound.version is None else bound.dialect.unreadable(row.seen[-1])
        if unreadable is not None:
            return RowResult(error=unreadable)
        try:
            values = self.function(row.row)
        except Exception as error:  # noqa: BLE001 - it is recorded with its row, and ends the run at the limit
            return RowResult(error=f"{type(error).__name__}: {error}")
        if values is None:
            return RowResult()
        # Fast path, because this runs for every row: the exact type avoids the slower isinstance.
        if type(values) is not dict and not isinstance(values, Mapping):
            wrong = f"returned {values!r}, not a dict of new values"
        elif not values.keys() <= bound.writable_columns:
            unknown = next(column for column in values if column not in bound.writable_columns)
            wrong = f"sets {unknown!r}, which is not a column of table {bound.subject.table.name!r}"
        else:
            return RowResult(values=values)
        raise MigrationMisuse(where=f"{bound.name}, row {show_key(row.key)}", error=wrong)


def row_migration(
    *, table: TableLike, columns: Iterable[str] | None = None, **options: Any
) -> Callable[[Callable[[Row[Any]], Mapping[str, Any] | None]], RowMigration]:
    """Decorator: makes a data migration of a function of a row.

    The function gets a SQLAlchemy ``Row`` (``row.full_name``) and returns a dict of new values, or None if
    nothing is to be changed. Its effect is committed exactly once for each row; the call itself may be
    repeated after a kill. *table*: see :class:`~online_migrate.kinds.base.DataMigration`. *columns*: the
    columns that the function reads; None: all. To read only these is faster. *options*: further arguments of
    :class:`~online_migrate.kinds.base.DataMigration`.
    """

    def decorate(function: Callable[[Row[Any]], Mapping[str, Any] | None]) -> RowMigration:
        read = None if columns is None else tuple(columns)
        return RowMigration(function=function, table=table, columns=read, **named_after(function, options))

    return decorate


def _write_unchanged(
    connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows
) -> bool:
    """Writes the rows if none of them changed since the read.

    Returns False, without a write, if that cannot be decided without a lock. Raises :class:`RowsChanged` if a
    row has changed. No savepoint is used: MySQL drops savepoints in a deadlock, and the error of the missing
    savepoint would hide the deadlock.
    """
    if bound.version is None or prepared.lock:
        return False
    writes = prepared.writes
    if writes is None:
        writes = build_writes(connection, bound, chunk, prepared.results, prepared.versions)
    if execute_writes(connection, bound, chunk, writes) != prepared.rows_to_write:
        raise RowsChanged
    return True


def _refuse_unwritten(bound: BoundMigration, chunk: Chunk, unwritten: int) -> None:
    if bound.pending is None and unwritten > 0:
        raise MigrationMisuse(
            where=f"{bound.name} ({chunk})",
            error="some of its rows were not found by their key, or a trigger keeps their old values",
        )
