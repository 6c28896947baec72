"""The objects of the catalog: whether they exist, what depends on them, and how they are created again."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.catalog import Catalog
from online_migrate.sql.catalog_effects.effect import Effect

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class CatalogObjects:
    """Reads tables, indexes and triggers from the catalog."""

    name: ClassVar[str]

    catalog: ClassVar[type[Catalog]] = Catalog
    """The class that reads single objects of the server's catalog."""

    def has_table(self, connection: Connection, name: str, schema: str | None = None) -> bool:
        """Returns True if the table exists, also while another session changes it."""
        return sa.inspect(connection).has_table(name, schema=schema)

    def has_tables(self, connection: Connection, names: Collection[str]) -> bool:
        """Returns True if each of the tables exists; they have no schema in their names."""
        return all(self.has_table(connection, name) for name in names)

    def holds(self, connection: Connection, effect: Effect) -> bool | None:
        """Returns True if the catalog shows the effect of a statement, False if not; None: it is unknown."""
        return self.catalog(connection).holds(effect)

    def folded(self, name: str, *, quoted: bool) -> str:
        """Returns *name*, as written in a SQL text, in the form that the server's catalog stores."""
        return name

    def comparable(self, name: str) -> str:
        """Returns *name*, as the lexer reads it, in a form in which two names of one object are equal.

        Names of columns ignore case on most servers. Names of tables do so only on some; two tables whose
        names differ only in case count as one.
        """
        return name.casefold()

    def undo_of_drop(self, connection: Connection, drop: str) -> list[str] | None:
        """Returns the statements that create again the trigger, or its function, that *drop* drops.

        *drop*: a DROP statement. None: it drops no such object, or no explicit undo is needed.
        """
        return None

    def recreated(self, connection: Connection, drop: str) -> list[str]:
        """Returns the statements that create again the trigger, or the function, that *drop* drops.

        Unlike :meth:`undo_of_drop` on every server, with the state of the trigger. Empty: it does not exist.
        """
        return self.undo_of_drop(connection, drop) or []

    def indexes_of_column(
        self, connection: Connection, table: str, column: str, schema: str | None = None
    ) -> list[str]:
        """Returns the names of the indexes that make the server refuse a metadata-only DROP COLUMN."""
        return []
