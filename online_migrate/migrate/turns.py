"""Brings chunks to their end in turns: which ones are begun, and what is done of each before its commit.

:mod:`~online_migrate.migrate.relay` holds the two chunks, and the rules by which they let go of each other.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.dialects.errors import ServerFault
from online_migrate.migrate.ahead import ReadAhead, Ready
from online_migrate.migrate.claims import Claims, Extent, Survey
from online_migrate.migrate.crew import Crew
from online_migrate.migrate.job import Job
from online_migrate.migrate.planner import Plan, Planner
from online_migrate.migrate.relay import Dropped, Leg, Relay
from online_migrate.migrate.timing import Stopwatch
from online_migrate.walk.chunk_size import ChunkSize

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Tools:
    """What a worker works with, however he does his chunks."""

    crew: Crew
    job: Job
    claims: Claims
    planner: Planner
    size: ChunkSize
    stopwatch: Stopwatch
    ahead: ReadAhead
    look: Callable[[Extent], Plan]
    """Plans a chunk on the worker's connection, while nothing is open there."""
    survey: Callable[[Connection], Survey]
    """What there is to claim next."""
    beat: Callable[[], None]
    """Called now and then by whoever waits with nothing in hand."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """A chunk that is committed."""

    plan: Plan
    done: int
    prepared: float
    """Seconds for which its rows were read and the function was called."""
    seen: Survey | None
    """What there is to claim next, if that was looked up meanwhile."""


class Turns:
    """The chunks of one worker, two at a time. For his thread."""

    def __init__(self, relay: Relay, tools: Tools) -> None:
        self._relay = relay
        self._tools = tools

    @property
    def idle(self) -> Sequence[Connection]:
        """Connections that are open and lock nothing."""
        return self._relay.idle

    def drop(self) -> None:
        """Takes back whatever is not committed."""
        self._relay.drop()

    def close(self) -> None:
        """For good."""
        self._relay.close()

    def end_one(self, extent: Extent) -> Ended | None:
        """Brings the first chunk of *extent* to its end, while others are written.

        None: it is to be done alone, and nothing is in hand. Raises the error of a session that was lost,
        and :class:`~online_migrate.migrate.claims.LeaseLost`.
        """
        relay = self._relay
        if self._leaves_room or self._tools.planner.by_name(extent) or (not relay.last and relay.sits_out()):
            relay.drop()
            return None
        try:
            if self._tools.job.is_per_row:
                self._keep_two(extent)
            elif relay.last is None:
                self._set_out(extent)
            return None if relay.last is None else self._finish(extent)
        except (*ServerFault, exceptions.OnlineMigrateError, Dropped) as error:
            _log.info("%s: both chunks are rolled back: %s", self._tools.job.name, error)
            self._keep(relay.legs)
            relay.fail()
            if self._tools.job.dialect.is_connection_lost(error):
                # Nobody knows whether its commit got through: another worker looks.
                raise
            # Nothing of it counts: the chunk is done again alone, and whoever is to blame is met there.
            return None

    @property
    def _leaves_room(self) -> bool:
        return bool(self._tools.job.dialect.courtesy or self._tools.crew.place.watched.steering.rest)

    # --- beginning -------------------------------------------------------------------------------

    def _set_out(self, extent: Extent) -> None:
        """Has the first two chunks of an extent written."""
        # Both are planned before one of them is begun: from then on a look may have to wait.
        legs: list[Leg] = []
        at: Extent | None = extent
        for lane in self._relay.lanes():
            if at is not None:
                legs.append(Leg(at, self._tools.look(at), lane))
                at = legs[-1].after
        for leg in legs:
            self._relay.begin(leg)

    def _keep_two(self, extent: Extent) -> None:
        """Has chunks of rows written for which the function was called, until there are two of them.

        None at all where it failed for a row: then the chunk is to be done alone.
        """
        relay, ahead, size = self._relay, self._tools.ahead, self._tools.size
        at = extent if relay.last is None else relay.last.after
        if relay.last is None:
            self._tools.beat()
        while at is not None and not relay.punished and (lane := relay.free) is not None:
            if relay.last is None:
                ahead.have(at, size.size, self._tools.beat)
            ready = self._peek(at)
            if ready is None or ready.prepared is None or not ready.prepared.flawless:
                return
            ahead.take(at, self._tools.beat)
            leg = Leg(at, ready.plan, lane, ready.prepared, ready.seconds)
            relay.begin(leg)
            at = leg.after
            if at is not None:
                ahead.ask(at, size.size)

    def _peek(self, at: Extent) -> Ready | None:
        """The next rows, if they were read by the time when the first chunk is written."""
        if self._relay.last is None:
            return self._tools.ahead.peek(at)
        return self._relay.meanwhile(lambda: self._tools.ahead.peek(at))

    def _keep(self, legs: Iterable[Leg]) -> None:
        """What was made of their rows is used when they are written after all."""
        for leg in legs:
            if leg.prepared is not None:
                self._tools.ahead.keep(leg.extent, Ready(leg.plan, leg.prepared, leg.seconds))

    # --- ending ----------------------------------------------------------------------------------

    def _finish(self, extent: Extent) -> Ended:
        """The end of a chunk whose rows are written, and the beginning of the one after the next."""
        relay, stopwatch, clock = self._relay, self._tools.stopwatch, self._tools.crew.place.clock
        begun = relay.legs
        try:
            written = relay.first()
        finally:
            # What had to let go of its locks.
            self._keep(leg for leg in begun if leg not in relay.legs)
        leg, done = written.leg, written.moved.done
        if leg.extent != extent:
            raise Dropped
        seen = self._seen(leg)
        following = self._following(leg)
        stopwatch.begin(clock.monotonic() - written.seconds)
        relay.refuse_left_behind(written)
        stopwatch.worked()
        self._tools.claims.advance(leg.connection, extent, leg.plan.upper, done)
        stopwatch.moved()
        relay.commit(written)
        if following is not None:
            relay.begin(following)
        return Ended(leg.plan, done, leg.seconds, seen)

    def _seen(self, leg: Leg) -> Survey | None:
        """What there is to claim next, while the last chunk is written: later nothing is done meanwhile."""
        last = self._relay.last
        if last is leg or (last is not None and last.after is not None):
            return None
        return self._tools.survey(leg.connection)

    def _following(self, leg: Leg) -> Leg | None:
        """What is to be written next on the connection of *leg*. Looks inside of its transaction."""
        after = None if self._relay.last is None else self._relay.last.after
        if after is None or self._relay.punished or self._tools.job.is_per_row:
            return None
        plan = self._tools.planner.plan(leg.connection, after, self._tools.size.size)
        return Leg(after, plan, leg.lane)
