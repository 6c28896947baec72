"""The chunk size follows the chunk times: recorded ones, simulated ones, and arbitrary ones."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.walk.chunk_size import ChunkSize, ResizeReason, SizeLimits

TARGET = 0.1
Cost = Callable[[int, int], float]
"""(number of the chunk, its rows) -> seconds."""


def follow(controller: ChunkSize, cost: Cost, chunks: int) -> list[tuple[int, float]]:
    """(rows, seconds) of each of *chunks* chunks of an endless walk."""
    trace = []
    for number in range(chunks):
        rows = controller.size
        seconds = cost(number, rows)
        controller.observe(rows, seconds)
        trace.append((rows, seconds))
    return trace


def of_times(chunks: Iterable[tuple[int, float]]) -> list[float]:
    return [seconds for _rows, seconds in chunks]


# --- traces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [10, 100, 500, 50_000])
def test_steady_cost_is_reached_from_any_start(start: int) -> None:
    """One millisecond a row: chunks settle at about a hundred rows; none after the first takes too long."""
    trace = follow(ChunkSize(SizeLimits(TARGET), start), lambda _n, rows: rows * 0.001, 40)
    assert all(90 <= rows <= 110 for rows, _seconds in trace[-10:])
    assert all(seconds <= TARGET * 1.2 for seconds in of_times(trace[1:]))


def test_tenfold_cost_overshoots_once() -> None:
    """The first expensive chunk takes ten times as long; the next one has the right size."""
    controller = ChunkSize(SizeLimits(TARGET, smallest=1), 100)
    trace = follow(controller, lambda n, rows: rows * (0.001 if n < 20 else 0.01), 60)
    assert [n for n, seconds in enumerate(of_times(trace)) if seconds > TARGET * 1.2] == [20]
    assert trace[21][0] == 10
    assert all(9 <= rows <= 11 for rows, _seconds in trace[22:])


def test_size_grows_step_by_step_after_cost_drops() -> None:
    """After an expensive stretch the size grows again, by half at most each time."""
    controller = ChunkSize(SizeLimits(TARGET, smallest=1), 100)
    trace = follow(controller, lambda n, rows: rows * (0.01 if 10 <= n < 30 else 0.001), 80)
    sizes = [rows for rows, _seconds in trace]
    assert sizes[29] <= 11
    assert all(after <= before * 1.5 for before, after in itertools.pairwise(sizes))
    assert sizes[-1] >= 90


def test_size_does_not_overshoot_if_chunks_are_measured_late() -> None:
    """Two chunks are in flight: the size of a chunk is fixed before the two before it are measured."""
    limits = SizeLimits(target=0.05)
    size, planned, seconds_per_row = ChunkSize(limits, 500), list[int](), 8e-6
    for number in range(30):
        planned.append(size.size)
        if number >= 2:
            rows = planned[number - 2]
            size.observe(rows, rows * seconds_per_row)
    assert max(planned) * seconds_per_row <= 1.5 * limits.target
    assert planned[-1] * seconds_per_row >= 0.75 * limits.target


def test_size_recovers_after_outlier() -> None:
    """One chunk in twenty takes five times as long: the size drops and is restored before the next one."""
    controller = ChunkSize(SizeLimits(TARGET), 100)
    trace = follow(controller, lambda n, rows: rows * 0.001 * (5 if n % 20 == 19 else 1), 200)
    assert {rows for rows, _seconds in trace[20::20]} == {20}
    assert all(rows >= 90 for rows, _seconds in trace[39::20])


def test_slightly_slow_chunk_changes_nothing() -> None:
    """Two of eight that take less than twice the target are noise."""
    controller = ChunkSize(SizeLimits(TARGET), 100)
    trace = follow(controller, lambda n, rows: rows * 0.001 * (1.8 if n % 8 in (3, 7) else 1), 100)
    assert {rows for rows, _seconds in trace} == {100}


def test_unusually_fast_chunk_changes_nothing() -> None:
    """Rows that were done already are passed over quickly; the rows after them are not."""
    controller = ChunkSize(SizeLimits(TARGET), 100)
    trace = follow(controller, lambda n, rows: rows * 0.001 * (0.001 if n % 4 == 2 else 1), 100)
    assert max(rows for rows, _seconds in trace) <= 110


@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_make_chunks_too_long(seed: int) -> None:
    """Times that vary by a third either way: few chunks take much too long, and none far too long."""
    noise = random.Random(seed)
    controller = ChunkSize(SizeLimits(TARGET), 500)
    trace = follow(controller, lambda _n, rows: rows * 0.0002 * noise.uniform(0.67, 1.33), 400)
    times = sorted(of_times(trace[40:]))
    assert times[int(len(times) * 0.9)] <= TARGET * 1.3
    assert times[-1] < TARGET * 2
    assert times[len(times) // 2] >= TARGET * 0.6


def test_zero_rows_and_invalid_times() -> None:
    """Zero rows and invalid times do not change the size; zero times let it grow to its largest value."""
    controller = ChunkSize(SizeLimits(TARGET), 500)
    for rows, seconds in ((0, 0.0), (0, 9.0), (-1, 1.0), (5, -1.0), (5, math.nan), (5, math.inf)):
        assert controller.observe(rows, seconds) == 500
    assert controller.resize_reason is ResizeReason.START
    for _ in range(100):
        controller.observe(controller.size, 0.0)
    assert controller.size == controller.limits.largest


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1, 10.0, 1e9])
def test_fixed_size_is_kept(seconds: float) -> None:
    """Whatever a chunk takes: --batch-size is an explicit choice."""
    controller = ChunkSize(SizeLimits(TARGET, smallest=7, largest=7), 7)
    assert {controller.observe(7, seconds) for _ in range(30)} == {7}


def test_resize_reason() -> None:
    """The reason is that of the last change; operators read it."""
    controller = ChunkSize(SizeLimits(TARGET), 500)
    assert controller.resize_reason is ResizeReason.START
    controller.observe(500, 1.0)
    assert (controller.size, controller.resize_reason) == (50, ResizeReason.OVERSHOT)
    for _ in range(3):
        controller.observe(50, 0.01)
    assert (controller.size, controller.resize_reason) == (75, ResizeReason.GREW)
    for _ in range(3):
        controller.observe(75, 0.1)
    assert (controller.size, controller.resize_reason) == (75, ResizeReason.KEPT)
    for _ in range(8):
        controller.observe(controller.size, 0.15)
    assert controller.size < 75
    assert controller.resize_reason is ResizeReason.SHRANK


@pytest.mark.parametrize(("share", "target"), [(0.0, 0.012), (0.2, 0.012), (0.5, 0.025), (1.0, 0.05)])
def test_target_is_the_share_of_the_longest_one_within_its_bounds(share: float, target: float) -> None:
    """While latency allows it, chunks are long, so that there are few round trips and commits."""
    controller = ChunkSize(SizeLimits(0.012, longest_target=0.05), 500)
    for _ in range(60):
        controller.observe(controller.size, controller.size * 0.00001, target_share=share)
    assert controller.target == pytest.approx(target)
    assert controller.size == pytest.approx(target / 0.00001, rel=0.12)


def test_target_without_a_longest_one_is_constant() -> None:
    controller = ChunkSize(SizeLimits(0.1), 500)
    controller.observe(500, 0.05, target_share=1.0)
    assert controller.target == 0.1


# --- properties ----------------------------------------------------------------------------------

BOUNDS = st.builds(
    lambda target, smallest, more, growth, overshoot, memory: SizeLimits(
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
"""For each chunk: the part of the allowed rows that it had, and its time."""


@given(bounds=BOUNDS, start=st.integers(1, 200_000), chunks=CHUNKS)
def test_size_stays_within_bounds_and_growth_limits(
    bounds: SizeLimits, start: int, chunks: list[tuple[float, float]]
) -> None:
    """For any times: the size stays within its bounds, growth is limited, no cost overshoots twice.

    Until a chunk has taken a third of the target no cost is known, and the size may grow faster.
    """
    controller, cost_known = ChunkSize(bounds, start), False
    initial_growth = max(bounds.growth, getattr(bounds, "first_growth", 1.0))
    assert bounds.smallest <= controller.size <= bounds.largest
    for part, seconds in chunks:
        before = controller.size
        rows = max(1, int(before * part))
        size = controller.observe(rows, seconds)
        assert size == controller.size
        assert bounds.smallest <= size <= bounds.largest
        cost_known = cost_known or seconds * 3 >= bounds.target
        assert size <= before * (bounds.growth if cost_known else initial_growth)
        if seconds > bounds.target * bounds.overshoot:
            assert size <= max(bounds.smallest, rows * bounds.target / seconds)


@given(
    overhead=st.floats(0, 0.08),
    cost=st.floats(0.000_01, 0.005),
    start=st.integers(10, 50_000),
)
def test_size_settles_for_any_steady_cost(overhead: float, cost: float, start: int) -> None:
    """A fixed cost for each chunk and one for each row: the chunks settle near their target time."""
    controller = ChunkSize(SizeLimits(TARGET), start)
    trace = follow(controller, lambda _n, rows: overhead + rows * cost, 400)
    for rows, seconds in trace[-20:]:
        assert seconds <= TARGET * 1.25 or rows == controller.limits.smallest
        assert seconds >= TARGET * 0.75 or rows == controller.limits.largest


# --- a limited size ------------------------------------------------------------------------------


def test_limit_doubles_with_each_chunk() -> None:
    """Starting at a single row, the limit no longer applies after twelve chunks."""
    size = ChunkSize(SizeLimits(1.0, largest=50_000), 4_000)
    assert size.limit(1, patience=1) == 1
    trace = []
    while size.resize_reason is ResizeReason.REFUSED:
        trace.append(size.size)
        size.observe(size.size, 0.001)
        assert len(trace) < 20
    assert trace == [2**i for i in range(12)]
    assert size.size == 4_000


def test_refused_size_is_retried_after_patience() -> None:
    size = ChunkSize(SizeLimits(1.0, largest=50_000), 1_000)
    size.limit(500, patience=32)
    for _ in range(31):
        assert size.observe(500, 0.001) == 500
    assert size.observe(500, 0.001) == 1_000


def test_slow_chunk_shrinks_limited_size() -> None:
    size = ChunkSize(SizeLimits(1.0, largest=50_000), 1_000)
    size.limit(500, patience=32)
    assert size.observe(500, 5.0) == 100


def test_limit_may_be_below_smallest_size() -> None:
    """A chunk of a fixed size is smaller too where the server does not accept it."""
    size = ChunkSize(SizeLimits(1.0, smallest=1_000, largest=1_000), 1_000)
    assert size.limit(10, patience=1) == 10
    for _ in range(7):
        size.observe(size.size, 0.1)
    assert size.size == 1_000
