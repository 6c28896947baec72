"""The limit of rows and the deadline of a run. Pure."""

from __future__ import annotations

import threading

from online_migrate.waiting import Clock


class Budget:
    """The remaining row limit and the deadline of a run. Shared by the workers of the run.

    *rows*: the maximum number of rows; None for no limit. *deadline*: in seconds of *clock*; None for no
    deadline.
    """

    def __init__(self, rows: int | None = None, *, deadline: float | None = None, clock: Clock | None = None):
        self._lock = threading.Lock()
        self._rows = rows
        self._deadline = deadline
        self._clock = clock or Clock()

    def reserve(self, size: int) -> int:
        """Reserves up to *size* rows for a chunk. Returns the number of rows reserved."""
        with self._lock:
            if self._rows is None:
                return size
            granted = min(size, self._rows)
            self._rows -= granted
            return granted

    def settle(self, reserved: int, migrated: int) -> None:
        """Returns the rows to the budget that were *reserved* for a chunk and not *migrated* by it."""
        with self._lock:
            if self._rows is not None:
                self._rows = max(0, self._rows + reserved - migrated)

    @property
    def limited(self) -> bool:
        """True if the number of rows is limited."""
        return self._rows is not None

    @property
    def exhausted(self) -> bool:
        """True if no further row may be migrated: the row limit or the deadline is reached."""
        return self._rows == 0 or (self._deadline is not None and self._clock.monotonic() >= self._deadline)
