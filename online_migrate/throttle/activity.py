"""Whether we are at work: what users feel meanwhile may be our doing, what they feel while we rest is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Activity:
    """Who of this process is at work on the server, or was a moment ago. For several threads.

    Each of them works inside a ``with`` block. *now*: gives seconds.
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
        """True if anybody works now, or ended at *moment* or later, in seconds of *now*."""
        with self._lock:
            return self._working > 0 or self._ended >= moment
