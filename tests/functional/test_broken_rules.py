"""Each rule that keeps rows from being lost, taken out of the engine: the checks of the histories find it.

The table at the end lists the rules. Each scenario holds with the rule, and fails without it.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.contract import blocking_rows
from online_migrate.contract.barrier import Standing
from online_migrate.contract.live_services import LiveServices, ServiceCheck
from online_migrate.contract.runner import ContractGuard
from online_migrate.dialects.facets.sync_triggers import SyncShape
from online_migrate.dialects.mysql_sync import MySQLSyncTriggers
from online_migrate.dialects.postgresql_sync import PostgreSQLSyncTriggers
from online_migrate.dialects.sqlite_sync import SQLiteSyncTriggers
from online_migrate.kinds.prepared import PreparedRows
from online_migrate.migrate.executor.serial import SerialExecutor
from online_migrate.migrate.worker.lease import KeyRange
from online_migrate.migrate.worker.planner import ChunkPlan
from online_migrate.sync.recorded import SyncState, TriggerState
from tests.servers import Database
from tests.support import schema, services
from tests.support.history import NEVER, History, between_gate_and_removal
from tests.support.history_changes import SPLIT, TYPE, Change
from tests.support.project import rows

Scenario = Callable[[Database, Path], None]


# --- scenarios -----------------------------------------------------------------------------------


def a_row_is_inserted_before_the_lock(database: Database, folder: Path) -> None:
    """An old client inserts at moments between the count of the gate and the removal of the column."""
    with History.ready_to_contract(database, folder / "undisturbed", TYPE) as history:
        first, last = between_gate_and_removal(history.contract_beside_an_insert(3, NEVER)[1])
    for at in range(first + 1, last + 1, max(1, (last - first) // 4)):
        with History.ready_to_contract(database, folder / f"project{at}", TYPE) as history:
            history.contract_beside_an_insert(3, at)


COUNTED_ONCE = Change(
    "once",
    columns="size_gb INTEGER",
    expand='op.add_column("items", sa.Column("hits", sa.Integer, server_default="0", nullable=False))',
    undo='op.drop_column("items", "hits")',
    data="""
@batch_migration(table="items")
def moved(connection, chunk):
    t = chunk.table
    return connection.execute(sa.update(t).where(chunk.where).values(hits=t.c.hits + 1)).rowcount
""",
    contract="",
    old=lambda value: {"size_gb": value},
    new=lambda value: {"hits": 0},
)


def a_worker_is_killed(database: Database, folder: Path) -> None:
    """kill -9 before statements of a run that counts each row once."""
    for at in itertools.count(1, 7):
        database.clear()
        with History(database, folder / f"project{at}", COUNTED_ONCE) as history:
            for key in range(1, 7):
                history.write("old", "insert", key)
            history.expand()
            killed = history.killed("migrate", "--batch-size", "2", at=at, inherit=True)
            history.migrate(batch_size=2)
            found = rows(history.engine, "SELECT id, hits FROM items ORDER BY id")
            assert found == [(key, 1) for key in range(1, 7)], at
            if not killed:
                return


def an_old_process_runs(database: Database, folder: Path) -> None:
    """Every row is migrated, but a process of the old version reports."""
    with History.ready_to_contract(database, folder / "project", TYPE) as history:
        with services.live(database, process="old"):
            assert not history.contract(), "the old version lost its column"
        history.finish()
        history.check()


def rows_are_upserted(database: Database, folder: Path) -> None:
    """Each version writes a row that is there already, by an upsert."""
    with History.ready_to_contract(database, folder / "project", SPLIT, synced=True) as history:
        for version in ("new", "old", "new"):
            history.write(version, "upsert", 1)
            history.check()
        history.finish()
        history.check()


def a_sync_is_dropped(database: Database, folder: Path) -> None:
    """A trigger is dropped, and an old client writes a row that has been migrated."""
    with History.ready_to_contract(database, folder / "project", SPLIT, synced=True) as history:
        schema.run_all(database, "DROP TRIGGER online_migrate_sync_both_update_old")
        history.write("old", "update", 1)
        assert not history.contract(), "the value of the old version was dropped"


def a_barrier_is_dropped(database: Database, folder: Path) -> None:
    """An old client inserts a row after the barrier was dropped, behind which every row was verified."""
    with History.ready_to_contract(database, folder / "project", TYPE) as history:
        command.verify(history.project.site(), ["moved"], barrier=True)
        drop = {
            "postgresql": "ALTER TABLE items DROP CONSTRAINT online_migrate_barrier_moved",
            "mysql": "DROP TRIGGER online_migrate_barrier_moved_insert",
        }
        schema.run_all(database, drop.get(database.server.product, drop["mysql"]))
        history.write("old", "insert", 3)
        assert not history.contract(), "the value of the old version was dropped"


_EXISTING = {
    "postgresql": (
        """CREATE FUNCTION existing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           NEW.full_name := replace(NEW.full_name, 'Ada', 'Eve'); RETURN NEW; END $$""",
        "CREATE TRIGGER existing BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION existing()",
    ),
    "mysql": (
        "CREATE TRIGGER existing BEFORE INSERT ON items FOR EACH ROW "
        "SET NEW.full_name = REPLACE(NEW.full_name, 'Ada', 'Eve')",
    ),
}


def a_trigger_is_there_already(database: Database, folder: Path) -> None:
    """A trigger of the application changes the value that an old client inserts."""
    database.clear()
    with History(database, folder / "project", SPLIT, synced=True) as history:
        schema.run_all(database, *_EXISTING.get(database.server.product, _EXISTING["mysql"]))
        history.expand()
        schema.run_all(database, "INSERT INTO items (id, full_name) VALUES (1, 'Ada Byron')")
        assert rows(history.engine, "SELECT full_name, first FROM items") == [("Eve Byron", "Eve")]


# --- rules ---------------------------------------------------------------------------------------


def no_recheck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ContractGuard, "_blocking_rows", lambda self, subjects: [])


def checkpoint_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are committed, and the lease is advanced in the next transaction."""

    def apply(
        self: SerialExecutor, key_range: KeyRange, plan: ChunkPlan, prepared: PreparedRows | None
    ) -> tuple[int, Mapping[str, str]]:
        connection, tools = self._connection, self._tools
        tools.timer.begin()
        done = 0
        if plan.chunk is not None:
            done = self._migration.apply(connection, plan.chunk, prepared).done
            tools.timer.rows_written()
            connection.commit()
        tools.leases.advance(connection, key_range, plan.upper, done)
        if plan.chunk is not None:
            tools.timer.lease_advanced()
        return done, {}

    monkeypatch.setattr(SerialExecutor, "_apply", apply)


