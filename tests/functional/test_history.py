"""Random interleavings of clients, workers and operators during the whole life of a change.

Hypothesis chooses the steps. A short run has the same few histories each time; ``--long`` has 1,000 for
each server. ONLINE_MIGRATE_TEST_HISTORIES gives another number, and ONLINE_MIGRATE_TEST_SEED chooses others.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from online_migrate import command
from online_migrate.exceptions import Refused
from online_migrate.services import Heartbeat
from online_migrate.services.errors import ServiceRefused
from tests.servers import Database
from tests.support import services
from tests.support.chaos import SEED_VARIABLE, number_of_histories
from tests.support.history import History, Version, Way
from tests.support.history_changes import CHANGES, Change

SHORT, LONG = 3, 1_000
KEYS = strategies.integers(1, 6)
VERSIONS = strategies.sampled_from(("old", "new"))
WAYS = strategies.sampled_from(("insert", "insert", "update", "upsert", "delete"))
AT = strategies.integers(1, 40)


class Histories(RuleBasedStateMachine):
    """Every step that a client, a worker or an operator can take."""

    start: Callable[[Change, bool], History]
    """Returns a history in an empty database."""

    @initialize(
        change=strategies.sampled_from(CHANGES), synced=strategies.booleans(), rows=strategies.integers(0, 4)
    )
    def begin(self, change: Change, synced: bool, rows: int) -> None:
        """Rows of the old version, then expand, with a sync or without."""
        self.history = self.start(change, synced and bool(change.sync))
        self.stack = contextlib.ExitStack()
        self.running: dict[str, Heartbeat] = {}
        for key in range(1, rows + 1):
            self.history.write("old", "insert", key)
        self.history.check()
        self.history.expand()

    # --- clients ---------------------------------------------------------------------------------

    @rule(way=WAYS, key=KEYS)
    @precondition(lambda self: not self.history.contracted)
    def old_writes(self, way: Way, key: int) -> None:
        """The old version writes, until contract."""
        self.history.write("old", way, key)

    @rule(way=WAYS, key=KEYS)
    def new_writes(self, way: Way, key: int) -> None:
        """The new version writes, also after contract."""
        self.history.write("new", way, key)

    # --- workers ---------------------------------------------------------------------------------

    @rule(rows=strategies.integers(1, 3))
    @precondition(lambda self: self.history.expanded and not self.history.contracted)
    def chunk(self, rows: int) -> None:
        """A run that ends after some rows."""
        self.history.migrate(max_count=rows, batch_size=rows)

    @rule(version=VERSIONS, way=WAYS, key=KEYS, at=AT)
    @precondition(lambda self: self.history.expanded and not self.history.contracted)
    def chunk_beside_a_write(self, version: Version, way: Way, key: int, at: int) -> None:
        """A client writes between two statements of a run."""
        with self.history.writes_during(version, way, key, at):
            self.history.migrate(batch_size=2)

    @rule(at=AT)
    @precondition(lambda self: self.history.expanded and not self.history.contracted)
    def worker_is_killed(self, at: int) -> None:
        """kill -9 before a statement."""
        self.history.killed("migrate", "--batch-size", "2", at=at)

    # --- operators -------------------------------------------------------------------------------

    @rule(pause=strategies.booleans())
    @precondition(lambda self: not self.history.contracted)
    def pause_or_resume(self, pause: bool) -> None:
        """Both are refused in some states, which is no error."""
        control = command.pause if pause else command.resume
        with contextlib.suppress(Refused):
            control(self.history.project.site(), "moved")

    @rule()
    @precondition(lambda self: not self.history.contracted)
    def expand_or_roll_back(self) -> None:
        """The expand revision is undone, unless new code reports or contract began; or applied again."""
        if not self.history.expanded:
            self.history.expand()
        else:
            undone = self.history.roll_back()
            assert not (undone and ("new" in self.running or self.history.interrupted))

    @rule(version=VERSIONS)
    def service_starts_or_stops(self, version: Version) -> None:
        """A process reports; the code of the old version does not survive contract.

        It is refused where a killed contract has announced that it is going on.
        """
        if version in self.running:
            self.running.pop(version).stop()
        elif version == "new" or not self.history.contracted:
            survives = ("c1",) if version == "new" else ()
            beat = services.live(self.history.database, *survives, service="api", process=version)
            try:
                self.running[version] = self.stack.enter_context(beat)
            except ServiceRefused:
                assert version == "old"
                assert self.history.contract_was_killed

    @rule()
    @precondition(lambda self: not self.history.contracted)
    def gate(self) -> None:
        """The gate is closed while a row is pending or the old version reports."""
        blockers = command.gate(self.history.project.site())
        assert blockers or not self._must_be_closed()

    @rule()
    @precondition(lambda self: not self.history.contracted)
    def contract(self) -> None:
        """It is refused while a row is pending or the old version reports, and done if the gate is open.

        After a kill it first creates the triggers again, and migrates what is pending. Where that was killed
        as well, the data migration is not complete, which closes the gate, and contract goes on with it.
        """
        closed, resumes = self._must_be_closed(), self.history.interrupted
        blockers = command.gate(self.history.project.site())
        done = self.history.contract()
        resumes |= self.history.resumes and {blocker.id for blocker in blockers} == {"not-complete"}
        assert done == (not blockers) or resumes
        assert not (done and ((closed and not resumes) or "old" in self.running))

    @rule(version=VERSIONS, way=WAYS, key=KEYS, at=AT)
    @precondition(lambda self: not self.history.contracted)
    def contract_beside_a_write(self, version: Version, way: Way, key: int, at: int) -> None:
        """A client writes between two statements of contract."""
        with self.history.writes_during(version, way, key, at):
            self.history.contract()

    @rule(at=AT)
    @precondition(lambda self: not self.history.contracted and not self._must_be_closed())
    def contract_is_killed(self, at: int) -> None:
        """kill -9 before a statement."""
        self.history.killed("contract", at=at)

    def _must_be_closed(self) -> bool:
        return "old" in self.running or bool(self.history.pending())

    # --- what always holds -----------------------------------------------------------------------

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every acknowledged write is found, and both shapes agree."""
        if hasattr(self, "history"):
            self.history.check()

    def teardown(self) -> None:
        """Ends every history with contract."""
        if not hasattr(self, "history"):
            return
        try:
            self.stack.close()
            self.history.finish()
            self.history.check()
        finally:
            self.history.close()


@pytest.mark.timeout(36_000)
def test_interleavings(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """No row is lost and none diverges."""
    long: bool = request.config.getoption("long")
    folders = (tmp_path / f"project{number}" for number in itertools.count())

    def start(self: Histories, change: Change, synced: bool) -> History:
        database.clear()
        return History(database, next(folders), change, synced=synced)

    machine = type("HistoriesHere", (Histories,), {"start": start})
    seed = os.environ.get(SEED_VARIABLE)
    if seed is not None:
        machine = hypothesis.seed(int(seed))(machine)
    settings = hypothesis.settings(
        max_examples=number_of_histories(short=SHORT, long=LONG, is_long=long),
        stateful_step_count=25 if long else 12,
        derandomize=seed is None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=settings)
