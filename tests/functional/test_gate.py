"""Every blocker of the gate, and that a refusal of contract changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.exceptions import Blocker, ExpandMissing, GateClosed
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project
from tests.support.schema import Snapshot

DROP = 'op.drop_column("volumes", "legacy")'


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, on an empty database."""
    with schema.volumes(tmp_path / "project", database, contract=DROP) as project:
        yield project


def rewritten(project: Project, source: str) -> None:
    """The sample's data migration with other arguments."""
    given = {
        "values": 'lambda t: {"size_bytes": sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3}',
        "pending": "lambda t: t.c.size_bytes.is_(None)",
    }
    arguments = ", ".join(f"{name}={value}" for name, value in given.items() if f"{name}=" not in source)
    heading = 'volume_bytes = Backfill(table="volumes", revision="e2", '
    project.data("volume_bytes", f"{heading}{arguments}, {source})")


def required(project: Project, names: tuple[str, ...] | None) -> None:
    """The sample's contract script with another ``requires``."""
    path = next((project.scripts / "contract").glob("*.py"))
    line = "" if names is None else f"requires = {names!r}"
    path.write_text(path.read_text().replace("requires = ('volume_bytes',)", line))


# --- one scenario per blocker --------------------------------------------------------------------

Prepare = Callable[[Project, Database], None]


def at_e1(project: Project, database: Database) -> None:
    schema.as_before(project, database)


def expanded(project: Project, database: Database) -> None:
    schema.as_before(project, database)
    project.apply_expand()


def undeclared(project: Project, database: Database) -> None:
    required(project, None)
    schema.ready(project, database)


def unknown(project: Project, database: Database) -> None:
    required(project, ("volume_bytes", "unknown"))
    schema.ready(project, database)


def without_pending(project: Project, database: Database) -> None:
    rewritten(project, "pending=None")
    schema.ready(project, database)


def stopped_early(project: Project, database: Database) -> None:
    schema.as_before(project, database)
    project.apply_expand()
    project.migrate(max_count=15, batch_size=5)


def still_running(project: Project, database: Database) -> None:
    schema.ready(project, database)
    schema.run_all(database, "UPDATE online_migrate_data_migration SET status = 'running'")


def record_deleted(project: Project, database: Database) -> None:
    schema.ready(project, database)
    schema.run_all(database, "DELETE FROM online_migrate_data_migration")


def pending_again(project: Project, database: Database) -> None:
    schema.ready(project, database)
    schema.run_all(database, "UPDATE volumes SET size_bytes = NULL WHERE id IN (7, 9)")


def unknown_pending(project: Project, database: Database) -> None:
    """``size_bytes <> size_gb * 1 GiB`` is NULL where size_gb is NULL: neither migrated nor pending."""
    rewritten(project, "pending=lambda t: t.c.size_bytes != sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3")
    schema.ready(project, database)
    schema.run_all(database, "UPDATE volumes SET size_gb = NULL WHERE id = 3")


def verify_fails(project: Project, database: Database) -> None:
    rewritten(project, "verify=lambda t: t.c.size_bytes == sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3")
    schema.ready(project, database)
    schema.run_all(database, "UPDATE volumes SET size_bytes = 5 WHERE id = 4")


def verify_unknown(project: Project, database: Database) -> None:
    rewritten(project, "verify=lambda t: t.c.size_bytes == sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3")
    schema.ready(project, database)
    schema.run_all(database, "UPDATE volumes SET size_gb = NULL WHERE id = 4")


def rows_failed(project: Project, database: Database) -> None:
    """Values that leave two rows unchanged."""
    rewritten(
        project,
        'values=lambda t: {"size_bytes": sa.case((t.c.id.in_([2, 5]), None), else_=1)}',
    )
    schema.ready(project, database)


def column_renamed(project: Project, database: Database) -> None:
    schema.ready(project, database)
    schema.run_all(database, "ALTER TABLE online_migrate_data_migration RENAME COLUMN done TO gone")


def registry_dropped(project: Project, database: Database) -> None:
    schema.ready(project, database)
    schema.run_all(database, "DROP TABLE online_migrate_data_migration")


def pending_names_nothing(project: Project, database: Database) -> None:
    schema.ready(project, database)
    rewritten(project, "pending=lambda t: t.c.nowhere.is_(None)")


def pending_is_refused(project: Project, database: Database) -> None:
    schema.ready(project, database)
    rewritten(project, "pending=lambda t: sa.func.no_such_function(t.c.id) == 1")


def table_is_gone(project: Project, database: Database) -> None:
    schema.ready(project, database)
    project.data("volume_bytes", 'volume_bytes = Backfill(table="nowhere", values={}, pending=sa.true())')


