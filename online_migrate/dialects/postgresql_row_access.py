"""How rows of PostgreSQL are read, compared and written without changing a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate.dialects import postgresql_sessions as sessions
from online_migrate.dialects.facets.row_access import RowAccess
from online_migrate.dialects.query import rows
from online_migrate.values import postgresql as postgresql_values
from online_migrate.values.exact import Codec
from online_migrate.writers.bulk import ArrayWriter, BulkWriter, plain_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_BARE_TYPES = """
    SELECT a.attname AS name, format_type(a.atttypid, -1) AS type
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
    WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped
      AND t.typcategory <> 'A' AND coalesce(b.typcategory, 'U') <> 'A' AND t.typtype IN ('b', 'e', 'd')
"""


class PostgreSQLRowAccess(RowAccess):
    """Compares rows by xmin, and writes them by a join with arrays."""

    update_returning: ClassVar[bool] = True

    def value_codecs(self, connection: Connection, table: sa.Table) -> Mapping[str, Codec]:
        found = {key: postgresql_values.codec_of(column.type) for key, column in table.c.items()}
        return {key: codec for key, codec in found.items() if codec is not None}

    def row_version(
        self, connection: Connection, table: sa.Table, columns: Sequence[sa.Column[Any]], name: str
    ) -> str | None:
        # xmin is the id of the transaction that wrote this version of the row.
        return f"CAST({name}.xmin AS text)"

    def bulk_writer(
        self,
        connection: Connection,
        table: sa.Table,
        key: Sequence[sa.ColumnElement[Any]],
        constant: Sequence[str],
        hint: str | None = None,
    ) -> BulkWriter:
        name = plain_name(connection, table.schema, table.name)
        types = {row.name: row.type for row in rows(connection, _BARE_TYPES, table=name)}
        return ArrayWriter(table, key, constant, types)

    def text_encoding(self, connection: Connection) -> str:
        return sessions.python_encoding(str(connection.scalar(sa.text("SHOW server_encoding"))))
