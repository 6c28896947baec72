"""Inserts generated rows through mapped classes, each with the rows that its foreign keys need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from online_migrate import exceptions
from online_migrate.prove.models import Version, table_name
from online_migrate.prove.rows import Values, members
from online_migrate.prove.written import WrittenRows, columns_of


@dataclasses.dataclass(frozen=True)
class Variant:
    """Which columns of a row are set. *member*: which member of an enum."""

    operation: str
    least: bool
    member: int = 0


class Inserts:
    """Inserts rows of one version."""

    def __init__(self, version: Version, values: Values) -> None:
        self._version = version
        self._values = values

    def variants(self, mapper: orm.Mapper[Any]) -> Iterator[Variant]:
        """Yields rows with all columns, one for each member of an enum, and one with the required columns."""
        for member in range(max([members(column) for _, column in columns_of(mapper)], default=1)):
            yield Variant("insert", least=False, member=member)
        yield Variant("insert with the required columns only", least=True)

    def insert(
        self, session: orm.Session, mapper: orm.Mapper[Any], variant: Variant, written: WrittenRows
    ) -> None:
        """Inserts a row and its parents, and remembers what was written."""
        self._insert(session, mapper, variant, written, ())

    def _insert(
        self,
        session: orm.Session,
        mapper: orm.Mapper[Any],
        variant: Variant,
        written: WrittenRows,
        children: tuple[str, ...],
    ) -> object | None:
        """Returns the object; None: the project does not want the row. *children*: tables that need it."""
        name, number = table_name(mapper.local_table), self._values.next()
        row: dict[str, Any] = {}
        attributes = dict(columns_of(mapper))
        for column in attributes.values():
            if _is_set(mapper, column, least=variant.least):
                row[column.name] = self._value(session, mapper, column, number, variant, written, children)
        changed = self._values.change(name, row)
        if changed is None:
            return None
        new: object = mapper.class_manager.new_instance()
        for attribute, column in attributes.items():
            if column.name in changed:
                setattr(new, attribute, changed[column.name])
            elif column is mapper.polymorphic_on:
                setattr(new, attribute, mapper.polymorphic_identity)
        session.add(new)
        session.flush()
        written.inserted(mapper, new, changed, self._version.name, frozenset(children[-1:]))
        return new

    def _value(
        self,
        session: orm.Session,
        mapper: orm.Mapper[Any],
        column: sa.Column[Any],
        number: int,
        variant: Variant,
        written: WrittenRows,
        children: tuple[str, ...],
    ) -> Any:
        target = _referenced(mapper, column)
        if target is None:
            return self._values.value(column, number, variant.member)
        name, parent = table_name(mapper.local_table), self._version.mapper_of.get(target.table.fullname)
        if target.table.fullname in (name, *children):
            return _none(column)
        if parent is None:
            return session.scalar(sa.select(target).limit(1))
        new = self._insert(session, parent, Variant("", least=False), written, (*children, name))
        if new is None:
            return session.scalar(sa.select(target).limit(1))
        return getattr(new, parent.get_property_by_column(target).key)


def settable(mapper: orm.Mapper[Any]) -> Iterator[tuple[str, sa.Column[Any]]]:
    """Yields the columns that an UPDATE may change: no keys, no references, nothing that is computed."""
    for attribute, column in columns_of(mapper):
        if _is_set(mapper, column, least=False) and not (column.primary_key or column.foreign_keys):
            yield attribute, column


def _is_set(mapper: orm.Mapper[Any], column: sa.Column[Any], *, least: bool) -> bool:
    """Returns True if the application gives a value for the column."""
    if column is mapper.polymorphic_on or column is mapper.version_id_col or column.computed is not None:
        return False
    if column.primary_key:
        return column.table.autoincrement_column is not column
    if column.identity is not None and column.identity.always:
        return False
    has_default = column.default is not None or column.server_default is not None
    return not (least and (column.nullable or has_default))


def _referenced(mapper: orm.Mapper[Any], column: sa.Column[Any]) -> sa.Column[Any] | None:
    """Returns the column of another table that *column* references; None: there is none."""
    for key in column.foreign_keys:
        if key.column.table not in mapper.tables or key.column.table is column.table:
            return key.column
    return None


def _none(column: sa.Column[Any]) -> None:
    """The end of a cycle of references. Raises :class:`~online_migrate.exceptions.NoValue`."""
    if not column.nullable:
        raise exceptions.NoValue(column=f"{column.table}.{column.name}", type="a reference in a cycle")
