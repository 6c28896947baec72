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
from online_migrate.dialects.bulk import Versions, Write, execute
from online_migrate.dialects.errors import ServerFault
from online_migrate.evidence.pending import fails_verify
from online_migrate.revision.data_migration import (
    Backfill,
    BatchMigration,
    DataMigration,
    RowMigration,
)
from online_migrate.walk.checkpoint import encode_key, show_key
from online_migrate.walk.chunker import Chunk, Key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.migrate.job import Job

_BEAT = 0.5
"""Seconds of a function's work between two signs of life."""
STILL_PENDING = "still pending after its migration"
NOT_VERIFIED = "verify does not hold after its migration"


@dataclasses.dataclass(frozen=True)
class Effect:
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


class WrongUse(UserError):
    """{where}: {error}"""

    of_rows = False


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a function of a row made of the rows of a chunk, before any of them was locked."""

    rows: Mapping[Key, tuple[Any, ...]]
    """The rows as they were read; behind them their version, where the server has one."""
    answers: Mapping[Key, Answer]
    writes: Sequence[Write] | None = None
    """What writes the rows that are as they were read; None: that is still to be put together."""
    lock: bool = False
    """The rows are to be locked, and compared, before they are written."""

    @property
    def flawless(self) -> bool:
        """The function failed for no row, and what it gave could be put together."""
        return self.writes is not None and all(answer.error is None for answer in self.answers.values())


class Stale(Exception):
    """A row was changed after it was read: roll back, and do the chunk again with ``lock``."""


class Answer(NamedTuple):
    """What the function gave for one row."""

    values: Mapping[str, Any] | None = None
    error: str | None = None


def call(job: Job, chunk: Chunk, rows: _Rows, beat: Callable[[], None]) -> Prepared:
    """Calls the function for each row; an exception is of its row, not of the chunk."""
    answers, due = {}, time.monotonic() + _BEAT
    for key, row in rows.items():
        answers[key] = _answer(job, row)
        if time.monotonic() > due:
            beat()
            due = time.monotonic() + _BEAT
    return Prepared({key: row.seen for key, row in rows.items()}, answers)


def with_writes(connection: Connection, job: Job, chunk: Chunk, prepared: Prepared) -> Prepared:
    """What there is to write, put together while nothing is locked; not where that fails, or must be locked.

    *connection*: any to the server.
    """
    if job.version is None:
        return prepared
    try:
        writes = _writes(connection, job, chunk, prepared.answers, _versions(prepared))
    except UserError:
        # It fails again when it is written, where the chunk can be split until its row stands alone.
        return prepared
    return dataclasses.replace(prepared, writes=writes)


def do_chunk(connection: Connection, job: Job, chunk: Chunk, prepared: Prepared | None) -> Effect:
    """Migrates the pending rows of *chunk*; raises :class:`UserError` if the user's function does, and
    :class:`Stale` if rows that were not locked have changed."""
    wrong = fails_verify(job.subject)
    if wrong is None:
        return _do(job.migration, connection, job, chunk, prepared)
    condition = sa.and_(chunk.range, wrong)
    before: set[Key] = set()
    if job.subject.pending is not None:
        # These are none of ours: without pending every row of the chunk is.
        before = set(job.chunker.next_keys(connection, chunk.lower, _ALL, condition))
    effect = _do(job.migration, connection, job, chunk, prepared)
    after = set(job.chunker.next_keys(connection, chunk.lower, _ALL, condition))
    unverified = {encode_key(key): NOT_VERIFIED for key in after}
    return dataclasses.replace(
        effect, done=max(0, effect.done - len(after - before)), failures={**unverified, **effect.failures}
    )


_ALL = 2**31 - 1


@functools.singledispatch
def _do(
    migration: DataMigration, connection: Connection, job: Job, chunk: Chunk, prepared: Prepared | None
) -> Effect:
    raise exceptions.DataMigrationBroken(
        name=migration.name, reason=f"{type(migration).__name__} is no kind that walks a table"
    )


# --- SQL expressions -----------------------------------------------------------------------------


class Moved(NamedTuple):
    """What the UPDATE of a chunk did."""

    done: int
    clean: bool
    """It is known that none of these rows is pending still."""


def move(connection: Connection, job: Job, chunk: Chunk) -> Moved:
    """The UPDATE of a Backfill, on the pending rows of *chunk*; raises :class:`UserError`."""
    where = f"{job.name} ({chunk})"
    if job.pending is None or not job.dialect.update_returning:
        return Moved(_call(where, job.moved.execute, connection, chunk).rowcount, job.pending is None)
    # One look at the rows instead of two: the statement itself says who is still pending.
    done, still = _call(where, lambda: job.moved_and_counted.execute(connection, chunk).one())
    return Moved(done, not still)


def left_behind(connection: Connection, job: Job, chunk: Chunk, moved: Moved) -> Sequence[Key]:
    """The rows of *chunk* that are pending after its UPDATE."""
    return [] if moved.clean else job.pending_keys(connection, chunk)


@_do.register(Backfill)
def _backfill(
    migration: Backfill, connection: Connection, job: Job, chunk: Chunk, prepared: Prepared | None
) -> Effect:
    moved = move(connection, job, chunk)
    left = left_behind(connection, job, chunk, moved)
    if not left:
        return Effect(moved.done, {})
    # Either our UPDATE does not do its work on them, or somebody wrote them just now. Now that they are
    # named they are updated, and so locked: who is pending after that is so by our own doing.
    assert job.pending is not None
    named = job.chunker.among(left)
    connection.execute(job.update.where(named, job.pending))
    failures = _still_pending(connection, job, chunk, left)
    mended = len(left) - len(failures)
    return Effect(max(0, moved.done - len(failures)) + mended, failures)


# --- a function of a row -------------------------------------------------------------------------


@_do.register(RowMigration)
def _rows(
    migration: RowMigration, connection: Connection, job: Job, chunk: Chunk, prepared: Prepared | None
) -> Effect:
    """Writes what the function gave, and never over a row that was changed after it was read.

    Such a row is read again, locked now, and the function is called again.
    """
    assert prepared is not None
    answers = prepared.answers
    if not _write_unchanged(connection, job, chunk, prepared):
        current = read(connection, job, chunk, lock=True)
        answers = {
            key: answers[key] if prepared.rows.get(key) == row.seen else _answer(job, row)
            for key, row in current.items()
        }
        written = _written(connection, job, chunk, _writes(connection, job, chunk, answers, None))
        expected = sum(bool(answer.values) for answer in answers.values())
        _refuse_unwritten(job, chunk, expected - written if written >= 0 else 0)
    errors = {encode_key(key): answer.error for key, answer in answers.items() if answer.error is not None}
    failures = {**_still_pending(connection, job, chunk, list(answers)), **errors}
    return Effect(len(answers) - len(failures), failures)


def _write_unchanged(connection: Connection, job: Job, chunk: Chunk, prepared: Prepared) -> bool:
    """Writes the rows if all of them are as they were read; False: that cannot be told without a lock.

    No savepoint: MySQL forgets them in a deadlock, and the error of that would hide the deadlock.
    """
    if job.version is None or prepared.lock:
        return False
    expected = sum(bool(answer.values) for answer in prepared.answers.values())
    writes = prepared.writes
    if writes is None:
        writes = _writes(connection, job, chunk, prepared.answers, _versions(prepared))
    if _written(connection, job, chunk, writes) != expected:
        raise Stale
    return True


def _versions(prepared: Prepared) -> Mapping[Key, Any]:
    return {key: seen[-1] for key, seen in prepared.rows.items()}


def _refuse_unwritten(job: Job, chunk: Chunk, unwritten: int) -> None:
    if job.pending is None and unwritten > 0:
        raise WrongUse(
            where=f"{job.name} ({chunk})",
            error="some of its rows are not found again by their key, or a trigger keeps them as they are",
        )


class _Row(NamedTuple):
    """A row of a chunk."""

    key: Key
    row: sa.Row[Any]
    """As the user's function gets it."""
    seen: tuple[Any, ...]
    """What tells whether it was changed."""


