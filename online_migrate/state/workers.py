"""Who works on a data migration, on which keys, and how far the ranges of keys were handed out.

A walk hands out *extents*, ranges of some chunks each, in the order of the key. A worker holds one extent
at a time; its row here is its lease: it says from where on the extent is still to be done, and it moves in
the transaction of each chunk. Whoever takes over the extent of a dead worker deletes the dead one's row,
so that a worker that was only frozen finds out before it commits.
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
"""The server's own clock in SQL, in whole seconds: the clocks of several machines never agree."""


@dataclasses.dataclass(frozen=True)
class Walk:
    """How far the ranges of one data migration were handed out."""

    name: str
    run: str
    """Rows that fail are tried once in a run."""
    sweep: int
    """0: the walk over the whole table; above: how often we went back for pending rows."""
    frontier: str | None
    """The encoded key up to which ranges were handed out."""
    handed_out: bool
    """There is nothing above the frontier."""
    extents: int
    """How many were handed out, which is the number of the last one."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """A worker, and the range of keys that it holds."""

    id: str
    name: str
    runner: str
    extent: int | None
    """Number of the extent in its hands; a lower number is a lower range."""
    lower_key: str | None
    upper_key: str | None
    done: int
    """Rows that are not yet added to the record."""
    silence: int
    """Seconds since it was last heard of."""
    started_at: datetime.datetime
    chunk_size: int | None
    rate: float | None
    waits_for: str | None


# --- the walk ------------------------------------------------------------------------------------


def get_walk(connection: Connection, name: str, *, for_update: bool = False) -> Walk | None:
    """How far the walk of data migration *name* is; *for_update*: and nobody moves it until we have."""
    query = sa.select(walk).where(walk.c.name == name)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    return None if row is None else Walk(**(dict(row._mapping) | {"handed_out": bool(row.handed_out)}))


def put_walk(connection: Connection, new: Walk, *, known: bool) -> None:
    """Writes how far it is; whoever calls this holds the lock of the data migration's record."""
    values = dataclasses.asdict(new)
    if not known:
        connection.execute(sa.insert(walk).values(**values))
        return
    connection.execute(sa.update(walk).where(walk.c.name == values.pop("name")).values(**values))


# --- its workers ---------------------------------------------------------------------------------


def workers_of(connection: Connection, name: str, epoch: Epoch) -> list[Worker]:
    """Everybody who is written down as working on *name*, the lowest range first."""
    columns = [column for column in worker.c if column is not worker.c.heartbeat]
    rows = connection.execute(
        sa.select(*columns, (epoch - worker.c.heartbeat).label("silence")).where(worker.c.name == name)
    )
    found = [Worker(**(dict(row._mapping) | {"silence": int(row.silence)})) for row in rows]
    return sorted(found, key=lambda one: (one.extent is None, one.extent or 0, one.id))


def has_workers(connection: Connection) -> bool:
    """False for the state of an older engine, which commands that only read leave as it is."""
    return dialect_of(connection).has_table(connection, worker.name)


def register(connection: Connection, id: str, name: str, epoch: Epoch) -> None:
    """A new worker, with nothing in its hands."""
    connection.execute(
        sa.insert(worker).values(
            id=id, name=name, runner=this_runner(), done=0, heartbeat=epoch, started_at=now()
        )
    )


def take(
    connection: Connection, id: str, name: str, extent: int, lower: str | None, upper: str, epoch: Epoch
) -> int:
    """Gives an extent to worker *id*, who is written down again if somebody took it for dead.

    Gives the rows that it had done and that no record has.
    """
    done = connection.scalar(sa.select(worker.c.done).where(worker.c.id == id).with_for_update())
    if done is None:
        register(connection, id, name, epoch)
    held = {"extent": extent, "lower_key": lower, "upper_key": upper}
    _update(connection, worker.c.id == id, done=0, heartbeat=epoch, **held)
    return int(done or 0)


class Advance:
    """Moves the beginning of what a worker holds; in the transaction of each chunk, so it is built once."""

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
        extent: int,
        *,
        before: str | None,
        lower: str | None,
        done: int,
    ) -> bool:
        """From *before*, None at the start of the table, up to *lower*; None: the extent is finished.

        False: roll back. It is not its own any more, or does not begin there: that chunk is done already.
        """
        values: dict[str, Any] = {"worker": id, "held": extent, "more": done}
        known = before is not None
        if known:
            values["before"] = before
        if lower is None:
            return connection.execute(self._off[known], values).rowcount > 0
        return connection.execute(self._on[known], values | {"lower": lower}).rowcount > 0


def beat(connection: Connection, facts: Mapping[str, Mapping[str, Any]], epoch: Epoch) -> None:
    """Says that workers are alive; *facts*: id -> chunk_size, rate, waits_for."""
    for id, values in facts.items():
        said = {"waits_for": storable(connection, values["waits_for"])} if "waits_for" in values else {}
        _update(connection, worker.c.id == id, heartbeat=epoch, **{**values, **said})


def lock_worker(connection: Connection, id: str) -> bool:
    """Makes the chunk of worker *id* wait before its commit; False if it is just about to commit, or gone."""
    query = sa.select(worker.c.id).where(worker.c.id == id).with_for_update(skip_locked=True)
    return connection.execute(query).one_or_none() is not None


def dismiss(connection: Connection, id: str) -> int:
    """Deletes worker *id*; gives the rows that it had done and that no record has."""
    done = connection.scalar(sa.select(worker.c.done).where(worker.c.id == id).with_for_update())
    connection.execute(sa.delete(worker).where(worker.c.id == id))
    return int(done or 0)


def uncounted(connection: Connection, name: str) -> int:
    """Rows that workers have done and that the record of *name* does not hold yet."""
    if not has_workers(connection):
        return 0
    return int(connection.scalar(sa.select(sa.func.sum(worker.c.done)).where(worker.c.name == name)) or 0)


def watermark(walk: Walk | None, workers: Sequence[Worker]) -> str | None:
    """The encoded key up to which every row has been handled, whatever order chunks are finished in."""
    held = [one for one in workers if one.extent is not None]
    if held:
        return min(held, key=lambda one: one.extent or 0).lower_key
    return None if walk is None else walk.frontier


def _update(connection: Connection, condition: sa.ColumnElement[bool], **values: Any) -> bool:
    return connection.execute(sa.update(worker).where(condition).values(**values)).rowcount > 0
