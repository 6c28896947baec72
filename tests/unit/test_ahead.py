"""What is read ahead is used in its place only, and nobody is left behind with it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from online_migrate.migrate.ahead import ReadAhead, Ready
from online_migrate.migrate.claims import Extent
from online_migrate.migrate.planner import Plan

FIRST = Extent(1, None, (100,), sweep=False)
SECOND = Extent(1, (10,), (100,), sweep=False)


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

    def read(self, _connection: Any, extent: Extent, size: int, beat: Callable[[], None]) -> Ready:
        self.began.set()
        while not self.go.wait(0.01):
            beat()
        if self.failing:
            raise LookupError("the server is gone")
        return Ready(Plan((size,), None, size), None, 0.0)


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def ahead(reader: Reader) -> Iterator[ReadAhead]:
    ahead = ReadAhead(reader.read, reader.connect)
    yield ahead
    ahead.close()


def nothing() -> None:
    """Nobody has to be told that we are alive."""


def test_what_was_asked_for_is_taken_once(ahead: ReadAhead, reader: Reader) -> None:
    assert ahead.take(FIRST, nothing) is None
    ahead.ask(SECOND, 7)
    ready = ahead.take(SECOND, nothing)
    assert ready is not None
    assert ready.plan.rows == 7
    assert ahead.take(SECOND, nothing) is None
    assert reader.opened == 1


def test_another_place_gets_nothing_of_it(ahead: ReadAhead) -> None:
    """A chunk that failed is begun again from its start; what was read behind it is forgotten."""
    ahead.ask(SECOND, 7)
    assert ahead.take(FIRST, nothing) is None
    assert ahead.take(SECOND, nothing) is None


def test_who_settles_finds_nobody_reading_and_takes_it_afterwards(ahead: ReadAhead, reader: Reader) -> None:
    reader.go.clear()
    ahead.ask(SECOND, 7)
    threading.Timer(0.05, reader.go.set).start()
    ahead.settle(nothing)
    assert reader.go.is_set()
    assert ahead.take(SECOND, nothing) is not None


def test_a_look_waits_for_nothing_and_takes_nothing(ahead: ReadAhead, reader: Reader) -> None:
    assert ahead.peek(SECOND) is None
    reader.go.clear()
    ahead.ask(SECOND, 7)
    assert ahead.peek(SECOND) is None
    reader.go.set()
    ahead.settle(nothing)
    seen = ahead.peek(SECOND)
    assert seen is not None
    assert ahead.peek(FIRST) is None
    assert ahead.take(SECOND, nothing) is seen
    assert ahead.peek(SECOND) is None


def test_what_must_be_there_is_read_once(ahead: ReadAhead, reader: Reader) -> None:
    """What was asked for elsewhere is forgotten; what could not be read is not asked for again by itself."""
    ahead.ask(SECOND, 7)
    ahead.have(SECOND, 9, nothing)
    seen = ahead.peek(SECOND)
    assert seen is not None
    assert seen.plan.rows == 7
    ahead.have(FIRST, 9, nothing)
    other = ahead.peek(FIRST)
    assert other is not None
    assert other.plan.rows == 9
    reader.failing = True
    ahead.have(SECOND, 9, nothing)
    assert ahead.peek(SECOND) is None
    reader.failing = False
    ahead.have(SECOND, 9, nothing)
    assert ahead.peek(SECOND) is None
    assert ahead.take(SECOND, nothing) is None
    ahead.have(SECOND, 9, nothing)
    assert ahead.peek(SECOND) is not None


def test_what_was_not_used_after_all_is_taken_again(ahead: ReadAhead, reader: Reader) -> None:
    """It is not read again, and what is being read behind it goes on."""
    ahead.ask(FIRST, 7)
    first = ahead.take(FIRST, nothing)
    assert first is not None
    reader.go.clear()
    ahead.ask(SECOND, 9)
    ahead.keep(FIRST, first)
    ahead.have(FIRST, 1, nothing)
    assert ahead.peek(FIRST) is first
    ahead.ask(FIRST, 1)
    ahead.ask(SECOND, 1)
    assert ahead.take(FIRST, nothing) is first
    assert ahead.peek(FIRST) is None
    reader.go.set()
    second = ahead.take(SECOND, nothing)
    assert second is not None
    assert second.plan.rows == 9


def test_what_was_kept_is_forgotten_with_the_rest(ahead: ReadAhead) -> None:
    ahead.ask(FIRST, 7)
    first = ahead.take(FIRST, nothing)
    assert first is not None
    ahead.keep(FIRST, first)
    ahead.forget(nothing)
    assert ahead.peek(FIRST) is None
    assert ahead.take(FIRST, nothing) is None


def test_what_fails_ahead_is_read_by_the_worker_and_the_next_has_a_new_connection(
    ahead: ReadAhead, reader: Reader
) -> None:
    reader.failing = True
    ahead.ask(FIRST, 7)
    assert ahead.take(FIRST, nothing) is None
    reader.failing = False
    ahead.ask(SECOND, 7)
    assert ahead.take(SECOND, nothing) is not None
    assert (reader.opened, reader.closed) == (2, 1)


def test_what_has_grown_old_is_forgotten(ahead: ReadAhead) -> None:
    """After a pause the rows are read again."""
    ahead.ask(SECOND, 7)
    ahead.forget(nothing)
    assert ahead.take(SECOND, nothing) is None


def test_who_leaves_waits_for_no_more_than_the_row_in_hand(ahead: ReadAhead, reader: Reader) -> None:
    """The thread is gone afterwards, and its connection with it, although it never came to an end."""
    reader.go.clear()
    ahead.ask(SECOND, 7)
    assert reader.began.wait(10)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("-ahead")]
    assert reader.closed == 1


def test_who_never_read_ahead_has_nothing_to_close(reader: Reader) -> None:
    ReadAhead(reader.read, reader.connect).close()
    assert reader.opened == 0
