"""Executes one chunk, for each kind of data migration. Runs inside the chunk's transaction."""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.kinds.definition import (
    Backfill,
    BatchMigration,
    DataMigration,
    RowMigration,
)
from online_migrate.kinds.pending import fails_verify
from online_migrate.walk.checkpoint import encode_key, show_key
from online_migrate.walk.chunker import Chunk, Key
from online_migrate.writers.bulk import Versions, Write, execute

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.kinds.bound import BoundMigration

_KEEPALIVE_INTERVAL = 0.5
"""Seconds between two keepalives while row functions are called."""
STILL_PENDING = "still pending after its migration"
NOT_VERIFIED = "verify fails after its migration"


@dataclasses.dataclass(frozen=True)
class ChunkResult:
    """The result of a chunk."""

    done: int
    """Rows migrated."""
    failures: Mapping[str, str]
    """The rows that could not be migrated: encoded key -> error."""
    recorded: int | None = None
    """The rows to add to the record's count: those that the data will not show as done, because they
    no longer exist. None: *done*."""


class UserError(exceptions.Failed):
    """{where}: {error}"""

    of_rows: ClassVar[bool] = True
    """True if single rows may be the cause, so that the other rows of the chunk can be migrated."""


class MigrationMisuse(UserError):
    """{where}: {error}"""

    of_rows = False


@dataclasses.dataclass(frozen=True)
class PreparedRows:
    """The results of a row function for the rows of a chunk, before any of the rows is locked."""

    rows: Mapping[Key, tuple[Any, ...]]
    """By key: the version of each row, or all of its values as they were read if rows have no version."""
    results: Mapping[Key, RowResult]
    writes: Sequence[Write] | None = None
    """The statements that write the rows which did not change since the read; None: not built yet."""
    lock: bool = False
    """True if the rows must be locked and compared before they are written."""

    @property
    def succeeded(self) -> bool:
        """True if the function failed for no row, and the statements could be built."""
        return self.writes is not None and all(answer.error is None for answer in self.results.values())


class RowsChanged(Exception):
    """A row was changed after it was read: the chunk must be rolled back and repeated with ``lock``."""


class RowResult(NamedTuple):
    """The result of a row function for one row: new values, or an error."""

    values: Mapping[str, Any] | None = None
    error: str | None = None


def transform_rows(
    bound: BoundMigration, chunk: Chunk, rows: _Rows, keepalive: Callable[[], None]
) -> PreparedRows:
    """Calls the row function for each row of *rows*.

    An exception of the function is recorded with its row and does not fail the chunk. *keepalive*: called
    about every 0.5 s. Raises :class:`MigrationMisuse` if the function returns no dict of known columns.
    """
    answers, due = {}, time.monotonic() + _KEEPALIVE_INTERVAL
    for key, row in rows.items():
        answers[key] = _transform_row(bound, row)
        if time.monotonic() > due:
            keepalive()
            due = time.monotonic() + _KEEPALIVE_INTERVAL
    return PreparedRows({key: row.seen for key, row in rows.items()}, answers)


def with_writes(
    connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows
) -> PreparedRows:
    """Returns *prepared* with its statements, which are built while no row is locked.

    Returns *prepared* unchanged if the statements cannot be built, or if the rows have no version and must be
    locked. *connection*: any connection to the server.
    """
    if bound.version is None:
        return prepared
    try:
        writes = _writes(connection, bound, chunk, prepared.results, _versions(prepared))
    except UserError:
        # The build fails again at the write, where the chunk can be bisected until the row is isolated.
        return prepared
    return dataclasses.replace(prepared, writes=writes)


def apply_chunk(
    connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows | None
) -> ChunkResult:
    """Migrates the pending rows of *chunk*, in the open transaction of *connection*.

    *prepared*: for a row function only. If the migration has a ``verify`` expression, rows for which it does
    not hold after the migration are returned as failures.

    Raises :class:`UserError` if the user's function raises, and :class:`RowsChanged` if rows that were not
    locked have changed.
    """
    wrong = fails_verify(bound.subject)
    if wrong is None:
        return _do(bound.migration, connection, bound, chunk, prepared)
    condition = sa.and_(chunk.range, wrong)
    before: set[Key] = set()
    if bound.subject.pending is not None:
        # These rows failed verify before this chunk, so they are not counted against it. Without pending
        # every row of the chunk is migrated by it.
        before = set(bound.chunker.next_keys(connection, chunk.lower, _ALL, condition))
    result = _do(bound.migration, connection, bound, chunk, prepared)
    after = set(bound.chunker.next_keys(connection, chunk.lower, _ALL, condition))
    unverified = {encode_key(key): NOT_VERIFIED for key in after}
    return dataclasses.replace(
        result, done=max(0, result.done - len(after - before)), failures={**unverified, **result.failures}
    )


_ALL = 2**31 - 1


