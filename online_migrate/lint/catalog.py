"""What the catalog of a live database says of the tables that scripts change: ``lint --url``.

Only reads, each in a read-only transaction and with a time limit. A fact that cannot be read is left out: the
rules then say what they say without a database.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.dialects import dialect_of
from online_migrate.dialects.catalog import Unknown
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.phases.known import Server
from online_migrate.runtime.catalog_schema import CatalogSchema, server_of
from online_migrate.sql.catalog_effects.effect import Effect
from online_migrate.sql.operations.parts import Name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

V = TypeVar("V")
_COUNT_TIMEOUT = 3.0
"""Seconds that a count may take."""
_COUNTED = 200_000
"""The number of rows, by the server's statistics, up to which the rows of a table are counted."""


@dataclasses.dataclass(frozen=True)
class LiveTable:
    """A table of the database. *rows*: None: not known. *exact*: they were counted."""

    rows: int | None
    exact: bool
    partitions: int
    triggers: Mapping[str, str]
    """The text of each trigger, with that of the function that it calls."""


class Catalog:
    """The catalog of one database, read when a rule asks, and each fact once."""

    def __init__(self, connection: Connection) -> None:
        """*connection*: a read-only one."""
        self._connection = connection
        self._dialect = dialect_of(connection)
        self._tables: dict[Name, LiveTable | None] = {}
        self._nulls: dict[tuple[Name, str], int | None] = {}
        self.server: Server = server_of(connection)
        """The product and the version of the server."""
        self.schema = CatalogSchema(connection)
        """The tables and columns, for the judgement of operations."""

    def table(self, table: Name) -> LiveTable | None:
        """Returns what is known of a table; None if it does not exist."""
        if table not in self._tables:
            self._tables[table] = self._read(lambda: self._table(table))
        return self._tables[table]

    def nulls(self, table: Name, column: str) -> int | None:
        """Returns the number of rows in which *column* is NULL; None: it is not known."""
        key = (table, column)
        if key not in self._nulls:
            condition = sa.column(column).is_(None)
            self._nulls[key] = self._read(lambda: self._count(table, condition))
        return self._nulls[key]

    def has_index(self, index: str, table: Name) -> bool:
        """Returns True if an index of this name keeps another one from being created on *table*.

        An invalid one does not: expand removes what an interrupted build has left.
        """
        effect = Effect("index", index, table.name, table.schema)
        found = self._read(lambda: self._dialect.catalog(self._connection).index(effect))
        return found is not None and found.get("valid") is not False

    def version_rows(self) -> list[str]:
        """Returns the revisions in the version tables of Alembic: those with the one column version_num."""
        return self._read(self._version_rows) or []

    def _version_rows(self) -> list[str]:
        inspector = sa.inspect(self._connection)
        found: list[str] = []
        for name in inspector.get_table_names():
            if [column["name"] for column in inspector.get_columns(name)] == ["version_num"]:
                query = sa.select(sa.column("version_num", sa.String())).select_from(sa.table(name))
                found += map(str, self._connection.scalars(query))
        return found

    def _table(self, table: Name) -> LiveTable | None:
        name, schema = table.name, table.schema
        if not self._dialect.has_table(self._connection, name, schema):
            return None
        size = self._dialect.table_size(self._connection, name, schema)
        partitions = self._dialect.partitions_of(self._connection, name, schema)
        triggers = self._dialect.triggers_of(self._connection, name, schema)
        rows = None
        if size is None or size.rows <= _COUNTED:
            rows = self._read(lambda: self._count(table))
        exact = rows is not None
        return LiveTable(rows if exact or size is None else size.rows, exact, partitions, triggers)

    def _count(self, table: Name, condition: sa.ColumnElement[bool] | None = None) -> int:
        query = sa.select(sa.func.count()).select_from(sa.table(table.name, schema=table.schema))
        if condition is not None:
            query = query.where(condition)
        with self._dialect.statement_timeout(self._connection, _COUNT_TIMEOUT):
            return int(self._connection.scalar(query) or 0)

    def _read(self, read: Callable[[], V]) -> V | None:
        """Returns the result of *read*; None if the server does not give it."""
        try:
            return read()
        except (*DATABASE_ERRORS, Unknown, exceptions.OnlineMigrateError):
            self._connection.rollback()
            return None
