"""How many rows a run may still migrate, and until when. Pure."""

from __future__ import annotations

import threading

from online_migrate.waiting import Clock


class Budget:
    """How many rows, and until when, the run may still migrate. Shared by its workers.

    *rows*: None for as many as there are. *deadline*: seconds of *clock*; None for no end.
    """

    def __init__(self, rows: int | None = None, *, deadline: float | None = None, clock: Clock | None = None):
        self._lock = threading.Lock()
        self._rows = rows
        self._deadline = deadline
        self._clock = clock or Clock()

    def reserve(self, size: int) -> int:
        """Takes up to *size* rows for a chunk; gives how many."""
        with self._lock:
            if self._rows is None:
                return size
            granted = min(size, self._rows)
            self._rows -= granted
            return granted

    def settle(self, reserved: int, migrated: int) -> None:
        """Gives back what a chunk did not use of what was reserved for it."""
        with self._lock:
            if self._rows is not None:
                self._rows = max(0, self._rows + reserved - migrated)

    @property
    def limited(self) -> bool:
        """True if somebody said how many rows."""
        return self._rows is not None

    @property
    def exhausted(self) -> bool:
        """True if no row may be migrated any more."""
        return self._rows == 0 or (self._deadline is not None and self._clock.monotonic() >= self._deadline)
