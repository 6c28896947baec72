"""Releases: each command stops at the end of one, and the code of a data migration is removed later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command, exceptions, services
from online_migrate.migrate.status import Outcome
from tests.servers import Database
from tests.support.project import Project, execute, rows

pytestmark = pytest.mark.each_product

FILL_B = """
fill_b = Backfill(
    table="items", values=lambda t: {"b": t.c.a + 1}, pending=lambda t: t.c.b.is_(None), release="2"
)
"""
FILL_C = """
fill_c = Backfill(
    table="items", values=lambda t: {"c": t.c.b * 2}, pending=lambda t: t.c.c.is_(None), release="3"
)
"""
REMOVED = """
from online_migrate import Removed
fill_b = Removed(table="items", pending=lambda t: t.c.b.is_(None), release="2", removed_in="3")
"""
CREATE = 'op.create_table("items", sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Integer))'


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """Three releases, each of which replaces a column, and a fourth one that changes no column."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(CREATE, release="1")
        project.expand('op.add_column("items", sa.Column("b", sa.Integer))', release="2")
        project.data("fill_b", FILL_B)
        project.contract('op.drop_column("items", "a")', "c2", requires=("fill_b",), release="2")
        project.expand('op.add_column("items", sa.Column("c", sa.Integer))', release="3")
        project.data("fill_c", FILL_C)
        project.contract('op.drop_column("items", "b")', "c3", requires=("fill_c",), release="3")
        project.expand("pass", release="4")
        yield project


def columns(database: Database) -> list[str]:
    """Returns the columns of the table."""
    return [column["name"] for column in sa.inspect(database.engine).get_columns("items")]


def setting(project: Project, line: str) -> None:
    """Adds a setting to the project."""
    with project.config_file.open("a", encoding="utf-8") as ini:
        ini.write(f"{line}\n")


def insert_rows(database: Database) -> None:
    """Inserts what the code of the first release has written."""
    execute(database.engine, "INSERT INTO items (id, a) VALUES (1, 10), (2, 20)")


def test_commands_stop_at_the_end_of_a_release(project: Project, database: Database) -> None:
    """Each phase of each release can be run alone; a second run of it finds nothing to do."""
    assert command.expand(project.site(), release="1") == ["e1"]
    assert command.gate(project.site(), release="1") == []
    assert command.contract(project.site(), release="1").revisions == ()
    insert_rows(database)
    assert command.expand(project.site(), release="2") == ["e2"]
    assert [blocker.id for blocker in command.gate(project.site(), release="2")] == ["no-record"]
    assert [result.name for result in command.migrate(project.site(), release="2")] == ["fill_b"]
    assert command.contract(project.site(), release="2").revisions == ("c2",)
    assert columns(database) == ["id", "b"]
    for repeated in ("1", "2"):
        assert command.expand(project.site(), release=repeated) == []
        assert command.contract(project.site(), release=repeated).revisions == ()
    assert command.expand(project.site(), release="4") == ["e3", "e4"]
    outcomes = {r.name: r.outcome for r in command.migrate(project.site(), release="4")}
    assert outcomes == {"fill_b": Outcome.CONTRACTED, "fill_c": Outcome.COMPLETE}
    assert command.contract(project.site(), release="4").revisions == ("c3",)
    assert rows(database.engine, "SELECT id, c FROM items ORDER BY id") == [(1, 22), (2, 42)]


def test_upgrade_stops_at_the_end_of_a_release_and_skips_none(project: Project, database: Database) -> None:
    """From the first release to the last in one command: the values pass through each release."""
    command.upgrade(project.site(), release="1")
    insert_rows(database)
    command.upgrade(project.site(), release="2")
    assert columns(database) == ["id", "b"]
    results = command.upgrade(project.site())
    assert {result.name: result.outcome for result in results}["fill_c"] is Outcome.COMPLETE
    assert rows(database.engine, "SELECT id, c FROM items ORDER BY id") == [(1, 22), (2, 42)]
    assert project.report().complete


@pytest.mark.parametrize(
    "arguments",
    [("expand", "--release", "5"), ("upgrade", "--release", "2.0"), ("migrate", "fill_b", "--release", "2")],
)
def test_release_that_cannot_be_meant_is_refused(project: Project, arguments: tuple[str, ...]) -> None:
    """An unknown release, or a release beside a name: exit code 127, and the known releases."""
    refused = project.run(*arguments)
    assert refused.code == 127
    assert (
        "its releases are: 1, 2, 3, 4" in refused.err or "both names (fill_b) and --release 2" in refused.err
    )
    assert "Traceback" not in refused.err


