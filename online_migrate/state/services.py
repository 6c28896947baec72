"""The services that report to this database. Each process has a row, which its heartbeat updates.

All times are in seconds of the server's clock, because the clocks of several hosts never agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.dialects import dialect_of
from online_migrate.state.tables import contracted, service
from online_migrate.state.told import storable

SERVICE_TABLE = service.name
NOW = "server_time"
"""The name of the server's clock in a row of :func:`service_rows`."""
_LAST_CHANGE = sa.select(sa.func.coalesce(sa.func.max(contracted.c.number), 0)).scalar_subquery()


@dataclasses.dataclass(frozen=True)
class NewService:
    """What a process reports of itself when it starts."""

    id: str
    service: str
    host: str
    process: str
    code_release: str | None
    survives: str
    """JSON text: the ids of the contract revisions that its code survives."""
    versions: str
    """JSON text: named versions."""
    dead_after: int


def service_rows(connection: Connection) -> list[Mapping[str, Any]]:
    """Returns the rows as they are stored, with the server's clock as :data:`NOW`, in the order of names.

    Raises one of :data:`~online_migrate.driver_errors.DATABASE_ERRORS` if the table cannot be read.
    """
    now = dialect_of(connection).epoch().label(NOW)
    order = (service.c.service, service.c.host, service.c.id)
    return [dict(row._mapping) for row in connection.execute(sa.select(service, now).order_by(*order))]


def service_row(connection: Connection, id: str) -> Mapping[str, Any] | None:
    """Returns the row of one process, or None."""
    row = connection.execute(sa.select(service).where(service.c.id == id)).one_or_none()
    return None if row is None else dict(row._mapping)


def insert_service(connection: Connection, new: NewService) -> None:
    """Registers a process."""
    epoch = dialect_of(connection).epoch()
    texts = {
        name: storable(connection, text)
        for name, text in dataclasses.asdict(new).items()
        if name != "dead_after"
    }
    connection.execute(
        sa.insert(service).values(**texts, dead_after=new.dead_after, beats=0, started=epoch, heartbeat=epoch)
    )


class Beat:
    """The statement of a heartbeat, built once. It is one round trip, on a connection in autocommit mode."""

    def __init__(self, connection: Connection) -> None:
        mine = service.c.id == sa.bindparam("service_id")
        values = {"heartbeat": dialect_of(connection).epoch(), "beats": service.c.beats + 1}
        unchanged = (
            service.c.beats == sa.bindparam("sent"),
            service.c.forced_down.is_(None),
            service.c.stopped.is_(None),
            sa.bindparam("seen", type_=sa.BigInteger) == _LAST_CHANGE,
        )
        self._if_unchanged = sa.update(service).where(mine, *unchanged).values(**values)
        # Times do not show that a process runs again after it was forced down: the clock may be set back.
        runs = {"stopped": None, "forced_down": None}
        self._always = sa.update(service).where(mine).values(**values, **runs)

    def send(self, connection: Connection, id: str, *, sent: int, seen: int) -> bool:
        """Updates the heartbeat, and returns True, if nothing has changed since the last one.

        *sent*: the number of heartbeats that this process has sent; another number in the row is that of
        another process. *seen*: the last change of the contract revisions that the process has read.
        """
        values = {"service_id": id, "sent": sent, "seen": seen}
        return connection.execute(self._if_unchanged, values).rowcount > 0

    def send_anyway(self, connection: Connection, id: str) -> bool:
        """Updates the heartbeat of a process for which something has changed, and removes its end.

        Returns False if its row was deleted.
        """
        return connection.execute(self._always, {"service_id": id}).rowcount > 0


def mark_stopped(connection: Connection, id: str) -> None:
    """Records that a process has stopped cleanly."""
    stopped = dialect_of(connection).epoch()
    connection.execute(sa.update(service).where(service.c.id == id).values(stopped=stopped))


def force_down(connection: Connection, id: str, by: str) -> bool:
    """Records that an operator vouches that a process has ended; returns False if it has no row.

    *by*: the operator and the reason.
    """
    values = {"forced_down": dialect_of(connection).epoch(), "forced_by": storable(connection, by)}
    return connection.execute(sa.update(service).where(service.c.id == id).values(**values)).rowcount > 0


def delete_services(connection: Connection, beats: Mapping[str, Any]) -> int:
    """Deletes rows, and returns their number.

    *beats*: id -> the number of heartbeats when the row was read. A row that got another heartbeat since then
    is not deleted.
    """
    return sum(
        connection.execute(sa.delete(service).where(service.c.id == id, service.c.beats == number)).rowcount
        for id, number in beats.items()
    )
