"""What the catalog of MySQL and MariaDB says of a table that a tool copies, and of what tools have left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.facets.copied_tables import CopiedTable, CopiedTables
from online_migrate.dialects.query import rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_TABLE = "WHERE table_schema = :schema AND table_name = :table"
_KIND = f"SELECT UPPER(table_type) FROM information_schema.tables {_TABLE}"
_KEYS = f"""
    SELECT index_name FROM information_schema.statistics {_TABLE} AND non_unique = 0
    GROUP BY index_name HAVING SUM(nullable = 'YES') = 0 AND SUM(column_name IS NULL) = 0
"""
_TRIGGERS = """
    SELECT trigger_name FROM information_schema.triggers
    WHERE event_object_schema = :schema AND event_object_table = :table ORDER BY trigger_name
"""
_FOREIGN_KEYS = f"""
    SELECT constraint_name FROM information_schema.table_constraints {_TABLE}
    AND constraint_type = 'FOREIGN KEY' ORDER BY constraint_name
"""
_REFERENCING = """
    SELECT DISTINCT CONCAT(table_schema, '.', table_name) FROM information_schema.key_column_usage
    WHERE referenced_table_schema = :schema AND referenced_table_name = :table
    AND NOT (table_schema = :schema AND table_name = :table) ORDER BY 1
"""
_CHECKS = f"""
    SELECT constraint_name FROM information_schema.table_constraints {_TABLE}
    AND constraint_type = 'CHECK' ORDER BY constraint_name
"""
_CHECKS_OF_MARIADB = """
    SELECT constraint_name FROM information_schema.check_constraints
    WHERE constraint_schema = :schema AND table_name = :table AND level = 'Table' ORDER BY constraint_name
"""
_UNREADABLE = f"""
    SELECT column_name FROM information_schema.columns {_TABLE}
    AND ((data_type IN ('enum', 'set') AND LOCATE('?', column_type) > 0)
         OR LOCATE('?', COALESCE(column_default, '')) > 0)
    ORDER BY column_name
"""
_TABLES = """
    SELECT table_name FROM information_schema.tables
    WHERE table_schema = :schema AND table_name IN :names ORDER BY table_name
"""
_SESSIONS = """
    SELECT id FROM information_schema.processlist
    WHERE id <> CONNECTION_ID() AND LOCATE(:mark, info) > 0 ORDER BY id
"""


class MySQLCopiedTables(CopiedTables):
    """Reads information_schema."""

    ddl_tools: ClassVar[tuple[str, ...]] = ("pt-online-schema-change", "gh-ost")
    checks_of_table: ClassVar[str] = _CHECKS

    def copied_table(self, connection: Connection, schema: str, table: str) -> CopiedTable | None:
        def names(query: str) -> tuple[str, ...]:
            return tuple(str(row[0]) for row in rows(connection, query, schema=schema, table=table))

        kind = names(_KIND)
        if not kind:
            return None
        return CopiedTable(
            kind=kind[0],
            has_key=bool(names(_KEYS)),
            triggers=names(_TRIGGERS),
            foreign_keys=names(_FOREIGN_KEYS),
            referencing=names(_REFERENCING),
            checks=names(self.checks_of_table),
            unreadable_columns=names(_UNREADABLE),
        )

    def existing_tables(self, connection: Connection, schema: str, names: Sequence[str]) -> list[str]:
        query = sa.text(_TABLES).bindparams(sa.bindparam("names", expanding=True))
        return list(connection.scalars(query, {"schema": schema, "names": list(names)}))

    def sessions_with(self, connection: Connection, mark: str) -> list[int]:
        return [int(row[0]) for row in rows(connection, _SESSIONS, mark=mark)]

    def session_mode(self, connection: Connection) -> str:
        return str(connection.scalar(sa.text("SELECT @@SESSION.sql_mode")))


class MariaDBCopiedTables(MySQLCopiedTables):
    """MariaDB names the checks of columns after them, and has the commands that the tools expect."""

    ddl_tools: ClassVar[tuple[str, ...]] = ("pt-online-schema-change",)
    checks_of_table: ClassVar[str] = _CHECKS_OF_MARIADB
    shows_replicas: ClassVar[bool] = True