@functools.singledispatch
def _do(
    migration: DataMigration,
    connection: Connection,
    bound: BoundMigration,
    chunk: Chunk,
    prepared: PreparedRows | None,
) -> ChunkResult:
    raise exceptions.DataMigrationBroken(
        name=migration.name, reason=f"{type(migration).__name__} is not a kind that walks a table"
    )


# --- SQL expressions -----------------------------------------------------------------------------


class UpdateResult(NamedTuple):
    """The result of the UPDATE of a chunk."""

    done: int
    none_pending: bool
    """True if it is known that none of the rows is still pending; False if it is not known."""


def update_chunk(connection: Connection, bound: BoundMigration, chunk: Chunk) -> UpdateResult:
    """Executes the UPDATE of a Backfill on the pending rows of *chunk*.

    Raises :class:`UserError` if the user's expressions cannot be built.
    """
    where = f"{bound.name} ({chunk})"
    if bound.pending is None or not bound.dialect.update_returning:
        return UpdateResult(
            _call(where, bound.update_chunk_statement.execute, connection, chunk).rowcount,
            bound.pending is None,
        )
    # One pass over the rows instead of two: the UPDATE itself returns how many are still pending.
    done, still = _call(where, lambda: bound.update_returning_statement.execute(connection, chunk).one())
    return UpdateResult(done, not still)


def still_pending(
    connection: Connection, bound: BoundMigration, chunk: Chunk, moved: UpdateResult
) -> Sequence[Key]:
    """Returns the keys of the rows of *chunk* that are pending after its UPDATE."""
    return [] if moved.none_pending else bound.pending_keys(connection, chunk)


@_do.register(Backfill)
def _backfill(
    migration: Backfill,
    connection: Connection,
    bound: BoundMigration,
    chunk: Chunk,
    prepared: PreparedRows | None,
) -> ChunkResult:
    moved = update_chunk(connection, bound, chunk)
    left = still_pending(connection, bound, chunk, moved)
    if not left:
        return ChunkResult(moved.done, {})
    # Either the UPDATE does not make these rows non-pending, or another session wrote them after it. A second
    # UPDATE by key locks them: a row that is pending after that is pending because of the UPDATE itself.
    assert bound.pending is not None
    named = bound.chunker.key_in(left)
    connection.execute(bound.update_statement.where(named, bound.pending))
    failures = _still_pending(connection, bound, chunk, left)
    resolved = len(left) - len(failures)
    return ChunkResult(max(0, moved.done - len(failures)) + resolved, failures)


# --- row function --------------------------------------------------------------------------------


@_do.register(RowMigration)
def _rows(
    migration: RowMigration,
    connection: Connection,
    bound: BoundMigration,
    chunk: Chunk,
    prepared: PreparedRows | None,
) -> ChunkResult:
    """Writes the values that the function returned, but not to a row that was changed after it was read.

    A changed row is read again with a lock, and the function is called for it again.
    """
    assert prepared is not None
    answers = prepared.results
    if not _write_unchanged(connection, bound, chunk, prepared):
        current = read(connection, bound, chunk, lock=True)
        answers = {
            key: answers[key] if prepared.rows.get(key) == row.seen else _transform_row(bound, row)
            for key, row in current.items()
        }
        written = _written(connection, bound, chunk, _writes(connection, bound, chunk, answers, None))
        expected = sum(bool(answer.values) for answer in answers.values())
        _refuse_unwritten(bound, chunk, expected - written if written >= 0 else 0)
    errors = {encode_key(key): answer.error for key, answer in answers.items() if answer.error is not None}
    failures = {**_still_pending(connection, bound, chunk, list(answers)), **errors}
    return ChunkResult(len(answers) - len(failures), failures)


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
    expected = sum(bool(answer.values) for answer in prepared.results.values())
    writes = prepared.writes
    if writes is None:
        writes = _writes(connection, bound, chunk, prepared.results, _versions(prepared))
    if _written(connection, bound, chunk, writes) != expected:
        raise RowsChanged
    return True


def _versions(prepared: PreparedRows) -> Mapping[Key, Any]:
    return {key: seen[-1] for key, seen in prepared.rows.items()}


def _refuse_unwritten(bound: BoundMigration, chunk: Chunk, unwritten: int) -> None:
    if bound.pending is None and unwritten > 0:
        raise MigrationMisuse(
            where=f"{bound.name} ({chunk})",
            error="some of its rows were not found by their key, or a trigger keeps their old values",
        )


class _Row(NamedTuple):
    """A row of a chunk."""

    key: Key
    row: sa.Row[Any]
    """The row as it is passed to the user's function."""
    seen: tuple[Any, ...]
    """The version of the row, or all of its values; compared to detect a change."""


_Rows = Mapping[Key, _Row]


