"""Rows that fail stand alone in the end: their chunk is split until only they are left. Pure.

A chunk that fails is begun again with half of its rows, and so on down to a single one, which then is the
row that fails. After a part that works the parts grow again, so that a bad row among many good ones costs
the logarithm of the chunk, and sixty bad rows one after the other cost sixty transactions.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")


class Isolation(Generic[K]):
    """Whether, and how small, the chunks are that are tried just now.

    *K*: the type of a key; keys are compared with nothing but each other's identity as the end of a range.
    """

    def __init__(self) -> None:
        self._end: K | None = None
        self._limit = 0

    @property
    def active(self) -> bool:
        """True until the range that failed has been passed."""
        return self._end is not None

    @property
    def end(self) -> K | None:
        """The last key of the range that failed."""
        return self._end

    @property
    def limit(self) -> int:
        """How many rows may be tried together."""
        return self._limit

    def adopt(self, other: Isolation[K]) -> None:
        """Continues where *other* is."""
        self._end, self._limit = other._end, other._limit

    def failed(self, rows: int, end: K) -> bool:
        """*rows* rows failed together, the last of which could be at *end*.

        True if that was a single row, which is to be recorded. Otherwise fewer are to be tried.
        """
        if self._end is None:
            self._end = end
        if rows <= 1:
            self._limit = 1
            return True
        self._limit = max(1, rows // 2)
        return False

    def passed(self, upper: K) -> None:
        """Everything up to *upper* is done, or recorded as failed."""
        if self._end is None:
            return
        if upper == self._end:
            self._end = None
            self._limit = 0
        else:
            self._limit *= 2