@dataclass(frozen=True)
class Case:
    prepare: Prepare
    ids: tuple[str, ...]
    object: str
    count: int | None = None
    keys: tuple[str, ...] = ()


CASES = (
    Case(at_e1, ("expand-not-applied", "no-record"), "e2"),
    Case(expanded, ("no-record",), "volume_bytes", 20, ("1", "2", "3", "4", "5")),
    Case(undeclared, ("requires-undeclared",), "c2"),
    Case(unknown, ("data-migration-unknown",), "unknown"),
    Case(without_pending, ("no-pending",), "volume_bytes"),
    Case(stopped_early, ("pending-rows",), "volume_bytes", 5, ("16", "17", "18", "19", "20")),
    Case(still_running, ("not-complete",), "volume_bytes"),
    Case(record_deleted, ("no-record",), "volume_bytes"),
    Case(pending_again, ("pending-rows",), "volume_bytes", 2, ("7", "9")),
    Case(unknown_pending, ("pending-rows",), "volume_bytes", 1, ("3",)),
    Case(verify_fails, ("unverified-rows",), "volume_bytes", 1, ("4",)),
    Case(verify_unknown, ("unverified-rows",), "volume_bytes", 1, ("4",)),
    Case(rows_failed, ("pending-rows",), "volume_bytes", 2, ("2", "5")),
    Case(column_renamed, ("registry-unreadable",), "volume_bytes"),
    Case(registry_dropped, ("no-record",), "volume_bytes"),
    Case(pending_names_nothing, ("pending-unreadable",), "volume_bytes"),
    Case(pending_is_refused, ("pending-unreadable",), "volume_bytes"),
    Case(table_is_gone, ("pending-unreadable",), "volume_bytes"),
)


@pytest.mark.parametrize("case", CASES, ids=[case.prepare.__name__ for case in CASES])
def test_blocker_closes_gate_without_changes(project: Project, database: Database, case: Case) -> None:
    """gate names the blocker; contract is refused with 3, and schema, version rows and data are unchanged."""
    case.prepare(project, database)
    before = Snapshot.of(database)
    found = command.gate(project.site())
    assert tuple(blocker.id for blocker in found) == case.ids
    assert found[0].object == case.object
    assert all(blocker.reason and blocker.hint for blocker in found)
    counted = [blocker for blocker in found if blocker.count is not None]
    assert [(b.count, b.keys) for b in counted] == ([(case.count, case.keys)] if case.count else [])
    with pytest.raises(GateClosed) as refusal:
        command.contract(project.site())
    assert refusal.value.exit_code == 3
    assert [b.id for b in refusal.value.blockers] == [b.id for b in found]
    assert Snapshot.of(database) == before


def test_gate_opens_when_blocker_is_resolved(project: Project, database: Database) -> None:
    """Guards against a gate that never opens, which would pass every other test here."""
    pending_again(project, database)
    assert command.gate(project.site())
    project.migrate()
    assert command.gate(project.site()) == []
    assert command.contract(project.site()).revisions == ("c2",)
    assert schema.version_rows(database) == ["c2"]


def test_failed_rows_have_their_own_blocker(project: Project, database: Database) -> None:
    """Rows that were tried and failed have a blocker of their own, which points to status."""
    rows_failed(project, database)
    [blocker] = command.gate(project.site())
    assert "could not be migrated" in blocker.reason
    assert "status" in blocker.hint


def test_gate_without_engine_tables_creates_none(project: Project, database: Database) -> None:
    """gate on a database that plain Alembic expanded: refused, and no table of the engine is created."""
    schema.ready(project, database)
    schema.run_all(
        database, *(f"DROP TABLE {t}" for t in schema.tables(database) if t.startswith(schema.OURS))
    )
    assert [blocker.id for blocker in command.gate(project.site())] == ["no-record"]
    assert not [table for table in schema.tables(database) if table.startswith(schema.OURS)]


def test_migrate_before_expand_is_refused(project: Project, database: Database) -> None:
    """Exit 3, and the rows are unchanged."""
    at_e1(project, database)
    with pytest.raises(ExpandMissing) as refusal:
        project.migrate()
    assert (refusal.value.exit_code, refusal.value.hint) == (3, "online-migrate expand")


# --- the command line ----------------------------------------------------------------------------


def test_cli_contract_before_migrate_is_refused(project: Project, database: Database) -> None:
    """Exit 3, no traceback, blocker and remedy on stderr, nothing on stdout; --json prints one document."""
    expanded(project, database)
    before = Snapshot.of(database)
    refused = schema.run(project, "contract")
    assert refused.code == 3
    assert refused.out == ""
    text = "\n".join(refused.complaint)
    assert "20 row(s) of volumes are pending: 1, 2, 3, 4, 5, ..." in text
    assert "online-migrate migrate volume_bytes" in text
    shown = schema.run(project, "contract", "--json")
    assert shown.code == 3
    assert shown.json["applied"] == []
    assert [(blocker["id"], blocker["count"]) for blocker in shown.json["blockers"]] == [("no-record", 20)]
    assert Snapshot.of(database) == before


