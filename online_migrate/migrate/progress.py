"""Progress of a data migration: rows done, rate, and time left."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, Protocol

from online_migrate.migrate.status import Result
from online_migrate.waiting import Clock

_WINDOW = 30.0
"""Seconds over which the rate is measured."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The progress of a data migration at one moment."""

    name: str
    total: int | None
    """The total number of rows; None where it is not known, or where there is no ``pending`` expression."""
    done: int
    """Rows done, including those of earlier runs."""
    rate: float
    """Rows a second, over the last half minute."""
    seconds_left: float | None
    chunk: str = ""
    """The key range of the chunk that was committed last."""
    workers: int = 1
    """The number of workers of this process."""
    waits_for: str = ""
    """The reason why no chunk is started at the moment."""
    chunk_size: int | None = None
    """Rows in the next chunk."""
    resize_reason: str = ""
    """The reason for the current chunk size."""
    share: float | None = None
    """The duty cycle of a worker, 0 to 1; None where it does not adapt to the measured latency."""
    latency: str = ""
    """The latency of a small read and a small write: now, and the baseline without migration work."""


class Listener(Protocol):
    """Receives progress events: for a terminal, a log, a test."""

    def started(self, snapshot: Snapshot) -> None:
        """A data migration starts, or continues from its checkpoint."""

    def advanced(self, snapshot: Snapshot) -> None:
        """A chunk was committed."""

    def finished(self, result: Result) -> None:
        """The run of a data migration has ended, with any outcome."""


class NullListener:
    """A listener that ignores all events."""

    def started(self, snapshot: Snapshot) -> None: ...

    def advanced(self, snapshot: Snapshot) -> None: ...

    def finished(self, result: Result) -> None: ...


class RateMeter:
    """Measures the rate of one data migration.

    *name*: of the data migration. *total*: all rows; None: not known. *done*: rows done in earlier runs.
    """

    def __init__(self, name: str, *, total: int | None, done: int, clock: Clock) -> None:
        self._name = name
        self._total = total
        self._before = done
        self._added = 0
        self._clock = clock
        self._marks: collections.deque[tuple[float, int]] = collections.deque([(clock.monotonic(), 0)])

    def add(self, rows: int) -> None:
        """Adds rows that were just committed."""
        self._added += rows
        now = self._clock.monotonic()
        self._marks.append((now, self._added))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()

    def set_totals(self, total: int, before: int) -> None:
        """Sets the counts of a count that ended during the run.

        *total*: all rows. *before*: rows that were done before the first :meth:`add`.
        """
        self._total = total
        self._before = before

    @property
    def remaining(self) -> int | None:
        """Rows that are not done yet; None where the total is not known."""
        return None if self._total is None else max(0, self._total - self._before - self._added)

    @property
    def rate(self) -> float:
        """Rows a second, over the last half minute."""
        (then, before), (now, added) = self._marks[0], self._marks[-1]
        return (added - before) / (now - then) if now > then else 0.0

    def snapshot(self, chunk: str = "", **more: Any) -> Snapshot:
        """Returns the current progress. *chunk*: the key range of the last chunk. *more*: further fields."""
        rate, left = self.rate, self.remaining
        seconds = left / rate if left is not None and rate > 0 else None
        done = self._before + self._added
        return Snapshot(self._name, self._total, done, rate, seconds, chunk, **more)
