"""The schema before the first statement of a revision that a killed run has half applied.

A table that the revision itself created is in the catalog when the revision is resumed, but no old code knows
it. The journal has recorded that the table was not there before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from online_migrate import state
from online_migrate.ddl.statement_effects import StatementEffects
from online_migrate.runtime.catalog_schema import CatalogSchema

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.dialects import Dialect
    from online_migrate.sql.operations.parts import Column, Name


class SchemaBefore(CatalogSchema):
    """The catalog without the tables that half-applied revisions have created."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        super().__init__(connection)
        self._dialect = dialect
        self._created: set[Name] = set()

    def leave_out(self, revision: str) -> None:
        """Leaves out what an earlier run of *revision* has created, if it was killed."""
        if not state.exists(self._connection):
            return
        effects = StatementEffects(self._dialect, self._connection, commit=False)
        for entry in state.journal_entries(self._connection, revision):
            self._created.update(effects.created_tables(entry))

    def table_exists(self, table: Name) -> bool:
        """Returns True if the table existed before."""
        return table not in self._created and super().table_exists(table)

    def column(self, table: Name, column: str) -> Column | None:
        """Returns the definition of a column; None for a column of a table that did not exist before."""
        return None if table in self._created else super().column(table, column)
