"""What an upgrade creates, and whether a downgrade removes that and nothing else. Pure.

An allow-list: an operation of the downgrade that is not known to remove an object of the upgrade is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from online_migrate.phases.known import Server
from online_migrate.phases.script import read
from online_migrate.sql.operations.operation import (
    AddColumn,
    AddConstraint,
    CreateIndex,
    CreateObject,
    CreateRoutine,
    CreateTable,
    CreateTrigger,
    CreateView,
    DropColumn,
    DropConstraint,
    DropIndex,
    DropObject,
    DropTable,
    Operation,
    Query,
)
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.statement import identifiers, shorten

Key = tuple[str, ...]
"""The kind of an object and its names, in lower case."""
_ROUTINES = ("function", "procedure", "routine")


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why a statement of a downgrade is refused."""

    statement: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Removals:
    """What a downgrade removes.

    *columns*: with the statement's operation that created each. *triggers*: the tables of dropped triggers.
    """

    tables: tuple[Name, ...]
    columns: tuple[tuple[Name, AddColumn], ...]


class Created:
    """The objects that the statements of an upgrade create."""

    def __init__(self, statements: Iterable[str], server: Server) -> None:
        self._server = server
        self.unknown: list[str] = []
        """Statements that cannot be read."""
        self._objects: dict[Key, Operation] = {}
        for statement in statements:
            operations = read(statement, server)
            if operations is None:
                self.unknown.append(shorten(statement))
            for operation in operations or ():
                key = _created(operation)
                # What may have existed before is not known to be created.
                if key is not None and not operation.guarded and not getattr(operation, "replace", False):
                    self._objects[key] = operation

    def judge(self, statement: str) -> list[Problem]:
        """Returns why *statement*, of the downgrade, is refused; empty: it removes what was created."""
        operations = read(statement, self._server)
        if operations is None:
            return [Problem(shorten(statement), "it cannot be read")]
        if "CASCADE" in {word.upper() for word in identifiers(statement, self._server.product)}:
            return [Problem(shorten(statement), "CASCADE may remove more than the upgrade created")]
        return [
            Problem(shorten(statement), "it does not remove what upgrade() of this revision created")
            for operation in operations
            if not self._permits(operation)
        ]

    def _permits(self, operation: Operation) -> bool:
        if isinstance(operation, Query):
            return not operation.calls and not operation.locks_rows
        keys = _removed(operation)
        return any(key in self._objects for key in keys)

    def left(self, statements: Sequence[str]) -> list[str]:
        """Returns the objects that the statements of the downgrade do not remove, for display."""
        operations = [one for text in statements for one in read(text, self._server) or ()]
        gone = {key for one in operations for key in _removed(one) if key in self._objects}
        return [" ".join(key) for key, made in self._objects.items() if not _goes_with(key, made, gone)]

    def removals(self, statements: Sequence[str]) -> Removals:
        """Returns the tables and columns that the statements of the downgrade remove."""
        tables: list[Name] = []
        columns: list[tuple[Name, AddColumn]] = []
        for operation in [one for text in statements for one in read(text, self._server) or ()]:
            for key in _removed(operation):
                made = self._objects.get(key)
                if isinstance(made, CreateTable) and isinstance(operation, DropTable):
                    tables.append(operation.table)
                elif isinstance(made, AddColumn) and isinstance(operation, DropColumn):
                    columns.append((operation.table, made))
        names = {table.name for table in tables}
        return Removals(tuple(tables), tuple(one for one in columns if one[0].name not in names))


def _key(kind: str, *names: str | None) -> Key:
    return (kind, *(name.casefold() for name in names if name))


def _created(operation: Operation) -> Key | None:
    match operation:
        case CreateTable(temporary=False, table=table):
            return _key("table", table.name)
        case AddColumn(table=table, column=column):
            return _key("column", table.name, column.name)
        case CreateIndex(index=index) if index.name:
            return _key("index", index.name)
        case AddConstraint(table=table, constraint=constraint) if constraint.name:
            return _key("constraint", table.name, constraint.name)
        case CreateView(view=view):
            return _key("view", view.name)
        case CreateTrigger(trigger=trigger):
            return _key("trigger", trigger.name)
        case CreateRoutine(routine=routine):
            return _key("function", routine.name)
        case CreateObject(kind=kind, object=name):
            return _key(kind, name.name)
        case _:
            return None


def _removed(operation: Operation) -> tuple[Key, ...]:
    """Returns the objects that must have been created, one of them, for the operation to be permitted."""
    match operation:
        case DropTable(table=table):
            return (_key("table", table.name),)
        case DropColumn(table=table, column=column):
            return (_key("column", table.name, column), _key("table", table.name))
        case DropIndex(index=index, table=table):
            return (_key("index", index.name), *((_key("table", table.name),) if table else ()))
        case DropConstraint(table=table, name=name) if name:
            return (_key("constraint", table.name, name), _key("table", table.name))
        case DropObject(kind=kind, object=name):
            return (_key("function" if kind in _ROUTINES else kind, name.name),)
        case _:
            return ()


def _goes_with(key: Key, made: Operation, gone: set[Key]) -> bool:
    """Returns True if the object is gone: it was dropped, or something that it belongs to."""
    table = getattr(made, "table", None)
    if key in gone or (table is not None and _key("table", table.name) in gone):
        return True
    columns: tuple[str | None, ...] = ()
    if isinstance(made, CreateIndex):
        columns = made.index.columns
    elif isinstance(made, AddConstraint):
        columns = made.constraint.columns
    of_table = "" if table is None else table.name
    return any(one and _key("column", of_table, one) in gone for one in columns)
