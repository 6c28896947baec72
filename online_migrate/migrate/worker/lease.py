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
from online_migrate.kinds.bound import BoundMigration
from online_migrate.migrate.pace import Pace
from online_migrate.migrate.worker.session import run_read_transaction
from online_migrate.state import Status
from online_migrate.waiting import Clock
from online_migrate.walk.checkpoint import decode_key, encode_key, show_key
from online_migrate.walk.chunker import Chunker, Key, is_beyond

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_RANGE_SECONDS = 2.0
"""Of work in an extent, at least: the record is locked once for so much."""
_CHUNKS_PER_RANGE = 8
"""In an extent, where nobody knows how long one takes: few, so that all workers get some."""
_MAX_CHUNKS_PER_RANGE = 16
"""Up to which an extent of long chunks grows: the first one of an extent cannot be looked for ahead."""


class LeaseLost(Exception):
    """Somebody thought that we were dead and took over: what we have not committed is theirs."""


@dataclasses.dataclass(frozen=True)
class KeyRange:
    """A range of keys in a worker's hands: what is above *lower*, up to *upper*."""

    number: int
    lower: Key | None
    upper: Key
    sweep: bool
    """Only pending rows are looked for in it."""


class AcquireResult(enum.Enum):
    """What came of asking for work."""

    CONFLICT = "another worker assigned the range first"
    BUSY = "all ranges are assigned, and other workers process some of them"
    EXHAUSTED = "all ranges are assigned and done"
    NOT_RUNNING = "the status in the record does not allow a new range"


@dataclasses.dataclass(frozen=True)
class RangeCandidate:
    """What a worker saw before it asked: nothing is locked while it looks."""

    walk: state.Walk
    upper: Key | None
    last: bool
    """There is less than an extent above the frontier."""
    dead: frozenset[str] = frozenset()
    """Workers whose session is gone, for certain."""


