"""What says "wait": no chunk is begun while it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Throttler(Protocol):
    """Says whether a chunk may be begun. Asked often, so it answers from what it knows already."""

    def reason(self) -> str | None:
        """Why not, with the throttler's name in front; None: it may."""


class Nothing:
    """Never says wait."""

    def reason(self) -> str | None:
        return None


class Several:
    """Says wait while any of them does."""

    def __init__(self, throttlers: Sequence[Throttler]) -> None:
        self._throttlers = tuple(throttlers)

    def reason(self) -> str | None:
        return next((reason for one in self._throttlers if (reason := one.reason())), None)
