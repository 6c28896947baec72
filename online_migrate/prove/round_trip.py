"""Whether the old columns of a row come back from the new ones, as a sync converts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.state import RecordedSync
from online_migrate.sync.comparison import (
    Condition,
    Rows,
    any_differs,
    assigned_values,
    existing_column,
    target_key,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def not_restored(
    connection: Connection,
    sync: RecordedSync,
    row: Condition,
    table: sa.Table,
    target: sa.Table | None = None,
) -> sa.Select[Any]:
    """Returns a query that has a row if a row of *table* does not come back from the new shape.

    *row*: the condition of that one row. It gets other old columns if its new columns are written again as
    they are, and these old columns give other new ones. A conversion may drop something that the new shape
    does not have: then the old columns differ, and what they give does not.
    """
    forward = assigned_values(connection, sync.forward, table if target is None else target)
    again, stored = _written_back(connection, sync, row, table, target)
    pairs = zip(list(again.c)[:stored], (value for _, value in forward), strict=True)
    return sa.select(sa.literal(1)).select_from(again).where(any_differs(connection, pairs))


def _written_back(
    connection: Connection, sync: RecordedSync, row: Condition, table: sa.Table, target: sa.Table | None
) -> tuple[sa.Subquery, int]:
    """Returns the row with the old columns that its new ones give, if these are others than it has.

    The first columns are the new ones; their number is the second part of the result. The others have the
    names of the old columns, which the expressions of ``forward`` read.
    """
    new = table if target is None else target
    keys = target_key(sync)
    backward = assigned_values(connection, sync.backward, table)
    assigned = [column for column, _ in backward]
    used = [existing_column(connection, table, name) for name in sync.columns_used[sync.table_name]]
    read = [column for column in used if column not in assigned]
    of_table = Rows(
        "old_rows",
        [existing_column(connection, table, name) for name in keys.values()],
        assigned,
        read,
        where=row,
    )
    of_target = Rows(
        "new_rows",
        [existing_column(connection, new, name) for name in keys],
        [existing_column(connection, new, name) for name in sync.forward],
        [value for _, value in backward],
        where=row if target is None else None,
    )
    same_row = [mine == other for mine, other in zip(of_table.key, of_target.key, strict=True)]
    old = [*zip(assigned, of_target.values, strict=True), *zip(read, of_table.values, strict=True)]
    query = (
        sa.select(
            *(column.label(f"online_migrate_{number}") for number, column in enumerate(of_target.stored)),
            *(value.label(column.name) for column, value in old),
        )
        .select_from(of_table.query.outerjoin(of_target.query, sa.and_(sa.true(), *same_row)))
        .where(any_differs(connection, zip(of_table.stored, of_target.values, strict=True)))
    )
    return query.subquery("restored_rows"), len(of_target.stored)
