"""The size of chunks follows the times of chunks: recorded ones, simulated ones, and any at all."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.walk.chunk_size import Bounds, ChunkSize, Why

TARGET = 0.1
Cost = Callable[[int, int], float]
"""(number of the chunk, its rows) -> seconds."""


def follow(controller: ChunkSize, cost: Cost, chunks: int) -> list[tuple[int, float]]:
    """(rows, seconds) of each chunk of a walk that has no end."""
    seen = []
    for number in range(chunks):
        rows = controller.size
        seconds = cost(number, rows)
        controller.observe(rows, seconds)
        seen.append((rows, seconds))
    return seen


def of_times(chunks: Iterable[tuple[int, float]]) -> list[float]:
    return [seconds for _rows, seconds in chunks]


# --- traces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [10, 100, 500, 50_000])
def test_a_steady_cost_is_found_from_wherever_it_starts(start: int) -> None:
    """One millisecond a row: chunks of about a hundred, and never again one that takes far too long."""
    seen = follow(ChunkSize(Bounds(TARGET), start), lambda _n, rows: rows * 0.001, 40)
    assert all(90 <= rows <= 110 for rows, _seconds in seen[-10:])
    assert all(seconds <= TARGET * 1.2 for seconds in of_times(seen[1:]))


def test_a_cost_that_jumps_tenfold_hurts_once() -> None:
    """The first dear chunk takes ten times as long; the next one is as long as it should be."""
    controller = ChunkSize(Bounds(TARGET, smallest=1), 100)
    seen = follow(controller, lambda n, rows: rows * (0.001 if n < 20 else 0.01), 60)
    assert [n for n, seconds in enumerate(of_times(seen)) if seconds > TARGET * 1.2] == [20]
    assert seen[21][0] == 10
    assert all(9 <= rows <= 11 for rows, _seconds in seen[22:])


def test_a_cost_that_falls_again_is_made_use_of_step_by_step() -> None:
    """After a dear stretch the size comes back, by half at most each time."""
    controller = ChunkSize(Bounds(TARGET, smallest=1), 100)
    seen = follow(controller, lambda n, rows: rows * (0.01 if 10 <= n < 30 else 0.001), 80)
    sizes = [rows for rows, _seconds in seen]
    assert sizes[29] <= 11
    assert all(after <= before * 1.5 for before, after in itertools.pairwise(sizes))
    assert sizes[-1] >= 90


def test_an_outlier_costs_little() -> None:
    """One chunk in twenty takes five times as long: the size gives way and is back before the next."""
    controller = ChunkSize(Bounds(TARGET), 100)
    seen = follow(controller, lambda n, rows: rows * 0.001 * (5 if n % 20 == 19 else 1), 200)
    assert {rows for rows, _seconds in seen[20::20]} == {20}
    assert all(rows >= 90 for rows, _seconds in seen[39::20])


def test_a_chunk_that_is_a_little_slow_changes_nothing() -> None:
    """Two of eight that take less than twice their time are noise."""
    controller = ChunkSize(Bounds(TARGET), 100)
    seen = follow(controller, lambda n, rows: rows * 0.001 * (1.8 if n % 8 in (3, 7) else 1), 100)
    assert {rows for rows, _seconds in seen} == {100}


def test_a_lucky_chunk_says_nothing() -> None:
    """Rows that were done already are quick to pass over; those after them are not."""
    controller = ChunkSize(Bounds(TARGET), 100)
    seen = follow(controller, lambda n, rows: rows * 0.001 * (0.001 if n % 4 == 2 else 1), 100)
    assert max(rows for rows, _seconds in seen) <= 110


@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_make_chunks_too_long(seed: int) -> None:
    """Times that vary by a third either way: hardly a chunk takes much too long, and none far too long."""
    noise = random.Random(seed)
    controller = ChunkSize(Bounds(TARGET), 500)
    seen = follow(controller, lambda _n, rows: rows * 0.0002 * noise.uniform(0.67, 1.33), 400)
    times = sorted(of_times(seen[40:]))
    assert times[int(len(times) * 0.9)] <= TARGET * 1.3
    assert times[-1] < TARGET * 2
    assert times[len(times) // 2] >= TARGET * 0.6


def test_tiny_tables_and_clocks_that_stand_still() -> None:
    """No rows, or no time, or a time that is none: nothing is learnt and nothing breaks."""
    controller = ChunkSize(Bounds(TARGET), 500)
    for rows, seconds in ((0, 0.0), (0, 9.0), (-1, 1.0), (5, -1.0), (5, math.nan), (5, math.inf)):
        assert controller.observe(rows, seconds) == 500
    assert controller.why is Why.START
    for _ in range(100):
        controller.observe(controller.size, 0.0)
    assert controller.size == controller.bounds.largest


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1, 10.0, 1e9])
def test_a_size_that_was_asked_for_is_kept(seconds: float) -> None:
    """Whatever it takes: --batch-size is what somebody said."""
    controller = ChunkSize(Bounds(TARGET, smallest=7, largest=7), 7)
    assert {controller.observe(7, seconds) for _ in range(30)} == {7}


def test_it_can_say_why() -> None:
    """The reason is that of the last change: an operator reads it."""
    controller = ChunkSize(Bounds(TARGET), 500)
    assert controller.why is Why.START
    controller.observe(500, 1.0)
    assert (controller.size, controller.why) == (50, Why.OVERSHOT)
    for _ in range(3):
        controller.observe(50, 0.01)
    assert (controller.size, controller.why) == (75, Why.GREW)
    for _ in range(3):
        controller.observe(75, 0.1)
    assert (controller.size, controller.why) == (75, Why.KEPT)
    for _ in range(8):
        controller.observe(controller.size, 0.15)
    assert controller.size < 75
    assert controller.why is Why.SHRANK


# --- anything ------------------------------------------------------------------------------------

BOUNDS = st.builds(
    lambda target, smallest, more, growth, overshoot, memory: Bounds(
        target, smallest, smallest + more, growth=growth, overshoot=overshoot, memory=memory
    ),
    st.floats(0.001, 10),
    st.integers(1, 100),
    st.integers(0, 100_000),
    st.floats(1.01, 4),
    st.floats(1.1, 10),
    st.integers(1, 20),
)
CHUNKS = st.lists(st.tuples(st.floats(0.001, 1), st.floats(0, 1e6) | st.floats(0, 0.5)), max_size=80)
"""Of each chunk: how much of what was allowed it had, and its time."""


@given(bounds=BOUNDS, start=st.integers(1, 200_000), chunks=CHUNKS)
def test_it_stays_within_bounds_grows_by_steps_and_gives_way_at_once(
    bounds: Bounds, start: int, chunks: list[tuple[float, float]]
) -> None:
    """Whatever the times: within its bounds, no step of growth too large, no second overshoot of a cost.

    Until a chunk took a third of its time nothing is known, and the size may grow faster.
    """
    controller, felt = ChunkSize(bounds, start), False
    at_first = max(bounds.growth, getattr(bounds, "first_growth", 1.0))
    assert bounds.smallest <= controller.size <= bounds.largest
    for part, seconds in chunks:
        before = controller.size
        rows = max(1, int(before * part))
        size = controller.observe(rows, seconds)
        assert size == controller.size
        assert bounds.smallest <= size <= bounds.largest
        felt = felt or seconds * 3 >= bounds.target
        assert size <= before * (bounds.growth if felt else at_first)
        if seconds > bounds.target * bounds.overshoot:
            assert size <= max(bounds.smallest, rows * bounds.target / seconds)


@given(
    overhead=st.floats(0, 0.08),
    cost=st.floats(0.000_01, 0.005),
    start=st.integers(10, 50_000),
)
def test_any_steady_cost_is_settled_on(overhead: float, cost: float, start: int) -> None:
    """A fixed cost for each chunk and one for each row: in the end chunks take about their time."""
    controller = ChunkSize(Bounds(TARGET), start)
    seen = follow(controller, lambda _n, rows: overhead + rows * cost, 400)
    for rows, seconds in seen[-20:]:
        assert seconds <= TARGET * 1.25 or rows == controller.bounds.smallest
        assert seconds >= TARGET * 0.75 or rows == controller.bounds.largest


# --- a size that is limited ----------------------------------------------------------------------


def test_a_limit_after_a_lost_connection_doubles_with_each_chunk() -> None:
    """Twelve chunks later nothing is left of it, from a single row."""
    size = ChunkSize(Bounds(1.0, largest=50_000), 4_000)
    assert size.limit(1, patience=1) == 1
    seen = []
    while size.why is Why.REFUSED:
        seen.append(size.size)
        size.observe(size.size, 0.001)
        assert len(seen) < 20
    assert seen == [2**i for i in range(12)]
    assert size.size == 4_000


def test_a_size_that_the_server_refused_is_not_tried_again_at_once() -> None:
    size = ChunkSize(Bounds(1.0, largest=50_000), 1_000)
    size.limit(500, patience=32)
    for _ in range(31):
        assert size.observe(500, 0.001) == 500
    assert size.observe(500, 0.001) == 1_000


def test_a_limited_chunk_that_takes_too_long_still_shrinks_the_next_one() -> None:
    size = ChunkSize(Bounds(1.0, largest=50_000), 1_000)
    size.limit(500, patience=32)
    assert size.observe(500, 5.0) == 100


def test_a_limit_does_not_depend_on_the_smallest_size() -> None:
    """A chunk of a fixed size, too, is smaller where the server does not accept it."""
    size = ChunkSize(Bounds(1.0, smallest=1_000, largest=1_000), 1_000)
    assert size.limit(10, patience=1) == 10
    for _ in range(7):
        size.observe(size.size, 0.1)
    assert size.size == 1_000
