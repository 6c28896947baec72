"""How much of its time a worker works, so that users do not feel it. Pure.

What users feel is measured a few times a second, and compared with what it was while we stood still. While
it is as it was, the share of time grows by a little each time; when it is worse, the share shrinks at once,
by a third. So it settles where less than two measurements in a hundred are worse than they should be, with
a large share or a small one. One that is worse while we rest is not our doing, and changes nothing: whoever
shares a machine with a noisy neighbour would stand still almost for ever.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol


class DutyCycle(Protocol):
    """Says how long a worker rests."""

    @property
    def sleep_ratio(self) -> float:
        """Seconds of rest for each second of work."""


@dataclasses.dataclass(frozen=True)
class FixedDutyCycle:
    """The same rest, whatever anybody feels."""

    sleep_ratio: float = 0.0


@dataclasses.dataclass(frozen=True)
class Latency:
    """Seconds that a tiny read and a tiny write took."""

    read: float
    write: float

    def __str__(self) -> str:
        return f"{self.read * 1000:.1f} / {self.write * 1000:.1f} ms"


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How much worse than at rest it may be: *factor* times as slow, and *slack* seconds more."""

    factor: float = 2.0
    slack: float = 0.008


def baseline_of(samples: Sequence[Latency]) -> Latency:
    """What is usual while we stand still: nine in ten of the samples were quicker.

    Raises :class:`ValueError` without samples.
    """
    if not samples:
        raise ValueError("there are no latency samples")
    place = int(0.9 * (len(samples) - 1))
    return Latency(
        sorted(sample.read for sample in samples)[place], sorted(sample.write for sample in samples)[place]
    )


def is_worse(latency: Latency, rest: Latency, tolerance: Tolerance) -> bool:
    """True if users feel more than they should."""
    return any(
        now > usual * tolerance.factor + tolerance.slack
        for now, usual in ((latency.read, rest.read), (latency.write, rest.write))
    )


class AdaptiveDutyCycle:
    """Follows what is felt.

    *most*, *start*, *least*: shares of a worker's time, above 0 and at most 1.
    """

    growth = 1.007
    first_growth = 1.05
    """The growth until something was worse for the first time."""
    shrink = 2 / 3

    def __init__(self, *, most: float, start: float | None = None, least: float = 0.02) -> None:
        self._maximum = most
        self._minimum = min(least, most)
        self.duty_cycle = most if start is None else min(start, most)
        """Of the time, what a worker works."""
        self._growth = self.first_growth

    @property
    def sleep_ratio(self) -> float:
        return 1.0 / self.duty_cycle - 1.0

    def observe(self, *, worse: bool, ours: bool = True) -> float:
        """Takes note of one measurement; gives the share from now on.

        *ours*: we were at work, and may be the reason.
        """
        if worse and not ours:
            return self.duty_cycle
        if worse:
            self._growth = self.growth
            self.duty_cycle = max(self._minimum, self.duty_cycle * self.shrink)
        else:
            self.duty_cycle = min(self._maximum, self.duty_cycle * self._growth)
        return self.duty_cycle
