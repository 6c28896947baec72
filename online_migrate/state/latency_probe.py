"""The rows with which the latency probe measures latency, and with which the lag of a replica is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.state.tables import canary, this_runner
from online_migrate.state.workers import Epoch

_FORGOTTEN = 86_400
"""Seconds after its last write after which the row of a killed process is deleted."""
_ALIVE = 10
"""Seconds without a write after which a process is considered dead."""

_READ = sa.select(canary.c.beat).where(canary.c.id == sa.bindparam("canary"))
_BEAT = sa.update(canary).where(canary.c.id == sa.bindparam("canary"))


def insert(connection: Connection, id: str, epoch: Epoch) -> None:
    """Creates the probe row of this process, and deletes rows whose last write is more than a day old.

    *epoch*: the server's clock, in seconds.
    """
    connection.execute(sa.delete(canary).where(canary.c.seen < epoch - _FORGOTTEN))
    if connection.execute(_BEAT.values(seen=epoch), {"canary": id}).rowcount:
        return
    values: Mapping[str, Any] = {"id": id, "runner": this_runner(), "beat": 0, "seen": epoch}
    connection.execute(sa.insert(canary).values(**values))


def read(connection: Connection, id: str) -> int | None:
    """Reads the number in the probe row. On a replica this is the last probe write that was replicated."""
    beat: int | None = connection.scalar(_READ, {"canary": id})
    return beat


def write(connection: Connection, id: str, number: int, epoch: Epoch) -> None:
    """Writes *number* to the probe row."""
    values = {"canary": id, "number": number}
    connection.execute(_BEAT.values(beat=sa.bindparam("number"), seen=epoch), values)


def record_baseline(connection: Connection, id: str, read: float, write: float) -> None:
    """Records the baseline latency of this process: seconds of a read and a write while no migration ran.

    Processes that start while this one migrates rows use it as their baseline.
    """
    connection.execute(_BEAT.values(read_time=read, write_time=write), {"canary": id})


def peer_baseline(connection: Connection, id: str, epoch: Epoch) -> tuple[float, float] | None:
    """Returns the shortest baseline (read, write), in seconds, that other live processes have recorded.

    None if no other live process has recorded one.
    """
    others = sa.select(sa.func.min(canary.c.read_time), sa.func.min(canary.c.write_time)).where(
        canary.c.id != id, canary.c.seen >= epoch - _ALIVE
    )
    read, write = connection.execute(others).one()
    return None if read is None or write is None else (read, write)


def delete(connection: Connection, id: str) -> None:
    """Deletes the probe row of this process."""
    connection.execute(sa.delete(canary).where(canary.c.id == id))
