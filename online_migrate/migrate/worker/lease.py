"""Assignment of key ranges to workers.

Invariants:

* Key ranges are assigned in the order of the key, each once, under the lock of the data migration's record.
* The range of a dead worker is assigned to another worker, from the end of the dead worker's last chunk. The
  dead worker's row is deleted in the same transaction: if it is alive after all, it cannot commit its next
  chunk.
* Everything below the lowest assigned range is processed: its lower end is the checkpoint.
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
from online_migrate.migrate.worker.session import run_read_transaction
from online_migrate.observe import events
from online_migrate.state import Status
from online_migrate.waiting import Clock
from online_migrate.walk.checkpoint import decode_key, encode_key, show_key
from online_migrate.walk.chunker import Chunker
from online_migrate.walk.key import Key, is_beyond

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_RANGE_SECONDS = 2.0
"""The minimum duration of the work in a key range, in seconds: the record is locked once for each range."""
_CHUNKS_PER_RANGE = 8
"""Chunks in a key range with a fixed batch size, whose duration is not known: few, so that every worker gets
a range."""
_MAX_CHUNKS_PER_RANGE = 16
"""The maximum number of chunks in a key range of long chunks. Long ranges are better, because the first chunk
of a range cannot be prefetched."""


class LeaseLost(Exception):
    """Another worker took over this worker's lease; the uncommitted rows belong to the other worker now."""


@dataclasses.dataclass(frozen=True)
class KeyRange:
    """A range of keys that is assigned to a worker: keys above *lower*, up to and including *upper*."""

    number: int
    lower: Key | None
    upper: Key
    sweep: bool
    """True if only the pending rows of the range are read."""


class AcquireResult(enum.Enum):
    """The result of an attempt to acquire a key range; the value is a message about it."""

    CONFLICT = "another worker assigned the range first"
    BUSY = "all ranges are assigned, and other workers process some of them"
    EXHAUSTED = "all ranges are assigned and done"
    NOT_RUNNING = "the status in the record does not allow a new range"


@dataclasses.dataclass(frozen=True)
class RangeCandidate:
    """The next key range to acquire, read without a lock. Valid only while the walk is unchanged."""

    walk: state.Walk
    upper: Key | None
    last: bool
    """True if fewer rows than a whole range are above the walk's high watermark."""
    dead: frozenset[str] = frozenset()
    """Workers whose session has certainly ended."""


