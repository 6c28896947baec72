"""MySQL Group Replication: a table lock proves nothing where more than one member accepts writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.contract.locked_verification import LockedVerification
from online_migrate.exceptions import GateClosed
from tests.servers import Database, Server
from tests.servers.access import administration
from tests.support import schema
from tests.support.project import Project
from tests.support.schema import Snapshot

DROP = 'op.drop_column("volumes", "legacy")'


@pytest.fixture
def database(group: Server, tmp_path: Path) -> Iterator[Database]:
    """A database of a member of a group."""
    with group.fresh_database(tmp_path, "group") as database:
        yield database


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, with its rows migrated."""
    with schema.volumes(tmp_path / "project", database, contract=DROP) as project:
        schema.ready(project, database)
        yield project


def administer(database: Database, *statements: str) -> None:
    """Executes statements on the member as an administrator."""
    with administration(database.url) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def assert_refused(project: Project, database: Database, *words: str) -> None:
    """Asserts that gate and contract name the group as a blocker, and nothing is changed."""
    before = Snapshot.of(database)
    [blocker] = command.gate(project.site())
    assert blocker.id == "server"
    for word in words:
        assert word in f"{blocker.reason} {blocker.hint}"
    with pytest.raises(GateClosed):
        command.contract(project.site())
    assert Snapshot.of(database) == before


def test_contract_requires_single_primary_mode(project: Project, database: Database) -> None:
    """Multi-primary: refused, with the statement that ends it; after that statement the gate is open."""
    assert_refused(project, database, "multi-primary", "group_replication_switch_to_single_primary_mode()")
    administer(database, "SELECT group_replication_switch_to_single_primary_mode()")
    try:
        assert command.gate(project.site()) == []
        assert command.contract(project.site()).revisions == ("c2",)
    finally:
        administer(database, "SELECT group_replication_switch_to_multi_primary_mode()")


def test_multi_primary_mode_after_gate_is_refused(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mode is read again before the tables are locked."""
    opened = LockedVerification.open

    def open_(verification: LockedVerification) -> None:
        administer(database, "SELECT group_replication_switch_to_multi_primary_mode()")
        opened(verification)

    administer(database, "SELECT group_replication_switch_to_single_primary_mode()")
    monkeypatch.setattr(LockedVerification, "open", open_)
    with pytest.raises(GateClosed) as refusal:
        command.contract(project.site())
    assert [blocker.id for blocker in refusal.value.blockers] == ["server"]
    assert "legacy" in schema.shape(database)["volumes"]["columns"]


def test_unreadable_group_members_close_gate(project: Project, database: Database, group: Server) -> None:
    """A user without privileges on performance_schema: refused, with the GRANT."""
    user = "om_restricted"
    administer(
        database,
        f"CREATE USER {user} IDENTIFIED BY 'secret'",
        f"GRANT ALL ON {database.name}.* TO {user}",
    )
    try:
        url = sa.make_url(database.url).set(username=user, password="secret")
        project.url = url.render_as_string(hide_password=False)
        assert_refused(project, database, "cannot be read", "GRANT SELECT ON performance_schema")
    finally:
        administer(database, f"DROP USER {user}")


def test_member_outside_group_is_accepted(project: Project, database: Database) -> None:
    """The plugin is loaded, and replicates nothing."""
    administer(
        database, "STOP GROUP_REPLICATION", "SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"
    )
    try:
        assert command.gate(project.site()) == []
        assert command.contract(project.site()).revisions == ("c2",)
    finally:
        administer(
            database,
            "SET GLOBAL group_replication_bootstrap_group = ON",
            "START GROUP_REPLICATION",
            "SET GLOBAL group_replication_bootstrap_group = OFF",
        )
