"""The number of rows of a call is halved and doubled, and every run ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from online_migrate.migrate.run.call_size import CallSize


def test_size_is_halved_to_one_row_and_not_raised_again() -> None:
    size = CallSize(50, 1000)
    used = [50]
    while size.halve(size.rows):
        used.append(size.rows)
    assert used == [50, 25, 12, 6, 3, 1]
    assert not size.double(1, 1)


def test_size_is_doubled_only_while_a_larger_call_can_find_other_rows() -> None:
    size = CallSize(50, 150)
    assert not size.double(50, 49)  # the function has seen every row
    assert not size.double(7, 7)  # --max-count allows no more
    assert size.double(50, 50)
    assert size.double(100, 1000)
    assert size.rows == 150
    assert not size.double(150, 150)


@given(st.integers(1, 10**6), st.lists(st.booleans(), min_size=60, max_size=60))
def test_calls_that_make_no_progress_end(rows: int, raises: list[bool]) -> None:
    """Any order of exceptions and of calls that migrate nothing: the run ends, and a size is never above."""
    size = CallSize(rows, 100_000)
    for raised in raises * 8:
        assert 1 <= size.rows <= max(rows, 100_000)
        if not (size.halve(size.rows) if raised else size.double(size.rows, size.rows)):
            return
    raise AssertionError("no end")
