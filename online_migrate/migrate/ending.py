"""When a data migration is at its end, and what is written down then.

Invariants:

* Complete means counted: no row is pending, in the data, at the moment when it is written down.
* Rows that became pending behind the walk are gone back for, as long as they get fewer.
* The last worker, of whatever process, writes the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from online_migrate import state
from online_migrate.dialects.blame import Blame
from online_migrate.dialects.errors import ServerFault, words_of
from online_migrate.evidence.pending import count_pending, still_failing
from online_migrate.migrate.claims import Claims, locked_record
from online_migrate.migrate.crew import Crew
from online_migrate.migrate.job import Job
from online_migrate.migrate.run import Outcome
from online_migrate.migrate.transaction import committed, looked
from online_migrate.migrate.work import NOT_VERIFIED, UserError, call, do_chunk, read
from online_migrate.migrate.worker import short
from online_migrate.state import Status
from online_migrate.walk.checkpoint import decode_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")
_IN_VAIN = 10
"""How often we go back for rows that became pending behind us and find no fewer than before."""
_OUTCOMES = {
    Status.PAUSED: Outcome.HELD,
    Status.CANCELLED: Outcome.HELD,
    Status.STOPPED: Outcome.REMAINING,
    Status.FAILED: Outcome.FAILED,
    Status.COMPLETE: Outcome.COMPLETE,
}


class Chased(Exception):
    """Rows become pending as fast as they are moved."""


@dataclasses.dataclass(frozen=True)
class Left:
    """What is left, counted in the data."""

    walk: state.Walk | None
    pending: int
    above: bool
    """There are rows above the frontier, and nobody said what is pending."""
    failing: Mapping[str, str]
    mended: frozenset[str]
    """Rows that were recorded as failed and are so no more."""
    untried: tuple[str, ...]
    """Rows that failed in an earlier run and were not tried again in this one."""


def count_left(job: Job, connection: Connection) -> Left:
    """Counts what is left; in a transaction that is open."""
    walk = state.get_walk(connection, job.name)
    failing = still_failing(connection, job.migration, job.subject)
    recorded = state.failed_keys(connection, job.name)
    pending, above = 0, False
    if job.pending is None:
        frontier = None if walk is None or walk.frontier is None else decode_key(walk.frontier)
        above = job.chunker.nth_key(connection, frontier, 1) is not None
    else:
        pending = count_pending(connection, job.migration, job.subject)
    run = "" if walk is None else walk.run
    return Left(
        walk=walk,
        pending=pending,
        above=above,
        failing=failing,
        mended=frozenset(key for key, _error, _run in recorded) - set(failing),
        untried=tuple(
            key for key, error, of in recorded if key in failing and of != run and error != NOT_VERIFIED
        ),
    )


def holds(workers: Sequence[state.Worker]) -> bool:
    """True if a range of keys is in somebody's hands, dead or alive."""
    return any(worker.extent is not None for worker in workers)


