"""What uses a column or a table on SQLite, where views and triggers follow a rename."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.facets.soaks import REFUSES_ROWS, RequiredColumn, Soaks, Use
from online_migrate.dialects.problem import Problem
from online_migrate.dialects.query import rows
from online_migrate.sql.soaked import SoakedObject
from online_migrate.sql.sqlite_table import features_of_table
from online_migrate.sql.statement import identifiers

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_OBJECTS = """
    SELECT type AS kind, name, sql AS body, tbl_name = :table COLLATE NOCASE AS own FROM sqlite_master
    WHERE type IN ('view', 'trigger')
"""


_TABLE = "SELECT sql AS body FROM sqlite_master WHERE type = 'table' AND name = :table COLLATE NOCASE"
_FOLLOWS = "follows the rename, so code that uses it still reaches the object"


class SQLiteSoaks(Soaks):
    """Reads sqlite_master and the foreign keys of all tables."""

    def uses_of(self, connection: Connection, subject: SoakedObject) -> list[Use]:
        found = []
        for row in rows(connection, _OBJECTS, table=subject.table):
            words = {word.casefold() for word in identifiers(row.body, "sqlite")}
            own = bool(row.own) and row.kind == "trigger"
            if subject.column is None:
                uses = not own and subject.table.casefold() in words
            else:
                uses = subject.column.casefold() in words and (own or subject.table.casefold() in words)
            if uses:
                found.append(
                    Use(
                        row.kind,
                        row.name,
                        _FOLLOWS,
                    )
                )
        return found + self._foreign_keys(connection, subject) + self._checks(connection, subject)

    def _checks(self, connection: Connection, subject: SoakedObject) -> list[Use]:
        """Returns the CHECKs of the table that name the column."""
        if subject.column is None:
            return []
        [row] = rows(connection, _TABLE, table=subject.table)
        try:
            features = features_of_table(row.body)
        except ValueError:
            reason = "cannot be read, so it is not known whether a CHECK uses the column"
            return [Use("definition of table", subject.table, reason)]
        column = subject.column.lower()
        checks = (one.text for one in features if one.text.startswith("CHECK ") and column in one.columns)
        return [Use("check constraint", text, REFUSES_ROWS) for text in checks]

    def _foreign_keys(self, connection: Connection, subject: SoakedObject) -> list[Use]:
        inspector = sa.inspect(connection)
        return [
            Use("foreign key", f"of {table}", "refers to it, and would refuse rows of new code", table)
            for table in inspector.get_table_names()
            if table != subject.table
            for key in inspector.get_foreign_keys(table)
            if key["referred_table"].casefold() == subject.table.casefold()
            and (subject.column is None or subject.column in key["referred_columns"])
        ]

    def relaxed(self, connection: Connection, subject: SoakedObject) -> RequiredColumn | Problem:
        return Problem(
            "it is NOT NULL without a default, so an INSERT of new code would fail, and SQLite makes a "
            "column nullable only by a copy of the table",
            "make it nullable in a contract revision before this one, or drop it by contract without --soak",
        )
