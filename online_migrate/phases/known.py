"""What is known of the schema when an operation is judged. Pure.

An operation on a table that this group of revisions creates breaks no code, because no code knows the table
yet. Whether a type becomes wider depends on the type that the column has.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from online_migrate.sql.operations.parts import Column, Name, SqlType

OLDEST_SUPPORTED: dict[str, tuple[int, ...]] = {
    "postgresql": (12,),
    "mysql": (8, 0),
    "mariadb": (10, 6),
    "sqlite": (3, 35),
}
"""The version that is assumed if none is known.

Of the differences between supported versions few change a verdict. MySQL before 8.0.12 has no
ALGORITHM=INSTANT, but adds a column with ALGORITHM=INPLACE, LOCK=NONE. Every supported PostgreSQL adds a
default that is not volatile without rewriting the table.
"""


@dataclasses.dataclass(frozen=True)
class Server:
    """A server product, and its version; *version*: None if it is not known (no database is asked).

    *product*: postgresql, mysql, mariadb or sqlite.
    """

    product: str
    version: tuple[int, ...] | None = None

    def at_least(self, *version: int) -> bool:
        """Returns True if the server is of *version* or later."""
        return (self.version or OLDEST_SUPPORTED[self.product]) >= version


class KnownSchema(Protocol):
    """The schema before the operation that is judged."""

    def is_new_table(self, table: Name) -> bool:
        """Returns True if *table* was created by the revisions that are judged together."""

    def is_written_through(self, table: Name) -> bool:
        """Returns True if a write to this new table or view may change rows of another table.

        It is a view, or it has a trigger or a rule.
        """

    def is_new_column(self, table: Name, column: str) -> bool:
        """Returns True if the column, or its table, was created by the revisions that are judged together."""

    def column(self, table: Name, column: str) -> Column | None:
        """Returns the definition of a column; None if it is not known."""

    def table_exists(self, table: Name) -> bool | None:
        """Returns whether the table exists; None if it is not known."""

    def type_kind(self, type: SqlType) -> str | None:
        """Returns ``domain``, ``enum`` or ``other`` for a type that is not built in; None: not known."""

    def is_new_object(self, kind: str, name: Name) -> bool:
        """Returns True if these revisions created the sequence, type or enum value.

        The schema in the name of an enum value is its type.
        """

    def new_code(self, words: frozenset[str]) -> tuple[str, ...]:
        """Returns the functions of these revisions, and what calls one, that a statement of *words* names."""

    def restriction(self, table: Name, parent: Name) -> str | None:
        """Returns why a new table may refuse a row that *parent* accepts; None if it refuses none."""

    def hides_table(self, table: Name) -> bool | None:
        """Returns whether a new table would hide one of old code in its search_path; None: not known."""

    def routine_exists(self, routine: Name) -> bool | None:
        """Returns whether old code may call a routine of this name; None if it is not known.

        The schema of the routine does not count.
        """

    def role_exists(self, role: str) -> bool | None:
        """Returns whether there is an account of this name (PostgreSQL); None if it is not known."""


class NothingKnown:
    """The schema is not known, and nothing is new."""

    def is_new_table(self, table: Name) -> bool:
        return False

    def is_written_through(self, table: Name) -> bool:
        return False

    def is_new_column(self, table: Name, column: str) -> bool:
        return False

    def column(self, table: Name, column: str) -> Column | None:
        return None

    def table_exists(self, table: Name) -> bool | None:
        return None

    def type_kind(self, type: SqlType) -> str | None:
        return None

    def is_new_object(self, kind: str, name: Name) -> bool:
        return False

    def new_code(self, words: frozenset[str]) -> tuple[str, ...]:
        return ()

    def restriction(self, table: Name, parent: Name) -> str | None:
        return "its definition is not known"

    def hides_table(self, table: Name) -> bool | None:
        return None

    def routine_exists(self, routine: Name) -> bool | None:
        return None

    def role_exists(self, role: str) -> bool | None:
        return None
