"""What the workers of one data migration in one process share."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

from online_migrate import state
from online_migrate.migrate.progress import Listener, Meter, Snapshot
from online_migrate.migrate.run import Budget, Pace
from online_migrate.state import Status
from online_migrate.throttle import Watched
from online_migrate.throttle.canary import Canary
from online_migrate.throttle.steering import Steered
from online_migrate.waiting import Clock, Stop
from online_migrate.walk.chunk_size import ChunkSize

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from online_migrate.migrate.claims import Extent
    from online_migrate.migrate.isolation import Isolation
    from online_migrate.migrate.planner import Plan
    from online_migrate.walk.chunker import Chunk, Key

LONGEST_REST = 1.0
"""Seconds that a worker rests after a chunk: meanwhile nobody hears what an operator says on SQLite."""

_SHARES = 4
"""Parts of what is left, for each worker: who finishes last has at most one of them in hand."""


@dataclasses.dataclass(frozen=True)
class Workplace:
    """What running data migrations needs, put together once for a command."""

    engine: Engine
    budget: Budget
    clock: Clock
    stop: Stop
    listener: Listener
    pace: Pace = dataclasses.field(default_factory=Pace)
    workers: int = 1
    lease: float = 30.0
    """Seconds without a sign of life after which others take over what a worker holds."""
    max_failures: int = 100
    """Rows that may fail before the run is ended."""
    watched: Watched = dataclasses.field(default_factory=Watched)

    @property
    def over(self) -> bool:
        """True if no further chunk may be begun."""
        return self.stop.requested or self.budget.exhausted


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A chunk in which a connection was lost; the worker that gets it next decides what that means."""

    lower: Key | None
    plan: Plan | None
    isolation: Isolation[Key]
    error: BaseException
    losses: int
    """How often in a row, at this chunk."""


