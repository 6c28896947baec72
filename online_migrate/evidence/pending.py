"""The one form of ``pending``, shared by the runner, the gate and the last look under the lock.

A row is pending while its expression is true *or unknown*: ``bytes <> gb * 1024`` is NULL while bytes is
NULL, and NULL must never open a gate. Hence ``(pending) IS NOT FALSE``, everywhere.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import Grouping

from online_migrate import exceptions, state
from online_migrate.ddl.session import server_down
from online_migrate.dialects import dialect_of
from online_migrate.dialects.errors import ServerFault, words_of
from online_migrate.revision.data_migration import DataMigration, Expression, Subject
from online_migrate.walk.checkpoint import decode_key, show_key
from online_migrate.walk.chunker import Chunker, key_columns

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

SHOWN_KEYS = 5
"""How many keys of pending rows are shown as examples."""
COUNTED_AT_MOST = 1_000_000
"""Pending rows are counted up to here; beyond it the answer is "at least"."""


def is_pending(pending: Expression) -> sa.ColumnElement[bool]:
    """The condition of a row that is pending: true or unknown."""
    # Written out, because SQLAlchemy's ``is_not(false())`` is ``IS NOT 0`` on SQLite.
    return Grouping(pending).op("IS NOT", is_comparison=True)(sa.literal_column("FALSE"))


def is_migrated(pending: Expression) -> sa.ColumnElement[bool]:
    """The condition of a row that is not pending; never unknown."""
    return Grouping(pending).op("IS", is_comparison=True)(sa.literal_column("FALSE"))


def fails_verify(subject: Subject) -> sa.ColumnElement[bool] | None:
    """The condition of a row that counts as migrated and of which ``verify`` does not hold."""
    if subject.verify is None:
        return None
    wrong = Grouping(subject.verify).op("IS NOT", is_comparison=True)(sa.literal_column("TRUE"))
    return wrong if subject.pending is None else sa.and_(is_migrated(subject.pending), wrong)


@dataclasses.dataclass(frozen=True)
class Remaining:
    """Rows that stand before a gate."""

    count: int
    at_least: bool
    keys: tuple[str, ...]
    """Some of their keys, for a person to look them up."""

    def __str__(self) -> str:
        return f"{'at least ' if self.at_least else ''}{self.count:,}"


def find(connection: Connection, subject: Subject, condition: sa.ColumnElement[bool]) -> Remaining:
    """How many rows satisfy *condition*, counted in the data now, and some of their keys."""
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
        # It cannot be walked, but the rows stand before the gate all the same.
        return ()
    dialect = dialect_of(connection)
    codecs = dialect.value_codecs(connection, subject.table)
    key = [dialect.key_expression(column, codecs.get(column.key)) for column in columns]
    rows = connection.execute(sa.select(*key).where(condition).order_by(*columns).limit(SHOWN_KEYS))
    return tuple(show_key(tuple(row)) for row in rows)


def any_row(connection: Connection, subject: Subject, condition: sa.ColumnElement[bool]) -> bool:
    """True if at least one row satisfies *condition*; reads no further than the first."""
    query: sa.Select[Any] = (
        sa.select(sa.literal_column("1")).select_from(subject.table).where(condition).limit(1)
    )
    return connection.execute(query).first() is not None


@dataclasses.dataclass(frozen=True)
class Census:
    """The rows of a data migration, counted from the data: ``done + pending + failed == total``."""

    total: int
    done: int
    pending: int
    failed: int


def take_census(
    connection: Connection, migration: DataMigration, *, recorded_done: int, subject: Subject | None = None
) -> Census:
    """Counts the rows of a data migration; *subject*: what it works on, where that is known already.

    Where it moved rows away or deleted them, so that they cannot be counted any more, the *recorded_done*
    rows are added to those that are there. Raises :class:`~online_migrate.exceptions.PendingUnreadable`.
    """
    subject = subject or migration.subject(connection)
    if subject.pending is None:
        raise exceptions.PendingUnreadable(name=migration.name, reason="it has no pending expression")
    condition = is_pending(subject.pending)
    flag = sa.case((condition, 1), else_=0)
    try:
        rows, pending = connection.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(flag), 0)).select_from(subject.table)
        ).one()
        failing = _failing(connection, migration, subject)
    except ServerFault as error:
        raise _unreadable(connection, migration, error) from error
    failed_and_pending = sum(row.pending for row in failing.values())
    done = int(rows) - int(pending) - (len(failing) - failed_and_pending) + recorded_done
    left = int(pending) - failed_and_pending
    return Census(total=done + left + len(failing), done=done, pending=left, failed=len(failing))


def count_pending(connection: Connection, migration: DataMigration, subject: Subject) -> int:
    """How many rows are pending now, those that are recorded as failed not among them.

    The same as ``take_census(...).pending``, from a query for which a server need not count all rows. Raises
    :class:`~online_migrate.exceptions.PendingUnreadable`.
    """
    assert subject.pending is not None
    try:
        rows = connection.scalar(
            sa.select(sa.func.count()).select_from(subject.table).where(is_pending(subject.pending))
        )
        failing = _failing(connection, migration, subject)
    except ServerFault as error:
        raise _unreadable(connection, migration, error) from error
    return int(rows or 0) - sum(row.pending for row in failing.values())


def still_failing(connection: Connection, migration: DataMigration, subject: Subject) -> dict[str, str]:
    """The rows recorded as failed that are pending, or fail ``verify``, still: encoded key -> error.

    A row that was recorded and that the application has mended or deleted since is not among them. Raises
    :class:`~online_migrate.exceptions.PendingUnreadable`.
    """
    try:
        return {key: row.error for key, row in _failing(connection, migration, subject).items()}
    except ServerFault as error:
        raise _unreadable(connection, migration, error) from error


@dataclasses.dataclass(frozen=True)
class _FailedRow:
    error: str
    pending: bool
    """False: it counts as migrated, but ``verify`` does not hold."""


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
        # Nothing in the data tells that such a row was mended, but for verify.
        pending = sa.true() if wrong is None else sa.false()
    condition = pending if wrong is None else sa.or_(pending, wrong)
    chunker = Chunker(connection, subject.table)
    flag = sa.case((pending, 1), else_=0)
    found: dict[str, _FailedRow] = {}
    for start in range(0, len(recorded), 200):
        part = {decode_key(key): (key, error) for key, error, _run in recorded[start : start + 200]}
        query = sa.select(*chunker.key, flag).where(chunker.among(part), condition)
        for *values, is_still_pending in connection.execute(query):
            # Where 'a' = 'A', the row may have another spelling of the key by now: another row to us.
            if tuple(values) in part:
                key, error = part[tuple(values)]
                found[key] = _FailedRow(error, bool(is_still_pending))
    return found


def _unreadable(
    connection: Connection, migration: DataMigration, error: Exception
) -> exceptions.PendingUnreadable | exceptions.ServerDown:
    if dialect_of(connection).is_connection_lost(error):
        return server_down(connection.engine.url, error)
    return exceptions.PendingUnreadable(name=migration.name, reason=words_of(error))