def test_gate_counts_the_rows_of_a_data_migration_without_code(project: Project, database: Database) -> None:
    """A database that skipped the release with the code is refused, and nothing is changed."""
    command.expand(project.site(), release="1")
    insert_rows(database)
    project.data("fill_b", REMOVED)
    command.expand(project.site(), release="2")
    ran = project.run("migrate", "--release", "2")
    assert ran.code == 2
    assert "2 row(s) are pending, and its code was removed in release 3" in ran.out + ran.err
    [blocker] = command.gate(project.site(), release="2")
    assert (blocker.id, blocker.count) == ("pending-rows", 2)
    assert blocker.hint == "with the code of a release before 3: online-migrate migrate fill_b"
    assert "-- no row is changed: the code was removed in release 3" in project.run("plan").out
    with pytest.raises(exceptions.GateClosed):
        command.contract(project.site(), release="2")
    assert columns(database) == ["id", "a", "b"]
    project.data("fill_b", FILL_B)
    command.migrate(project.site(), release="2")
    project.data("fill_b", REMOVED)
    assert command.contract(project.site(), release="2").revisions == ("c2",)


def test_new_database_needs_no_code_of_removed_data_migration(project: Project, database: Database) -> None:
    """No row is pending, so no record of a run is needed: the gate is open, and upgrade completes."""
    project.data("fill_b", REMOVED)
    command.expand(project.site(), release="2")
    assert command.gate(project.site(), release="2") == []
    command.upgrade(project.site())
    assert columns(database) == ["id", "c"]
    assert project.report().complete


TWO_CONTRACTS = """
from online_migrate import Removed
fill_b = Removed(table="items", pending=lambda t: t.c.b.is_(None) & t.c.a.is_not(None), removed_in="3")
"""


@pytest.fixture
def twice_required(database: Database, tmp_path: Path) -> Iterator[Project]:
    """Two contract revisions require a removed data migration; the first one drops a column that it reads."""
    with Project.create(tmp_path / "twice", database.url) as project:
        project.expand(CREATE)
        project.expand('op.add_column("items", sa.Column("b", sa.Integer))')
        project.data("fill_b", TWO_CONTRACTS)
        project.contract('op.drop_column("items", "a")', "c1", requires=("fill_b",))
        project.contract("pass", "c2", requires=("fill_b",))
        yield project


def test_removed_data_migration_is_not_counted_after_its_column_is_dropped(
    twice_required: Project, database: Database
) -> None:
    """The verification under the lock of the first contract counts for the second one, without a run."""
    command.expand(twice_required.site())
    assert command.contract(twice_required.site()).revisions == ("c1", "c2")
    assert columns(database) == ["id", "b"]


def test_second_upgrade_does_nothing(twice_required: Project) -> None:
    """A data migration whose column is gone is neither counted nor run; a function is not called either."""
    counts = (
        'counted(lambda context, n: 1 / 0, name="calls", table="items", pending=lambda t: t.c.b.is_(None))'
    )
    twice_required.data("calls", f"calls = {counts}")
    twice_required.contract('op.drop_column("items", "b")', "c3", requires=("calls",))
    for _ in range(2):
        command.upgrade(twice_required.site())
    assert twice_required.report().complete
    assert {r.outcome for r in command.upgrade(twice_required.site())} == {Outcome.CONTRACTED}


def test_upgrade_reads_the_settings_of_services_before_it_changes_anything(
    project: Project, database: Database
) -> None:
    """An unknown source of services is refused first."""
    setting(project, "services_from = cindr")
    with pytest.raises(exceptions.ConfigBroken):
        command.upgrade(project.site())
    assert not sa.inspect(database.engine).has_table("items")


def test_upgrade_asks_the_services_before_it_runs_a_contract_that_is_history(
    project: Project, database: Database
) -> None:
    """A process with old code runs: the column that it uses is not dropped."""
    command.expand(project.site(), release="2")
    command.migrate(project.site(), release="2")
    setting(project, "history = e2, c2")
    with (
        services.heartbeat(database.engine, "worker", survives=()),
        pytest.raises(exceptions.GateClosed) as closed,
    ):
        command.upgrade(project.site())
    assert [blocker.id for blocker in closed.value.blockers] == ["service-behind"]
    assert "a" in columns(database)
    command.upgrade(project.site())
    assert columns(database) == ["id", "c"]
    assert project.report().complete
