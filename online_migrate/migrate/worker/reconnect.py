"""How often a worker reconnects after its connection is lost, and how long it pauses before. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator

from online_migrate.waiting import backoff

MAX_RECONNECTS = 12
"""The maximum number of reconnects in a row without a committed chunk, which take about half a minute."""


def reconnect_pauses() -> Iterator[float]:
    """Yields the pause in seconds before each reconnect: none before the first, because the network may be
    available again."""
    yield 0.0
    yield 0.1
    yield from backoff(waited=0.2, attempts=MAX_RECONNECTS, longest=5.0, jitter=random.Random())
