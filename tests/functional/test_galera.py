"""A node of a synchronous cluster: a table lock applies to one node only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.dialects import dialect_of
from online_migrate.exceptions import GateClosed
from online_migrate.migrate.executor.inflight import WriteConnections
from online_migrate.throttle.server_throttlers import FlowControl
from online_migrate.waiting import Clock
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


def test_expand_and_migrate_on_galera(project: Project, database: Database) -> None:
    """Every row is migrated, and the trigger keeps new ones in step."""
    schema.ready(project, database)
    schema.fill(database, 100, 101)
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert rows == {row: schema.size_of(row) * GIB for row in [*range(1, 21), 100, 101]}


def test_worker_opens_no_second_write_connection(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a load balancer a second connection may reach a node that does not have the first chunk yet."""
    monkeypatch.setattr(
        WriteConnections, "both", lambda _connections: pytest.fail("a second connection is opened")
    )
    schema.ready(project, database)
    assert schema.query_all(database, "SELECT count(*) FROM volumes WHERE size_bytes IS NULL") == [(0,)]


def test_contract_with_requirements_is_refused(project: Project, database: Database) -> None:
    """Exit 3, the reason, and the remedy; nothing is changed."""
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


def test_contract_without_requirements_is_applied(database: Database, tmp_path: Path) -> None:
    """``requires = ()`` needs no check of rows, so no lock."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(schema.VOLUMES, "e1")
        project.contract('op.drop_column("volumes", "legacy")', "c1")
        project.apply_expand()
        assert command.contract(project.site()).revisions == ("c1",)
    assert schema.version_rows(database) == ["c1"]


def test_flow_control_does_not_throttle_single_node(project: Project, database: Database) -> None:
    """A node reports how long flow control paused it; a single node is never paused,
    and rows are migrated."""
    with database.engine.connect() as connection:
        dialect = dialect_of(connection)
        held_back = dialect.flow_control(connection)
        assert held_back is not None
        assert held_back >= 0.0
        throttler = FlowControl(Clock())
        assert [throttler.sample(connection) for _ in range(3)] == [None] * 3
    schema.ready(project, database)
    assert schema.query_all(database, "SELECT count(*) FROM volumes WHERE size_bytes IS NULL") == [(0,)]
