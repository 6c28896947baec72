"""How rows of SQLite are read, compared and written without changing a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.facets.row_access import RowAccess
from online_migrate.values import sqlite as sqlite_values
from online_migrate.values.exact import Codec

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class Stored(sa.types.UserDefinedType[Any]):
    """A value as it is stored, whatever type the column declares.

    SQLAlchemy reads ``2024-01-01 10:00:00`` as a datetime and writes it back with microseconds, which is a
    different text.
    """

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        return ""


class SQLiteRowAccess(RowAccess):
    """Reads the values of a key as they are stored, whatever type their column declares."""

    enforces_length: ClassVar[bool] = False

    def key_expression(self, column: sa.Column[Any], codec: Codec | None = None) -> sa.ColumnElement[Any]:
        return sa.type_coerce(column, Stored())

    def value_codecs(self, connection: Connection, table: sa.Table) -> Mapping[str, Codec]:
        found = {key: sqlite_values.codec_of(column.type) for key, column in table.c.items()}
        return {key: codec for key, codec in found.items() if codec is not None}

    def exact_text(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.hex(value)

    def assigned(self, value: sa.ColumnElement[Any], column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        # A CAST keeps the leading digits only: of a date AS DATETIME the year. A column keeps such a text.
        return sa.type_coerce(value, column.type)