def test_cli_gate_exit_code_and_json(project: Project, database: Database) -> None:
    """3 and the blockers while it is closed, 0 and none when it is open."""
    pending_again(project, database)
    closed = schema.run(project, "gate", "--json")
    assert (closed.code, closed.json["open"]) == (3, False)
    [blocker] = closed.json["blockers"]
    assert (blocker["id"], blocker["count"], blocker["keys"]) == ("pending-rows", 2, ["7", "9"])
    project.migrate()
    opened = schema.run(project, "gate", "--json")
    expected = {"open": True, "blockers": [], "services_checked": False}
    assert (opened.code, opened.json) == (0, expected)
    assert schema.run(project, "gate").out == (
        "gate: open\nservices: not checked: the project declares none, and none has reported\n"
    )


# --- a range of contract revisions ---------------------------------------------------------------

OTHER = """
    other = Backfill(table="volumes", values={"note": "new"}, pending=lambda t: t.c.note.is_(None))
"""


@pytest.fixture
def three_contracts(project: Project, database: Database) -> Project:
    """c2 has an open gate, c3 a closed one, c4 has no requirements."""
    project.data("other", OTHER)
    project.contract("op.create_index('ix_note', 'volumes', ['note'])", "c3", requires=("other",))
    project.contract("op.drop_index('ix_note', 'volumes')", "c4")
    schema.as_before(project, database)
    project.apply_expand()
    project.migrate("volume_bytes")
    return project


@pytest.mark.parametrize("target", [None, "c3", "c4"])
def test_gate_covers_whole_range(three_contracts: Project, database: Database, target: str | None) -> None:
    """One closed gate anywhere up to the target: not even the first revision is applied."""
    before = Snapshot.of(database)
    with pytest.raises(GateClosed) as refusal:
        command.contract(three_contracts.site(), target)
    assert {blocker.object for blocker in refusal.value.blockers} == {"other"}
    assert Snapshot.of(database) == before


def test_contract_up_to_revision_ignores_later_revisions(
    three_contracts: Project, database: Database
) -> None:
    """``contract c2`` is not blocked by c3."""
    assert command.contract(three_contracts.site(), "c2").revisions == ("c2",)
    assert schema.version_rows(database) == ["c2"]
    assert command.contract(three_contracts.site(), "c2").revisions == ()


def test_available_applies_up_to_first_closed_gate(three_contracts: Project, database: Database) -> None:
    """Exit 1 with the revisions applied and the next blockers; then nothing more until they are resolved."""
    first = schema.run(three_contracts, "contract", "--available", "--json")
    assert (first.code, first.json["applied"]) == (1, ["c2"])
    assert {blocker["object"] for blocker in first.json["blockers"]} == {"other"}
    second = schema.run(three_contracts, "contract", "--available")
    assert (second.code, schema.version_rows(database)) == (1, ["c2"])
    three_contracts.migrate("other")
    last = schema.run(three_contracts, "contract", "--available", "--json")
    assert (last.code, last.json) == (0, {"applied": ["c3", "c4"], "blockers": []})


def test_blocker_as_dict(project: Project, database: Database) -> None:
    """The output of --json contains every field of a blocker."""
    pending_again(project, database)
    [blocker] = command.gate(project.site())
    assert isinstance(blocker, Blocker)
    assert set(blocker.as_dict()) == {"id", "object", "reason", "hint", "count", "at_least", "keys"}


# --- scripts without depends_on -------------------------------------------------------------------


def test_contract_without_depends_on_requires_whole_expand_branch(
    project: Project, database: Database
) -> None:
    """As in keystone and glance: gate and contract name each expand revision that is missing."""
    path = next((project.scripts / "contract").glob("*.py"))
    path.write_text(path.read_text().replace("depends_on = 'e2'", "depends_on = None"))
    assert "depends_on = None" in path.read_text()
    project.expand('op.add_column("volumes", sa.Column("third", sa.Integer))', "e3")
    schema.ready(project, database, "e2")
    [blocker] = command.gate(project.site())
    assert (blocker.id, blocker.object) == ("expand-not-applied", "e3")
    assert blocker.hint == "online-migrate expand"
    before = Snapshot.of(database)
    with pytest.raises(GateClosed):
        command.contract(project.site())
    assert command.contract(project.site(), available=True).revisions == ()
    assert Snapshot.of(database) == before
    project.apply_expand()
    assert command.gate(project.site()) == []
    assert command.contract(project.site()).revisions == ("c2",)
