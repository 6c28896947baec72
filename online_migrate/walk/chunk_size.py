"""How many rows the next chunk gets, so that a chunk takes about as long as it was meant to. Pure.

The time of a chunk is what it holds locks for, what a second writer of the same rows waits, and what a
kill undoes. Its cost per row is not known beforehand and changes on the way: other rows, other load. So
the size follows the times that were measured:

* at first it doubles, as long as a chunk takes less than a third of its time;
* then it grows by half at most, and only when the slower ones of the last chunks leave room for it;
* a chunk that takes twice its time shrinks the next one at once, in proportion;
* it stays between a smallest and a largest size;
* a size that the server refused, or at which connections were lost, is not exceeded for some chunks; after
  them the limit doubles, until it is none any more.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import math


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What the controller may do."""

    target: float
    """Seconds that a chunk should take."""
    smallest: int = 10
    largest: int = 50_000
    growth: float = 1.5
    """By how much the size may grow in one step."""
    first_growth: float = 2.0
    """The same, chunk by chunk, until the first one took about a third of its time."""
    overshoot: float = 2.0
    """How many times the target shrinks the next chunk at once."""
    memory: int = 8
    """How many chunks are looked at before the size grows or is corrected."""


class Why(enum.StrEnum):
    """Why the size is what it is."""

    START = "not measured yet"
    KEPT = "as long as it should take"
    GREW = "the chunks were quicker than they may be"
    SHRANK = "the chunks were slower than they should be"
    OVERSHOT = "the last chunk took far too long"
    REFUSED = "the server did not accept more rows at once"


class ChunkSize:
    """Follows the times of one worker's chunks."""

    def __init__(self, bounds: Bounds, start: int) -> None:
        self.bounds = bounds
        self._wanted = self._bounded(start)
        self._ceiling: int | None = None
        self._patience = self._accepted = 0
        self._why = Why.START
        self._costs: collections.deque[float] = collections.deque(maxlen=bounds.memory)
        self._since = 0
        self._feeling = True

    @property
    def size(self) -> int:
        """The rows of the next chunk."""
        return self._wanted if self._ceiling is None else min(self._wanted, self._ceiling)

    @property
    def why(self) -> Why:
        """The reason for that size."""
        return self._why if self._ceiling is None else Why.REFUSED

    def limit(self, rows: int, *, patience: int) -> int:
        """No more than *rows* from now on; gives the size of the next chunk.

        *patience*: after so many chunks the limit doubles, and so on until it is none any more.
        """
        self._ceiling = max(1, rows)
        self._patience, self._accepted = patience, 0
        return self.size

    def _accept(self) -> None:
        if self._ceiling is None:
            return
        self._accepted += 1
        if self._accepted >= self._patience:
            self._ceiling, self._accepted = 2 * self._ceiling, 0
            if self._ceiling >= self._wanted:
                self._ceiling = None

    def observe(self, rows: int, seconds: float) -> int:
        """Takes note of a chunk of *rows* that took *seconds*; gives the size of the next one."""
        bounds = self.bounds
        if rows <= 0 or not math.isfinite(seconds) or seconds < 0:
            return self.size
        if self._ceiling is not None:
            # Its time says nothing of larger ones, but that it is not too long.
            self._accept()
            if seconds <= bounds.target * bounds.overshoot:
                return self.size
        self._costs.append(seconds / rows)
        self._since += 1
        if seconds > bounds.target * bounds.overshoot:
            self._feeling = False
            # In proportion to what took so long, which may have been less than a whole chunk.
            return self._set(rows * bounds.target / seconds, Why.OVERSHOT)
        self._feeling = self._feeling and seconds * 3 < bounds.target
        if self._feeling:
            return self._set(self._wanted * bounds.first_growth, Why.GREW)
        if self._since < min(3, bounds.memory):
            return self.size
        wanted = bounds.target / self._slow_cost()
        if wanted > self._wanted * 1.1:
            return self._set(min(wanted, self._wanted * bounds.growth), Why.GREW)
        if wanted < self._wanted * 0.9:
            return self._set(wanted, Why.SHRANK)
        self._why = Why.KEPT
        return self.size

    def _slow_cost(self) -> float:
        """Seconds a row in the slower ones of the last chunks: one that was lucky says nothing."""
        ordered = sorted(self._costs)
        return max(ordered[math.ceil(0.75 * len(ordered)) - 1], 1e-9)

    def _set(self, size: float, why: Why) -> int:
        new = self._bounded(int(size))
        if why is Why.OVERSHOT or new < self._wanted:
            # What was measured at another size counts no more: short chunks cost more a row.
            self._costs.clear()
        self._why = why if new != self._wanted else Why.KEPT
        self._wanted = new
        self._since = 0
        return self.size

    def _bounded(self, size: int) -> int:
        return max(self.bounds.smallest, min(self.bounds.largest, size))