class Ending:
    """Looks whether it is the end, on the connection of whoever came to it."""

    def __init__(self, job: Job, crew: Crew, connection: Connection) -> None:
        self._job = job
        self._crew = crew
        self._connection = connection

    def _committed(self, work: Callable[[], T]) -> T:
        return committed(self._crew.place.clock, self._job.dialect, self._connection, work)

    def _left(self) -> Left:
        look = lambda: count_left(self._job, self._connection)  # noqa: E731
        return looked(self._crew.place.clock, self._job.dialect, self._connection, look)

    # --- at the end of a pass --------------------------------------------------------------------

    def after_pass(self) -> bool:
        """Everything was handed out, and done. True if this is the end, in one way or another."""
        if self._crew.over:
            return True
        left = self._left()
        if left.untried and self._job.pending is None:
            self._try_again(left.untried)
            return False
        return self._committed(lambda: self._finish(left))

    def _finish(self, left: Left) -> bool:
        connection, name = self._connection, self._job.name
        record = locked_record(connection, name)
        walk = state.get_walk(connection, name)
        if record.status is not Status.RUNNING:
            self._crew.heard(record.status)
            return record.status is not Status.PAUSED
        workers = state.workers_of(connection, name, self._job.dialect.epoch())
        if walk is None or walk != left.walk or holds(workers):
            # Another worker was here before us.
            return False
        state.forget_failures(connection, name, left.mended)
        if left.pending or left.untried:
            return self._again(walk, left.pending)
        if left.above:
            return self._again(walk, pending=1)
        self._write_end(left)
        return True

    def _again(self, walk: state.Walk, pending: int) -> bool:
        if self._crew.in_vain_with(pending, walk) >= _IN_VAIN:
            state.set_status(self._connection, self._job.name, Status.STOPPED)
            self._crew.halt(Chased())
            return True
        if self._job.pending is None:
            # On from where it was: nobody can tell which of the rows behind are done.
            again = dataclasses.replace(walk, handed_out=False)
        else:
            again = dataclasses.replace(walk, sweep=walk.sweep + 1, frontier=None, handed_out=False)
        state.put_walk(self._connection, again, known=True)
        return False

    def _write_end(self, left: Left) -> None:
        error = f"{len(left.failing):,} row(s) could not be migrated" if left.failing else None
        status = Status.COMPLETE if error is None else Status.FAILED
        state.set_status(self._connection, self._job.name, status, error=error)
        self._crew.heard(status)

    # --- rows that failed in an earlier run ------------------------------------------------------

    def _try_again(self, keys: Sequence[str]) -> None:
        """One by one, where no ``pending`` would find them."""
        for key in keys:
            if self._crew.over:
                return
            try:
                self._crew.done += self._committed(lambda key=key: self._try_one(key))  # type: ignore[misc]
            except (UserError, *ServerFault) as error:
                if not isinstance(error, UserError) and not self._is_of_row(error):
                    raise
                text = short(error if isinstance(error, UserError) else words_of(error))
                self._committed(lambda key=key, text=text: self._record(key, text))  # type: ignore[misc]

    def _is_of_row(self, error: BaseException) -> bool:
        dialect = self._job.dialect
        return dialect.blame(error) in (Blame.ROW, Blame.SIZE) and not dialect.is_connection_lost(error)

    def _record(self, key: str, error: str) -> None:
        state.record_failures(self._connection, self._job.name, self._crew.run, {key: error})

    def _try_one(self, key: str) -> int:
        """Under the lock of the record, so that nobody else tries it as well."""
        job, connection = self._job, self._connection
        locked_record(connection, job.name)
        if key not in {
            row for row, _e, run in state.failed_keys(connection, job.name) if run != self._crew.run
        }:
            return 0
        chunk = job.chunker.single(decode_key(key))
        prepared = None
        if job.is_per_row:
            rows = read(connection, job, chunk)
            prepared = dataclasses.replace(call(job, chunk, rows, lambda: None), lock=True)
        effect = do_chunk(connection, job, chunk, prepared)
        state.forget_failures(connection, job.name, [key])
        state.record_failures(connection, job.name, self._crew.run, effect.failures)
        state.add_done(connection, job.name, effect.done)
        return effect.done

    # --- when this process leaves ----------------------------------------------------------------

    def leave(self) -> Outcome:
        """What is written down when this process goes; its end, if it is the last one."""
        claims = Claims(self._job, "", self._crew.place.lease)
        with claims.dead_sessions(self._connection, self._crew.place.clock) as dead:
            return self._committed(lambda: self._leave(dead))

    def _leave(self, dead: frozenset[str]) -> Outcome:
        connection, name = self._connection, self._job.name
        record = locked_record(connection, name)
        if record.status is not Status.RUNNING:
            self._crew.heard(record.status)
            return _OUTCOMES[record.status]
        workers = state.workers_of(connection, name, self._job.dialect.epoch())
        if any(one.silence <= self._crew.place.lease and one.id not in dead for one in workers):
            # Who began a run after the end of ours has it to himself.
            return Outcome.COMPLETE if self._crew.completed else Outcome.REMAINING
        left = count_left(self._job, connection)
        state.forget_failures(connection, name, left.mended)
        handled = self._job.pending is not None or not (holds(workers) or left.above)
        if handled and not left.pending and not left.untried:
            self._write_end(left)
            return Outcome.FAILED if left.failing else Outcome.COMPLETE
        state.set_status(connection, name, Status.STOPPED)
        return Outcome.REMAINING
