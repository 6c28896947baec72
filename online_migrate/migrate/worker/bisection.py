"""Bisection of a failed chunk, down to the single rows that fail. Pure.

A chunk that fails is tried again with half of its rows, and this is repeated down to a single row, which is
the row that fails. After each part that succeeds the size of the parts doubles. So a bad row among many good
ones costs a number of transactions that is the logarithm of the chunk size, and sixty bad rows in sequence
cost sixty transactions.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")


class FailureBisector(Generic[K]):
    """The state of the bisection of one failed range, and the chunk size during it.

    *K*: the type of a key; keys are only compared for equality, with the end of the failed range.
    """

    def __init__(self) -> None:
        self._end: K | None = None
        self._limit = 0

    @property
    def active(self) -> bool:
        """True until the whole failed range is processed."""
        return self._end is not None

    @property
    def end(self) -> K | None:
        """The last key of the failed range; None if no bisection is active."""
        return self._end

    @property
    def limit(self) -> int:
        """The number of rows that may be tried together."""
        return self._limit

    def adopt(self, other: FailureBisector[K]) -> None:
        """Copies the state of *other*, the bisection of a worker that lost its connection."""
        self._end, self._limit = other._end, other._limit

    def failed(self, rows: int, end: K) -> bool:
        """Registers that *rows* rows failed together; *end*: the last key of their range.

        Returns True if it was a single row, which must be recorded as failed. Otherwise fewer rows must be
        tried.
        """
        if self._end is None:
            self._end = end
        if rows <= 1:
            self._limit = 1
            return True
        self._limit = max(1, rows // 2)
        return False

    def passed(self, upper: K) -> None:
        """Registers that everything up to *upper* is done, or recorded as failed."""
        if self._end is None:
            return
        if upper == self._end:
            self._end = None
            self._limit = 0
        else:
            self._limit *= 2
