"""What of a chunk's time follows from its number of rows. Pure, but for the clock that it is given."""

from __future__ import annotations

import collections
from collections.abc import Callable

_MIN_SHARE = 0.1
"""The part of a time that always counts: what is taken off is an estimate."""
_MAX_CALL_TIME = 0.5
"""Seconds that the functions of a chunk's rows may take together: so long a stop signal goes unheard, and
so much is called again after a kill."""


class ChunkTimer:
    """Measures the chunks of one worker, for the controller of their size.

    A round trip, a commit: to a server that is far away they take longer than a whole chunk should, and no
    smaller chunk makes them shorter. So what a statement on a single row takes is taken off; a worker
    makes such a statement in the transaction of each chunk.

    *now*: gives seconds.
    """

    def __init__(self, now: Callable[[], float], memory: int = 20) -> None:
        self._now = now
        self._single: collections.deque[float] = collections.deque(maxlen=memory)
        self._began_at = self._rows_written_at = self._lease_advanced_at = 0.0

    def begin(self, at: float | None = None) -> None:
        """The rows are locked from now on, or from *at*. Called again when the transaction is repeated."""
        self._began_at = self._rows_written_at = self._lease_advanced_at = self._now() if at is None else at

    def rows_written(self) -> None:
        """The rows are written; the next statement is on a single row of ours."""
        self._rows_written_at = self._lease_advanced_at = self._now()

    def lease_advanced(self) -> None:
        """That statement is done; what follows is the commit."""
        self._lease_advanced_at = self._now()
        self._single.append(self._lease_advanced_at - self._rows_written_at)

    def elapsed(self, *, commit: float, prepared: float, target: float) -> float:
        """Seconds for which others waited because of the number of rows.

        *commit*: seconds that a commit takes while nobody works, as far as known. *prepared*: seconds for
        which rows were read and functions called, which keeps nobody waiting, and so may take longer than
        *target*, which is how long a chunk should take.
        """
        single = min(self._single, default=0.0)
        waited = _without(self._rows_written_at - self._began_at, single)
        waited += _without(self._now() - self._lease_advanced_at, max(commit, single))
        return max(waited, prepared * target / max(target, _MAX_CALL_TIME))


def _without(seconds: float, fixed: float) -> float:
    return max(seconds - fixed, seconds * _MIN_SHARE)
