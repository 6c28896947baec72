"""Why a tool cannot copy a table without a loss. Pure.

Every tool copies the rows with INSERT IGNORE, so the server leaves out a row that a new unique key refuses,
and shortens a value that does not fit, without an error. So a tool is only given changes that are known to
keep every row and every value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from online_migrate.ddl.tools.tool import Tool
from online_migrate.dialects.facets.copied_tables import CopiedTable
from online_migrate.phases.known import KnownSchema
from online_migrate.phases.types import TypeChange, compare_types
from online_migrate.sql.operations.operation import (
    AddColumn,
    AddConstraint,
    CreateIndex,
    DropColumn,
    DropConstraint,
    DropIndex,
    Operation,
    RedefineColumn,
    SetDefault,
    SetTableOption,
)
from online_migrate.sql.operations.parts import Column, Constraint, ConstraintKind, Value

_KEPT = frozenset({TypeChange.SAME, TypeChange.WIDER, TypeChange.COPIED})
_UNIQUE = (ConstraintKind.UNIQUE, ConstraintKind.PRIMARY_KEY)
_OPTIONS = frozenset({"comment", "row_format", "key_block_size", "engine", "auto_increment", "force"})
"""Options of a table that change no value."""


def objections_to_table(table: CopiedTable, tool: Tool) -> Iterator[str]:
    """Yields why *tool* cannot copy a table with these properties."""
    listed = {
        "has triggers": table.triggers,
        "has foreign keys, which the tool would rename or lose": table.foreign_keys,
        "is referenced by foreign keys": table.referencing,
        "has CHECK constraints, which the tool would rename": table.checks,
        "has an ENUM, a SET or a default that the server shows with a '?'": table.unreadable_columns,
    }
    for reason, names in listed.items():
        if names:
            yield f"it {reason} ({', '.join(names)})"
    if not table.has_key:
        yield "it has no primary key and no unique key of NOT NULL columns"
    if table.kind != "BASE TABLE":
        yield f"it is a {table.kind.lower()}"


def objections_to_change(
    operations: Sequence[Operation], known: KnownSchema, product: str, tool: Tool
) -> Iterator[str]:
    """Yields why *tool* may not be given these changes of one table."""
    for operation in operations:
        reason = _of_operation(operation, known, product)
        if reason is not None:
            yield reason
    yield from tool.objections(operations)


def _of_operation(operation: Operation, known: KnownSchema, product: str) -> str | None:
    match operation:
        case AddColumn(column=column):
            return _of_column(column)
        case RedefineColumn(old=old, column=column):
            return _of_column(column) or _of_type(operation, known, product, old, column)
        case AddConstraint(constraint=constraint):
            return _of_constraint(constraint)
        case CreateIndex(index=index):
            return _unique(index.name) if index.unique else None
        case DropConstraint(kind=ConstraintKind.PRIMARY_KEY):
            return "it needs the primary key"
        case SetTableOption(option=option) if option in _OPTIONS:
            return None
        case DropColumn() | DropConstraint() | DropIndex() | SetDefault():
            return None
    return "the change is not known to keep every row and every value"


def _of_column(column: Column) -> str | None:
    for constraint in column.constraints:
        if constraint.kind in _UNIQUE:
            return _unique(column.name)
    if column.type is not None and column.type.name == "timestamp" and _is_literal(column):
        return f"the default of {column.name} depends on the time zone of the session"
    return None


def _is_literal(column: Column) -> bool:
    return column.default is not None and column.default.form is Value.CONSTANT


def _of_type(
    operation: RedefineColumn, known: KnownSchema, product: str, old_name: str, new: Column
) -> str | None:
    if new.name != old_name:
        return f"it would lose the values of a renamed column ({old_name})"
    old = known.column(operation.table, old_name)
    if old is None or old.type is None or new.type is None:
        return f"the type of {old_name} is not known"
    same_text = old.collation == new.collation
    if same_text and compare_types(old.type, new.type, product) in _KEPT:
        return None
    return f"a value of {old_name} may not fit after the change, and would be changed without an error"


def _of_constraint(constraint: Constraint) -> str | None:
    if constraint.kind in _UNIQUE:
        return _unique(constraint.name)
    if constraint.kind is ConstraintKind.FOREIGN_KEY and constraint.name is None:
        return "the foreign key has no name, and would get one of the tool's table"
    return None


def _unique(name: str | None) -> str:
    named = "" if name is None else f" ({name})"
    return f"rows that a new unique key{named} refuses would be lost"
