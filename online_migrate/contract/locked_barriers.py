"""Drops the barriers of the data migrations that a contract revision requires, in its locked section.

A barrier that reads a dropped column breaks every write of the table, so it is dropped before the column,
while the lock of the table keeps all writers away. On a cluster the lock keeps away the writers of one node
only: there the barrier is dropped right after the column, and writes that the other nodes try in between
fail.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from online_migrate import state
from online_migrate.dialects import Dialect
from online_migrate.state import BarrierState, Verification

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class LockedBarriers:
    """The barriers of one contract revision.

    *required*: the data migrations that it requires. *records*: the connection that writes the bookkeeping
    tables.
    """

    def __init__(
        self, dialect: Dialect, connection: Connection, records: Connection, required: Sequence[str]
    ) -> None:
        self._dialect = dialect
        self._connection = connection
        self._records = records
        self._required = required
        self._left: dict[str, Verification] = {}
        self.lock_stops_all_writers = True

    def read(self) -> None:
        """Reads which barriers there are; called before the tables are locked."""
        self.lock_stops_all_writers = self._dialect.lock_stops_all_writers(self._connection)
        found = state.all_verifications(self._records)
        self._left = {
            name: found[name] for name in self._required if name in found and found[name].barrier is not None
        }
        self._commit()

    def drop_before(self) -> None:
        """Drops all barriers, before a statement that the lock of all writers protects."""
        if self.lock_stops_all_writers:
            self.drop(self._required)

    def drop(self, names: Collection[str]) -> None:
        """Drops the barriers of the data migrations *names*."""
        for name in [name for name in self._left if name in names]:
            one = self._left.pop(name)
            state.set_barrier(self._records, name, BarrierState.REMOVING)
            self._commit()
            assert one.barrier is not None
            for statement in self._dialect.drop_barrier(
                self._connection, one.barrier, one.table_name, one.schema_name
            ):
                self._connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
            state.delete_verification(self._records, name)
            self._commit()

    def _commit(self) -> None:
        if self._records is not self._connection:
            self._records.commit()
