"""Two chunks at a time, on two connections, brought to their end one after the other.

While a worker looks who of a chunk is pending still, moves its lease and waits for the disk, the rows of
the next one are written: of a Backfill, or those that a function was called for already.

Invariants:

* A chunk that is written ahead is committed by its worker, with its own lease, and only when the chunk
  before it was.
* Whatever goes wrong with one of them, all are rolled back. The first is then done again by itself, where
  every error is met as it always is; but a lost session ends the worker, because nobody knows whether its
  last commit got through.
* While a chunk is written ahead, the worker asks only the connection of the chunk in hand, inside of its
  transaction: any other could have to queue behind somebody who waits for one of the two. So nobody waits
  for rows that are being read ahead, either: they are taken if they are there.
* Both connections lead to one server: of a cluster, the second node may not be yet where the first one is,
  and the lease of the second chunk moves from where that of the first has put it.
* Nobody rests, waits or leaves with a chunk written ahead: it locks rows. And nobody waits for long while it
  may hold what he waits for: no server sees such a circle, for one of its waits is in here.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from online_migrate.dialects.errors import AnyFault, ServerFault
from online_migrate.evidence.pending import fails_verify
from online_migrate.migrate.aside import Aside, nothing
from online_migrate.migrate.claims import Extent
from online_migrate.migrate.job import Job
from online_migrate.migrate.planner import Plan
from online_migrate.migrate.run import Pace
from online_migrate.migrate.work import Moved, Prepared, do_chunk, left_behind, move
from online_migrate.revision.data_migration import Backfill
from online_migrate.walk.chunker import Chunk

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_LONG = 0.1
"""Seconds of a chunk for which it pays; shorter ones are meant to leave room for others."""
_LONGEST_PENALTY = 64
"""Chunks that are done alone, after one that failed over and over."""
_CIRCLE = 1.0
"""Seconds after which the chunk ahead lets go, if it is written and the first one is not; twice the time that
it took itself, if that is longer."""
_MOMENT = 0.01
"""Seconds between two looks whether an UPDATE that is not wanted any more has ended."""
_GLANCE = 0.002
"""Seconds between two looks whether there is anything else to write beside the first chunk."""
T = TypeVar("T")


class Dropped(Exception):
    """What was written in this way does not count: the chunk is to be done alone."""


class Lane:
    """A connection, and a thread that writes rows on it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.aside: Aside[Written] = Aside()
        self.seconds = self.ended = 0.0
        """What the last UPDATE on it took, and when it ended."""


@dataclasses.dataclass(frozen=True)
class Leg:
    """A chunk whose rows are being written, or have been, in a transaction that is open."""

    extent: Extent
    """From where on."""
    plan: Plan
    lane: Lane
    prepared: Prepared | None = None
    """What a function made of its rows; None for a Backfill."""
    seconds: float = 0.0
    """What that took."""

    @property
    def chunk(self) -> Chunk:
        """Its rows. There are some: whole ranges of keys are planned without looking who is pending."""
        assert self.plan.chunk is not None
        return self.plan.chunk

    @property
    def connection(self) -> Connection:
        """The one on which it is written."""
        return self.lane.connection

    @property
    def after(self) -> Extent | None:
        """What is left of its extent."""
        if self.plan.upper == self.extent.upper:
            return None
        return dataclasses.replace(self.extent, lower=self.plan.upper)


@dataclasses.dataclass(frozen=True)
class Written:
    """What came of its UPDATE."""

    leg: Leg
    seconds: float
    moved: Moved


