"""What a sync between two tables needs of them: a key in each, and rows that a trigger may create."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects import dialect_of
from online_migrate.dialects.facets.sync_triggers import SyncShape
from online_migrate.sync.definition import SyncDefinition

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def refuse_between(definition: SyncDefinition, shape: SyncShape, connection: Connection) -> None:
    """Raises :class:`~online_migrate.sync.definition.SyncRefused` if the sync would not be correct."""
    assert shape.target is not None
    _refuse_without_key(definition, shape, connection, shape.table, {source for _, source in shape.key})
    _refuse_without_key(definition, shape, connection, shape.target, {target for target, _ in shape.key})
    for column in shape.old:
        known = column.definition
        if column.value is None or known is None:
            continue
        if not known.nullable or known.default is not None:
            raise definition.refused(
                f"column {column.name} is NOT NULL or has a default: it is NULL until the new version has "
                f"written the row to {shape.target}",
                f"drop NOT NULL and the default of {column.name} in the expand script",
            )
    assigned = {column.name for column in shape.new if column.value is not None}
    _refuse_empty(definition, shape, connection, assigned | {target for target, _ in shape.key})


def _refuse_empty(
    definition: SyncDefinition, shape: SyncShape, connection: Connection, assigned: set[str]
) -> None:
    """Refuses a column of the other table for which an INSERT of the trigger has no value."""
    assert shape.target is not None
    dialect = dialect_of(connection)
    given = {dialect.comparable(name) for name in assigned}
    filled = dialect.sync_filled_columns(connection, shape.target, shape.schema)
    for column in sa.inspect(connection).get_columns(shape.target, shape.schema):
        name = column["name"]
        if name in filled or dialect.comparable(name) in given:
            continue
        what = "is part of the primary key" if column["nullable"] else "is NOT NULL"
        raise definition.refused(
            f"column {name} of table {shape.target} {what} and has no default: a trigger "
            "could not insert a row",
            f"give {name} a default, or a value in forward",
        )


def _refuse_without_key(
    definition: SyncDefinition, shape: SyncShape, connection: Connection, table: str, columns: set[str]
) -> None:
    inspector = sa.inspect(connection)
    keys = [set(inspector.get_pk_constraint(table, shape.schema)["constrained_columns"])]
    keys += [set(one["column_names"]) for one in inspector.get_unique_constraints(table, shape.schema)]
    keys += [
        {str(name) for name in index["column_names"]}
        for index in inspector.get_indexes(table, shape.schema)
        if index["unique"] and not index.get("dialect_options", {}).get("postgresql_where")
    ]
    if columns not in keys:
        raise definition.refused(
            f"table {table} has no unique key of {', '.join(sorted(columns))}, so rows cannot be paired",
            "key={...} names a primary key, or the columns of a unique constraint, in both tables",
        )
