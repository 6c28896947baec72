"""A prefetched chunk is used for its own range only, and closing leaves no thread."""

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
    """Reads the requested chunk and counts the connections."""

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
def prefetcher(reader: Reader) -> Iterator[Prefetcher]:
    prefetcher = Prefetcher(reader.read, reader.connect)
    yield prefetcher
    prefetcher.close()


def no_heartbeat() -> None:
    """A heartbeat that does nothing."""


def test_result_returns_a_submitted_chunk_once(prefetcher: Prefetcher, reader: Reader) -> None:
    assert prefetcher.result(FIRST, no_heartbeat) is None
    prefetcher.submit(SECOND, 7)
    prepared = prefetcher.result(SECOND, no_heartbeat)
    assert prepared is not None
    assert prepared.plan.rows == 7
    assert prefetcher.result(SECOND, no_heartbeat) is None
    assert reader.opened == 1


def test_result_of_another_range_discards_the_chunk(prefetcher: Prefetcher) -> None:
    """A failed chunk is started again from its lower bound; the chunk prefetched after it is discarded."""
    prefetcher.submit(SECOND, 7)
    assert prefetcher.result(FIRST, no_heartbeat) is None
    assert prefetcher.result(SECOND, no_heartbeat) is None


def test_wait_ends_the_read_and_keeps_the_result(prefetcher: Prefetcher, reader: Reader) -> None:
    reader.go.clear()
    prefetcher.submit(SECOND, 7)
    threading.Timer(0.05, reader.go.set).start()
    prefetcher.wait(no_heartbeat)
    assert reader.go.is_set()
    assert prefetcher.result(SECOND, no_heartbeat) is not None


def test_result_nowait_does_not_wait_and_keeps_the_result(prefetcher: Prefetcher, reader: Reader) -> None:
    assert prefetcher.result_nowait(SECOND) is None
    reader.go.clear()
    prefetcher.submit(SECOND, 7)
    assert prefetcher.result_nowait(SECOND) is None
    reader.go.set()
    prefetcher.wait(no_heartbeat)
    prepared = prefetcher.result_nowait(SECOND)
    assert prepared is not None
    assert prefetcher.result_nowait(FIRST) is None
    assert prefetcher.result(SECOND, no_heartbeat) is prepared
    assert prefetcher.result_nowait(SECOND) is None


def test_fetch_reads_a_chunk_once(prefetcher: Prefetcher, reader: Reader) -> None:
    """A chunk submitted for another range is discarded; a failed read is not repeated automatically."""
    prefetcher.submit(SECOND, 7)
    prefetcher.fetch(SECOND, 9, no_heartbeat)
    prepared = prefetcher.result_nowait(SECOND)
    assert prepared is not None
    assert prepared.plan.rows == 7
    prefetcher.fetch(FIRST, 9, no_heartbeat)
    other = prefetcher.result_nowait(FIRST)
    assert other is not None
    assert other.plan.rows == 9
    reader.failing = True
    prefetcher.fetch(SECOND, 9, no_heartbeat)
    assert prefetcher.result_nowait(SECOND) is None
    reader.failing = False
    prefetcher.fetch(SECOND, 9, no_heartbeat)
    assert prefetcher.result_nowait(SECOND) is None
    assert prefetcher.result(SECOND, no_heartbeat) is None
    prefetcher.fetch(SECOND, 9, no_heartbeat)
    assert prefetcher.result_nowait(SECOND) is not None


def test_put_back_chunk_is_returned_again(prefetcher: Prefetcher, reader: Reader) -> None:
    """It is not read again, and the read of the next chunk continues."""
    prefetcher.submit(FIRST, 7)
    first = prefetcher.result(FIRST, no_heartbeat)
    assert first is not None
    reader.go.clear()
    prefetcher.submit(SECOND, 9)
    prefetcher.put_back(FIRST, first)
    prefetcher.fetch(FIRST, 1, no_heartbeat)
    assert prefetcher.result_nowait(FIRST) is first
    prefetcher.submit(FIRST, 1)
    prefetcher.submit(SECOND, 1)
    assert prefetcher.result(FIRST, no_heartbeat) is first
    assert prefetcher.result_nowait(FIRST) is None
    reader.go.set()
    second = prefetcher.result(SECOND, no_heartbeat)
    assert second is not None
    assert second.plan.rows == 9


def test_clear_discards_a_chunk_that_was_put_back(prefetcher: Prefetcher) -> None:
    prefetcher.submit(FIRST, 7)
    first = prefetcher.result(FIRST, no_heartbeat)
    assert first is not None
    prefetcher.put_back(FIRST, first)
    prefetcher.clear(no_heartbeat)
    assert prefetcher.result_nowait(FIRST) is None
    assert prefetcher.result(FIRST, no_heartbeat) is None


def test_failed_read_returns_no_result_and_closes_the_connection(
    prefetcher: Prefetcher, reader: Reader
) -> None:
    reader.failing = True
    prefetcher.submit(FIRST, 7)
    assert prefetcher.result(FIRST, no_heartbeat) is None
    reader.failing = False
    prefetcher.submit(SECOND, 7)
    assert prefetcher.result(SECOND, no_heartbeat) is not None
    assert (reader.opened, reader.closed) == (2, 1)


def test_clear_discards_a_prefetched_chunk(prefetcher: Prefetcher) -> None:
    """After a pause the rows are read again."""
    prefetcher.submit(SECOND, 7)
    prefetcher.clear(no_heartbeat)
    assert prefetcher.result(SECOND, no_heartbeat) is None


def test_close_waits_only_for_the_current_row(prefetcher: Prefetcher, reader: Reader) -> None:
    """The thread has ended and its connection is closed, although its read was not completed."""
    reader.go.clear()
    prefetcher.submit(SECOND, 7)
    assert reader.began.wait(10)
    prefetcher.close()
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("-ahead")]
    assert reader.closed == 1


def test_close_without_a_submit_opens_no_connection(reader: Reader) -> None:
    Prefetcher(reader.read, reader.connect).close()
    assert reader.opened == 0
