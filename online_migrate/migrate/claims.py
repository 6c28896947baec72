"""Who gets which range of keys.

Invariants:

* Extents are handed out in the order of the key, each once, under the lock of the data migration's record.
* An extent whose worker is dead goes to another worker, from where the dead one's last chunk ended. Its
  row is deleted in the same transaction: should it be alive after all, it cannot commit its next chunk.
* What is below the lowest extent in anybody's hands has been handled: that is the checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.migrate.job import Job
from online_migrate.migrate.run import Pace
from online_migrate.migrate.transaction import looked
from online_migrate.state import Status
from online_migrate.waiting import Clock
from online_migrate.walk.checkpoint import decode_key, encode_key, show_key
from online_migrate.walk.chunker import Chunker, Key, is_beyond

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_SECONDS = 2.0
"""Of work in an extent, at least: the record is locked once for so much."""
_CHUNKS = 8
"""In an extent, where nobody knows how long one takes: few, so that all workers get some."""
_MOST_CHUNKS = 16
"""Up to which an extent of long chunks grows: the first one of an extent cannot be looked for ahead."""


class LeaseLost(Exception):
    """Somebody thought that we were dead and took over: what we have not committed is theirs."""


@dataclasses.dataclass(frozen=True)
class Extent:
    """A range of keys in a worker's hands: what is above *lower*, up to *upper*."""

    number: int
    lower: Key | None
    upper: Key
    sweep: bool
    """Only pending rows are looked for in it."""


