"""What the catalog of a live database tells about the schema when an operation is judged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.schema import CreateColumn

from online_migrate.dialects import dialect_of
from online_migrate.phases.known import NothingKnown, Server
from online_migrate.sql.operations.operation import CreateTable
from online_migrate.sql.operations.parts import Column, Name, SqlType
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.parse import Unreadable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.engine.interfaces import ReflectedColumn


def server_of(connection: Connection) -> Server:
    """Returns the product and the version of the server."""
    return Server(dialect_of(connection).name, _version(connection))


def _version(connection: Connection) -> tuple[int, ...] | None:
    found = connection.dialect.server_version_info
    if found is None:
        return None
    normalized = getattr(connection.dialect, "_mariadb_normalized_version_info", None)
    return tuple(part for part in normalized or found if isinstance(part, int))


_CAST = re.compile(r"('(?:[^']|'')*'|-?[0-9.]+)::[a-z_ \"\[\]().0-9]+")
"""A constant with the cast that PostgreSQL adds to it."""
_QUOTED_NUMBER = re.compile(r"'(-?[0-9.]+)'")


def _default(reflected: ReflectedColumn) -> str | None:
    """Returns a default as a script writes it, so that it can be compared."""
    default = reflected["default"]
    constant = None if default is None else _CAST.fullmatch(default)
    text = default if constant is None else constant[1]
    if text is not None and isinstance(reflected["type"], sa.Integer | sa.Numeric):
        # MySQL stores the default of a number as a text.
        number = _QUOTED_NUMBER.fullmatch(text)
        return text if number is None else number[1]
    return text


_ROUTINE = "SELECT 1 FROM pg_catalog.pg_proc WHERE proname = :name LIMIT 1"
_TYPE = "SELECT typtype::text FROM pg_catalog.pg_type WHERE typname = :name"
_HIDDEN = """
    SELECT array_position(current_schemas(false), n.nspname)
        > array_position(current_schemas(false), coalesce(CAST(:schema AS name), current_schema()))
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = :name AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND pg_catalog.pg_table_is_visible(c.oid)
"""
_ROLE = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = :name"


class CatalogSchema(NothingKnown):
    """The tables and columns of the catalog. It is read when a question is asked; nothing in it is new."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._comparable = dialect_of(connection).comparable
        self._product = dialect_of(connection).name

    def table_exists(self, table: Name) -> bool:
        """Returns True if the table exists."""
        return sa.inspect(self._connection).has_table(table.name, schema=table.schema)

    def column(self, table: Name, column: str) -> Column | None:
        """Returns the definition of a column; None if there is none, or if it cannot be expressed."""
        inspector = sa.inspect(self._connection)
        try:
            columns = inspector.get_columns(table.name, schema=table.schema)
        except exc.NoSuchTableError:
            return None
        wanted = self._comparable(column)
        found = next((one for one in columns if self._comparable(one["name"]) == wanted), None)
        return None if found is None else self._defined(found)

    def routine_exists(self, routine: Name) -> bool | None:
        """Returns True if a routine of the name exists, in any schema; None on a server without overloads."""
        return self._one(_ROUTINE, routine.name)

    def role_exists(self, role: str) -> bool | None:
        """Returns True if there is a role of the name; None on a server without schemas of roles."""
        return self._one(_ROLE, role)

    def type_kind(self, type: SqlType) -> str | None:
        """Returns the kind of the types of the name, in any schema; None if there is none."""
        if self._product != "postgresql":
            return None
        kinds = set(self._connection.scalars(sa.text(_TYPE), {"name": type.name}))
        if not kinds:
            return None
        return "domain" if "d" in kinds else "enum" if kinds == {"e"} else "other"

    def hides_table(self, table: Name) -> bool | None:
        """Returns True if the first relation of the name in the search_path is in a later schema.

        The search_path is that of this session.
        """
        if self._product != "postgresql":
            return None
        names = {"name": table.name, "schema": table.schema}
        return bool(self._connection.scalar(sa.text(_HIDDEN), names))

    def _one(self, query: str, name: str) -> bool | None:
        if self._product != "postgresql":
            return None
        return self._connection.execute(sa.text(query), {"name": name}).first() is not None

    def _defined(self, reflected: ReflectedColumn) -> Column | None:
        """Returns a reflected column in the form of the reader, so that two types can be compared."""
        default = _default(reflected)
        column: sa.Column[object] = sa.Column(
            reflected["name"],
            reflected["type"],
            nullable=reflected["nullable"],
            server_default=None if default is None else sa.text(default.replace(":", "\\:")),
        )
        sa.Table("t", sa.MetaData(), column)
        try:
            definition = CreateColumn(column).compile(dialect=self._connection.dialect)
            [table] = read_operations(f"CREATE TABLE t ({definition})", self._product)
        except (exc.CompileError, Unreadable, ValueError):
            return None
        return table.columns[0] if isinstance(table, CreateTable) and table.columns else None
