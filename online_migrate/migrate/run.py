"""What a run of data migrations is asked to do, and what came of it. Pure."""

from __future__ import annotations

import dataclasses
import enum
import threading
from collections.abc import Iterable, Mapping

from online_migrate.state import Status
from online_migrate.waiting import Clock
from online_migrate.walk.chunk_size import Bounds, ChunkSize


class Outcome(enum.Enum):
    """What came of one data migration in one run; the value is a sentence about it."""

    COMPLETE = "nothing is pending"
    CONTRACTED = "its contract revision is applied: there is nothing left to do"
    REMAINING = "stopped at a limit, or on request: run the command again to continue"
    CHASED = "every row was moved, but rows became pending since: an old version still writes them"
    HELD = "paused or cancelled by an operator"
    WAITING = "waits for a data migration that is not complete"
    FAILED = "failed: see the error"


TRANSITIONS: Mapping[tuple[Status | None, Status], str] = {
    (None, Status.RUNNING): "it is run for the first time",
    (Status.RUNNING, Status.RUNNING): "workers join, or all that were at it were killed",
    (Status.STOPPED, Status.RUNNING): "it is run again and goes on from its checkpoint",
    (Status.FAILED, Status.RUNNING): "it is run again; rows that failed are tried once more",
    (Status.COMPLETE, Status.RUNNING): "it is run again, for rows that became pending since",
    (Status.PAUSED, Status.RUNNING): "somebody said resume, and its workers go on where they stood",
    (Status.RUNNING, Status.PAUSED): "somebody said pause; its workers finish their chunk and hold on",
    (Status.STOPPED, Status.PAUSED): "somebody said pause while nobody was at it: it cannot be started",
    (None, Status.PAUSED): "somebody said pause before it was ever run: it cannot be started",
    (None, Status.CANCELLED): "somebody said cancel before it was ever run: it cannot be started",
    (Status.PAUSED, Status.STOPPED): "somebody said resume, and nobody is at it: it can be started again",
    (Status.RUNNING, Status.CANCELLED): "somebody said cancel; its workers finish their chunk and leave",
    (Status.PAUSED, Status.CANCELLED): "somebody said cancel instead of resume",
    (Status.STOPPED, Status.CANCELLED): "somebody said cancel: it cannot be started",
    (Status.FAILED, Status.CANCELLED): "somebody gave it up",
    (Status.CANCELLED, Status.STOPPED): "somebody said resume, or retry: it can be started again",
    (Status.FAILED, Status.STOPPED): "somebody said retry: its failed rows count as untried",
    (Status.RUNNING, Status.STOPPED): "a limit was reached, or somebody asked to stop",
    (Status.RUNNING, Status.FAILED): "an error ended it, or rows are left that cannot be migrated",
    (Status.RUNNING, Status.COMPLETE): "it was counted that no row is pending",
}
"""The state machine of a data migration: every arrow, and what it means."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one data migration."""

    name: str
    outcome: Outcome
    done: int = 0
    """Rows migrated in this run."""
    failed: int = 0
    """Rows that are recorded as failed."""
    error: str | None = None


class Budget:
    """How many rows, and until when, the run may still migrate. Shared by its workers.

    *rows*: None for as many as there are. *deadline*: seconds of *clock*; None for no end.
    """

    def __init__(self, rows: int | None = None, *, deadline: float | None = None, clock: Clock | None = None):
        self._lock = threading.Lock()
        self._rows = rows
        self._deadline = deadline
        self._clock = clock or Clock()

    def reserve(self, size: int) -> int:
        """Takes up to *size* rows for a chunk; gives how many."""
        with self._lock:
            if self._rows is None:
                return size
            granted = min(size, self._rows)
            self._rows -= granted
            return granted

    def settle(self, reserved: int, migrated: int) -> None:
        """Gives back what a chunk did not use of what was reserved for it."""
        with self._lock:
            if self._rows is not None:
                self._rows = max(0, self._rows + reserved - migrated)

    @property
    def limited(self) -> bool:
        """True if somebody said how many rows."""
        return self._rows is not None

    @property
    def exhausted(self) -> bool:
        """True if no row may be migrated any more."""
        return self._rows == 0 or (self._deadline is not None and self._clock.monotonic() >= self._deadline)


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long a chunk takes, and which part of the time is worked."""

    chunk_time: float = 0.1
    """Seconds that a chunk should take, besides what a commit takes at rest."""
    share: float = 1.0
    """Of the time, what a worker works at the most: above 0, at most 1."""
    steered: bool = False
    """Less than *share*, when users feel it."""
    batch_size: int | None = None
    """Rows in every chunk, whatever time it takes."""
    first: int = 500
    """Rows in the first chunk, of which nothing is known yet."""

    @classmethod
    def named(
        cls,
        name: str,
        *,
        chunk_time: float | None = None,
        rest: float | None = None,
        batch_size: int | None = None,
    ) -> Pace:
        """One of :data:`PACES`, with what was said explicitly; *rest*: seconds for each second of work."""
        usual = PACES[name]
        return dataclasses.replace(
            usual,
            chunk_time=chunk_time or usual.chunk_time,
            share=usual.share if rest is None else 1 / (1 + rest),
            batch_size=batch_size,
        )

    def controller(self, largest: int) -> ChunkSize:
        """What follows the times of one worker's chunks, up to *largest* rows."""
        if self.batch_size is not None:
            fixed = Bounds(self.chunk_time, smallest=self.batch_size, largest=self.batch_size)
            return ChunkSize(fixed, self.batch_size)
        return ChunkSize(Bounds(self.chunk_time, largest=largest), min(self.first, largest))


PACES: Mapping[str, Pace] = {
    "gentle": Pace(0.007, share=0.25, steered=True),
    # Measured: what users feel depends on how long a chunk is, and hardly on how long we rest after it.
    "default": Pace(0.007, share=1.0, steered=True),
    "full": Pace(0.5),
}


def exit_code(results: Iterable[Result]) -> int:
    """0: nothing is pending; 1: work remains; 2: something failed."""
    outcomes = {result.outcome for result in results}
    if Outcome.FAILED in outcomes:
        return 2
    return 1 if outcomes & {Outcome.REMAINING, Outcome.CHASED, Outcome.HELD, Outcome.WAITING} else 0