class Relay:
    """The chunks that one worker has in hand. For his thread.

    *home*: his own connection. *connect*: opens the other, when it is needed. *now*: gives seconds.
    """

    def __init__(
        self,
        job: Job,
        home: Connection,
        connect: Callable[[], contextlib.AbstractContextManager[Connection]],
        now: Callable[[], float],
    ) -> None:
        self._job = job
        self._connect = connect
        self._now = now
        self._home = Lane(home)
        self._other: Lane | None = None
        self._opened = contextlib.ExitStack()
        self._legs: collections.deque[Leg] = collections.deque()
        """Those that were begun and not committed, in the order of their keys."""
        self._alone = 0
        self._penalty = 1

    @staticmethod
    def fits(job: Job, pace: Pace) -> bool:
        """True for what can be written without knowing how it went before, at a pace that spares nobody.

        And by the primary key: at the end of a range of another index MariaDB waits for the row after it,
        which the chunk ahead has locked. A function of a row must not have to be called under a lock.
        """
        return (
            (isinstance(job.migration, Backfill) or (job.is_per_row and job.version is not None))
            and job.chunker.by_primary_key
            and fails_verify(job.subject) is None
            and not job.dialect.single_writer
            and not pace.steered
            and pace.chunk_time >= _LONG
        )

    @property
    def punished(self) -> bool:
        """The chunks after those in hand are to be done alone."""
        return self._alone > 0

    def sits_out(self) -> bool:
        """True if the next chunk is to be done alone, because of what happened to those before it."""
        if not self._alone:
            return False
        self._alone -= 1
        return True

    # --- chunks ----------------------------------------------------------------------------------

    @property
    def last(self) -> Leg | None:
        """The chunk that was begun last and is not committed."""
        return self._legs[-1] if self._legs else None

    @property
    def legs(self) -> Sequence[Leg]:
        """All that were begun and are not committed, in the order of their keys."""
        return tuple(self._legs)

    def lanes(self) -> tuple[Lane, Lane]:
        """The worker's own connection, and the other one."""
        if self._other is None:
            self._other = Lane(self._opened.enter_context(self._connect()))
        return self._home, self._other

    @property
    def idle(self) -> Sequence[Connection]:
        """Connections that are open and lock nothing: the server may end them."""
        opened = [self._home] if self._other is None else [self._home, self._other]
        taken = [leg.lane for leg in self._legs]
        return [lane.connection for lane in opened if lane not in taken]

    @property
    def free(self) -> Lane | None:
        """A connection on which nothing is being written; None: there are two chunks in hand."""
        taken = [leg.lane for leg in self._legs]
        return next((lane for lane in self.lanes() if lane not in taken), None)

    def meanwhile(self, look: Callable[[], T | None]) -> T | None:
        """What *look* gives, asked until the first chunk is written; None: nothing until then."""
        while (found := look()) is None and not self._legs[0].lane.aside.idle:
            time.sleep(_GLANCE)
        return found

    def begin(self, leg: Leg) -> None:
        """Has the rows written, and waits for nothing."""
        self._legs.append(leg)
        leg.lane.aside.begin(lambda: self._write(leg))

    def _write(self, leg: Leg) -> Written:
        leg.connection.begin()
        began = self._now()
        try:
            moved = self._move(leg)
        finally:
            leg.lane.ended = self._now()
            leg.lane.seconds = leg.lane.ended - began
        return Written(leg, leg.lane.seconds, moved)

    def _move(self, leg: Leg) -> Moved:
        if leg.prepared is None:
            return move(leg.connection, self._job, leg.chunk)
        effect = do_chunk(leg.connection, self._job, leg.chunk, leg.prepared)
        if effect.failures:
            raise Dropped
        return Moved(effect.done, clean=True)

    def first(self) -> Written:
        """Waits for the first chunk, which is to be brought to its end now.

        Raises :class:`Dropped`, or the error of a session that was lost.
        """
        aside = self._legs[0].lane.aside
        written = aside.take(self._break_circle)
        if written is None:
            self._raise_lost(aside.error)
            raise Dropped from aside.error
        return written

    def _break_circle(self) -> None:
        """Lets go of the chunk ahead if it is written and the first one, begun earlier, still is not.

        The first one may be waiting for it, or for an application that waits for it.
        """
        if len(self._legs) < 2:
            return
        lane = self._legs[1].lane
        if lane.aside.idle and self._now() - lane.ended > max(_CIRCLE, 2 * lane.seconds):
            self._punish()
            for error in self._roll_back(self._legs.pop()):
                self._raise_lost(error)

    def refuse_left_behind(self, written: Written) -> None:
        """Raises :class:`Dropped` if rows are pending still: to say why, they would have to be locked."""
        leg = written.leg
        if left_behind(leg.connection, self._job, leg.chunk, written.moved):
            raise Dropped

    def commit(self, written: Written) -> None:
        """Ends the first chunk."""
        written.leg.connection.commit()
        self._legs.popleft()
        self._penalty = max(1, self._penalty // 2)

    # --- their end -------------------------------------------------------------------------------

    def drop(self) -> None:
        """Rolls back whatever is not committed, and goes back to one connection.

        Raises the error of a session that was lost: used again it would be another one, without settings.
        """
        errors = self._drop()
        for error in errors:
            self._raise_lost(error)

    def fail(self) -> None:
        """The same, and the next chunks are done alone: the more often in a row, the more of them."""
        self._punish()
        self.drop()

    def close(self) -> None:
        """For good."""
        self._drop()
        self._home.aside.close()

    def _drop(self) -> list[BaseException | None]:
        errors = []
        while self._legs:
            written = [leg for leg in self._legs if leg.lane.aside.idle]
            for leg in written:
                # At once: the others may be waiting for its locks.
                self._legs.remove(leg)
                errors += self._roll_back(leg)
            if not written:
                time.sleep(_MOMENT)
        if self._other is not None:
            self._other.aside.close()
            self._other = None
        self._opened.close()
        return errors

    def _roll_back(self, leg: Leg) -> list[BaseException | None]:
        """Gives what went wrong on its connection before, and in doing so."""
        leg.lane.aside.take(nothing)
        try:
            leg.connection.rollback()
        except AnyFault as error:
            return [leg.lane.aside.error, error]
        return [leg.lane.aside.error]

    def _punish(self) -> None:
        # By more than what a chunk that gets through takes off: the first of two does, again and again.
        self._alone, self._penalty = self._penalty, min(4 * self._penalty, _LONGEST_PENALTY)

    def _raise_lost(self, error: BaseException | None) -> None:
        if isinstance(error, ServerFault) and self._job.dialect.is_connection_lost(error):
            raise error
