"""The operations that the copy of a table amounts to. Pure.

On SQLite, Alembic's batch mode creates a copy of a table with another definition, copies the rows, drops the
table and renames the copy. What old code notices is the difference of the two definitions. A collation or a
CHECK constraint that a copy lacks is no operation of the script: batch mode loses them, which is refused by
itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from online_migrate.sql.operations.operation import (
    AddColumn,
    AddConstraint,
    CreateTable,
    DropColumn,
    DropConstraint,
    DropNotNull,
    Operation,
    RedefineColumn,
    RenameColumn,
    SetColumnType,
    SetDefault,
    SetNotNull,
)
from online_migrate.sql.operations.parts import Column, Constraint, ConstraintKind


def differences(original: CreateTable, copy: CreateTable, renamed: Mapping[str, str]) -> list[Operation]:
    """Returns the operations that would turn *original* into *copy*.

    *renamed*: old column -> new column in lower case, for each column whose values are copied.
    """
    old = {column.name.lower(): column for column in original.columns}
    new = {column.name.lower(): column for column in copy.columns}
    target = {name: renamed.get(name, name) for name in old}
    found: list[Operation] = []
    for name, column in old.items():
        after = new.get(target[name])
        if after is None:
            found.append(DropColumn(table=original.table, column=column.name))
            continue
        if target[name] != name:
            found.append(RenameColumn(table=original.table, column=column.name, new=after.name))
        found += _of_column(original, column, after)
    added = [column for name, column in new.items() if name not in target.values()]
    found += [AddColumn(table=original.table, column=_plain(column), by_copy=True) for column in added]
    return found + list(_of_constraints(original, copy, target))


def _of_column(original: CreateTable, old: Column, new: Column) -> Iterator[Operation]:
    table, name = original.table, old.name
    if old.type != new.type and new.type is not None:
        yield SetColumnType(table=table, column=name, type=new.type)
    if old.nullable != new.nullable:
        yield (DropNotNull if new.nullable else SetNotNull)(table=table, column=name)
    if old.default != new.default:
        yield SetDefault(table=table, column=name, default=new.default)
    if (old.generated, old.stored) != (new.generated, new.stored):
        yield RedefineColumn(table=table, old=name, column=new)


def _of_constraints(
    original: CreateTable, copy: CreateTable, target: Mapping[str, str]
) -> Iterator[Operation]:
    old = {_identity(one, target): one for one in _all_of(original)}
    new = {_identity(one, {}): one for one in _all_of(copy)}
    for identity, constraint in old.items():
        if identity not in new and constraint.kind is not ConstraintKind.CHECK:
            yield DropConstraint(table=original.table, name=constraint.name, kind=constraint.kind)
    for identity, constraint in new.items():
        if identity not in old:
            yield AddConstraint(table=original.table, constraint=constraint)


def _all_of(table: CreateTable) -> Iterator[Constraint]:
    for column in table.columns:
        yield from column.constraints
    yield from table.constraints


def _identity(constraint: Constraint, target: Mapping[str, str]) -> object:
    """Returns what two definitions of one constraint have in common; its name may be lost by a copy."""
    columns = tuple(target.get(column.lower(), column.lower()) for column in constraint.columns)
    text = "" if constraint.condition is None else "".join(constraint.condition.text.split()).lower()
    return constraint.kind, columns, constraint.referred, text


def _plain(column: Column) -> Column:
    """Returns the column without its constraints, which are added as operations of their own."""
    return dataclasses.replace(column, constraints=())