def no_service_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveServices, "check", lambda self, *_, **__: ServiceCheck((), True))


def no_sync_on_upsert(monkeypatch: pytest.MonkeyPatch) -> None:
    """The triggers of UPDATE, which an upsert of a row that is there fires, do nothing."""
    create = SQLiteSyncTriggers.sync_statements

    def without_updates(self: SQLiteSyncTriggers, shape: SyncShape) -> Sequence[str]:
        statements = create(self, shape)
        return [
            text.replace("WHEN ", "WHEN 0 AND ", 1) if "AFTER UPDATE" in text else text for text in statements
        ]

    monkeypatch.setattr(SQLiteSyncTriggers, "sync_statements", without_updates)


def no_sync_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyncState, "state", TriggerState.THERE)


def no_barrier_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking_rows, "standing_of", lambda *_, **__: Standing(holds=True))


def sync_fires_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The triggers of a sync fire before the one that is there already."""
    for family, first in ((MySQLSyncTriggers, _precedes), (PostgreSQLSyncTriggers, _named_first)):
        monkeypatch.setattr(family, "sync_statements", first(family.sync_statements))


def _precedes(create: Callable[..., Sequence[str]]) -> Callable[..., Sequence[str]]:
    def statements(self: MySQLSyncTriggers, shape: SyncShape) -> Sequence[str]:
        insert, update = create(self, shape)
        return [insert.replace("FOR EACH ROW", "FOR EACH ROW PRECEDES existing", 1), update]

    return statements


def _named_first(create: Callable[..., Sequence[str]]) -> Callable[..., Sequence[str]]:
    def statements(self: PostgreSQLSyncTriggers, shape: SyncShape) -> Sequence[str]:
        return [
            re.sub(r'^(CREATE TRIGGER )"?\w+"?', r"\1a_sync", statement) for statement in create(self, shape)
        ]

    return statements


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule, the scenario that needs it, and what takes it out."""

    name: str
    scenario: Scenario
    break_it: Callable[[pytest.MonkeyPatch], None]


RULES = (
    Rule("rows are counted again under the lock", a_row_is_inserted_before_the_lock, no_recheck),
    Rule("a chunk and its checkpoint commit together", a_worker_is_killed, checkpoint_outside),
    Rule("live services are asked before contract", an_old_process_runs, no_service_check),
    Rule("an upsert is synced", rows_are_upserted, no_sync_on_upsert),
    Rule("a dropped sync closes the gate", a_sync_is_dropped, no_sync_check),
)


SERVER_RULES = (
    Rule("a dropped barrier closes the gate", a_barrier_is_dropped, no_barrier_check),
    Rule("a sync fires after existing triggers", a_trigger_is_there_already, sync_fires_first),
)
"""Rules that SQLite does not have: it has no barriers, and its triggers have no order."""


def check(rule: Rule, database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenario holds if the rule is kept, and finds that it is broken."""
    rule.scenario(database, folder / "kept")
    database.clear()
    rule.break_it(monkeypatch)
    with pytest.raises(AssertionError) as found:
        rule.scenario(database, folder / "broken")
    print(found.value)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name.replace(" ", "-"))
def test_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Rule) -> None:
    """The rules that all servers have, on SQLite."""
    with schema.embedded().fresh_database(tmp_path, "rules") as database:
        check(rule, database, tmp_path, monkeypatch)


@pytest.mark.needs("many_writers")
@pytest.mark.each_product
@pytest.mark.parametrize("rule", SERVER_RULES, ids=lambda rule: rule.name.replace(" ", "-"))
def test_rule_of_a_server(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Rule
) -> None:
    check(rule, database, tmp_path, monkeypatch)
