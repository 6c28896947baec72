"""How far a data migration is, how fast it goes, how long it will take."""

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
    """A data migration at one moment."""

    name: str
    total: int | None
    """Rows in all; None where nobody said what is pending."""
    done: int
    """Rows done, those of earlier runs included."""
    rate: float
    """Rows a second, over the last half minute."""
    seconds_left: float | None
    chunk: str = ""
    """What was just done: a key range."""
    workers: int = 1
    """How many workers of this process are at it."""
    waits_for: str = ""
    """Why no chunk is begun just now."""
    chunk_size: int | None = None
    """Rows that the next chunk gets."""
    resize_reason: str = ""
    """Why it gets so many."""
    share: float | None = None
    """Of the time, what a worker works; None where it does not follow what users feel."""
    latency: str = ""
    """How long a tiny read and a tiny write take, now and while nobody works."""


class Listener(Protocol):
    """Who wants to know how it goes: a terminal, a log, a test."""

    def started(self, snapshot: Snapshot) -> None:
        """A data migration is about to run, or to go on from where it was."""

    def advanced(self, snapshot: Snapshot) -> None:
        """A chunk was committed."""

    def finished(self, result: Result) -> None:
        """A data migration is over, in one way or another."""


class NullListener:
    """Listens to nothing."""

    def started(self, snapshot: Snapshot) -> None: ...

    def advanced(self, snapshot: Snapshot) -> None: ...

    def finished(self, result: Result) -> None: ...


class RateMeter:
    """Measures the rate of one data migration."""

    def __init__(self, name: str, *, total: int | None, done: int, clock: Clock) -> None:
        self._name = name
        self._total = total
        self._before = done
        self._added = 0
        self._clock = clock
        self._marks: collections.deque[tuple[float, int]] = collections.deque([(clock.monotonic(), 0)])

    def add(self, rows: int) -> None:
        """Counts rows that were just committed."""
        self._added += rows
        now = self._clock.monotonic()
        self._marks.append((now, self._added))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()

    def set_totals(self, total: int, before: int) -> None:
        """The rows were counted meanwhile: all of them, and those that were done before :meth:`add`."""
        self._total = total
        self._before = before

    @property
    def remaining(self) -> int | None:
        """Rows that are not done yet; None where nobody knows."""
        return None if self._total is None else max(0, self._total - self._before - self._added)

    @property
    def rate(self) -> float:
        """Rows a second, over the last half minute."""
        (then, before), (now, added) = self._marks[0], self._marks[-1]
        return (added - before) / (now - then) if now > then else 0.0

    def snapshot(self, chunk: str = "", **more: Any) -> Snapshot:
        """How it stands now; *more*: what is known elsewhere."""
        rate, left = self.rate, self.remaining
        seconds = left / rate if left is not None and rate > 0 else None
        done = self._before + self._added
        return Snapshot(self._name, self._total, done, rate, seconds, chunk, **more)
