"""Contract beside a writer that inserts a row that is not migrated, at a random moment."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.servers import Database, Server
from tests.support.chaos import new_seed, number_of_histories
from tests.support.history import NEVER, History, between_gate_and_removal
from tests.support.history_changes import CHANGES, SPLIT

SHORT, LONG = 2, 1_000


@pytest.mark.timeout(36_000)
def test_a_value_is_never_dropped(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Either contract is refused, or the row is in the new shape, or its INSERT has failed."""
    chosen = random.Random(new_seed())
    tries = number_of_histories(short=SHORT, long=LONG, is_long=request.config.getoption("long"))
    first, last = _moments(database, tmp_path)
    results = {True: 0, False: 0}
    for number in range(tries):
        change, folder = CHANGES[number % len(CHANGES)], tmp_path / f"project{number}"
        with History.ready_to_contract(database, folder, change) as history:
            done, _ = history.contract_beside_an_insert(3, chosen.randrange(first - 10, last + 10))
            results[done] += 1
    print(f"done: {results[True]}, refused: {results[False]}")


def _moments(database: Database, folder: Path) -> tuple[int, int]:
    with History.ready_to_contract(database, folder / "undisturbed", CHANGES[0]) as history:
        return between_gate_and_removal(history.contract_beside_an_insert(3, NEVER)[1])


@pytest.mark.each_product
def test_a_killed_contract_does_not_drop_a_value(server: Server, tmp_path: Path) -> None:
    """kill -9 after the sync is dropped, and before its column is: the old version changes a row then."""
    with (
        server.fresh_database(tmp_path, "killed") as database,
        History.ready_to_contract(database, tmp_path / "project", SPLIT, synced=True) as history,
    ):
        assert history.killed("contract", at="ALTER TABLE items DROP")
        assert not history.contracted
        history.write("old", "update", 1)
        history.write("new", "update", 2)
        assert history.contract() is server.has("transactional_ddl")
        history.check()
        history.finish()
        history.check()
