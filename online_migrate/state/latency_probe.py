"""The rows by which we feel what users feel, and by which a replica shows how far behind it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.state.tables import canary, this_runner
from online_migrate.state.workers import Epoch

_FORGOTTEN = 86_400
"""Seconds after which the row of a process that was killed is taken away."""
_ALIVE = 10
"""Seconds without a beat after which a process counts as gone."""

_READ = sa.select(canary.c.beat).where(canary.c.id == sa.bindparam("canary"))
_BEAT = sa.update(canary).where(canary.c.id == sa.bindparam("canary"))


def insert(connection: Connection, id: str, epoch: Epoch) -> None:
    """Makes the row of this process."""
    connection.execute(sa.delete(canary).where(canary.c.seen < epoch - _FORGOTTEN))
    if connection.execute(_BEAT.values(seen=epoch), {"canary": id}).rowcount:
        return
    values: Mapping[str, Any] = {"id": id, "runner": this_runner(), "beat": 0, "seen": epoch}
    connection.execute(sa.insert(canary).values(**values))


def read(connection: Connection, id: str) -> int | None:
    """The tiny read; on a replica: how much of our writing has arrived there."""
    beat: int | None = connection.scalar(_READ, {"canary": id})
    return beat


def write(connection: Connection, id: str, number: int, epoch: Epoch) -> None:
    """The tiny write."""
    values = {"canary": id, "number": number}
    connection.execute(_BEAT.values(beat=sa.bindparam("number"), seen=epoch), values)


def record_baseline(connection: Connection, id: str, read: float, write: float) -> None:
    """For others who come while we work: what it was, in seconds, when nobody worked."""
    connection.execute(_BEAT.values(read_time=read, write_time=write), {"canary": id})


def peer_baseline(connection: Connection, id: str, epoch: Epoch) -> tuple[float, float] | None:
    """The quickest read and write at rest that any other living process has noted."""
    others = sa.select(sa.func.min(canary.c.read_time), sa.func.min(canary.c.write_time)).where(
        canary.c.id != id, canary.c.seen >= epoch - _ALIVE
    )
    read, write = connection.execute(others).one()
    return None if read is None or write is None else (read, write)


def delete(connection: Connection, id: str) -> None:
    """Takes the row of this process away."""
    connection.execute(sa.delete(canary).where(canary.c.id == id))
