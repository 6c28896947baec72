"""The schema of a base as the decisions know it: nothing is new, every column is known."""

from __future__ import annotations

from online_migrate.phases.known import NothingKnown
from online_migrate.sql.operations.operation import CreateRoutine, CreateTable, CreateView
from online_migrate.sql.operations.parts import Column, Name, SqlType
from online_migrate.sql.operations.reader import read_operations
from tests.support.corpus.base import APP, BASES


class BaseSchema(NothingKnown):
    """The tables that a base creates."""

    def __init__(self, base: str, server: str) -> None:
        self._base = base
        operations = read_operations(BASES[base].create[server], server)
        self._views = {operation.view.name for operation in operations if isinstance(operation, CreateView)}
        self._routines = {one.routine.name for one in operations if isinstance(one, CreateRoutine)}
        self._tables = {
            operation.table.name: {column.name: column for column in operation.columns}
            for operation in operations
            if isinstance(operation, CreateTable)
        }

    def column(self, table: Name, column: str) -> Column | None:
        return self._tables.get(table.name, {}).get(column)

    def table_exists(self, table: Name) -> bool | None:
        return table.name in self._tables or table.name in self._views

    def routine_exists(self, routine: Name) -> bool | None:
        return routine.name in self._routines

    def role_exists(self, role: str) -> bool | None:
        return role == APP

    def hides_table(self, table: Name) -> bool | None:
        in_front = self._base == "path" and table.schema == "corpus_schema"
        return in_front and self.table_exists(Name(table.name)) is True

    def type_kind(self, type: SqlType) -> str | None:
        return {"rack_name": "domain", "setting_mode": "enum"}.get(type.name, "other")
