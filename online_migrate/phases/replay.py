"""What each operation does to the known schema. Pure.

An operation that is not listed makes everything unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from online_migrate.phases.schema_state import ColumnState, SchemaState
from online_migrate.sql.operations import operation as op
from online_migrate.sql.operations.operation import ConstraintKind, Name, Operation

Kind = TypeVar("Kind", bound=Operation)
Effect = Callable[[SchemaState, Kind], None]
EFFECTS: dict[type[Operation], Effect[Any]] = {}


def _effect_of(kind: type[Kind]) -> Callable[[Effect[Kind]], Effect[Kind]]:
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
            op.CreateIndex,
            op.DropIndex,
            op.AlterIndex,
            op.AddEnumValue,
            op.CommentOn,
            op.ChangePrivileges,
            op.Maintain,
        ),
        _nothing,
    )
)


# --- tables and views -----------------------------------------------------------------------------


@_effect_of(op.CreateTable)
def _create_table(state: SchemaState, operation: op.CreateTable) -> None:
    key = [c.columns for c in operation.constraints if c.kind is ConstraintKind.PRIMARY_KEY]
    columns = {}
    for column in operation.columns:
        in_key = any(column.name in names for names in key)
        definition = dataclasses.replace(column, nullable=False) if in_key else column
        columns[column.name] = ColumnState(definition)
    whole = not (operation.selects or operation.partition_of or operation.like)
    if operation.temporary:
        state.forget_table(operation.table)  # it hides a table of the same name
    elif operation.replace and not operation.guarded:
        state.remove(operation.table)
        state.create(operation.table, columns, whole=whole)
    else:
        _create(state, operation.table, columns, guarded=operation.guarded, whole=whole)
    if operation.partition_of is not None:
        _join(state, operation.table, operation.partition_of)


def _join(state: SchemaState, table: Name, parent: Name) -> None:
    """After a table has become a partition or a child of *parent*, whose rows old code may read and write."""
    if state.touch(parent).new:
        return
    child = state.touch(table)
    child.new = False
    for column in child.columns.values():
        column.new = False


def _create(
    state: SchemaState, table: Name, columns: dict[str, ColumnState], *, guarded: bool, whole: bool
) -> None:
    exists = state.exists(table)
    if guarded and exists is None:
        state.forget_table(table)
    elif not (guarded and exists):
        state.create(table, columns, whole=whole)


@_effect_of(op.CreateView)
def _create_view(state: SchemaState, operation: op.CreateView) -> None:
    if operation.replace:
        state.remove(operation.view)
    _create(state, operation.view, {}, guarded=operation.guarded, whole=False)
    state.touch(operation.view).written_through = True


@_effect_of(op.DropTable)
def _drop_table(state: SchemaState, operation: op.DropTable) -> None:
    state.remove(operation.table)


@_effect_of(op.RenameTable)
def _rename_table(state: SchemaState, operation: op.RenameTable) -> None:
    before = state.touch(operation.table)
    moved = dataclasses.replace(before, exists=True, created=True, dropped=False)
    state.remove(operation.table)
    hidden = state.touch(operation.new).dropped
    state.tables[operation.new] = dataclasses.replace(moved, new=moved.new and not hidden, dropped=hidden)


@_effect_of(op.SetTableOption)
def _set_table_option(state: SchemaState, operation: op.SetTableOption) -> None:
    if operation.option in ("charset", "collate", "convert to charset"):
        state.forget_definitions(operation.table)
    elif operation.option == "schema":
        state.remove(operation.table)
        state.forget_table(operation.table)


@_effect_of(op.ChangePartitions)
def _change_partitions(state: SchemaState, operation: op.ChangePartitions) -> None:
    if operation.action == "attach" and operation.partition is not None:
        _join(state, operation.partition, operation.table)
    elif operation.action in ("exchange", "convert"):
        state.forget_everything()  # the other table is not named


# --- columns --------------------------------------------------------------------------------------


@_effect_of(op.AddColumn)
def _add_column(state: SchemaState, operation: op.AddColumn) -> None:
    table, column = operation.table, operation.column
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


@_effect_of(op.DropColumn)
def _drop_column(state: SchemaState, operation: op.DropColumn) -> None:
    state.remove_column(operation.table, operation.column)


@_effect_of(op.RenameColumn)
def _rename_column(state: SchemaState, operation: op.RenameColumn) -> None:
    _move_column(state, operation.table, operation.column, operation.new)


def _move_column(state: SchemaState, table: Name, old: str, new: str) -> None:
    before = dataclasses.replace(state.column(table, old))
    state.remove_column(table, old)
    after = state.column(table, new)
    after.definition = before.definition and dataclasses.replace(before.definition, name=new)
    after.new = before.new and not after.dropped


@_effect_of(op.RedefineColumn)
def _redefine_column(state: SchemaState, operation: op.RedefineColumn) -> None:
    if operation.old != operation.column.name:
        _move_column(state, operation.table, operation.old, operation.column.name)
    state.column(operation.table, operation.column.name).definition = operation.column


def _change(state: SchemaState, table: Name, name: str, **changes: Any) -> None:
    """Changes fields of a definition, if it is known."""
    column = state.column(table, name)
    if column.definition is not None:
        column.definition = dataclasses.replace(column.definition, **changes)


@_effect_of(op.SetColumnType)
def _set_column_type(state: SchemaState, operation: op.SetColumnType) -> None:
    collation = operation.collation
    _change(state, operation.table, operation.column, type=operation.type, collation=collation)


@_effect_of(op.SetNotNull)
def _set_not_null(state: SchemaState, operation: op.SetNotNull) -> None:
    _change(state, operation.table, operation.column, nullable=False)


@_effect_of(op.DropNotNull)
def _drop_not_null(state: SchemaState, operation: op.DropNotNull) -> None:
    _change(state, operation.table, operation.column, nullable=True)


@_effect_of(op.SetDefault)
def _set_default(state: SchemaState, operation: op.SetDefault) -> None:
    _change(state, operation.table, operation.column, default=operation.default)


_NO_PART_OF_A_DEFINITION = ("comment", "statistics", "storage", "compression", "options")


@_effect_of(op.SetColumnOption)
def _set_column_option(state: SchemaState, operation: op.SetColumnOption) -> None:
    if operation.option in ("visible", "invisible"):
        _change(state, operation.table, operation.column, invisible=operation.option == "invisible")
    elif operation.option not in _NO_PART_OF_A_DEFINITION:
        state.column(operation.table, operation.column).definition = None


# --- constraints ----------------------------------------------------------------------------------


@_effect_of(op.AddConstraint)
def _add_constraint(state: SchemaState, operation: op.AddConstraint) -> None:
    constraint = operation.constraint
    if constraint.kind not in (ConstraintKind.PRIMARY_KEY, ConstraintKind.NOT_NULL):
        return
    if constraint.using_index is not None:
        state.forget_definitions(operation.table)
    for name in constraint.columns:
        _change(state, operation.table, name, nullable=False)


@_effect_of(op.DropConstraint)
def _drop_constraint(state: SchemaState, operation: op.DropConstraint) -> None:
    """PostgreSQL 18 drops NOT NULL by the name of its constraint; the statement does not say the kind."""
    if operation.kind not in (None, ConstraintKind.NOT_NULL):
        return
    table = state.touch(operation.table)
    table.defined = False
    for column in table.columns.values():
        if column.definition is not None and not column.definition.nullable:
            column.definition = None


# --- other objects and statements -----------------------------------------------------------------


@_effect_of(op.CreateTrigger)
def _create_trigger(state: SchemaState, operation: op.CreateTrigger) -> None:
    if operation.table is not None:
        state.touch(operation.table).written_through = True


@_effect_of(op.CreateObject)
def _create_object(state: SchemaState, operation: op.CreateObject) -> None:
    if operation.kind == "rule" and operation.table is not None:
        state.touch(operation.table).written_through = True
    if operation.kind in ("type", "domain"):
        state.domains[str(operation.object)] = operation.kind == "domain"
    elif operation.kind == "aggregate":
        state.create_routine(operation.object.name)
    elif operation.kind == "foreign table":
        _create(state, operation.object, {}, guarded=operation.guarded, whole=False)


@_effect_of(op.CreateRoutine)
def _create_routine(state: SchemaState, operation: op.CreateRoutine) -> None:
    state.create_routine(operation.routine.name)


_TABLE_LIKE = frozenset({"view", "materialized view", "foreign table", "table"})
_CONTAINERS = frozenset({"schema", "database", "extension", "owned"})


@_effect_of(op.DropObject)
def _drop_object(state: SchemaState, operation: op.DropObject) -> None:
    if operation.kind in _TABLE_LIKE:
        state.remove(operation.object)
    elif operation.kind in _CONTAINERS:
        state.forget_everything()
    elif operation.kind in ("type", "domain"):
        state.domains.pop(str(operation.object), None)


@_effect_of(op.AlterObject)
def _alter_object(state: SchemaState, operation: op.AlterObject) -> None:
    if operation.kind in _TABLE_LIKE:
        state.forget_table(operation.object)
    elif operation.kind == "database":
        pass  # its character set is that of new tables, its settings are those of new sessions
    elif operation.kind in _CONTAINERS:
        state.forget_everything()
    elif operation.kind in ("type", "domain"):
        state.domains.clear()


@_effect_of(op.ChangeRows)
def _change_rows(state: SchemaState, operation: op.ChangeRows) -> None:
    if operation.calls:
        state.forget_everything()


@_effect_of(op.Query)
def _query(state: SchemaState, operation: op.Query) -> None:
    if operation.calls:
        state.forget_everything()


@_effect_of(op.ChangeSession)
def _change_session(state: SchemaState, operation: op.ChangeSession) -> None:
    if not operation.harmless:
        state.forget_everything()  # the next names may be those of other tables


@_effect_of(op.ControlTransaction)
def _control_transaction(state: SchemaState, operation: op.ControlTransaction) -> None:
    if operation.verb.startswith(("rollback", "abort")):
        state.forget_everything()
