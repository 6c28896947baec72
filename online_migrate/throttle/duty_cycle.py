"""How long the chunks of a worker may be, and the share of its time in which it runs them. Pure.

Latency is measured a few times a second, and compared with the baseline, which is measured while no chunk
runs. A worse measurement shortens the chunks at once, by a third; when they are as short as they may be, it
reduces the duty cycle instead, by a third. Shorter chunks come first, because they cost less throughput: a
chunk delays other sessions by its row locks, and by the log that its commit writes. A measurement within the
tolerance of the baseline increases the duty cycle slightly, and after that the length of the chunks. So both
converge to values at which a few measurements in a hundred are outside of the tolerance. A worse measurement
while no chunk runs is not caused by the run and changes nothing: otherwise a run on a machine with noisy
neighbours would hardly progress.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol


class DutyCycle(Protocol):
    """Determines how long a chunk may be, and how long a worker sleeps after it."""

    @property
    def sleep_ratio(self) -> float:
        """Seconds of sleep for each second of work."""

    @property
    def chunk_time_share(self) -> float:
        """The part of the longest chunk time that a chunk may take, 0 to 1."""


@dataclasses.dataclass(frozen=True)
class FixedDutyCycle:
    """A constant sleep ratio, independent of latency; without a measured latency all chunks are short."""

    sleep_ratio: float = 0.0
    chunk_time_share: float = 0.0


@dataclasses.dataclass(frozen=True)
class Latency:
    """The latency of a small read and a small committed write, in seconds."""

    read: float
    write: float

    def __str__(self) -> str:
        return f"{self.read * 1000:.1f} / {self.write * 1000:.1f} ms"


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How much worse than the baseline a latency may be: *factor* times the baseline plus *slack* seconds."""

    factor: float = 2.0
    slack: float = 0.008


def baseline_of(samples: Sequence[Latency]) -> Latency:
    """Returns the baseline: the 90th percentile of *samples*, which are measured while no chunk runs.

    Raises :class:`ValueError` without samples.
    """
    if not samples:
        raise ValueError("there are no latency samples")
    place = int(0.9 * (len(samples) - 1))
    return Latency(
        sorted(sample.read for sample in samples)[place], sorted(sample.write for sample in samples)[place]
    )


def is_worse(latency: Latency, baseline: Latency, tolerance: Tolerance) -> bool:
    """Returns True if the read or the write of *latency* exceeds the tolerance."""
    return any(
        now > usual * tolerance.factor + tolerance.slack
        for now, usual in ((latency.read, baseline.read), (latency.write, baseline.write))
    )


class AdaptiveDutyCycle:
    """Adapts the duty cycle and the length of the chunks to the measured latency.

    *most*, *start*, *least*: the maximum, initial and minimum shares of a worker's time, above 0 and at
    most 1. Without *start* the maximum is used. *shortest*: the shortest chunk time, as a part of the longest
    one, above 0 and at most 1.
    """

    growth = 1.02
    first_growth = 1.05
    """The growth factor until the first worse measurement; *growth* is used after it."""
    shrink = 2 / 3

    def __init__(
        self, *, most: float, start: float | None = None, least: float = 0.02, shortest: float = 1.0
    ) -> None:
        self._maximum = most
        self._minimum = min(least, most)
        self._shortest = shortest
        self.duty_cycle = most if start is None else min(start, most)
        """The share of its time in which a worker runs chunks."""
        self.chunk_time_share = math.sqrt(shortest)
        """The part of the longest chunk time that a chunk may take, *shortest* to 1."""
        self._growth = self.first_growth

    @property
    def sleep_ratio(self) -> float:
        return 1.0 / self.duty_cycle - 1.0

    def observe(self, *, worse: bool, caused_by_workers: bool = True) -> float:
        """Adapts to one measurement, and returns the new duty cycle.

        *worse*: the latency was outside of the tolerance. *caused_by_workers*: a chunk ran, and may be the
        cause.
        """
        if worse and not caused_by_workers:
            return self.duty_cycle
        if worse:
            self._growth = self.growth
            self._reduce()
        elif self.duty_cycle < self._maximum:
            self.duty_cycle = min(self._maximum, self.duty_cycle * self._growth)
        else:
            self.chunk_time_share = min(1.0, self.chunk_time_share * self._growth)
        return self.duty_cycle

    def _reduce(self) -> None:
        if self.chunk_time_share > self._shortest:
            self.chunk_time_share = max(self._shortest, self.chunk_time_share * self.shrink)
        else:
            self.duty_cycle = max(self._minimum, self.duty_cycle * self.shrink)
