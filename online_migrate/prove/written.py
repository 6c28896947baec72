"""The rows that the versions have written in a phase, and whether they come back as written."""

from __future__ import annotations

import dataclasses
import decimal
import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import orm

from online_migrate.prove.models import table_name
from online_migrate.prove.synced import Assigned, Name, Write
from online_migrate.prove.syncs import Syncs

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Key = tuple[Any, ...]
NOT_COMPARED = (sa.TypeDecorator, sa.Float)
"""Types whose values may come back in another form than they were set to."""


@dataclasses.dataclass
class WrittenRow:
    """A row, with the values of its last writer."""

    version: str
    """The version that inserted it."""
    values: dict[str, Any]
    """Column name -> the value that the last writer set, unless a sync may have assigned another one."""
    known: dict[Name, sa.BindParameter[Any]]
    """Its primary key, and the values that were set, by table and column."""
    referenced_by: frozenset[str] = frozenset()
    """The tables of rows that were inserted with a reference to it."""


class WrittenRows:
    """The rows that were written in one phase, by table and primary key. *syncs*: those of the phase."""

    def __init__(self, syncs: Syncs) -> None:
        self.syncs = syncs
        self._rows: dict[str, dict[Key, WrittenRow]] = {}
        self._writes: list[Write] = []

    def of(self, mapper: orm.Mapper[Any]) -> dict[Key, WrittenRow]:
        """Returns the rows of the table of *mapper*, by primary key."""
        return self._rows.setdefault(table_name(mapper.local_table), {})

    def inserted(
        self,
        mapper: orm.Mapper[Any],
        loaded: object,
        names: Mapping[str, Any],
        by: str,
        referenced_by: frozenset[str],
    ) -> None:
        """Remembers a row that version *by* has inserted. *names*: the columns that it has set."""
        columns = [one for _, one in columns_of(mapper) if one.name in names or one.default is not None]
        write = self.syncs.write(mapper, loaded, columns, inserted=True)
        values = values_in(mapper, loaded, names)
        row = WrittenRow(by, values, dict(write.known), referenced_by)
        self.of(mapper)[key_of(mapper, loaded)] = row
        self._wrote(write)

    def updated(
        self,
        mapper: orm.Mapper[Any],
        loaded: object,
        key: Key,
        names: Mapping[str, Any],
        changed: Sequence[sa.Column[Any]],
    ) -> None:
        """Remembers an update. *names*: the columns that were set; *changed*: those that were sent."""
        write = self.syncs.write(mapper, loaded, changed, inserted=False)
        row = self.of(mapper)[key]
        row.values.update(values_in(mapper, loaded, names))
        row.known.update(write.known)
        self._wrote(write)

    def _wrote(self, write: Write) -> None:
        """Drops the values that triggers may have assigned."""
        self._writes.append(write)
        for assigned in self.syncs.assigned(write):
            tables = {table for table, _ in assigned.columns}
            for row in [row for rows in self._rows.values() for row in rows.values()]:
                if any(table in tables for table, _ in row.known) and _may_be(row, assigned):
                    dropped = {column for _, column in assigned.columns}
                    for name in [name for name in row.values if self.syncs.comparable(name) in dropped]:
                        del row.values[name]

    def not_in_step(self, connection: Connection) -> Iterator[tuple[str, str, str]]:
        """Yields the check, the sync and the reason of each row written since the last call that is not."""
        writes, self._writes = self._writes, []
        for write in writes:
            yield from self.syncs.problems(connection, write)

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


def _may_be(row: WrittenRow, assigned: Assigned) -> bool:
    """Returns True unless the row has another key."""
    return all(
        name not in row.known or str(row.known[name].value) == str(value.value)
        for name, value in assigned.key.items()
    )


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
