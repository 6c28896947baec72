"""What an upgrade creates, and whether a downgrade removes that and nothing else. Pure.

An allow-list: an operation of the downgrade that is not known to remove an object of the upgrade is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from online_migrate.phases.known import Server
from online_migrate.phases.script import read
from online_migrate.sql.lexer import readings
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
"""The kind of an object, the schema that the statement gives, and its names."""
_ROUTINES = ("function", "procedure", "routine")
_OF_A_TABLE = ("trigger", "policy", "rule")
"""Objects whose names are those of one table on PostgreSQL."""


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
        self._keys = _Keys(server.product)
        self.unknown: list[str] = []
        """Statements that cannot be read."""
        self._objects: dict[Key, Operation] = {}
        self._arguments: dict[Key, str | None] = {}
        for statement in statements:
            operations = read(statement, server)
            if operations is None:
                self.unknown.append(shorten(statement))
            for operation in operations or ():
                key = self._keys.created(operation)
                # What may have existed before is not known to be created.
                if key is not None and not operation.guarded and not getattr(operation, "replace", False):
                    self._objects[key] = operation
                    self._arguments[key] = arguments(statement, server.product)

    def judge(self, statement: str) -> list[Problem]:
        """Returns why *statement*, of the downgrade, is refused; empty: it removes what was created."""
        operations = read(statement, self._server)
        if operations is None:
            return [Problem(shorten(statement), "it cannot be read")]
        if "CASCADE" in {word.upper() for word in identifiers(statement, self._server.product)}:
            return [Problem(shorten(statement), "CASCADE may remove more than the upgrade created")]
        if not self._same_routine(statement, operations):
            reason = "write one DROP FUNCTION with the arguments as they are written in CREATE FUNCTION"
            return [Problem(shorten(statement), reason)]
        return [
            Problem(shorten(statement), "it does not remove what upgrade() of this revision created")
            for operation in operations
            if not self._permits(operation)
        ]

    def _same_routine(self, statement: str, operations: Sequence[Operation]) -> bool:
        """Returns False for a function with other arguments: on PostgreSQL it is another function."""
        dropped = [one for one in operations if isinstance(one, DropObject) and one.kind in _ROUTINES]
        if not dropped or self._server.product != "postgresql":
            return True
        [key] = self._keys.removed(dropped[0])
        found = arguments(statement, self._server.product)
        return key not in self._objects or (
            len(dropped) == 1 and found is not None and found == self._arguments[key]
        )

    def _permits(self, operation: Operation) -> bool:
        if isinstance(operation, Query):
            return not operation.calls and not operation.locks_rows
        keys = self._keys.removed(operation)
        return any(key in self._objects for key in keys)

    def left(self, statements: Sequence[str]) -> list[str]:
        """Returns the objects that the statements of the downgrade do not remove, for display."""
        operations = [one for text in statements for one in read(text, self._server) or ()]
        gone = {key for one in operations for key in self._keys.removed(one) if key in self._objects}
        return [
            " ".join(part for part in key if part)
            for key, made in self._objects.items()
            if not self._goes_with(key, made, gone)
        ]

    def _goes_with(self, key: Key, made: Operation, gone: set[Key]) -> bool:
        """Returns True if the object is gone: it was dropped, or something that it belongs to."""
        table: Name | None = getattr(made, "table", None)
        if key in gone or (table is not None and self._keys.of_table(table) in gone):
            return True
        columns: tuple[str | None, ...] = ()
        if isinstance(made, CreateIndex):
            columns = made.index.columns
        elif isinstance(made, AddConstraint):
            columns = made.constraint.columns
        return table is not None and any(one and self._keys.of_column(table, one) in gone for one in columns)

    def removals(self, statements: Sequence[str]) -> Removals:
        """Returns the tables and columns that the statements of the downgrade remove."""
        tables: list[Name] = []
        columns: list[tuple[Name, AddColumn]] = []
        for operation in [one for text in statements for one in read(text, self._server) or ()]:
            for key in self._keys.removed(operation):
                made = self._objects.get(key)
                if isinstance(made, CreateTable) and isinstance(operation, DropTable):
                    tables.append(operation.table)
                elif isinstance(made, AddColumn) and isinstance(operation, DropColumn):
                    columns.append((operation.table, made))
        whole = {self._keys.of_table(table) for table in tables}
        left = (one for one in columns if self._keys.of_table(one[0]) not in whole)
        return Removals(tuple(tables), tuple(left))


def arguments(statement: str, product: str) -> str | None:
    """Returns what is in the first parentheses of a statement, which are the arguments of a routine.

    None: there are no parentheses, or the server may read the text in several ways.
    """
    found = readings(statement, product)
    if len(found) != 1:
        return None
    inside: list[str] = []
    depth = 0
    for token in found[0]:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if token.word == ")" and depth == 0:
            return " ".join(inside[1:])
        if depth:
            inside.append(token.word or token.written)
    return None


class _Keys:
    """The keys of objects on one server.

    A name without a schema is never that of an object with one, although the server may mean the same object.
    Names differ in their case where the server may have two objects whose names do.
    """

    def __init__(self, product: str) -> None:
        self._exact = product == "postgresql"
        self._exact_tables = product != "sqlite"
        self._indexes_of_tables = product in ("mysql", "mariadb")

    def of_table(self, table: Name) -> Key:
        return ("table", *self._path(table))

    def of_column(self, table: Name, column: str) -> Key:
        return ("column", *self._path(table), self._folded(column))

    def created(self, operation: Operation) -> Key | None:
        """Returns the key of the object that the operation creates."""
        match operation:
            case CreateTable(temporary=False, table=table):
                return self.of_table(table)
            case AddColumn(table=table, column=column):
                return self.of_column(table, column.name)
            case CreateIndex(index=index, table=table) if index.name:
                return self._of_index(Name(index.name, table.schema), table)
            case AddConstraint(table=table, constraint=constraint) if constraint.name:
                return self._of_constraint(table, constraint.name)
            case CreateView(view=view):
                return self._of_object("view", view)
            case CreateTrigger(trigger=trigger, table=table):
                return self._of_object("trigger", trigger, table)
            case CreateRoutine(routine=routine):
                return self._of_object("function", routine)
            case CreateObject(kind=kind, object=name, table=table):
                return self._of_object(kind, name, table)
            case _:
                return None

    def removed(self, operation: Operation) -> tuple[Key, ...]:
        """Returns the objects of which one must have been created, for the operation to be permitted."""
        match operation:
            case DropTable(table=table):
                return (self.of_table(table),)
            case DropColumn(table=table, column=column):
                return (self.of_column(table, column), self.of_table(table))
            case DropIndex(index=index, table=table):
                found = self._of_index(index, table)
                return (found,) if table is None else (found, self.of_table(table))
            case DropConstraint(table=table, name=name) if name:
                return (self._of_constraint(table, name), self.of_table(table))
            case DropObject(kind=kind, object=name, table=table):
                return (self._of_object("function" if kind in _ROUTINES else kind, name, table),)
            case _:
                return ()

    def _of_constraint(self, table: Name, name: str) -> Key:
        return ("constraint", *self._path(table), self._folded(name))

    def _of_index(self, index: Name, table: Name | None) -> Key:
        if self._indexes_of_tables and table is not None:
            return ("index", *self._path(table), self._folded(index.name))
        return ("index", index.schema or "", self._folded(index.name))

    def _of_object(self, kind: str, name: Name, table: Name | None = None) -> Key:
        if self._exact and table is not None and kind in _OF_A_TABLE:
            return (kind, *self._path(table), name.name)
        return (kind, name.schema or "", self._folded(name.name))

    def _path(self, table: Name) -> tuple[str, str]:
        return (table.schema or "", table.name if self._exact_tables else table.name.casefold())

    def _folded(self, name: str) -> str:
        return name if self._exact else name.casefold()
