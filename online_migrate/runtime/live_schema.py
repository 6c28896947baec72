"""What is known of the schema of a live database while revisions are judged.

The catalog is read when a question is asked. What the revisions of this run create is remembered, because the
catalog does not show which tables old code does not know.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.schema import CreateColumn

from online_migrate.dialects import dialect_of
from online_migrate.phases.known import Server
from online_migrate.sql.operations.operation import (
    AddColumn,
    Column,
    CreateTable,
    DropColumn,
    DropTable,
    Name,
    Operation,
    RenameColumn,
    RenameTable,
)
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.parse import Unreadable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.engine.interfaces import ReflectedColumn

TEMPORARY_PREFIX = "_alembic_tmp_"
"""The prefix of the name that Alembic's batch mode gives the copy of a table."""

_Table = tuple[str | None, str]


def _version(connection: Connection) -> tuple[int, ...] | None:
    found = connection.dialect.server_version_info
    if found is None:
        return None
    normalized = getattr(connection.dialect, "_mariadb_normalized_version_info", None)
    return tuple(part for part in normalized or found if isinstance(part, int))


class LiveSchema:
    """The schema of a database, and what the revisions of this run have created."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._comparable = dialect_of(connection).comparable
        self.server = Server(dialect_of(connection).name, _version(connection))
        self._new_tables: set[_Table] = set()
        self._new_columns: dict[tuple[_Table, str], Column] = {}
        self._gone: set[_Table] = set()

    @functools.cached_property
    def _default_schema(self) -> str | None:
        return sa.inspect(self._connection).default_schema_name

    def _key(self, table: Name) -> _Table:
        return (None if table.schema == self._default_schema else table.schema, table.name)

    def copy(self) -> LiveSchema:
        """Returns a copy, for statements that are judged and not executed yet."""
        other = LiveSchema(self._connection)
        other._new_tables = set(self._new_tables)
        other._new_columns = dict(self._new_columns)
        other._gone = set(self._gone)
        return other

    def _column_key(self, table: Name, column: str) -> tuple[_Table, str]:
        return self._key(table), self._comparable(column)

    def is_new_table(self, table: Name) -> bool:
        """Returns True if a revision of this run has created the table."""
        return self._key(table) in self._new_tables

    def is_new_column(self, table: Name, column: str) -> bool:
        """Returns True if a revision of this run has created the column, or its table."""
        return self.is_new_table(table) or self._column_key(table, column) in self._new_columns

    def table_exists(self, table: Name) -> bool:
        """Returns True if the table exists, or is created by a revision of this run."""
        key = self._key(table)
        if key in self._new_tables or key in self._gone:
            return key in self._new_tables
        schema, name = key
        return sa.inspect(self._connection).has_table(name, schema=schema)

    def column(self, table: Name, column: str) -> Column | None:
        """Returns the definition of a column: of this run, or of the catalog; None: there is none."""
        key = self._key(table)
        if self._column_key(table, column) in self._new_columns:
            return self._new_columns[self._column_key(table, column)]
        if key in self._new_tables or key in self._gone:
            return None
        schema, name = key
        inspector = sa.inspect(self._connection)
        try:
            columns = inspector.get_columns(name, schema=schema)
        except exc.NoSuchTableError:
            return None
        wanted = self._comparable(column)
        found = next((one for one in columns if self._comparable(one["name"]) == wanted), None)
        return None if found is None else self._defined(found)

    def _defined(self, reflected: ReflectedColumn) -> Column | None:
        """Returns a reflected column in the form of the reader, so that two types can be compared."""
        default = reflected["default"]
        column: sa.Column[object] = sa.Column(
            reflected["name"],
            reflected["type"],
            nullable=reflected["nullable"],
            server_default=None if default is None else sa.text(default.replace(":", "\\:")),
        )
        sa.Table("t", sa.MetaData(), column)
        dialect = self._connection.dialect
        try:
            text = f"CREATE TABLE t ({CreateColumn(column).compile(dialect=dialect)})"
            [table] = read_operations(text, self.server.product)
        except (exc.CompileError, Unreadable, ValueError):
            return None
        return table.columns[0] if isinstance(table, CreateTable) and table.columns else None

    def apply(self, operation: Operation) -> None:
        """Remembers what an operation creates or removes."""
        match operation:
            case CreateTable():
                self._create(operation)
            case AddColumn(table=table, column=column):
                if not (operation.guarded and self.column(table, column.name) is not None):
                    self._new_columns[self._column_key(table, column.name)] = column
            case DropTable(table=table):
                self._forget(self._key(table))
                self._gone.add(self._key(table))
            case RenameTable(table=table, new=new):
                self._rename(self._key(table), self._key(new))
            case DropColumn(table=table, column=name):
                self._new_columns.pop(self._column_key(table, name), None)
            case RenameColumn(table=table, column=name, new=new_name):
                moved = self._new_columns.pop(self._column_key(table, name), None)
                if moved is not None:
                    self._new_columns[self._column_key(table, new_name)] = moved
            case _:
                pass

    def _create(self, operation: CreateTable) -> None:
        key = self._key(operation.table)
        if (operation.guarded or operation.replace) and self.table_exists(operation.table):
            return
        self._gone.discard(key)
        if operation.partition_of is not None and not self.is_new_table(operation.partition_of):
            return
        self._new_tables.add(key)
        for column in operation.columns:
            self._new_columns[self._column_key(operation.table, column.name)] = column

    def _forget(self, key: _Table) -> None:
        self._new_tables.discard(key)
        self._new_columns = {of: column for of, column in self._new_columns.items() if of[0] != key}

    def _rename(self, old: _Table, new: _Table) -> None:
        created = old in self._new_tables and not old[1].startswith(TEMPORARY_PREFIX)
        columns = {name: column for (of, name), column in self._new_columns.items() if of == old}
        self._forget(old)
        self._gone.discard(new)
        if created:
            self._new_tables.add(new)
            self._new_columns.update({(new, name): column for name, column in columns.items()})
        else:
            # The catalog has the renamed table under its new name.
            self._gone.add(old)
