"""What one chunk is, for each kind of data migration. Runs inside the chunk's transaction."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects.errors import ServerFault
from online_migrate.evidence.pending import fails_verify, is_pending
from online_migrate.revision.data_migration import (
    Backfill,
    BatchMigration,
    DataMigration,
    RowMigration,
    Subject,
)
from online_migrate.walk.checkpoint import encode_key, show_key
from online_migrate.walk.chunker import Chunk, Chunker, Key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

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


def do_chunk(
    connection: Connection, migration: DataMigration, subject: Subject, chunker: Chunker, chunk: Chunk
) -> Effect:
    """Migrates the pending rows of *chunk*; raises :class:`UserError` if the user's function does."""
    wrong = fails_verify(subject)
    if wrong is None:
        return _do(migration, connection, subject, chunker, chunk)
    condition = sa.and_(chunk.range, wrong)
    before: set[Key] = set()
    if subject.pending is not None:
        # These are none of ours: without pending every row of the chunk is.
        before = set(chunker.next_keys(connection, chunk.lower, _ALL, condition))
    effect = _do(migration, connection, subject, chunker, chunk)
    after = set(chunker.next_keys(connection, chunk.lower, _ALL, condition))
    unverified = {encode_key(key): NOT_VERIFIED for key in after}
    return dataclasses.replace(
        effect, done=max(0, effect.done - len(after - before)), failures={**unverified, **effect.failures}
    )


_ALL = 2**31 - 1


@functools.singledispatch
def _do(
    migration: DataMigration, connection: Connection, subject: Subject, chunker: Chunker, chunk: Chunk
) -> Effect:
    raise exceptions.DataMigrationBroken(
        name=migration.name, reason=f"{type(migration).__name__} is no kind that walks a table"
    )


@_do.register(Backfill)
def _backfill(
    migration: Backfill, connection: Connection, subject: Subject, chunker: Chunker, chunk: Chunk
) -> Effect:
    values = migration.values_for(subject.table)
    update = sa.update(subject.table).values(dict(values))
    where = f"{migration.name} ({chunk})"
    done = _call(where, connection.execute, update.where(chunk.where)).rowcount
    if subject.pending is None:
        return Effect(done, {})
    left = _pending_keys(connection, subject, chunker, chunk)
    if not left:
        return Effect(done, {})
    # Either our UPDATE does not do its work on them, or somebody wrote them just now. Now that they are
    # named they are updated, and so locked: who is pending after that is so by our own doing.
    named = chunker.among(left)
    connection.execute(update.where(named, is_pending(subject.pending)))
    failures = _still_pending(connection, subject, chunker, chunk, left)
    mended = len(left) - len(failures)
    return Effect(max(0, done - len(failures)) + mended, failures)


@_do.register(RowMigration)
def _rows(
    migration: RowMigration, connection: Connection, subject: Subject, chunker: Chunker, chunk: Chunk
) -> Effect:
    query = sa.select(*_labelled(chunker), subject.table).where(chunk.where).order_by(*chunker.key)
    # A value that the driver cannot make sense of is an error of this migration as well.
    found = _call(f"{migration.name} ({chunk})", lambda: connection.execute(query.with_for_update()).freeze())
    parts = len(chunker.key)
    keys = [tuple(row) for row in found().columns(*range(parts))]
    rows = found().columns(*range(parts, parts + len(subject.table.c))).all()
    changes: dict[Key, Mapping[str, Any]] = {}
    for key, row in zip(keys, rows, strict=True):
        where = f"{migration.name}, row {show_key(key)} ({chunk})"
        values = _call(where, migration.function, row)
        if values is not None:
            changes[key] = _checked(where, subject, values)
    written = _write(f"{migration.name} ({chunk})", connection, chunker, changes)
    if subject.pending is None and 0 <= written < sum(map(bool, changes.values())):
        raise UserError(
            where=f"{migration.name} ({chunk})",
            error="some of its rows are not found again by their key, or a trigger keeps them as they are",
        )
    failures = _still_pending(connection, subject, chunker, chunk, keys)
    return Effect(len(keys) - len(failures), failures)


