"""What the workers of one data migration in one process share."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

from online_migrate import state
from online_migrate.migrate.budget import Budget
from online_migrate.migrate.pace import Pace
from online_migrate.migrate.progress import Listener, RateMeter, Snapshot
from online_migrate.state import Status
from online_migrate.throttle import Throttling
from online_migrate.throttle.duty_cycle import AdaptiveDutyCycle
from online_migrate.throttle.latency_probe import LatencyProbe
from online_migrate.waiting import Clock, Stop
from online_migrate.walk.chunk_size import ChunkSize

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from online_migrate.migrate.worker.bisection import FailureBisector
    from online_migrate.migrate.worker.lease import KeyRange
    from online_migrate.migrate.worker.planner import ChunkPlan
    from online_migrate.walk.chunker import Chunk, Key

MAX_SLEEP = 1.0
"""Seconds that a worker rests after a chunk: meanwhile nobody hears what an operator says on SQLite."""

RANGES_PER_WORKER = 4
"""Parts of what is left, for each worker: who finishes last has at most one of them in hand."""


@dataclasses.dataclass(frozen=True)
class RunContext:
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
    throttling: Throttling = dataclasses.field(default_factory=Throttling)

    @property
    def should_stop(self) -> bool:
        """True if no further chunk may be begun."""
        return self.stop.requested or self.budget.exhausted


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A chunk in which a connection was lost; the worker that gets it next decides what that means."""

    lower: Key | None
    plan: ChunkPlan | None
    isolation: FailureBisector[Key]
    error: BaseException
    losses: int
    """How often in a row, at this chunk."""


