"""Sync triggers: either version writes either shape of a row, and both stay in step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.exceptions import GateClosed
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project

GIB = 1024**3
TABLE = """
    op.create_table(
        "volumes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size_gb", sa.Integer),
        sa.Column("name", sa.String(60)),
        sa.Column("note", sa.String(40)),
        mysql_engine="InnoDB",
    )
"""
BYTES = """
    op.add_column("volumes", sa.Column("size_bytes", sa.BigInteger))
    op.create_sync(
        "volume_size", "volumes",
        forward={"size_bytes": sa.cast(sa.column("size_gb"), sa.BigInteger) * 1024**3},
        backward={"size_gb": {
            "postgresql": "size_bytes / 1073741824", "sqlite": "size_bytes / 1073741824",
            "mysql": "size_bytes DIV 1073741824",
        }},
    )
"""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A table with sizes in GiB; the second expand revision adds the size in bytes, and a sync."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(TABLE)
        project.expand(BYTES)
        project.apply_expand()
        yield project


def sizes(database: Database) -> list[tuple[Any, ...]]:
    """Returns (id, size_gb, size_bytes) of all rows."""
    with database.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT id, size_gb, size_bytes FROM volumes ORDER BY id"))
        return [tuple(row) for row in rows]


def test_both_versions_write(project: Project, database: Database) -> None:
    """INSERT and UPDATE of either version, of several rows, with NULL; a lossy value is kept."""
    half = 5 * GIB + GIB // 2
    schema.run_all(
        database,
        "INSERT INTO volumes (id, size_gb) VALUES (1, 1), (2, NULL)",
        f"INSERT INTO volumes (id, size_bytes) VALUES (3, {half}), (4, {GIB}), (5, NULL)",
        f"INSERT INTO volumes (id, size_gb, size_bytes) VALUES (6, 7, {GIB})",
        "INSERT INTO volumes (id, note) VALUES (7, 'neither')",
    )
    assert sizes(database) == [
        (1, 1, GIB),
        (2, None, None),
        (3, 5, half),
        (4, 1, GIB),
        (5, None, None),
        (6, 7, GIB),
        (7, None, None),
    ]
    schema.run_all(
        database,
        "UPDATE volumes SET note = 'touched', size_gb = size_gb",
        "UPDATE volumes SET size_gb = 9 WHERE id IN (1, 2, 5)",
        f"UPDATE volumes SET size_bytes = {half} WHERE id IN (4, 7)",
        f"UPDATE volumes SET size_gb = 2, size_bytes = {3 * GIB} WHERE id = 6",
    )
    assert sizes(database) == [
        (1, 9, 9 * GIB),
        (2, 9, 9 * GIB),
        (3, 5, half),
        (4, 5, half),
        (5, 9, 9 * GIB),
        (6, 2, 3 * GIB),
        (7, 5, half),
    ]
    schema.run_all(
        database,
        "UPDATE volumes SET size_bytes = NULL WHERE id = 1",
        "UPDATE volumes SET size_gb = NULL WHERE id = 2",
    )
    assert sizes(database)[:2] == [(1, None, None), (2, None, None)]


def test_life(project: Project, database: Database) -> None:
    """status shows the triggers; contract needs them until it drops them, which precedes their column."""
    project.data(
        "fill",
        """
        fill = Backfill(
            table="volumes",
            values=lambda t: {"size_bytes": sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3},
            pending=lambda t: t.c.size_bytes.is_(None) & t.c.size_gb.is_not(None),
            revision="e2",
        )
        """,
    )
    [sync] = project.report().syncs
    assert (sync.name, sync.state, sync.revision) == ("volume_size", "there", "e2")
    schema.run_all(database, "INSERT INTO volumes (id, size_gb) VALUES (1, 1)")
    project.migrate()
    project.contract('op.drop_column("volumes", "size_gb")', requires=("fill",))
    assert [blocker.id for blocker in command.gate(project.site())] == ["sync-in-use"]
    rewritten(project, 'op.drop_sync("volume_size")\n    op.drop_column("volumes", "size_gb")')
    plan = command.plan(project.site())
    assert any("online_migrate_sync_volume_size" in text for step in plan.steps for text in step.statements)
    assert command.gate(project.site()) == []
    command.contract(project.site())
    assert project.report().syncs == ()
    schema.run_all(database, "INSERT INTO volumes (id, size_bytes) VALUES (2, 5)")


def rewritten(project: Project, body: str) -> None:
    """Replaces the body of the contract script."""
    path = next((project.scripts / "contract").glob("*.py"))
    head, _, rest = path.read_text().partition("def upgrade():\n")
    path.write_text(
        f"{head}def upgrade():\n    {body}\n\ndef downgrade():{rest.partition('def downgrade():')[2]}"
    )


FILL = """
    @row_migration(table="volumes", revision="e2", pending=lambda t: t.c.size_bytes.is_(None))
    def fill(row):
        return {"size_bytes": (row.size_gb + 1) * 1024**3}