class LeaseManager:
    """Asks for ranges on behalf of one worker. Every method runs in a transaction that is open."""

    def __init__(self, bound: BoundMigration, worker: str, lease: float) -> None:
        self._name = bound.name
        self._worker = worker
        self._dialect = bound.dialect
        self._chunker = bound.chunker
        self._pending = bound.pending
        self._lease = lease
        self._epoch = bound.dialect.epoch()
        self._advance = state.Advance(self._epoch)
        self.blind = False
        """``pending`` fails for a row: a sweep looks at every row, not at those that are pending."""

    # --- coming and going ------------------------------------------------------------------------

    def register(self, connection: Connection) -> None:
        """Writes the worker down."""
        state.register(connection, self._worker, self._name, self._epoch)

    def unregister(self, connection: Connection, *, holds: bool) -> None:
        """Takes the worker out; what it *holds* is left for others, at once."""
        if holds:
            state.update_heartbeat(connection, {self._worker: {}}, sa.literal(0))
            return
        lock_record(connection, self._name)
        state.add_done(connection, self._name, state.delete_worker(connection, self._worker))
        self._write_checkpoint(connection)

    def advance(self, connection: Connection, key_range: KeyRange, upper: Key, done: int) -> None:
        """In the transaction of a chunk: everything up to *upper* is handled. Raises LeaseLost."""
        lower = None if upper == key_range.upper else encode_key(upper)
        before = None if key_range.lower is None else encode_key(key_range.lower)
        held = key_range.number
        if not self._advance(connection, self._worker, held, before=before, lower=lower, done=done):
            raise LeaseLost

    # --- asking for work -------------------------------------------------------------------------

    def find_candidate(self, connection: Connection, rows: int) -> RangeCandidate:
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
        return RangeCandidate(walk, upper, last)

    def acquire(self, connection: Connection, seen: RangeCandidate) -> KeyRange | AcquireResult:
        """Takes an extent if there is one; see :class:`Claim` for why there is none."""
        record = lock_record(connection, self._name)
        if record.status is not Status.RUNNING:
            return AcquireResult.NOT_RUNNING
        # The lock of the record is of one node of a cluster. On another the same extent may be taken: what we
        # then write of the walk is there already, which changes nothing and so collides with nothing.
        if state.get_walk(connection, self._name, for_update=True) != seen.walk:
            return AcquireResult.CONFLICT
        others = self._other_workers(connection)
        inherited = self._take_over(connection, others, seen)
        if inherited is not None:
            return inherited
        if seen.upper is not None:
            return self._assign_next(connection, seen, others)
        if not seen.walk.handed_out:
            state.put_walk(connection, dataclasses.replace(seen.walk, handed_out=True), known=True)
        if any(other.range_number is not None for other in others):
            return AcquireResult.BUSY
        return AcquireResult.EXHAUSTED

    def _other_workers(self, connection: Connection) -> list[state.Worker]:
        workers = state.workers_of(connection, self._name, self._epoch)
        return [worker for worker in workers if worker.id != self._worker]

    def _take_over(
        self, connection: Connection, others: list[state.Worker], seen: RangeCandidate
    ) -> KeyRange | None:
        """The lowest extent that a dead worker holds; the dead who hold nothing are buried on the way."""
        for other in others:
            if not self._is_dead(other, seen.dead) or not state.lock_worker(connection, other.id):
                continue
            state.add_done(connection, self._name, state.delete_worker(connection, other.id))
            others = [one for one in others if one is not other]
            if other.range_number is None or other.upper_key is None:
                continue
            key_range = KeyRange(
                number=other.range_number,
                lower=None if other.lower_key is None else decode_key(other.lower_key),
                upper=decode_key(other.upper_key),
                sweep=bool(seen.walk.sweep),
            )
            self._assign(connection, key_range, seen.walk, others)
            return key_range
        return None

    def _is_dead(self, other: state.Worker, dead: frozenset[str]) -> bool:
        return other.id in dead or other.seconds_since_heartbeat > self._lease

    def _assign_next(
        self, connection: Connection, seen: RangeCandidate, others: Sequence[state.Worker]
    ) -> KeyRange:
        walk, upper = seen.walk, seen.upper
        assert upper is not None
        lower = None if walk.frontier is None else decode_key(walk.frontier)
        frontier = checked_key(self._name, self._chunker, lower, upper)
        key_range = KeyRange(walk.extents + 1, lower, upper, bool(walk.sweep))
        # What an application appends from now on is for the next pass: this one could run after it forever.
        new = dataclasses.replace(walk, frontier=frontier, extents=key_range.number, handed_out=seen.last)
        state.put_walk(connection, new, known=True)
        self._assign(connection, key_range, new, others)
        return key_range

    def _assign(
        self, connection: Connection, key_range: KeyRange, walk: state.Walk, others: Sequence[state.Worker]
    ) -> None:
        """Puts *extent* into our hands; *others*: who else is written down, since the record is locked."""
        lower = None if key_range.lower is None else encode_key(key_range.lower)
        upper = encode_key(key_range.upper)
        done = state.assign_range(
            connection, self._worker, self._name, key_range.number, lower, upper, self._epoch
        )
        state.add_done(connection, self._name, done)
        if not walk.sweep:
            held = [(one.range_number, one.lower_key) for one in others if one.range_number is not None]
            _, checkpoint = min([*held, (key_range.number, lower)])
            state.set_checkpoint(connection, self._name, checkpoint, walked=False)

    def _write_checkpoint(self, connection: Connection) -> None:
        walk = state.get_walk(connection, self._name)
        if walk is None or walk.sweep:
            return
        workers = state.workers_of(connection, self._name, self._epoch)
        checkpoint = state.watermark(walk, workers)
        over = walk.handed_out and all(worker.range_number is None for worker in workers)
        state.set_checkpoint(connection, self._name, checkpoint, walked=over)

    # --- the dead --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock_dead_workers(self, connection: Connection, clock: Clock) -> Iterator[frozenset[str]]:
        """The workers whose session has ended, kept from coming back inside the block.

        Their lock is free. Outside of a transaction, which taking such a lock would end.
        """
        held: list[str] = []
        others = run_read_transaction(
            clock, self._dialect, connection, lambda: self._other_workers(connection)
        )
        if others and self._dialect.sees_all_sessions(connection):
            held = [
                one.id for one in others if self._dialect.try_named_lock(connection, worker_lock_name(one.id))
            ]
        connection.rollback()
        try:
            yield frozenset(held)
        finally:
            for worker in held:
                self._dialect.free_named_lock(connection, worker_lock_name(worker))


def range_size(size: int, pace: Pace, fair_share: int | None) -> int:
    """Rows for the next extent, in which chunks have *size* rows.

    *fair_share*: what leaves enough for the other workers; None where nobody knows how much is left.
    """
    if pace.batch_size is not None:
        return size * _CHUNKS_PER_RANGE
    few = max(2, round(_RANGE_SECONDS / pace.chunk_time))
    return max(size * few, min(size * _MAX_CHUNKS_PER_RANGE, fair_share or 0))


def worker_lock_name(worker: str) -> str:
    """The named lock that a worker holds for as long as its session lasts."""
    return f"worker/{worker}"


def lock_record(connection: Connection, name: str) -> state.Record:
    """The record, which nobody else can change until the end of the transaction."""
    record = state.get_record(connection, name, for_update=True)
    if record is None:
        raise exceptions.Failed(message=f"the record of {name!r} was deleted while it ran")
    return record


def checked_key(name: str, chunker: Chunker, lower: Key | None, upper: Key) -> str:
    """*upper* as it is kept; refuses a step that goes nowhere, or back: it would have no end."""
    if lower is not None and not is_beyond(lower, upper):
        raise exceptions.DataMigrationBroken(
            name=name,
            reason=f"{chunker.table.name} cannot be walked: the driver does not return its "
            f"key {show_key(upper)} as it is stored; floating-point keys, for example, are rounded",
            hint="add a unique key of another type: op.create_unique_constraint(...)",
        )
    try:
        return encode_key(upper)
    except TypeError as error:
        raise exceptions.DataMigrationBroken(
            name=name, reason=f"{chunker.table.name} cannot be walked: {error}"
        ) from None
