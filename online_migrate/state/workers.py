"""The workers of a data migration, the key ranges that they hold, and the progress of assigning ranges.

A walk assigns key ranges of several chunks each, in the order of the key. A worker holds one key range at a
time. Its row in this table is its lease: the row contains the key after which the range is still to be
processed, and it is updated in the transaction of each chunk. A worker that takes over the key range of a
dead worker deletes the row of the dead worker, so that a worker that was only suspended detects the loss of
its lease before it commits. (The column ``extent`` holds the number of the key range.)
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.dialects import dialect_of
from online_migrate.state.tables import now, this_runner, walk, worker
from online_migrate.state.told import storable

Epoch = sa.ColumnElement[int]
"""The server's clock as a SQL expression, in whole seconds: the clocks of several hosts never agree."""


@dataclasses.dataclass(frozen=True)
class Walk:
    """How far the key ranges of one data migration have been assigned."""

    name: str
    run: str
    """The id of the run; a row that fails is tried once in a run."""
    sweep: int
    """0: the walk over the whole table; above 0: the number of the sweep for rows that are pending again."""
    frontier: str | None
    """The encoded key up to which ranges have been assigned."""
    handed_out: bool
    """True: no rows are left above the frontier."""
    extents: int
    """The number of key ranges assigned so far, which is also the number of the last one."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """A worker, and the key range that it holds."""

    id: str
    name: str
    runner: str
    range_number: int | None
    """The number of the key range that it holds; a lower number is a lower key range."""
    lower_key: str | None
    upper_key: str | None
    done: int
    """Migrated rows that are not yet added to the record."""
    seconds_since_heartbeat: int
    """Seconds since its last heartbeat."""
    started_at: datetime.datetime
    chunk_size: int | None
    rate: float | None
    waits_for: str | None
    released: bool = False
    """True: the worker has ended and released its key range to the other workers; its heartbeat is 0."""


# --- the walk ------------------------------------------------------------------------------------


def get_walk(connection: Connection, name: str, *, for_update: bool = False) -> Walk | None:
    """Returns the walk of data migration *name*, or None.

    *for_update*: locks the row, so that no other session advances the walk before this transaction ends.
    """
    query = sa.select(walk).where(walk.c.name == name)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    return None if row is None else Walk(**(dict(row._mapping) | {"handed_out": bool(row.handed_out)}))


def put_walk(connection: Connection, new: Walk, *, known: bool) -> None:
    """Writes the progress of a walk; the caller must hold the lock on the record of the data migration.

    *known*: the row exists and is updated; otherwise it is inserted.
    """
    values = dataclasses.asdict(new)
    if not known:
        connection.execute(sa.insert(walk).values(**values))
        return
    connection.execute(sa.update(walk).where(walk.c.name == values.pop("name")).values(**values))


# --- the workers ---------------------------------------------------------------------------------


def workers_of(connection: Connection, name: str, epoch: Epoch) -> list[Worker]:
    """Returns the registered workers of data migration *name*, the one with the lowest key range first."""
    rows = connection.execute(_workers(epoch).where(worker.c.name == name))
    found = [_worker(row) for row in rows]
    return sorted(found, key=lambda one: (one.range_number is None, one.range_number or 0, one.id))


def _workers(epoch: Epoch) -> sa.Select[Any]:
    as_they_are = [column for column in worker.c if column.name not in ("heartbeat", "extent")]
    return sa.select(
        *as_they_are,
        worker.c.extent.label("range_number"),
        (epoch - worker.c.heartbeat).label("seconds_since_heartbeat"),
        (worker.c.heartbeat == 0).label("released"),
    )


def _worker(row: sa.Row[Any]) -> Worker:
    values = dict(row._mapping)
    values["seconds_since_heartbeat"] = int(values["seconds_since_heartbeat"])
    values["released"] = bool(values["released"])
    return Worker(**values)


def has_workers(connection: Connection) -> bool:
    """Returns False if the state was made by an older engine; commands that only read do not upgrade it."""
    return dialect_of(connection).has_table(connection, worker.name)


def register(connection: Connection, id: str, name: str, epoch: Epoch) -> None:
    """Registers a new worker, which holds no key range yet."""
    connection.execute(
        sa.insert(worker).values(
            id=id, name=name, runner=this_runner(), done=0, heartbeat=epoch, started_at=now()
        )
    )


def assign_range(
    connection: Connection, id: str, name: str, key_range: int, lower: str | None, upper: str, epoch: Epoch
) -> int:
    """Assigns a key range to worker *id*; registers the worker again if it was removed as dead.

    Returns the number of rows that the worker has migrated and that are not in the record yet.
    """
    done = connection.scalar(sa.select(worker.c.done).where(worker.c.id == id).with_for_update())
    if done is None:
        register(connection, id, name, epoch)
    held = {"extent": key_range, "lower_key": lower, "upper_key": upper}
    _update(connection, worker.c.id == id, done=0, heartbeat=epoch, **held)
    return int(done or 0)


class Advance:
    """Advances the lower bound of a worker's lease in the transaction of each chunk.

    The statements are built once, because they are executed for every chunk.
    """

    def __init__(self, epoch: Epoch) -> None:
        mine = sa.and_(worker.c.id == sa.bindparam("worker"), worker.c.extent == sa.bindparam("held"))
        any_case = {"done": worker.c.done + sa.bindparam("more"), "heartbeat": epoch}
        nothing = {"extent": None, "lower_key": None, "upper_key": None}
        begun = {True: worker.c.lower_key == sa.bindparam("before"), False: worker.c.lower_key.is_(None)}
        self._on = {
            known: sa.update(worker).where(mine, there).values(**any_case, lower_key=sa.bindparam("lower"))
            for known, there in begun.items()
        }
        self._off = {
            known: sa.update(worker).where(mine, there).values(**any_case, **nothing)
            for known, there in begun.items()
        }

    def __call__(
        self,
        connection: Connection,
        id: str,
        key_range: int,
        *,
        before: str | None,
        lower: str | None,
        done: int,
    ) -> bool:
        """Advances the lease from *before* to *lower*.

        *before*: the encoded key at which the lease begins; None: the start of the table.
        *lower*: the encoded key up to which the rows are done; None: the key range is finished.

        Returns False if the caller must roll back: the worker no longer holds the key range, or the lease
        does not begin at *before*, because that chunk is committed already.
        """
        values: dict[str, Any] = {"worker": id, "held": key_range, "more": done}
        known = before is not None
        if known:
            values["before"] = before
        if lower is None:
            return connection.execute(self._off[known], values).rowcount > 0
        return connection.execute(self._on[known], values | {"lower": lower}).rowcount > 0


def update_heartbeat(connection: Connection, facts: Mapping[str, Mapping[str, Any]], epoch: Epoch) -> None:
    """Updates the heartbeats of workers.

    *facts*: worker id -> the values of ``chunk_size``, ``rate`` and ``waits_for``, as far as they are known.
    """
    for id, values in facts.items():
        said = {"waits_for": storable(connection, values["waits_for"])} if "waits_for" in values else {}
        _update(connection, worker.c.id == id, heartbeat=epoch, **{**values, **said})


def lock_worker(connection: Connection, id: str, epoch: Epoch) -> Worker | None:
    """Locks the row of worker *id*, so that its chunk has to wait before it commits, and returns it.

    A row that was read before it was locked may be out of date: a chunk can commit in between. Returns None
    if the row is locked, because the worker is about to commit, or does not exist.
    """
    query = _workers(epoch).where(worker.c.id == id).with_for_update(skip_locked=True)
    row = connection.execute(query).one_or_none()
    return None if row is None else _worker(row)


def delete_worker(connection: Connection, id: str) -> int:
    """Deletes worker *id*; returns the number of its migrated rows that are not in the record yet."""
    done = connection.scalar(sa.select(worker.c.done).where(worker.c.id == id).with_for_update())
    connection.execute(sa.delete(worker).where(worker.c.id == id))
    return int(done or 0)


def unrecorded_done(connection: Connection, name: str) -> int:
    """Returns the number of rows that the workers of *name* have migrated and its record does not contain."""
    if not has_workers(connection):
        return 0
    return int(connection.scalar(sa.select(sa.func.sum(worker.c.done)).where(worker.c.name == name)) or 0)


def watermark(walk: Walk | None, workers: Sequence[Worker]) -> str | None:
    """Returns the encoded key up to which every row has been processed.

    It is correct in whatever order chunks are finished; None: the start of the table.
    """
    held = [one for one in workers if one.range_number is not None]
    if held:
        return min(held, key=lambda one: one.range_number or 0).lower_key
    return None if walk is None else walk.frontier


def _update(connection: Connection, condition: sa.ColumnElement[bool], **values: Any) -> bool:
    return connection.execute(sa.update(worker).where(condition).values(**values)).rowcount > 0