def read(
    connection: Connection, bound: BoundMigration, chunk: Chunk, *, lock: bool = False
) -> dict[Key, _Row]:
    """Reads the pending rows of *chunk* for a row function; *lock*: with FOR UPDATE. Returns them by key.

    Raises :class:`UserError` if the driver cannot decode a value.
    """
    parts, width = len(bound.chunker.key), len(bound.columns)
    query = bound.select_rows_for_update_statement if lock else bound.select_rows_statement
    # A value that the driver cannot decode is an error of this data migration as well.
    found = _call(f"{bound.name} ({chunk})", lambda: query.execute(connection, chunk).freeze())
    everything = found().all()
    rows = found().columns(*range(parts, parts + width)).all()
    seen = slice(parts, None) if bound.version is None else slice(-1, None)
    return {
        (key := tuple(all_[:parts])): _Row(key, row, tuple(all_[seen]))
        for all_, row in zip(everything, rows, strict=True)
    }


def _transform_row(bound: BoundMigration, row: _Row) -> RowResult:
    migration = bound.migration
    assert isinstance(migration, RowMigration)
    unreadable = None if bound.version is None else bound.dialect.unreadable(row.seen[-1])
    if unreadable is not None:
        return RowResult(error=unreadable)
    try:
        values = migration.function(row.row)
    except Exception as error:  # noqa: BLE001 - it is recorded with its row, and ends the run at the limit
        return RowResult(error=f"{type(error).__name__}: {error}")
    if values is None:
        return RowResult()
    # Fast path, because this runs for every row: the check of the exact type avoids the slower isinstance.
    if type(values) is not dict and not isinstance(values, Mapping):
        wrong = f"returned {values!r}, not a dict of new values"
    elif not values.keys() <= bound.writable_columns:
        unknown = next(column for column in values if column not in bound.writable_columns)
        wrong = f"sets {unknown!r}, which is not a column of table {bound.subject.table.name!r}"
    else:
        return RowResult(values=values)
    raise MigrationMisuse(where=f"{bound.name}, row {show_key(row.key)}", error=wrong)


def _writes(
    connection: Connection,
    bound: BoundMigration,
    chunk: Chunk,
    answers: Mapping[Key, RowResult],
    versions: Mapping[Key, Any] | None,
) -> Sequence[Write]:
    """Builds the statements: rows with new values for the same columns are grouped into one write.

    *versions*: only rows that are still at these versions are written; None: all rows are written.
    """
    groups: dict[tuple[str, ...], list[Key]] = collections.defaultdict(list)
    for key, answer in answers.items():
        if answer.values:
            groups[tuple(answer.values)].append(key)
    writes: list[Write] = []
    for columns, keys in groups.items():
        rows = [(*key, *(answers[key].values or {}).values()) for key in keys]
        at = None
        if versions is not None and bound.version is not None:
            at = Versions(bound.version, [versions[key] for key in keys])
        writes += _call(f"{bound.name} ({chunk})", bound.writer.writes, connection, columns, rows, at)
    return writes


def _written(connection: Connection, bound: BoundMigration, chunk: Chunk, writes: Sequence[Write]) -> int:
    """Executes *writes*. Returns the number of rows written; below 0 where the driver does not count them."""
    return int(_call(f"{bound.name} ({chunk})", execute, connection, writes))


# --- chunk function ------------------------------------------------------------------------------


@_do.register(BatchMigration)
def _batch(
    migration: BatchMigration,
    connection: Connection,
    bound: BoundMigration,
    chunk: Chunk,
    prepared: PreparedRows | None,
) -> ChunkResult:
    subject, where = bound.subject, f"{migration.name} ({chunk})"
    keys = [] if subject.pending is None else bound.pending_keys(connection, chunk)
    if subject.pending is not None and not keys:
        return ChunkResult(0, {})
    done = _call(where, migration.function, connection, chunk)
    if not isinstance(done, int) or isinstance(done, bool) or done < 0:
        raise MigrationMisuse(where=where, error=f"returned {done!r}, not the number of migrated rows")
    if not connection.in_transaction():
        raise MigrationMisuse(
            where=where, error="ended the chunk's transaction, so the checkpoint cannot be committed with it"
        )
    if subject.pending is None:
        return ChunkResult(done, {})
    # The data decides which rows are done, not the count that the function returned.
    failures = _still_pending(connection, bound, chunk, keys)
    here = set(bound.chunker.next_keys(connection, chunk.lower, _ALL, chunk.range))
    gone = sum(key not in here for key in keys)
    return ChunkResult(len(keys) - len(failures), failures, recorded=gone)


# --- all kinds -----------------------------------------------------------------------------------


def _call(where: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except DATABASE_ERRORS:
        # An error of the server stays as it is: the runner decides whether it is transient.
        raise
    except Exception as error:
        raise UserError(where=where, error=f"{type(error).__name__}: {error}") from error


def _still_pending(
    connection: Connection, bound: BoundMigration, chunk: Chunk, keys: Sequence[Key]
) -> Mapping[str, str]:
    """Returns those of the rows with *keys* that are still pending, as failures; the rows must be locked."""
    if bound.subject.pending is None or not keys:
        return {}
    worked_on = set(keys)
    left = bound.pending_keys(connection, chunk)
    return {encode_key(key): STILL_PENDING for key in left if key in worked_on}
