"""Facts of a live table on SQLite: sqlite_master."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from online_migrate.dialects.facets.table_facts import TableFacts
from online_migrate.dialects.query import rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_TRIGGERS = """
    SELECT name, sql AS body FROM sqlite_master
    WHERE type = 'trigger' AND tbl_name = :name COLLATE NOCASE ORDER BY name
"""


class SQLiteTableFacts(TableFacts):
    """A table has no partitions."""

    def triggers_of(self, connection: Connection, table: str, schema: str | None) -> Mapping[str, str]:
        return {str(row.name): str(row.body) for row in rows(connection, _TRIGGERS, name=table)}
