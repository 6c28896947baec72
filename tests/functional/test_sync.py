"""Sync triggers: either version writes either shape of a row, and both stay in step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command
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
    """status shows the triggers; contract needs them until it drops them, and refuses to drop their column."""
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
