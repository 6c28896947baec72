"""Alembic's batch mode on SQLite: what the copy of a table amounts to, statement by statement.

Batch mode creates ``_alembic_tmp_t``, copies the rows, drops ``t``, renames the copy and creates the indexes
again. Judged one by one, the drop of ``t`` would be refused; judged together, only the difference counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_migrate.dialects.facets.revisions import TEMPORARY_PREFIX, TableCopy
from online_migrate.phases.table_copy import differences
from online_migrate.sql.operations.operation import (
    ChangeRows,
    CreateIndex,
    CreateTable,
    DropIndex,
    DropTable,
    Operation,
    RenameTable,
    Unrecognized,
)
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.parse import Unreadable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from online_migrate.dialects import Dialect


class TableCopies:
    """The tables that one revision replaces by a copy."""

    def __init__(self, dialect: Dialect, connection: Connection) -> None:
        self._dialect = dialect
        self._connection = connection
        self._copied: dict[str, TableCopy] = {}
        self._dropped_indexes: set[str] = set()

    def net_effect(self, operations: Sequence[Operation] | None) -> Sequence[Operation] | None:
        """Returns what a statement of a copy changes; None: the statement does not belong to a copy.

        *operations*: those of the statement, None if it cannot be read.
        """
        if operations is None or len(operations) != 1:
            return None
        match operations[0]:
            case CreateTable(table=table) | ChangeRows(verb="insert", table=Name() as table) if self._is_copy(
                table
            ):
                return ()
            case DropTable(table=table) if self._is_copy(table):
                return ()  # Alembic drops the copy after an error.
            case DropTable(table=table):
                return self._of_drop(table)
            case RenameTable(table=table, new=new) if table.name == f"{TEMPORARY_PREFIX}{new.name}":
                return () if new.name in self._copied else None
            case CreateIndex(table=table) as create:
                return () if self._recreates(table, create) else None
            case DropIndex(index=index):
                self._dropped_indexes.add(index.name)
        return None

    def lost_indexes(self) -> list[Operation]:
        """Returns the indexes that the copies do not have, as operations that drop them.

        An index goes with its column. One on an expression is lost by batch mode, which is refused by itself.
        """
        return [
            DropIndex(index=Name(name), table=Name(table))
            for table, copy in self._copied.items()
            for name, sql in copy.indexes.items()
            if name not in self._dropped_indexes
            and name not in self._dialect.indexes_of(self._connection, table)
            and self._could_be_kept(sql, copy)
        ]

    def _could_be_kept(self, index: str, copy: TableCopy) -> bool:
        """Returns True if the copy has every column of an index."""
        table = self._read(copy.copy)
        columns = set() if table is None else {column.name.lower() for column in table.columns}
        for create in self._operations(index):
            if isinstance(create, CreateIndex):
                return all(name is not None and name.lower() in columns for name in create.index.columns)
        return False

    def _of_drop(self, table: Name) -> Sequence[Operation] | None:
        copy = self._dialect.table_copy(self._connection, table.name)
        if copy is None:
            return None
        first = self._copied.setdefault(table.name, copy)
        self._copied[table.name] = TableCopy(
            copy.original, copy.copy, copy.renamed, {**first.indexes, **copy.indexes}
        )
        original, replaced = self._read(copy.original), self._read(copy.copy)
        if original is None or replaced is None:
            return [Unrecognized(what=f"the definition of table {table.name}")]
        return differences(original, replaced, copy.renamed)

    def _recreates(self, table: Name, create: CreateIndex) -> bool:
        copy = self._copied.get(table.name)
        sql = None if copy is None or create.index.name is None else copy.indexes.get(create.index.name)
        return sql is not None and list(self._operations(sql)) == [create]

    def _read(self, sql: str) -> CreateTable | None:
        found = self._operations(sql)
        return found[0] if len(found) == 1 and isinstance(found[0], CreateTable) else None

    def _operations(self, sql: str) -> Sequence[Operation]:
        try:
            return read_operations(sql, self._dialect.name)
        except Unreadable:
            return ()

    def _is_copy(self, table: Name) -> bool:
        """Returns True for a copy, where no other session can write while its rows are copied."""
        return self._dialect.single_writer and table.name.startswith(TEMPORARY_PREFIX)
