"""Pauses between attempts, and the stop signal."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.waiting import Stop, backoff


@given(
    st.floats(0.001, 60),
    st.integers(1, 50),
    st.floats(1, 30),
    st.integers(),
)
def test_backoff_pauses_are_bounded_and_longer_than_the_wait(
    waited: float, attempts: int, longest: float, seed: int
) -> None:
    """One pause fewer than attempts; each at least 1.2 times the wait, unless that exceeds the longest."""
    pauses = list(backoff(waited=waited, attempts=attempts, longest=longest, jitter=random.Random(seed)))
    assert len(pauses) == attempts - 1
    for pause in pauses:
        assert pause <= longest * 1.2 + 1e-9
        assert pause >= min(waited * 1.5, longest) * 0.8 - 1e-9


def test_backoff_pauses_grow() -> None:
    """Sessions that queued behind the statement get more time with every attempt."""

    class Middle(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return 1.0

    pauses = list(backoff(waited=1, attempts=5, longest=4, jitter=Middle()))
    assert pauses == pytest.approx([1.5, 2.25, 3.375, 4])


def test_stop_keeps_its_first_reason() -> None:
    """A second signal does not replace the first reason."""
    stop = Stop()
    assert not stop.requested
    assert not stop.wait(0)
    stop.request("SIGINT")
    stop.request("SIGTERM")
    assert stop.requested
    assert stop.wait(1000)
    assert stop.reason == "SIGINT"
