"""Whether chunks run: latency measured during a chunk may be its effect, latency without one is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Activity:
    """Whether a thread of this process runs a chunk on the server, or did recently. Thread-safe.

    Each thread runs its chunks inside a ``with`` block. *now*: returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._working = 0
        self._ended = float("-inf")

    def __enter__(self) -> None:
        with self._lock:
            self._working += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._working -= 1
            self._ended = self._now()

    def active_since(self, moment: float) -> bool:
        """Returns True if a chunk runs now, or ended at *moment* or later, in seconds of *now*."""
        with self._lock:
            return self._working > 0 or self._ended >= moment
