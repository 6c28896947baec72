"""MySQL Group Replication: a table lock proves nothing where more than one member may be written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
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
    """The sample project, its rows migrated."""
    with schema.volumes(tmp_path / "project", database, contract=DROP) as project:
        schema.ready(project, database)
        yield project


def tell(database: Database, *statements: str) -> None:
    """What an administrator says to the member."""
    with administration(database.url) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def assert_refused(project: Project, database: Database, *words: str) -> None:
    """gate and contract name the group as a blocker, and the column stays."""
    before = Snapshot.of(database)
    [blocker] = command.gate(project.site())
    assert blocker.id == "server"
    for word in words:
        assert word in f"{blocker.reason} {blocker.hint}"
    with pytest.raises(GateClosed):
        command.contract(project.site())
    assert Snapshot.of(database) == before


def test_contract_waits_until_the_group_has_one_primary(project: Project, database: Database) -> None:
    """Multi-primary: refused, with the statement that ends it; after that statement the gate is open."""
    assert_refused(project, database, "multi-primary", "group_replication_switch_to_single_primary_mode()")
    tell(database, "SELECT group_replication_switch_to_single_primary_mode()")
    try:
        assert command.gate(project.site()) == []
        assert command.contract(project.site()).revisions == ("c2",)
    finally:
        tell(database, "SELECT group_replication_switch_to_multi_primary_mode()")


def test_members_that_cannot_be_read_close_the_gate(
    project: Project, database: Database, group: Server
) -> None:
    """A user without rights on performance_schema: refused, with the GRANT."""
    user = "om_restricted"
    tell(
        database,
        f"CREATE USER {user} IDENTIFIED BY 'secret'",
        f"GRANT ALL ON {database.name}.* TO {user}",
    )
    try:
        url = sa.make_url(database.url).set(username=user, password="secret")
        project.url = url.render_as_string(hide_password=False)
        assert_refused(project, database, "cannot be read", "GRANT SELECT ON performance_schema")
    finally:
        tell(database, f"DROP USER {user}")


def test_a_member_that_left_its_group_is_a_server_like_any_other(
    project: Project, database: Database
) -> None:
    """The plugin is loaded, and replicates nothing."""
    tell(database, "STOP GROUP_REPLICATION", "SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF")
    try:
        assert command.gate(project.site()) == []
        assert command.contract(project.site()).revisions == ("c2",)
    finally:
        tell(
            database,
            "SET GLOBAL group_replication_bootstrap_group = ON",
            "START GROUP_REPLICATION",
            "SET GLOBAL group_replication_bootstrap_group = OFF",
        )
