"""Budget, outcomes and exit codes of a run: pure decisions."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.migrate.budget import Budget
from online_migrate.migrate.status import TRANSITIONS, Outcome, Result, exit_code
from online_migrate.state import Status
from online_migrate.waiting import Clock, Stop, backoff


@given(limit=st.integers(1, 500), size=st.integers(1, 100), rows=st.integers(0, 2_000))
def test_budget_is_spent_exactly(limit: int, size: int, rows: int) -> None:
    """Chunks reserved until it is exhausted never exceed the limit, and use all of it."""
    budget, migrated = Budget(limit), 0
    while not budget.exhausted and migrated < rows:
        reserved = budget.reserve(size)
        assert 1 <= reserved <= size
        chunk = min(reserved, rows - migrated)
        budget.settle(reserved, chunk)
        migrated += chunk
    assert migrated == min(limit, rows)
    assert budget.limited


@given(
    limit=st.integers(0, 200),
    chunks=st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1), st.booleans()), max_size=60),
)
def test_budget_is_shared_by_concurrent_chunks(limit: int, chunks: list[tuple[int, float, bool]]) -> None:
    """In any order of their starts and ends, reserved and migrated rows never exceed the limit."""
    budget, running, migrated = Budget(limit), [], 0
    for size, share, ends_first in chunks:
        if running and ends_first:
            reserved, part = running.pop(0)
            budget.settle(reserved, done := int(reserved * part))
            migrated += done
        reserved = budget.reserve(size)
        running.append((reserved, share))
        assert migrated + sum(reserved for reserved, _part in running) <= limit
    for reserved, part in running:
        budget.settle(reserved, done := int(reserved * part))
        migrated += done
    assert budget.reserve(10**9) == limit - migrated


def test_budget_is_not_exceeded_by_threads() -> None:
    """Eight workers at once reserve all of the budget, and not a row more."""
    budget = Budget(1_000)
    with ThreadPoolExecutor(8) as pool:
        reserved = sum(pool.map(lambda _: budget.reserve(7), range(400)))
    assert (reserved, budget.exhausted) == (1_000, True)


def test_budget_without_a_limit_is_never_exhausted() -> None:
    """Without a limit only the batch size applies."""
    budget = Budget()
    budget.settle(budget.reserve(10**9), 10**9)
    assert (budget.exhausted, budget.limited, budget.reserve(7)) == (False, False, 7)


def test_budget_that_is_overspent_is_exhausted() -> None:
    """A ``counted`` function may migrate more rows than requested."""
    budget = Budget(3)
    budget.settle(budget.reserve(5), 5)
    assert (budget.reserve(1), budget.exhausted) == (0, True)


def test_budget_is_exhausted_at_its_deadline() -> None:
    """With rows left, or without a limit of rows; a deadline does not make the rows limited."""

    class FixedClock(Clock):
        """A clock that the test sets."""

        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = FixedClock()
    budgets = [Budget(deadline=60.0, clock=clock), Budget(10, deadline=60.0, clock=clock)]
    clock.now = 59.9
    assert [budget.exhausted for budget in budgets] == [False, False]
    clock.now = 60.0
    assert [budget.exhausted for budget in budgets] == [True, True]
    assert [budget.limited for budget in budgets] == [False, True]


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((), 0),
        ((Outcome.COMPLETE,), 0),
        ((Outcome.CONTRACTED, Outcome.COMPLETE), 0),
        ((Outcome.COMPLETE, Outcome.REMAINING), 1),
        ((Outcome.WAITING,), 1),
        ((Outcome.NOT_CONVERGING,), 1),
        ((Outcome.SUSPENDED, Outcome.COMPLETE), 1),
        ((Outcome.SUSPENDED, Outcome.FAILED), 2),
        ((Outcome.REMAINING, Outcome.FAILED), 2),
        ((Outcome.FAILED, Outcome.COMPLETE), 2),
        ((Outcome.FAILED, Outcome.WAITING), 2),
    ],
)
def test_exit_code_is_that_of_the_worst_outcome(outcomes: tuple[Outcome, ...], code: int) -> None:
    """Failed before remaining before done, at any position in the list."""
    results = [Result(f"m{i}", outcome) for i, outcome in enumerate(outcomes)]
    assert exit_code(results) == exit_code(reversed(results)) == code


def test_exit_code_of_every_outcome() -> None:
    """Only outcomes without remaining work are 0."""
    done = {outcome for outcome in Outcome if exit_code([Result("m", outcome)]) == 0}
    assert done == {Outcome.COMPLETE, Outcome.CONTRACTED}


def test_transitions_have_no_dead_end_and_no_unreachable_status() -> None:
    """Every status can be run again, if only after "resume"; every status is reachable from the start."""
    for start in (None, *Status):
        reached: set[Status | None] = {start}
        for _ in TRANSITIONS:
            reached |= {new for old, new in TRANSITIONS if old in reached}
        assert set(Status) <= reached, start
    assert {(Status.RUNNING, status) for status in Status} <= set(TRANSITIONS)
    assert all(TRANSITIONS.values())


def test_transitions_keep_the_status_set_by_an_operator() -> None:
    """A cancelled data migration does not start again before resume or retry."""
    assert {new for old, new in TRANSITIONS if old is Status.CANCELLED} == {Status.STOPPED}
    assert (Status.COMPLETE, Status.PAUSED) not in TRANSITIONS
    assert (Status.COMPLETE, Status.CANCELLED) not in TRANSITIONS


@given(
    waited=st.floats(0.01, 10),
    attempts=st.integers(1, 50),
    longest=st.floats(0.1, 60),
    seed=st.integers(),
)
def test_backoff_is_finite_and_bounded(waited: float, attempts: int, longest: float, seed: int) -> None:
    """One pause fewer than attempts, each positive and at most the longest plus a fifth."""
    pauses = list(backoff(waited=waited, attempts=attempts, longest=longest, jitter=random.Random(seed)))
    assert len(pauses) == attempts - 1
    assert all(0 < pause <= longest * 1.2 for pause in pauses)
    if attempts > 1 and waited * 1.5 < longest:
        assert pauses[0] > waited


def test_stop_keeps_its_first_reason() -> None:
    """The first request determines the reason; every waiter is woken."""
    stop = Stop()
    assert not stop.requested
    stop.request("SIGTERM")
    stop.request("SIGINT")
    assert (stop.requested, stop.reason) == (True, "SIGTERM")
    assert Clock().wait(60, stop)
