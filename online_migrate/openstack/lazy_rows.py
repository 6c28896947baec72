"""Rows that an application migrates when it uses them, beside the data migration that migrates all of them.

Both use the ``pending`` and the values of the same :class:`~online_migrate.Backfill`, so a row that was
migrated here is not counted any more. Invariants: a row is migrated by one UPDATE whose values are computed
from what the row has at that moment, and only while it is pending; a row is saved only if it has not changed
since it was loaded. So no value that another session has written meanwhile, by old code for example, is lost.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.exceptions import DataMigrationBroken, Refused, UsageError
from online_migrate.kinds.backfill import Backfill
from online_migrate.kinds.bound import BoundMigration
from online_migrate.openstack.seen_row import SeenRow

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["LazyRows", "LoadedRow", "RowChanged", "RowStillPending"]


class RowChanged(Refused):
    """Row {key} of {table} was changed, or deleted, since it was loaded. Nothing was written."""

    default_hint = "roll back, load the row in a new transaction, and repeat the change"


class RowStillPending(Refused):
    """Row {key} of {table} is pending for data migration {name!r} after {what}."""


@dataclasses.dataclass(frozen=True)
class LoadedRow(Mapping[str, Any]):
    """The values of a row, by the names of its columns, as they were loaded."""

    key: Mapping[str, Any]
    values_by_name: Mapping[str, Any]
    seen: SeenRow = dataclasses.field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


class LazyRows:
    """The rows of the table of *migration*, in one database. One object serves all threads of a process.

    Its code uses the old columns. So a process that uses it does not survive the contract revision that drops
    them, and reports that to the registry of services.

    Raises :class:`~online_migrate.exceptions.DataMigrationBroken` if *migration* has no ``pending``.
    """

    def __init__(self, migration: Backfill) -> None:
        if not migration.has_pending:
            raise DataMigrationBroken(name=migration.name, reason="it has no pending, which LazyRows needs")
        self._migration = migration
        self._lock = threading.Lock()
        self._bound: BoundMigration | None = None

    def load(self, connection: Connection, **key: Any) -> LoadedRow | None:
        """Returns a row, which is migrated first if it is pending; None if there is no such row.

        *key*: a value for each column of the primary key. The row is locked until the end of the transaction
        if it was pending.

        Raises :class:`RowStillPending` if it is pending even after that.
        """
        bound = self._bind(connection)
        row, pending = self._read(connection, bound, key)
        if not pending:
            return row
        assert bound.pending is not None
        connection.execute(self._migration.update(bound).where(self._where(bound, key), bound.pending))
        # Read again, also if the UPDATE found the row migrated by another session: the transaction may have
        # a snapshot from before, and a locking read returns what is there.
        row, pending = self._read(connection, bound, key, lock=True)
        if pending:
            raise self._pending(bound, key, "its values were set", "correct the row, or values= and pending=")
        return row

    def save(self, connection: Connection, row: LoadedRow, **values: Any) -> LoadedRow:
        """Writes *values* to a row that was loaded, and returns the row as it is then.

        The values of the old columns are to be given as well, so that old code reads what new code writes.

        Raises :class:`RowChanged` if another session has changed the row since it was loaded, and
        :class:`RowStillPending` if the row would be pending: the data migration would overwrite the values.
        The transaction has to be rolled back then.
        """
        bound = self._bind(connection)
        where = self._where(bound, row.key)
        unknown = values.keys() - (bound.subject.table.c.keys() - row.key.keys())
        if unknown or not values:
            raise UsageError(
                message=f"save() needs columns of {self._table(bound)} beside its key, not {sorted(unknown)}"
            )
        update = sa.update(bound.subject.table).where(where, row.seen.is_unchanged).values(values)
        if connection.execute(update).rowcount == 0:
            raise RowChanged(key=_shown(row.key), table=self._table(bound))
        saved, pending = self._read(connection, bound, row.key)
        if pending:
            hint = "save the old columns, too, with values from which the data migration derives the new ones"
            raise self._pending(bound, row.key, f"{', '.join(values)} were saved", hint)
        assert saved is not None
        return saved

    def _bind(self, connection: Connection) -> BoundMigration:
        with self._lock:
            if self._bound is None:
                self._bound = BoundMigration.bind(connection, self._migration)
            return self._bound

    def _where(self, bound: BoundMigration, key: Mapping[str, Any]) -> sa.ColumnElement[bool]:
        columns = {column.key: column for column in bound.chunker.columns}
        if key.keys() != columns.keys():
            raise UsageError(message=f"the key of {self._table(bound)} is {', '.join(columns)}")
        return sa.and_(*(column == key[name] for name, column in columns.items()))

    def _read(
        self, connection: Connection, bound: BoundMigration, key: Mapping[str, Any], *, lock: bool = False
    ) -> tuple[LoadedRow | None, bool]:
        """Returns the row, and whether it is pending."""
        table = bound.subject.table
        seen = SeenRow.expressions(connection, bound.dialect, table)
        assert bound.pending is not None
        flag = sa.case((bound.pending, 1), else_=0)
        query = sa.select(flag, *seen, *table.c).where(self._where(bound, key))
        found = connection.execute(query.with_for_update() if lock else query).first()
        if found is None:
            return None, False
        pending, at, values = found[0], found[1 : 1 + len(seen)], found[1 + len(seen) :]
        loaded = dict(zip(table.c.keys(), values, strict=True))
        return LoadedRow(key, loaded, SeenRow(seen, tuple(at))), bool(pending)

    def _pending(
        self, bound: BoundMigration, key: Mapping[str, Any], what: str, hint: str
    ) -> RowStillPending:
        return RowStillPending(
            key=_shown(key), table=self._table(bound), name=self._migration.name, what=what, hint=hint
        )

    @staticmethod
    def _table(bound: BoundMigration) -> str:
        return str(bound.subject.table.name)


def _shown(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in key.items())
