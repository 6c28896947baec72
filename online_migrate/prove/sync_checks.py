"""Whether the two shapes of one row agree, as the recorded expressions of a sync convert them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.contract.sync_rows import OUT_OF_STEP
from online_migrate.prove.round_trip import not_restored
from online_migrate.prove.synced import Shape, Sync
from online_migrate.sync.comparison import (
    Condition,
    computed,
    existing_column,
    out_of_step,
    target_key,
    tuple_of,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

ROUND_TRIP = "sync-round-trip"
"""The check of a value that is another one when it comes back from the other shape."""
HINTS = {
    OUT_OF_STEP: "the triggers of the sync must be there, and no other trigger may change its columns",
    ROUND_TRIP: "correct forward or backward; if the application writes no such value, give others by --rows",
}
"""What to do, by check."""


def compared(
    connection: Connection, sync: Sync, row: Condition, shape: Shape | None
) -> Iterator[tuple[str, str]]:
    """Yields the check and the reason of a row that is not in step, or that does not come back.

    *row*: the condition of the row in the first table. *shape*: the one that was written; None: none was.
    """
    if _has_float(connection, sync):
        return  # a value may come back in another form
    recorded, tables = sync.recorded, sync.tables
    [(table, differs), *_] = out_of_step(connection, recorded, *tables)
    if _finds(connection, sa.select(sa.literal(1)).select_from(table).where(row, differs)):
        yield OUT_OF_STEP, f"{_shown(connection, sync, row)}: neither shape is what the other one gives"
    elif shape is sync.old and _finds(connection, not_restored(connection, recorded, row, *tables)):
        yield (
            ROUND_TRIP,
            f"{_shown(connection, sync, row)}: the old version reads another value than it wrote, "
            "after the new version has written back what it reads",
        )


def row_of_target(connection: Connection, sync: Sync, condition: Condition) -> Condition:
    """Returns the condition of the row of the first table that belongs to one of the second table."""
    mine, theirs = _keys(connection, sync)
    return _in(mine, sa.select(*theirs).where(condition))


def _keys(connection: Connection, sync: Sync) -> tuple[list[sa.Column[Any]], list[sa.Column[Any]]]:
    """Returns the columns that pair the two tables: those of the first one, and those of the second one."""
    pairs = target_key(sync.recorded).items()
    return (
        [existing_column(connection, sync.old.table, name) for _, name in pairs],
        [existing_column(connection, sync.new.table, name) for name, _ in pairs],
    )


def _in(columns: list[sa.Column[Any]], query: sa.Select[Any]) -> Condition:
    found: Condition = tuple_of(columns).in_(query)
    return found


def _finds(connection: Connection, query: sa.Select[Any]) -> bool:
    return connection.execute(query.limit(1)).first() is not None


def _has_float(connection: Connection, sync: Sync) -> bool:
    columns = [existing_column(connection, sync.new.table, name) for name in sync.recorded.forward]
    columns += [existing_column(connection, sync.old.table, name) for name in sync.recorded.backward]
    return any(isinstance(column.type, sa.Float) for column in columns)


def _shown(connection: Connection, sync: Sync, row: Condition) -> str:
    """Returns the values of a row in both shapes, and what each shape gives."""
    recorded, old, new = sync.recorded, sync.old.table, sync.new.table
    other = row
    if old is not new:
        mine, theirs = _keys(connection, sync)
        other = _in(theirs, sa.select(*mine).where(row))
    old_columns = {name: existing_column(connection, old, name) for name in recorded.backward}
    new_columns = {name: existing_column(connection, new, name) for name in recorded.forward}
    gives = {name: computed(connection, text, new_columns[name]) for name, text in recorded.forward.items()}
    given = {name: computed(connection, text, old_columns[name]) for name, text in recorded.backward.items()}
    return (
        f"{_values(connection, old, old_columns, row)}, {_values(connection, new, new_columns, other)}; "
        f"forward gives {_values(connection, old, gives, row)}, "
        f"backward gives {_values(connection, new, given, other)}"
    )


def _values(
    connection: Connection, table: sa.Table, columns: Mapping[str, sa.ColumnElement[Any]], row: Condition
) -> str:
    # As the driver gives them: a value may not be one of the type.
    raw = (sa.type_coerce(one, sa.types.NullType()) for one in columns.values())
    query = sa.select(*(one.label(f"value_{n}") for n, one in enumerate(raw)))
    found = connection.execute(query.select_from(table).where(row)).first() or [None] * len(columns)
    return ", ".join(f"{name} {value!r}" for name, value in zip(columns, found, strict=True))
