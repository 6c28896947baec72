"""From what users feel to a share of time: it settles where they feel little, wherever that is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

REST = Latency(0.001, 0.004)


def test_at_rest_is_what_nine_in_ten_are_below() -> None:
    """One that was slow by chance does not make everything tolerable."""
    samples = [Latency(0.001 * i, 0.002 * i) for i in range(1, 11)] + [Latency(1.0, 1.0)]
    assert baseline_of(samples) == Latency(0.01, 0.02)
    assert baseline_of([REST]) == REST
    with pytest.raises(ValueError, match="there are no latency samples"):
        baseline_of([])


@pytest.mark.parametrize(
    ("felt", "worse"),
    [
        (REST, False),
        (Latency(0.0029, 0.0089), False),
        (Latency(0.0031, 0.004), True),
        (Latency(0.001, 0.0091), True),
        (Latency(0.0, 0.0), False),
    ],
)
def test_worse_is_either_of_them(felt: Latency, worse: bool) -> None:
    """Twice as slow, and a millisecond: of the read, or of the write."""
    assert is_worse(felt, REST, Tolerance(factor=2.0, slack=0.001)) is worse


def test_it_shrinks_at_once_and_grows_slowly() -> None:
    """A third less when it is worse; then as many small steps as it takes."""
    steered = AdaptiveDutyCycle(most=0.6, start=0.6)
    assert steered.sleep_ratio == pytest.approx(1 / 0.6 - 1)
    assert steered.observe(worse=True) == pytest.approx(0.4)
    assert steered.observe(worse=False) == pytest.approx(0.4 * AdaptiveDutyCycle.growth)
    for _ in range(1000):
        steered.observe(worse=False)
    assert steered.duty_cycle == 0.6


def test_it_feels_its_way_up_quickly_until_something_is_felt() -> None:
    """Nobody waits for a minute on a server that has time."""
    steered = AdaptiveDutyCycle(most=0.6, start=0.3)
    assert steered.observe(worse=False) == pytest.approx(0.3 * AdaptiveDutyCycle.first_growth)


def test_it_never_stands_still() -> None:
    """A server that is slow by itself, now, would hold us forever."""
    steered = AdaptiveDutyCycle(most=0.6)
    for _ in range(100):
        steered.observe(worse=True)
    assert steered.duty_cycle == 0.02
    assert steered.sleep_ratio == pytest.approx(49)


@pytest.mark.parametrize("bearable", [0.1, 0.25, 0.5])
def test_it_settles_where_users_feel_little(bearable: float) -> None:
    """A server on which everything is slower as soon as we take more than a certain share."""
    chance = random.Random(1)
    steered = AdaptiveDutyCycle(most=0.67)
    shares, felt = [], 0
    for i in range(20_000):
        worse = chance.random() < (0.5 if steered.duty_cycle > bearable else 0.001)
        steered.observe(worse=worse)
        if i >= 1_000:
            shares.append(steered.duty_cycle)
            felt += worse
    assert 0.7 * bearable < sum(shares) / len(shares) <= bearable
    assert felt / len(shares) < 0.03


def test_what_is_worse_while_we_rest_changes_nothing() -> None:
    """Neither the share, nor how quickly it grows; what is good while we rest does count."""
    steered = AdaptiveDutyCycle(most=0.6, start=0.3)
    assert steered.observe(worse=True, ours=False) == 0.3
    assert steered.observe(worse=False, ours=False) == pytest.approx(0.3 * AdaptiveDutyCycle.first_growth)
    assert steered.observe(worse=True, ours=True) == pytest.approx(0.2 * AdaptiveDutyCycle.first_growth)


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1])
def test_a_noisy_neighbour_does_not_stop_us(noise: float) -> None:
    """A server that is slow now and then, whatever we do: our part of the time is as long as we are not felt
    to be there more often than anywhere else."""
    chance = random.Random(1)
    steered = AdaptiveDutyCycle(most=1.0)
    shares = []
    for i in range(20_000):
        steered.observe(worse=chance.random() < noise, ours=chance.random() < steered.duty_cycle)
        if i >= 1_000:
            shares.append(steered.duty_cycle)
    bearable = min(1.0, 0.017 / noise)
    assert 0.7 * bearable < sum(shares) / len(shares) < 1.3 * bearable


def test_who_works_or_did_a_moment_ago() -> None:
    """Any of several, each of whom may begin and end inside of another's time."""
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


@given(st.lists(st.booleans(), max_size=300), st.floats(0.02, 1.0))
def test_the_share_stays_within_its_bounds(answers: list[bool], most: float) -> None:
    """Whatever is felt."""
    steered = AdaptiveDutyCycle(most=most)
    for worse in answers:
        assert 0.02 <= steered.observe(worse=worse) <= most
        assert steered.sleep_ratio >= 0


def test_a_fixed_one_does_not_care() -> None:
    """It rests as it was told."""
    assert FixedDutyCycle(2.0).sleep_ratio == 2.0


# --- trails --------------------------------------------------------------------------------------


def test_a_trail_says_how_old_a_place_is() -> None:
    """Since it was left; what is still there has no age."""
    trail = PositionHistory()
    assert trail.age(5, now=10.0) == 0.0
    trail.mark(5, at=10.0)
    trail.mark(5, at=11.0)
    assert trail.age(5, now=12.0) == 0.0
    assert trail.age(4, now=12.0) == 2.0
    trail.mark(8, at=13.0)
    assert trail.age(5, now=14.0) == 1.0
    assert trail.age(7, now=14.0) == 1.0
    assert trail.age(8, now=14.0) == 0.0
    assert trail.age(9, now=14.0) == 0.0
    assert trail.age(float("-inf"), now=14.0) == 4.0


def test_a_trail_that_forgot_knows_at_least_so_much() -> None:
    """A replica that is further behind than we remember is as late as what we remember."""
    trail = PositionHistory(memory=3)
    for i in range(10):
        trail.mark(i, at=float(i))
    assert trail.age(0, now=10.0) == 3.0


def test_growth_is_per_second_since_the_last_look() -> None:
    """The first look says nothing, and neither does a counter that was set back."""
    growth = RateOfChange()
    assert growth.per_second(100.0, now=1.0) == 0.0
    assert growth.per_second(101.0, now=3.0) == 0.5
    assert growth.per_second(101.0, now=4.0) == 0.0
    assert growth.per_second(0.0, now=5.0) == 0.0
    assert growth.per_second(2.0, now=6.0) == 2.0
    assert growth.per_second(3.0, now=6.0) == 0.0
