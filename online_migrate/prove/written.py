"""The rows that the versions have written in a phase, and whether they come back as written."""

from __future__ import annotations

import dataclasses
import decimal
import enum
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from online_migrate.prove.models import table_name

Key = tuple[Any, ...]
NOT_COMPARED = (sa.TypeDecorator, sa.Float)
"""Types whose values may come back in another form than they were set to."""


@dataclasses.dataclass
class WrittenRow:
    """A row, with the values of its last writer."""

    version: str
    """The version that inserted it."""
    values: dict[str, Any]
    """Column name -> the value that the last writer set."""
    referenced_by: frozenset[str] = frozenset()
    """The tables of rows that were inserted with a reference to it."""


class WrittenRows:
    """The rows that were written in one phase, by table and primary key."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Key, WrittenRow]] = {}

    def of(self, mapper: orm.Mapper[Any]) -> dict[Key, WrittenRow]:
        """Returns the rows of the table of *mapper*, by primary key."""
        return self._rows.setdefault(table_name(mapper.local_table), {})

    def differing(self, mapper: orm.Mapper[Any], loaded: object) -> Iterator[tuple[str, Any, Any]]:
        """Yields the columns of a loaded object that are not as written: name, written, read."""
        row = self.of(mapper).get(key_of(mapper, loaded))
        if row is None:
            return
        for attribute, column in columns_of(mapper):
            if column.name in row.values and not isinstance(column.type, NOT_COMPARED):
                written, read = row.values[column.name], getattr(loaded, attribute)
                if not _same(written, read):
                    yield column.name, written, read


def key_of(mapper: orm.Mapper[Any], loaded: object) -> Key:
    """Returns the primary key of an object."""
    return tuple(str(value) for value in mapper.primary_key_from_instance(loaded))


def columns_of(mapper: orm.Mapper[Any]) -> Iterator[tuple[str, sa.Column[Any]]]:
    """Yields the mapped columns with their attributes; in a hierarchy the column of the base class."""
    for attribute in mapper.column_attrs:
        column = attribute.columns[-1]
        if isinstance(column, sa.Column):
            yield attribute.key, column


def values_in(mapper: orm.Mapper[Any], loaded: object, names: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of an object for those of its columns that are among *names*."""
    return {
        column.name: getattr(loaded, attribute)
        for attribute, column in columns_of(mapper)
        if column.name in names
    }


def _same(written: Any, read: Any) -> bool:
    written, read = _plain(written), _plain(read)
    return bool(written == read) or (None not in (written, read) and str(written) == str(read))


def _plain(value: Any) -> Any:
    """Returns a value in a form that two versions of a model have in common."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, float | int) and not isinstance(value, bool):
        return decimal.Decimal(str(value))
    if isinstance(value, str):
        return value.rstrip()  # CHAR is padded
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value