class Crew:
    """The workers of one data migration in this process: their counts, and what they are told."""

    def __init__(self, place: Workplace, name: str, meter: Meter) -> None:
        self.place = place
        self.name = name
        self.run = ""
        """The run that they belong to, which other processes may share."""
        self.done = 0
        self.failures = 0
        self.status: Status = Status.RUNNING
        """What the record said when somebody last looked."""
        self.completed = False
        """It was counted, by whomever, that nothing is pending."""
        self.problem: BaseException | None = None
        """What ended the first worker that was ended by something."""
        self.progress = 0
        """Grows with every chunk that is committed, and with every step of a bisection."""
        self._suspects: dict[int, Suspect] = {}
        self._fewest: int | None = None
        self._in_vain = 0
        self._judged: object = None
        self._meter = meter
        self._lock = threading.Lock()
        self._facts: dict[str, dict[str, Any]] = {}
        self._halt = threading.Event()

    # --- what they are told ----------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """True if no further chunk may be begun."""
        return self.place.over or self._halt.is_set()

    def halt(self, problem: BaseException | None = None) -> None:
        """Sends everybody home after their chunk; the first *problem* is kept."""
        with self._lock:
            self.problem = self.problem or problem
        self._halt.set()

    def heard(self, status: Status | None) -> None:
        """What the record says now: somebody may have paused, cancelled or ended it."""
        self.status = status or Status.FAILED
        self.completed = self.completed or status is Status.COMPLETE
        if self.status not in (Status.RUNNING, Status.PAUSED):
            self._halt.set()

    @property
    def waits_for(self) -> str | None:
        """Why no chunk may be begun just now; None if one may."""
        if self.status is Status.PAUSED:
            return "paused"
        return self.place.watched.gate.reason()

    def in_vain_with(self, pending: int, walk: object) -> int:
        """How often in a row a pass over the table ended with no fewer *pending* rows than any before.

        *walk*: which pass; a transaction that is repeated counts it once.
        """
        if walk == self._judged:
            return self._in_vain
        self._judged = walk
        fewer = self._fewest is None or pending < self._fewest
        self._in_vain = 0 if fewer else self._in_vain + 1
        self._fewest = pending if self._fewest is None else min(pending, self._fewest)
        return self._in_vain

    # --- what they tell --------------------------------------------------------------------------

    def joined(self, worker: str) -> None:
        """A worker is there."""
        with self._lock:
            self._facts[worker] = {}

    def left(self, worker: str) -> None:
        """A worker is not there any more."""
        with self._lock:
            self._facts.pop(worker, None)

    def signs_of_life(self) -> dict[str, dict[str, Any]]:
        """For the record: every worker with its chunk size, its rate and what it waits for."""
        with self._lock:
            return {id: dict(facts) for id, facts in self._facts.items()}

    def waiting(self, worker: str, reason: str | None) -> None:
        """A worker waits, or does not wait any more."""
        with self._lock:
            if worker in self._facts and self._facts[worker].get("waits_for") != reason:
                self._facts[worker]["waits_for"] = reason
                self.place.listener.advanced(self._snapshot(""))

    def count(self, worker: str, rows: int, chunk: Chunk | str, size: ChunkSize | None) -> None:
        """A chunk was committed."""
        with self._lock:
            self.progress += 1
            self.done += rows
            self._meter.add(rows)
            more: dict[str, Any] = {}
            if size is not None and worker in self._facts:
                self._facts[worker] |= {
                    "chunk_size": size.size,
                    "rate": self._meter.rate / len(self._facts),
                }
                more = {"chunk_size": size.size, "why": size.why.value}
            self.place.listener.advanced(self._snapshot(str(chunk), **more))

    def progressed(self) -> None:
        """Fewer rows are going to be tried than before, or one is recorded."""
        with self._lock:
            self.progress += 1

    def suspect(
        self, extent: Extent, plan: Plan | None, isolation: Isolation[Key], error: BaseException
    ) -> None:
        """A connection was lost in the chunk with which *extent* begins."""
        with self._lock:
            before = self._suspects.get(extent.number)
            losses = 1 + (before.losses if before is not None and before.lower == extent.lower else 0)
            self._suspects[extent.number] = Suspect(extent.lower, plan, isolation, error, losses)

    def suspected(self, extent: Extent) -> Suspect | None:
        """What was said of the chunk with which *extent* begins; nothing once it is committed."""
        with self._lock:
            found = self._suspects.get(extent.number)
            if found is not None and found.lower != extent.lower:
                del self._suspects[extent.number]
                return None
            return found

    def learn(self, total: int, done: int, *, moved: int) -> None:
        """The rows were counted beside the work, when it had *moved* so many."""
        with self._lock:
            self._meter.learn(total, max(0, done - moved))

    @property
    def fair_share(self) -> int | None:
        """Rows for one worker, of those that are left, that leave enough for the others to finish with him;
        None where nobody knows how many are left."""
        with self._lock:
            left = self._meter.left
            return None if left is None else left // (_SHARES * max(1, len(self._facts)))

    def failed(self, rows: int) -> bool:
        """Rows were recorded as failed; False if these are too many."""
        with self._lock:
            self.failures += rows
            return self.failures <= self.place.max_failures

    def begin(self) -> None:
        """Shows where it starts."""
        self.place.listener.started(self._snapshot(""))

    def _snapshot(self, chunk: str, **more: Any) -> Snapshot:
        steering = self.place.watched.steering
        waits = sorted({facts.get("waits_for") for facts in self._facts.values()} - {None})  # type: ignore[type-var]
        return self._meter.snapshot(
            chunk,
            workers=max(1, len(self._facts)),
            waits_for=", ".join(map(str, waits)),
            share=round(steering.share, 3) if isinstance(steering, Steered) else None,
            felt=_felt(self.place.watched.canary),
            **more,
        )


def _felt(canary: Canary | None) -> str:
    if canary is None or canary.felt is None or canary.rest is None:
        return ""
    return f"{canary.felt}, at rest {canary.rest}"


def record_status(connection: Any, name: str) -> Status | None:
    """What the record of *name* says."""
    record = state.get_record(connection, name)
    return None if record is None else record.status
