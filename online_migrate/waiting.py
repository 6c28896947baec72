"""A clock and a stop signal, for everything that loops or waits."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator


class Stop:
    """Somebody asked us to end: Ctrl-C, SIGTERM, a limit that is reached.

    Work in progress is finished, nothing new is begun.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""

    def request(self, reason: str) -> None:
        """Asks to stop; the first reason is kept."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    @property
    def requested(self) -> bool:
        """True once somebody asked."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits for *seconds*, or less if somebody asks; True if somebody did."""
        return self._event.wait(seconds)


class Clock:
    """The time, and waiting; tests put their own in its place."""

    def monotonic(self) -> float:
        """Seconds, from some point in the past."""
        return time.monotonic()

    def wait(self, seconds: float, stop: Stop) -> bool:
        """Waits for *seconds* or until *stop*; True if stopped."""
        return stop.wait(seconds)


def backoff(*, waited: float, attempts: int, longest: float, jitter: random.Random) -> Iterator[float]:
    """The pauses, in seconds, after each failed attempt but the last. Pure, but for *jitter*.

    A pause is longer than what the attempt *waited* in the queue, so that whoever stood behind us gets
    more time than we took; it grows by half each time, up to *longest*, give or take a fifth.
    """
    pause = waited * 1.5
    for _ in range(attempts - 1):
        yield min(pause, longest) * jitter.uniform(0.8, 1.2)
        pause *= 1.5
