"""The state that the workers of one data migration in one process share."""

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
    from online_migrate.walk.chunk import Chunk
    from online_migrate.walk.key import Key

RANGES_PER_WORKER = 4
"""The number of key ranges per worker into which the remaining rows are divided: the worker that ends last
has one of them at most."""


@dataclasses.dataclass(frozen=True)
class RunContext:
    """The collaborators and settings of a run of data migrations, created once for a command."""

    engine: Engine
    budget: Budget
    clock: Clock
    stop: Stop
    listener: Listener
    pace: Pace = dataclasses.field(default_factory=Pace)
    workers: int = 1
    lease: float = 30.0
    """Seconds without a heartbeat after which other workers take over a worker's key range."""
    max_failures: int = 100
    """The maximum number of failed rows; the run of the data migration ends when it is exceeded."""
    throttling: Throttling = dataclasses.field(default_factory=Throttling)

    @property
    def should_stop(self) -> bool:
        """True if no further chunk may be started: a stop was requested, or the budget is exhausted."""
        return self.stop.requested or self.budget.exhausted


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A chunk in which a connection was lost; the next worker of this chunk decides how to handle it."""

    lower: Key | None
    plan: ChunkPlan | None
    isolation: FailureBisector[Key]
    error: BaseException
    losses: int
    """The number of lost connections in a row at this chunk."""


class RunState:
    """The shared state of the workers of one data migration in this process: counts, status, stop request."""

    def __init__(self, context: RunContext, name: str, meter: RateMeter) -> None:
        self.context = context
        self.name = name
        self.run = ""
        """The id of the run; workers of other processes may take part in the same run."""
        self.done = 0
        self.failures = 0
        self.status: Status = Status.RUNNING
        """The status in the record when it was last read."""
        self.completed = False
        """True if a count of this or another process found no pending row."""
        self.problem: BaseException | None = None
        """The first error that ended a worker."""
        self.progress = 0
        """Is incremented with every committed chunk, and with every step of a bisection."""
        self._suspects: dict[int, Suspect] = {}
        self._fewest_pending: int | None = None
        self._stalled_passes = 0
        self._last_pass: object = None
        self._meter = meter
        self._lock = threading.Lock()
        self._worker_stats: dict[str, dict[str, Any]] = {}
        self._stop_requested = threading.Event()

    # --- control of the workers ------------------------------------------------------------------

    @property
    def should_stop(self) -> bool:
        """True if no further chunk may be started."""
        return self.context.should_stop or self._stop_requested.is_set()

    def stop(self, problem: BaseException | None = None) -> None:
        """Requests the end of all workers after their current chunk; the first *problem* is kept."""
        with self._lock:
            self.problem = self.problem or problem
        self._stop_requested.set()

    def status_changed(self, status: Status | None) -> None:
        """Applies the status in the record, which an operator or another process may have changed.

        None: the record does not exist; counts as FAILED. Any status but RUNNING and PAUSED stops the
        workers.
        """
        self.status = status or Status.FAILED
        self.completed = self.completed or status is Status.COMPLETE
        if self.status not in (Status.RUNNING, Status.PAUSED):
            self._stop_requested.set()

    @property
    def throttle_reason(self) -> str | None:
        """The reason why no chunk may be started at the moment; None if one may."""
        if self.status is Status.PAUSED:
            return "paused by an operator"
        return self.context.throttling.throttle.reason()

    def count_stalled_passes(self, pending: int, walk: object) -> int:
        """Returns how many passes in a row ended with no fewer *pending* rows than the best pass before.

        *walk*: identifies the pass; a pass is counted once if its transaction is repeated.
        """
        if walk == self._last_pass:
            return self._stalled_passes
        self._last_pass = walk
        fewer = self._fewest_pending is None or pending < self._fewest_pending
        self._stalled_passes = 0 if fewer else self._stalled_passes + 1
        self._fewest_pending = pending if self._fewest_pending is None else min(pending, self._fewest_pending)
        return self._stalled_passes

    # --- reports of the workers ------------------------------------------------------------------

    def add_worker(self, worker: str) -> None:
        """Adds a worker."""
        with self._lock:
            self._worker_stats[worker] = {}

    def remove_worker(self, worker: str) -> None:
        """Removes a worker."""
        with self._lock:
            self._worker_stats.pop(worker, None)

    def worker_stats(self) -> dict[str, dict[str, Any]]:
        """Returns the chunk size, the rate and the wait reason of every worker, for the heartbeat."""
        with self._lock:
            return {id: dict(facts) for id, facts in self._worker_stats.items()}

    def set_wait_reason(self, worker: str, reason: str | None) -> None:
        """Sets the reason why a worker waits; None: it does not wait."""
        with self._lock:
            if worker in self._worker_stats and self._worker_stats[worker].get("waits_for") != reason:
                self._worker_stats[worker]["waits_for"] = reason
                self.context.listener.advanced(self._snapshot(""))

    def chunk_committed(self, worker: str, rows: int, chunk: Chunk | str, size: ChunkSize | None) -> None:
        """Counts a committed chunk of *rows* migrated rows, and notifies the listener.

        *size*: the worker's chunk size controller; None: the chunk size is not reported.
        """
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
        """Counts a step of a bisection: fewer rows are tried, or a single row is recorded as failed."""
        with self._lock:
            self.progress += 1

    def suspect(
        self,
        key_range: KeyRange,
        plan: ChunkPlan | None,
        bisector: FailureBisector[Key],
        error: BaseException,
    ) -> None:
        """Records that a connection was lost in the first chunk of *key_range*."""
        with self._lock:
            before = self._suspects.get(key_range.number)
            losses = 1 + (before.losses if before is not None and before.lower == key_range.lower else 0)
            self._suspects[key_range.number] = Suspect(key_range.lower, plan, bisector, error, losses)

    def suspected(self, key_range: KeyRange) -> Suspect | None:
        """Returns the suspect record of the first chunk of *key_range*; None once that chunk is committed."""
        with self._lock:
            found = self._suspects.get(key_range.number)
            if found is not None and found.lower != key_range.lower:
                del self._suspects[key_range.number]
                return None
            return found

    def set_totals(self, total: int, done: int, *, moved: int) -> None:
        """Sets the totals of a count in the background.

        *total*: all rows. *done*: rows that the count found migrated. *moved*: rows that this run had
        migrated when the count started.
        """
        with self._lock:
            self._meter.set_totals(total, max(0, done - moved))

    @property
    def fair_share_rows(self) -> int | None:
        """The share of the remaining rows for one key range, so that all workers end at about the same time.

        None where the number of remaining rows is not known.
        """
        with self._lock:
            left = self._meter.remaining
            return None if left is None else left // (RANGES_PER_WORKER * max(1, len(self._worker_stats)))

    def count_failures(self, rows: int) -> bool:
        """Adds rows that were recorded as failed. Returns False if the maximum is exceeded."""
        with self._lock:
            self.failures += rows
            return self.failures <= self.context.max_failures

    def show_start(self) -> None:
        """Notifies the listener of the start."""
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
    """Returns the status in the record of *name*; None if there is no record."""
    record = state.get_record(connection, name)
    return None if record is None else record.status
