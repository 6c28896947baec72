"""The rows with which the latency probe measures latency, and with which the lag of a replica is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.state.tables import latency_probe, this_runner
from online_migrate.state.workers import Epoch

_FORGOTTEN = 86_400
"""Seconds after its last write after which the row of a killed process is deleted."""
_ALIVE = 10
"""Seconds without a write after which a process is considered dead."""

_READ = sa.select(latency_probe.c.beat).where(latency_probe.c.id == sa.bindparam("probe_id"))
_BEAT = sa.update(latency_probe).where(latency_probe.c.id == sa.bindparam("probe_id"))


def insert(connection: Connection, id: str, epoch: Epoch) -> None:
    """Creates the probe row of this process, and deletes rows whose last write is more than a day old.

    *epoch*: the server's clock, in seconds.
    """
    connection.execute(sa.delete(latency_probe).where(latency_probe.c.seen < epoch - _FORGOTTEN))
    if connection.execute(_BEAT.values(seen=epoch), {"probe_id": id}).rowcount:
        return
    values: Mapping[str, Any] = {"id": id, "runner": this_runner(), "beat": 0, "seen": epoch}
    connection.execute(sa.insert(latency_probe).values(**values))


def read(connection: Connection, id: str) -> int | None:
    """Reads the number in the probe row. On a replica this is the last probe write that was replicated."""
    beat: int | None = connection.scalar(_READ, {"probe_id": id})
    return beat


def write(connection: Connection, id: str, number: int, epoch: Epoch) -> None:
    """Writes *number* to the probe row."""
    values = {"probe_id": id, "number": number}
    connection.execute(_BEAT.values(beat=sa.bindparam("number"), seen=epoch), values)


def record_baseline(connection: Connection, id: str, read: float, write: float) -> None:
    """Records the baseline latency of this process: seconds of a read and a write while no migration ran.

    Processes that start while this one migrates rows use it as their baseline.
    """
    connection.execute(_BEAT.values(read_time=read, write_time=write), {"probe_id": id})


def peer_baseline(connection: Connection, id: str, epoch: Epoch) -> tuple[float, float] | None:
    """Returns the shortest baseline (read, write), in seconds, that other live processes have recorded.

    None if no other live process has recorded one.
    """
    others = sa.select(sa.func.min(latency_probe.c.read_time), sa.func.min(latency_probe.c.write_time)).where(
        latency_probe.c.id != id, latency_probe.c.seen >= epoch - _ALIVE
    )
    read, write = connection.execute(others).one()
    return None if read is None or write is None else (read, write)


def delete(connection: Connection, id: str) -> None:
    """Deletes the probe row of this process."""
    connection.execute(sa.delete(latency_probe).where(latency_probe.c.id == id))
