"""The clock of SQLite, and the size of its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.facets.load import Load, TableSize

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class SQLiteLoad(Load):
    """Reads the tables themselves: SQLite keeps no statistics of their size."""

    def epoch(self) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.strftime("%s", "now"), sa.BigInteger)

    def table_size(self, connection: Connection, table: str, schema: str | None) -> TableSize | None:
        columns = len(sa.inspect(connection).get_columns(table, schema=schema))
        rows = connection.scalar(sa.select(sa.func.count()).select_from(sa.table(table, schema=schema)))
        return TableSize(rows or 0, None, columns)
