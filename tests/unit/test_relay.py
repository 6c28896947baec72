"""The order in which two chunks are begun, ended and taken back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from online_migrate.migrate import relay as module
from online_migrate.migrate.claims import Extent
from online_migrate.migrate.planner import Plan
from online_migrate.migrate.relay import Dropped, Leg, Relay
from online_migrate.migrate.work import Moved
from online_migrate.walk.chunker import Chunk

EXTENT = Extent(1, None, (100,), sweep=False)
NEXT = Extent(1, (10,), (100,), sweep=False)


class Connection:
    """Writes down what is asked of it."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def begin(self) -> None:
        self._log.append(f"{self.name}: begin")

    def commit(self) -> None:
        self._log.append(f"{self.name}: commit")

    def rollback(self) -> None:
        self._log.append(f"{self.name}: rollback")


class Server:
    """Two connections, and the UPDATEs that are sent on them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.failing = False
        self.go = threading.Event()
        self.go.set()
        self.home: Any = Connection("home", self.log)
        self.opened = 0
        monkeypatch.setattr(module, "move", self._move)
        job: Any = None
        self.relay = Relay(job, self.home, self._connect, lambda: 7.0, lambda connection: None)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        self.opened += 1
        yield Connection("other", self.log)
        self.log.append("other: closed")

    def _move(self, connection: Connection, _job: Any, _chunk: Any) -> Moved:
        assert self.go.wait(10)
        self.log.append(f"{connection.name}: UPDATE")
        if self.failing:
            raise LookupError("a row that cannot be")
        return Moved(3, clean=True)

    def leg(self, extent: Extent) -> Leg:
        """A chunk on whatever connection is free."""
        return Leg(extent, Plan((10,), cast(Chunk, object()), 10), self.relay.spare())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(monkeypatch)
    yield server
    server.go.set()
    server.relay.close()


def test_the_second_is_written_before_the_first_is_committed(server: Server) -> None:
    relay = server.relay
    relay.begin(server.leg(EXTENT))
    following = server.leg(NEXT)
    first = relay.take()
    relay.begin(following)
    relay.commit(first)
    second = relay.take()
    relay.commit(second)
    assert [line for line in server.log if "UPDATE" in line] == ["home: UPDATE", "other: UPDATE"]
    assert server.log.index("other: begin") > server.log.index("home: UPDATE")
    assert server.log.index("home: commit") < server.log.index("other: commit")
    assert (first.began, first.moved.done, relay.spare()) == (7.0, 3, server.home)
    assert "home: rollback" not in server.log


def test_whoever_is_at_another_place_finds_nothing_and_all_is_taken_back(server: Server) -> None:
    server.relay.begin(server.leg(EXTENT))
    assert server.relay.at(EXTENT) is not None
    assert server.relay.at(NEXT) is None
    assert server.log[-1] == "home: rollback"


def test_the_first_is_taken_back_before_anybody_waits_for_the_second(server: Server) -> None:
    """The second may be waiting for locks of the first."""
    relay = server.relay
    relay.begin(server.leg(EXTENT))
    following = server.leg(NEXT)
    relay.take()
    server.go.clear()
    relay.begin(following)
    dropping = threading.Thread(target=relay.fail)
    dropping.start()
    while "home: rollback" not in server.log:
        assert dropping.is_alive()
    assert "other: UPDATE" not in server.log
    server.go.set()
    dropping.join()
    assert server.log[-2:] == ["other: rollback", "other: closed"]


def test_an_update_that_fails_is_dropped_and_its_transaction_with_it(server: Server) -> None:
    server.failing = True
    server.relay.begin(server.leg(EXTENT))
    with pytest.raises(Dropped):
        server.relay.take()
    server.relay.fail()
    assert server.log[-1] == "home: rollback"


def test_who_fails_again_and_again_is_left_alone_for_longer_and_longer(server: Server) -> None:
    """One chunk, two, four; up to 64, and from the start again after one that got through."""
    relay = server.relay
    rests = []
    for _ in range(9):
        relay.fail()
        rest = 0
        while relay.sits_out():
            rest += 1
        rests.append(rest)
    assert rests == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    relay.begin(server.leg(EXTENT))
    relay.commit(relay.take())
    relay.fail()
    assert [relay.sits_out(), relay.sits_out()] == [True, False]


def test_who_leaves_commits_nothing_and_leaves_no_thread_behind(server: Server) -> None:
    server.relay.begin(server.leg(EXTENT))
    server.relay.close()
    assert not [line for line in server.log if "commit" in line]
    assert server.log[-1] == "home: rollback"
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("-ahead")]