_Rows = Mapping[Key, _Row]


def read(connection: Connection, job: Job, chunk: Chunk, *, lock: bool = False) -> dict[Key, _Row]:
    """The pending rows of *chunk*, for a function of a row."""
    parts, width = len(job.chunker.key), len(job.columns)
    query = job.locked_rows if lock else job.rows
    # A value that the driver cannot make sense of is an error of this migration as well.
    found = _call(f"{job.name} ({chunk})", lambda: query.execute(connection, chunk).freeze())
    everything = found().all()
    rows = found().columns(*range(parts, parts + width)).all()
    seen = slice(parts, None) if job.version is None else slice(-1, None)
    return {
        (key := tuple(all_[:parts])): _Row(key, row, tuple(all_[seen]))
        for all_, row in zip(everything, rows, strict=True)
    }


def _answer(job: Job, row: _Row) -> Answer:
    migration = job.migration
    assert isinstance(migration, RowMigration)
    unreadable = None if job.version is None else job.dialect.unreadable(row.seen[-1])
    if unreadable is not None:
        return Answer(error=unreadable)
    try:
        values = migration.function(row.row)
    except Exception as error:  # noqa: BLE001 - it is recorded with its row, and ends the run at the limit
        return Answer(error=f"{type(error).__name__}: {error}")
    if values is None:
        return Answer()
    # A dict is one without looking further, a million times over.
    if type(values) is not dict and not isinstance(values, Mapping):
        wrong = f"gave {values!r}, not a dict of new values"
    elif not values.keys() <= job.known:
        unknown = next(column for column in values if column not in job.known)
        wrong = f"sets {unknown!r}, which table {job.subject.table.name!r} has not"
    else:
        return Answer(values=values)
    raise WrongUse(where=f"{job.name}, row {show_key(row.key)}", error=wrong)


