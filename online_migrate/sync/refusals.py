"""What the catalog shows before a sync is created: why it must not be created on this table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects import dialect_of
from online_migrate.dialects.facets.sync_triggers import SyncedColumn, SyncShape
from online_migrate.sql.operations.parts import Value
from online_migrate.state import RecordedSync
from online_migrate.sync.definition import SyncDefinition, columns_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_KNOWN_DEFAULTS = (Value.NULL, Value.CONSTANT, Value.NOW)


def refuse_unsuitable(
    definition: SyncDefinition,
    shape: SyncShape,
    connection: Connection,
    recorded: Iterable[RecordedSync],
) -> None:
    """Raises :class:`~online_migrate.sync.definition.SyncRefused` if the sync would not be correct."""
    dialect = dialect_of(connection)
    problem = dialect.sync_table_problem(connection, shape.table, shape.schema)
    if problem is not None:
        raise definition.refused(problem)
    reflected = sa.inspect(connection).get_columns(shape.table, shape.schema)
    found = {dialect.comparable(column["name"]): column for column in reflected}
    for column in columns_of(shape):
        name = dialect.comparable(column.name)
        if name not in found:
            names = ", ".join(sorted(one["name"] for one in reflected))
            raise definition.refused(f"column {column.name} does not exist", f"the columns are {names}")
        if found[name].get("computed"):
            raise definition.refused(
                f"column {column.name} is generated: it has no value before the row is written"
            )
        reason = _column_problem(column, needs_defaults=dialect.sync_needs_defaults)
        if reason is not None:
            raise definition.refused(*reason)
    _refuse_shared(definition, shape, recorded)
    _refuse_later_triggers(definition, shape, connection)


def _column_problem(column: SyncedColumn, *, needs_defaults: bool) -> tuple[str, str] | None:
    """Returns the reason and the hint."""
    known, name = column.definition, column.name
    if known is None:
        return f"the definition of column {name} cannot be read", ""
    if known.identity:
        return f"column {name} is numbered by the server, so it is not known if an INSERT wrote it", ""
    if known.on_update:
        return f"column {name} changes by itself with each UPDATE (ON UPDATE CURRENT_TIMESTAMP)", ""
    if known.default is not None and known.default.form not in _KNOWN_DEFAULTS:
        return (
            f"the default of column {name} is not a constant, so it is not known if an INSERT wrote it",
            f"drop the default of {name}, or write the column in the application",
        )
    if needs_defaults and not known.nullable and known.default is None:
        return (
            f"column {name} is NOT NULL and has no default: an INSERT that leaves it out fails before a "
            "trigger could fill it",
            f"give {name} a default, or drop NOT NULL",
        )
    return None


def _refuse_shared(definition: SyncDefinition, shape: SyncShape, recorded: Iterable[RecordedSync]) -> None:
    written = {column.name for column in columns_of(shape) if column.value is not None}
    used = {column.name for column in columns_of(shape)}
    for other in recorded:
        same_table = (other.table_name, other.table_schema) == (shape.table, shape.schema)
        if other.name == shape.name or not same_table:
            continue
        others = {*other.forward, *other.backward}
        shared = sorted((written & set(other.columns_used.get(shape.table, ()))) | (used & others))
        if shared:
            raise definition.refused(
                f"sync {other.name} uses column {shared[0]} too, and the result would depend on their order",
                "join both to one sync",
            )


def _refuse_later_triggers(definition: SyncDefinition, shape: SyncShape, connection: Connection) -> None:
    dialect = dialect_of(connection)
    found = dialect.sync_triggers(connection, shape.table, shape.schema)
    own = dialect.sync_trigger_names(shape.name)
    others = {name: trigger for name, trigger in found.items() if name not in own}
    for name in own:
        for later in dialect.sync_order_problem(name, others):
            text = others[later].text
            named = [column.name for column in columns_of(shape) if column.name in text]
            if named:
                raise definition.refused(
                    f"trigger {later} fires after it, and names column {named[0]}: what it assigns to the "
                    "column would not be synchronized",
                    f"rename the trigger, so that it fires first: ALTER TRIGGER {later} ON {shape.table} "
                    f"RENAME TO a_{later}",
                )
