"""The chunk time used to resize chunks excludes what a smaller chunk would not shorten."""

from __future__ import annotations

from online_migrate.migrate.worker.chunk_timer import ChunkTimer


class ManualClock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def chunk(
    clock: ManualClock, timer: ChunkTimer, *, work: float, single: float, commit: float, prepared: float = 0.0
) -> float:
    """A chunk with these times, on a server with a baseline commit time of 10 ms; the target is 100 ms."""
    timer.begin()
    clock.now += work
    timer.rows_written()
    clock.now += single
    timer.lease_advanced()
    clock.now += commit
    return round(timer.elapsed(commit=0.01, prepared=prepared, target=0.1), 6)


def test_round_trip_is_subtracted() -> None:
    """200 ms to a distant server, and 50 ms of work: only the work counts."""
    clock = ManualClock()
    assert chunk(clock, ChunkTimer(clock), work=0.250, single=0.200, commit=0.200) == 0.070


def test_fastest_single_row_statement_is_the_round_trip() -> None:
    """A statement that waited for another session does not measure the round trip."""
    clock = ManualClock()
    timer = ChunkTimer(clock)
    chunk(clock, timer, work=0.1, single=0.001, commit=0.01)
    assert chunk(clock, timer, work=0.1, single=0.5, commit=0.01) == 0.1


def test_commit_time_above_baseline_counts() -> None:
    clock = ManualClock()
    assert chunk(clock, ChunkTimer(clock), work=0.010, single=0.0, commit=0.050) == 0.050


def test_repeated_transaction_is_measured_once() -> None:
    """The first attempt waited for a lock and was rolled back."""
    clock = ManualClock()
    timer = ChunkTimer(clock)
    timer.begin()
    clock.now += 10.0
    assert chunk(clock, timer, work=0.1, single=0.0, commit=0.0) == 0.1


def test_row_function_time_has_its_own_target() -> None:
    """Row functions block no session: up to half a second they are no reason for smaller chunks."""
    clock = ManualClock()
    timer = ChunkTimer(clock)
    assert chunk(clock, timer, work=0.02, single=0.0, commit=0.0, prepared=0.05) == 0.02
    assert chunk(clock, timer, work=0.02, single=0.0, commit=0.0, prepared=0.5) == 0.1
    assert chunk(clock, timer, work=0.02, single=0.0, commit=0.0, prepared=1.0) == 0.2
