"""What the catalog shows before a sync is created: why it must not be created on this table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects import dialect_of
from online_migrate.dialects.facets.sync_triggers import SyncedColumn, SyncShape
from online_migrate.sql.operations.parts import Value
from online_migrate.state import RecordedSync
from online_migrate.sync.between_tables import refuse_between
from online_migrate.sync.definition import SyncDefinition

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
    for table, names in shape.columns_used.items():
        problem = dialect.sync_table_problem(connection, table, shape.schema)
        if problem is not None:
            raise definition.refused(problem if table == shape.table else f"table {table}: {problem}")
        _refuse_columns(definition, shape, connection, table, names)
    problem_of_server = dialect.sync_problem(connection, shape)
    if problem_of_server is not None:
        raise definition.refused(*problem_of_server)
    _refuse_shared(definition, shape, connection, recorded)
    if shape.target is not None:
        refuse_between(definition, shape, connection)
        return
    for column in (*shape.old, *shape.new):
        reason = _column_problem(column, needs_defaults=dialect.sync_needs_defaults)
        if reason is not None:
            raise definition.refused(*reason)
    _refuse_later_triggers(definition, shape, connection)


def _refuse_columns(
    definition: SyncDefinition, shape: SyncShape, connection: Connection, table: str, names: Iterable[str]
) -> None:
    comparable = dialect_of(connection).comparable
    reflected = sa.inspect(connection).get_columns(table, shape.schema)
    found = {comparable(column["name"]): column for column in reflected}
    for name in names:
        column = found.get(comparable(name))
        if column is None:
            known = ", ".join(sorted(one["name"] for one in reflected))
            where = "" if table == shape.table else f" in table {table}"
            raise definition.refused(f"column {name} does not exist{where}", f"the columns are {known}")
        if column.get("computed"):
            raise definition.refused(f"column {name} is generated: it has no value before the row is written")


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


def _refuse_shared(
    definition: SyncDefinition, shape: SyncShape, connection: Connection, recorded: Iterable[RecordedSync]
) -> None:
    schema = _schema(connection, shape.schema)
    used = _names(connection, _used(shape.columns_used))
    written = [(shape.target or shape.table, column.name) for column in shape.new if column.value is not None]
    written += [(shape.table, column.name) for column in shape.old if column.value is not None]
    for other in recorded:
        if other.name == shape.name or _schema(connection, other.table_schema) != schema:
            continue
        target = other.table_name if other.target is None else str(other.target["table"])
        of_other = _used(other.columns_used)
        by_other = [(target, name) for name in other.forward]
        by_other += [(other.table_name, name) for name in other.backward]
        shared = (_names(connection, written) & _names(connection, of_other)) | (
            used & _names(connection, by_other)
        )
        if shared:
            raise definition.refused(
                f"sync {other.name} uses column {min(shared)[1]} too: the result would depend on their order",
                "join both to one sync",
            )


def _used(columns: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    return [(table, name) for table, names in columns.items() for name in names]


def _names(connection: Connection, found: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Returns tables and columns in a form in which two names of one column are equal."""
    same = dialect_of(connection).comparable
    return {(same(table), same(name)) for table, name in found}


def _schema(connection: Connection, given: str | None) -> str:
    """Returns the schema of a name; None: that of the connection."""
    default = sa.inspect(connection).default_schema_name
    return dialect_of(connection).comparable(given or default or "")


def _refuse_later_triggers(definition: SyncDefinition, shape: SyncShape, connection: Connection) -> None:
    dialect = dialect_of(connection)
    found = dialect.sync_triggers(connection, shape.table, shape.schema)
    own = dialect.sync_trigger_names(shape.name)
    others = {name: trigger for name, trigger in found.items() if name not in own}
    for name in own:
        for later in dialect.sync_order_problem(name, others):
            text = others[later].text
            named = [name for name in shape.columns_used[shape.table] if name in text]
            if named:
                raise definition.refused(
                    f"trigger {later} fires after it, and names column {named[0]}: what it assigns to the "
                    "column would not be synchronized",
                    f"rename the trigger, so that it fires first: ALTER TRIGGER {later} ON {shape.table} "
                    f"RENAME TO a_{later}",
                )
