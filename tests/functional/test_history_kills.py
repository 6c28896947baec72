"""kill -9 of the runner and of the server while clients of both versions write."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.servers import Database, Server
from tests.support.chaos import new_seed
from tests.support.history import History
from tests.support.history_changes import CHANGES, SPLIT, Change
from tests.support.history_clients import Clients
from tests.support.throwaway import Throwaway

pytestmark = pytest.mark.each_product


def live_through(history: History, seed: int, kills: int, server: Throwaway | None = None) -> Clients:
    """Takes a change through its life, with kills, and checks it each time."""
    moments = random.Random(seed)
    with Clients(history, seed) as clients:
        with clients.paused():
            history.expand()
        for number in range(kills):
            process = history.project.start("migrate", "--batch-size", "2")
            time.sleep(moments.uniform(0, 0.5))
            process.kill()
            if server is not None and number == kills // 2:
                server.kill()
                server.start()
            with clients.paused():
                history.check()
        for _ in range(kills):
            with clients.paused():
                history.migrate()
            history.killed("contract", at=moments.randrange(1, 60))
            with clients.paused():
                history.check()
            if history.contracted:
                break
        if not history.contracted:
            with clients.paused():
                history.finish()
        time.sleep(0.05)
    history.check()
    return clients


@pytest.mark.parametrize(
    ("change", "synced"), [(CHANGES[3], False), (SPLIT, True)], ids=["move", "split-synced"]
)
def test_runner_is_killed(database: Database, tmp_path: Path, change: Change, synced: bool) -> None:
    """Each acknowledged write is found, in both shapes until contract."""
    with History(database, tmp_path / "project", change, synced=synced) as history:
        clients = live_through(history, new_seed(), 2)
    assert clients.acknowledged > 20


@pytest.mark.needs("kill_session")
@pytest.mark.parametrize("synced", [False, True])
def test_server_is_killed(server: Server, tmp_path: Path, synced: bool) -> None:
    """A commit of which the client got no answer may be there or not; every other one is."""
    with (
        Throwaway(server.name) as private,
        History(private.database, tmp_path / "project", CHANGES[0], synced=synced) as history,
    ):
        clients = live_through(history, new_seed(), 2, private)
    assert clients.acknowledged > 20
