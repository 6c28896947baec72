"""The version of a row, which shows whether it has changed since it was read; the columns that are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from online_migrate.dialects import Dialect
from online_migrate.values.exact import exact_column
from online_migrate.walk.chunker import Chunker
from online_migrate.writers.bulk import plain_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

RowVersion = Callable[[str], str]
"""Returns SQL whose value changes whenever a column that a function or ``pending`` reads changes.

The argument is the name, or the alias, of the table in the statement.
"""
_LABEL_PREFIX = "online_migrate_"
"""The prefix of the labels of the engine's own columns, next to the user's columns."""


def version_of(
    connection: Connection,
    dialect: Dialect,
    table: sa.Table,
    columns: Sequence[sa.Column[Any]],
    pending: sa.ColumnElement[bool] | None,
) -> RowVersion | None:
    """Returns the version of the rows of *table*; None if they have none, or if no columns are read.

    *columns*: the columns that are read for a function.
    """
    # The version includes the columns of ``pending`` too: an application can migrate a row itself without a
    # change to the columns that the function reads.
    looked_at = {*(column.name for column in columns), *_columns_in(pending, table)}
    watched = [column for column in table.c if column.name in looked_at]

    def version(name: str) -> str:
        return dialect.row_version(connection, table, watched, name) or ""

    return version if columns and version("t") else None


def _columns_in(expression: sa.ColumnElement[bool] | None, table: sa.Table) -> set[str]:
    """Returns the names of the columns of *table* that an expression reads, including those in subqueries.

    Returns all columns if the expression contains textual SQL.
    """
    parts = [] if expression is None else list(visitors.iterate(expression))
    if any(_is_text(part) for part in parts):
        return {column.name for column in table.c}
    columns = [part for part in parts if isinstance(part, sa.ColumnClause)]
    return {column.name for column in columns if column.table is None or column.table == table}


def _is_text(part: visitors.Visitable) -> bool:
    if isinstance(part, sa.ColumnClause):
        # A subquery often selects * or 1, which is no column.
        return part.is_literal and part.name != "*" and not part.name.isdigit()
    return isinstance(part, sa.TextClause)


def selected_columns(
    connection: Connection,
    chunker: Chunker,
    read: Sequence[sa.Column[Any]],
    version: RowVersion | None,
) -> tuple[sa.ColumnElement[Any], ...]:
    """Returns the columns of the query for a function: the key, *read*, and the version if there is one."""
    # The key columns have labels of their own, with a prefix that no column of the user has by accident.
    key = [part.label(f"{_LABEL_PREFIX}key_{i}") for i, part in enumerate(chunker.key)]
    # A type that the user declared is used as it is, including its conversion of values.
    columns = [exact_column(column) for column in read]
    if version is None:
        return (*key, *columns)
    table = plain_name(connection, chunker.table.schema, chunker.table.name)
    at: sa.ColumnElement[str] = sa.literal_column(version(table), sa.Text())
    return (*key, *columns, at.label(f"{_LABEL_PREFIX}version"))
