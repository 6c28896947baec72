"""The syncs of a phase: what their triggers assign after a write, and whether both shapes agree."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import orm

from online_migrate.contract.sync_rows import OUT_OF_STEP, tables_of
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.prove.blame import names_table
from online_migrate.prove.sync_checks import compared, row_of_target
from online_migrate.prove.synced import Assigned, Name, Shape, Sync, Write
from online_migrate.state import RecordedSync, recorded_syncs
from online_migrate.sync.comparison import column_of, target_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class Syncs:
    """The syncs that are recorded, as far as their columns exist. They are read once."""

    def __init__(self, connection: Connection) -> None:
        self.comparable = dialect_of(connection).comparable
        """Returns a name in a form in which two names of one object are equal."""
        self._schema = sa.inspect(connection).default_schema_name
        found = ((sync, tables_of(connection, sync)) for sync in recorded_syncs(connection))
        self._syncs = [self._sync(sync, tables) for sync, tables in found if tables is not None]

    def _sync(self, recorded: RecordedSync, tables: Collection[sa.Table]) -> Sync:
        table, *others = tables
        other = others[0] if others else table
        keys = target_key(recorded)

        def shape(of: sa.Table, assigned: Mapping[str, str], read_by: Mapping[str, str]) -> Shape:
            used = {
                name
                for name in recorded.columns_used[of.name]
                if any(names_table(text, name) for text in read_by.values())
            }
            pairs = keys.values() if of is table else keys
            return Shape(
                of,
                frozenset(self._name(of, name) for name in used | set(assigned)),
                frozenset(self._name(of, name) for name in assigned),
                tuple(self._name(of, name) for name in pairs),
            )

        old = shape(table, recorded.backward, recorded.forward)
        return Sync(recorded, tuple(tables), old, shape(other, recorded.forward, recorded.backward))

    def _name(self, table: sa.FromClause, column: str) -> Name:
        schema, name = getattr(table, "schema", None), getattr(table, "name", str(table))
        return self.comparable(f"{schema or self._schema}.{name}"), self.comparable(column)

    def write(
        self, mapper: orm.Mapper[Any], loaded: object, columns: Collection[sa.Column[Any]], *, inserted: bool
    ) -> Write:
        """Returns the write of an object that was flushed. *columns*: those that were set."""
        given = set(columns)
        key: dict[Name, sa.BindParameter[Any]] = {}
        known: dict[Name, sa.BindParameter[Any]] = {}
        for attribute in mapper.column_attrs:
            for column in attribute.columns:
                if not isinstance(column, sa.Column):
                    continue
                in_key = column.primary_key or column in mapper.primary_key
                if in_key or column in given:
                    value = sa.literal(getattr(loaded, attribute.key), column.type)
                    known[self._name(column.table, column.name)] = value
                    if in_key:
                        key[self._name(column.table, column.name)] = value
        names = frozenset(self._name(column.table, column.name) for column in columns)
        return Write(inserted, names, key, known)

    def assigned(self, write: Write) -> Iterator[Assigned]:
        """Yields what triggers may have assigned after a write, so that it is no longer as it was written."""
        for sync in self._syncs:
            shapes = sync.written(write)
            if shapes is None:
                continue
            written, other = shapes
            if not written.keys:
                [table] = {table for table, _ in written.columns}
                key = {name: value for name, value in write.key.items() if name[0] == table}
            elif write.inserted or not write.columns & set(written.keys):
                pairs = zip(written.keys, other.keys, strict=True)
                key = {theirs: write.known[mine] for mine, theirs in pairs if mine in write.known}
            else:
                key = {}  # the row belongs to another one than before: both may have changed
            yield Assigned(other.assigned, key)

    def problems(self, connection: Connection, write: Write) -> Iterator[tuple[str, str, str]]:
        """Yields the check, the sync and the reason of each sync with which a written row does not agree.

        Of a row whose shapes were both written nothing is known: generated values do not agree.
        """
        for sync in self._syncs:
            shapes = sync.written(write)
            if shapes is None and (
                not write.inserted or write.columns & (sync.old.columns | sync.new.columns)
            ):
                continue
            row = self._row(connection, sync, write)
            if row is None:
                continue
            name = sync.recorded.name
            try:
                for check, reason in compared(connection, sync, row, shapes and shapes[0]):
                    yield check, name, f"sync {name}: {reason}"
            except DATABASE_ERRORS as error:
                connection.rollback()
                reason = f"sync {name}: the two shapes of the row cannot be compared: {error_message(error)}"
                yield OUT_OF_STEP, name, reason

    def _row(self, connection: Connection, sync: Sync, write: Write) -> sa.ColumnElement[bool] | None:
        """Returns the condition of the written row in the first table; None: the sync has no such row."""
        for table in sync.tables:
            of_table = self._name(table, "")[0]
            key = {name: value for (of, name), value in write.key.items() if of == of_table}
            if not key:
                continue
            columns = ((column_of(connection, table, name), value) for name, value in key.items())
            equal = [column == value for column, value in columns if column is not None]
            if len(equal) < len(key):
                return None  # the models do not match the table, which is reported
            found = sa.and_(*equal)
            if table is sync.tables[0]:
                return found
            return row_of_target(connection, sync, found)
        return None
