"""Progress, rate and time left, measured with a manual clock."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from online_migrate.migrate.budget import Budget
from online_migrate.migrate.progress import NullListener, RateMeter, Snapshot
from online_migrate.migrate.run.context import RunContext, RunState
from online_migrate.migrate.worker.lease import range_size
from online_migrate.waiting import Clock, Stop


class ManualClock(Clock):
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float, stop: Stop) -> bool:
        self.now += seconds
        return stop.requested


def test_rate_is_zero_before_the_first_chunk() -> None:
    """No rate, no time left, no division by zero."""
    snapshot = RateMeter("m", total=10, done=3, clock=ManualClock()).snapshot()
    assert (snapshot.done, snapshot.total, snapshot.rate, snapshot.seconds_left) == (3, 10, 0.0, None)


def test_rate_counts_rows_of_this_run_only() -> None:
    """Rows of earlier runs count as done, but not for the rate."""
    clock = ManualClock()
    meter = RateMeter("m", total=1_000, done=500, clock=clock)
    clock.now += 2
    meter.add(100)
    snapshot = meter.snapshot("a chunk")
    assert (snapshot.done, snapshot.rate, snapshot.seconds_left) == (600, 50.0, 8.0)
    assert snapshot.chunk == "a chunk"


def test_rate_covers_the_last_half_minute() -> None:
    """A slow phase an hour ago does not increase the time left."""
    clock = ManualClock()
    meter = RateMeter("m", total=None, done=0, clock=clock)
    clock.now += 3_600
    meter.add(1)
    for _ in range(60):
        clock.now += 1
        meter.add(10)
    assert meter.snapshot().rate == pytest.approx(10)
    assert meter.snapshot().seconds_left is None


def test_time_left_is_not_negative_if_more_rows_than_expected_are_done() -> None:
    """Rows are inserted during the run: the initial total is only an estimate."""
    clock = ManualClock()
    meter = RateMeter("m", total=10, done=0, clock=clock)
    clock.now += 1
    meter.add(25)
    assert meter.snapshot().seconds_left == 0


def test_totals_counted_in_the_background_do_not_count_rows_twice() -> None:
    """Rows that were migrated before the count are included in its done rows."""
    snapshots: list[Snapshot] = []

    class RecordingListener(NullListener):
        def advanced(self, snapshot: Snapshot) -> None:
            snapshots.append(snapshot)

    context = RunContext(sa.create_engine("sqlite://"), Budget(), Clock(), Stop(), RecordingListener())
    run_state = RunState(context, "fill", RateMeter("fill", total=None, done=0, clock=Clock()))
    run_state.chunk_committed("worker", 5, "a chunk", None)
    assert (snapshots[-1].total, snapshots[-1].done) == (None, 5)
    run_state.reporter.set_totals(total=10, done=7, moved=5)
    run_state.chunk_committed("worker", 1, "a chunk", None)
    assert (snapshots[-1].total, snapshots[-1].done) == (10, 8)


def test_fair_share_decreases_to_the_end() -> None:
    """Key ranges of a fair share become smaller and smaller: the last ones end at about the same time."""
    engine = sa.create_engine("sqlite://")
    context = RunContext(
        engine=engine, budget=Budget(None), clock=Clock(), stop=Stop(), listener=NullListener()
    )
    meter = RateMeter("fill", total=None, done=0, clock=Clock())
    run_state = RunState(context, "fill", meter)
    assert run_state.reporter.fair_share_rows is None
    run_state.reporter.set_totals(8_000, 0, moved=0)
    single = run_state.reporter.fair_share_rows
    run_state.reporter.add_worker("one")
    run_state.reporter.add_worker("two")
    shares = []
    while share := run_state.reporter.fair_share_rows:
        shares.append(share)
        meter.add(share)
    assert single == 2_000
    assert shares[0] == 1_000
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 8_000


@pytest.mark.parametrize(
    ("target", "fair_share", "rows"),
    [
        (0.5, None, 400),
        (0.5, 0, 400),
        (0.5, 700, 700),
        (0.5, 1_000_000, 1_600),
        (5.0, 0, 200),
        (0.01, 1_000_000, 20_000),
        (None, 1_000_000, 800),
    ],
    ids=["unknown", "the end", "in between", "the start", "two at least", "short chunks", "a fixed size"],
)
def test_range_size_grows_with_the_remaining_rows_for_long_chunks(
    target: float | None, fair_share: int | None, rows: int
) -> None:
    """Most chunks of a range can then be prefetched, and some ranges always remain for each worker."""
    assert range_size(100, target, fair_share) == rows
