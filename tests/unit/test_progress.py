"""How far, how fast, how long: measured with a clock of our own."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from online_migrate.migrate.budget import Budget
from online_migrate.migrate.pace import Pace
from online_migrate.migrate.progress import NullListener, RateMeter, Snapshot
from online_migrate.migrate.run.context import RunContext, RunState
from online_migrate.migrate.worker.lease import range_size
from online_migrate.waiting import Clock, Stop


class Hand(Clock):
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float, stop: Stop) -> bool:
        self.now += seconds
        return stop.requested


def test_before_anything_was_done_nothing_is_known() -> None:
    """No rate, no time left, no division by zero."""
    snapshot = RateMeter("m", total=10, done=3, clock=Hand()).snapshot()
    assert (snapshot.done, snapshot.total, snapshot.rate, snapshot.seconds_left) == (3, 10, 0.0, None)


def test_the_rate_is_that_of_this_run() -> None:
    """Rows of earlier runs are done, but were not done now."""
    clock = Hand()
    meter = RateMeter("m", total=1_000, done=500, clock=clock)
    clock.now += 2
    meter.add(100)
    snapshot = meter.snapshot("a chunk")
    assert (snapshot.done, snapshot.rate, snapshot.seconds_left) == (600, 50.0, 8.0)
    assert snapshot.chunk == "a chunk"


def test_the_rate_follows_the_last_half_minute() -> None:
    """What was slow an hour ago does not make the time left longer."""
    clock = Hand()
    meter = RateMeter("m", total=None, done=0, clock=clock)
    clock.now += 3_600
    meter.add(1)
    for _ in range(60):
        clock.now += 1
        meter.add(10)
    assert meter.snapshot().rate == pytest.approx(10)
    assert meter.snapshot().seconds_left is None


def test_more_done_than_there_were_is_no_negative_time() -> None:
    """Rows are inserted while it runs: the total of the start is only an estimate."""
    clock = Hand()
    meter = RateMeter("m", total=10, done=0, clock=clock)
    clock.now += 1
    meter.add(25)
    assert meter.snapshot().seconds_left == 0


def test_a_count_beside_the_work_fits_what_was_moved_before_it() -> None:
    """Rows that were moved before it are among those that it found done: they are not added twice."""
    shown: list[Snapshot] = []

    class Shown(NullListener):
        def advanced(self, snapshot: Snapshot) -> None:
            shown.append(snapshot)

    place = RunContext(sa.create_engine("sqlite://"), Budget(), Clock(), Stop(), Shown())
    crew = RunState(place, "fill", RateMeter("fill", total=None, done=0, clock=Clock()))
    crew.chunk_committed("worker", 5, "a chunk", None)
    assert (shown[-1].total, shown[-1].done) == (None, 5)
    crew.set_totals(total=10, done=7, moved=5)
    crew.chunk_committed("worker", 1, "a chunk", None)
    assert (shown[-1].total, shown[-1].done) == (10, 8)


def test_a_fair_share_leaves_something_for_everybody_until_the_end() -> None:
    """Extents of a fair share get smaller and smaller: the last ones end at about the same time."""
    engine = sa.create_engine("sqlite://")
    place = RunContext(
        engine=engine, budget=Budget(None), clock=Clock(), stop=Stop(), listener=NullListener()
    )
    meter = RateMeter("fill", total=None, done=0, clock=Clock())
    crew = RunState(place, "fill", meter)
    assert crew.fair_share_rows is None
    crew.set_totals(8_000, 0, moved=0)
    alone = crew.fair_share_rows
    crew.add_worker("one")
    crew.add_worker("two")
    shares = []
    while share := crew.fair_share_rows:
        shares.append(share)
        meter.add(share)
    assert alone == 2_000
    assert shares[0] == 1_000
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 8_000


@pytest.mark.parametrize(
    ("pace", "fair_share", "rows"),
    [
        (Pace(chunk_time=0.5), None, 400),
        (Pace(chunk_time=0.5), 0, 400),
        (Pace(chunk_time=0.5), 700, 700),
        (Pace(chunk_time=0.5), 1_000_000, 1_600),
        (Pace(chunk_time=5.0), 0, 200),
        (Pace(chunk_time=0.01), 1_000_000, 20_000),
        (Pace(batch_size=100), 1_000_000, 800),
    ],
    ids=["unknown", "the end", "in between", "the start", "two at least", "short chunks", "a fixed size"],
)
def test_an_extent_grows_with_what_is_left_where_chunks_are_long(
    pace: Pace, fair_share: int | None, rows: int
) -> None:
    """So that most of its chunks can be looked for ahead; and there are always some for everybody."""
    assert range_size(100, pace, fair_share) == rows
