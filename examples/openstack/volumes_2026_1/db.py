"""The table of volumes in release 2026.1: the column ``size``, in GiB."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from database import T, repeated

volumes = sa.Table(
    "volumes",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("host", sa.String(80)),
    sa.Column("size", sa.Integer),
)


class VolumeTable:
    """The rows. Each method is a transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(self, host: str, size: int) -> int:
        """Inserts a volume, and returns its id."""
        insert = sa.insert(volumes).values(host=host, size=size)
        return self._transaction(lambda connection: connection.execute(insert).inserted_primary_key[0])

    def get(self, volume_id: int) -> tuple[str, int]:
        """Returns the host and the size of a volume."""
        query = sa.select(volumes.c.host, volumes.c.size).where(volumes.c.id == volume_id)
        return self._transaction(lambda connection: tuple(connection.execute(query).one()))

    def resize(self, volume_id: int, size: int) -> None:
        """Sets the size of a volume."""
        update = sa.update(volumes).where(volumes.c.id == volume_id).values(size=size)
        self._transaction(lambda connection: connection.execute(update))

    def _transaction(self, work: Callable[[sa.Connection], T]) -> T:
        def once() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        return repeated(once)
