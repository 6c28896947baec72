"""The foreign keys of a SQLite file before and after a revision.

A file may have been broken long before: a foreign key whose parent has no unique key ("foreign key
mismatch"), or whose parent table is not there. SQLite cannot check the rows of such a table, and no
revision is to blame for it. So each table is checked by itself, and only what is new counts.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects.errors import ServerFault, driver_error_of, words_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_logger = logging.getLogger(__name__)
_MISMATCH = "foreign key mismatch"


@dataclasses.dataclass(frozen=True)
class ForeignKeys:
    """What a check of every table found."""

    orphans: frozenset[tuple[Any, ...]]
    """(table, rowid, parent, number of the foreign key) of each row without its parent."""
    unchecked: dict[str, str]
    """The tables whose rows cannot be checked, and what SQLite says of them."""


def check(connection: Connection) -> ForeignKeys:
    """Checks every table by itself."""
    orphans: set[tuple[Any, ...]] = set()
    unchecked: dict[str, str] = {}
    quote = connection.dialect.identifier_preparer.quote_identifier
    tables = connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
    for table in tables:
        try:
            rows = connection.exec_driver_sql(f"PRAGMA foreign_key_check({quote(table)})").all()
        except ServerFault as error:
            if not str(driver_error_of(error)).startswith(_MISMATCH):
                raise
            unchecked[table] = words_of(error)
        else:
            orphans |= {tuple(row) for row in rows}
    for table, reason in unchecked.items():
        _logger.warning("foreign keys of table %r cannot be checked: %s", table, reason)
    return ForeignKeys(frozenset(orphans), unchecked)


def refuse_new(before: ForeignKeys, after: ForeignKeys) -> None:
    """Refuses a revision that leaves a row without its parent, or a table whose rows cannot be checked.

    The rows of a table that could not be checked before are not the revision's.
    """
    added = {row for row in after.orphans - before.orphans if row[0] not in before.unchecked}
    if added:
        table, _rowid, parent, _number = sorted(added, key=str)[0]
        raise exceptions.ServerError(
            reason=f"{len(added)} row(s) of {table!r} would be left without their parent in {parent!r}",
            hint="nothing was changed; move or delete these rows in a data migration first",
        )
    broken = sorted(set(after.unchecked) - set(before.unchecked))
    if broken:
        table = broken[0]
        raise exceptions.ServerError(
            reason=f"the foreign keys of {table!r} could not be checked any more: {after.unchecked[table]}",
            hint="nothing was changed; what a foreign key names needs a PRIMARY KEY or UNIQUE constraint",
        )