def _labelled(chunker: Chunker) -> list[sa.Label[Any]]:
    """The key beside the user's columns, none of which can have such a name by accident."""
    return [part.label(f"{_OURS}key_{i}") for i, part in enumerate(chunker.key)]


@_do.register(BatchMigration)
def _batch(
    migration: BatchMigration, connection: Connection, subject: Subject, chunker: Chunker, chunk: Chunk
) -> Effect:
    keys = [] if subject.pending is None else _pending_keys(connection, subject, chunker, chunk)
    if subject.pending is not None and not keys:
        return Effect(0, {})
    done = _call(f"{migration.name} ({chunk})", migration.function, connection, chunk)
    if not isinstance(done, int) or isinstance(done, bool) or done < 0:
        raise UserError(
            where=f"{migration.name} ({chunk})", error=f"gave {done!r}, not the number of rows done"
        )
    if not connection.in_transaction():
        raise UserError(
            where=f"{migration.name} ({chunk})",
            error="ended the chunk's transaction; its checkpoint could not be committed with it",
        )
    if subject.pending is None:
        return Effect(done, {})
    # The rows have the last word, whatever the function counts.
    failures = _still_pending(connection, subject, chunker, chunk, keys)
    here = set(chunker.next_keys(connection, chunk.lower, _ALL, chunk.range))
    gone = sum(key not in here for key in keys)
    return Effect(len(keys) - len(failures), failures, recorded=gone)


def _call(where: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ServerFault:
        # The server's word: the runner knows which of these pass when they are repeated.
        raise
    except Exception as error:
        raise UserError(where=where, error=f"{type(error).__name__}: {error}") from error


def _checked(where: str, subject: Subject, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise UserError(where=where, error=f"gave {values!r}, not a dict of new values")
    known = set(subject.table.c.keys())
    unknown = [column for column in values if column not in known]
    if unknown:
        raise UserError(where=where, error=f"sets {unknown[0]!r}, which table {subject.table.name!r} has not")
    return values


_OURS = "online_migrate_"
"""How the names of our parameters begin; SQLAlchemy forbids those that are names of columns."""


def _write(
    where: str, connection: Connection, chunker: Chunker, changes: Mapping[Key, Mapping[str, Any]]
) -> int:
    """One UPDATE for all rows that get values for the same columns.

    Gives the number of rows written; below 0 where the driver does not count them.
    """
    written = 0
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = collections.defaultdict(list)
    for key, values in changes.items():
        parameters = {f"{_OURS}key_{i}": part for i, part in enumerate(key)}
        parameters |= {f"{_OURS}value_{i}": value for i, value in enumerate(values.values())}
        groups[tuple(values)].append(parameters)
    for columns, parameter_sets in groups.items():
        if not columns:
            continue
        table = chunker.table
        by_key = [
            part == sa.bindparam(f"{_OURS}key_{i}", type_=part.type) for i, part in enumerate(chunker.key)
        ]
        values = {
            name: sa.bindparam(f"{_OURS}value_{i}", type_=table.c[name].type)
            for i, name in enumerate(columns)
        }
        update = sa.update(table).where(*by_key).values(values)
        count = int(_call(where, connection.execute, update, parameter_sets).rowcount)
        if count < 0:
            return count
        written += count
    return written


def _pending_keys(connection: Connection, subject: Subject, chunker: Chunker, chunk: Chunk) -> list[Key]:
    return chunker.next_keys(connection, chunk.lower, _ALL, chunk.where)


def _still_pending(
    connection: Connection, subject: Subject, chunker: Chunker, chunk: Chunk, keys: Sequence[Key]
) -> Mapping[str, str]:
    """Of the rows with these keys, which we have locked, those that are pending still."""
    if subject.pending is None or not keys:
        return {}
    worked_on = set(keys)
    left = _pending_keys(connection, subject, chunker, chunk)
    return {encode_key(key): STILL_PENDING for key in left if key in worked_on}
