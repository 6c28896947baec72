"""The number of rows that a function is asked for in its next call. Pure."""

from __future__ import annotations


class CallSize:
    """The ``max_count`` of the next call of a function that commits by itself.

    It is halved after an exception, because a smaller call may leave out the row that raises; and doubled if
    the rows found could not be migrated, because they may hide others that can be. A size at which the
    function raised is not used again, so that each run ends.
    """

    def __init__(self, rows: int, largest: int) -> None:
        self.rows = rows
        self._largest = max(rows, largest)

    def halve(self, used: int) -> bool:
        """Halves the size after a call with *used* rows raised. Returns False if it was one row."""
        if used <= 1:
            return False
        self.rows = self._largest = used // 2
        return True

    def double(self, used: int, found: int) -> bool:
        """Doubles the size after a call with *used* rows found *found* rows and migrated none.

        Returns False if no larger call can find other rows: the function found fewer rows than it was asked
        for, or *used* was limited by the run, or the size is at its limit.
        """
        if used < self.rows or found < used or self.rows >= self._largest:
            return False
        self.rows = min(2 * self.rows, self._largest)
        return True
