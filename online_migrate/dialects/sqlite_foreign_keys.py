"""Checks the foreign keys of a SQLite database before and after a revision.

A database may contain invalid foreign keys from before the revision: a foreign key whose parent has no unique
key ("foreign key mismatch"), or whose parent table does not exist. SQLite cannot check the rows of such a
table, and the revision is not the cause. So each table is checked separately, and only new problems count.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.driver_errors import DATABASE_ERRORS, driver_error_of, error_message
from online_migrate.observe import events

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_logger = logging.getLogger(__name__)
_MISMATCH = "foreign key mismatch"


@dataclasses.dataclass(frozen=True)
class ForeignKeys:
    """The result of a check of every table."""

    orphans: frozenset[tuple[Any, ...]]
    """(table, rowid, parent table, number of the foreign key) of each row that has no parent row."""
    unchecked: dict[str, str]
    """The tables whose rows cannot be checked -> SQLite's message."""


def check(connection: Connection) -> ForeignKeys:
    """Checks every table separately, and logs a warning for each table that cannot be checked."""
    orphans: set[tuple[Any, ...]] = set()
    unchecked: dict[str, str] = {}
    quote = connection.dialect.identifier_preparer.quote_identifier
    tables = connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
    for table in tables:
        try:
            rows = connection.exec_driver_sql(f"PRAGMA foreign_key_check({quote(table)})").all()
        except DATABASE_ERRORS as error:
            if not str(driver_error_of(error)).startswith(_MISMATCH):
                raise
            unchecked[table] = error_message(error)
        else:
            orphans |= {tuple(row) for row in rows}
    for table, reason in unchecked.items():
        events.emit(_logger, events.ForeignKeysUnchecked(table, f"{reason}"))
    return ForeignKeys(frozenset(orphans), unchecked)


def refuse_new(before: ForeignKeys, after: ForeignKeys) -> None:
    """Refuses a revision that leaves a row without its parent row, or a table that cannot be checked.

    Raises :class:`~online_migrate.exceptions.ServerError`. Problems that *before* contains do not count, nor
    do the rows of a table that could not be checked before the revision: the revision is not their cause.
    """
    added = {row for row in after.orphans - before.orphans if row[0] not in before.unchecked}
    if added:
        table, _rowid, parent, _number = sorted(added, key=str)[0]
        raise exceptions.ServerError(
            reason=f"{len(added)} row(s) of {table!r} would have no parent row in {parent!r}",
            hint="nothing was changed; move or delete these rows in a data migration first",
        )
    broken = sorted(set(after.unchecked) - set(before.unchecked))
    if broken:
        table = broken[0]
        raise exceptions.ServerError(
            reason=f"the foreign keys of {table!r} can no longer be checked: {after.unchecked[table]}",
            hint="nothing was changed; "
            "the columns that a foreign key references need a PRIMARY KEY or UNIQUE constraint",
        )