"""
_LAST = {
    "postgresql": "CREATE TRIGGER",
    "mysql": "CREATE TRIGGER `online_migrate_sync_volume_size_update`",
    "mariadb": "CREATE TRIGGER `online_migrate_sync_volume_size_update`",
    "sqlite": 'CREATE TRIGGER "online_migrate_sync_volume_size_update_new"',
}


def test_killed_between_triggers(database: Database, tmp_path: Path) -> None:
    """expand is killed before the last trigger, contract between two of them: the next run completes both."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(TABLE)
        project.expand(BYTES)
        killed = schema.run(project, "expand", die_at=_LAST[database.server.product])
        assert killed.code == -9, killed.output
        resumed = schema.run(project, "expand")
        assert resumed.code == 0, resumed.output
        assert [sync.state for sync in project.report().syncs] == ["there"]
        project.data("fill", FILL.replace("(row.size_gb + 1)", "row.size_gb"))
        project.contract(
            'op.drop_sync("volume_size")\nop.drop_column("volumes", "size_gb")', requires=("fill",)
        )
        schema.run_all(database, "INSERT INTO volumes (id, size_gb) VALUES (1, 1)")
        project.migrate()
        killed = schema.run(project, "contract", die_at="ALTER TABLE volumes DROP")
        assert killed.code == -9, killed.output
        schema.run_all(database, "INSERT INTO volumes (id, size_gb) VALUES (2, 1)")
        resumed = schema.run(project, "contract")
        assert resumed.code == 0, resumed.output
        assert project.report().syncs == ()
        assert schema.query_all(database, "SELECT count(*) FROM volumes WHERE size_bytes IS NULL") == [(0,)]


_CHANGES = {
    "sqlite": "DROP TRIGGER online_migrate_sync_volume_size_update_new",
    "mysql": "DROP TRIGGER online_migrate_sync_volume_size_update",
    "mariadb": "DROP TRIGGER online_migrate_sync_volume_size_update",
    "postgresql": "DROP TRIGGER online_migrate_sync_volume_size ON volumes",
}
_NAME = "CREATE TRIGGER online_migrate_sync_volume_size"
_OTHER = {
    "sqlite": f"{_NAME}_update_new AFTER UPDATE ON volumes BEGIN SELECT 1; END",
    "mysql": f"{_NAME}_update BEFORE UPDATE ON volumes FOR EACH ROW SET @x = 1",
    "postgresql": f"{_NAME} BEFORE INSERT ON volumes FOR EACH ROW "
    "EXECUTE FUNCTION online_migrate_sync_volume_size()",
}
_OTHER["mariadb"] = _OTHER["mysql"]
_DISABLED = {"postgresql": "ALTER TABLE volumes DISABLE TRIGGER online_migrate_sync_volume_size"}


def test_sync_that_is_not_intact(project: Project, database: Database) -> None:
    """A trigger that is missing, changed or disabled closes the gate; status says which; JSON has it."""
    product = database.server.product
    project.data("fill", FILL)
    project.contract('op.drop_sync("volume_size")\nop.drop_column("volumes", "size_gb")', requires=("fill",))
    project.migrate()

    def found() -> tuple[str, list[str]]:
        [sync] = project.report().syncs
        return sync.state, [blocker.id for blocker in command.gate(project.site())]

    assert found() == ("there", [])
    if product in _DISABLED:
        schema.run_all(database, _DISABLED[product])
        assert found() == ("disabled", ["sync-disabled"])
    schema.run_all(database, _CHANGES[product])
    assert found() == ("missing", ["sync-missing"])
    schema.run_all(database, _OTHER[product])
    assert found() == ("changed", ["sync-changed"])
    with pytest.raises(GateClosed):
        command.contract(project.site())
    assert "changed" in project.run("status").out
    assert project.run("status", "--json").json["syncs"][0]["state"] == "changed"


@pytest.mark.needs("row_locks")
def test_data_migration_does_not_echo(project: Project, database: Database) -> None:
    """What a data migration writes to the new shape does not come back into the old one."""
    schema.run_all(
        database, "INSERT INTO volumes (id, size_gb) VALUES (1, 1)", "UPDATE volumes SET note = 'x'"
    )
    with database.engine.begin() as connection:
        connection.exec_driver_sql(_UNSYNCED[database.server.product])
        connection.exec_driver_sql("UPDATE volumes SET size_bytes = NULL")
    project.data("fill", FILL)
    project.migrate()
    assert project.status("fill").failures == ()
    assert sizes(database) == [(1, 1, 2 * GIB)]


_UNSYNCED = {
    "postgresql": "SET LOCAL online_migrate.data_migration = 'on'",
    "mysql": "SET @online_migrate_data_migration = 1",
    "mariadb": "SET @online_migrate_data_migration = 1",
}


@pytest.mark.needs("lock_tables")
def test_cascade_that_fires_no_trigger(project: Project, database: Database) -> None:
    """status names the foreign key that changes a column of the sync past its triggers."""
    schema.run_all(
        database,
        "CREATE TABLE sizes (gb INTEGER PRIMARY KEY)",
        "ALTER TABLE volumes ADD CONSTRAINT fk_size FOREIGN KEY (size_gb) REFERENCES sizes (gb) "
        "ON DELETE SET NULL",
    )
    [sync] = project.report().syncs
    assert sync.gaps == ("foreign key fk_size of volumes.size_gb changes it without a trigger",)
    assert sync.gaps[0] in project.run("status").out
