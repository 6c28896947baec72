"""Facts of a live table on MySQL and MariaDB: information_schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from online_migrate.dialects.facets.table_facts import TableFacts
from online_migrate.dialects.query import rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_TRIGGERS = """
    SELECT trigger_name AS name, action_statement AS body FROM information_schema.triggers
    WHERE event_object_schema = COALESCE(:schema, DATABASE()) AND event_object_table = :name
    ORDER BY trigger_name
"""
_PARTITIONS = """
    SELECT COUNT(partition_name) FROM information_schema.partitions
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name
"""


class MySQLTableFacts(TableFacts):
    """Reads information_schema."""

    def triggers_of(self, connection: Connection, table: str, schema: str | None) -> Mapping[str, str]:
        found = rows(connection, _TRIGGERS, name=table, schema=schema)
        return {str(row.name): str(row.body) for row in found}

    def partitions_of(self, connection: Connection, table: str, schema: str | None) -> int:
        return int(rows(connection, _PARTITIONS, name=table, schema=schema)[0][0])