class RunState:
    """The workers of one data migration in this process: their counts, and what they are told."""

    def __init__(self, context: RunContext, name: str, meter: RateMeter) -> None:
        self.context = context
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
        self._fewest_pending: int | None = None
        self._stalled_passes = 0
        self._last_pass: object = None
        self._meter = meter
        self._lock = threading.Lock()
        self._worker_stats: dict[str, dict[str, Any]] = {}
        self._stop_requested = threading.Event()

    # --- what they are told ----------------------------------------------------------------------

    @property
    def should_stop(self) -> bool:
        """True if no further chunk may be begun."""
        return self.context.should_stop or self._stop_requested.is_set()

    def stop(self, problem: BaseException | None = None) -> None:
        """Sends everybody home after their chunk; the first *problem* is kept."""
        with self._lock:
            self.problem = self.problem or problem
        self._stop_requested.set()

    def status_changed(self, status: Status | None) -> None:
        """What the record says now: somebody may have paused, cancelled or ended it."""
        self.status = status or Status.FAILED
        self.completed = self.completed or status is Status.COMPLETE
        if self.status not in (Status.RUNNING, Status.PAUSED):
            self._stop_requested.set()

    @property
    def throttle_reason(self) -> str | None:
        """Why no chunk may be begun just now; None if one may."""
        if self.status is Status.PAUSED:
            return "paused by an operator"
        return self.context.throttling.throttle.reason()

    def count_stalled_passes(self, pending: int, walk: object) -> int:
        """How often in a row a pass over the table ended with no fewer *pending* rows than any before.

        *walk*: which pass; a transaction that is repeated counts it once.
        """
        if walk == self._last_pass:
            return self._stalled_passes
        self._last_pass = walk
        fewer = self._fewest_pending is None or pending < self._fewest_pending
        self._stalled_passes = 0 if fewer else self._stalled_passes + 1
        self._fewest_pending = pending if self._fewest_pending is None else min(pending, self._fewest_pending)
        return self._stalled_passes

    # --- what they tell --------------------------------------------------------------------------

    def add_worker(self, worker: str) -> None:
        """A worker is there."""
        with self._lock:
            self._worker_stats[worker] = {}

    def remove_worker(self, worker: str) -> None:
        """A worker is not there any more."""
        with self._lock:
            self._worker_stats.pop(worker, None)

    def worker_stats(self) -> dict[str, dict[str, Any]]:
        """For the record: every worker with its chunk size, its rate and what it waits for."""
        with self._lock:
            return {id: dict(facts) for id, facts in self._worker_stats.items()}

    def set_wait_reason(self, worker: str, reason: str | None) -> None:
        """A worker waits, or does not wait any more."""
        with self._lock:
            if worker in self._worker_stats and self._worker_stats[worker].get("waits_for") != reason:
                self._worker_stats[worker]["waits_for"] = reason
                self.context.listener.advanced(self._snapshot(""))

    def chunk_committed(self, worker: str, rows: int, chunk: Chunk | str, size: ChunkSize | None) -> None:
        """A chunk was committed."""
        with self._lock:
            self.progress += 1
            self.done += rows
            self._meter.add(rows)
            more: dict[str, Any] = {}
            if size is not None and worker in self._worker_stats:
                self._worker_stats[worker] |= {
                    "chunk_size": size.size,
                    "rate": self._meter.rate / len(self._worker_stats),
                }
                more = {"chunk_size": size.size, "resize_reason": size.resize_reason.value}
            self.context.listener.advanced(self._snapshot(str(chunk), **more))

    def progressed(self) -> None:
        """Fewer rows are going to be tried than before, or one is recorded."""
        with self._lock:
            self.progress += 1

    def suspect(
        self,
        key_range: KeyRange,
        plan: ChunkPlan | None,
        bisector: FailureBisector[Key],
        error: BaseException,
    ) -> None:
        """A connection was lost in the chunk with which *extent* begins."""
        with self._lock:
            before = self._suspects.get(key_range.number)
            losses = 1 + (before.losses if before is not None and before.lower == key_range.lower else 0)
            self._suspects[key_range.number] = Suspect(key_range.lower, plan, bisector, error, losses)

    def suspected(self, key_range: KeyRange) -> Suspect | None:
        """What was said of the chunk with which *extent* begins; nothing once it is committed."""
        with self._lock:
            found = self._suspects.get(key_range.number)
            if found is not None and found.lower != key_range.lower:
                del self._suspects[key_range.number]
                return None
            return found

    def set_totals(self, total: int, done: int, *, moved: int) -> None:
        """The rows were counted beside the work, when it had *moved* so many."""
        with self._lock:
            self._meter.set_totals(total, max(0, done - moved))

    @property
    def fair_share_rows(self) -> int | None:
        """Rows for one worker, of those that are left, that leave enough for the others to finish with him;
        None where nobody knows how many are left."""
        with self._lock:
            left = self._meter.remaining
            return None if left is None else left // (RANGES_PER_WORKER * max(1, len(self._worker_stats)))

    def count_failures(self, rows: int) -> bool:
        """Rows were recorded as failed; False if these are too many."""
        with self._lock:
            self.failures += rows
            return self.failures <= self.context.max_failures

    def show_start(self) -> None:
        """Shows where it starts."""
        self.context.listener.started(self._snapshot(""))

    def _snapshot(self, chunk: str, **more: Any) -> Snapshot:
        duty_cycle = self.context.throttling.duty_cycle
        waits = sorted({facts.get("waits_for") for facts in self._worker_stats.values()} - {None})  # type: ignore[type-var]
        return self._meter.snapshot(
            chunk,
            workers=max(1, len(self._worker_stats)),
            waits_for=", ".join(map(str, waits)),
            share=round(duty_cycle.duty_cycle, 3) if isinstance(duty_cycle, AdaptiveDutyCycle) else None,
            latency=_latency_text(self.context.throttling.latency_probe),
            **more,
        )


def _latency_text(probe: LatencyProbe | None) -> str:
    if probe is None or probe.latency is None or probe.baseline is None:
        return ""
    return f"{probe.latency}, baseline {probe.baseline}"


def read_status(connection: Any, name: str) -> Status | None:
    """What the record of *name* says."""
    record = state.get_record(connection, name)
    return None if record is None else record.status
