"""Writes a chunk's rows on one connection while the chunk before them is brought to its end on another.

To look who is pending still, to move the lease and to wait for the disk takes a tenth of a long chunk's
time. Meanwhile the server would write no row.

Invariants:

* A chunk that is written ahead is committed by its worker, with its own lease, and only when the chunk
  before it was.
* Whatever goes wrong with either of the two, both are rolled back. The first of them is then done again
  by itself, where every error is met as it always is.
* Nobody rests, waits or leaves with a chunk written ahead: it locks rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from online_migrate.dialects.errors import AnyFault
from online_migrate.evidence.pending import fails_verify
from online_migrate.migrate.aside import Aside
from online_migrate.migrate.claims import Extent
from online_migrate.migrate.job import Job
from online_migrate.migrate.planner import Plan
from online_migrate.migrate.run import Pace
from online_migrate.migrate.work import Moved, left_behind, move
from online_migrate.revision.data_migration import Backfill
from online_migrate.walk.chunker import Chunk

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_LONG = 0.1
"""Seconds of a chunk for which it pays; shorter ones are meant to leave room for others."""
_LONGEST_PENALTY = 64
"""Chunks that are done alone, after one that failed over and over."""


class Dropped(Exception):
    """What was written in this way does not count: the chunk is to be done alone."""


@dataclasses.dataclass(frozen=True)
class Leg:
    """A chunk that is written ahead."""

    extent: Extent
    """From where on."""
    plan: Plan
    connection: Connection
    """Its transaction is open."""

    @property
    def chunk(self) -> Chunk:
        """Its rows. There are some: whole ranges of keys are planned without looking who is pending."""
        assert self.plan.chunk is not None
        return self.plan.chunk


@dataclasses.dataclass(frozen=True)
class Written:
    """What came of its UPDATE."""

    leg: Leg
    began: float
    """When, in seconds of the clock."""
    moved: Moved


class Relay:
    """Two connections that take turns: while rows are written on one, the other is free.

    *home*: the worker's own. *connect*: opens the other, when it is needed. *now*: gives seconds.
    *keep_alive*: called with the free one now and then. For one worker, from his thread.
    """

    def __init__(
        self,
        job: Job,
        home: Connection,
        connect: Callable[[], contextlib.AbstractContextManager[Connection]],
        now: Callable[[], float],
        keep_alive: Callable[[Connection], None],
    ) -> None:
        self._job = job
        self._home = home
        self._connect = connect
        self._now = now
        self._keep_alive = keep_alive
        self._aside: Aside[Written] = Aside()
        self._opened = contextlib.ExitStack()
        self._other: Connection | None = None
        self._ahead: Leg | None = None
        self._taken: Leg | None = None
        self._alone = 0
        self._penalty = 1

    @staticmethod
    def fits(job: Job, pace: Pace) -> bool:
        """True for what can be written without knowing how it went before, at a pace for which it pays."""
        return (
            isinstance(job.migration, Backfill)
            and fails_verify(job.subject) is None
            and not job.dialect.single_writer
            and pace.chunk_time >= _LONG
        )

    def sits_out(self) -> bool:
        """True if the next chunk is to be done alone, because of what happened to those before it."""
        if not self._alone:
            return False
        self._alone -= 1
        return True

    # --- a chunk ---------------------------------------------------------------------------------

    def at(self, extent: Extent) -> Leg | None:
        """The chunk at the start of *extent*, if it is being written, or has been."""
        if self._ahead is not None and self._ahead.extent != extent:
            self.drop()
        return self._ahead

    def spare(self) -> Connection:
        """The connection on which nothing is written ahead."""
        if self._ahead is None or self._ahead.connection is not self._home:
            return self._home
        if self._other is None:
            self._other = self._opened.enter_context(self._connect())
        return self._other

    def begin(self, leg: Leg) -> None:
        """Has the rows written, and waits for nothing. What is ahead must have been taken."""
        self._ahead = leg
        self._aside.begin(lambda: self._write(leg))

    def _write(self, leg: Leg) -> Written:
        leg.connection.begin()
        began = self._now()
        return Written(leg, began, move(leg.connection, self._job, leg.chunk))

    def take(self) -> Written:
        """Waits for the chunk that is ahead, to be brought to its end now; raises :class:`Dropped`."""
        written = self._aside.take(lambda: self._keep_alive(self.spare()))
        self._taken, self._ahead = self._ahead, None
        if written is None:
            raise Dropped
        return written

    def refuse_left_behind(self, written: Written) -> None:
        """Raises :class:`Dropped` if rows are pending still: to say why, they would have to be locked."""
        leg = written.leg
        if left_behind(leg.connection, self._job, leg.chunk, written.moved):
            raise Dropped

    def commit(self, written: Written) -> None:
        """Ends the chunk that was taken."""
        written.leg.connection.commit()
        self._taken = None
        self._penalty = 1

    # --- its end ---------------------------------------------------------------------------------

    def drop(self) -> None:
        """Rolls back whatever is not committed, and goes back to one connection."""
        # First the one that was taken: the one ahead may be waiting for its locks.
        if self._taken is not None:
            _roll_back(self._taken.connection)
        self._aside.take(_nothing)
        if self._ahead is not None:
            _roll_back(self._ahead.connection)
        self._taken = self._ahead = self._other = None
        self._opened.close()

    def fail(self) -> None:
        """The same, and the next chunks are done alone: the more often in a row, the more of them."""
        self.drop()
        self._alone, self._penalty = self._penalty, min(2 * self._penalty, _LONGEST_PENALTY)

    def close(self) -> None:
        """For good."""
        self.drop()
        self._aside.close()


def _roll_back(connection: Connection) -> None:
    with contextlib.suppress(*AnyFault):
        # A session that is gone is rolled back already; whoever uses it next is told so.
        connection.rollback()


def _nothing() -> None:
    """A statement ends, or waits for a lock no longer than it may: nobody has to be kept awake."""
