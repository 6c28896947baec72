"""A node of a synchronous cluster: a table lock holds on one node only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.exceptions import GateClosed
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project
from tests.support.schema import GIB, Snapshot

pytestmark = pytest.mark.needs("cluster")


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, on an empty database."""
    with schema.volumes(tmp_path / "project", database) as project:
        yield project


def test_expand_and_migrate_work(project: Project, database: Database) -> None:
    """Every row is migrated, and the trigger keeps new ones in step."""
    schema.ready(project, database)
    schema.fill(database, 100, 101)
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert rows == {row: schema.size_of(row) * GIB for row in [*range(1, 21), 100, 101]}


def test_a_contract_with_requirements_is_refused(project: Project, database: Database) -> None:
    """Exit 3, why, and the way out; nothing is changed."""
    schema.ready(project, database)
    before = Snapshot.of(database)
    with pytest.raises(GateClosed) as refusal:
        command.contract(project.site())
    [blocker] = refusal.value.blockers
    assert blocker.id == "server"
    assert "Galera" in blocker.reason
    assert blocker.hint
    shown = schema.run(project, "contract")
    assert shown.code == 3
    assert "Galera" in shown.err
    assert Snapshot.of(database) == before


def test_a_contract_without_requirements_is_applied(database: Database, tmp_path: Path) -> None:
    """``requires = ()`` needs no look, so no lock."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(schema.VOLUMES, "e1")
        project.contract('op.drop_column("volumes", "legacy")', "c1")
        project.apply_expand()
        assert command.contract(project.site()).revisions == ("c1",)
    assert schema.version_rows(database) == ["c1"]
