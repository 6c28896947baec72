"""Rows that fail stand alone in the end, and cost their neighbours little."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.migrate.isolation import Isolation


@dataclasses.dataclass
class Walk:
    """What came of a walk over rows 1 to *count*, some of which cannot be migrated."""

    done: list[int] = dataclasses.field(default_factory=list)
    failed: list[int] = dataclasses.field(default_factory=list)
    sizes: list[int] = dataclasses.field(default_factory=list)
    """How many rows were tried in each transaction."""
    isolated: list[bool] = dataclasses.field(default_factory=list)
    """Whether these were rows of a range that had failed."""
    left: list[int] = dataclasses.field(default_factory=list)
    """The rows that nobody deleted."""


def walk(
    count: int, bad: set[int], size: int, *, vanish: random.Random | None = None, limit: int = 100_000
) -> Walk:
    """Chunks of *size*, as a worker does them; *vanish*: rows are deleted between two transactions."""
    isolation: Isolation[int] = Isolation()
    rows, seen, at = list(range(1, count + 1)), Walk(), 0
    while at < count:
        assert len(seen.sizes) < limit, "it does not end"
        if vanish is not None and rows and vanish.random() < 0.3:
            rows.remove(vanish.choice(rows))
        end = isolation.end if isolation.active else count
        assert end is not None
        take = isolation.limit if isolation.active else size
        assert take >= 1
        keys = [row for row in rows if at < row <= end][:take]
        upper = keys[-1] if len(keys) == take else end
        seen.sizes.append(len(keys))
        seen.isolated.append(isolation.active)
        if bad.isdisjoint(keys):
            seen.done += keys
            isolation.passed(upper)
            at = upper
        elif isolation.failed(len(keys), upper):
            seen.failed += keys
            isolation.passed(upper)
            at = upper
    seen.left = rows
    return seen


@given(
    count=st.integers(1, 300),
    size=st.integers(1, 400),
    shares=st.sets(st.floats(0, 1, exclude_max=True), max_size=60),
)
def test_exactly_the_bad_rows_are_recorded_and_every_good_one_is_done(
    count: int, size: int, shares: set[float]
) -> None:
    """Each row once, in the order of the key, in a number of transactions that has a bound."""
    bad = {1 + int(share * count) for share in shares}
    seen = walk(count, bad, size)
    assert seen.failed == sorted(bad)
    assert seen.done == [row for row in range(1, count + 1) if row not in bad]
    depth = math.ceil(math.log2(min(size, count))) + 1
    assert len(seen.sizes) <= math.ceil(count / size) + len(bad) * 4 * depth


@given(
    count=st.integers(1, 200),
    size=st.integers(1, 300),
    shares=st.sets(st.floats(0, 1, exclude_max=True), max_size=40),
    seed=st.integers(0, 1_000),
)
def test_rows_that_the_application_deletes_meanwhile_disturb_nothing(
    count: int, size: int, shares: set[float], seed: int
) -> None:
    """It ends; no good row is taken for a bad one, none is done twice, and nobody is left out."""
    bad = {1 + int(share * count) for share in shares}
    vanish = random.Random(seed)
    seen = walk(count, bad, size, vanish=vanish, limit=10 * count + 10)
    assert set(seen.failed) <= bad
    assert bad.isdisjoint(seen.done)
    handled = seen.done + seen.failed
    assert len(handled) == len(set(handled))
    assert set(seen.left) <= set(handled)


def test_sixty_bad_rows_before_forty_good_ones() -> None:
    """A bad row beside bad rows costs a few transactions; the good ones after them go together again."""
    seen = walk(100, set(range(1, 61)), 100)
    assert (seen.failed, seen.done) == (list(range(1, 61)), list(range(61, 101)))
    assert len(seen.sizes) <= 60 * 2 + 2 * 7
    good = [size for size, row in zip(seen.sizes, seen.isolated, strict=True) if row][-3:]
    assert max(good) >= 8


@pytest.mark.parametrize("bad", [1, 500, 777, 1_000])
def test_one_bad_row_among_a_thousand_costs_the_logarithm(bad: int) -> None:
    """Wherever it stands."""
    seen = walk(1_000, {bad}, 1_000)
    assert (seen.failed, len(seen.done)) == ([bad], 999)
    assert len(seen.sizes) <= 3 * 11


def test_where_nothing_fails_it_is_never_active() -> None:
    """And chunks behind the range that failed are whole ones again."""
    seen = walk(1_000, set(), 100)
    assert (seen.sizes, any(seen.isolated)) == ([100] * 10, False)
    seen = walk(1_000, {150}, 100)
    assert seen.sizes[-8:] == [100] * 8
    assert not any(seen.isolated[-8:])


def test_a_single_row_fails_alone_at_once() -> None:
    """A chunk of one row needs no splitting."""
    isolation: Isolation[str] = Isolation()
    assert isolation.failed(1, "k")
    assert (isolation.active, isolation.end, isolation.limit) == (True, "k", 1)
    isolation.passed("k")
    assert (isolation.active, isolation.end) == (False, None)


def test_a_bisection_is_continued_by_another_worker() -> None:
    """The connection of the first was lost with the chunk; what it had learned is not."""
    first: Isolation[int] = Isolation()
    assert not first.failed(8, 80)
    second: Isolation[int] = Isolation()
    second.adopt(first)
    assert (second.active, second.end, second.limit) == (True, 80, 4)
    assert not second.failed(4, 40)
    assert (first.limit, second.limit, second.end) == (4, 2, 80)
