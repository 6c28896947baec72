"""Facts of a live table on PostgreSQL: pg_trigger, and the partition tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from online_migrate.dialects.facets.table_facts import TableFacts
from online_migrate.dialects.query import rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_TRIGGERS = """
    SELECT t.tgname AS name, pg_get_triggerdef(t.oid) || ' ' || p.prosrc AS body
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(:name) AND NOT t.tgisinternal ORDER BY t.tgname
"""
_PARTITIONS = """
    SELECT count(*) FROM pg_partition_tree(to_regclass(:name)) WHERE isleaf AND parentrelid IS NOT NULL
"""


class PostgreSQLTableFacts(TableFacts):
    """Reads the system catalogs, for a name as the search path finds it."""

    def triggers_of(self, connection: Connection, table: str, schema: str | None) -> Mapping[str, str]:
        found = rows(connection, _TRIGGERS, name=_quoted(connection, table, schema))
        return {str(row.name): str(row.body) for row in found}

    def partitions_of(self, connection: Connection, table: str, schema: str | None) -> int:
        return int(rows(connection, _PARTITIONS, name=_quoted(connection, table, schema))[0][0])


def _quoted(connection: Connection, table: str, schema: str | None) -> str:
    quote = connection.dialect.identifier_preparer.quote_identifier
    return ".".join(quote(part) for part in (schema, table) if part)
