"""SQL conditions that compare the values of rows with what a recorded sync computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.dialects import dialect_of
from online_migrate.state import RecordedSync

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Condition = sa.ColumnElement[bool]
_COMPARABLE = (
    sa.Integer,
    sa.Numeric,
    sa.Boolean,
    sa.Date,
    sa.DateTime,
    sa.Time,
    sa.Interval,
    sa.LargeBinary,
    sa.Uuid,
)
"""Types whose equal values are the same. Others are compared as text: json has no operator of equality."""


def differs(connection: Connection, column: sa.ColumnElement[Any], value: Any) -> Condition:
    """Returns a condition that is true unless the values are the same, also in letter case.

    It is never NULL: NULL is the same as NULL.
    """
    right = value if isinstance(value, sa.ClauseElement) else sa.literal(value, column.type)
    if isinstance(column.type, _COMPARABLE) and not isinstance(column.type, sa.String):
        return column.is_distinct_from(right)
    dialect = dialect_of(connection)
    return dialect.exact_text(column).is_distinct_from(dialect.exact_text(right))  # type: ignore[arg-type]


def computed(connection: Connection, text: str, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Returns the value that *column* has after the recorded expression *text* was assigned to it."""
    return dialect_of(connection).assigned(sa.literal_column(text), column)


def column_of(connection: Connection, table: sa.Table, name: str) -> sa.Column[Any] | None:
    """Returns the column that the server means by *name*; None: there is none."""
    comparable = dialect_of(connection).comparable
    return next((column for column in table.c if comparable(column.name) == comparable(name)), None)


def out_of_step(
    connection: Connection, sync: RecordedSync, table: sa.Table, target: sa.Table | None = None
) -> list[tuple[sa.Table, Condition]]:
    """Returns, for each table of a sync, the condition of its rows that are out of step.

    *target*: the other table, if the sync has one. Every column of the sync must exist.

    The shapes of a row are in step if the new columns are what the old ones give, or the old columns what the
    new ones give: a conversion may lose something in one direction. A row that *target* lacks is the same as
    one with NULL in each new column; a row of *target* without one in *table* is out of step.
    """
    new = table if target is None else target
    forward = assigned_values(connection, sync.forward, new)
    backward = assigned_values(connection, sync.backward, table)
    if target is None:
        return [
            (table, sa.and_(any_differs(connection, forward), any_differs(connection, backward))),
        ]
    keys = target_key(sync)
    table_key = [existing_column(connection, table, name) for name in keys.values()]
    key = [existing_column(connection, target, name) for name in keys]
    # Each expression names columns without their table: it is computed where only that table is read.
    of_table = Rows("old_rows", table_key, [one for one, _ in backward], [value for _, value in forward])
    of_target = Rows("new_rows", key, [one for one, _ in forward], [value for _, value in backward])
    same_row = sa.and_(*(mine == other for mine, other in zip(of_table.key, of_target.key, strict=True)))
    differing = (
        sa.select(*of_table.key)
        .select_from(of_table.query.outerjoin(of_target.query, same_row))
        .where(
            any_differs(connection, zip(of_target.stored, of_table.values, strict=True)),
            any_differs(connection, zip(of_table.stored, of_target.values, strict=True)),
        )
    )
    orphans = (
        sa.select(*of_target.key)
        .select_from(of_target.query.outerjoin(of_table.query, same_row))
        .where(of_table.key[0].is_(None))
    )
    return [(table, tuple_of(table_key).in_(differing)), (target, tuple_of(key).in_(orphans))]


def target_key(sync: RecordedSync) -> Mapping[str, str]:
    """Returns, by key column of the other table, the column of the first one."""
    found: Any = {} if sync.target is None else sync.target["key"]
    return {str(name): str(column) for name, column in found.items()}


class Rows:
    """The rows of one table as a subquery: its key, its columns of the sync, and what they give."""

    def __init__(
        self, name: str, *parts: Sequence[sa.ColumnElement[Any]], where: Condition | None = None
    ) -> None:
        columns = [one for part in parts for one in part]
        query = sa.select(*(one.label(f"column_{n}") for n, one in enumerate(columns)))
        self.query = (query if where is None else query.where(where)).subquery(name)
        found: Iterator[sa.ColumnElement[Any]] = iter(self.query.c)
        self.key, self.stored, self.values = ([next(found) for _ in part] for part in parts)


def assigned_values(
    connection: Connection, expressions: Mapping[str, str], table: sa.Table
) -> list[tuple[sa.Column[Any], sa.ColumnElement[Any]]]:
    """Returns each column that a trigger assigns, with the value."""
    columns = [existing_column(connection, table, name) for name in expressions]
    texts = expressions.values()
    return [(column, computed(connection, text, column)) for column, text in zip(columns, texts, strict=True)]


def existing_column(connection: Connection, table: sa.Table, name: str) -> sa.Column[Any]:
    found = column_of(connection, table, name)
    assert found is not None, f"{table.name}.{name}"
    return found


def any_differs(
    connection: Connection, pairs: Iterable[tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]]
) -> Condition:
    return sa.or_(*(differs(connection, column, value) for column, value in pairs))


def tuple_of(columns: Sequence[sa.Column[Any]]) -> Any:
    """Returns the columns of a key as one value."""
    return columns[0] if len(columns) == 1 else sa.tuple_(*columns)
