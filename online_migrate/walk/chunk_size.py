"""Controls the number of rows of the next chunk, so that a chunk takes about its target time. Pure.

The duration of a chunk is the time for which it holds row locks, the longest wait of another writer of the
same rows, and the amount of work that a kill undoes. The cost per row is not known in advance and changes
during the run with the rows and the load. The size therefore follows the measured durations:

* at first the size doubles, as long as a chunk takes less than a third of the target time;
* afterwards it grows by at most half, and only if the slower ones of the last chunks stay below the target;
* a chunk that takes more than twice the target time shrinks the next chunk immediately, in proportion;
* the size stays between a smallest and a largest size;
* the target time itself lies between two bounds: it is long while other sessions see no higher latency, so
  that little of the run is spent on round trips and commits;
* a size that the server refused, or at which connections were lost, is not exceeded for a number of chunks;
  afterwards the limit doubles repeatedly until it is above the wanted size and is removed.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import math


@dataclasses.dataclass(frozen=True)
class SizeLimits:
    """The parameters of the chunk size controller. Sizes are in rows."""

    target: float
    """The target duration of a chunk, in seconds; the shortest one if *longest_target* is given."""
    smallest: int = 10
    largest: int = 50_000
    growth: float = 1.5
    """The largest factor by which the size grows in one step."""
    first_growth: float = 2.0
    """The growth factor after each chunk, until a chunk has taken a third of the target time."""
    overshoot: float = 2.0
    """A chunk that takes longer than this multiple of the target shrinks the next chunk immediately."""
    memory: int = 8
    """The number of recent chunks whose durations are evaluated."""
    longest_target: float | None = None
    """The target duration of a chunk while latency allows it, in seconds; None: always *target*."""


class ResizeReason(enum.StrEnum):
    """The reason for the current chunk size."""

    START = "not measured yet"
    KEPT = "chunk time on target"
    GREW = "chunks were faster than the target"
    SHRANK = "chunks were slower than the target"
    OVERSHOT = "the last chunk far exceeded the target"
    REFUSED = "the server refused more rows in one chunk"


class ChunkSize:
    """The chunk size of one worker, derived from the durations of its chunks."""

    def __init__(self, bounds: SizeLimits, start: int) -> None:
        self.limits = bounds
        self.target = bounds.target
        """The current target duration of a chunk, in seconds."""
        self._wanted = self._bounded(start)
        self._ceiling: int | None = None
        self._patience = self._accepted = 0
        self._why = ResizeReason.START
        self._costs: collections.deque[float] = collections.deque(maxlen=bounds.memory)
        self._since = 0
        self._ramping_up = True

    @property
    def size(self) -> int:
        """The number of rows of the next chunk."""
        return self._wanted if self._ceiling is None else min(self._wanted, self._ceiling)

    @property
    def resize_reason(self) -> ResizeReason:
        """The reason for the current size."""
        return self._why if self._ceiling is None else ResizeReason.REFUSED

    def limit(self, rows: int, *, patience: int) -> int:
        """Limits the next chunks to *rows*; returns the size of the next chunk.

        *patience*: the number of accepted chunks after which the limit doubles. It doubles again after each
        *patience* chunks, and is removed when it reaches the wanted size.
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

    def observe(self, rows: int, seconds: float, *, target_share: float = 0.0) -> int:
        """Records that a chunk of *rows* rows took *seconds*; returns the size of the next chunk.

        *target_share*: the part of the longest target duration that the next chunk may take, 0 to 1.
        """
        bounds = self.limits
        self.target = max(bounds.target, (bounds.longest_target or 0.0) * target_share)
        if rows <= 0 or not math.isfinite(seconds) or seconds < 0:
            return self.size
        if self._ceiling is not None:
            # A limited chunk gives no information about larger chunks, unless it took too long itself.
            self._accept()
            if seconds <= self.target * bounds.overshoot:
                return self.size
        self._costs.append(seconds / rows)
        self._since += 1
        if seconds > self.target * bounds.overshoot:
            self._ramping_up = False
            # In proportion to the rows that were measured, which may be fewer than a whole chunk.
            return self._set(rows * self.target / seconds, ResizeReason.OVERSHOT)
        self._ramping_up = self._ramping_up and seconds * 3 < self.target
        if self._ramping_up:
            # Not from the wanted size: with chunks in flight it would grow several times unmeasured.
            return self._set(max(self._wanted, rows * bounds.first_growth), ResizeReason.GREW)
        if self._since < min(3, bounds.memory):
            return self.size
        wanted = self.target / self._slow_cost()
        if wanted > self._wanted * 1.1:
            return self._set(min(wanted, self._wanted * bounds.growth), ResizeReason.GREW)
        if wanted < self._wanted * 0.9:
            return self._set(wanted, ResizeReason.SHRANK)
        self._why = ResizeReason.KEPT
        return self.size

    def _slow_cost(self) -> float:
        """Returns the 75th percentile of the seconds per row, because a single fast chunk proves nothing."""
        ordered = sorted(self._costs)
        return max(ordered[math.ceil(0.75 * len(ordered)) - 1], 1e-9)

    def _set(self, size: float, why: ResizeReason) -> int:
        new = self._bounded(int(size))
        if why is ResizeReason.OVERSHOT or new < self._wanted:
            # Costs measured at another size no longer apply: short chunks cost more per row.
            self._costs.clear()
        self._why = why if new != self._wanted else ResizeReason.KEPT
        self._wanted = new
        self._since = 0
        return self.size

    def _bounded(self, size: int) -> int:
        return max(self.limits.smallest, min(self.limits.largest, size))