class LeaseManager:
    """Acquires key ranges for one worker.

    Every method except :meth:`lock_dead_workers` must be called in an open transaction.

    *worker*: the worker's id; empty for the process itself. *lease*: seconds without a heartbeat after which
    another worker counts as dead.
    """

    def __init__(self, bound: BoundMigration, worker: str, lease: float) -> None:
        self._name = bound.name
        self._worker = worker
        self._dialect = bound.dialect
        self._chunker = bound.chunker
        self._pending = bound.pending
        self._lease = lease
        self._epoch = bound.dialect.epoch()
        self._advance = state.Advance(self._epoch)
        self.taken_over: events.RangeTakenOver | None = None
        """The takeover of the last :meth:`acquire`, to be logged when its transaction is committed."""
        self.blind = False
        """True after ``pending`` failed for a row: a sweep then reads every row, not only pending rows."""

    # --- registration ----------------------------------------------------------------------------

    def register(self, connection: Connection) -> None:
        """Inserts the worker's row."""
        state.register(connection, self._worker, self._name, self._epoch)

    def unregister(self, connection: Connection, *, holds: bool) -> None:
        """Deletes the worker's row, and writes the checkpoint.

        *holds*: the worker still holds a range. Then its row stays, with an expired heartbeat, so that
        another worker can take the range over at once.
        """
        if holds:
            state.update_heartbeat(connection, {self._worker: {}}, sa.literal(0))
            return
        lock_record(connection, self._name)
        state.add_done(connection, self._name, state.delete_worker(connection, self._worker))
        self._write_checkpoint(connection)

    def advance(self, connection: Connection, key_range: KeyRange, upper: Key, done: int) -> None:
        """Advances the lease to *upper* and adds *done* rows, in the transaction of the chunk.

        Raises :class:`LeaseLost` if another worker took over the lease.
        """
        lower = None if upper == key_range.upper else encode_key(upper)
        before = None if key_range.lower is None else encode_key(key_range.lower)
        held = key_range.number
        if not self._advance(connection, self._worker, held, before=before, lower=lower, done=done):
            raise LeaseLost

    # --- acquisition -----------------------------------------------------------------------------

    def find_candidate(self, connection: Connection, rows: int) -> RangeCandidate:
        """Reads where the next key range, of *rows* rows, would end. Locks nothing.

        Raises :class:`~online_migrate.exceptions.Failed` if the record does not exist any more.
        """
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
        """Acquires the range of a dead worker, or the next range.

        *seen*: the candidate, read before. Returns the reason if there is no range; see
        :class:`AcquireResult`.
        """
        self.taken_over = None
        record = lock_record(connection, self._name)
        if record.status is not Status.RUNNING:
            return AcquireResult.NOT_RUNNING
        # In a cluster the lock of the record is local to one node. On another node the same range may be
        # acquired at the same time: the write of the walk is then identical to the existing row, changes
        # nothing, and so would not cause a conflict. This comparison detects it.
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
        """Takes over the lowest key range of a dead worker; deletes dead workers without a range."""
        for read in others:
            if not self._is_dead(read, seen.dead):
                continue
            # Its last commit may have ended after it was read: where its range begins is in the locked row.
            other = state.lock_worker(connection, read.id, self._epoch)
            if other is None or not self._is_dead(other, seen.dead):
                continue
            state.add_done(connection, self._name, state.delete_worker(connection, other.id))
            others = [one for one in others if one is not read]
            if other.range_number is None or other.upper_key is None:
                continue
            key_range = KeyRange(
                number=other.range_number,
                lower=None if other.lower_key is None else decode_key(other.lower_key),
                upper=decode_key(other.upper_key),
                sweep=bool(seen.walk.sweep),
            )
            self._assign(connection, key_range, seen.walk, others)
            reason = "its session has ended"
            if other.id not in seen.dead:
                reason = "it released the range" if other.released else "its heartbeat is too old"
            self.taken_over = events.RangeTakenOver(self._name, key_range.number, other.id, reason)
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
        # Rows that an application appends from now on belong to the next pass: otherwise this pass might
        # never end.
        new = dataclasses.replace(walk, frontier=frontier, extents=key_range.number, handed_out=seen.last)
        state.put_walk(connection, new, known=True)
        self._assign(connection, key_range, new, others)
        return key_range

    def _assign(
        self, connection: Connection, key_range: KeyRange, walk: state.Walk, others: Sequence[state.Worker]
    ) -> None:
        """Assigns *key_range* to this worker, and sets the checkpoint.

        *others*: the other registered workers, read while the record is locked.
        """
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

    # --- dead workers ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock_dead_workers(self, connection: Connection, clock: Clock) -> Iterator[frozenset[str]]:
        """Returns the workers whose session has ended, and holds their named locks inside the block.

        A worker is dead if its named lock is free. Must be called outside a transaction, because such a lock
        request would end it.
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


def range_size(size: int, target: float | None, fair_share: int | None) -> int:
    """Returns the number of rows of the next key range, whose chunks have *size* rows.

    *target*: the target duration of a chunk, in seconds; None: the size is fixed, and the duration is not
    known. *fair_share*: the number of rows that leaves enough for the other workers; None where the number of
    remaining rows is not known.
    """
    if target is None:
        return size * _CHUNKS_PER_RANGE
    few = max(2, round(_RANGE_SECONDS / target))
    return max(size * few, min(size * _MAX_CHUNKS_PER_RANGE, fair_share or 0))


def worker_lock_name(worker: str) -> str:
    """Returns the name of the lock that a worker holds until its session ends."""
    return f"worker/{worker}"


def lock_record(connection: Connection, name: str) -> state.Record:
    """Returns the record, locked until the end of the transaction.

    Raises :class:`~online_migrate.exceptions.Failed` if the record does not exist any more.
    """
    record = state.get_record(connection, name, for_update=True)
    if record is None:
        raise exceptions.Failed(message=f"the record of {name!r} was deleted while it ran")
    return record


def checked_key(name: str, chunker: Chunker, lower: Key | None, upper: Key) -> str:
    """Returns *upper*, encoded for the state tables.

    Raises :class:`~online_migrate.exceptions.DataMigrationBroken` if *upper* is not beyond *lower*, because
    the walk would not end, or if the key cannot be encoded. *name*: of the data migration.
    """
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
