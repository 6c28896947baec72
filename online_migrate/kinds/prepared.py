"""Rows that are read before their chunk is written, and the statements that write their new values.

The result of a function for a row is a guess until the row is written: the statement that writes it names the
version at which the row was read, and so skips a row that has changed since.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import sqlalchemy as sa

from online_migrate.kinds.result import UserError, call_user_code
from online_migrate.walk.chunk import Chunk
from online_migrate.walk.key import Key
from online_migrate.writers.write import Versions, Write, execute

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.kinds.bound import BoundMigration

T = TypeVar("T")


class ReadTransaction(Protocol):
    """Runs a function in a read-only transaction of its own, and repeats it after a transient error."""

    def __call__(self, read: Callable[[], T], /) -> T:
        """Returns the result of *read*."""


@dataclasses.dataclass(frozen=True)
class ReadSession:
    """The session in which a chunk is prepared. No row is locked in it."""

    connection: Connection
    in_transaction: ReadTransaction
    keepalive: Callable[[], None]
    """To be called about every 0.5 s while no statement is sent."""


class RowResult(NamedTuple):
    """The result of a row function for one row: new values, or an error."""

    values: Mapping[str, Any] | None = None
    error: str | None = None


class PreparedRow(NamedTuple):
    """A row of a chunk, as it was read."""

    key: Key
    row: sa.Row[Any]
    """The row as it is passed to the user's function."""
    seen: tuple[Any, ...]
    """The version of the row, or all of its values; compared to detect a change."""


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
        return self.writes is not None and all(result.error is None for result in self.results.values())

    @property
    def rows_to_write(self) -> int:
        """The number of rows that get new values."""
        return sum(bool(result.values) for result in self.results.values())

    @property
    def versions(self) -> Mapping[Key, Any]:
        """The version of each row, where rows have versions."""
        return {key: seen[-1] for key, seen in self.rows.items()}

    def locked(self) -> PreparedRows:
        """Returns the same rows, which are to be locked and compared before they are written."""
        return dataclasses.replace(self, lock=True)

    def with_writes(self, connection: Connection, bound: BoundMigration, chunk: Chunk) -> PreparedRows:
        """Returns the same rows with their statements, which are built while no row is locked.

        Returns itself if the statements cannot be built, or if the rows have no version and must be locked.
        *connection*: any connection to the server.
        """
        if bound.version is None:
            return self
        try:
            writes = build_writes(connection, bound, chunk, self.results, self.versions)
        except UserError:
            # The build fails again at the write, where the chunk can be bisected until the row is isolated.
            return self
        return dataclasses.replace(self, writes=writes)


class _Queries:
    """The queries of the pending rows of a chunk, built once for a run."""

    def __init__(self, bound: BoundMigration) -> None:
        def rows(where: sa.ColumnElement[bool]) -> sa.Select[Any]:
            return sa.select(*bound.selected).where(where).order_by(*bound.chunker.key)

        self.plain = bound.chunk_statement(rows)
        self.for_update = bound.chunk_statement(lambda where: rows(where).with_for_update())


def read_rows(
    connection: Connection, bound: BoundMigration, chunk: Chunk, *, lock: bool = False
) -> dict[Key, PreparedRow]:
    """Reads the pending rows of *chunk*; *lock*: with FOR UPDATE. Returns them by key.

    Raises :class:`~online_migrate.kinds.result.UserError` if the driver cannot decode a value.
    """
    parts, width = len(bound.chunker.key), len(bound.columns)
    queries = bound.once(_Queries)
    query = queries.for_update if lock else queries.plain
    # A value that the driver cannot decode is an error of this data migration as well.
    found = call_user_code(f"{bound.name} ({chunk})", lambda: query.execute(connection, chunk).freeze())
    everything = found().all()
    rows = found().columns(*range(parts, parts + width)).all()
    seen = slice(parts, None) if bound.version is None else slice(-1, None)
    return {
        (key := tuple(all_[:parts])): PreparedRow(key, row, tuple(all_[seen]))
        for all_, row in zip(everything, rows, strict=True)
    }


def build_writes(
    connection: Connection,
    bound: BoundMigration,
    chunk: Chunk,
    results: Mapping[Key, RowResult],
    versions: Mapping[Key, Any] | None,
) -> Sequence[Write]:
    """Builds the statements: rows with new values for the same columns are grouped into one write.

    *versions*: only rows that are still at these versions are written; None: all rows are written. Raises
    :class:`~online_migrate.kinds.result.UserError` if a value cannot be written to its column.
    """
    groups: dict[tuple[str, ...], list[Key]] = collections.defaultdict(list)
    for key, result in results.items():
        if result.values:
            groups[tuple(result.values)].append(key)
    writes: list[Write] = []
    for columns, keys in groups.items():
        rows = [(*key, *(results[key].values or {}).values()) for key in keys]
        at = None
        if versions is not None and bound.version is not None:
            at = Versions(bound.version, [versions[key] for key in keys])
        writes += call_user_code(
            f"{bound.name} ({chunk})", bound.writer.writes, connection, columns, rows, at
        )
    return writes


def execute_writes(
    connection: Connection, bound: BoundMigration, chunk: Chunk, writes: Sequence[Write]
) -> int:
    """Executes *writes*. Returns the number of rows written; below 0 where the driver does not count them."""
    return call_user_code(f"{bound.name} ({chunk})", execute, connection, writes)
