"""A clock and a stop signal, for all code that loops or waits."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator


class Stop:
    """A request to stop: Ctrl-C, SIGTERM, or a limit that was reached.

    Work in progress is finished; no new work is started.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""

    def request(self, reason: str) -> None:
        """Requests a stop; the first reason is kept."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    @property
    def requested(self) -> bool:
        """True after a stop was requested."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits for *seconds* or until a stop is requested; returns True if a stop was requested."""
        return self._event.wait(seconds)


class Clock:
    """The clock and its wait function; tests replace it with their own."""

    def monotonic(self) -> float:
        """Returns the seconds since an arbitrary point in the past."""
        return time.monotonic()

    def wait(self, seconds: float, stop: Stop) -> bool:
        """Waits for *seconds* or until *stop* is requested; returns True if it was requested."""
        return stop.wait(seconds)


def backoff(*, waited: float, attempts: int, longest: float, jitter: random.Random) -> Iterator[float]:
    """Yields the pause in seconds after each failed attempt except the last. Pure, except for *jitter*.

    *waited*: seconds that an attempt waited in the lock queue. *longest*: the longest pause, in seconds.

    The first pause is 1.5 times *waited*, so that the sessions queued behind the attempt get more time than
    the attempt used. Each pause is 1.5 times the previous one, up to *longest*, varied by up to 20 %.
    """
    pause = waited * 1.5
    for _ in range(attempts - 1):
        yield min(pause, longest) * jitter.uniform(0.8, 1.2)
        pause *= 1.5
