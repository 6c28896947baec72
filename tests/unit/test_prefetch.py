"""What is read ahead is used in its place only, and nobody is left behind with it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from online_migrate.migrate.executor.prefetch import Prefetcher, PreparedChunk
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan

FIRST = KeyRange(1, None, (100,), sweep=False)
SECOND = KeyRange(1, (10,), (100,), sweep=False)


class Reader:
    """Reads what it is told, and counts the connections."""

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.failing = False
        self.go = threading.Event()
        self.go.set()
        self.began = threading.Event()

    @contextlib.contextmanager
    def connect(self) -> Iterator[Any]:
        self.opened += 1
        try:
            yield object()
        finally:
            self.closed += 1

    def read(self, _connection: Any, extent: KeyRange, size: int, beat: Callable[[], None]) -> PreparedChunk:
        self.began.set()
        while not self.go.wait(0.01):
            beat()
        if self.failing:
            raise LookupError("the server is gone")
        return PreparedChunk(ChunkPlan((size,), None, size), None, 0.0)


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def ahead(reader: Reader) -> Iterator[Prefetcher]:
    ahead = Prefetcher(reader.read, reader.connect)
    yield ahead
    ahead.close()


def nothing() -> None:
    """Nobody has to be told that we are alive."""


def test_what_was_asked_for_is_taken_once(ahead: Prefetcher, reader: Reader) -> None:
    assert ahead.result(FIRST, nothing) is None
    ahead.submit(SECOND, 7)
    ready = ahead.result(SECOND, nothing)
    assert ready is not None
    assert ready.plan.rows == 7
    assert ahead.result(SECOND, nothing) is None
    assert reader.opened == 1


def test_another_place_gets_nothing_of_it(ahead: Prefetcher) -> None:
    """A chunk that failed is begun again from its start; what was read behind it is forgotten."""
    ahead.submit(SECOND, 7)
    assert ahead.result(FIRST, nothing) is None
    assert ahead.result(SECOND, nothing) is None


def test_who_settles_finds_nobody_reading_and_takes_it_afterwards(ahead: Prefetcher, reader: Reader) -> None:
    reader.go.clear()
    ahead.submit(SECOND, 7)
    threading.Timer(0.05, reader.go.set).start()
    ahead.wait(nothing)
    assert reader.go.is_set()
    assert ahead.result(SECOND, nothing) is not None


def test_a_look_waits_for_nothing_and_takes_nothing(ahead: Prefetcher, reader: Reader) -> None:
    assert ahead.result_nowait(SECOND) is None
    reader.go.clear()
    ahead.submit(SECOND, 7)
    assert ahead.result_nowait(SECOND) is None
    reader.go.set()
    ahead.wait(nothing)
    seen = ahead.result_nowait(SECOND)
    assert seen is not None
    assert ahead.result_nowait(FIRST) is None
    assert ahead.result(SECOND, nothing) is seen
    assert ahead.result_nowait(SECOND) is None


def test_what_must_be_there_is_read_once(ahead: Prefetcher, reader: Reader) -> None:
    """What was asked for elsewhere is forgotten; what could not be read is not asked for again by itself."""
    ahead.submit(SECOND, 7)
    ahead.fetch(SECOND, 9, nothing)
    seen = ahead.result_nowait(SECOND)
    assert seen is not None
    assert seen.plan.rows == 7
    ahead.fetch(FIRST, 9, nothing)
    other = ahead.result_nowait(FIRST)
    assert other is not None
    assert other.plan.rows == 9
    reader.failing = True
    ahead.fetch(SECOND, 9, nothing)
    assert ahead.result_nowait(SECOND) is None
    reader.failing = False
    ahead.fetch(SECOND, 9, nothing)
    assert ahead.result_nowait(SECOND) is None
    assert ahead.result(SECOND, nothing) is None
    ahead.fetch(SECOND, 9, nothing)
    assert ahead.result_nowait(SECOND) is not None


def test_what_was_not_used_after_all_is_taken_again(ahead: Prefetcher, reader: Reader) -> None:
    """It is not read again, and what is being read behind it goes on."""
    ahead.submit(FIRST, 7)
    first = ahead.result(FIRST, nothing)
    assert first is not None
    reader.go.clear()
    ahead.submit(SECOND, 9)
    ahead.put_back(FIRST, first)
    ahead.fetch(FIRST, 1, nothing)
    assert ahead.result_nowait(FIRST) is first
    ahead.submit(FIRST, 1)
    ahead.submit(SECOND, 1)
    assert ahead.result(FIRST, nothing) is first
    assert ahead.result_nowait(FIRST) is None
    reader.go.set()
    second = ahead.result(SECOND, nothing)
    assert second is not None
    assert second.plan.rows == 9


def test_what_was_kept_is_forgotten_with_the_rest(ahead: Prefetcher) -> None:
    ahead.submit(FIRST, 7)
    first = ahead.result(FIRST, nothing)
    assert first is not None
    ahead.put_back(FIRST, first)
    ahead.clear(nothing)
    assert ahead.result_nowait(FIRST) is None
    assert ahead.result(FIRST, nothing) is None


def test_what_fails_ahead_is_read_by_the_worker_and_the_next_has_a_new_connection(
    ahead: Prefetcher, reader: Reader
) -> None:
    reader.failing = True
    ahead.submit(FIRST, 7)
    assert ahead.result(FIRST, nothing) is None
    reader.failing = False
    ahead.submit(SECOND, 7)
    assert ahead.result(SECOND, nothing) is not None
    assert (reader.opened, reader.closed) == (2, 1)


def test_what_has_grown_old_is_forgotten(ahead: Prefetcher) -> None:
    """After a pause the rows are read again."""
    ahead.submit(SECOND, 7)
    ahead.clear(nothing)
    assert ahead.result(SECOND, nothing) is None


def test_who_leaves_waits_for_no_more_than_the_row_in_hand(ahead: Prefetcher, reader: Reader) -> None:
    """The thread is gone afterwards, and its connection with it, although it never came to an end."""
    reader.go.clear()
    ahead.submit(SECOND, 7)
    assert reader.began.wait(10)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("-ahead")]
    assert reader.closed == 1


def test_who_never_read_ahead_has_nothing_to_close(reader: Reader) -> None:
    Prefetcher(reader.read, reader.connect).close()
    assert reader.opened == 0
