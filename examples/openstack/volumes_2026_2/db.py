"""The table of volumes in release 2026.2: both columns during the upgrade, ``size_bytes`` after contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import sqlalchemy as sa
from database import DATABASE_ERRORS, T, repeated
from oslo_db.exception import RetryRequest

from online_migrate.exceptions import OnlineMigrateError
from online_migrate.openstack.lazy_rows import LazyRows, RowChanged

from .data_migrations import GIB, volume_bytes

volumes = sa.Table(
    "volumes",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("host", sa.String(80)),
    sa.Column("size", sa.Integer),
    sa.Column("size_bytes", sa.BigInteger),
)


class Shape(Protocol):
    """How rows are read and written. Each method runs in the transaction of the caller."""

    def create(self, connection: sa.Connection, host: str, size_bytes: int) -> int:
        """Inserts a volume, and returns its id."""

    def get(self, connection: sa.Connection, volume_id: int) -> tuple[str, int]:
        """Returns the host and the size of a volume."""

    def resize(self, connection: sa.Connection, volume_id: int, size_bytes: int) -> None:
        """Sets the size of a volume."""


class DuringUpgrade:
    """Old code reads and writes ``size`` at the same time: a row is migrated when it is loaded."""

    def __init__(self) -> None:
        self._rows = LazyRows(volume_bytes)

    def create(self, connection: sa.Connection, host: str, size_bytes: int) -> int:
        """Writes both columns."""
        insert = sa.insert(volumes).values(host=host, size=size_bytes // GIB, size_bytes=size_bytes)
        return connection.execute(insert).inserted_primary_key[0]

    def get(self, connection: sa.Connection, volume_id: int) -> tuple[str, int]:
        """Reads ``size_bytes``, which is correct after the load."""
        row = self._rows.load(connection, id=volume_id)
        return row["host"], row["size_bytes"]

    def resize(self, connection: sa.Connection, volume_id: int, size_bytes: int) -> None:
        """Writes both columns."""
        row = self._rows.load(connection, id=volume_id)
        self._rows.save(connection, row, size=size_bytes // GIB, size_bytes=size_bytes)


class AfterContract:
    """``size_bytes`` only."""

    def create(self, connection: sa.Connection, host: str, size_bytes: int) -> int:
        """Writes the new column."""
        insert = sa.insert(volumes).values(host=host, size_bytes=size_bytes)
        return connection.execute(insert).inserted_primary_key[0]

    def get(self, connection: sa.Connection, volume_id: int) -> tuple[str, int]:
        """Reads the new column."""
        query = sa.select(volumes.c.host, volumes.c.size_bytes).where(volumes.c.id == volume_id)
        return tuple(connection.execute(query).one())

    def resize(self, connection: sa.Connection, volume_id: int, size_bytes: int) -> None:
        """Writes the new column."""
        where = volumes.c.id == volume_id
        connection.execute(sa.update(volumes).where(where).values(size_bytes=size_bytes))


class VolumeTable:
    """The rows. Each method is a transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._shape: Shape = AfterContract() if self._is_contracted() else DuringUpgrade()

    def create(self, host: str, size_bytes: int) -> int:
        """Inserts a volume, and returns its id."""
        return self._transaction(lambda shape, connection: shape.create(connection, host, size_bytes))

    def get(self, volume_id: int) -> tuple[str, int]:
        """Returns the host and the size of a volume."""
        return self._transaction(lambda shape, connection: shape.get(connection, volume_id))

    def resize(self, volume_id: int, size_bytes: int) -> None:
        """Sets the size of a volume."""
        self._transaction(lambda shape, connection: shape.resize(connection, volume_id, size_bytes))

    def _transaction(self, work: Callable[[Shape, sa.Connection], T]) -> T:
        """Returns the result of *work*, which is repeated if the row or the table has changed meanwhile."""

        def once() -> T:
            shape = self._shape
            try:
                with self._engine.begin() as connection:
                    return work(shape, connection)
            except RowChanged as error:
                raise RetryRequest(error) from error
            except (*DATABASE_ERRORS, OnlineMigrateError) as error:
                # LazyRows raises an error of its own if the column is gone before its first use.
                if isinstance(shape, AfterContract) or not self._is_contracted():
                    raise
                self._shape = AfterContract()
                raise RetryRequest(error) from error

        return repeated(once)

    def _is_contracted(self) -> bool:
        columns = sa.inspect(self._engine).get_columns("volumes")
        return all(column["name"] != "size" for column in columns)