def _writes(
    connection: Connection,
    job: Job,
    chunk: Chunk,
    answers: Mapping[Key, Answer],
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
        if versions is not None and job.version is not None:
            at = Versions(job.version, [versions[key] for key in keys])
        writes += _call(f"{job.name} ({chunk})", job.writer.writes, connection, columns, rows, at)
    return writes


def _written(connection: Connection, job: Job, chunk: Chunk, writes: Sequence[Write]) -> int:
    """Gives the number of rows written; below 0 where the driver does not count them."""
    return int(_call(f"{job.name} ({chunk})", execute, connection, writes))


# --- a function of a chunk -----------------------------------------------------------------------


@_do.register(BatchMigration)
def _batch(
    migration: BatchMigration, connection: Connection, job: Job, chunk: Chunk, prepared: Prepared | None
) -> Effect:
    subject, where = job.subject, f"{migration.name} ({chunk})"
    keys = [] if subject.pending is None else job.pending_keys(connection, chunk)
    if subject.pending is not None and not keys:
        return Effect(0, {})
    done = _call(where, migration.function, connection, chunk)
    if not isinstance(done, int) or isinstance(done, bool) or done < 0:
        raise WrongUse(where=where, error=f"gave {done!r}, not the number of rows done")
    if not connection.in_transaction():
        raise WrongUse(
            where=where, error="ended the chunk's transaction; its checkpoint could not be committed with it"
        )
    if subject.pending is None:
        return Effect(done, {})
    # The rows have the last word, whatever the function counts.
    failures = _still_pending(connection, job, chunk, keys)
    here = set(job.chunker.next_keys(connection, chunk.lower, _ALL, chunk.range))
    gone = sum(key not in here for key in keys)
    return Effect(len(keys) - len(failures), failures, recorded=gone)


# --- all of them ---------------------------------------------------------------------------------


def _call(where: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ServerFault:
        # The server's word: the runner knows which of these pass when they are repeated.
        raise
    except Exception as error:
        raise UserError(where=where, error=f"{type(error).__name__}: {error}") from error


def _still_pending(connection: Connection, job: Job, chunk: Chunk, keys: Sequence[Key]) -> Mapping[str, str]:
    """Of the rows with these keys, which we have locked, those that are pending still."""
    if job.subject.pending is None or not keys:
        return {}
    worked_on = set(keys)
    left = job.pending_keys(connection, chunk)
    return {encode_key(key): STILL_PENDING for key in left if key in worked_on}
