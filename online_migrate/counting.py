"""Counts the rows of data migrations. Shared by the runner, the gate and the status report."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.ddl.session import server_down
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.pending import fails_verify, is_pending
from online_migrate.kinds.subject import Subject
from online_migrate.walk.checkpoint import decode_key, show_key
from online_migrate.walk.chunker import Chunker
from online_migrate.walk.key import key_columns

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

SHOWN_KEYS = 5
"""The number of keys of pending rows that are shown as examples."""
COUNTED_AT_MOST = 1_000_000
"""Pending rows are counted up to this number; above it the result is reported as "at least"."""


@dataclasses.dataclass(frozen=True)
class Remaining:
    """Rows that keep a gate closed."""

    count: int
    at_least: bool
    keys: tuple[str, ...]
    """Examples of their keys, formatted for display, with which an operator can find the rows."""

    def __str__(self) -> str:
        return f"{'at least ' if self.at_least else ''}{self.count:,}"


def find(connection: Connection, subject: Subject, condition: sa.ColumnElement[bool]) -> Remaining:
    """Counts the rows that satisfy *condition* in the current data; returns the count and example keys."""
    some: sa.Select[Any] = (
        sa.select(sa.literal_column("1").label("one")).select_from(subject.table).where(condition)
    )
    counted = connection.scalar(
        sa.select(sa.func.count()).select_from(some.limit(COUNTED_AT_MOST + 1).subquery())
    )
    count = int(counted or 0)
    keys: tuple[str, ...] = ()
    if count:
        keys = _some_keys(connection, subject, condition)
    return Remaining(min(count, COUNTED_AT_MOST), at_least=count > COUNTED_AT_MOST, keys=keys)


def _some_keys(
    connection: Connection, subject: Subject, condition: sa.ColumnElement[bool]
) -> tuple[str, ...]:
    try:
        columns = key_columns(connection, subject.table)
    except exceptions.NoKey:
        # The table cannot be walked without a key, but its rows keep the gate closed nevertheless.
        return ()
    dialect = dialect_of(connection)
    codecs = dialect.value_codecs(connection, subject.table)
    key = [dialect.key_expression(column, codecs.get(column.key)) for column in columns]
    rows = connection.execute(sa.select(*key).where(condition).order_by(*columns).limit(SHOWN_KEYS))
    return tuple(show_key(tuple(row)) for row in rows)


def any_row(connection: Connection, subject: Subject, condition: sa.ColumnElement[bool]) -> bool:
    """Returns True if at least one row satisfies *condition*; stops reading at the first such row."""
    query: sa.Select[Any] = (
        sa.select(sa.literal_column("1")).select_from(subject.table).where(condition).limit(1)
    )
    return connection.execute(query).first() is not None


@dataclasses.dataclass(frozen=True)
class RowCounts:
    """The rows of a data migration, counted from the data: ``done + pending + failed == total``."""

    total: int
    done: int
    pending: int
    failed: int


def count_rows(
    connection: Connection, migration: DataMigration, *, recorded_done: int, subject: Subject | None = None
) -> RowCounts:
    """Counts the rows of a data migration.

    *recorded_done*: rows that the data migration moved to another table or deleted, which can no longer be
    counted; they are added to the rows that the table still has.
    *subject*: the subject of the data migration, if the caller has resolved it already.

    Raises :class:`~online_migrate.exceptions.PendingUnreadable`, or
    :class:`~online_migrate.exceptions.ServerDown` if the connection was lost.
    """
    subject = subject or migration.subject(connection)
    rows, pending = _rows_and_pending(connection, migration, subject)
    return _row_counts(connection, migration, subject, rows, pending, recorded_done)


def count_small_table(
    connection: Connection, migration: DataMigration, subject: Subject, *, recorded_done: int, at_most: int
) -> RowCounts | None:
    """Counts as :func:`count_rows` does, but reads no more rows than *at_most* and one.

    Returns None if the table has more rows than *at_most*. Raises what :func:`count_rows` raises.
    """
    rows, pending = _rows_and_pending(connection, migration, subject, limit=at_most + 1)
    if rows > at_most:
        return None
    return _row_counts(connection, migration, subject, rows, pending, recorded_done)


def _rows_and_pending(
    connection: Connection, migration: DataMigration, subject: Subject, *, limit: int | None = None
) -> tuple[int, int]:
    """Returns the number of rows, of *limit* at most, and how many of them are pending."""
    if subject.pending is None:
        raise exceptions.PendingUnreadable(name=migration.name, reason="it has no pending expression")
    flag: sa.ColumnElement[int] = sa.case((is_pending(subject.pending), 1), else_=0)
    source: sa.FromClause = subject.table
    if limit is not None:
        source = sa.select(flag.label("pending")).select_from(subject.table).limit(limit).subquery()
        flag = source.c.pending
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(flag), 0)).select_from(source)
    try:
        rows, pending = connection.execute(query).one()
    except DATABASE_ERRORS as error:
        raise _unreadable(connection, migration, error) from error
    return int(rows), int(pending)


def _row_counts(
    connection: Connection,
    migration: DataMigration,
    subject: Subject,
    rows: int,
    pending: int,
    recorded_done: int,
) -> RowCounts:
    try:
        failing = _failing(connection, migration, subject)
    except DATABASE_ERRORS as error:
        raise _unreadable(connection, migration, error) from error
    failed_and_pending = sum(row.pending for row in failing.values())
    done = rows - pending - (len(failing) - failed_and_pending) + recorded_done
    left = pending - failed_and_pending
    return RowCounts(total=done + left + len(failing), done=done, pending=left, failed=len(failing))


def count_pending(connection: Connection, migration: DataMigration, subject: Subject) -> int:
    """Counts the rows that are pending now, without the rows that are recorded as failed.

    Returns the same number as ``count_rows(...).pending``, with a query for which the server need not count
    all rows. Raises :class:`~online_migrate.exceptions.PendingUnreadable`, or
    :class:`~online_migrate.exceptions.ServerDown` if the connection was lost.
    """
    assert subject.pending is not None
    try:
        rows = connection.scalar(
            sa.select(sa.func.count()).select_from(subject.table).where(is_pending(subject.pending))
        )
        failing = _failing(connection, migration, subject)
    except DATABASE_ERRORS as error:
        raise _unreadable(connection, migration, error) from error
    return int(rows or 0) - sum(row.pending for row in failing.values())


def still_failing(connection: Connection, migration: DataMigration, subject: Subject) -> dict[str, str]:
    """Returns the rows recorded as failed that are still pending, or still fail ``verify``.

    The result is encoded key -> error. A recorded row that the application has since corrected or deleted is
    left out. Raises :class:`~online_migrate.exceptions.PendingUnreadable`, or
    :class:`~online_migrate.exceptions.ServerDown` if the connection was lost.
    """
    try:
        return {key: row.error for key, row in _failing(connection, migration, subject).items()}
    except DATABASE_ERRORS as error:
        raise _unreadable(connection, migration, error) from error


@dataclasses.dataclass(frozen=True)
class _FailedRow:
    error: str
    pending: bool
    """False: the row counts as migrated, but ``verify`` is not true for it."""


def _failing(connection: Connection, migration: DataMigration, subject: Subject) -> dict[str, _FailedRow]:
    if not state.exists(connection):
        return {}
    recorded = state.failed_keys(connection, migration.name)
    wrong = fails_verify(subject)
    if not recorded:
        return {}
    if subject.pending is not None:
        pending = is_pending(subject.pending)
    else:
        # Without a pending expression only verify can show that such a row was corrected.
        pending = sa.true() if wrong is None else sa.false()
    condition = pending if wrong is None else sa.or_(pending, wrong)
    chunker = Chunker(connection, subject.table)
    flag = sa.case((pending, 1), else_=0)
    found: dict[str, _FailedRow] = {}
    for start in range(0, len(recorded), 200):
        part = {decode_key(key): (key, error) for key, error, _run in recorded[start : start + 200]}
        query = sa.select(*chunker.key, flag).where(chunker.key_in(part), condition)
        for *values, is_still_pending in connection.execute(query):
            # In a collation with 'a' = 'A' the key may be spelled differently by now: another row here.
            if tuple(values) in part:
                key, error = part[tuple(values)]
                found[key] = _FailedRow(error, bool(is_still_pending))
    return found


def _unreadable(
    connection: Connection, migration: DataMigration, error: Exception
) -> exceptions.PendingUnreadable | exceptions.ServerDown:
    if dialect_of(connection).is_connection_lost(error):
        return server_down(connection.engine.url, error)
    return exceptions.PendingUnreadable(name=migration.name, reason=error_message(error))
