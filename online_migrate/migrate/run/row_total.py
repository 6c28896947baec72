"""The number of rows of a data migration, for the display of the progress of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from online_migrate import exceptions, state
from online_migrate.counting import RowCounts, count_rows, count_small_table
from online_migrate.dialects.blame import Blame
from online_migrate.kinds.bound import BoundMigration
from online_migrate.migrate.progress import RateMeter
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_COUNT_TIMEOUT = 0.05
"""The statement timeout, in seconds, of the count of rows before a run starts."""
_COUNTED_BEFORE_START = 10_000
"""A table with more rows is counted while the run is in progress: the start does not wait for the count."""


def new_meter(bound: BoundMigration, connection: Connection, *, clock: Clock) -> tuple[RateMeter, bool]:
    """Returns a new meter; and True if it has the total, or if the total cannot be known (no ``pending``)."""
    with bound.dialect.read_transaction(connection), connection.begin():
        done = _recorded(bound, connection)
    if bound.pending is None:
        return RateMeter(bound.name, total=None, done=done, clock=clock), True
    try:
        with bound.dialect.read_transaction(connection), connection.begin():
            counts = _count_before_start(bound, connection)
    except exceptions.PendingUnreadable as error:
        if error.__cause__ is None or not _may_be_of_a_row(bound, error.__cause__):
            raise
        counts = None
    if counts is None:
        return RateMeter(bound.name, total=None, done=done, clock=clock), False
    return RateMeter(bound.name, total=counts.total, done=counts.done, clock=clock), True


def _count_before_start(bound: BoundMigration, connection: Connection) -> RowCounts | None:
    """Counts the rows of a small table; None for a large one.

    Where one writer blocks all others a large table is counted too: a count beside the workers would delay
    their commits.
    """
    if bound.dialect.single_writer:
        return count(bound, connection)
    with bound.dialect.statement_timeout(connection, _COUNT_TIMEOUT):
        return count_small_table(
            connection,
            bound.migration,
            bound.subject,
            recorded_done=_moved(bound, connection),
            at_most=_COUNTED_BEFORE_START,
        )


def _may_be_of_a_row(bound: BoundMigration, error: BaseException) -> bool:
    """Returns True if an error of the count does not prevent the migration.

    That is a timeout, or an error of a row.
    """
    dialect = bound.dialect
    return dialect.is_statement_timeout(error) or dialect.blame(error) in (Blame.ROW, Blame.SIZE)


def _recorded(bound: BoundMigration, connection: Connection) -> int:
    record = state.get_record(connection, bound.name)
    return (record.done if record is not None else 0) + state.unrecorded_done(connection, bound.name)


def _moved(bound: BoundMigration, connection: Connection) -> int:
    """Returns the number of rows that are no longer in the table, according to the records."""
    return _recorded(bound, connection) if bound.migration.may_remove_rows else 0


def count(bound: BoundMigration, connection: Connection) -> RowCounts:
    """Counts all rows."""
    moved = _moved(bound, connection)
    return count_rows(connection, bound.migration, recorded_done=moved, subject=bound.subject)
