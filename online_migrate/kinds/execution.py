"""What one chunk is, for each kind of data migration. Runs inside the chunk's transaction."""

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
"""Seconds of a function's work between two signs of life."""
STILL_PENDING = "still pending after its migration"
NOT_VERIFIED = "verify fails after its migration"


@dataclasses.dataclass(frozen=True)
class ChunkResult:
    """What a chunk did."""

    done: int
    """Rows migrated."""
    failures: Mapping[str, str]
    """The rows that it could not migrate: encoded key -> why."""
    recorded: int | None = None
    """Of those done, the rows that the data will not show as done: they went away. None: see *done*."""


class UserError(exceptions.Failed):
    """{where}: {error}"""

    of_rows: ClassVar[bool] = True
    """Some of the rows may be the reason: others may fare better."""


class MigrationMisuse(UserError):
    """{where}: {error}"""

    of_rows = False


@dataclasses.dataclass(frozen=True)
class PreparedRows:
    """What a function of a row made of the rows of a chunk, before any of them was locked."""

    rows: Mapping[Key, tuple[Any, ...]]
    """The rows as they were read; behind them their version, where the server has one."""
    results: Mapping[Key, RowResult]
    writes: Sequence[Write] | None = None
    """What writes the rows that are as they were read; None: that is still to be put together."""
    lock: bool = False
    """The rows are to be locked, and compared, before they are written."""

    @property
    def succeeded(self) -> bool:
        """The function failed for no row, and what it gave could be put together."""
        return self.writes is not None and all(answer.error is None for answer in self.results.values())


class RowsChanged(Exception):
    """A row was changed after it was read: roll back, and do the chunk again with ``lock``."""


class RowResult(NamedTuple):
    """What the function gave for one row."""

    values: Mapping[str, Any] | None = None
    error: str | None = None


def transform_rows(
    bound: BoundMigration, chunk: Chunk, rows: _Rows, keepalive: Callable[[], None]
) -> PreparedRows:
    """Calls the function for each row; an exception is of its row, not of the chunk."""
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
    """What there is to write, put together while nothing is locked; not where that fails, or must be locked.

    *connection*: any to the server.
    """
    if bound.version is None:
        return prepared
    try:
        writes = _writes(connection, bound, chunk, prepared.results, _versions(prepared))
    except UserError:
        # It fails again when it is written, where the chunk can be split until its row stands alone.
        return prepared
    return dataclasses.replace(prepared, writes=writes)


def apply_chunk(
    connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows | None
) -> ChunkResult:
    """Migrates the pending rows of *chunk*; raises :class:`UserError` if the user's function does, and
    :class:`Stale` if rows that were not locked have changed."""
    wrong = fails_verify(bound.subject)
    if wrong is None:
        return _do(bound.migration, connection, bound, chunk, prepared)
    condition = sa.and_(chunk.range, wrong)
    before: set[Key] = set()
    if bound.subject.pending is not None:
        # These are none of ours: without pending every row of the chunk is.
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
    """What the UPDATE of a chunk did."""

    done: int
    none_pending: bool
    """It is known that none of these rows is pending still."""


def update_chunk(connection: Connection, bound: BoundMigration, chunk: Chunk) -> UpdateResult:
    """The UPDATE of a Backfill, on the pending rows of *chunk*; raises :class:`UserError`."""
    where = f"{bound.name} ({chunk})"
    if bound.pending is None or not bound.dialect.update_returning:
        return UpdateResult(
            _call(where, bound.update_chunk_statement.execute, connection, chunk).rowcount,
            bound.pending is None,
        )
    # One look at the rows instead of two: the statement itself says who is still pending.
    done, still = _call(where, lambda: bound.update_returning_statement.execute(connection, chunk).one())
    return UpdateResult(done, not still)


def still_pending(
    connection: Connection, bound: BoundMigration, chunk: Chunk, moved: UpdateResult
) -> Sequence[Key]:
    """The rows of *chunk* that are pending after its UPDATE."""
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
    # Either our UPDATE does not do its work on them, or somebody wrote them just now. Now that they are
    # named they are updated, and so locked: who is pending after that is so by our own doing.
    assert bound.pending is not None
    named = bound.chunker.key_in(left)
    connection.execute(bound.update_statement.where(named, bound.pending))
    failures = _still_pending(connection, bound, chunk, left)
    mended = len(left) - len(failures)
    return ChunkResult(max(0, moved.done - len(failures)) + mended, failures)


# --- a function of a row -------------------------------------------------------------------------


@_do.register(RowMigration)
def _rows(
    migration: RowMigration,
    connection: Connection,
    bound: BoundMigration,
    chunk: Chunk,
    prepared: PreparedRows | None,
) -> ChunkResult:
    """Writes what the function gave, and never over a row that was changed after it was read.

    Such a row is read again, locked now, and the function is called again.
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
    """Writes the rows if all of them are as they were read; False: that cannot be told without a lock.

    No savepoint: MySQL forgets them in a deadlock, and the error of that would hide the deadlock.
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
    """As the user's function gets it."""
    seen: tuple[Any, ...]
    """What tells whether it was changed."""


_Rows = Mapping[Key, _Row]


def read(
    connection: Connection, bound: BoundMigration, chunk: Chunk, *, lock: bool = False
) -> dict[Key, _Row]:
    """The pending rows of *chunk*, for a function of a row."""
    parts, width = len(bound.chunker.key), len(bound.columns)
    query = bound.select_rows_for_update_statement if lock else bound.select_rows_statement
    # A value that the driver cannot make sense of is an error of this migration as well.
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
    # A dict is one without looking further, a million times over.
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
    """One statement for all rows that get values for the same columns."""
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
    """Gives the number of rows written; below 0 where the driver does not count them."""
    return int(_call(f"{bound.name} ({chunk})", execute, connection, writes))


# --- a function of a chunk -----------------------------------------------------------------------


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
    # The rows have the last word, whatever the function counts.
    failures = _still_pending(connection, bound, chunk, keys)
    here = set(bound.chunker.next_keys(connection, chunk.lower, _ALL, chunk.range))
    gone = sum(key not in here for key in keys)
    return ChunkResult(len(keys) - len(failures), failures, recorded=gone)


# --- all of them ---------------------------------------------------------------------------------


def _call(where: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except DATABASE_ERRORS:
        # The server's word: the runner knows which of these pass when they are repeated.
        raise
    except Exception as error:
        raise UserError(where=where, error=f"{type(error).__name__}: {error}") from error


def _still_pending(
    connection: Connection, bound: BoundMigration, chunk: Chunk, keys: Sequence[Key]
) -> Mapping[str, str]:
    """Of the rows with these keys, which we have locked, those that are pending still."""
    if bound.subject.pending is None or not keys:
        return {}
    worked_on = set(keys)
    left = bound.pending_keys(connection, chunk)
    return {encode_key(key): STILL_PENDING for key in left if key in worked_on}
