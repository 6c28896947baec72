"""Measures the part of a chunk's time that depends on its number of rows. Pure, but for the given clock."""

from __future__ import annotations

import collections
from collections.abc import Callable

_MIN_SHARE = 0.1
"""The fraction of a time that always counts, because the fixed cost that is subtracted is an estimate."""
_MAX_CALL_TIME = 0.5
"""The target for the total time of a chunk's row function calls, in seconds: for that time a stop signal is
not handled, and these calls are repeated after a kill."""


class ChunkTimer:
    """Measures the chunks of one worker, for the chunk size controller.

    Fixed costs are subtracted: to a distant server, a round trip and a commit take longer than the target
    time of a whole chunk, and a smaller chunk does not make them shorter. The time of a statement on a single
    row is the measure of these costs; a worker executes such a statement in the transaction of each chunk.

    *now*: returns the time in seconds. *memory*: the number of chunks over which the minimum of the time of a
    single-row statement is taken.
    """

    def __init__(self, now: Callable[[], float], memory: int = 20) -> None:
        self._now = now
        self._single: collections.deque[float] = collections.deque(maxlen=memory)
        self._began_at = self._rows_written_at = self._lease_advanced_at = 0.0

    def begin(self, at: float | None = None) -> None:
        """Starts the measurement: rows are locked from now on, or from *at*, in seconds.

        Called again when the transaction is repeated.
        """
        self._began_at = self._rows_written_at = self._lease_advanced_at = self._now() if at is None else at

    def rows_written(self) -> None:
        """Marks that the rows are written; the next statement is on the single row of the worker's lease."""
        self._rows_written_at = self._lease_advanced_at = self._now()

    def lease_advanced(self) -> None:
        """Marks that the statement on the lease has ended; the next one is the commit."""
        self._lease_advanced_at = self._now()
        self._single.append(self._lease_advanced_at - self._rows_written_at)

    def elapsed(self, *, commit: float, prepared: float, target: float) -> float:
        """Returns the seconds for which other sessions could wait because of the number of rows.

        Call it once, directly after the commit.

        *commit*: the baseline latency of a commit in seconds, as far as it is known. *prepared*: seconds for
        the read of the rows and the calls of the function; this blocks no other session, so it may take
        longer than *target*, the target time of a chunk in seconds.
        """
        single = min(self._single, default=0.0)
        now = self._now()
        waited = _without(self._rows_written_at - self._began_at, single)
        waited += _without(now - self._lease_advanced_at, max(commit, single))
        return max(waited, prepared * target / max(target, _MAX_CALL_TIME))


def _without(seconds: float, fixed: float) -> float:
    return max(seconds - fixed, seconds * _MIN_SHARE)