class Claim(enum.Enum):
    """What came of asking for work."""

    AGAIN = "somebody else was quicker"
    OTHERS = "all is handed out, and others are still at it"
    PASS_OVER = "all is handed out, and all of it is done"
    HELD = "the record says that nothing may be begun"


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a worker saw before it asked: nothing is locked while it looks."""

    walk: state.Walk
    upper: Key | None
    last: bool
    """There is less than an extent above the frontier."""
    dead: frozenset[str] = frozenset()
    """Workers whose session is gone, for certain."""


class Claims:
    """Asks for ranges on behalf of one worker. Every method runs in a transaction that is open."""

    def __init__(self, job: Job, worker: str, lease: float) -> None:
        self._name = job.name
        self._worker = worker
        self._dialect = job.dialect
        self._chunker = job.chunker
        self._pending = job.pending
        self._lease = lease
        self._epoch = job.dialect.epoch()
        self._advance = state.Advance(self._epoch)
        self.blind = False
        """``pending`` fails for a row: a sweep looks at every row, not at those that are pending."""

    # --- coming and going ------------------------------------------------------------------------

    def sign_on(self, connection: Connection) -> None:
        """Writes the worker down."""
        state.register(connection, self._worker, self._name, self._epoch)

    def sign_off(self, connection: Connection, *, holds: bool) -> None:
        """Takes the worker out; what it *holds* is left for others, at once."""
        if holds:
            state.beat(connection, {self._worker: {}}, sa.literal(0))
            return
        locked_record(connection, self._name)
        state.add_done(connection, self._name, state.dismiss(connection, self._worker))
        self._write_checkpoint(connection)

    def advance(self, connection: Connection, extent: Extent, upper: Key, done: int) -> None:
        """In the transaction of a chunk: everything up to *upper* is handled. Raises LeaseLost."""
        lower = None if upper == extent.upper else encode_key(upper)
        before = None if extent.lower is None else encode_key(extent.lower)
        held = extent.number
        if not self._advance(connection, self._worker, held, before=before, lower=lower, done=done):
            raise LeaseLost

    # --- asking for work -------------------------------------------------------------------------

    def survey(self, connection: Connection, rows: int) -> Survey:
        """Looks where the next extent, of *rows* rows, would end."""
        walk = state.get_walk(connection, self._name)
        if walk is None:
            raise exceptions.Failed(message=f"the record of {self._name!r} was deleted while it ran")
        upper, last = None, False
        if not walk.handed_out:
            lower = None if walk.frontier is None else decode_key(walk.frontier)
            sparse = bool(walk.sweep) and not self.blind
            condition = self._pending if sparse else None
            upper = self._chunker.nth_key(connection, lower, rows, condition, sparse=sparse)
            if upper is None:
                last = True
                upper = self._chunker.last_key(connection, lower, condition, sparse=sparse)
        return Survey(walk, upper, last)

    def take(self, connection: Connection, seen: Survey) -> Extent | Claim:
        """Takes an extent if there is one; see :class:`Claim` for why there is none."""
        record = locked_record(connection, self._name)
        if record.status is not Status.RUNNING:
            return Claim.HELD
        # The lock of the record is of one node of a cluster. On another the same extent may be taken: what we
        # then write of the walk is there already, which changes nothing and so collides with nothing.
        if state.get_walk(connection, self._name, for_update=True) != seen.walk:
            return Claim.AGAIN
        others = self._others(connection)
        inherited = self._inherit(connection, others, seen)
        if inherited is not None:
            return inherited
        if seen.upper is not None:
            return self._next(connection, seen, others)
        if not seen.walk.handed_out:
            state.put_walk(connection, dataclasses.replace(seen.walk, handed_out=True), known=True)
        if any(other.extent is not None for other in others):
            return Claim.OTHERS
        return Claim.PASS_OVER

    def _others(self, connection: Connection) -> list[state.Worker]:
        workers = state.workers_of(connection, self._name, self._epoch)
        return [worker for worker in workers if worker.id != self._worker]

    def _inherit(self, connection: Connection, others: list[state.Worker], seen: Survey) -> Extent | None:
        """The lowest extent that a dead worker holds; the dead who hold nothing are buried on the way."""
        for other in others:
            if not self._is_dead(other, seen.dead) or not state.lock_worker(connection, other.id):
                continue
            state.add_done(connection, self._name, state.dismiss(connection, other.id))
            others = [one for one in others if one is not other]
            if other.extent is None or other.upper_key is None:
                continue
            extent = Extent(
                number=other.extent,
                lower=None if other.lower_key is None else decode_key(other.lower_key),
                upper=decode_key(other.upper_key),
                sweep=bool(seen.walk.sweep),
            )
            self._hold(connection, extent, seen.walk, others)
            return extent
        return None

    def _is_dead(self, other: state.Worker, dead: frozenset[str]) -> bool:
        return other.id in dead or other.silence > self._lease

    def _next(self, connection: Connection, seen: Survey, others: Sequence[state.Worker]) -> Extent:
        walk, upper = seen.walk, seen.upper
        assert upper is not None
        lower = None if walk.frontier is None else decode_key(walk.frontier)
        frontier = moved_on(self._name, self._chunker, lower, upper)
        extent = Extent(walk.extents + 1, lower, upper, bool(walk.sweep))
        # What an application appends from now on is for the next pass: this one could run after it forever.
        new = dataclasses.replace(walk, frontier=frontier, extents=extent.number, handed_out=seen.last)
        state.put_walk(connection, new, known=True)
        self._hold(connection, extent, new, others)
        return extent

    def _hold(
        self, connection: Connection, extent: Extent, walk: state.Walk, others: Sequence[state.Worker]
    ) -> None:
        """Puts *extent* into our hands; *others*: who else is written down, since the record is locked."""
        lower = None if extent.lower is None else encode_key(extent.lower)
        upper = encode_key(extent.upper)
        done = state.take(connection, self._worker, self._name, extent.number, lower, upper, self._epoch)
        state.add_done(connection, self._name, done)
        if not walk.sweep:
            held = [(one.extent, one.lower_key) for one in others if one.extent is not None]
            _, checkpoint = min([*held, (extent.number, lower)])
            state.set_checkpoint(connection, self._name, checkpoint, walked=False)

    def _write_checkpoint(self, connection: Connection) -> None:
        walk = state.get_walk(connection, self._name)
        if walk is None or walk.sweep:
            return
        workers = state.workers_of(connection, self._name, self._epoch)
        checkpoint = state.watermark(walk, workers)
        over = walk.handed_out and all(worker.extent is None for worker in workers)
        state.set_checkpoint(connection, self._name, checkpoint, walked=over)

    # --- the dead --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def dead_sessions(self, connection: Connection, clock: Clock) -> Iterator[frozenset[str]]:
        """The workers whose session has ended, kept from coming back inside the block.

        Their lock is free. Outside of a transaction, which taking such a lock would end.
        """
        held: list[str] = []
        others = looked(clock, self._dialect, connection, lambda: self._others(connection))
        if others and self._dialect.sees_all_sessions(connection):
            held = [one.id for one in others if self._dialect.try_named_lock(connection, lock_of(one.id))]
        connection.rollback()
        try:
            yield frozenset(held)
        finally:
            for worker in held:
                self._dialect.free_named_lock(connection, lock_of(worker))


def rows_in_extent(size: int, pace: Pace, fair_share: int | None) -> int:
    """Rows for the next extent, in which chunks have *size* rows.

    *fair_share*: what leaves enough for the other workers; None where nobody knows how much is left.
    """
    if pace.batch_size is not None:
        return size * _CHUNKS
    few = max(2, round(_SECONDS / pace.chunk_time))
    return max(size * few, min(size * _MOST_CHUNKS, fair_share or 0))


def lock_of(worker: str) -> str:
    """The named lock that a worker holds for as long as its session lasts."""
    return f"worker/{worker}"


def locked_record(connection: Connection, name: str) -> state.Record:
    """The record, which nobody else can change until the end of the transaction."""
    record = state.get_record(connection, name, for_update=True)
    if record is None:
        raise exceptions.Failed(message=f"the record of {name!r} was deleted while it ran")
    return record


def moved_on(name: str, chunker: Chunker, lower: Key | None, upper: Key) -> str:
    """*upper* as it is kept; refuses a step that goes nowhere, or back: it would have no end."""
    if lower is not None and not is_beyond(lower, upper):
        raise exceptions.DataMigrationBroken(
            name=name,
            reason=f"{chunker.table.name} cannot be walked: its key {show_key(upper)} does not "
            "come back from the driver as it is stored, as floating-point numbers do not",
            hint="add a unique key of another type: op.create_unique_constraint(...)",
        )
    try:
        return encode_key(upper)
    except TypeError as error:
        raise exceptions.DataMigrationBroken(
            name=name, reason=f"{chunker.table.name} cannot be walked: {error}"
        ) from None
