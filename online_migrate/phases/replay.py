"""What each operation on tables, columns and constraints does to the known schema. Pure.

Other operations are in :mod:`.replay_objects`. One that is listed nowhere makes everything unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from online_migrate.phases.other_objects import unknown_defaults
from online_migrate.phases.restrictions import own_restriction
from online_migrate.phases.schema_state import ColumnState, SchemaState
from online_migrate.sql.operations import operation as op
from online_migrate.sql.operations import parts
from online_migrate.sql.operations.operation import Operation
from online_migrate.sql.operations.parts import ConstraintKind, Name

Kind = TypeVar("Kind", bound=Operation)
Effect = Callable[[SchemaState, Kind], None]
EFFECTS: dict[type[Operation], Effect[Any]] = {}


def effect_of(kind: type[Kind]) -> Callable[[Effect[Kind]], Effect[Kind]]:
    def register(effect: Effect[Kind]) -> Effect[Kind]:
        EFFECTS[kind] = effect
        return effect

    return register


def _nothing(state: SchemaState, operation: Operation) -> None:
    """The operation changes neither a table nor the definition of a column."""


EFFECTS.update(
    dict.fromkeys(
        (
            op.ValidateConstraint,
            op.AlterConstraint,
            op.DropIndex,
            op.AlterIndex,
            op.CommentOn,
            op.ChangePrivileges,
            op.Maintain,
        ),
        _nothing,
    )
)


# --- tables and views -----------------------------------------------------------------------------


@effect_of(op.CreateTable)
def _create_table(state: SchemaState, operation: op.CreateTable) -> None:
    key = [c.columns for c in operation.constraints if c.kind is ConstraintKind.PRIMARY_KEY]
    columns = {}
    for column in operation.columns:
        in_key = any(column.name in names for names in key)
        definition = dataclasses.replace(column, nullable=False) if in_key else column
        columns[column.name] = ColumnState(definition)
    whole = not (operation.selects or operation.partition_of or operation.like)
    restriction = own_restriction(operation)
    if operation.temporary:
        hide(state, operation.table)
    elif operation.replace and not operation.guarded:
        state.remove(operation.table)
        state.create(operation.table, columns, whole=whole)
    else:
        create(state, operation.table, columns, guarded=operation.guarded, whole=whole)
    created = state.touch(operation.table)
    created.restriction = restriction
    called = state.others.called_by(operation.words) or unknown_defaults(operation.columns)
    created.written_through |= operation.foreign or bool(called)
    if operation.partition_of is not None:
        _join(state, operation.table, operation.partition_of)


def _join(state: SchemaState, table: Name, parent: Name) -> None:
    """After a table has become a partition or a child of *parent*, whose rows old code may read and write."""
    if state.touch(parent).new:
        state.touch(parent).partitions.append(table)
        return
    child = state.touch(table)
    child.new = False
    for column in child.columns.values():
        column.new = False
    for partition in child.partitions:
        _join(state, partition, table)


def create(
    state: SchemaState, table: Name, columns: dict[str, ColumnState], *, guarded: bool, whole: bool
) -> None:
    exists = state.exists(table)
    if guarded and exists is None:
        state.forget_table(table)
    elif not (guarded and exists):
        state.create(table, columns, whole=whole)


def hide(state: SchemaState, name: Name) -> None:
    """After CREATE TEMPORARY of a table or view: the name means another one to old code."""
    state.forget_table(name)
    state.tables[name].temporary = True


def restrict(state: SchemaState, table: Name, reason: str) -> None:
    """After an operation because of which a new table may refuse a row."""
    known = state.touch(table)
    known.restriction = known.restriction or reason


@effect_of(op.DropTable)
def _drop_table(state: SchemaState, operation: op.DropTable) -> None:
    state.remove(operation.table)


@effect_of(op.RenameTable)
def _rename_table(state: SchemaState, operation: op.RenameTable) -> None:
    before = state.touch(operation.table)
    moved = dataclasses.replace(before, exists=True, created=True, dropped=False)
    state.remove(operation.table)
    if state.others.called_by(frozenset([operation.table.name.casefold()])):
        state.others.add_code(operation.new)  # ALTER TABLE renames a view as well
    if state.others.called_by(frozenset([operation.table.name.casefold()])):
        state.others.add_code(operation.new)  # ALTER TABLE renames a view as well
    hidden = state.touch(operation.new).dropped
    state.tables[operation.new] = dataclasses.replace(moved, new=moved.new and not hidden, dropped=hidden)


@effect_of(op.SetTableOption)
def _set_table_option(state: SchemaState, operation: op.SetTableOption) -> None:
    if operation.option in ("charset", "collate", "convert to charset"):
        state.forget_definitions(operation.table)
    elif operation.option == "schema":
        state.remove(operation.table)
        state.forget_table(operation.table)


@effect_of(op.ChangePartitions)
def _change_partitions(state: SchemaState, operation: op.ChangePartitions) -> None:
    if operation.action == "attach" and operation.partition is not None:
        _join(state, operation.partition, operation.table)
    elif operation.action in ("exchange", "convert"):
        state.forget_everything()  # the other table is not named


@effect_of(op.CreateIndex)
def _create_index(state: SchemaState, operation: op.CreateIndex) -> None:
    index = operation.index
    if index.unique:
        restrict(state, operation.table, "it has a unique index of its own")
        columns = tuple(column for column in index.columns if column is not None)
        unique = parts.Constraint(
            kind=ConstraintKind.UNIQUE,
            columns=columns,
            nulls_not_distinct=index.nulls_not_distinct,
            has_expressions=None in index.columns,
        )
        _constrain(state, operation.table, unique)


# --- columns --------------------------------------------------------------------------------------


@effect_of(op.AddColumn)
def _add_column(state: SchemaState, operation: op.AddColumn) -> None:
    table, column = operation.table, operation.column
    for constraint in column.constraints:
        restrict(state, table, f"it has a {constraint.kind} constraint of its own")
    if not operation.guarded or _is_absent(state, table, column.name):
        state.add_column(table, column)
    else:
        known = state.column(table, column.name)
        known.new = known.new and known.definition is not None
        known.definition = known.definition if known.new else None


def _is_absent(state: SchemaState, table: Name, column: str) -> bool:
    known = state.touch(table)
    found = known.columns.get(column)
    return found.dropped if found is not None else known.created and known.exists is True and known.whole


@effect_of(op.DropColumn)
def _drop_column(state: SchemaState, operation: op.DropColumn) -> None:
    state.remove_column(operation.table, operation.column)


@effect_of(op.RenameColumn)
def _rename_column(state: SchemaState, operation: op.RenameColumn) -> None:
    _move_column(state, operation.table, operation.column, operation.new)


def _move_column(state: SchemaState, table: Name, old: str, new: str) -> None:
    before = dataclasses.replace(state.column(table, old))
    state.remove_column(table, old)
    after = state.column(table, new)
    after.definition = before.definition and dataclasses.replace(before.definition, name=new)
    after.new = before.new and not after.dropped


@effect_of(op.RedefineColumn)
def _redefine_column(state: SchemaState, operation: op.RedefineColumn) -> None:
    if operation.old != operation.column.name:
        _move_column(state, operation.table, operation.old, operation.column.name)
    column = state.column(operation.table, operation.column.name)
    before = column.definition.constraints if column.definition is not None else ()
    constraints = tuple(dict.fromkeys((*before, *operation.column.constraints)))
    column.definition = dataclasses.replace(operation.column, constraints=constraints)


def _change(state: SchemaState, table: Name, name: str, **changes: Any) -> None:
    """Changes fields of a definition, if it is known."""
    column = state.column(table, name)
    if column.definition is not None:
        column.definition = dataclasses.replace(column.definition, **changes)


@effect_of(op.SetColumnType)
def _set_column_type(state: SchemaState, operation: op.SetColumnType) -> None:
    collation = operation.collation
    _change(state, operation.table, operation.column, type=operation.type, collation=collation)


@effect_of(op.SetNotNull)
def _set_not_null(state: SchemaState, operation: op.SetNotNull) -> None:
    _change(state, operation.table, operation.column, nullable=False)


@effect_of(op.DropNotNull)
def _drop_not_null(state: SchemaState, operation: op.DropNotNull) -> None:
    _change(state, operation.table, operation.column, nullable=True)


@effect_of(op.SetDefault)
def _set_default(state: SchemaState, operation: op.SetDefault) -> None:
    _change(state, operation.table, operation.column, default=operation.default)


_NO_PART_OF_A_DEFINITION = ("comment", "statistics", "storage", "compression", "options")


@effect_of(op.SetColumnOption)
def _set_column_option(state: SchemaState, operation: op.SetColumnOption) -> None:
    if operation.option in ("visible", "invisible"):
        _change(state, operation.table, operation.column, invisible=operation.option == "invisible")
    elif operation.option not in _NO_PART_OF_A_DEFINITION:
        state.column(operation.table, operation.column).definition = None


# --- constraints ----------------------------------------------------------------------------------


@effect_of(op.AddConstraint)
def _add_constraint(state: SchemaState, operation: op.AddConstraint) -> None:
    constraint = operation.constraint
    restrict(state, operation.table, f"it has a {constraint.kind} constraint of its own")
    _constrain(state, operation.table, constraint)
    if constraint.kind not in (ConstraintKind.PRIMARY_KEY, ConstraintKind.NOT_NULL):
        return
    if constraint.using_index is not None:
        state.forget_definitions(operation.table)
    for name in constraint.columns:
        _change(state, operation.table, name, nullable=False)


def _constrain(state: SchemaState, table: Name, constraint: parts.Constraint) -> None:
    """Adds a constraint to the new columns of an old table, of which the default may change after it."""
    if state.touch(table).new:
        return
    for name in constraint.columns:
        column = state.column(table, name)
        if column.new and column.definition is not None:
            constraints = (*column.definition.constraints, constraint)
            column.definition = dataclasses.replace(column.definition, constraints=constraints)


@effect_of(op.DropConstraint)
def _drop_constraint(state: SchemaState, operation: op.DropConstraint) -> None:
    """PostgreSQL 18 drops NOT NULL by the name of its constraint; the statement does not say the kind."""
    if operation.kind not in (None, ConstraintKind.NOT_NULL):
        return
    table = state.touch(operation.table)
    table.defined = False
    for column in table.columns.values():
        if column.definition is not None and not column.definition.nullable:
            column.definition = None
