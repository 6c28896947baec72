"""The duty cycle that follows from measured latency, and the rates and positions that throttlers compute."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.migrate.pace import Pace
from online_migrate.throttle.activity import Activity
from online_migrate.throttle.duty_cycle import (
    AdaptiveDutyCycle,
    FixedDutyCycle,
    Latency,
    Tolerance,
    baseline_of,
    is_worse,
)
from online_migrate.throttle.server_throttlers import PositionHistory, RateOfChange

BASELINE = Latency(0.001, 0.004)


def test_baseline_is_ninth_decile_of_samples() -> None:
    """The baseline is the value that nine in ten samples are below: one slow outlier does not raise it."""
    samples = [Latency(0.001 * i, 0.002 * i) for i in range(1, 11)] + [Latency(1.0, 1.0)]
    assert baseline_of(samples) == Latency(0.01, 0.02)
    assert baseline_of([BASELINE]) == BASELINE
    with pytest.raises(ValueError, match="there are no latency samples"):
        baseline_of([])


@pytest.mark.parametrize(
    ("latency", "worse"),
    [
        (BASELINE, False),
        (Latency(0.0029, 0.0089), False),
        (Latency(0.0031, 0.004), True),
        (Latency(0.001, 0.0091), True),
        (Latency(0.0, 0.0), False),
    ],
)
def test_is_worse_for_read_or_write(latency: Latency, worse: bool) -> None:
    """Worse means more than twice the baseline plus a millisecond, for the read or for the write."""
    assert is_worse(latency, BASELINE, Tolerance(factor=2.0, slack=0.001)) is worse


def test_adaptive_duty_cycle_shrinks_fast_and_grows_slowly() -> None:
    """The duty cycle drops by a third after a worse measurement, then grows back in small steps."""
    adaptive = AdaptiveDutyCycle(most=0.6, start=0.6)
    assert adaptive.sleep_ratio == pytest.approx(1 / 0.6 - 1)
    assert adaptive.observe(worse=True) == pytest.approx(0.4)
    assert adaptive.observe(worse=False) == pytest.approx(0.4 * AdaptiveDutyCycle.growth)
    for _ in range(1000):
        adaptive.observe(worse=False)
    assert adaptive.duty_cycle == 0.6


def test_adaptive_duty_cycle_grows_fast_before_first_worse_measurement() -> None:
    """Growth is faster before the first worse measurement, so an idle server is used
    in less than a minute."""
    adaptive = AdaptiveDutyCycle(most=0.6, start=0.3)
    assert adaptive.observe(worse=False) == pytest.approx(0.3 * AdaptiveDutyCycle.first_growth)


def test_adaptive_duty_cycle_has_a_lower_bound() -> None:
    """The duty cycle never falls below 0.02, even on a server that is slow for reasons of its own."""
    adaptive = AdaptiveDutyCycle(most=0.6)
    for _ in range(100):
        adaptive.observe(worse=True)
    assert adaptive.duty_cycle == 0.02
    assert adaptive.sleep_ratio == pytest.approx(49)


def test_chunks_are_shortened_before_the_duty_cycle_is_reduced() -> None:
    """Short chunks cost less throughput than sleep. The duty cycle recovers first, then the chunks."""
    adaptive = AdaptiveDutyCycle(most=1.0, shortest=0.25)
    assert adaptive.chunk_time_share == 0.5
    assert adaptive.observe(worse=True) == 1.0
    assert adaptive.chunk_time_share == pytest.approx(1 / 3)
    assert adaptive.observe(worse=True) == 1.0
    assert adaptive.chunk_time_share == 0.25
    assert adaptive.observe(worse=True) == pytest.approx(2 / 3)
    assert adaptive.chunk_time_share == 0.25
    while adaptive.duty_cycle < 1.0:
        assert adaptive.chunk_time_share == 0.25
        adaptive.observe(worse=False)
    adaptive.observe(worse=False)
    assert adaptive.chunk_time_share == pytest.approx(0.25 * AdaptiveDutyCycle.growth)
    for _ in range(100):
        adaptive.observe(worse=False)
    assert adaptive.chunk_time_share == 1.0


@pytest.mark.parametrize("fixed", [{"batch_size": 5}, {"chunk_time": 0.03}])
def test_duty_cycle_is_reduced_at_once_if_chunks_cannot_become_shorter(fixed: dict[str, Any]) -> None:
    pace = Pace.named("default", **fixed)
    duty_cycle = AdaptiveDutyCycle(most=pace.share, shortest=pace.shortest)
    assert duty_cycle.observe(worse=True) < pace.share


def test_chunks_of_one_length_are_never_shortened() -> None:
    """The gentle pace, and --chunk-time, have one chunk time: only the duty cycle follows the latency."""
    adaptive = AdaptiveDutyCycle(most=0.6)
    assert adaptive.chunk_time_share == 1.0
    assert adaptive.observe(worse=True) == pytest.approx(0.4)
    assert adaptive.chunk_time_share == 1.0


@pytest.mark.parametrize("limit", [0.3, 0.5, 0.8])
def test_chunk_time_settles_below_the_limit_of_the_server(limit: float) -> None:
    """A server on which latency rises as soon as chunks exceed a certain length: no sleep is needed."""
    chance = random.Random(1)
    adaptive = AdaptiveDutyCycle(most=1.0, shortest=0.1)
    shares = []
    for i in range(20_000):
        adaptive.observe(worse=chance.random() < (0.5 if adaptive.chunk_time_share > limit else 0.001))
        if i >= 1_000:
            shares.append(adaptive.chunk_time_share)
            assert adaptive.duty_cycle == 1.0
    assert 0.7 * limit < sum(shares) / len(shares) <= limit


@pytest.mark.parametrize("limit", [0.1, 0.25, 0.5])
def test_adaptive_duty_cycle_settles_below_limit(limit: float) -> None:
    """A server on which latency rises as soon as the duty cycle exceeds a certain share."""
    chance = random.Random(1)
    adaptive = AdaptiveDutyCycle(most=0.67)
    shares, worse_count = [], 0
    for i in range(20_000):
        worse = chance.random() < (0.5 if adaptive.duty_cycle > limit else 0.001)
        adaptive.observe(worse=worse)
        if i >= 1_000:
            shares.append(adaptive.duty_cycle)
            worse_count += worse
    assert 0.7 * limit < sum(shares) / len(shares) <= limit
    assert worse_count / len(shares) < 0.06


def test_worse_measurement_without_activity_is_ignored() -> None:
    """Neither the duty cycle nor its growth changes; a good measurement during a sleep does count."""
    adaptive = AdaptiveDutyCycle(most=0.6, start=0.3)
    assert adaptive.observe(worse=True, caused_by_workers=False) == 0.3
    grown = 0.3 * AdaptiveDutyCycle.first_growth
    assert adaptive.observe(worse=False, caused_by_workers=False) == pytest.approx(grown)
    assert adaptive.observe(worse=True, caused_by_workers=True) == pytest.approx(grown * 2 / 3)


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2])
def test_noise_does_not_stop_adaptive_duty_cycle(noise: float) -> None:
    """A server that is slow at random: about 4.7 % of the measurements are worse while a worker is active."""
    chance = random.Random(1)
    adaptive = AdaptiveDutyCycle(most=1.0)
    shares = []
    for i in range(20_000):
        worse = chance.random() < noise
        adaptive.observe(worse=worse, caused_by_workers=chance.random() < adaptive.duty_cycle)
        if i >= 1_000:
            shares.append(adaptive.duty_cycle)
    limit = min(1.0, 0.047 / noise)
    assert 0.7 * limit < sum(shares) / len(shares) < 1.3 * limit


def test_activity_active_since_with_nested_workers() -> None:
    """Several workers may overlap, in any nesting."""
    now = [10.0]
    activity = Activity(lambda: now[0])
    assert not activity.active_since(0.0)
    with activity:
        assert activity.active_since(10.0)
        with activity:
            now[0] = 11.0
        assert activity.active_since(100.0)
        now[0] = 12.0
    assert activity.active_since(12.0)
    assert not activity.active_since(12.1)


@given(st.lists(st.booleans(), max_size=300), st.floats(0.02, 1.0), st.floats(0.01, 1.0))
def test_adaptive_duty_cycle_stays_within_bounds(answers: list[bool], most: float, shortest: float) -> None:
    """For any sequence of measurements."""
    adaptive = AdaptiveDutyCycle(most=most, shortest=shortest)
    for worse in answers:
        assert 0.02 <= adaptive.observe(worse=worse) <= most
        assert adaptive.sleep_ratio >= 0
        assert shortest <= adaptive.chunk_time_share <= 1


def test_fixed_duty_cycle_is_constant() -> None:
    """sleep_ratio is the configured value; without a measured latency chunks are as short as they may be."""
    assert FixedDutyCycle(2.0).sleep_ratio == 2.0
    assert FixedDutyCycle(2.0).chunk_time_share == 0.0


# --- position history ----------------------------------------------------------------------------


def test_position_history_age() -> None:
    """The age of a position counts from the moment it was passed; the current position has age 0."""
    history = PositionHistory()
    assert history.age(5, now=10.0) == 0.0
    history.mark(5, at=10.0)
    history.mark(5, at=11.0)
    assert history.age(5, now=12.0) == 0.0
    assert history.age(4, now=12.0) == 2.0
    history.mark(8, at=13.0)
    assert history.age(5, now=14.0) == 1.0
    assert history.age(7, now=14.0) == 1.0
    assert history.age(8, now=14.0) == 0.0
    assert history.age(9, now=14.0) == 0.0
    assert history.age(float("-inf"), now=14.0) == 4.0


def test_position_history_beyond_memory_gives_lower_bound() -> None:
    """For a replica further behind than the history reaches, the age of the oldest entry is a lower bound."""
    history = PositionHistory(memory=3)
    for i in range(10):
        history.mark(i, at=float(i))
    assert history.age(0, now=10.0) == 3.0


def test_rate_of_change_is_per_second_since_last_sample() -> None:
    """The first sample gives 0, and so does a counter that was reset."""
    rate = RateOfChange()
    assert rate.per_second(100.0, now=1.0) == 0.0
    assert rate.per_second(101.0, now=3.0) == 0.5
    assert rate.per_second(101.0, now=4.0) == 0.0
    assert rate.per_second(0.0, now=5.0) == 0.0
    assert rate.per_second(2.0, now=6.0) == 2.0
    assert rate.per_second(3.0, now=6.0) == 0.0
