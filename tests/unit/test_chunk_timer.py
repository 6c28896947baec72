"""What a controller of chunk sizes is told: nothing that a smaller chunk could not make shorter."""

from __future__ import annotations

from online_migrate.migrate.worker.chunk_timer import ChunkTimer


class Times:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def chunk(
    clock: Times, watch: ChunkTimer, *, work: float, single: float, commit: float, prepared: float = 0.0
) -> float:
    """A chunk with these times, on a server whose commit takes 10 ms at rest; 100 ms are wanted."""
    watch.begin()
    clock.now += work
    watch.rows_written()
    clock.now += single
    watch.lease_advanced()
    clock.now += commit
    return round(watch.elapsed(commit=0.01, prepared=prepared, target=0.1), 6)


def test_a_round_trip_is_no_reason_for_smaller_chunks() -> None:
    """200 ms to a server far away, and 50 ms of work: the work counts."""
    clock = Times()
    assert chunk(clock, ChunkTimer(clock), work=0.250, single=0.200, commit=0.200) == 0.070


def test_the_quickest_of_the_small_statements_counts() -> None:
    """One that waited for somebody says nothing of the way to the server."""
    clock = Times()
    watch = ChunkTimer(clock)
    chunk(clock, watch, work=0.1, single=0.001, commit=0.01)
    assert chunk(clock, watch, work=0.1, single=0.5, commit=0.01) == 0.1


def test_a_long_commit_counts_but_for_what_one_takes_at_rest() -> None:
    clock = Times()
    assert chunk(clock, ChunkTimer(clock), work=0.010, single=0.0, commit=0.050) == 0.050


def test_a_transaction_that_is_repeated_is_measured_once() -> None:
    """The first attempt waited for a lock and was rolled back."""
    clock = Times()
    watch = ChunkTimer(clock)
    watch.begin()
    clock.now += 10.0
    assert chunk(clock, watch, work=0.1, single=0.0, commit=0.0) == 0.1


def test_functions_of_rows_may_take_longer_than_rows_may_be_locked() -> None:
    """They keep nobody waiting: up to half a second they are no reason for smaller chunks."""
    clock = Times()
    watch = ChunkTimer(clock)
    assert chunk(clock, watch, work=0.02, single=0.0, commit=0.0, prepared=0.05) == 0.02
    assert chunk(clock, watch, work=0.02, single=0.0, commit=0.0, prepared=0.5) == 0.1
    assert chunk(clock, watch, work=0.02, single=0.0, commit=0.0, prepared=1.0) == 0.2
