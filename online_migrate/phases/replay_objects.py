"""What each operation on other objects, and on rows and sessions, does to the known schema. Pure."""

from __future__ import annotations

from online_migrate.phases.replay import create, effect_of, hide, restrict
from online_migrate.phases.schema_state import SchemaState
from online_migrate.sql.operations import operation as op
from online_migrate.sql.operations.operation import Operation
from online_migrate.sql.operations.parts import Name


@effect_of(op.CreateView)
def _create_view(state: SchemaState, operation: op.CreateView) -> None:
    if operation.temporary:
        hide(state, operation.view)
    else:
        if operation.replace:
            state.remove(operation.view)
        create(state, operation.view, {}, guarded=operation.guarded, whole=False)
    state.touch(operation.view).written_through = True
    if operation.calls:
        state.others.add_code(operation.view)
    _note_code(state, operation, operation.view)


def _note_code(state: SchemaState, operation: Operation, name: Name) -> None:
    """After CREATE of an object whose use may call a new function."""
    if state.others.called_by(operation.words):
        state.others.add_code(name)


@effect_of(op.CreateTrigger)
def _create_trigger(state: SchemaState, operation: op.CreateTrigger) -> None:
    if operation.table is not None:
        state.touch(operation.table).written_through = True
        restrict(state, operation.table, "it has a trigger of its own")


@effect_of(op.CreateObject)
def _create_object(state: SchemaState, operation: op.CreateObject) -> None:
    if operation.kind in ("rule", "policy") and operation.table is not None:
        state.touch(operation.table).written_through = True
        restrict(state, operation.table, f"it has a {operation.kind} of its own")
    if state.certain and not operation.guarded:
        state.others.created.add((operation.kind, operation.object))
    _note_code(state, operation, operation.object)
    if operation.kind in ("type", "domain"):
        kind = "domain" if operation.kind == "domain" else "enum" if operation.enum else "other"
        state.others.types[str(operation.object)] = kind
    elif operation.kind == "aggregate":
        state.create_routine(operation.object.name)
    elif operation.kind == "foreign table":
        create(state, operation.object, {}, guarded=operation.guarded, whole=False)
        state.touch(operation.object).written_through = True  # its rows may be those of an old table


@effect_of(op.CreateRoutine)
def _create_routine(state: SchemaState, operation: op.CreateRoutine) -> None:
    state.create_routine(operation.routine.name)
    state.others.add_code(operation.routine)


@effect_of(op.AddEnumValue)
def _add_enum_value(state: SchemaState, operation: op.AddEnumValue) -> None:
    type, neighbour = operation.type, operation.neighbour
    last = neighbour is None or _is_new_value(state, type, neighbour)
    if last and state.certain and not operation.guarded:
        state.others.created.add(("enum value", Name(operation.value, str(type))))


def _is_new_value(state: SchemaState, type: Name, value: str) -> bool:
    """Returns True if a value of an enum type is behind all that old code knows."""
    values = {("type", type), ("enum value", Name(value, str(type)))}
    return bool(state.others.created & values) or any(state.below.is_new_object(*v) for v in values)


_TABLE_LIKE = frozenset({"view", "materialized view", "foreign table", "table"})
_CONTAINERS = frozenset({"schema", "database", "extension", "owned"})


@effect_of(op.DropObject)
def _drop_object(state: SchemaState, operation: op.DropObject) -> None:
    if operation.kind in _TABLE_LIKE:
        state.remove(operation.object)
    elif operation.kind in _CONTAINERS:
        state.forget_everything()
    state.others.forget(operation.kind, "enum value")


@effect_of(op.AlterObject)
def _alter_object(state: SchemaState, operation: op.AlterObject) -> None:
    if operation.kind in _TABLE_LIKE:
        state.forget_table(operation.object)
    elif operation.kind == "database":
        pass  # its character set is that of new tables, its settings are those of new sessions
    elif operation.kind in _CONTAINERS:
        state.forget_everything()
    if operation.change not in _SAME_OBJECT:
        state.others.forget(operation.kind, "enum value")


_SAME_OBJECT = ("owned by", "owned by none", "owner", "restart", "options")
"""Changes after which an object has the same name and the same values."""


@effect_of(op.ChangeRows)
def _change_rows(state: SchemaState, operation: op.ChangeRows) -> None:
    if operation.calls:
        state.forget_everything()


@effect_of(op.Query)
def _query(state: SchemaState, operation: op.Query) -> None:
    if operation.calls:
        state.forget_everything()


@effect_of(op.ChangeSession)
def _change_session(state: SchemaState, operation: op.ChangeSession) -> None:
    if not operation.harmless:
        state.forget_everything()  # the next names may be those of other tables


@effect_of(op.ControlTransaction)
def _control_transaction(state: SchemaState, operation: op.ControlTransaction) -> None:
    if operation.verb.startswith(("rollback", "abort")):
        state.forget_everything()
