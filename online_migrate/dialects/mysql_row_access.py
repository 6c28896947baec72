"""How rows of MySQL and MariaDB are read, compared and written without changing a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from online_migrate.dialects import mysql_charsets as charsets
from online_migrate.dialects.facets.row_access import RowAccess
from online_migrate.dialects.mysql_errors import NO_SUCH_KEY, error_code
from online_migrate.dialects.query import rows
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.values import mysql as mysql_values
from online_migrate.values.exact import Codec
from online_migrate.writers.bulk import BulkWriter, UnionWriter, plain_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_COLLATIONS = """
    SELECT column_name AS name, character_set_name AS charset, collation_name AS collation
    FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND collation_name IS NOT NULL
"""
_DATA_TYPES = """
    SELECT column_name AS name, data_type AS type FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
"""
_SELF_UPDATING = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND LOWER(extra) LIKE '%on update current_timestamp%'
"""


class MySQLRowAccess(RowAccess):
    """Compares rows by a digest of their bytes, and writes them by a join with a query of literals."""

    row_value_ranges: ClassVar[bool] = False
    writer: ClassVar[type[UnionWriter]] = UnionWriter

    def __init__(self) -> None:
        self._other_charsets: dict[tuple[str | None, str], dict[str, str]] = {}
        """(schema, table) -> result of :func:`.mysql_charsets.others`, for the tables that were read."""

    def key_expression(self, column: sa.Column[Any], codec: Codec | None = None) -> sa.ColumnElement[Any]:
        if isinstance(column.type, sa.Enum | mysql.SET):
            # ORDER BY sorts an ENUM or SET by the number of its value, a comparison uses the text.
            return sa.cast(column, mysql.CHAR(charset="utf8mb4")).collate("utf8mb4_bin")
        return super().key_expression(column, codec)

    def index_hint(self, connection: Connection, table: sa.Table, index: str | None) -> str | None:
        """Returns FORCE INDEX for *index* or for the primary key.

        Without the hint MySQL 8 and later may choose a skip scan of a secondary index, which reads the whole
        index for every chunk and sorts the result (observed on 9.7, where the optimizer's estimates change
        while rows change).

        Returns None for an index that the optimizer cannot use, or whose name contains a percent sign.
        """
        if index is not None and "%" in index:
            # SQLAlchemy, or the driver, reads such a name as a placeholder in some statements.
            return None
        quote = connection.dialect.identifier_preparer.quote_identifier
        hint = f"FORCE INDEX ({quote(index or 'PRIMARY')})"
        if index is not None:
            look: sa.Select[Any] = (
                sa.select(sa.literal_column("1")).select_from(table).with_hint(table, hint).limit(0)
            )
            try:
                connection.execute(look)
            except DATABASE_ERRORS as error:
                if error_code(error) != NO_SUCH_KEY:
                    raise
                # FORCE INDEX is refused for an invisible index.
                return None
        return hint

    def value_codecs(self, connection: Connection, table: sa.Table) -> Mapping[str, Codec]:
        found = rows(connection, _DATA_TYPES, table=table.name, schema=table.schema)
        types = {str(row.name): str(row.type) for row in found}
        codecs = {key: mysql_values.codec_of(types.get(column.name, "")) for key, column in table.c.items()}
        # SQLAlchemy reads a SET that has '' among its values by its number.
        by_number = {
            key for key, column in table.c.items() if getattr(column.type, "retrieve_as_bitwise", False)
        }
        return {key: codec for key, codec in codecs.items() if codec is not None and key not in by_number}

    def row_version(
        self, connection: Connection, table: sa.Table, columns: Sequence[sa.Column[Any]], name: str
    ) -> str | None:
        """Returns a digest of the bytes of the values.

        NULL and '' have different digests. A FLOAT is converted to DOUBLE, which shows all of its digits.

        The digest is computed from bytes, because CONCAT_WS converts texts of different character sets to a
        common one. Some character sets have no common one, and a character that the common one lacks becomes
        a question mark, so that different values would have the same digest.
        """
        place = (table.schema, table.name)
        if place not in self._other_charsets:
            self._other_charsets[place] = charsets.others(connection, table.name, table.schema)
        others = self._other_charsets[place]
        parts, conditions = [], []
        for column in columns:
            value = f"{name}.{plain_name(connection, column.name)}"
            if isinstance(column.type, sa.Float):
                value = f"{value} + 0E0"
            if isinstance(column.type, sa.types.NullType):
                # Most functions do not accept a VECTOR as an argument.
                value = f"HEX({value})"
            parts += [f"{value} IS NULL", f"LENGTH({value})", f"CAST({value} AS BINARY)"]
            if column.name in others:
                conditions.append(charsets.survives(value, others[column.name]))
        # MySQL 9 has removed MD5.
        return charsets.marked(f"SHA2(CONCAT_WS('/', {', '.join(parts)}), 256)", conditions)

    def unreadable(self, version: object) -> str | None:
        return charsets.lost(version)

    def self_updating_columns(self, connection: Connection, table: sa.Table) -> list[str]:
        found = rows(connection, _SELF_UPDATING, table=table.name, schema=table.schema)
        names = {str(row[0]) for row in found}
        return [key for key, column in table.c.items() if column.name in names]

    def bulk_writer(
        self,
        connection: Connection,
        table: sa.Table,
        key: Sequence[sa.ColumnElement[Any]],
        constant: Sequence[str],
        hint: str | None = None,
    ) -> BulkWriter:
        found = rows(connection, _COLLATIONS, table=table.name, schema=table.schema)
        collations = {row.name: (row.charset, row.collation) for row in found}
        return self.writer(table, key, constant, collations, hint or "")

    def exact_text(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        if isinstance(value.type, sa.String):
            # Of one character set: a computed text has that of the connection.
            value = sa.func.convert(value.op("USING")(sa.text("utf8mb4")))
        return sa.func.hex(value)

    def assigned(self, value: sa.ColumnElement[Any], column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        if isinstance(column.type, (sa.String, mysql.BIT, mysql.YEAR)):  # ENUM and SET are texts as well
            return sa.type_coerce(value, column.type)
        # CAST cuts the fraction off a text, and an assignment rounds it.
        return sa.cast(sa.func.round(value) if isinstance(column.type, sa.Integer) else value, column.type)
