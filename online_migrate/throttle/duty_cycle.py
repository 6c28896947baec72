"""The duty cycle: the share of its time in which a worker runs chunks, so that users see no slowdown. Pure.

Latency is measured a few times a second, and compared with the baseline, which is measured while no chunk
runs. A measurement within the tolerance of the baseline increases the duty cycle slightly. A worse one
reduces it at once, by a third. So it converges to a value, large or small, at which less than five
measurements in a hundred are outside of the tolerance. A worse measurement while no chunk runs is not caused
by the run and changes nothing: otherwise a run on a machine with noisy neighbours would hardly progress.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol


class DutyCycle(Protocol):
    """Determines how long a worker sleeps after a chunk."""

    @property
    def sleep_ratio(self) -> float:
        """Seconds of sleep for each second of work."""


@dataclasses.dataclass(frozen=True)
class FixedDutyCycle:
    """A constant sleep ratio, independent of latency."""

    sleep_ratio: float = 0.0


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
    """Adapts the duty cycle to the measured latency.

    *most*, *start*, *least*: the maximum, initial and minimum shares of a worker's time, above 0 and at
    most 1. Without *start* the maximum is used.
    """

    growth = 1.02
    first_growth = 1.05
    """The growth factor until the first worse measurement; *growth* is used after it."""
    shrink = 2 / 3

    def __init__(self, *, most: float, start: float | None = None, least: float = 0.02) -> None:
        self._maximum = most
        self._minimum = min(least, most)
        self.duty_cycle = most if start is None else min(start, most)
        """The share of its time in which a worker runs chunks."""
        self._growth = self.first_growth

    @property
    def sleep_ratio(self) -> float:
        return 1.0 / self.duty_cycle - 1.0

    def observe(self, *, worse: bool, caused_by_workers: bool = True) -> float:
        """Adapts the duty cycle to one measurement, and returns the new value.

        *worse*: the latency was outside of the tolerance. *caused_by_workers*: a chunk ran, and may be the
        cause.
        """
        if worse and not caused_by_workers:
            return self.duty_cycle
        if worse:
            self._growth = self.growth
            self.duty_cycle = max(self._minimum, self.duty_cycle * self.shrink)
        else:
            self.duty_cycle = min(self._maximum, self.duty_cycle * self._growth)
        return self.duty_cycle
