"""What is known of the schema when an operation is judged. Pure.

An operation on a table that this group of revisions creates breaks no code, because no code knows the table
yet. Whether a type becomes wider depends on the type that the column has.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from online_migrate.sql.operations.operation import Column, Name, SqlType


@dataclasses.dataclass(frozen=True)
class Server:
    """A server product, and its version; *version*: None if it is not known (no database is asked).

    *product*: postgresql, mysql, mariadb or sqlite. Without a version the oldest supported one is assumed:
    PostgreSQL 12, MySQL 8.0, MariaDB 10.6, SQLite 3.35.
    """

    product: str
    version: tuple[int, ...] | None = None


class KnownSchema(Protocol):
    """The schema before the operation that is judged."""

    def is_new_table(self, table: Name) -> bool:
        """Returns True if *table* was created by the revisions that are judged together."""

    def is_new_column(self, table: Name, column: str) -> bool:
        """Returns True if the column, or its table, was created by the revisions that are judged together."""

    def column(self, table: Name, column: str) -> Column | None:
        """Returns the definition of a column; None if it is not known."""

    def table_exists(self, table: Name) -> bool | None:
        """Returns whether the table exists; None if it is not known."""

    def is_domain(self, type: SqlType) -> bool | None:
        """Returns whether a type that is not built in is a domain (PostgreSQL); None if it is not known."""


class NothingKnown:
    """The schema is not known, and nothing is new."""

    def is_new_table(self, table: Name) -> bool:
        return False

    def is_new_column(self, table: Name, column: str) -> bool:
        return False

    def column(self, table: Name, column: str) -> Column | None:
        return None

    def table_exists(self, table: Name) -> bool | None:
        return None

    def is_domain(self, type: SqlType) -> bool | None:
        return None
