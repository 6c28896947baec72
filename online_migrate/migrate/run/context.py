"""The state that the workers of one data migration in one process share."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

from online_migrate import state
from online_migrate.engine_options import EngineOptions
from online_migrate.migrate.budget import Budget
from online_migrate.migrate.pace import Pace
from online_migrate.migrate.progress import Listener, RateMeter
from online_migrate.migrate.run.reporter import ProgressReporter
from online_migrate.migrate.worker.lost_chunks import LostChunks
from online_migrate.state import Status
from online_migrate.throttle import Throttling
from online_migrate.waiting import Clock, Stop
from online_migrate.walk.chunk_size import ChunkSize

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from online_migrate.walk.chunk import Chunk


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
    engine_options: EngineOptions = dataclasses.field(default_factory=EngineOptions)
    """What the configuration says about connections, for functions that connect by themselves."""

    @property
    def should_stop(self) -> bool:
        """True if no further chunk may be started: a stop was requested, or the budget is exhausted."""
        return self.stop.requested or self.budget.exhausted


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
        self.lost_chunks = LostChunks()
        self.reporter = ProgressReporter(meter, context.listener, context.throttling)
        self._fewest_pending: int | None = None
        self._stalled_passes = 0
        self._last_pass: object = None
        self._lock = threading.Lock()
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

    # --- what the workers have done ---------------------------------------------------------------

    def chunk_committed(self, worker: str, rows: int, chunk: Chunk | str, size: ChunkSize | None) -> None:
        """Counts a committed chunk of *rows* migrated rows, and reports it; see :class:`ProgressReporter`."""
        with self._lock:
            self.progress += 1
            self.done += rows
        self.reporter.chunk_committed(worker, rows, chunk, size)

    def progressed(self) -> None:
        """Counts a step of a bisection: fewer rows are tried, or a single row is recorded as failed."""
        with self._lock:
            self.progress += 1

    def count_failures(self, rows: int) -> bool:
        """Adds rows that were recorded as failed. Returns False if the maximum is exceeded."""
        with self._lock:
            self.failures += rows
            return self.failures <= self.context.max_failures


def read_status(connection: Any, name: str) -> Status | None:
    """Returns the status in the record of *name*; None if there is no record."""
    record = state.get_record(connection, name)
    return None if record is None else record.status
