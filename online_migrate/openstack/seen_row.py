"""A row as it was read, and the condition that it has not changed since."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.dialects import Dialect
from online_migrate.writers.bulk import plain_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class SeenRow:
    """What a query has read of a row in order to recognise it."""

    read: Sequence[sa.ColumnElement[Any]]
    """The expressions of the query."""
    found: tuple[Any, ...]
    """Their values."""

    @staticmethod
    def expressions(
        connection: Connection, dialect: Dialect, table: sa.Table
    ) -> Sequence[sa.ColumnElement[Any]]:
        """Returns what a query must read: the version of the row, or all columns if rows have no version."""
        name = plain_name(connection, table.schema, table.name)
        version = dialect.row_version(connection, table, list(table.c), name)
        if version is not None:
            return [sa.literal_column(version, sa.Text())]
        # Without the conversions of SQLAlchemy, so that a value which is sent back is the one that was read.
        return [sa.type_coerce(column, sa.types.NullType()) for column in table.c]

    @property
    def is_unchanged(self) -> sa.ColumnElement[bool]:
        """The condition that the row is as it was read. Texts are compared by their bytes."""
        return sa.and_(*(part for pair in zip(self.read, self.found, strict=True) for part in _same(*pair)))


def _same(read: sa.ColumnElement[Any], found: Any) -> Sequence[sa.ColumnElement[bool]]:
    same = [read.is_not_distinct_from(_parameter(read, found))]
    if isinstance(found, str) and not isinstance(read.type, sa.Text):
        # A column may have a collation in which different texts are equal.
        blob = sa.LargeBinary()
        same.append(sa.cast(read, blob) == sa.cast(_parameter(read, found), blob))
    return same


def _parameter(read: sa.ColumnElement[Any], found: Any) -> sa.BindParameter[Any]:
    return sa.bindparam(None, found, type_=read.type, unique=True)
