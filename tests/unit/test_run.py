"""What a run is asked to do and what came of it: pure decisions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.migrate.run import TRANSITIONS, Budget, Outcome, Result, exit_code
from online_migrate.state import Status
from online_migrate.waiting import Clock, Stop, backoff


@given(limit=st.integers(1, 500), size=st.integers(1, 100), rows=st.integers(0, 2_000))
def test_a_budget_is_spent_to_the_row(limit: int, size: int, rows: int) -> None:
    """Chunks taken until it is exhausted never exceed the limit, and leave nothing of it unused."""
    budget, migrated = Budget(limit), 0
    while not budget.exhausted and migrated < rows:
        chunk = min(budget.chunk(size), rows - migrated)
        assert 1 <= budget.chunk(size) <= size
        budget.spend(chunk)
        migrated += chunk
    assert migrated == min(limit, rows)
    assert budget.limited


def test_no_limit_is_never_exhausted() -> None:
    """Without a limit the batch size alone counts."""
    budget = Budget()
    budget.spend(10**9)
    assert (budget.exhausted, budget.limited, budget.chunk(7)) == (False, False, 7)


def test_a_budget_that_is_overspent_is_exhausted_and_not_in_debt() -> None:
    """A ``counted`` function may do more than it was asked for."""
    budget = Budget(3)
    budget.spend(5)
    assert (budget.rows, budget.exhausted) == (0, True)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((), 0),
        ((Outcome.COMPLETE,), 0),
        ((Outcome.CONTRACTED, Outcome.COMPLETE), 0),
        ((Outcome.COMPLETE, Outcome.REMAINING), 1),
        ((Outcome.WAITING,), 1),
        ((Outcome.CHASED,), 1),
        ((Outcome.REMAINING, Outcome.FAILED), 2),
        ((Outcome.FAILED, Outcome.COMPLETE), 2),
        ((Outcome.FAILED, Outcome.WAITING), 2),
    ],
)
def test_the_exit_code_is_that_of_the_worst(outcomes: tuple[Outcome, ...], code: int) -> None:
    """Failed before remaining before done, wherever it stands in the list."""
    results = [Result(f"m{i}", outcome) for i, outcome in enumerate(outcomes)]
    assert exit_code(results) == exit_code(reversed(results)) == code


def test_every_outcome_has_an_exit_code() -> None:
    """Only what leaves nothing to do is 0."""
    done = {outcome for outcome in Outcome if exit_code([Result("m", outcome)]) == 0}
    assert done == {Outcome.COMPLETE, Outcome.CONTRACTED}


def test_the_state_machine_has_no_dead_end_and_no_unreachable_state() -> None:
    """Every status can be run again, and every status but the first is reached by running."""
    assert {(status, Status.RUNNING) for status in (None, *Status)} <= set(TRANSITIONS)
    assert {(Status.RUNNING, status) for status in Status} <= set(TRANSITIONS)
    assert all(Status.RUNNING in arrow for arrow in TRANSITIONS)
    assert all(TRANSITIONS.values())


@given(
    waited=st.floats(0.01, 10),
    attempts=st.integers(1, 50),
    longest=st.floats(0.1, 60),
    seed=st.integers(),
)
def test_a_backoff_has_an_end_and_a_bound(waited: float, attempts: int, longest: float, seed: int) -> None:
    """One pause fewer than attempts, none longer than the longest by more than a fifth, none of no length."""
    pauses = list(backoff(waited=waited, attempts=attempts, longest=longest, jitter=random.Random(seed)))
    assert len(pauses) == attempts - 1
    assert all(0 < pause <= longest * 1.2 for pause in pauses)
    if attempts > 1 and waited * 1.5 < longest:
        assert pauses[0] > waited


def test_a_stop_keeps_its_first_reason() -> None:
    """Who asked first is who is named; whoever waits is woken."""
    stop = Stop()
    assert not stop.requested
    stop.request("SIGTERM")
    stop.request("SIGINT")
    assert (stop.requested, stop.reason) == (True, "SIGTERM")
    assert Clock().wait(60, stop)
