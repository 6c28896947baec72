"""How many chunks are processed serially after the pipeline was aborted. Pure."""

from __future__ import annotations

_MAX_BACKOFF = 64
"""The maximum number of chunks that are processed serially after repeated failures."""


class PipelineBackoff:
    """The number of chunks that are still to be processed serially."""

    def __init__(self) -> None:
        self._left = 0
        self._next = 1

    @property
    def active(self) -> bool:
        """True if the chunks after those in flight must be processed serially."""
        return self._left > 0

    def consume(self) -> bool:
        """Returns True if the next chunk must be processed serially. Each call counts one chunk."""
        if not self._left:
            return False
        self._left -= 1
        return True

    def aborted(self) -> None:
        """Registers an abort: the next chunks are processed serially; more with each abort in a row."""
        # The backoff grows by more than a committed chunk reduces it: otherwise the first of two chunks,
        # which may commit each time, would reset it.
        self._left, self._next = self._next, min(4 * self._next, _MAX_BACKOFF)

    def committed(self) -> None:
        """Registers a committed chunk, which halves the next backoff."""
        self._next = max(1, self._next // 2)
