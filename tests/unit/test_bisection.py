"""Bisection isolates rows that fail, at a low cost for the rows beside them."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.migrate.worker.bisection import FailureBisector


@dataclasses.dataclass
class Walk:
    """The result of a walk over rows 1 to *count*, some of which cannot be migrated."""

    done: list[int] = dataclasses.field(default_factory=list)
    failed: list[int] = dataclasses.field(default_factory=list)
    sizes: list[int] = dataclasses.field(default_factory=list)
    """The number of rows tried in each transaction."""
    isolated: list[bool] = dataclasses.field(default_factory=list)
    """Whether these rows belonged to a range that had failed."""
    left: list[int] = dataclasses.field(default_factory=list)
    """The rows that were not deleted."""


def walk(
    count: int, bad: set[int], size: int, *, vanish: random.Random | None = None, limit: int = 100_000
) -> Walk:
    """Walks in chunks of *size*, as a worker does; *vanish*: rows are deleted between two transactions."""
    bisector: FailureBisector[int] = FailureBisector()
    rows, result, at = list(range(1, count + 1)), Walk(), 0
    while at < count:
        assert len(result.sizes) < limit, "it does not end"
        if vanish is not None and rows and vanish.random() < 0.3:
            rows.remove(vanish.choice(rows))
        end = bisector.end if bisector.active else count
        assert end is not None
        take = bisector.limit if bisector.active else size
        assert take >= 1
        keys = [row for row in rows if at < row <= end][:take]
        upper = keys[-1] if len(keys) == take else end
        result.sizes.append(len(keys))
        result.isolated.append(bisector.active)
        if bad.isdisjoint(keys):
            result.done += keys
            bisector.passed(upper)
            at = upper
        elif bisector.failed(len(keys), upper):
            result.failed += keys
            bisector.passed(upper)
            at = upper
    result.left = rows
    return result


@given(
    count=st.integers(1, 300),
    size=st.integers(1, 400),
    shares=st.sets(st.floats(0, 1, exclude_max=True), max_size=60),
)
def test_bisection_records_bad_rows_and_does_good_rows(count: int, size: int, shares: set[float]) -> None:
    """Each row once, in key order, in a bounded number of transactions."""
    bad = {1 + int(share * count) for share in shares}
    result = walk(count, bad, size)
    assert result.failed == sorted(bad)
    assert result.done == [row for row in range(1, count + 1) if row not in bad]
    depth = math.ceil(math.log2(min(size, count))) + 1
    assert len(result.sizes) <= math.ceil(count / size) + len(bad) * 4 * depth


@given(
    count=st.integers(1, 200),
    size=st.integers(1, 300),
    shares=st.sets(st.floats(0, 1, exclude_max=True), max_size=40),
    seed=st.integers(0, 1_000),
)
def test_bisection_with_concurrently_deleted_rows(
    count: int, size: int, shares: set[float], seed: int
) -> None:
    """The walk ends; no good row is recorded as bad, none is done twice, and none is left out."""
    bad = {1 + int(share * count) for share in shares}
    vanish = random.Random(seed)
    result = walk(count, bad, size, vanish=vanish, limit=10 * count + 10)
    assert set(result.failed) <= bad
    assert bad.isdisjoint(result.done)
    handled = result.done + result.failed
    assert len(handled) == len(set(handled))
    assert set(result.left) <= set(handled)


def test_bisection_of_sixty_bad_rows_before_forty_good_rows() -> None:
    """Adjacent bad rows cost a few transactions each; the good rows after them share transactions again."""
    result = walk(100, set(range(1, 61)), 100)
    assert (result.failed, result.done) == (list(range(1, 61)), list(range(61, 101)))
    assert len(result.sizes) <= 60 * 2 + 2 * 7
    good = [size for size, row in zip(result.sizes, result.isolated, strict=True) if row][-3:]
    assert max(good) >= 8


@pytest.mark.parametrize("bad", [1, 500, 777, 1_000])
def test_one_bad_row_costs_logarithmic_transactions(bad: int) -> None:
    """At any position."""
    result = walk(1_000, {bad}, 1_000)
    assert (result.failed, len(result.done)) == ([bad], 999)
    assert len(result.sizes) <= 3 * 11


def test_bisector_is_inactive_without_failures() -> None:
    """And chunks after the range that failed have their full size again."""
    result = walk(1_000, set(), 100)
    assert (result.sizes, any(result.isolated)) == ([100] * 10, False)
    result = walk(1_000, {150}, 100)
    assert result.sizes[-8:] == [100] * 8
    assert not any(result.isolated[-8:])


def test_single_row_chunk_fails_immediately() -> None:
    """A chunk of one row is not split."""
    bisector: FailureBisector[str] = FailureBisector()
    assert bisector.failed(1, "k")
    assert (bisector.active, bisector.end, bisector.limit) == (True, "k", 1)
    bisector.passed("k")
    assert (bisector.active, bisector.end) == (False, None)


def test_bisector_adopt() -> None:
    """The first worker's connection was lost during the chunk; its bisection state is kept."""
    first: FailureBisector[int] = FailureBisector()
    assert not first.failed(8, 80)
    second: FailureBisector[int] = FailureBisector()
    second.adopt(first)
    assert (second.active, second.end, second.limit) == (True, 80, 4)
    assert not second.failed(4, 40)
    assert (first.limit, second.limit, second.end) == (4, 2, 80)
